"""One connection of HTTP/1.1: reads from a socket what an ASGI application is asked, in one task.

A request is read whole before the application is called, so that it sees a whole one or none, and its answer is sent
in as few pieces as the application gives. Nothing is read meanwhile unless the application asks whether the client is
still there. A tiny request costs one read, one write and one wait.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate
from time import time
from typing import Any
from urllib.parse import unquote

import attrs
import h11
import trio

from praxis.model.errors import PraxisError
from praxis.model.problem import CONTENT_TYPE, problem_body
from praxis.net.http_answer import GO_ON, Answer
from praxis.net.http_head import Head, read_ordinary

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_HEAD = 16 * 1024
"""Bytes of a request's head: h11's own bound, twice what browsers send with many cookies."""
MAX_AHEAD = 64 * 1024
"""Bytes of further requests that are taken in while one is answered, and one read more: after that it is not noticed
any more that the client leaves, which a client that sends ahead so much has to bear."""
READ_SIZE = 64 * 1024
SMALLER = "send less at once; http.max_body in the agent's configuration says how much it takes"
ASGI = {"version": "3.0", "spec_version": "2.3"}


class Gone(Exception):
    """The client has left, or has said nothing for too long: there is nobody to answer."""


LEFT = (Gone, OSError, trio.ClosedResourceError)
"""How it shows that there is nobody any more, or that the server has closed the socket when its time was over."""


class Refused(Exception):
    """A request that gets a problem for an answer, after which the connection is closed."""

    def __init__(self, status: int, error: PraxisError) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error


@attrs.frozen
class Terms:
    """What one server grants to each connection: bytes of a body, and seconds for a body and for reading on after a
    refusal."""

    max_body: int
    body: float
    linger: float


class Dates:
    """The value of the header Date, made anew once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def now(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode()
        return self._text


class HttpConnection:
    """Serves one client. `stopping` says whether the request under way is the last one.

    Attributes:
        idle_since: Trio's time since when a request's head is waited for, which the server bounds; infinite while
            there is a request.
    """

    def __init__(self, app: App, stream: trio.SocketStream, terms: Terms, stopping: trio.Event, dates: Dates) -> None:
        self.idle_since = trio.current_time()
        self._app = app
        self._socket = stream.socket
        self._terms = terms
        self._stopping = stopping
        self._dates = dates
        self._ahead = b""  # what has come of the next request
        self._http: h11.Connection | None = None  # reads a request that is not ordinary
        self._request: Head | None = None
        self._waiting = trio.CancelScope()
        self._client, self._server = (_address(name) for name in (stream.socket.getpeername, stream.socket.getsockname))

    def close(self) -> None:
        """End it: it is idle."""
        self.idle_since = math.inf
        self._waiting.cancel()

    async def serve(self) -> None:
        """Answer requests until the connection is over. What an application raises is logged."""
        try:
            with self._waiting:
                while await self._serve_one():
                    self.idle_since = trio.current_time()
        except Refused as refused:
            await self._refuse(refused)
        except LEFT:
            pass

    async def _serve_one(self) -> bool:
        """Read a request and have it answered. False when it was the last one."""
        try:
            self._request = None
            request, size = await self._read_head()
            self._request, self.idle_since = request, math.inf
            if self._waiting.cancel_called:  # the server has closed the connection while this came
                raise Gone
            self._check(request)
            body = await (self._read_size(size) if self._http is None else self._read_body(self._http, request))
        except h11.RemoteProtocolError as error:
            raise _fault(error) from None
        answer = Answer(request)
        exchange = Exchange(self, answer, body)
        try:
            await self._app(self._scope(request), exchange.receive, exchange.send)
        except Exception:  # one request: it must not take other connections with it
            logger.exception("%s %s failed with a bug", request.method.decode(), request.target.decode()[:200])
        if not answer.over:
            if not (exchange.sent or exchange.gone):
                failed = Answer(request).head(500, [(b"content-length", b"0")], self.date, last=True)
                await self.write(failed)
            return False
        if exchange.lost or not answer.keeps or self._stopping.is_set():
            return False
        if self._http is not None:
            self._ahead, _ = self._http.trailing_data
            self._http = None
        return True

    # -- reading ------------------------------------------------------------------------------------

    async def _read_head(self) -> tuple[Head, int]:
        """The head of the next request, and the size of the body if it is an ordinary one."""
        if self._ahead:
            await trio.lowlevel.checkpoint()  # who sends many at once must not keep all others waiting
        else:
            await self.fill()
        if (ordinary := read_ordinary(self._ahead, self._terms.max_body)) is not None:
            request, size, self._ahead = ordinary
            return request, size
        http = self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        http.receive_data(self._ahead)
        self._ahead = b""
        while type(event := http.next_event()) is not h11.Request:
            if event is not h11.NEED_DATA:
                raise Gone
            await self.fill()
        return event, 0

    async def _read_size(self, size: int) -> bytes:
        """A body of a size that is known and allowed. Raises Refused for one that takes too long."""
        come = bytearray(self._ahead)
        if len(come) < size:
            with trio.move_on_after(self._terms.body):
                while len(come) < size:
                    data = await self._read()
                    if not data:
                        raise Gone
                    come += data
            if len(come) < size:
                raise self._too_slow()
        self._ahead = bytes(come[size:])
        return bytes(come[:size])

    async def _read_body(self, http: h11.Connection, request: Head) -> bytes:
        """The whole body. Raises Refused for one that is too large or takes too long."""
        limit = self._terms.max_body
        announced = next((value for name, value in request.headers if name == b"content-length"), b"0")
        if int(announced) > limit:
            raise Refused(413, _too_large(f"a body of {int(announced)} bytes; {limit} are allowed"))
        body = bytearray()  # one piece: a client may send it byte by byte
        if self._take_body(http, body):
            return bytes(body)
        with trio.move_on_after(self._terms.body):
            if http.they_are_waiting_for_100_continue:
                await self.write(GO_ON)
            while True:
                await self.fill()
                if self._take_body(http, body):
                    return bytes(body)
        raise self._too_slow()

    def _too_slow(self) -> Refused:
        detail = f"the body was not there within {self._terms.body:g} s"
        return Refused(408, PraxisError("timeout", detail, hint="send it all, and faster"))

    def _take_body(self, http: h11.Connection, body: bytearray) -> bool:
        """Add what has come of the body; whether it is whole."""
        while (event := http.next_event()) is not h11.NEED_DATA:
            if type(event) is not h11.Data:
                return True
            body += event.data
            if len(body) > self._terms.max_body:
                detail = f"a body of more than the {self._terms.max_body} bytes that are allowed"
                raise Refused(413, _too_large(detail))
        return False

    async def fill(self) -> int:
        """Wait for bytes and take them; how many. Raises Gone when there are no more."""
        data = await self._read()
        if not data:
            raise Gone
        if self._http is None:
            self._ahead += data
        else:
            self._http.receive_data(data)
        return len(data)

    async def _read(self) -> bytes:
        """What comes next; nothing at the end. It waits first: mostly there is nothing yet, and others get a turn."""
        while (number := self._socket.fileno()) >= 0:
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError):  # somebody woke us for nothing
                return os.read(number, READ_SIZE)
        raise Gone  # the server has closed it

    def _check(self, request: Head) -> None:
        """That it is a request that is answered here. Raises Refused."""
        if request.http_version not in (b"1.1", b"1.0"):
            version = request.http_version.decode()
            error = PraxisError("invalid", f"HTTP/{version} is not spoken here", hint="use HTTP/1.1")
            raise Refused(505, error)
        if request.method == b"CONNECT":
            hint = "take it out of the proxies that the client uses"
            raise Refused(501, PraxisError("invalid", "this agent is no proxy", hint=hint))

    def _scope(self, request: Head) -> Scope:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": request.http_version.decode(),
            "method": request.method.decode().upper(),
            "scheme": "http",
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            # A server may ignore Upgrade (RFC 9110, section 7.8), and this one always does.
            "headers": [field for field in request.headers if field[0] != b"upgrade"],
            "client": self._client,
            "server": self._server,
            "extensions": {},
        }

    # -- writing ------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Send all of it. It yields only to wait for room. Raises OSError when the client is gone."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._socket.fileno(), left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    @property
    def date(self) -> bytes:
        """The value of the header Date."""
        return self._dates.now()

    @property
    def stopping(self) -> bool:
        """Whether the request under way is the last one."""
        return self._stopping.is_set()

    async def _refuse(self, refused: Refused) -> None:
        """A problem (RFC 9457) and the end. What the client still sends is read for a moment: closing over unread
        bytes resets the connection, and the answer could be lost with it."""
        body, answer = problem_body(refused.error, refused.status), Answer(self._request)
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        with trio.move_on_after(self._terms.linger), suppress(*LEFT):
            await self.write(answer.head(refused.status, headers, self.date, last=True) + answer.part(body, False))
            self._socket.shutdown(trio.socket.SHUT_WR)
            while await self._read():
                pass

    async def wait_gone(self) -> None:
        """Return when the client is seen to have left; what it sends meanwhile is kept for later, so far it fits."""
        ahead = 0
        with suppress(*LEFT):
            while ahead <= MAX_AHEAD:
                ahead += await self.fill()
            await trio.sleep_forever()


class Exchange:
    """One request and its answer, as the application sees them.

    Attributes:
        sent: some of the answer has been sent.
        lost: some of it could not be sent.
        gone: the client has left, and the application has been told.
    """

    def __init__(self, connection: HttpConnection, answer: Answer, body: bytes) -> None:
        self.sent = self.lost = self.gone = False
        self._connection = connection
        self._answer = answer
        self._body: bytes | None = body
        self._start: Any = None  # the message, until the first part of the body
        self._started = False
        self._watch: trio.CancelScope | None = None

    async def receive(self) -> Any:
        """The body; after that ``http.disconnect``, once the client has left or has been answered."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not (self._answer.over or self.lost or self.gone):
            with trio.CancelScope() as self._watch:
                await self._connection.wait_gone()
                self.gone = True
            self._watch = None
        else:
            await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Take a part of the answer. What is sent to a client that has left is dropped."""
        kind = message["type"]
        if kind == "http.response.start" and not self._started:
            self._start, self._started = message, True
        elif kind == "http.response.body" and self._started and not self._answer.over:
            await self._send_part(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} is out of place here")

    async def _send_part(self, body: bytes, more: bool) -> None:
        connection, answer, head = self._connection, self._answer, b""
        if self._start is not None:
            start, self._start = self._start, None
            head = answer.head(start["status"], start.get("headers", ()), connection.date, last=connection.stopping)
        data = head + answer.part(body, more)
        try:
            if data and not self.lost:
                self.sent = True
                await connection.write(data)
        except LEFT:
            self.lost = True
        if more:
            await trio.lowlevel.checkpoint()
        elif self._watch is not None:
            self._watch.cancel()


def _fault(error: h11.RemoteProtocolError) -> Refused:
    if error.error_status_hint == 431:
        detail = f"the head of the request has more than {MAX_HEAD} bytes"
        return Refused(431, PraxisError("too_large", detail, hint="shorten its URL and headers"))
    detail = f"not a request of HTTP/1.1: {error}"
    return Refused(error.error_status_hint, PraxisError("invalid", detail, hint="plain HTTP/1.1 is spoken here"))


def _too_large(detail: str) -> PraxisError:
    return PraxisError("too_large", detail, hint=SMALLER)


def _address(name: Callable[[], Any]) -> tuple[str, int] | None:
    """Host and port of one end; None on a unix socket, and for a client that has left already."""
    try:
        found = name()
    except OSError:
        return None
    return (found[0], found[1]) if isinstance(found, tuple) else None
