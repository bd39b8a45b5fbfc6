"""Serves ASGI applications: hypercorn's connection class over our own accept loop.

Hypercorn's own server ends when one client's connection raises; here that ends the one connection. HTTP/1.1 only.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from praxis.model.errors import PraxisError
from praxis.model.problem import CONTENT_TYPE, problem_body
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
LINGER = 1.0
"""Seconds that the rest of a refused request is read: enough for a client on this machine or near to send all of it."""
MAX_HEAD = 16 * 1024
"""Bytes of a request's head: h11's own bound, twice what browsers send with many cookies."""
SMALLER = "send less at once; http.max_body in the agent's configuration says how much it takes"
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


class _Parser(h11.Connection):
    """Remembers what was wrong with what the client sent: hypercorn hands on the status alone."""

    fault: h11.RemoteProtocolError | None = None

    def next_event(self) -> Any:
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            self.fault = error
            raise


class _Http11(H11Protocol):
    """HTTP/1.0 and 1.1 alone: no HTTP/2, no WebSockets, no tunnels.

    Requests to upgrade are known that raise in hypercorn's code; we need none of it, and a server may ignore Upgrade
    (RFC 9110, section 7.8). `reading` is what to cancel once the connection has ended, `linger` reads on what a client
    sends that is refused.
    """

    reading: trio.CancelScope
    linger: Callable[[], Awaitable[None]]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection = self._parser = _Parser(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._is_head = False

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            # The reader may be waiting for the end of an answer before it takes the next request; that end never
            # comes when the client has gone meanwhile.
            self.reading.cancel()

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        self._is_head = request.method == b"HEAD"
        if request.http_version not in (b"1.1", b"1.0"):
            version = request.http_version.decode("ascii")
            await self._turn_away(
                505, PraxisError("invalid", f"HTTP/{version} is not spoken here", hint="use HTTP/1.1")
            )
            return
        if request.method == b"CONNECT":
            hint = "take it out of the proxies that the client uses"
            await self._turn_away(501, PraxisError("invalid", "this agent is no proxy", hint=hint))
            return
        if any(name == b"upgrade" for name, _ in request.headers):
            headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
            request = h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        """What hypercorn answers to something that is no request of HTTP/1.1."""
        await self._refuse(status_code, _fault(status_code, self._parser.fault))

    async def _turn_away(self, status: int, error: PraxisError) -> None:
        await self._refuse(status, error)
        await self.send(Closed())

    async def _refuse(self, status: int, error: PraxisError) -> None:
        body = problem_body(error, status)
        answers_head = self._is_head and self.connection.our_state is h11.SEND_RESPONSE
        headers = [*_problem_headers(body), *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status, headers=headers))
        if not answers_head:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
        await self.linger()


def _fault(status: int, fault: h11.RemoteProtocolError | None) -> PraxisError:
    if status == 431:
        return PraxisError(
            "too_large", f"the head of the request has more than {MAX_HEAD} bytes", hint="shorten its URL and headers"
        )
    return PraxisError("invalid", f"not a request of HTTP/1.1: {fault}", hint="plain HTTP/1.1 is spoken here")


def _problem_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """Of a problem after which the connection is closed."""
    return [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]


class _Connection(TCPServer):
    """Hypercorn's connection, without TLS and HTTP/2."""

    async def run(self) -> None:
        sock = self.stream.socket
        self._reading = trio.CancelScope()
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            async with TaskGroup() as tasks:
                self._task_group = tasks
                protocol = _Http11(
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
                protocol.reading = self._reading
                protocol.linger = self._linger
                self.protocol = protocol  # type: ignore[assignment]
                await self.idle_task.restart(tasks, self._idle_timeout)
                with self._reading:
                    await self._read_data()
                # Nothing is waited for any more; hypercorn would keep the place until the idle time is over.
                await self.idle_task.stop()
        except OSError:
            pass  # the client has gone
        finally:
            await self._close()

    async def _linger(self) -> None:
        """Closing over unread bytes would reset the connection, and the answer could be lost with it."""
        with trio.move_on_after(LINGER), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await self.stream.receive_some():
                pass

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and event.idle and self._reading.cancel_called:
            return  # an answer that ended after its client had gone: there is no next request to wait for
        await super().protocol_send(event)


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
            detail = f"a body of {int(announced)} bytes; {max_body} are allowed"
            await _refuse(receive, send, 413, PraxisError("too_large", detail, hint=SMALLER))
            return
        body = bytearray()  # one piece: a client may send it byte by byte
        with trio.move_on_after(BODY_TIMEOUT) as patience:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return
                body += message.get("body", b"")
                if len(body) > max_body:
                    break
                if not message.get("more_body"):
                    break
        if len(body) > max_body:
            detail = f"a body of more than the {max_body} bytes that are allowed"
            await _refuse(receive, send, 413, PraxisError("too_large", detail, hint=SMALLER))
            return
        if patience.cancelled_caught:
            detail = f"the body was not there within {BODY_TIMEOUT:g} s"
            await _refuse(receive, send, 408, PraxisError("timeout", detail, hint="send it all, and faster"))
            return
        whole: Any = {"type": "http.request", "body": bytes(body), "more_body": False}

        async def receive_whole() -> Any:
            nonlocal whole
            if whole is not None:
                message, whole = whole, None
                return message
            return await receive()

        await app(scope, receive_whole, send)

    return limited


async def _refuse(receive: Receive, send: Send, status: int, error: PraxisError) -> None:
    """A problem (RFC 9457), after which the connection is closed.

    The rest of the body is not wanted, but it is read for a moment: closing over unread bytes resets the connection,
    and the answer could be lost with it. Hypercorn's queue is kept empty to the end, because with a full one its last
    send never returns.
    """
    body = problem_body(error, status)
    headers = _problem_headers(body)
    all_read = trio.Event()

    async def read_on() -> None:
        while True:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body"):
                all_read.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_on)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with trio.move_on_after(LINGER):
            await all_read.wait()
        await send({"type": "http.response.body", "body": b""})
        nursery.cancel_scope.cancel()
