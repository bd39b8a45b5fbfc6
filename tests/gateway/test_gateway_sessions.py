"""Callers of the handshake era over streamable HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis.access.principal import Principal
from praxis.gateway import session as conversation
from praxis.gateway import sessions
from praxis.gateway.caller import PATIENCE, UNWATCHED
from praxis.gateway.resume import RESUME_WITHIN
from praxis.gateway.sessions import IDLE
from tests.gateway.http_asgi import endpoint, request, settled

WHO = {"action": "accept", "content": {"name": "Ann"}}


async def test_initialize_gives_a_session_and_a_version() -> None:
    async with endpoint() as at:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        answer = await at.browser.ask("POST", request("initialize", "i", **hello))
        result = answer.json["result"]
        assert (answer.json["id"], result["protocolVersion"]) == ("i", "2025-06-18")
        assert result["serverInfo"] == {"name": "puppet", "version": "1"}
        id = answer.headers["Mcp-Session-Id"]
        assert len(id) >= 32
        assert id.isascii()
        assert id.isprintable()


async def test_a_session_is_used_and_ended() -> None:
    async with endpoint() as at:
        client = await at.connect()
        assert (await client.tell("notifications/initialized")).status == 202
        assert (await client.ask("ping")).json == {"jsonrpc": "2.0", "id": 1, "result": {}}
        answer = await client.ask("tools/list")
        assert answer.json["result"] == {"tools": [{"name": "x", "inputSchema": at.puppet.schema}]}
        await client.start(None, "DELETE").answer.over.wait()
        assert (await client.ask("ping")).status == 404
        assert "praxis_mcp_sessions 0" in at.metrics.render()


@pytest.mark.parametrize("headers", [{}, {"mcp_session_id": "stale"}])
async def test_without_a_session_there_is_an_answer_that_says_so(headers: dict[str, str]) -> None:
    async with endpoint() as at:
        for method, body in (("POST", request("tools/list", 7)), ("GET", None), ("DELETE", None)):
            answer = await at.browser.ask(method, body, **headers)
            assert answer.status == (404 if headers else 400)
        answer = await at.browser.ask("POST", request("tools/list", 7), **headers)
        assert (answer.json["id"], answer.error["code"]) == (7, -32600)


async def test_a_session_is_its_callers_own_and_its_places() -> None:
    async with endpoint() as at:
        client = await at.connect()
        assert (await client.send(request("ping"), path="/mcp/servers/one")).status == 404
        at.browser.principal = Principal("token", "local")
        assert (await client.ask("ping")).status == 404


async def test_what_callers_are_known_to_do_is_tolerated() -> None:
    async with endpoint() as at:
        stale = {"mcp_session_id": "stale", "mcp_protocol_version": "2025-03-26", "accept": "application/json"}
        hello = request("initialize", 0, protocolVersion="2025-03-26", capabilities={})
        answer = await at.browser.ask("POST", hello, "/mcp/", **stale)
        assert answer.status == 200, "a stale session and a slash"
        client = await at.connect()
        assert (await client.send(request("tools/call", 0, name="x", arguments=None))).json["id"] == 0
        assert (await client.send(request("tools/call", "s", name="x"), mcp_protocol_version="")).json["id"] == "s"
        assert (await client.ask("prompts/list")).json["result"] == {"prompts": []}
        assert (await client.ask("resources/list")).json["result"] == {"resources": []}
        for accept in ("application/json", "text/event-stream", "*/*", ""):
            assert (await client.send(request("tools/call", 1, name="x"), accept=accept)).status == 200
        assert (await client.tell("notifications/cancelled", requestId=99)).status == 202
        assert (await client.respond("nobody asked", {})).status == 202
        assert (await client.ask("no/such")).error["code"] == -32601
        assert (await client.ask("initialize")).json["result"]["protocolVersion"] == "2025-11-25"


async def test_a_future_version_is_answered_with_those_that_are_spoken() -> None:
    async with endpoint() as at:
        client = await at.connect("2026-07-28")
        assert client.version == "2025-11-25"
        answer = await client.send(request("ping"), mcp_protocol_version="1999-01-01", mcp_method="ping")
        assert answer.status == 400


async def test_progress_and_logs_go_to_the_calls_own_stream() -> None:
    async with endpoint() as at:
        client = await at.connect()
        await client.ask("logging/setLevel", level="error")
        asking = client.call("tell", _meta={"progressToken": 5})
        await asking.answer.over.wait()
        answer = asking.answer
        first, *events = answer.events
        assert (first["data"], first["retry"]) == ("", "500")
        assert len({event["id"] for event in answer.events}) == len(answer.events)
        methods = [message.get("method", "answer") for message in answer.messages]
        assert methods == ["notifications/progress"] * 2 + ["notifications/message", "answer"]
        assert answer.messages[0]["params"]["progressToken"] == 5
        assert len(events) == 4
        assert (await client.ask("logging/setLevel", level="loud")).error["code"] == -32602


async def test_a_client_of_an_older_version_gets_no_empty_event() -> None:
    async with endpoint() as at:
        client = await at.connect("2025-03-26")
        asking = client.call("tell", _meta={"progressToken": 5})
        await asking.answer.over.wait()
        assert all(event["data"] for event in asking.answer.events)


async def test_a_tool_asks_on_the_stream_of_its_call() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        asking = client.call("ask")
        await settled()
        (question,) = asking.answer.messages
        assert question["method"] == "elicitation/create"
        assert (await client.respond(question["id"], WHO)).status == 202
        await asking.answer.over.wait()
        assert '"Ann"' in asking.answer.messages[-1]["result"]["content"][0]["text"]


async def test_a_client_that_refuses_to_answer_is_the_calls_error() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        asking = client.call("ask")
        await settled()
        id = asking.answer.messages[0]["id"]
        await client.send({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "go away"}})
        await asking.answer.over.wait()
        assert asking.answer.messages[-1]["error"] == {"code": -1, "message": "go away"}


async def test_a_tool_asks_only_for_what_the_client_can() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        asking = client.call("ask roots")
        await asking.answer.over.wait()
        assert asking.answer.error["code"] == -32021
        asking = (await at.connect()).call("ask")
        await asking.answer.over.wait()
        assert asking.answer.json["result"]["isError"]


async def test_a_call_that_is_cancelled_takes_its_question_back() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        asking = client.call("ask", 4)
        await settled()
        question = asking.answer.messages[0]
        await client.tell("notifications/cancelled", requestId=4)
        await asking.answer.over.wait()
        last = asking.answer.messages[-1]
        assert (last["method"], last["params"]["requestId"]) == ("notifications/cancelled", question["id"])
        assert (at.puppet.running, at.puppet.cancelled) == (0, 1)


async def test_a_request_for_input_becomes_questions_and_the_call_is_made_again() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        asking = client.call("need")
        await settled()
        await client.respond(asking.answer.messages[0]["id"], WHO)
        await asking.answer.over.wait()
        text = asking.answer.messages[-1]["result"]["content"][0]["text"]
        assert '"requestState": "my state"' in text
        assert len(at.puppet.calls) == 2


async def test_a_server_that_asks_without_end_is_given_up() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        asking = client.call("need without end")
        for _ in range(conversation.MAX_ROUNDS):
            await settled()
            await client.respond(asking.answer.messages[-1]["id"], WHO)
        await asking.answer.over.wait()
        assert asking.answer.messages[-1]["error"]["code"] == -32603
        assert len(at.puppet.calls) == conversation.MAX_ROUNDS


async def test_a_caller_of_json_alone_is_asked_on_its_other_stream_if_it_has_one() -> None:
    async with endpoint() as at:
        client = await at.connect(elicitation={})
        refused = await client.send(request("tools/call", 1, name="ask"), accept="application/json")
        assert refused.error["code"] == -32603
        other = client.start(None, "GET")
        await settled()
        asking = client.start(request("tools/call", 1, name="ask"), accept="application/json")
        await settled()
        await client.respond(other.answer.messages[0]["id"], WHO)
        await asking.answer.over.wait()
        assert '"Ann"' in asking.answer.json["result"]["content"][0]["text"]


async def test_cancelling_a_request_ends_it_without_an_answer() -> None:
    async with endpoint() as at:
        client = await at.connect()
        asking = client.call("hold", "a")
        await settled()
        assert (await client.ask("ping", "a")).error["code"] == -32600, "an id is in use once"
        await client.tell("notifications/cancelled", requestId="a")
        await asking.answer.over.wait()
        assert (asking.answer.messages, at.puppet.cancelled) == ([], 1)


async def test_only_so_many_requests_of_one_client_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_CALLS", 2)
    async with endpoint() as at:
        client = await at.connect()
        for id in (1, 2):
            client.call("hold", id)
        await settled()
        assert (await client.ask("ping", 3)).error["code"] == -32600
        at.puppet.go.set()
        await settled()
        assert (await client.ask("ping", 3)).json["result"] == {}


# -- streams that break -----------------------------------------------------------------------------


async def test_a_caller_that_hangs_up_before_a_stream_began_cancels_its_call(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        asking = (await at.connect()).call("hold")
        await settled()
        asking.hang_up()
        await trio.sleep(UNWATCHED)
        await settled()
        assert at.puppet.cancelled == 1


async def test_a_stream_that_broke_is_taken_up_again(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        client = await at.connect()
        asking = client.call("hold", 9)
        await trio.sleep(PATIENCE + 1)
        last = asking.answer.events[-1]["id"]
        asking.hang_up()
        await trio.sleep(RESUME_WITHIN - 1)
        back = client.start(None, "GET", last_event_id=last)
        await trio.sleep(5 * RESUME_WITHIN)
        assert at.puppet.running == 1, "somebody reads again, so it goes on"
        at.puppet.go.set()
        await back.answer.over.wait()
        assert [message["id"] for message in back.answer.messages] == [9]


async def test_an_answer_waits_for_the_caller_to_come_back(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        client = await at.connect()
        asking = client.call("hold", 9)
        await trio.sleep(PATIENCE + 1)
        asking.hang_up()
        await trio.sleep(1)
        at.puppet.go.set()
        await trio.sleep(1)
        back = client.start(None, "GET", last_event_id=asking.answer.events[-1]["id"])
        await back.answer.over.wait()
        assert [message["id"] for message in back.answer.messages] == [9]


async def test_a_caller_that_does_not_come_back_has_given_its_call_up(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        asking = (await at.connect()).call("hold")
        await trio.sleep(PATIENCE + 1)
        asking.hang_up()
        await trio.sleep(RESUME_WITHIN - 1)
        assert at.puppet.running == 1
        await trio.sleep(2)
        assert (at.puppet.running, at.puppet.cancelled) == (0, 1)


async def test_a_tool_lets_its_caller_go_who_comes_back_for_the_answer(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        client = await at.connect()
        asking = client.call("detach", 3)
        await asking.answer.over.wait()
        (event,) = asking.answer.events
        assert (event["data"], event["retry"]) == ("", "500")
        back = client.start(None, "GET", last_event_id=event["id"])
        await settled()
        at.puppet.go.set()
        await back.answer.over.wait()
        assert [message["id"] for message in back.answer.messages] == [3]


async def test_a_connection_that_breaks_while_something_is_sent_is_like_one_that_was_closed(
    autojump_clock: MockClock,
) -> None:
    async with endpoint() as at:
        client = await at.connect()
        client.call("hold")
        at.browser.start_call("hold")
        await settled()
        at.browser.broken = True
        await trio.sleep(PATIENCE + 1)
        assert at.puppet.running == 1, "a session's caller may come back"
        await trio.sleep(RESUME_WITHIN + 1)
        assert at.puppet.running == 0


async def test_ending_a_session_cancels_all_that_it_has_under_way(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        client = await at.connect()
        asking, other = client.call("hold"), client.start(None, "GET")
        await trio.sleep(PATIENCE + 1)
        await client.start(None, "DELETE").answer.over.wait()
        await asking.answer.over.wait()
        await other.answer.over.wait()
        assert (at.puppet.running, at.puppet.notices) == (0, [])


# -- what belongs to no request ---------------------------------------------------------------------


async def test_changes_are_told_on_the_sessions_own_stream() -> None:
    async with endpoint() as at:
        client = await at.connect()
        stream = client.start(None, "GET")
        await settled()
        at.puppet.change()
        await settled()
        assert [message["method"] for message in stream.answer.messages] == ["notifications/tools/list_changed"]
        again = client.start(None, "GET")
        await stream.answer.over.wait()
        at.puppet.change()
        await settled()
        assert len(again.answer.messages) >= 1, "the newest connection is the one that is read"
        again.hang_up()
        await settled()
        assert at.puppet.notices == []


async def test_a_service_that_cannot_tell_of_changes_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint() as at:
        client = await at.connect()
        at.puppet.deaf = True
        stream = client.start(None, "GET")
        await settled()
        assert "no ears" in caplog.text
        assert (await client.ask("ping")).json["result"] == {}
        assert not stream.answer.over.is_set()


async def test_watched_resources_are_told_and_no_longer_watched_ones_not() -> None:
    async with endpoint() as at:
        client = await at.connect()
        stream = client.start(None, "GET")
        assert (await client.ask("resources/subscribe", uri="a:b")).json["result"] == {}
        await settled()
        assert {"resourceSubscriptions": ["a:b"]} in at.puppet.wanted
        for notice in at.puppet.notices:
            notice("notifications/resources/updated", {"uri": "a:c"})
        at.puppet.notices[-1]("notifications/resources/updated", {"uri": "a:b"})
        await settled()
        assert [message["params"] for message in stream.answer.messages] == [{"uri": "a:b"}]
        assert (await client.ask("resources/unsubscribe", uri="a:b")).json["result"] == {}
        await settled()
        assert {"resourceSubscriptions": ["a:b"]} not in at.puppet.wanted
        assert (await client.ask("resources/subscribe")).error["code"] == -32602


async def test_streams_without_an_end_end_when_the_agent_stops() -> None:
    async with endpoint() as at:
        stream = (await at.connect()).start(None, "GET")
        await settled()
        at.stopping.set()
        await stream.answer.over.wait()


# -- bounds -----------------------------------------------------------------------------------------


async def test_a_session_that_nobody_uses_expires(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        client, reader = await at.connect(), await at.connect()
        reader.start(None, "GET")
        await trio.sleep(IDLE - 1)
        assert (await client.ask("ping")).status == 200
        await trio.sleep(IDLE + 1)
        assert (await client.ask("ping")).status == 404
        assert (await reader.ask("ping")).status == 200, "it reads its stream, so it is in use"
        assert 'praxis_mcp_sessions_ended_total{reason="idle"} 1' in at.metrics.render()


async def test_the_session_that_was_idle_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    async with endpoint() as at:
        one, two = await at.connect(), await at.connect()
        await one.ask("ping")
        three = await at.connect()
        answers = [(await client.ask("ping")).status for client in (one, two, three)]
        assert answers == [200, 404, 200]
        for client in (one, three):
            client.call("hold", 5)
        await settled()
        hello = request("initialize", 0, protocolVersion="2025-11-25", capabilities={})
        answer = await at.browser.ask("POST", hello)
        assert (answer.status, answer.error["data"]["code"]) == (503, "busy")
        assert "praxis_mcp_sessions_refused_total 1" in at.metrics.render()


# -- batches ----------------------------------------------------------------------------------------


async def test_batches_are_of_one_version_alone() -> None:
    async with endpoint() as at:
        batch: list[Any] = [request("ping", 1), request("tools/call", 2, name="x"), {"jsonrpc": "2.0", "method": "n"}]
        answer = await (await at.connect("2025-03-26")).send(batch)
        assert sorted(message["id"] for message in answer.messages) == [1, 2]
        refused = await (await at.connect("2025-06-18")).send(batch)
        assert (refused.status, refused.error["code"]) == (400, -32600)
