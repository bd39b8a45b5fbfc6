"""One line to a peer: the Trio shell around `praxis.wire.session`.

One task reads, one writes, one keeps the line alive, and each request of the peer is served in a task of its own.
The reader never waits for the writer: what the peer wants to know is queued by the session at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from praxis.config.schema import Keepalive
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.tool import Ask
from praxis.net.pending import Pending
from praxis.net.tls import Broken
from praxis.peers.keepalive import keep_alive
from praxis.peers.load import Word
from praxis.peers.request import Emit, Handler, PeerRequest, Requested, Serving, hear
from praxis.peers.writer import Pipe, Writer
from praxis.wire.frames import ProtocolError
from praxis.wire.messages import Hello
from praxis.wire.received import (
    CancelReceived,
    EventReceived,
    GoawayReceived,
    HelloReceived,
    PongReceived,
    RequestReceived,
    ResponseReceived,
    SessionEvent,
)
from praxis.wire.session import Session

logger = logging.getLogger(__name__)

CANCEL_GRACE = 10.0
"""Seconds to wait for the answer to a CANCEL: a tool's child gets 2 s + 2 s to end, and the network its share."""
FAREWELL = 1.0
"""Seconds for a peer that broke the protocol to be told so."""


class PeerLink:
    """A line whose other end has shown who it is.

    Attributes:
        peer_id: from the other's certificate.
        reason: why the line ended, "" while it has not; `reason_code` is the short word for metrics.
        leaving: True once either side has said GOAWAY: who got it asks nothing new, who said it closes at the end.
        rtt: seconds of the last ping, None before.
        heard_at: Trio's time of the last byte from the peer; `received` counts bytes, `abandoned` calls that the peer
            never confirmed to have cancelled.
        told: what the peer last said of its load.
        on_goodbye: called when the peer says that it will answer nothing new on this line.
        on_notice: called with what the peer says that belongs to no request.
    """

    def __init__(
        self,
        pipe: Pipe,
        session: Session,
        *,
        peer_id: PeerId,
        address: str,
        handler: Handler,
        keepalive: Keepalive,
        on_call: Callable[[str, str], None] = lambda method, result: None,
    ) -> None:
        """`on_call` hears of each call of ours that has ended: its method, and ``ok`` or the code of the error."""
        self.peer_id = peer_id
        self.address = address
        self.session = session
        self.reason = self.reason_code = ""
        self.leaving = False
        self.rtt: float | None = None
        self.heard_at = trio.current_time()
        self.received = self.abandoned = 0
        self.told: Word | None = None
        self.on_goodbye: Callable[[], None] = lambda: None
        self.on_notice: Callable[[Any], None] = lambda _: None
        self._pipe = pipe
        self._handler = handler
        self._keepalive = keepalive
        self._on_call = on_call
        self._calls: dict[int, Requested] = {}
        self._serving: dict[int, Serving] = {}
        self._writer = Writer(session, pipe)
        self._pings: dict[bytes, tuple[float, Pending]] = {}
        self._inflight = trio.Semaphore(1)
        self._said_goodbye = self._heard_goodbye = False
        self._goodbye, self._redial = "", True
        self._greeted = trio.Event()
        self._ended = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def dialer(self) -> bool:
        """True when we dialed this line."""
        return self.session.dialer

    @property
    def hello(self) -> Hello:
        """The peer's HELLO; there once `run` has reported."""
        if self.session.peer is None:
            raise RuntimeError("the line has not been greeted yet")
        return self.session.peer

    @property
    def closed(self) -> bool:
        return bool(self.reason)

    @property
    def load(self) -> int:
        """Our requests that are under way on this line."""
        return len(self._calls)

    def serves(self, method: str) -> int:
        """The peer's requests by this method that are under way here."""
        return sum(serving.method == method for serving in self._serving.values())

    # -- life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the line ends. What ended it is in `reason`."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guard, self._read, nursery)
                    nursery.start_soon(self._guard, self._writer.run)
                    await self._greeted.wait()
                    nursery.start_soon(self._guard, keep_alive, self, self._keepalive, self._writer)
        finally:
            self.close("cancelled", "the agent stopped")
            self._pipe.close()
            self._ended.set()

    def close(self, code: str, reason: str) -> None:
        """End the line at once. Calls under way fail with `reason`. Safe to call twice; the first reason stays."""
        if self.closed:
            return
        self.reason_code, self.reason = code, reason or code
        for stream, call in list(self._calls.items()):
            sent = self.session.taken > call.mark and not self.session.unsent(stream)
            call.finish(None, self._lost(delivered=sent))
        for _, pending in self._pings.values():
            pending.finish(None, self._lost(delivered=False))
        self._writer.release()
        self._greeted.set()
        self._scope.cancel()

    def say_goodbye(self, reason: str, *, redial: bool) -> None:
        """Tell the peer to ask nothing new; what runs goes on, and so may we. The first reason counts."""
        if self._said_goodbye or self.closed:
            return
        self.leaving = self._said_goodbye = True
        self.session.goaway(reason, redial=redial)
        self._writer.wake()

    def notify(self, value: Any) -> None:
        """Tell the peer what belongs to no request; never blocks."""
        self.session.notify(value)
        self._writer.wake()

    async def leave(self, reason: str, *, redial: bool, grace: float) -> None:
        """Say goodbye: ask nothing new, let what runs finish for `grace` seconds, close."""
        if self.closed:
            return
        self.say_goodbye(reason, redial=redial)
        with trio.move_on_after(grace), suppress(PraxisError):
            await self.ping()  # what the peer asked before it heard us has arrived by the time it answers
            while not (self.closed or self._is_quiet()):
                await self._writer.wait_change()
        self.close("goaway", reason)

    async def wait_greeted(self) -> bool:
        """Wait for the peer's HELLO. False when the line ended before."""
        await self._greeted.wait()
        return self.session.peer is not None and not self.closed

    async def wait_ended(self) -> None:
        await self._ended.wait()

    async def _guard(self, serve: Callable[..., Awaitable[None]], *args: Any) -> None:
        """What the peer or the network does ends this line with a reason, and nothing else."""
        try:
            await serve(*args)
        except ProtocolError as error:
            logger.warning("line to %s: protocol error: %s", self.peer_id, error)
            self.session.goaway(f"protocol error: {error}", redial=False)
            self._writer.wake()
            with trio.move_on_after(FAREWELL):
                await self._writer.wait_change()
            self.close(error.counter, f"protocol error: {error}")
        except Broken as error:
            self.close(error.reason, str(error))

    # -- reading ------------------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery) -> None:
        session = self.session
        while True:
            data = await self._pipe.receive()
            if not data:
                goodbye = f"the peer said goodbye: {self._goodbye}" if self._goodbye else "the peer closed it"
                self.close(self._farewell, goodbye)
                return
            self.received += len(data)
            self.heard_at = trio.current_time()
            for event in session.receive(data):
                if isinstance(event, ResponseReceived):
                    call = self._calls.get(event.stream)
                    if call is not None:
                        call.finish(event.value, event.error)
                elif isinstance(event, RequestReceived):
                    self._begin(event, nursery)
                else:
                    self._on_other(event)
            if session.wants_to_write or self._pipe.wants_to_write:
                self._writer.wake()

    def _on_other(self, event: SessionEvent) -> None:
        if isinstance(event, EventReceived) and not event.stream:
            self.on_notice(event.value)
        elif isinstance(event, EventReceived):
            call = self._calls.get(event.stream)
            if call is not None and call.on_event is not None:
                hear(call.on_event, event.value)
        elif isinstance(event, CancelReceived):
            serving = self._serving.get(event.stream)
            if serving is not None:
                serving.cancelled = True
                serving.scope.cancel()
        elif isinstance(event, PongReceived):
            began, pending = self._pings.pop(event.payload, (0.0, None))
            if pending is not None:
                self.rtt = trio.current_time() - began
                pending.finish(self.rtt)
        elif isinstance(event, GoawayReceived):
            self.leaving = self._heard_goodbye = True
            self.on_goodbye()
            self._goodbye, self._redial = event.reason, event.redial
            if not self._greeted.is_set():
                self.close(self._farewell, f"the peer said goodbye: {event.reason}")
        elif isinstance(event, HelloReceived):
            if event.hello.id != self.peer_id:
                raise ProtocolError("identity", f"HELLO says {event.hello.id}, the certificate {self.peer_id}")
            self._inflight = trio.Semaphore(event.hello.inflight)
            self._greeted.set()

    # -- serving ------------------------------------------------------------------------------------

    def _begin(self, request: RequestReceived, nursery: trio.Nursery) -> None:
        deadline = trio.current_time() + request.remaining if request.remaining is not None else float("inf")
        serving = self._serving[request.stream] = Serving(request.method, trio.CancelScope(deadline=deadline))
        nursery.start_soon(self._serve, request, serving)

    async def _serve(self, request: RequestReceived, serving: Serving) -> None:
        session, stream = self.session, request.stream
        emit, ask = partial(self._emit, stream), partial(self._ask, stream)
        name, method, params, trace = self.hello.name, request.method, request.params, request.trace
        asked = PeerRequest(self.peer_id, name, method, params, trace, emit, ask, self._asker)
        error: PraxisError | None = None
        value: Any = None
        try:
            with serving.scope:
                try:
                    value = await self._handler(asked)
                    await self._turn()
                except PraxisError as refused:
                    error = refused
            if serving.scope.cancelled_caught:
                code, text = ("cancelled", "cancelled") if serving.cancelled else ("timeout", "the deadline passed")
                error = PraxisError(code, text, delivered=True)  # type: ignore[arg-type]
            if error is None:
                session.respond(stream, value)
        except Exception:
            logger.exception("request %s of peer %s failed", request.method, self.peer_id)
            error = PraxisError("internal", f"{request.method} failed on {session.hello.name}; its log says why")
            error.delivered = True
        finally:
            del self._serving[stream]
        if error is not None:
            session.refuse(stream, error)
        self._writer.wake()
        self._writer.pass_turn()

    def _emit(self, stream: int, method: str, params: Mapping[str, Any]) -> None:
        self.session.progress(stream, {"m": method, "p": params})
        self._writer.wake()

    async def _ask(self, stream: int, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self.call("mcp.ask", {"call": stream, "method": method, "params": params})
        if not isinstance(answer, dict):
            raise PraxisError("invalid", f"the answer to {method} is no object")
        return answer

    def _asker(self, stream: Any) -> Ask | None:
        call = self._calls.get(stream) if type(stream) is int else None
        return call.on_ask if call is not None else None

    # -- asking -------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        params: Any,
        *,
        on_event: Emit | None = None,
        on_ask: Ask | None = None,
        trace: str | None = None,
    ) -> Any:
        """Ask the peer. The deadline is that of the surrounding cancel scope; cancelling it cancels there too.

        `on_event` hears how it goes, `on_ask` answers what the peer asks meanwhile because of it.

        Raises PraxisError: what the peer answered, or ``unavailable`` when the line is lost, with `delivered` saying
        whether the request may have got there. When cancelled it waits CANCEL_GRACE seconds for the peer to confirm.
        """
        if self.closed or self._heard_goodbye:
            raise self._lost(delivered=False)
        inflight = self._inflight
        await inflight.acquire()
        try:
            await self._turn()
            deadline = trio.current_effective_deadline()
            remaining = None if deadline == float("inf") else max(0.0, deadline - trio.current_time())
            mark = self.session.enqueued
            stream = self.session.request(method, params, remaining, trace)
            call = self._calls[stream] = Requested(mark, on_event, on_ask)
            self._writer.wake()
            self._writer.pass_turn()
            try:
                await call.wait()
            except trio.Cancelled:
                self._on_call(method, "cancelled")
                await self._cancel(stream, call)
                raise
            finally:
                del self._calls[stream]
                self._writer.changed()
        finally:
            inflight.release()
        self._on_call(method, "ok" if call.error is None else call.error.code)
        if call.error is not None:
            raise call.error
        return call.value

    async def _cancel(self, stream: int, call: Requested) -> None:
        """Cancelled means gone: wait until the peer says so, or CANCEL_GRACE is over, or the line is."""
        if self.closed or not self.session.cancel(stream):
            return
        self._writer.wake()
        with trio.move_on_after(CANCEL_GRACE, shield=True):
            await call.wait()
        if not call.done:
            self.abandoned += 1
            self.session.forget(stream)

    async def ping(self) -> float:
        """Seconds there and back. Raises PraxisError("unavailable") when the line is lost first."""
        if self.closed:
            raise self._lost(delivered=False)
        payload, pending = os.urandom(8), Pending()
        self._pings[payload] = trio.current_time(), pending
        self.session.ping(payload)
        self._writer.wake()
        try:
            await pending.wait()
        finally:
            self._pings.pop(payload, None)
        if pending.error is not None:
            raise pending.error
        return float(pending.value)

    async def _turn(self) -> None:
        await self._writer.turn()
        if self.closed:
            raise self._lost(delivered=False)

    @property
    def _farewell(self) -> str:
        """How a line ends whose peer closes it: ``refused`` by one that said not to come back."""
        return "goaway" if self._redial and self._goodbye else "closed" if self._redial else "refused"

    def _is_quiet(self) -> bool:
        return not (self._calls or self.session.serving or self.session.queued)

    def _lost(self, *, delivered: bool) -> PraxisError:
        name = self.session.peer.name if self.session.peer else self.peer_id
        why = self.reason or f"the peer said goodbye: {self._goodbye}"
        fate = "; whether the call ran there is not known" if delivered else ""
        return PraxisError("unavailable", f"the line to {name} is lost: {why}{fate}", delivered=delivered)
