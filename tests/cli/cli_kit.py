"""Agents and other servers in threads of their own, so that tests can call blocking verbs as a shell does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from praxis.dev import RunningAgent
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.tools.source import SourceState
from tests.support.network import PATIENCE, connected

Condition = Literal["ready", "backing off", "failed"]
EVIL = "red \x1b[31m\x9b2J\x07 \u202eback\nsecond"
"""What would colour, clear, ring and turn around a terminal."""


@attrs.frozen
class Said:
    """What a verb ended with, and wrote to standard output and standard error."""

    code: int
    out: str
    err: str


class OddTools:
    """The source `odd`: tools that wait, fail, and answer with what they are given."""

    name = "odd"

    def __init__(self, agent: str) -> None:
        self.started, self.ended = threading.Event(), threading.Event()
        self.condition: Condition = "ready"
        self._tools = tuple(
            Tool(agent, self.name, {"name": name, "description": EVIL, "inputSchema": schema})
            for name, schema in (
                ("wait", {}),
                ("fail", {}),
                ("answer", {"type": "object", "properties": {"result": {"type": "object"}}}),
                ("say", {"type": "object", "properties": {"text": {"type": "string"}, "times": {"type": "integer"}}}),
            )
        )

    def tools(self) -> Sequence[Tool]:
        return self._tools

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        if name == "answer":
            return ToolResult(arguments["result"])
        if name != "wait":
            return ToolResult.of_text(arguments.get("text", EVIL) * arguments.get("times", 1), is_error=name == "fail")
        self.started.set()
        try:
            await trio.sleep_forever()
        finally:
            self.ended.set()

    def state(self) -> SourceState:
        reason = "" if self.condition == "ready" else EVIL
        return SourceState(self.name, "builtin", self.condition, tools=len(self._tools), reason=reason)


class Network:
    """Two connected agents; agent-2 has `OddTools`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.odd = OddTools("agent-2")
        self._running = threading.Event()
        self._stop = trio.Event()

    async def _run(self) -> None:
        try:
            async with connected(self.folder) as agents:
                agents[1].agent.registry.add(self.odd)
                peers = agents[0].agent.peers
                with trio.fail_after(PATIENCE):
                    await peers.wait_change(lambda: any(t.source == "odd" for o in peers.owners() for t in o.tools))
                self.agents: Sequence[RunningAgent] = agents
                self._trio = trio.lowlevel.current_trio_token()
                self._running.set()
                await self._stop.wait()
        finally:
            self._running.set()

    def state(self, number: int) -> Path:
        return self.folder / f"agent-{number}" / "state"

    def url(self, number: int) -> str:
        address = self.agents[number - 1].addresses.http
        assert address is not None
        return f"http://{address[0]}:{address[1]}"

    @contextmanager
    def up(self) -> Iterator[Network]:
        with ThreadPoolExecutor(1) as thread:
            ended = thread.submit(trio.run, self._run)
            self._running.wait()
            try:
                if not ended.done():
                    yield self
            finally:
                if not ended.done():
                    self._trio.run_sync_soon(self._stop.set)
                ended.result()


@attrs.frozen
class Server:
    """What a server was asked: method, path, headers and body of each request."""

    url: str
    requests: list[tuple[str, str, dict[str, str], bytes]]


@contextmanager
def answering(body: bytes, status: int = 200, content_type: str = "application/json") -> Iterator[Server]:
    """A server that gives this answer to every request."""
    requests: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.command, self.path, dict(self.headers), sent))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{server.server_port}", requests)
        finally:
            server.shutdown()
            thread.join()
