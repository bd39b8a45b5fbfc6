"""MCP servers over HTTP+SSE, the transport of 2024-11-05, on real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_source import McpSource
from praxis.tools.mcp_verdicts import Verdict, Verdicts
from praxis.tools.source import SourceState
from tests.support.fake_http import Exchange, FakeHttp, fake_http
from tests.support.processes import wait_until


class SseServer:
    """One session. `endpoint` is what the first event says; POSTs anywhere else find nothing."""

    def __init__(self, endpoint: str = "message?sessionId=1", posts: str = "/message?sessionId=1") -> None:
        self.endpoint = endpoint
        self.posts = posts
        self.stream: Exchange | None = None
        self.streams = 0
        self.answers: list[Any] = []

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.method == "GET" and exchange.target == "/sse":
            self.stream = exchange
            self.streams += 1
            await exchange.stream(b": hi\n\n", b"event: endpoint\ndata: %s\n\n" % self.endpoint.encode(), end=False)
            await exchange.wait_gone()
        elif exchange.method == "POST" and exchange.target == self.posts:
            await self.post(exchange)
        else:
            await exchange.reply(404, b"Cannot find it", kind="text/plain")

    async def post(self, exchange: Exchange) -> None:
        match exchange.called:
            case "initialize":
                result: Any = {"protocolVersion": "2024-11-05", "capabilities": [], "serverInfo": {"name": "old"}}
            case "tools/list":
                result = {"tools": [{"name": "echo"}]}
            case "tools/call":
                result = await self.call(exchange)
            case "server/discover":
                await self.say(exchange, error={"code": -32601, "message": "no"})
                return await exchange.reply(202, b"Accepted", kind="text/plain")
            case _:
                self.answers.append(exchange.message)
                return await exchange.reply(202)
        if result is not None:
            await self.say(exchange, result=result)
        if not exchange.answered:
            await exchange.reply(202, b"Accepted", kind="text/plain")
        return None

    async def call(self, exchange: Exchange) -> Any:
        return {"content": [exchange.message["params"]["arguments"]]}

    async def say(self, exchange: Exchange, **answer: Any) -> None:
        assert self.stream is not None
        text = json.dumps({"jsonrpc": "2.0", "id": exchange.message["id"], **answer}, indent=1, ensure_ascii=False)
        lines = "".join(f"data: {line}\n" for line in text.split("\n"))
        await self.stream.stream(f"event: message\n{lines}\n".encode(), end=False)


@asynccontextmanager
async def reached(
    server: SseServer, *, state: str = "ready", limits: McpLimits | None = None, path: str = "/sse", **more: Any
) -> AsyncIterator[tuple[McpSource, FakeHttp, list[SourceState]]]:
    states: list[SourceState] = []
    verdicts = more.pop("verdicts", None)
    async with fake_http(server) as http, trio.open_nursery() as nursery:
        url = http.url.replace("/mcp", path)
        if "message_url" in more:
            more["message_url"] = http.url.replace("/mcp", more["message_url"])
        source = McpSource(
            McpServer("old", **{"transport": "sse", "url": url, **more}),
            limits or McpLimits(retry_backoff_ms=10),
            "agent-1",
            base_dir=Path("/"),
            on_change=lambda: None,
            metrics=Metrics(),
            on_state=states.append,
            verdicts=verdicts,
        )
        await nursery.start(source.run)
        await wait_until(lambda: states[-1].state == state)
        yield source, http, states
        nursery.cancel_scope.cancel()


async def call(source: McpSource, **arguments: Any) -> Any:
    return (await source.call("echo", arguments, CallContext("t"))).value


@pytest.mark.parametrize(
    "endpoint", ["message?sessionId=1", "/message?sessionId=1", "./message?sessionId=1", "ABSOLUTE/message?sessionId=1"]
)
async def test_the_endpoint_is_found_from_where_the_stream_is(endpoint: str) -> None:
    server = SseServer(endpoint)

    class Told(SseServer):
        async def __call__(self, exchange: Exchange) -> None:
            server.endpoint = endpoint.replace("ABSOLUTE", f"http://{exchange.headers['host']}")
            await server(exchange)

    async with reached(Told()) as (source, http, _):
        assert await call(source, text="\u2028ü") == {"content": [{"text": "\u2028ü"}]}
        assert http.exchanges[-1].headers["content-type"] == "application/json"


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1/message", "//evil.example/message", "https://127.0.0.1/x"])
async def test_messages_go_to_no_other_origin(endpoint: str) -> None:
    async with reached(SseServer(endpoint), state="backing off") as (_, http, states):
        assert "its endpoint event leads to another origin" in states[-1].reason
        assert {exchange.method for exchange in http.exchanges} == {"GET"}


async def test_a_wrong_endpoint_can_be_corrected() -> None:
    server = SseServer("http://internal:9999/message", posts="/right")
    async with reached(server, message_url="/right") as (source, _, _):
        assert await call(source, a=1) == {"content": [{"a": 1}]}


async def test_questions_are_answered_by_post() -> None:
    class Asking(SseServer):
        async def call(self, exchange: Exchange) -> Any:
            assert self.stream is not None
            await self.stream.stream({"id": "q", "method": "ping"}, end=False)
            await wait_until(lambda: any("result" in answer for answer in self.answers))
            return {"content": []}

    async with reached(Asking()) as (source, _, _):
        assert await call(source) == {"content": []}


async def test_a_message_that_is_refused_fails_its_own_call() -> None:
    class Refusing(SseServer):
        async def call(self, exchange: Exchange) -> Any:
            if exchange.message["params"]["arguments"]:
                return await super().call(exchange)
            return await exchange.reply(500, b"no", kind="text/plain")

    async with reached(Refusing()) as (source, _, states):
        with pytest.raises(PraxisError, match="HTTP status 500: no"):
            await call(source)
        assert await call(source, a=1) == {"content": [{"a": 1}]}
        assert states[-1].state == "ready"


async def test_an_answer_in_the_response_to_the_message_counts() -> None:
    class Direct(SseServer):
        async def call(self, exchange: Exchange) -> Any:
            return await exchange.result({"content": ["direct"]})

    async with reached(Direct()) as (source, _, _):
        assert await call(source) == {"content": ["direct"]}


@pytest.mark.parametrize("how", ["end", "cut", "gone"])
async def test_a_stream_that_ends_is_opened_again(how: str) -> None:
    class Ending(SseServer):
        async def call(self, exchange: Exchange) -> Any:
            assert self.stream is not None
            if self.streams > 1:
                return await super().call(exchange)
            if how == "end":
                await self.stream.stream()
            elif how == "cut":
                await self.stream.cut()
            return await exchange.reply(404 if how == "gone" else 202)

    server = Ending()
    async with reached(server) as (source, _, states):
        with pytest.raises(PraxisError) as caught:
            await call(source)
        assert caught.value.code in ("unavailable", "internal")
        await wait_until(lambda: server.streams == 2 and states[-1].state == "ready")
        assert await call(source, a=1) == {"content": [{"a": 1}]}


async def test_an_answer_over_the_limit_fails_its_call_alone() -> None:
    class Large(SseServer):
        async def call(self, exchange: Exchange) -> Any:
            return {"content": ["x" * exchange.message["params"]["arguments"]["size"]]}

    async with reached(Large(), limits=McpLimits(max_response_size_bytes=2000)) as (source, _, _):
        with pytest.raises(PraxisError) as caught:
            await call(source, size=5000)
        assert caught.value.code == "too_large"
        assert len((await call(source, size=500))["content"][0]) == 500


@pytest.mark.parametrize("path", ["/nothing", "/message?sessionId=1"])
async def test_what_is_no_stream_is_a_reason(path: str) -> None:
    async with reached(SseServer(), state="backing off", path=path) as (_, _, states):
        assert "it answers with HTTP status 404: Cannot find it" in states[-1].reason
        assert path not in states[-1].reason, "a URL may hold a secret"


async def test_where_streamable_http_is_not_this_is_tried_and_remembered() -> None:
    verdicts = Verdicts()
    async with reached(SseServer(), transport="http", verdicts=verdicts) as (source, http, states):
        assert await call(source, a=1) == {"content": [{"a": 1}]}
        assert [state.state for state in states] == ["starting", "starting", "ready"]
        server = source.server
        assert verdicts.get(server) == Verdict("legacy", "sse", "old")
        posts = [exchange for exchange in http.exchanges if exchange.target == "/sse" and exchange.method == "POST"]
        assert [exchange.called for exchange in posts] == ["server/discover", "initialize"]
