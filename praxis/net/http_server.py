"""Serves ASGI applications: hypercorn's connection class over our own accept loop.

Hypercorn's own server ends when one client's connection raises; here that ends the one connection. HTTP/1.1 only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from praxis.net.serve import serve_connections

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_CONNECTIONS = 1024
"""Connections of one listener at once: far above 50 machines' needs, and a third of usual descriptor limits."""
IDLE = 20.0
"""Seconds that a connection may take for a request's head, the wait between two requests included."""
BODY_TIMEOUT = 30.0
"""Seconds for the whole body of a request: the largest that is allowed, at about 1 Mbit/s."""
FINISH_PATIENCE = 1.0
"""Seconds that a disconnect is held back while the last part of the answer is being sent."""


async def serve_http(
    app: App,
    listeners: Sequence[trio.SocketListener],
    *,
    name: str,
    stopping: trio.Event,
    grace: float,
    max_body: int,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stopping`, then let running requests finish for `grace` seconds.

    Raises OSError when a listener fails.
    """
    config = Config()
    config.keep_alive_timeout = IDLE
    config.graceful_timeout = grace
    config.errorlog = logging.getLogger("praxis.net.hypercorn")
    config.include_server_header = False
    layered: Any = finish_responses(limit_bodies(app, max_body))
    wrapped = wrap_app(layered, 0, "asgi")
    context = WorkerContext(None)

    async def handle(stream: trio.SocketStream) -> None:
        await _Connection(wrapped, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]

    async def tell_connections() -> None:
        """Idle connections are closed at once; a running request is the last one on its connection."""
        await stopping.wait()
        await context.terminated.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_connections)
        await serve_connections(
            handle,
            listeners,
            stopping=stopping,
            grace=grace,
            name=name,
            max_connections=MAX_CONNECTIONS,
            task_status=task_status,
        )
        nursery.cancel_scope.cancel()


class _Http11(H11Protocol):
    """No upgrades: to HTTP/2 and to hypercorn's WebSockets, requests are known that raise in its code; we use neither.

    A server may ignore Upgrade (RFC 9110, section 7.8).
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if any(name == b"upgrade" for name, _ in request.headers):
            headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
            request = h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        await super()._create_stream(request)


class _Connection(TCPServer):
    """Hypercorn's connection, without TLS and HTTP/2."""

    async def run(self) -> None:
        sock = self.stream.socket
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            async with TaskGroup() as tasks:
                self._task_group = tasks
                self.protocol = _Http11(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    tasks,
                    ConnectionState(self.state),
                    False,
                    client,
                    server,
                    self.protocol_send,
                )
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass  # the client has gone
        finally:
            await self._close()


def finish_responses(app: App, patience: float = FINISH_PATIENCE) -> App:
    """Hold back ``http.disconnect`` while the last part of the response is being sent, `patience` seconds at most.

    Hypercorn reports the disconnect from within that last send, before it has made the connection ready for the next
    request. quart-trio answers a disconnect by cancelling the request, which then leaves the connection open for ever:
    neither ``Connection: close`` nor the idle time-out is honoured.
    """

    async def finishing(scope: Scope, receive: Receive, send: Send) -> None:
        last_sent = trio.Event()
        last_part = False

        async def send_noting_last(message: Any) -> None:
            nonlocal last_part
            last_part = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)
            if last_part:
                last_sent.set()

        async def receive_disconnect_late() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect" and last_part:
                with trio.move_on_after(patience):
                    await last_sent.wait()
            return message

        await app(scope, receive_disconnect_late, send_noting_last)

    return finishing


def limit_bodies(app: App, max_body: int) -> App:
    """Answer 413 to a body of more than `max_body` bytes, and 408 to one that takes longer than BODY_TIMEOUT.

    The body is read before the application runs, so that it sees a whole one or none.
    """

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > max_body:
            await _refuse(send, 413, "too_large", f"a body of {int(announced)} bytes; {max_body} are allowed")
            return
        parts: list[bytes] = []
        size = 0
        with trio.move_on_after(BODY_TIMEOUT) as patience:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > max_body:
                    await _refuse(send, 413, "too_large", f"a body of more than {max_body} bytes")
                    return
                if not message.get("more_body"):
                    break
        if patience.cancelled_caught:
            await _refuse(send, 408, "timeout", f"the body was not there within {BODY_TIMEOUT:g} s")
            return
        whole: Any = {"type": "http.request", "body": b"".join(parts), "more_body": False}

        async def receive_whole() -> Any:
            nonlocal whole
            if whole is not None:
                message, whole = whole, None
                return message
            return await receive()

        await app(scope, receive_whole, send)

    return limited


async def _refuse(send: Send, status: int, code: str, detail: str) -> None:
    """A problem (RFC 9457), after which the connection is closed: the rest of the body is not wanted."""
    body = json.dumps({"title": detail, "status": status, "code": code, "detail": detail}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
