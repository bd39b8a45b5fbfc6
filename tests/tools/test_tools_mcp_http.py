"""MCP servers over streamable HTTP in both eras, on real sockets: those that behave, and those that do not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import trio

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.observe.metrics import Metrics
from praxis.tools import mcp_http
from praxis.tools.mcp_source import McpSource
from praxis.tools.source import SourceState
from tests.support.fake_http import Exchange, FakeHttp, Handler, fake_http
from tests.support.processes import PATIENCE, wait_until

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
TOOLS = [
    {"name": "echo"},
    {"name": "find", "inputSchema": {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}},
    {"name": "bad", "inputSchema": {"properties": {"x": {"type": "number", "x-mcp-header": "X"}}}},
]


async def modern(exchange: Exchange) -> None:
    """A server of 2026-07-28 with three tools, of which one is not to be used."""
    match exchange.called:
        case "server/discover":
            result = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "resultType": "complete"}
            await exchange.result(result)
        case "tools/list":
            await exchange.result({"tools": TOOLS, "resultType": "complete"})
        case "tools/call":
            await exchange.result({"content": [exchange.message["params"]["arguments"]]})
        case _:
            await exchange.error(-32601, "no", 404)


class Legacy:
    """A server of the handshake era with sessions; `calls` answers tools/call."""

    def __init__(self, calls: Handler | None = None, beside: Handler | None = None) -> None:
        self.sessions: list[str] = []
        self._calls = calls
        self._beside = beside

    async def __call__(self, exchange: Exchange) -> None:
        session = exchange.headers.get("mcp-session-id")
        if exchange.called == "initialize":
            self.sessions.append(f"session-{len(self.sessions)}")
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x"}}
            await exchange.result(result, {"Mcp-Session-Id": self.sessions[-1]})
        elif exchange.called == "server/discover":
            await exchange.reply(400, b"Bad Request: no session", kind="text/plain")
        elif session not in self.sessions[-1:]:
            await exchange.reply(404, b"")
        elif exchange.called == "tools/list":
            await exchange.result({"tools": TOOLS})
        elif exchange.called == "tools/call" and self._calls is not None:
            await self._calls(exchange)
        elif exchange.called == "tools/call":
            await exchange.result({"content": [exchange.message["params"]["arguments"]]})
        elif exchange.method == "GET" and self._beside is not None:
            await self._beside(exchange)
        elif exchange.method in ("GET", "DELETE"):
            await exchange.reply(405)
        else:
            await exchange.reply(202)


@attrs.define
class Setting:
    source: McpSource
    http: FakeHttp
    states: list[SourceState]
    metrics: Metrics

    async def call(self, name: str = "echo", context: CallContext | None = None, **arguments: Any) -> Any:
        return (await self.source.call(name, arguments, context or CallContext("test"))).value

    async def fail(self, **arguments: Any) -> PraxisError:
        with pytest.raises(PraxisError) as caught:
            await self.call(**arguments)
        return caught.value


@asynccontextmanager
async def reached(
    handler: Handler,
    *,
    protocol: Literal["auto", "legacy", "modern"] = "auto",
    ready: bool = True,
    limits: McpLimits | None = None,
    **server: Any,
) -> AsyncIterator[Setting]:
    """A source of a server with this handler, once it is ready, or has failed for the first time."""
    states: list[SourceState] = []
    metrics = Metrics()
    async with fake_http(handler) as http, trio.open_nursery() as nursery:
        source = McpSource(
            McpServer("web", **{"transport": "http", "url": http.url, "protocol": protocol, **server}),
            limits or McpLimits(retry_backoff_ms=10),
            "agent-1",
            base_dir=Path("/"),
            on_change=lambda: None,
            metrics=metrics,
            on_state=states.append,
        )
        await nursery.start(source.run)
        await wait_until(lambda: states[-1].state != "starting")
        assert (states[-1].state == "ready") is ready, states[-1]
        with trio.fail_after(PATIENCE):
            yield Setting(source, http, states, metrics)
        nursery.cancel_scope.cancel()


# -- 2026-07-28 ---------------------------------------------------------------------------------------


async def test_what_a_modern_request_is_like() -> None:
    async with reached(modern, headers={"X-Key": "secret"}) as setting:
        assert [tool.name for tool in setting.source.tools()] == ["echo", "find"]
        assert [exchange.called for exchange in setting.http.exchanges] == ["server/discover", "tools/list"]
        await setting.call("find", region="Genf ü")
        request = setting.http.exchanges[-1]
        assert {name: request.headers.get(name) for name in MODERN_HEADERS} == MODERN_HEADERS
        assert "mcp-session-id" not in request.headers
        assert request.message["params"]["_meta"][META + "protocolVersion"] == MODERN
        await setting.call("find", region=None)
        assert "mcp-param-region" not in setting.http.exchanges[-1].headers
        # One connection is enough for requests one after the other.
        assert setting.http.connections == 1


MODERN_HEADERS = {
    "x-key": "secret",
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": MODERN,
    "mcp-method": "tools/call",
    "mcp-name": "find",
    "mcp-param-region": "=?base64?R2VuZiDDvA==?=",
}


async def test_a_stream_brings_progress_and_the_answer_and_much_that_is_nothing() -> None:
    async def stream(exchange: Exchange) -> None:
        if exchange.called != "tools/call":
            return await modern(exchange)
        token = exchange.message["params"]["_meta"].get("progressToken", 0)
        text = json.dumps(exchange.response({"content": ["\u2028\u2029\x85"]}), ensure_ascii=False)
        progress = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
        return await exchange.stream(
            b"\xef\xbb\xbf: hello\n\n",
            b"id: 1\ndata:\n\n",
            b"event: ping\ndata: not json\n\n",
            progress,
            {"method": "notifications/message", "params": {"level": "info", "data": 1}},
            b": still here\r\n\r\n",
            b"data: " + text.encode()[:30],
            text.encode()[30:] + b"\r\r",
            end=False,
        )

    told: list[Any] = []
    async with reached(stream) as setting:
        context = CallContext("t", on_progress=told.append, on_log=told.append)
        assert await setting.call(context=context) == {"content": ["\u2028\u2029\x85"]}
        assert told == [{"progress": 1}, {"level": "info", "data": 1}]
        assert await setting.call() == {"content": ["\u2028\u2029\x85"]}


async def test_a_cancelled_call_closes_its_stream() -> None:
    gone = trio.Event()

    async def wait(exchange: Exchange) -> None:
        if exchange.called != "tools/call":
            return await modern(exchange)
        await exchange.stream(b": wait\n\n", end=False)
        await exchange.wait_gone()
        return gone.set()

    async with reached(wait, timeout=0.1) as setting:
        error = await setting.fail()
        assert (error.code, error.delivered) == ("timeout", True)
        await gone.wait()
        assert [exchange.called for exchange in setting.http.exchanges[2:]] == ["tools/call"]


async def test_changes_are_listened_for_and_the_stream_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxis.tools.mcp_subscriptions.FIRST_PAUSE", 0.01)
    count = 0

    async def changing(exchange: Exchange) -> None:
        nonlocal count
        if exchange.called == "server/discover":
            capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
            return await exchange.result({"supportedVersions": [MODERN], "capabilities": capabilities})
        if exchange.called == "tools/list":
            return await exchange.result({"tools": [{"name": f"tool-{count}"}]})
        count += 1
        meta = {"_meta": {META + "subscriptionId": exchange.message["id"]}}
        return await exchange.stream(
            {"method": "notifications/subscriptions/acknowledged", "params": meta},
            {"method": "notifications/tools/list_changed", "params": meta},
            {"method": "notifications/resources/updated", "params": {"uri": "a:b", **meta}},
            {"method": "notifications/resources/updated", "params": {"uri": "c:d", **meta}},
            end=count > 2,
        )

    told: list[Any] = []
    async with reached(changing) as setting:
        wanted = {"resourceSubscriptions": ["a:b"], "toolsListChanged": True, "promptsListChanged": True}
        async with setting.source.subscribe(wanted, lambda *notice: told.append(notice)) as honoured:
            assert honoured == {"resourceSubscriptions": ["a:b"], "toolsListChanged": True}
            await wait_until(lambda: len(setting.http.called("subscriptions/listen")) >= 2)
            asked = setting.http.called("subscriptions/listen")[-1].message["params"]["notifications"]
            assert asked == {"toolsListChanged": True, "resourceSubscriptions": ["a:b"]}
            await wait_until(lambda: ("notifications/resources/updated", {"uri": "a:b"}) in told)
            await wait_until(lambda: ("notifications/tools/list_changed", {}) in told)
        assert not [params for _, params in told if params.get("uri") == "c:d"]
        await wait_until(lambda: setting.source.tools()[0].name != "tool-0")


async def test_an_answer_over_the_limit_costs_its_own_call_alone() -> None:
    async def large(exchange: Exchange) -> None:
        if exchange.called != "tools/call" or exchange.message["params"]["arguments"].get("small"):
            return await modern(exchange)
        result = exchange.response({"content": ["x" * 5000]})
        if exchange.message["params"]["arguments"].get("stream"):
            return await exchange.stream(result, end=False)
        return await exchange.reply(200, json.dumps(result).encode())

    async with reached(large, limits=McpLimits(max_response_size_bytes=2000)) as setting:
        for arguments in ({}, {"stream": True}):
            error = await setting.fail(**arguments)
            assert (error.code, error.hint) == ("too_large", "mcp.limits.max_response_size_bytes")
        assert await setting.call(small=1) == {"content": [{"small": 1}]}
        assert setting.source.state().restarts == 0


@pytest.mark.parametrize("how", ["cut", "end", "status", "empty", "html", "wrong id"])
async def test_what_is_no_answer_costs_its_own_call_alone(how: str) -> None:
    async def strange(exchange: Exchange) -> None:
        if exchange.called != "tools/call" or exchange.message["params"]["arguments"]:
            return await modern(exchange)
        match how:
            case "cut":
                await exchange.stream(b": x\n\n", end=False)
                return await exchange.cut()
            case "end":
                return await exchange.stream(b"id: 7\ndata:\n\n")  # modern streams are not resumed
            case "status":
                return await exchange.reply(500, b"oh\nno", kind="text/plain")
            case "empty":
                return await exchange.reply(202)
            case "html":
                return await exchange.reply(200, b"<html>", kind="text/html")
        return await exchange.reply(200, b'{"jsonrpc":"2.0","id":77,"result":{}}')

    async with reached(strange) as setting:
        error = await setting.fail()
        assert error.code == ("unavailable" if how in ("cut", "end", "status") else "internal")
        assert error.delivered
        assert await setting.call(fine=1) == {"content": [{"fine": 1}]}
        assert (setting.source.state().state, setting.source.state().restarts) == ("ready", 0)


# -- the handshake era --------------------------------------------------------------------------------


async def test_a_session_from_its_beginning_to_its_end() -> None:
    legacy = Legacy()
    async with reached(legacy) as setting:
        assert await setting.call(a=1) == {"content": [{"a": 1}]}
        http = setting.http
    called = [exchange.called for exchange in http.exchanges]
    assert sorted(called) == sorted(
        ["server/discover", "initialize", "notifications/initialized", "GET", "tools/list", "tools/call", "DELETE"]
    )
    for exchange in http.exchanges[2:]:
        assert exchange.headers["mcp-session-id"] == "session-0"
        assert exchange.headers["mcp-protocol-version"] == "2025-11-25"
        assert "mcp-method" not in exchange.headers
    assert "mcp-protocol-version" not in http.called("initialize")[0].headers
    # A tool that names headers wrongly is only of interest where there are such headers.
    assert len(setting.source.tools()) == 3


async def lose_by_404(exchange: Exchange) -> None:
    await exchange.reply(404)


async def lose_by_400(exchange: Exchange) -> None:
    await exchange.reply(400, b"Bad Request: Session not found", kind="text/plain")


async def lose_by_jsonrpc_400(exchange: Exchange) -> None:
    await exchange.error(-32000, "Bad Request: No valid session ID provided", 400)


async def lose_by_200(exchange: Exchange) -> None:
    await exchange.error(-32001, "Session not found")


@pytest.mark.parametrize("lose", [lose_by_404, lose_by_400, lose_by_jsonrpc_400, lose_by_200])
async def test_a_lost_session_is_begun_again_once_for_all_calls(lose: Handler) -> None:
    async def calls(exchange: Exchange) -> None:
        if exchange.headers["mcp-session-id"] == "session-0":
            return await lose(exchange)
        return await exchange.result({"content": [exchange.message["params"]["arguments"]]})

    legacy = Legacy(calls)
    results: list[Any] = []
    async with reached(legacy) as setting:

        async def call(number: int) -> None:
            results.append((await setting.call(n=number))["content"][0]["n"])

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(call, number)
        assert sorted(results) == [0, 1, 2, 3, 4]
        assert legacy.sessions == ["session-0", "session-1"]
        await wait_until(lambda: len(setting.http.called("tools/list")) == 2)
        assert setting.source.state().restarts == 0


async def test_a_session_that_is_lost_again_is_not_begun_for_ever() -> None:
    legacy = Legacy(lose_by_404)
    async with reached(legacy) as setting:
        assert (await setting.fail()).code == "not_found"
        assert len(legacy.sessions) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(200, b"", "text/plain"), (204, b"", ""), (200, b"null", "application/json"), (200, b"OK", "text/plain")],
)
async def test_every_way_to_confirm_the_handshake_will_do(status: int, body: bytes, kind: str) -> None:
    legacy = Legacy()

    async def handler(exchange: Exchange) -> None:
        if exchange.called == "notifications/initialized":
            return await exchange.reply(status, body, kind=kind)
        return await legacy(exchange)

    async with reached(handler, protocol="legacy") as setting:
        assert await setting.call(a=1) == {"content": [{"a": 1}]}


async def test_a_stream_that_ends_is_resumed_after_its_last_event() -> None:
    waiting: list[Any] = []
    times: list[float] = []

    async def calls(exchange: Exchange) -> None:
        waiting.append(exchange.response({"content": ["late"]}))
        await exchange.stream(b"id: e1\nretry: 120\ndata:\n\n")
        times.append(trio.current_time())

    async def beside(exchange: Exchange) -> None:
        if "last-event-id" not in exchange.headers:
            return await exchange.reply(405)
        times.append(trio.current_time())
        if len(times) == 2:
            return await exchange.stream(b"id: e2\ndata:\n\n")
        return await exchange.stream(waiting[0], end=False)

    async with reached(Legacy(calls, beside)) as setting:
        assert await setting.call() == {"content": ["late"]}
        asked = [exchange.headers.get("last-event-id") for exchange in setting.http.called("GET")]
        assert asked == [None, "e1", "e2"]
        assert times[1] - times[0] >= 0.12
        assert times[2] - times[1] >= 0.12
        assert len(setting.http.called("tools/call")) == 1


async def test_a_stream_that_cannot_be_resumed_fails_the_call() -> None:
    async def calls(exchange: Exchange) -> None:
        await exchange.stream(b"id: e1\nretry: 1\ndata:\n\n")

    async with reached(Legacy(calls)) as setting:
        error = await setting.fail()
        assert "its stream cannot be resumed: it answers with HTTP status 405" in error.detail


async def test_a_call_that_is_cancelled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def calls(exchange: Exchange) -> None:
        await exchange.stream(b": wait\n\n", end=False)
        await exchange.wait_gone()

    async with reached(Legacy(calls), timeout=0.1) as setting:
        assert (await setting.fail()).code == "timeout"
        (notice,) = setting.http.called("notifications/cancelled")
        request = setting.http.called("tools/call")[0].message["id"]
        assert notice.message["params"] == {"requestId": request, "reason": "time is up"}


async def test_a_question_belongs_to_the_call_on_whose_stream_it_comes() -> None:
    answers: dict[str, Any] = {}
    asked = trio.Event()

    async def calls(exchange: Exchange) -> None:
        who = exchange.message["params"]["arguments"]["who"]
        await exchange.stream({"id": who, "method": "elicitation/create", "params": {"message": who}}, end=False)
        await wait_until(lambda: who in answers)
        await exchange.stream(exchange.response({"content": [answers[who]]}), end=True)

    legacy = Legacy(calls)

    async def handler(exchange: Exchange) -> None:
        if exchange.called == "answer":
            answers[exchange.message["id"]] = exchange.message["result"]
            asked.set()
        await legacy(exchange)

    results: dict[str, Any] = {}
    async with reached(handler, ask=("elicitation",)) as setting:

        async def call(who: str) -> None:
            async def ask(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
                return {"action": "accept", "content": {"i am": who, "asked": params["message"]}}

            context = CallContext(who, ask=ask, capabilities={"elicitation": {}})
            results[who] = await setting.call("echo", context, who=who)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "anna")
            nursery.start_soon(call, "bert")
    for who in ("anna", "bert"):
        assert results[who] == {"content": [{"action": "accept", "content": {"i am": who, "asked": who}}]}


async def test_a_question_beside_the_calls_and_a_ping_are_answered_too() -> None:
    answers: list[Any] = []

    async def beside(exchange: Exchange) -> None:
        await exchange.stream(
            {"id": 1, "method": "ping"}, {"id": 2, "method": "sampling/createMessage", "params": {}}, end=False
        )
        await exchange.wait_gone()

    legacy = Legacy(beside=beside)

    async def handler(exchange: Exchange) -> None:
        if exchange.called == "answer":
            answers.append(exchange.message)
        await legacy(exchange)

    async with reached(handler, ask=("sampling",)):
        await wait_until(lambda: len(answers) == 2)
        by_id = {answer["id"]: answer for answer in answers}
        assert by_id[1]["result"] == {}
        assert "no call is under way" in by_id[2]["error"]["message"]


async def test_an_answer_that_comes_beside_is_taken_all_the_same() -> None:
    waiting: list[Any] = []

    async def calls(exchange: Exchange) -> None:
        waiting.append(exchange.response({"content": ["beside"]}))
        await exchange.stream(b": see the other stream\n\n", end=False)
        await exchange.wait_gone()

    async def beside(exchange: Exchange) -> None:
        await exchange.stream(b": here\n\n", end=False)
        await wait_until(lambda: bool(waiting))
        await exchange.stream(waiting[0], end=False)
        await exchange.wait_gone()

    async with reached(Legacy(calls, beside)) as setting:
        assert await setting.call() == {"content": ["beside"]}


async def test_resources_are_subscribed_to_and_again_in_a_new_session() -> None:
    legacy = Legacy()
    lost = False

    async def handler(exchange: Exchange) -> None:
        if exchange.called == "initialize":
            legacy.sessions.append(f"session-{len(legacy.sessions)}")
            result = {"protocolVersion": "2025-06-18", "capabilities": {"resources": {"subscribe": True}}}
            return await exchange.result(result, {"Mcp-Session-Id": legacy.sessions[-1]})
        if exchange.called.startswith("resources/"):
            return await exchange.result({})
        if exchange.called == "tools/call" and lost and exchange.headers["mcp-session-id"] == "session-0":
            return await exchange.reply(404)
        return await legacy(exchange)

    told: list[Any] = []
    async with reached(handler) as setting:
        notices = setting.source.subscribe({"resourceSubscriptions": ["a:b"]}, lambda *notice: told.append(notice))
        async with notices as honoured:
            assert honoured == {"resourceSubscriptions": ["a:b"]}
            await wait_until(lambda: len(setting.http.called("resources/subscribe")) == 1)
            lost = True
            await setting.call()
            await wait_until(lambda: len(setting.http.called("resources/subscribe")) == 2)
            assert setting.http.called("resources/subscribe")[1].headers["mcp-session-id"] == "session-1"
            assert told == [("notifications/resources/updated", {"uri": "a:b"})]
        await wait_until(lambda: len(setting.http.called("resources/unsubscribe")) == 1)


# -- which of them it is ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503])
async def test_a_status_that_says_nothing_of_the_era_is_no_verdict(status: int) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.reply(status, b"<p>", kind="text/html")

    async with reached(refuse, ready=False) as setting:
        assert f"it answers with HTTP status {status}" in setting.states[-1].reason
        assert {exchange.called for exchange in setting.http.exchanges} == {"server/discover"}


async def test_a_modern_refusal_is_not_answered_with_a_handshake() -> None:
    async def strict(exchange: Exchange) -> None:
        await exchange.error(-32020, "HeaderMismatch", 400)

    async with reached(strict, ready=False) as setting:
        assert "HeaderMismatch" in setting.states[-1].reason
        assert {exchange.called for exchange in setting.http.exchanges} == {"server/discover"}


async def test_nobody_there_and_then_somebody() -> None:
    async with reached(modern) as setting:
        url = setting.http.url
    states: list[SourceState] = []
    async with trio.open_nursery() as nursery:
        source = McpSource(
            McpServer("web", transport="http", url=url),
            McpLimits(retry_backoff_ms=20),
            "agent-1",
            base_dir=Path("/"),
            on_change=lambda: None,
            metrics=Metrics(),
            on_state=states.append,
        )
        await nursery.start(source.run)
        await wait_until(lambda: states[-1].state == "backing off")
        assert "cannot connect to 127.0.0.1" in states[-1].reason
        async with fake_http(modern, port=int(url.split(":")[2].split("/")[0])):
            await wait_until(lambda: states[-1].state == "ready")
        with pytest.raises(PraxisError) as caught:
            await source.call("echo", {}, CallContext("t"))
        assert (caught.value.code, caught.value.delivered) == ("unavailable", False)
        await wait_until(lambda: states[-1].state == "backing off")
        nursery.cancel_scope.cancel()


async def test_the_bound_on_connections_that_are_kept() -> None:
    async def slow(exchange: Exchange) -> None:
        if exchange.called == "tools/call":
            await trio.sleep(0.05)
        await modern(exchange)

    async with reached(slow, limits=McpLimits(connection_pool_size=0)) as setting:
        before = setting.http.connections
        for _ in range(3):
            await setting.call()
        assert setting.http.connections - before == 3
    async with reached(slow, limits=McpLimits(max_concurrent_requests=2)) as setting:
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(setting.call)
        assert setting.http.connections == 2


async def test_a_server_that_forgets_its_stream_beside_is_asked_for_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_http, "RETRY", 0.01)

    async def beside(exchange: Exchange) -> None:
        await exchange.stream({"method": "notifications/tools/list_changed"}, b"id: 5\ndata:\n\n")

    async with reached(Legacy(beside=beside)) as setting:
        await wait_until(lambda: len(setting.http.called("GET")) >= 3)
        assert setting.http.called("GET")[1].headers["last-event-id"] == "5"
        await wait_until(lambda: len(setting.http.called("tools/list")) >= 2)
