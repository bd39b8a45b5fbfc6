"""MCP servers over HTTP on a real socket, inside the test's own process: each request goes to a handler of the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import h11
import trio

ACCEPTED = 202
SSE = {"Content-Type": "text/event-stream"}


@attrs.define(eq=False)
class Exchange:
    """One request, and the ways to answer it."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    _stream: trio.SocketStream
    _state: h11.Connection
    answered: bool = False
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def message(self) -> Any:
        return json.loads(self.body) if self.body else {}

    @property
    def called(self) -> str:
        """The method of its JSON-RPC message, or the HTTP method."""
        return str(self.message.get("method", "answer")) if self.body else self.method

    async def reply(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        fields = {"Content-Length": str(len(body)), "Content-Type": kind, **(headers or {})}
        await self._send(h11.Response(status_code=status, headers=[*fields.items()]), h11.Data(data=body))
        await self._send(h11.EndOfMessage())
        self.answered = True

    async def result(self, result: Any, headers: Mapping[str, str] | None = None) -> None:
        await self.reply(200, json.dumps(self.response(result)).encode(), headers)

    async def error(self, code: int, message: str, status: int = 200, data: Any = None) -> None:
        error = {"code": code, "message": message, **({} if data is None else {"data": data})}
        await self.reply(status, json.dumps({"jsonrpc": "2.0", "id": self.message["id"], "error": error}).encode())

    def response(self, result: Any) -> Any:
        return {"jsonrpc": "2.0", "id": self.message["id"], "result": result}

    async def stream(self, *events: Any, end: bool = True, headers: Mapping[str, str] | None = None) -> None:
        """Bytes as they are, anything else as an event with this JSON; without `end` more may follow."""
        if not self.answered:
            self.answered = True
            await self._send(h11.Response(status_code=200, headers=[*{**SSE, **(headers or {})}.items()]))
        for event in events:
            data = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
            await self._send(h11.Data(data=data))
        if end:
            await self._send(h11.EndOfMessage())

    async def wait_gone(self) -> None:
        """Return when the client has closed the connection."""
        while await self._stream.receive_some():
            pass

    async def cut(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def _send(self, *events: h11.Event) -> None:
        async with self._sending:
            await self._stream.send_all(b"".join(self._state.send(event) or b"" for event in events))


Handler = Callable[[Exchange], Awaitable[None]]


@attrs.define
class FakeHttp:
    url: str
    exchanges: list[Exchange] = attrs.field(factory=list)
    connections: int = 0

    def called(self, method: str) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.called == method]


@asynccontextmanager
async def fake_http(handler: Handler, *, port: int = 0) -> AsyncIterator[FakeHttp]:
    """A server on loopback for as long as the context is open; its connections are cut then."""

    async def serve(stream: trio.SocketStream) -> None:
        server.connections += 1
        state = h11.Connection(h11.SERVER)
        try:
            while True:
                exchange = await _receive(stream, state)
                if exchange is None:
                    return
                server.exchanges.append(exchange)
                await handler(exchange)
                if state.our_state is not h11.DONE:
                    return
                state.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        server = FakeHttp(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield server
        nursery.cancel_scope.cancel()


async def _receive(stream: trio.SocketStream, state: h11.Connection) -> Exchange | None:
    request: h11.Request | None = None
    body = b""
    while True:
        event = state.next_event()
        if event is h11.NEED_DATA:
            state.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
            return Exchange(request.method.decode(), request.target.decode(), headers, body, stream, state)
        else:
            return None
