"""Our own MCP stacks as their benchmark runs them, each a process.

usage: python -m scripts.benchmarks.mcp_own stdio | http | client COMMAND...

``stdio`` and ``http`` serve the tool ``echo`` on the stack that an agent's endpoints stand on; ``http`` prints its
address first. ``client`` calls it on a server that it starts: it prints the figures of one measurement for each line
``CALLERS SECONDS`` of standard input.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from praxis.access.entrance import LOCAL, Entrance
from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.api.guard import PRINCIPAL, guard
from praxis.config.schema import McpLimits, McpServer
from praxis.gateway.caller import Scope
from praxis.gateway.http import StreamableHttp
from praxis.gateway.modern import ModernEra
from praxis.gateway.stdio import serve_stdio
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.net.http_server import serve_http
from praxis.net.serve import open_listeners
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_source import McpSource
from praxis.tools.service import Description, McpService, Notice
from praxis.tools.source import SourceState

TOOL: Mapping[str, JSON] = {
    "name": "echo",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


class Echo:
    """An McpService with one tool."""

    def describe(self) -> Description:
        return Description({"name": "bench", "version": "1"}, {"tools": {}}, "")

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        if method == "tools/list":
            return {"tools": [dict(TOOL)]}
        arguments = params.get("arguments")
        if method != "tools/call" or not isinstance(arguments, dict):
            raise PraxisError("invalid", f"there is no {method}")
        return {"content": [{"type": "text", "text": arguments.get("text")}], "isError": False}

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, JSON], on_notice: Notice) -> AsyncIterator[Mapping[str, JSON]]:
        yield {}


async def serve() -> None:
    """Streamable HTTP at /mcp, until killed."""
    service, stopping, metrics = Echo(), trio.Event(), Metrics()

    async def choose(path: str, principal: Principal) -> McpService | None:
        return service if path == "/mcp" else None

    def principal_of(scope: Scope) -> Principal:
        principal: Principal = scope[PRINCIPAL]
        return principal

    endpoint = StreamableHttp(choose, principal_of=principal_of, key=secrets.token_bytes(32), metrics=metrics)
    tokens = TokenStore(Path("/nonexistent/tokens.json"))
    entrance = Entrance("loopback", (), (), "127.0.0.1", False, tokens)
    listeners = await open_listeners("127.0.0.1", 0)
    print(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/mcp", flush=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(endpoint.run, stopping)
        await serve_http(guard(endpoint, entrance), listeners, name="b", stopping=stopping, grace=1.0, max_body=1 << 22)


async def serve_lines() -> None:
    """Standard input and output, until the input ends."""
    modern = ModernEra(key=secrets.token_bytes(32), metrics=Metrics())
    incoming, outgoing = (trio.lowlevel.FdStream(os.dup(number)) for number in (0, 1))
    async with incoming, outgoing:
        await serve_stdio(Echo(), LOCAL, incoming, outgoing, modern=modern)


async def call(command: list[str]) -> None:
    """Be the client of a server that `command` starts."""
    ready = trio.Event()

    def look(state: SourceState) -> None:
        if state.state == "ready":
            ready.set()

    source = McpSource(
        McpServer("bench", command=command[0], args=tuple(command[1:])),
        McpLimits(),
        "bench",
        base_dir=Path.cwd(),
        on_change=lambda: None,
        metrics=Metrics(),
        on_state=look,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        await ready.wait()
        async with trio.lowlevel.FdStream(os.dup(0)) as orders:
            async for order in orders:
                callers, seconds = order.split()
                print(json.dumps(await _measure(source, int(callers), float(seconds))), flush=True)
        nursery.cancel_scope.cancel()


async def _measure(source: McpSource, callers: int, seconds: float) -> dict[str, float]:
    times: list[float] = []
    text = "hello " * 4
    end = time.perf_counter() + seconds

    async def caller() -> None:
        context = CallContext("bench")
        began = time.perf_counter()
        while began < end:
            result = await source.call("echo", {"text": text}, context)
            if result.is_error:
                raise RuntimeError(f"the server answered {result.value}")
            now = time.perf_counter()
            times.append(now - began)
            began = now

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    rate = len(times) / (time.perf_counter() - began)
    cuts = statistics.quantiles(times, n=100)
    return {"rate": rate, "p50": cuts[49], "p99": cuts[98], "calls": len(times)}


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "http":
        trio.run(serve)
    elif what == "stdio":
        trio.run(serve_lines)
    else:
        trio.run(call, rest)
