"""MCP servers inside the test's own process, for a virtual clock: what `McpSource` opens instead of a real process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from trio.abc import ReceiveStream, SendStream
from trio.testing import memory_stream_one_way_pair

TOOLS = [{"name": "echo", "inputSchema": {"type": "object"}}, {"name": "wait"}]


@attrs.define(eq=False)
class FakeServer:
    """Both ends of a server: the attributes of a process, and what a behaviour needs to play the server."""

    stdin: SendStream
    stdout: ReceiveStream
    stderr: ReceiveStream
    input: ReceiveStream
    output: SendStream
    error: SendStream
    received: list[Any] = attrs.field(factory=list)
    """All messages that the behaviour has read."""
    framed: bool = False
    """Whether it writes messages as language servers do, with their length before them."""
    _rest: bytes = b""
    _status: int = 0
    _exited: trio.Event = attrs.field(factory=trio.Event)

    async def wait(self) -> int:
        await self._exited.wait()
        return self._status

    def exit(self, status: int) -> None:
        """End as a process does, but leave the pipes open, as if a child held them."""
        self._status = status
        self._exited.set()

    async def receive(self) -> Any:
        """The next message; raises trio.EndOfChannel when there is none."""
        while b"\n" not in self._rest:
            piece = await self.input.receive_some()
            if not piece:
                raise trio.EndOfChannel
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        self.received.append(json.loads(line))
        return self.received[-1]

    async def send(self, *messages: Any) -> None:
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        if self.framed:
            lines = [b"Content-Length: %d\r\n\r\n%s" % (len(line), line) for line in lines]
        await self.output.send_all(b"".join(line if self.framed else line + b"\n" for line in lines))

    async def answer(self, request: Any, result: Any) -> None:
        await self.send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    async def handshake(self, protocol: Any = "2025-11-25") -> None:
        request = await self.receive()
        assert request["method"] == "initialize", request
        await self.answer(request, {"protocolVersion": protocol, "serverInfo": {"name": "fake", "version": "1"}})
        if protocol == "2025-11-25":
            assert (await self.receive())["method"] == "notifications/initialized"

    async def list_tools(self, tools: Sequence[Any] = TOOLS) -> None:
        request = await self.receive()
        assert request["method"] == "tools/list", request
        await self.answer(request, {"tools": tools})

    async def start(self, tools: Sequence[Any] = TOOLS) -> None:
        """Up to the point where calls come."""
        await self.handshake()
        await self.list_tools(tools)


Behaviour = Callable[[FakeServer], Awaitable[int]]
"""Plays the server; the number is its exit status, and its pipes are closed then."""


async def serve(server: FakeServer) -> int:
    """A server as it should be: echo answers with its arguments, wait never does."""
    await server.start()
    return await serve_calls(server)


async def serve_calls(server: FakeServer) -> int:
    try:
        while True:
            message = await server.receive()
            if message["method"] == "tools/call" and message["params"]["name"] == "echo":
                await server.answer(message, {"content": [], "structuredContent": message["params"]["arguments"]})
    except trio.EndOfChannel:
        return 0


@attrs.define(eq=False)
class FakeOpener:
    """Opens servers one after the other: each plays the next behaviour, the last one again and again."""

    nursery: trio.Nursery
    behaviours: Sequence[Behaviour | OSError]
    servers: list[FakeServer] = attrs.field(factory=list)
    started_at: list[float] = attrs.field(factory=list)
    argv: Sequence[str] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    cwd: Path | None = None

    @asynccontextmanager
    async def __call__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> AsyncIterator[FakeServer]:
        behaviour = self.behaviours[min(len(self.started_at), len(self.behaviours) - 1)]
        self.argv, self.env, self.cwd = argv, env, cwd
        self.started_at.append(trio.current_time())
        if isinstance(behaviour, OSError):
            raise behaviour
        stdin, input = memory_stream_one_way_pair()
        output, stdout = memory_stream_one_way_pair()
        error, stderr = memory_stream_one_way_pair()
        server = FakeServer(stdin, stdout, stderr, input, output, error)
        self.servers.append(server)
        self.nursery.start_soon(_play, behaviour, server)
        try:
            yield server
        finally:
            await trio.aclose_forcefully(stdin)


async def _play(behaviour: Behaviour, server: FakeServer) -> None:
    server.exit(await behaviour(server))
    for stream in (server.input, server.output, server.error):
        await stream.aclose()
