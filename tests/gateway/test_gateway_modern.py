"""Callers of 2026-07-28 over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis.access.principal import Principal
from praxis.gateway import parked
from praxis.gateway.caller import UNWATCHED
from praxis.wire.mcp_eras import META_SERVER, META_SUBSCRIPTION, META_VERSION
from tests.gateway.http_asgi import Puppet, endpoint, request, settled

ABLE: dict[str, Any] = {"elicitation": {}}
WHO = {"action": "accept", "content": {"name": "Ann"}}


async def test_a_call_is_answered_in_one_piece_of_json() -> None:
    async with endpoint() as at:
        answer = await at.browser.call("x", arguments={"a": 1})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        result = answer.json["result"]
        assert (result["resultType"], result["content"][0]["text"]) == ("complete", '{"a": 1}')
        assert result["_meta"] == {META_SERVER: {"name": "puppet", "version": "1"}}


async def test_discover_tells_versions_and_capabilities() -> None:
    async with endpoint() as at:
        result = (await at.browser.modern("server/discover")).json["result"]
        assert result["supportedVersions"] == ["2026-07-28"]
        assert result["capabilities"] == {"tools": {"listChanged": True}}
        assert (result["ttlMs"], result["cacheScope"]) == (0, "private")


async def test_lists_of_what_the_server_has_not_are_empty() -> None:
    async with endpoint() as at:
        for method, member in (("prompts/list", "prompts"), ("resources/templates/list", "resourceTemplates")):
            assert (await at.browser.modern(method)).json["result"][member] == []
        assert at.puppet.calls == []


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/servers/one", "/mcp/servers/one/"])
async def test_paths_are_served_with_and_without_a_slash(path: str) -> None:
    async with endpoint() as at:
        answer = await at.browser.ask("POST", request("ping"), path=path)
        assert answer.status == 400  # no session: the endpoint has answered
        assert (await at.browser.ask("POST", request("ping"), path="/mcp/servers/two")).status == 404


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*", "", "text/html"])
async def test_one_type_to_accept_is_enough_and_none_means_both(accept: str) -> None:
    async with endpoint() as at:
        asking = at.browser.start_modern("tools/list", accept=accept)
        await asking.answer.over.wait()
        answer = asking.answer
        assert answer.status == 200
        value = answer.messages[0] if accept == "text/event-stream" else answer.json
        assert value["result"]["tools"][0]["name"] == "x"


async def test_progress_and_logs_come_before_the_answer_on_one_stream() -> None:
    async with endpoint() as at:
        answer = await at.browser.call("tell", token="t", level="warning")
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        told = [(m.get("method"), m.get("params", {})) for m in answer.messages]
        assert [method for method, _ in told] == ["notifications/progress"] * 2 + ["notifications/message", None]
        assert told[1][1] == {"progress": 1, "progressToken": "t"}
        assert told[2][1]["level"] == "error"
        assert all("id" not in event for event in answer.events)


async def test_who_asks_for_neither_progress_nor_logs_hears_none() -> None:
    async with endpoint() as at:
        assert (await at.browser.call("tell")).json["result"]["resultType"] == "complete"


async def test_a_caller_of_json_alone_gets_the_answer_alone() -> None:
    async with endpoint() as at:
        asking = at.browser.start_modern(
            "tools/call", {"name": "tell", "_meta": {"progressToken": 1}}, accept="application/json"
        )
        await asking.answer.over.wait()
        assert asking.answer.json["result"]["resultType"] == "complete"


async def test_a_flood_of_progress_drops_the_oldest_and_never_the_answer() -> None:
    async with endpoint() as at:
        messages = (await at.browser.call("flood", token=1)).messages
        assert 100 < len(messages) <= 513
        assert messages[-2]["params"]["progress"] == 1999
        assert messages[-1]["result"]["resultType"] == "complete"


async def test_a_call_that_takes_long_becomes_a_stream(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        answer = await at.browser.call("slow")
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert len(answer.messages) == 1
        began = trio.current_time()
        asking = at.browser.start_call("hold")
        await trio.sleep(60)
        assert asking.answer.body.count(b":\n\n") == 4, "comments keep the stream alive"
        at.puppet.go.set()
        await asking.answer.over.wait()
        assert trio.current_time() == began + 60


async def test_closing_the_connection_cancels_the_call(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        asking = at.browser.start_call("hold")
        await settled()
        assert at.puppet.running == 1
        asking.hang_up()
        await trio.sleep(UNWATCHED)
        await settled()
        assert (at.puppet.running, at.puppet.cancelled, asking.answer.status) == (0, 1, 0)


async def test_closing_a_stream_cancels_the_call(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        asking = at.browser.start_call("hold")
        await trio.sleep(7)
        assert asking.answer.status == 200
        asking.hang_up()
        await settled()
        assert at.puppet.cancelled == 1


async def test_a_bug_and_an_error_of_the_servers_own(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint() as at:
        answer = await at.browser.call("bug")
        assert (answer.status, answer.error["code"]) == (200, -32603)
        assert "secret" not in answer.body.decode()
        assert "secret thoughts" in caplog.text
        assert (await at.browser.call("refuse")).error == {"code": 7, "message": "never", "data": [1]}


@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (400, -32020, {"mcp_method": "tools/list"}),
        (400, -32020, {"mcp_method": ""}),
        (400, -32020, {"mcp_name": "y"}),
        (400, -32020, {"mcp_protocol_version": "2099-01-01"}),
        (400, -32020, {"mcp_protocol_version": ""}),
        (400, -32020, {"mcp_param_region": "us"}),
        (200, None, {"mcp_param_region": "eu", "mcp_session_id": "stray"}),
        (200, None, {"mcp_param_region": "=?base64?ZXU=?="}),
    ],
)
async def test_headers_must_say_what_the_body_says(status: int, code: int | None, headers: dict[str, str]) -> None:
    async with endpoint() as at:
        at.puppet.schema["properties"] = {"region": {"type": "string", "x-mcp-header": "Region"}}
        asking = at.browser.start_modern("tools/call", {"name": "x", "arguments": {"region": "eu"}}, id="i", **headers)
        await asking.answer.over.wait()
        answer = asking.answer
        assert (answer.status, answer.json.get("error", {}).get("code")) == (status, code)
        assert answer.json["id"] == "i"


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        (400, -32700, b"{"),
        (400, -32600, b"[]"),
        (400, -32600, [request("tools/list"), request("tools/list")]),
        (400, -32602, request("tools/list")),
        (
            404,
            -32601,
            request("ping", _meta={META_VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}),
        ),
    ],
)
async def test_what_is_no_request_is_refused(status: int, code: int, body: Any) -> None:
    async with endpoint() as at:
        method = body["method"] if isinstance(body, dict) else "x"
        answer = await at.browser.ask("POST", body, mcp_protocol_version="2026-07-28", mcp_method=method)
        assert (answer.status, answer.error["code"]) == (status, code)


async def test_get_and_delete_are_not_for_this_era_and_notifications_are_accepted() -> None:
    async with endpoint() as at:
        for method in ("GET", "DELETE", "PUT"):
            answer = await at.browser.ask(method, mcp_protocol_version="2026-07-28")
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
        assert (await at.browser.ask("POST", note, mcp_protocol_version="2026-07-28")).status == 202
        text = await at.browser.ask("POST", request("tools/list"), content_type="text/plain")
        assert text.status == 400


# -- asking the caller ------------------------------------------------------------------------------


async def test_a_tool_that_asks_is_parked_until_the_answer_comes() -> None:
    async with endpoint() as at:
        first = (await at.browser.call("ask", can=ABLE)).json["result"]
        assert first["resultType"] == "input_required"
        (key,) = first["inputRequests"]
        assert first["inputRequests"][key]["method"] == "elicitation/create"
        assert at.puppet.running == 1
        again = {"requestState": first["requestState"], "inputResponses": {key: WHO, "other": {}}}
        last = (await at.browser.call("ask", can=ABLE, **again)).json["result"]
        assert (last["resultType"], '"Ann"' in last["content"][0]["text"]) == ("complete", True)
        assert (at.puppet.running, len(at.puppet.calls)) == (0, 1), "the call went on; it was not made again"
        gone = await at.browser.call("ask", can=ABLE, **again)
        assert (gone.status, gone.error["code"]) == (400, -32602)


async def test_an_answer_that_is_missing_is_asked_for_again() -> None:
    async with endpoint() as at:
        first = (await at.browser.call("ask two", can=ABLE)).json["result"]
        assert len(first["inputRequests"]) == 2
        one, two = first["inputRequests"]
        again = {"requestState": first["requestState"], "inputResponses": {one: WHO}}
        second = (await at.browser.call("ask two", can=ABLE, **again)).json["result"]
        assert list(second["inputRequests"]) == [two]
        again = {"requestState": second["requestState"], "inputResponses": {two: WHO}}
        assert (await at.browser.call("ask two", can=ABLE, **again)).json["result"]["resultType"] == "complete"


async def test_nobody_else_can_bring_the_answer() -> None:
    async with endpoint() as at:
        first = (await at.browser.call("ask", can=ABLE)).json["result"]
        again: dict[str, Any] = {"requestState": first["requestState"], "inputResponses": {"input-1": WHO}}
        other = await at.browser.call("ask", can=ABLE, arguments={"changed": 1}, **again)
        assert other.error["code"] == -32602
        at.browser.principal = Principal("token", "local", "admin")
        assert (await at.browser.call("ask", can=ABLE, **again)).error["code"] == -32602
        assert at.puppet.running == 1


async def test_a_parked_call_does_not_wait_for_ever(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        first = (await at.browser.call("ask", can=ABLE)).json["result"]
        await trio.sleep(parked.PARKED_FOR + 1)
        assert (at.puppet.running, at.puppet.cancelled) == (0, 1)
        again = {"requestState": first["requestState"], "inputResponses": {"input-1": WHO}}
        assert (await at.browser.call("ask", can=ABLE, **again)).error["code"] == -32602


async def test_only_so_many_calls_are_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked, "MAX_PARKED", 2)
    async with endpoint() as at:
        for number in range(2):
            await at.browser.call("ask", can=ABLE, arguments={"n": number})
        refused = await at.browser.call("ask", can=ABLE, arguments={"n": 3})
        assert (refused.error["code"], refused.error["data"]["code"]) == (-32603, "busy")
        await settled()
        assert (at.puppet.running, at.puppet.cancelled) == (2, 1)
        assert "praxis_mcp_parked_calls 2" in at.metrics.render()
        assert "praxis_mcp_parked_refused_total 1" in at.metrics.render()


async def test_a_caller_who_hangs_up_while_a_resumed_call_runs_cancels_it(autojump_clock: MockClock) -> None:
    async with endpoint() as at:
        asking = at.browser.start_call("ask", can=ABLE)
        await settled()
        asking = at.browser.start_call("hold", can=ABLE)
        await settled()
        asking.hang_up()
        await trio.sleep(UNWATCHED)
        await settled()
        assert (at.puppet.running, at.puppet.cancelled) == (1, 1)


async def test_a_tool_cannot_ask_for_what_the_caller_has_not() -> None:
    async with endpoint() as at:
        answer = await at.browser.call("ask roots", can=ABLE)
        assert (answer.status, answer.error["code"]) == (400, -32021)
        assert answer.error["data"] == {"requiredCapabilities": {"roots": {}}}
        assert (await at.browser.call("ask")).json["result"]["isError"], "nobody can be asked at all"


async def test_a_servers_own_request_for_input_goes_through_and_its_state_is_sealed() -> None:
    async with endpoint() as at:
        first = (await at.browser.call("need", can=ABLE)).json["result"]
        assert first["inputRequests"] == {"who": {"method": "elicitation/create", "params": at_question()}}
        assert first["requestState"] != "my state"
        again = {"requestState": first["requestState"], "inputResponses": {"who": WHO}}
        last = (await at.browser.call("need", can=ABLE, **again)).json["result"]
        assert '"requestState": "my state"' in last["content"][0]["text"]
        tampered = await at.browser.call("need", can=ABLE, **{**again, "requestState": first["requestState"] + "x"})
        assert (tampered.status, tampered.error["code"]) == (400, -32602)
        assert (await at.browser.call("need")).error["code"] == -32021, "without the capability"


def at_question() -> dict[str, Any]:
    return {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}


# -- listening --------------------------------------------------------------------------------------


async def test_a_listener_is_acknowledged_first_and_then_told() -> None:
    async with endpoint() as at:
        listening = at.browser.start_modern(
            "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="l"
        )
        other = at.browser.start_modern("subscriptions/listen", {"notifications": {"promptsListChanged": True}}, id=2)
        await settled()
        at.puppet.change()
        await settled()
        first, second = listening.answer.messages
        assert (first["method"], second["method"]) == (
            "notifications/subscriptions/acknowledged",
            "notifications/tools/list_changed",
        )
        assert first["params"]["notifications"] == {"toolsListChanged": True}
        assert [m["params"]["_meta"][META_SUBSCRIPTION] for m in (first, second)] == ["l", "l"]
        assert len(other.answer.messages) == 1
        listening.hang_up()
        await settled()
        assert len(at.puppet.notices) == 1
        at.stopping.set()
        await other.answer.over.wait()
        assert other.answer.messages[-1]["result"]["resultType"] == "complete"
        assert at.puppet.notices == []


async def test_a_listener_that_takes_no_stream_is_refused() -> None:
    async with endpoint() as at:
        asking = at.browser.start_modern("subscriptions/listen", {"notifications": {}}, accept="application/json")
        await asking.answer.over.wait()
        assert asking.answer.status == 406


async def test_a_service_that_knows_no_schemas_is_served_all_the_same() -> None:
    class Plain(Puppet):
        tool_schema = None  # type: ignore[assignment]

    async with endpoint(Plain()) as at:
        assert (await at.browser.call("x")).status == 200
