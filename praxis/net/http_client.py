"""HTTP/1.1 requests: h11 over Trio.

Connections are kept and used again; bodies are streamed, so that a caller reads no more than it wants. Redirects are
followed on the same origin alone, and proxies of the environment not at all: where a request goes is what the
configuration says. There are no time limits but the one for connecting: the caller's cancel scope is the limit.
"""

from __future__ import annotations

import os
import select
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import attrs
import h11
import trio

CONNECT_LIMIT = 10.0
"""Seconds to connect and to shake hands: networks take milliseconds, and who takes longer will not answer."""
IDLE_LIMIT = 30.0
"""Seconds after which an idle connection is not used again: servers close theirs after 5 to 60."""
MAX_HEAD = 65536
"""Bytes of a response's status line and headers."""
MAX_INTERIM = 8
"""Responses of status 1xx before the real one; servers send one or none."""
MAX_REDIRECTS = 3
"""Redirects on one origin that are followed; a slash at the end takes one."""
CHUNK = 65536
"""Bytes that are read from a socket at once."""
DRAIN = 65536
"""Bytes of an unread body that are read so that its connection can be used again; beyond that a new one is cheaper."""
DRAIN_LIMIT = 1.0
"""Seconds for that."""

Headers = Iterable[tuple[str, str]]
Authorize = Callable[[str, str | None], Awaitable[Mapping[str, str] | None]]
"""Gives the headers that allow a request, or None: asked with the URL and None before each request, and once more with
the ``WWW-Authenticate`` of a 401 (which may be "") before the second and last try."""


class HttpError(OSError):
    """No usable response. `sent` tells whether the server may have got the request."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class BodyTooLargeError(HttpError):
    """A body is larger than the caller wants to read. `size` is what it announces, or what has come of it."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a body of {size} bytes is over the limit", sent=True)
        self.size = size


@attrs.frozen
class _Place:
    """Where a URL leads."""

    origin: tuple[str, str, int]
    authority: str
    target: str

    @classmethod
    def of(cls, url: str) -> _Place:
        """Raises HttpError for what is no http or https URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise HttpError(f"not a URL: {error}", sent=False) from None
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host or not (parts.path + parts.query).isascii():
            raise HttpError("expected an http or https URL", sent=False)
        usual = 443 if parts.scheme == "https" else 80
        name = f"[{host}]" if ":" in host else host
        authority = name if port in (None, usual) else f"{name}:{port}"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls((parts.scheme, host, port or usual), authority, target)


@attrs.define(eq=False)
class _Line:
    """One connection."""

    stream: trio.abc.Stream
    socket: trio.SocketStream
    state: h11.Connection
    used: bool = False
    idle_since: float = 0.0

    def is_usable(self) -> bool:
        """Whether it is still open and silent: a server that closed it has made it readable."""
        poll = select.poll()
        try:
            poll.register(self.socket.socket.fileno(), select.POLLIN)
        except (ValueError, OSError):
            return False
        return not poll.poll(0) and trio.current_time() - self.idle_since < IDLE_LIMIT

    async def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Raises HttpError when the connection breaks or what comes is no HTTP."""
        while True:
            try:
                event = self.state.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self.state.receive_data(bytes(await self.stream.receive_some(CHUNK)))
            except h11.RemoteProtocolError as error:
                raise HttpError(f"its answer is no HTTP, or ends too soon: {error}", sent=True) from None
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise HttpError(f"the connection broke: {error.__cause__ or error}", sent=True) from None


class HttpResponse:
    """Status and headers, and the body as it comes. `headers` have names in lower case; of several the last counts."""

    def __init__(self, line: _Line, response: h11.Response) -> None:
        self._line = line
        self.status = response.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        self.ended = False

    @property
    def content_type(self) -> str:
        """Such as ``application/json``, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def receive(self) -> bytes:
        """The next bytes of the body, b"" at its end. Raises HttpError when it ends too soon."""
        while not self.ended:
            event = await self._line.next_event()
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
            else:
                self.ended = True
        return b""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLargeError beyond `limit` bytes."""
        announced = self.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise BodyTooLargeError(int(announced))
        body = bytearray()
        while piece := await self.receive():
            body += piece
            if len(body) > limit:
                raise BodyTooLargeError(len(body))
        return bytes(body)


class HttpClient:
    """Makes requests; any number of tasks at once, each on its own connection.

    `keep` connections at most stay open while nobody uses them. `headers` go with every request, and so does what
    `authorize` gives. `tls` is how servers are checked; default the authorities of the system. With `unix` all goes to
    the server on that socket, whatever host a URL names.
    """

    def __init__(
        self,
        *,
        keep: int,
        headers: Headers = (),
        authorize: Authorize | None = None,
        tls: ssl.SSLContext | None = None,
        agent: str = "praxis",
        unix: Path | None = None,
    ) -> None:
        self._keep = keep
        self._headers = [*headers, ("User-Agent", agent), ("Accept-Encoding", "identity")]
        self._authorize = authorize
        self._tls = tls
        self._unix = unix
        self._idle: list[tuple[tuple[str, str, int], _Line]] = []
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, headers: Headers = (), body: bytes = b""
    ) -> AsyncIterator[HttpResponse]:
        """Send a request; the response is there once its headers are. Leaving the context ends it, whatever has come.

        Raises HttpError, an OSError, when there is no response to be had.
        """
        line, place, response = await self._respond(method, url, [*headers], body)
        async with self._returning(place, line):
            yield response
            await self._drain(response)

    async def aclose(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        self._closed = True
        for _, line in self._idle:
            await trio.aclose_forcefully(line.stream)
        self._idle.clear()

    async def _respond(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[_Line, _Place, HttpResponse]:
        """The response that counts, after a second try with other credentials and redirects."""
        challenge: str | None = None
        redirects = 0
        while True:
            place = _Place.of(url)
            allowed = await self._authorize(url, challenge) if self._authorize is not None else {}
            if allowed is None:
                allowed = {}
            line, response = await self._exchange(method, place, [*headers, *allowed.items()], body)
            target = _redirect(method, url, response)
            if target is None and not (response.status == 401 and self._authorize is not None and challenge is None):
                return line, place, response
            async with self._returning(place, line):
                if target is None:
                    challenge = response.headers.get("www-authenticate", "")
                else:
                    redirects += 1
                    if _Place.of(target).origin != place.origin or redirects > MAX_REDIRECTS:
                        why = "to another origin" if redirects <= MAX_REDIRECTS else "in circles"
                        raise HttpError(f"it redirects {why}", sent=False)
                    url = target
                await self._drain(response)

    @asynccontextmanager
    async def _returning(self, place: _Place, line: _Line) -> AsyncIterator[None]:
        """Whatever happens, the connection is kept for the next request if it can be, and else closed."""
        try:
            yield
        finally:
            if line.state.our_state is h11.DONE and line.state.their_state is h11.DONE:
                self._put_back(place, line)
            else:
                await trio.aclose_forcefully(line.stream)

    async def _exchange(self, method: str, place: _Place, headers: Headers, body: bytes) -> tuple[_Line, HttpResponse]:
        """Send on a connection that is open already, or on a new one, and wait for the response's headers."""
        fields = [("Host", place.authority), *self._headers, *headers]
        if body or method != "GET":
            fields.append(("Content-Length", str(len(body))))
        try:
            request = h11.Request(method=method, target=place.target, headers=fields)
        except h11.LocalProtocolError as error:
            raise HttpError(f"the request cannot be written: {error}", sent=False) from None
        while True:
            line = self._take_idle(place) or await self._connect(place)
            try:
                return line, await self._converse(line, request, body)
            except HttpError as error:
                await trio.aclose_forcefully(line.stream)
                # Closed while it was idle, just as we wrote: the server has not taken the request.
                if not (line.used and error.sent and line.state.their_state is h11.SEND_RESPONSE) or method != "GET":
                    raise
            except BaseException:
                await trio.aclose_forcefully(line.stream)
                raise

    async def _converse(self, line: _Line, request: h11.Request, body: bytes) -> HttpResponse:
        parts = [line.state.send(request), line.state.send(h11.Data(data=body)) if body else b""]
        written = b"".join(part for part in [*parts, line.state.send(h11.EndOfMessage())] if part)
        broken = False
        try:
            await line.stream.send_all(written)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            broken = True  # it may have said why before it stopped reading
        for _ in range(MAX_INTERIM + 1):
            try:
                event = await line.next_event()
            except HttpError:
                if broken:
                    raise HttpError("it closed the connection while the request was sent", sent=True) from None
                raise
            if isinstance(event, h11.Response):
                response = HttpResponse(line, event)
                coding = response.headers.get("content-encoding", "identity").lower()
                if coding != "identity":
                    raise HttpError(f"its answer is encoded as {coding[:40]!r}, which was not asked for", sent=True)
                return response
            if not isinstance(event, h11.InformationalResponse):
                raise HttpError("it closed the connection without an answer", sent=True)
        raise HttpError("it sends interim responses without an end", sent=True)

    async def _connect(self, place: _Place) -> _Line:
        """Raises HttpError."""
        scheme, host, port = place.origin
        with trio.move_on_after(CONNECT_LIMIT):
            try:
                if self._unix is not None:
                    socket = await trio.open_unix_socket(self._unix)
                else:
                    socket = await trio.open_tcp_stream(host, port)
            except OSError as error:
                where = self._unix or place.authority
                raise HttpError(f"cannot connect to {where}: {_reason(error)}", sent=False) from None
            try:
                stream: trio.abc.Stream = socket
                if scheme == "https":
                    tls = self._tls = self._tls or ssl.create_default_context()
                    stream = trio.SSLStream(socket, tls, server_hostname=host, https_compatible=True)
                    await stream.do_handshake()
                return _Line(stream, socket, h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD))
            except (trio.BrokenResourceError, ssl.SSLError, ssl.CertificateError) as error:
                await trio.aclose_forcefully(socket)
                reason = _reason(error.__cause__ or error)
                raise HttpError(f"no TLS with {place.authority}: {reason}", sent=False) from None
            except BaseException:
                await trio.aclose_forcefully(socket)
                raise
        raise HttpError(f"cannot connect to {place.authority} within {CONNECT_LIMIT:g} s", sent=False)

    def _take_idle(self, place: _Place) -> _Line | None:
        for index in range(len(self._idle) - 1, -1, -1):
            origin, line = self._idle[index]
            if origin == place.origin:
                del self._idle[index]
                if line.is_usable():
                    return line
                line.socket.socket.close()
        return None

    def _put_back(self, place: _Place, line: _Line) -> None:
        if self._closed or len(self._idle) >= self._keep:
            line.socket.socket.close()
            return
        line.state.start_next_cycle()
        line.used, line.idle_since = True, trio.current_time()
        self._idle.append((place.origin, line))

    async def _drain(self, response: HttpResponse) -> None:
        """Read what is left of a body, if that is little, so that its connection can be used again."""
        if response.ended or response.content_type == "text/event-stream":  # which ends when the server wants
            return
        size = 0
        with trio.move_on_after(DRAIN_LIMIT), suppress(HttpError):
            while size <= DRAIN and (piece := await response.receive()):
                size += len(piece)


def _redirect(method: str, url: str, response: HttpResponse) -> str | None:
    """Where the same request is to be made instead, if it is."""
    if response.status not in (307, 308) and not (response.status in (301, 302) and method == "GET"):
        return None
    location = response.headers.get("location")
    return None if location is None else urljoin(url, location).partition("#")[0]


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and isinstance(error.__cause__, BaseExceptionGroup):
        causes = [_reason(cause) for cause in error.__cause__.exceptions]
        return "; ".join(dict.fromkeys(causes))
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "verify_message", "") or error.reason or error).lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(getattr(error, "strerror", None) or error)
