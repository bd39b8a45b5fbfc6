"""Both eras over stdio, on a virtual clock: which one a server is of, and what requests are like in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from praxis.config.schema import McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.tools.mcp_verdicts import Verdict, Verdicts
from praxis.tools.service import Description
from tests.support.fake_mcp import FakeServer, serve, serve_calls
from tests.tools.mcp_kit import Setting, running

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
DISCOVERED: dict[str, Any] = {
    "resultType": "complete",
    "supportedVersions": [MODERN],
    "capabilities": {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True},
    },
    "_meta": {META + "serverInfo": {"name": "fake", "version": "1"}},
    "instructions": "be kind",
    "ttlMs": 0,
    "cacheScope": "public",
}


async def discover(server: FakeServer, result: Mapping[str, Any] = DISCOVERED) -> None:
    request = await server.receive()
    assert request["method"] == "server/discover", request
    await server.answer(request, result)


async def modern(server: FakeServer) -> int:
    await discover(server)
    await server.list_tools()
    return await serve_calls(server)


def methods(server: FakeServer) -> list[str]:
    return [message["method"] for message in server.received if "method" in message]


async def test_a_modern_server_is_asked_what_it_is_and_no_more(autojump_clock: MockClock) -> None:
    async with running(modern, protocol="auto") as setting:
        assert setting.source.state().state == "ready"
        assert methods(setting.server) == ["server/discover", "tools/list", "subscriptions/listen"]
        meta = {
            META + "protocolVersion": MODERN,
            META + "clientInfo": setting.server.received[0]["params"]["_meta"][META + "clientInfo"],
            META + "clientCapabilities": {},
        }
        assert setting.server.received[0]["params"] == {"_meta": meta}
        assert setting.source.describe() == Description(
            {"name": "fake", "version": "1"}, DISCOVERED["capabilities"], "be kind"
        )
        assert await setting.call("echo", x=1) == {"content": [], "structuredContent": {"x": 1}}
        assert setting.server.received[-1]["params"]["_meta"] == meta


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": -32601, "message": "no"}},
        {"error": {"code": -32602, "message": "no"}},
        {"error": {"code": -32000, "message": "not initialized"}},
        {"error": "no"},
        {"error": {"code": -32022, "message": "?"}},
        {"result": {}},
        {"result": []},
        {"result": {"supportedVersions": []}},
        {"result": {"supportedVersions": ["2025-11-25"]}},
        {"error": {"code": -32022, "message": "?", "data": {"supported": ["2025-11-25", "2030-01-01"]}}},
        None,
    ],
)
async def test_whoever_answers_something_else_is_of_the_handshake_era(autojump_clock: MockClock, answer: Any) -> None:
    async def legacy(server: FakeServer) -> int:
        request = await server.receive()
        assert request["method"] == "server/discover"
        if answer is not None:
            await server.send({"id": request["id"], **answer})
        return await serve(server)

    async with running(legacy, protocol="auto") as setting:
        await trio.sleep(11)
        assert setting.source.state().state == "ready"
        # The probe is not cancelled, even if it was not answered: such a server would not know what that means.
        assert methods(setting.server)[:3] == ["server/discover", "initialize", "notifications/initialized"]
        assert len(setting.opener.servers) == 1
        assert await setting.call("echo") == {"content": [], "structuredContent": {}}
        assert "_meta" not in setting.server.received[-1]["params"]


async def test_a_server_that_ends_over_the_probe_is_started_again_at_once(autojump_clock: MockClock) -> None:
    async def die(server: FakeServer) -> int:
        await server.receive()
        return 1

    async with running(die, serve, protocol="auto") as setting:
        await trio.sleep(0.1)
        assert (setting.source.state().state, setting.source.state().restarts) == ("ready", 0)
        assert methods(setting.opener.servers[1])[0] == "initialize"
        assert setting.opener.started_at[1] - setting.opener.started_at[0] < 0.1


async def test_a_server_that_always_ends_is_backed_off_from(autojump_clock: MockClock) -> None:
    async def die(server: FakeServer) -> int:
        await server.receive()
        return 7

    async with running(die, protocol="auto") as setting:
        await trio.sleep(0.1)
        state = setting.source.state()
        assert (state.state, state.reason) == ("backing off", "it exited with status 7")
        await trio.sleep(2)
        asked = [methods(server)[0] for server in setting.opener.servers]
        assert asked == ["server/discover", "initialize"] * 3
        at = [time - setting.opener.started_at[0] for time in setting.opener.started_at]
        assert at == pytest.approx([0, 0, 0.5, 0.5, 1.5, 1.5])


async def test_a_version_in_common_is_asked_for_again(autojump_clock: MockClock) -> None:
    async def choosy(server: FakeServer) -> int:
        request = await server.receive()
        error = {"code": -32022, "message": "?", "data": {"supported": [MODERN], "requested": MODERN}}
        await server.send({"id": request["id"], "error": error})
        return await modern(server)

    async with running(choosy, protocol="auto") as setting:
        assert setting.source.state().state == "ready"
        assert methods(setting.server)[:3] == ["server/discover", "server/discover", "tools/list"]


@pytest.mark.parametrize("protocol", ["auto", "modern"])
async def test_a_server_that_only_speaks_what_is_to_come_is_a_clear_reason(
    autojump_clock: MockClock, protocol: Any
) -> None:
    async def foreign(server: FakeServer) -> int:
        request = await server.receive()
        error = {"code": -32022, "message": "?", "data": {"supported": ["2030-01-01"]}}
        await server.send({"id": request["id"], "error": error})
        return await serve_calls(server)

    async with running(foreign, protocol=protocol) as setting:
        assert setting.source.state().reason.startswith("it speaks MCP 2030-01-01")


async def test_the_configuration_decides_the_era(autojump_clock: MockClock) -> None:
    async def legacy(server: FakeServer) -> int:
        request = await server.receive()
        await server.send({"id": request["id"], "error": {"code": -32601, "message": "no"}})
        return await serve_calls(server)

    async with running(legacy, protocol="modern") as setting:
        assert "refuses server/discover (-32601)" in setting.source.state().reason
    async with running(serve, protocol="legacy") as setting:
        assert methods(setting.server)[0] == "initialize"


# -- verdicts are remembered --------------------------------------------------------------------------


async def test_the_verdict_is_kept_across_starts(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def refuse(server: FakeServer) -> int:
        request = await server.receive()
        await server.send({"id": request["id"], "error": {"code": -32601, "message": "no"}})
        return await serve(server)

    path = tmp_path / "servers.json"
    async with running(refuse, protocol="auto", verdicts=Verdicts(path)) as setting:
        assert setting.source.state().state == "ready"
    async with running(serve, protocol="auto", verdicts=Verdicts(path)) as setting:
        assert methods(setting.server)[0] == "initialize"
        assert setting.source.state().state == "ready"
    server = McpServer("fake", command="another")
    async with running(refuse, protocol="auto", verdicts=Verdicts(path), server=server) as setting:
        assert methods(setting.server)[0] == "server/discover"


async def test_a_server_that_was_replaced_is_asked_anew(autojump_clock: MockClock) -> None:
    server = McpServer("fake", command="fake-server")
    verdicts = Verdicts()
    verdicts.put(server, Verdict("legacy", "stdio", "fake 0"))
    async with running(serve, protocol="auto", verdicts=verdicts) as setting:
        assert setting.source.state().state == "ready"
    assert verdicts.get(server) is None  # it calls itself "fake 1" now

    async def only_modern(server: FakeServer) -> int:
        request = await server.receive()
        if request["method"] == "initialize":
            await server.send({"id": request["id"], "error": {"code": -32601, "message": "no"}})
            return await serve_calls(server)
        await server.answer(request, DISCOVERED)
        await server.list_tools()
        return await serve_calls(server)

    verdicts.put(server, Verdict("legacy", "stdio", "fake 1"))
    async with running(only_modern, protocol="auto", verdicts=verdicts) as setting:
        await trio.sleep(1)
        assert setting.source.state().state == "ready"
        assert verdicts.get(server) == Verdict("modern", "stdio", "fake 1")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"servers": 5}', '{"servers": {"x": {"era": "old"}}}', "[" * 5000, '{"servers": {"x": 1}}']
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "servers.json"
    path.write_text(text)
    verdicts = Verdicts(path)
    server = McpServer("a", command="b")
    assert verdicts.get(server) is None
    verdicts.put(server, Verdict("modern", "stdio", "x"))
    assert Verdicts(path).get(server) == Verdict("modern", "stdio", "x")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_is_bounded_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    verdicts = Verdicts(path)
    for number in range(300):
        server = McpServer("a", command="b", args=(str(number),), env={"KEY": "sk-secret"})
        verdicts.put(server, Verdict("modern", "stdio", "x"))
    assert len(json.loads(path.read_text())["servers"]) == 256
    assert "sk-secret" not in path.read_text()
    assert verdicts.get(server) is not None


# -- input that a modern server asks for (MRTR) -------------------------------------------------------

ASKING = McpServer("fake", command="x", ask=("elicitation", "sampling"))
QUESTION = {"method": "elicitation/create", "params": {"message": "sure?"}}


def asking(*results: Any) -> Any:
    """A modern server that answers calls with these results, one after the other."""

    async def play(server: FakeServer) -> int:
        await discover(server, {**DISCOVERED, "capabilities": {"tools": {}}})
        await server.list_tools()
        for result in results:
            await server.answer(await server.receive(), result)
        return await serve_calls(server)

    return play


def context(**more: Any) -> CallContext:
    asked: list[Any] = []

    async def ask(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append((method, params))
        return {"action": "accept", "n": len(asked)}

    return CallContext("test", **{"ask": ask, "capabilities": {"elicitation": {"form": {}}, "roots": {}}, **more})


async def request(setting: Setting, context: CallContext) -> Mapping[str, Any]:
    return await setting.source.request("tools/call", {"name": "echo", "arguments": {"a": 1}}, context)


def needs(state: str | None = None, **questions: Any) -> dict[str, Any]:
    result: dict[str, Any] = {"resultType": "input_required"}
    if questions:
        result["inputRequests"] = questions
    return result if state is None else {**result, "requestState": state}


async def test_questions_are_asked_and_the_request_made_again(autojump_clock: MockClock) -> None:
    state = 'a\u2028"\\ü\n '
    done = {"resultType": "complete", "content": []}
    play = asking(needs(state, one=QUESTION, two=QUESTION), needs("next"), needs(three=QUESTION), done)
    async with running(play, server=ASKING, protocol="modern") as setting:
        assert await request(setting, context()) == done
        calls = [message for message in setting.server.received if message["method"] == "tools/call"]
        assert len({call["id"] for call in calls}) == 4
        metas = [call["params"].pop("_meta") for call in calls]
        assert all(meta[META + "clientCapabilities"] == {"elicitation": {"form": {}}} for meta in metas)
        base = {"name": "echo", "arguments": {"a": 1}}
        answers = {"one": {"action": "accept", "n": 1}, "two": {"action": "accept", "n": 2}}
        assert [call["params"] for call in calls] == [
            base,
            {**base, "inputResponses": answers, "requestState": state},
            {**base, "requestState": "next"},
            {**base, "inputResponses": {"three": {"action": "accept", "n": 3}}},
        ]


async def test_whoever_takes_questions_gets_them_and_comes_back_with_answers(autojump_clock: MockClock) -> None:
    question = needs("state", one=QUESTION)
    async with running(asking(question, {"content": []}), server=ASKING, protocol="modern") as setting:
        takes = context(ask=None, takes_input_requests=True)
        assert await request(setting, takes) == question
        again = {"inputResponses": {"one": {"action": "decline"}}, "requestState": "state"}
        assert await request(setting, context(ask=None, takes_input_requests=True, input=again)) == {"content": []}
        params = setting.server.received[-1]["params"]
        assert {key: params[key] for key in again} == again


@pytest.mark.parametrize("takes", [True, False])
@pytest.mark.parametrize(
    ("server", "able", "question", "reason"),
    [
        (McpServer("fake", command="x"), {"elicitation": {}}, QUESTION, r"not allowed .*mcp.servers\[\].ask of fake"),
        (ASKING, {}, QUESTION, "does not support elicitation"),
        (ASKING, {"elicitation": {}}, {"method": "roots/list"}, "roots/list is not allowed"),
        (ASKING, {"elicitation": {}}, {"method": "tools/list"}, "not supported"),
        (
            ASKING,
            {"elicitation": {"form": {}}},
            {"method": "elicitation/create", "params": {"mode": "url"}},
            "elicitation by URL",
        ),
        (
            ASKING,
            {"sampling": {}},
            {"method": "sampling/createMessage", "params": {"tools": []}},
            "sampling with tools",
        ),
    ],
)
async def test_what_may_not_be_asked_is_refused_with_the_reason(
    autojump_clock: MockClock, takes: bool, server: McpServer, able: Any, question: Any, reason: str
) -> None:
    async with running(asking(needs("s", q=question)), server=server, protocol="modern") as setting:
        with pytest.raises(PraxisError, match=reason) as caught:
            await request(setting, context(capabilities=able, takes_input_requests=takes))
        assert (caught.value.code, caught.value.data["jsonrpc"]["code"]) == ("denied", -32601)


async def test_roots_of_the_configuration_are_answered_here(autojump_clock: MockClock) -> None:
    server = McpServer("fake", command="x", roots=(Path("/srv/a b"),), ask=("elicitation",))
    play = asking(needs(r={"method": "roots/list"}, q=QUESTION), {"content": []})
    async with running(play, server=server, protocol="modern") as setting:
        assert await request(setting, context(takes_input_requests=True)) == {"content": []}
        params = setting.server.received[-1]["params"]
        assert params["inputResponses"]["r"] == {"roots": [{"uri": "file:///srv/a%20b", "name": "a b"}]}
        assert params["_meta"][META + "clientCapabilities"] == {"elicitation": {"form": {}}, "roots": {}}


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([needs("again")] * 20, "asked more than 10 times"),
        ([{"resultType": "task", "task": {}}], "a result of type task"),
        ([{"resultType": None}], "a result of type none"),
        ([needs()], "cannot be understood"),
        ([needs("x", q="?")], "cannot be understood"),
        ([{**needs("x"), "inputRequests": [1]}], "cannot be understood"),
        ([needs("x", **{str(n): QUESTION for n in range(33)})], "cannot be understood"),
    ],
)
async def test_results_that_are_none(autojump_clock: MockClock, results: list[Any], reason: str) -> None:
    async with running(asking(*results), server=ASKING, protocol="modern") as setting:
        with pytest.raises(PraxisError, match=reason) as caught:
            await request(setting, context())
        assert (caught.value.code, caught.value.delivered) == ("internal", True)


async def test_meta_and_the_level_of_the_log_go_along(autojump_clock: MockClock) -> None:
    async with running(modern, protocol="auto") as setting:
        await request(setting, CallContext("t", log_level="debug", meta={"traceparent": "00-1"}))
        meta = setting.server.received[-1]["params"]["_meta"]
        assert (meta["traceparent"], meta[META + "logLevel"]) == ("00-1", "debug")


# -- what a server of the handshake era asks ----------------------------------------------------------


def interrupting(*asked: Any) -> Any:
    """A legacy server that asks during each call, waits for the answers and returns them."""

    async def play(server: FakeServer) -> int:
        await server.start()
        while True:
            call = await server.receive()
            if call.get("method") != "tools/call":
                continue
            await server.send(*({"id": f"q{n}", **question} for n, question in enumerate(asked)))
            answers: dict[str, Any] = {}
            while len(answers) < len(asked):
                message = await server.receive()
                if "id" in message:
                    answers[message["id"]] = message.get("result") or message.get("error")
            await server.answer(call, {"content": [answers[key] for key in sorted(answers)]})

    return play


async def test_a_question_goes_to_whoever_called(autojump_clock: MockClock) -> None:
    async with running(interrupting(QUESTION, {"method": "ping"}), server=ASKING) as setting:
        assert setting.server.received[0]["params"]["capabilities"] == {
            "sampling": {"tools": {}},
            "elicitation": {"form": {}, "url": {}},
        }
        assert (await request(setting, context()))["content"][0] == {"action": "accept", "n": 1}
        refused = (await request(setting, CallContext("nobody")))["content"][0]
        assert refused["code"] == -32601
        assert "does not support elicitation" in refused["message"]


async def test_without_a_policy_nothing_is_declared_and_everything_refused(autojump_clock: MockClock) -> None:
    questions = [QUESTION, {"method": "sampling/createMessage"}, {"method": "roots/list"}]
    async with running(interrupting(*questions)) as setting:
        assert setting.server.received[0]["params"]["capabilities"] == {}
        answers = (await request(setting, context()))["content"]
        assert [answer["code"] for answer in answers] == [-32601] * 3
        assert all("mcp.servers[].ask of fake" in answer["message"] for answer in answers)


async def test_roots_are_told_only_when_configured(autojump_clock: MockClock) -> None:
    server = McpServer("fake", command="x", roots=(Path("/srv"),))

    async def curious(server: FakeServer) -> int:
        await server.handshake()
        await server.send({"id": 1, "method": "roots/list"})
        await server.list_tools()
        await server.receive()
        return await serve_calls(server)

    async with running(curious, server=server) as setting:
        assert setting.server.received[0]["params"]["capabilities"] == {"roots": {}}
        await wait_all_tasks_blocked()
        answers = [message for message in setting.server.received if "result" in message]
        assert answers == [{"jsonrpc": "2.0", "id": 1, "result": {"roots": [{"uri": "file:///srv", "name": "srv"}]}}]


@pytest.mark.parametrize(("sessions", "answered"), [(("a", "a"), True), (("a", "b"), False), (("", ""), False)])
async def test_with_several_calls_a_question_needs_one_session_behind_them(
    autojump_clock: MockClock, sessions: tuple[str, str], answered: bool
) -> None:
    answers: list[Any] = []

    async def two(server: FakeServer) -> int:
        await server.start()
        calls = [await server.receive(), await server.receive()]
        await server.send({"id": "q", **QUESTION}, {"method": "notifications/message", "params": {"level": "info"}})
        answers.append(await server.receive())
        for call in calls:
            await server.answer(call, {})
        return await serve_calls(server)

    logs: list[Any] = []
    async with running(two, server=ASKING) as setting:
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(request, setting, context(session=session, on_log=logs.append))
        assert ("result" in answers[0]) is answered
        assert len(logs) == (1 if answered else 0)
        if not answered:
            assert "several callers" in answers[0]["error"]["message"]


async def test_a_question_ends_with_its_call_and_does_not_eat_its_time(autojump_clock: MockClock) -> None:
    async def slow(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        await trio.sleep(300)
        return {"action": "accept"}

    async with running(interrupting(QUESTION), server=ASKING) as setting:
        before = trio.current_time()
        assert (await request(setting, context(ask=slow)))["content"] == [{"action": "accept"}]
        assert trio.current_time() - before == 300
        with trio.move_on_after(10):
            await request(setting, context(ask=slow))
        await wait_all_tasks_blocked()
        await trio.lowlevel.checkpoint()
        notice, answer = setting.server.received[-2:]
        if "error" in notice:
            notice, answer = answer, notice
        assert notice["method"] == "notifications/cancelled"
        assert "is over" in answer["error"]["message"]


async def test_nobody_answers_for_ever(autojump_clock: MockClock) -> None:
    async def never(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    async with running(interrupting(QUESTION), server=ASKING) as setting:
        (answer,) = (await request(setting, context(ask=never)))["content"]
        assert answer["message"] == "nobody answered within 600 s"


async def test_a_refusal_of_the_callers_keeps_its_code(autojump_clock: MockClock) -> None:
    async def refuse(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        raise PraxisError("denied", "no", data={"jsonrpc": {"code": -1, "message": "user said no", "data": 5}})

    async with running(interrupting(QUESTION), server=ASKING) as setting:
        (answer,) = (await request(setting, context(ask=refuse)))["content"]
        assert answer == {"code": -1, "message": "user said no", "data": 5}


async def test_the_log_of_a_session_is_turned_up_once(autojump_clock: MockClock) -> None:
    async def chatty(server: FakeServer) -> int:
        request = await server.receive()
        await server.answer(request, {"protocolVersion": "2025-11-25", "capabilities": {"logging": {}}})
        await server.receive()
        await server.list_tools()
        while True:
            message = await server.receive()
            if message["method"] == "tools/call":
                for level in ("debug", "info", "error", "odd"):
                    await server.send({"method": "notifications/message", "params": {"level": level, "data": 1}})
            await server.answer(message, {})

    logs: list[Any] = []
    async with running(chatty) as setting:
        for level in ("warning", "info", "error"):
            await request(setting, CallContext("t", on_log=logs.append, log_level=level))
        set_to = [m["params"]["level"] for m in setting.server.received if m["method"] == "logging/setLevel"]
        assert set_to == ["warning", "info"]
        assert [log["level"] for log in logs] == ["error", "odd", "info", "error", "odd", "error", "odd"]
