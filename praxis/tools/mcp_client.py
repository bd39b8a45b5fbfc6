"""A connection with an MCP server over a pair of streams: the Trio shell around `praxis.wire.mcp.ClientSession`.

A request that is cancelled, by its deadline or with its caller, is told to the server with
``notifications/cancelled`` and is over as soon as that is written: the specification says that no answer is to be
expected, and one that comes all the same is counted and ignored.

Streams do not say to which call a log message or a question of the server's belongs. Both go to the call under way if
there is one, or if all that are under way are of one session; else a question is refused, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping

import trio
from trio.abc import ReceiveStream, SendStream

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.tools.mcp_calls import Questions, find_owner
from praxis.tools.mcp_connection import Places, Upward, outcome, tell_log, tell_progress
from praxis.tools.mcp_deadlines import Deadlines, TimedCall
from praxis.tools.mcp_outbox import Line, Outbox
from praxis.wire import mcp
from praxis.wire.mcp import ClientSession

CANCEL_LIMIT = 2.0
"""Seconds that a cancelled call may still take to tell the server so. Writing takes microseconds; only a server that
has stopped reading needs longer, and it would not take notice anyway."""
LAST_WORDS = 0.5
"""Seconds to read what a server wrote before it ended; it is in the pipe already."""


NEVER_CANCELLED = frozenset({"initialize", "server/discover"})
"""The specification forbids it for the first, and the second was not understood by whoever does not answer it."""


class _Call(TimedCall):
    """`line` is where its request waits to be sent."""

    __slots__ = ("line",)

    def __init__(
        self, what: str, line: Line, context: CallContext | None, timeout: float, deadlines: Deadlines
    ) -> None:
        super().__init__(what, context, timeout, deadlines)
        self.line = line


class McpClient:
    """A `praxis.tools.mcp_connection.Connection`. `server` is the server's name in errors and logs."""

    def __init__(
        self,
        server: str,
        stdin: SendStream,
        stdout: ReceiveStream,
        session: ClientSession,
        *,
        max_calls: int,
        upward: Upward,
    ) -> None:
        self.session = session
        self.open = True
        self.silence_is_legacy = True
        self._server = server
        self._stdout = stdout
        self._outbox = Outbox(stdin)
        self.places = Places(max_calls)
        self._calls: dict[int, _Call] = {}
        self._deadlines = Deadlines(self._calls)
        self._upward = upward
        self._questions = Questions(session, upward, self._outbox.put_urgent)
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._reason = ""

    async def run(self) -> str:
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._write)
                    self._nursery.start_soon(self._deadlines.run)
                    await self._read()
                    self._nursery.cancel_scope.cancel()
        finally:
            self.open = False
            self._outbox.close()
        return self._reason

    def hang_up(self, reason: str, *, patience: float = 0.0) -> None:
        self._reason = self._reason or reason
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + patience)

    def fail_calls(self, detail: str, data: dict[str, JSON]) -> None:
        self.open = False
        self._reason = detail
        for call in self._calls.values():
            # An answer that came before the end counts, though its task has not run since.
            call.finish(None, self._unavailable(detail, delivered=call.line.started, data=data))

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
        deadline = trio.current_time() + timeout
        if timeout != math.inf and not self.places.take_free():
            await self._wait_until(deadline, self.places.take, what, timeout)
        try:
            if self._outbox.full:
                await self._wait_until(deadline, self._outbox.wait_room, what, timeout)
            if not self.open:
                raise self._unavailable(self._reason, delivered=False, data={})
            progress = context is not None and context.on_progress is not None
            try:
                id, data = self.session.request(method, params, progress=progress, meta=meta)
            except (ValueError, TypeError, RecursionError) as error:
                raise PraxisError("invalid", f"{what}: not JSON: {error}", where="arguments") from None
            call = self._calls[id] = _Call(what, self._outbox.put(data), context, timeout, self._deadlines)
            call.end_at(deadline)
            try:
                await call.wait()
                if not call.done:
                    await self._give_up(id, call, method, "time is up")
            except trio.Cancelled:
                if not call.done:
                    await self._give_up(id, call, method, "cancelled by the caller")
                raise
            finally:
                del self._calls[id]
                call.end_asks()
        finally:
            if timeout != math.inf:
                self.places.leave()
        if not call.done:
            raise _late(what, timeout, delivered=call.line.started)
        if call.error is not None:
            raise call.error
        return call.value

    async def notify(self, line: bytes) -> None:
        self._outbox.put_urgent(line)

    async def _wait_until(
        self, deadline: float, wait: Callable[[], Awaitable[None]], what: str, timeout: float
    ) -> None:
        """Wait for what a request needs before it is made. Raises PraxisError("timeout")."""
        with trio.CancelScope(deadline=deadline) as patience:
            await wait()
        if patience.cancelled_caught:
            raise _late(what, timeout, delivered=False)

    async def _give_up(self, id: int, call: _Call, method: str, reason: str) -> None:
        if self._outbox.withdraw(call.line) or method in NEVER_CANCELLED or not self.open:
            self.session.forget(id)
            return
        notice = self._outbox.put_urgent(self.session.cancel(id, reason))
        with trio.move_on_after(CANCEL_LIMIT, shield=True):
            await notice.wait_done()

    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # It has mostly ended then, and may have said something before.
            self.hang_up("", patience=LAST_WORDS)

    async def _read(self) -> None:
        try:
            while data := await self._stdout.receive_some():
                for happening in self.session.receive(bytes(data)):
                    if type(happening) is mcp.Answered:
                        self._calls[happening.id].finish(happening.result)
                    else:
                        self._take(happening)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as good as the end

    def _take(self, happening: mcp.Happening) -> None:
        match happening:
            case mcp.Refused(id) | mcp.TooLong(id) | mcp.Garbled(id):
                self._calls[id].finish(None, outcome(self._calls[id].what, happening))
            case mcp.Progressed(id, params):
                call = self._calls[id]
                if call.context is not None:
                    call.context = tell_progress(self._server, call.what, call.context, params)
            case mcp.Notified(method, params):
                self._upward.on_notice(method, params)
            case mcp.Logged():
                self._upward.on_text(happening.level, happening.text)
                owner, _ = find_owner(self._calls.values())
                if owner is not None and owner.context is not None:
                    tell_log(self._server, owner.context, happening)
            case mcp.Noise(text, problem):
                self._upward.on_text("noise", f"{problem}: {text}")
            case mcp.Reply(line):
                self._outbox.put_urgent(line)
            case mcp.Asked():
                self._questions.ask(self._nursery, happening, None, self._calls.values())
            case mcp.Broken(size):
                self.hang_up(f"it sent a line of {size} bytes, over the limit, that answers nobody knows which call")

    def _unavailable(self, detail: str, *, delivered: bool, data: dict[str, JSON]) -> PraxisError:
        return PraxisError("unavailable", f"MCP server {self._server}: {detail}", delivered=delivered, data=data)


def _late(what: str, timeout: float, *, delivered: bool) -> PraxisError:
    waited = "" if delivered else "; it could not even be sent, with so many calls or a server that does not read"
    return PraxisError("timeout", f"{what}: no answer within {timeout:g} s{waited}", delivered=delivered)
