"""A server with any application, and clients that speak HTTP by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import h11
import trio
import trio.testing

from praxis.net.http_server import App, Receive, Scope, Send, serve_http
from praxis.net.serve import open_listeners, open_unix_listener

PATIENCE = 2.0
"""Seconds within which everything here happens, on a slow machine too."""
MAX_BODY = 100_000
HOST = b"Host: 127.0.0.1\r\n"


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    assert message["type"] == "http.request" and not message["more_body"], "the body comes whole"
    await answer(send, b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], message["body"]))


@attrs.define(eq=False)
class Server:
    """One that runs; `apps` counts the requests that have reached the application."""

    connect: Callable[[], Awaitable[trio.SocketStream]]
    stopping: trio.Event
    ended: trio.Event
    paths: list[str]
    tasks: int = 0

    async def stopped(self) -> float:
        """Stop, and tell how many seconds that took."""
        began = trio.current_time()
        self.stopping.set()
        await self.ended.wait()
        return trio.current_time() - began

    async def idle(self) -> None:
        """Until no connection is left, so that none can have leaked."""
        with trio.fail_after(PATIENCE):
            while trio.lowlevel.current_statistics().tasks_living > self.tasks:  # noqa: ASYNC110 - nothing tells it
                await trio.sleep(0.002)


@asynccontextmanager
async def serving(app: App, *, grace: float = 0.2, unix: Path | None = None) -> AsyncIterator[Server]:
    paths: list[str] = []

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await app(scope, receive, send)

    listeners = [await open_unix_listener(unix)] if unix else await open_listeners("127.0.0.1", 0)
    if unix:
        connect = partial(trio.open_unix_socket, unix)
    else:
        connect = partial(trio.open_tcp_stream, *listeners[0].socket.getsockname())
    server = Server(connect, trio.Event(), trio.Event(), paths)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await serve_http(
            noted,
            listeners,
            name="test",
            stopping=server.stopping,
            grace=grace,
            max_body=MAX_BODY,
            task_status=task_status,
        )
        server.ended.set()

    with trio.fail_after(5 * PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            await trio.testing.wait_all_tasks_blocked()
            server.tasks = trio.lowlevel.current_statistics().tasks_living
            yield server
            server.stopping.set()


class Client:
    """One connection, spoken by h11."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def get(self, path: str = "/", *headers: tuple[str, str]) -> tuple[int, dict[bytes, bytes], bytes]:
        return await self.request("GET", path, b"", *headers)

    async def request(
        self, method: str, path: str, body: bytes, *headers: tuple[str, str]
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        fields = [("Host", "127.0.0.1"), *headers, *([("Content-Length", str(len(body)))] if body else [])]
        parts = [h11.Request(method=method, target=path, headers=fields), h11.Data(data=body), h11.EndOfMessage()]
        await self.stream.send_all(b"".join(self._http.send(part) or b"" for part in parts))
        return await self.response()

    def expect_answer(self) -> None:
        """After a GET that was written by hand."""
        for part in (h11.Request(method="GET", target="/", headers=[("Host", "127.0.0.1")]), h11.EndOfMessage()):
            self._http.send(part)

    async def response(self) -> tuple[int, dict[bytes, bytes], bytes]:
        status, headers, body = 0, dict[bytes, bytes](), b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                with suppress(h11.LocalProtocolError):
                    self._http.start_next_cycle()
                return status, headers, body
            else:
                raise AssertionError(f"unexpected {event}")

    async def closed(self) -> bool:
        """True when the server closes before it says anything else."""
        with trio.fail_after(PATIENCE):
            try:
                return not await self.stream.receive_some()
            except trio.BrokenResourceError:
                return True


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[Client]:
    stream = await server.connect()
    async with stream:
        yield Client(stream)


async def everything(stream: trio.SocketStream) -> bytes:
    """What the server says until it closes."""
    said = b""
    with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            said += piece
    return said


def get(*headers: bytes, path: bytes = b"/") -> bytes:
    return b"GET %s HTTP/1.1\r\n%s%s\r\n" % (path, HOST, b"".join(header + b"\r\n" for header in headers))
