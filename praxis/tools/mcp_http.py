"""A connection with an MCP server over streamable HTTP, in both eras.

Each request is a POST of its own, made by the task that wants the answer, and its response says to which call
everything on it belongs. In the handshake era there is a session beside: its id goes with every request, a stream of
its own brings what belongs to no call, a stream that breaks is resumed from its last event, and a server that has
lost the session is greeted again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.net.http_client import BodyTooLargeError, HttpClient, HttpError, HttpResponse
from praxis.tools.mcp_calls import Call, Questions
from praxis.tools.mcp_connection import (
    Places,
    Upward,
    outcome,
    says_session_lost,
    tell_log,
    tell_progress,
    too_large,
)
from praxis.tools.mcp_http_channel import SIDE_LIMIT, STREAM, HttpChannel
from praxis.tools.mcp_http_errors import SessionLostError, read_error
from praxis.wire import jsonrpc, mcp
from praxis.wire.mcp import ClientSession
from praxis.wire.mcp_headers import ParamHeader
from praxis.wire.sse import EventReader

logger = logging.getLogger(__name__)

CANCEL_LIMIT = 2.0
"""Seconds to tell a server that a call is cancelled, or that the session ends."""
RETRY = 1.0
"""Seconds before a stream that has ended is opened again, unless the server asks for another time."""
MAX_RETRY = 30.0
"""Seconds before the stream beside is opened again when that fails: doubled up to here."""
BESIDE_LIMIT = 0.5
"""Seconds that the first call waits until the stream beside is there, so that it misses nothing. Servers that have
none say so at once; a few that have one say nothing before there is something to tell."""
STEADY = 10.0
"""Seconds that a stream beside must have lasted for the next pause to be short: some servers close it at once."""
SHORTEST_RETRY = 0.1
"""Seconds before a stream is opened again at least, whatever the server asks."""
SESSION = "mcp-session-id"
ToolHeaders = Callable[[str], Sequence[ParamHeader]]


class _Call(Call):
    """`scope` is what it runs in, `sent` once the server may have got it."""

    __slots__ = ("scope", "sent")

    def __init__(self, what: str, context: CallContext | None, scope: trio.CancelScope, timeout: float) -> None:
        super().__init__(what, context, timeout)
        self.scope = scope
        self.sent = False

    def end_at(self, deadline: float) -> None:
        self.scope.deadline = deadline


class McpHttp:
    """A `praxis.tools.mcp_connection.Connection`. `tool_headers` gives the headers that a tool's arguments go into."""

    def __init__(
        self,
        server: str,
        url: str,
        client: HttpClient,
        session: ClientSession,
        *,
        max_calls: int,
        max_message: int,
        upward: Upward,
        tool_headers: ToolHeaders = lambda tool: (),
    ) -> None:
        self.session = session
        self.open = True
        self.silence_is_legacy = False
        self._server = server
        self._channel = HttpChannel(server, url, client, session)
        self._limit = max_message
        self._upward = upward
        self._tool_headers = tool_headers
        self.places = Places(max_calls)
        self._calls: dict[int, _Call] = {}
        self._questions = Questions(session, upward, self._start_post)
        self._nursery: trio.Nursery | None = None
        self._over = trio.Event()
        self._reason = ""
        self._generation = 0
        self._renewing = trio.Lock()
        self._beside: trio.CancelScope | None = None

    # -- the connection ---------------------------------------------------------------------------

    async def run(self) -> str:
        try:
            async with trio.open_nursery() as self._nursery:
                await self._over.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self.open = False
            with trio.move_on_after(CANCEL_LIMIT, shield=True):
                await self._channel.end_session()
        return self._reason

    def hang_up(self, reason: str, *, patience: float = 0.0) -> None:
        self._reason = self._reason or reason
        self.open = False
        self._over.set()

    def fail_calls(self, detail: str, data: dict[str, JSON]) -> None:
        self.open = False
        self._reason = detail
        for call in self._calls.values():
            call.finish(None, self._unavailable(detail, sent=call.sent, data=data))
            call.scope.cancel()

    async def notify(self, line: bytes) -> None:
        await self._channel.post_aside(line)
        if not self.session.modern and self._beside is None and self._nursery is not None:
            self._beside = trio.CancelScope()
            answered = trio.Event()
            self._nursery.start_soon(self._listen, answered)
            with trio.move_on_after(BESIDE_LIMIT):
                await answered.wait()

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        what: str,
        timeout: float,
        context: CallContext | None = None,
        meta: Mapping[str, JSON] | None = None,
    ) -> JSON:
        call: _Call | None = None
        with trio.move_on_after(timeout) as scope:
            if timeout != math.inf:
                await self.places.take()
            try:
                if not self.open:
                    raise self._unavailable(self._reason, sent=False)
                call = _Call(what, context, scope, timeout)
                await self._persist(call, method, params, meta)
            finally:
                if timeout != math.inf:
                    self.places.leave()
                if call is not None:
                    call.end_asks()
        if call is None or not call.done:
            sent = call is not None and call.sent
            raise PraxisError("timeout", f"{what}: no answer within {timeout:g} s", delivered=sent)
        if call.error is not None:
            raise call.error
        return call.value

    # -- one request ------------------------------------------------------------------------------

    async def _persist(
        self, call: _Call, method: str, params: Mapping[str, JSON], meta: Mapping[str, JSON] | None
    ) -> None:
        """Make the request, and once more in a new session if the server has lost the old one."""
        if self._renewing.locked():
            async with self._renewing:
                pass
        generation = self._generation
        try:
            await self._exchange(call, method, params, meta)
        except SessionLostError:
            await self._renew(generation)
            try:
                await self._exchange(call, method, params, meta)
            except SessionLostError as again:
                raise again.error from None

    async def _exchange(
        self, call: _Call, method: str, params: Mapping[str, JSON], meta: Mapping[str, JSON] | None
    ) -> None:
        progress = call.context is not None and call.context.on_progress is not None
        try:
            id, line = self.session.request(method, params, progress=progress, meta=meta)
        except (ValueError, TypeError, RecursionError) as error:
            raise PraxisError("invalid", f"{call.what}: not JSON: {error}", where="arguments") from None
        self._calls[id] = call
        session_id = self._channel.session_id
        named = self._tool_headers(str(params.get("name"))) if method == "tools/call" else ()
        try:
            call.sent = True
            async with self._channel.post(line, method, params, named) as response:
                await self._take_response(call, id, method, response, session_id)
        except BodyTooLargeError as error:
            raise too_large(call.what, error.size) from None
        except HttpError as error:
            call.sent = error.sent
            if not error.sent:
                self.hang_up(str(error))
            raise self._unavailable(f"{call.what}: {error}", sent=error.sent) from None
        except trio.Cancelled:
            if not call.done and not self.session.modern and method not in ("initialize", "server/discover"):
                late = trio.current_time() >= call.scope.deadline
                reason = "time is up" if late else "cancelled by the caller"
                with trio.move_on_after(CANCEL_LIMIT, shield=True):
                    await self._channel.post_aside(self.session.cancel(id, reason))
            raise
        finally:
            self.session.forget(id)
            del self._calls[id]

    async def _take_response(self, call: _Call, id: int, method: str, response: HttpResponse, session_id: str) -> None:
        """`session_id` is the one that the request was made with; it may be another one by now."""
        if response.status >= 300:
            error = await read_error(self._server, call.what, response)
            lost = response.status == 404 or (response.status in (400, 410) and says_session_lost(str(error)))
            if session_id and lost:
                raise SessionLostError(error)
            raise error
        if method == "initialize":
            self._channel.adopt(response.headers.get(SESSION, ""))
        if response.content_type == STREAM:
            await self._take_streams(call, id, response)
        else:
            for happening in self.session.take(await response.read(self._limit)):
                self._take(happening, call)
        if not call.done:
            raise PraxisError("internal", f"{call.what}: its response has no answer", delivered=True)
        given_up = call.error
        if given_up is not None and session_id and says_session_lost(str(given_up.data.get("jsonrpc", ""))):
            call.done = False
            raise SessionLostError(given_up)

    async def _take_streams(self, call: _Call, id: int, response: HttpResponse) -> None:
        """Take what comes until the answer is there, on this stream and on those that resume it."""
        reader = EventReader(self._limit)
        cut = await self._take_stream(reader, response, call)
        while not call.done:
            if self.session.modern or not reader.last_id:
                detail = f"{call.what}: {cut or 'its stream ended without the answer'}"
                raise self._unavailable(detail, sent=True)
            await trio.sleep(_pause(reader))
            last_id, retry = reader.last_id, reader.retry
            reader = EventReader(self._limit)
            reader.last_id, reader.retry = last_id, retry
            try:
                async with self._channel.stream(last_id) as again:
                    if again.status >= 300 or again.content_type != STREAM:
                        raise await read_error(self._server, f"{call.what}: its stream cannot be resumed", again)
                    cut = await self._take_stream(reader, again, call)
            except HttpError as error:
                cut = str(error)
                if not error.sent:
                    raise self._unavailable(f"{call.what}: {error}", sent=True) from None

    async def _take_stream(self, reader: EventReader, response: HttpResponse, call: _Call | None) -> str:
        """Take what comes until the call is done or the stream is over; what cut it off, if it did not just end."""
        try:
            while not (call is not None and call.done) and (data := await response.receive()):
                for event in reader.receive(data):
                    if event.size:
                        long = jsonrpc.LongLine(event.size, event.data[: jsonrpc.EDGE], b"")
                        if call is not None and not long.asks:
                            call.finish(None, too_large(call.what, event.size))
                        continue
                    for happening in self.session.take(event.data):
                        self._take(happening, call)
        except HttpError as error:
            return str(error)
        return ""

    # -- what comes -------------------------------------------------------------------------------

    def _take(self, happening: mcp.Happening, call: _Call | None) -> None:
        """`call` is the one whose response this came on."""
        match happening:
            case mcp.Answered(id, result):
                self._settle(id, call, result, None)
            case mcp.Refused(id) | mcp.TooLong(id) | mcp.Garbled(id):
                self._settle(id, call, None, outcome(self._calls[id].what, happening))
            case mcp.Progressed(id, params):
                owner = self._calls[id]
                if owner.context is not None:
                    owner.context = tell_progress(self._server, owner.what, owner.context, params)
            case mcp.Notified(method, params):
                self._upward.on_notice(method, params)
            case mcp.Logged():
                self._upward.on_text(happening.level, happening.text)
                if call is not None and call.context is not None:
                    tell_log(self._server, call.context, happening)
            case mcp.Noise(text, problem):
                self._upward.on_text("noise", f"{problem}: {text}")
            case mcp.Reply(line):
                self._start_post(line)
            case mcp.Asked():
                self._questions.ask(self._nursery, happening, call, self._calls.values())

    def _settle(self, id: int, on: _Call | None, result: JSON, error: PraxisError | None) -> None:
        """An answer, which some servers send on another stream than that of its request."""
        call = self._calls[id]
        call.finish(result, error)
        if call is not on:
            call.scope.cancel()

    # -- beside the requests ----------------------------------------------------------------------

    def _start_post(self, line: bytes) -> None:
        if self._nursery is not None and self.open:
            self._nursery.start_soon(self._channel.post_aside, line)

    async def _listen(self, answered: trio.Event) -> None:
        """Keep the stream of the handshake era open that brings what belongs to no request, if there is one."""
        pause, last_id = RETRY, ""
        while True:
            generation = self._generation
            reader = EventReader(self._limit)
            with trio.CancelScope() as self._beside:
                try:
                    async with self._channel.stream(last_id) as response:
                        answered.set()
                        if response.status == 404 and self._channel.session_id:
                            await self._renew(generation)
                        elif response.status >= 300 or response.content_type != STREAM:
                            if response.status < 500 and response.status != 429:
                                return  # there is none, mostly with 405
                        else:
                            began = trio.current_time()
                            await self._take_stream(reader, response, None)
                            if trio.current_time() - began >= STEADY:
                                pause = RETRY
                except HttpError as error:
                    if not error.sent:
                        self.hang_up(str(error))
                        return
                except PraxisError as error:
                    self.hang_up(str(error))
                    return
            if generation != self._generation:
                last_id = ""
                continue
            last_id = reader.last_id or last_id
            await trio.sleep(max(_pause(reader), pause if not reader.last_id else 0.0))
            pause = min(2 * pause, MAX_RETRY)

    async def _renew(self, generation: int) -> None:
        """Begin a new session, unless another task has done so since this `generation`. Raises PraxisError."""
        async with self._renewing:
            if generation != self._generation:
                return
            logger.info("MCP server %s: it has lost the session; beginning another one", self._server)
            self._channel.session_id = ""
            self.session.speak("")
            with trio.move_on_after(SIDE_LIMIT) as scope:
                call = _Call("initialize", None, scope, SIDE_LIMIT)
                await self._exchange(call, "initialize", self.session.initialize_params(), None)
                if call.error is not None:
                    raise call.error
                _, line = self.session.initialized(call.value)
                await self._channel.post_aside(line)
                self._generation += 1
            if scope.cancelled_caught:
                raise self._unavailable("it has lost the session and does not begin another one", sent=False)
        if self._beside is not None:
            self._beside.cancel()  # its stream belongs to the old session
        self._upward.on_renewed()

    def _unavailable(self, detail: str, *, sent: bool, data: dict[str, JSON] | None = None) -> PraxisError:
        return PraxisError("unavailable", f"MCP server {self._server}: {detail}", delivered=sent, data=data)


def _pause(reader: EventReader) -> float:
    """Seconds before a stream is opened again, as the server wants it."""
    return RETRY if reader.retry is None else max(reader.retry / 1000, SHORTEST_RETRY)
