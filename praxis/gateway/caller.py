"""The other end of one HTTP request, and the two ways to answer it: one piece of JSON, or a stream of events."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from praxis.gateway.stream import EventStream
from praxis.wire.sse import COMMENT

KEEP_ALIVE = 15.0
"""Seconds of silence before a comment, so that nothing on the way takes the stream for dead."""
PATIENCE = 5.0
"""Seconds before an answer that does not come becomes a stream, so that the caller hears that we are there."""
UNWATCHED = 0.05
"""Seconds that an answer is waited for before it is looked whether the caller is still there. Most answers come sooner,
and looking costs as much as they do; what a call may do in vain is so little that nobody notices."""
RETRY_MS = 500
"""Milliseconds after which a caller that was let go comes back."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")
STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Caller:
    """One request and its answer.

    Attributes:
        gone: the caller has closed the connection, or has lost it.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.gone = False
        self._waiting: trio.CancelScope | None = None
        self._parked: trio.lowlevel.Task | None = None
        self._receive = receive
        self._send = send

    async def read(self) -> bytes:
        """The whole body, which is bounded by whoever serves."""
        message = await self._receive()
        body: bytes = message.get("body", b"")
        while message["type"] == "http.request" and message.get("more_body"):
            message = await self._receive()
            body += message.get("body", b"")
        self.gone = message["type"] == "http.disconnect"
        return body

    async def respond(self, status: int, body: bytes = b"", headers: Sequence[Header] = ()) -> None:
        """The whole answer at once."""
        length = (b"content-length", b"%d" % len(body))
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self._send({"type": "http.response.body", "body": body})

    def wake(self) -> None:
        if self._parked is not None:
            parked, self._parked = self._parked, None
            trio.lowlevel.reschedule(parked)
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()

    async def first(self, stream: EventStream, lookout: Lookout, *, patience: float = PATIENCE) -> bool:
        """Wait until something is to be said; True when the answer is all there is, so that it can be one piece."""
        stream.attach(self)
        if not self._has_news(stream, 0):
            lookout.remember(self)
            await self._park()
        if not self._has_news(stream, 0):
            await self._wait(patience if stream.readable else math.inf)
        if self.gone:
            stream.release(self)
        return stream.ended and len(stream.after(0)) == 1

    async def pour(
        self,
        stream: EventStream,
        *,
        after: int = 0,
        headers: Sequence[Header] = (),
        polling: bool = False,
        opening: bytes = COMMENT,
    ) -> bool:
        """Send a stream as events until it ends, is detached or read by another, or the caller has gone.

        It begins with `opening`, so that the head leaves at once; with `polling` that is an empty event that bears the
        id to come back with. True when all was sent.
        """
        if polling:
            opening = b"id: %b-%d\nretry: %d\ndata: \n\n" % (stream.name.encode(), after, RETRY_MS)
        start = [*STREAM_HEADERS, *headers]
        stream.attach(self)
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": start})
            await self._push(opening)
            await self._follow(stream, after)
        finally:
            stream.release(self)
        return stream.ended and not self.gone

    async def _follow(self, stream: EventStream, after: int) -> None:
        while not self.gone:
            events = stream.after(after)
            if events:
                await self._push(stream.encode(events))
                after = events[-1].number
                if not stream.name:
                    stream.forget(after)
            elif stream.ended or stream.detached or stream.reader is not self:
                await self._send({"type": "http.response.body", "body": b""})
                break
            else:
                await self._wait(KEEP_ALIVE)
                if not (self.gone or self._has_news(stream, after)):
                    await self._push(COMMENT)

    def _has_news(self, stream: EventStream, after: int) -> bool:
        if stream.ended or stream.detached or stream.reader is not self:
            return True
        return stream.readable and bool(stream.after(after))

    def look(self) -> None:
        """It has taken a while: wait as for a long call from now on."""
        if self._parked is not None:
            self.wake()

    async def _park(self) -> None:
        """Wait to be woken, and look at nothing else."""
        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._unpark)

    def _unpark(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _wait(self, seconds: float) -> None:
        """Wait to be woken, or for the caller to go, so long at most."""
        with trio.CancelScope(relative_deadline=seconds) as self._waiting:
            while not self.gone:
                message = await self._receive()
                self.gone = message["type"] == "http.disconnect"
        self._waiting = None

    async def _push(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class Lookout:
    """Tells callers when their answer is not one of those that come soon. One clock does for all of them: a deadline of
    its own would cost a call more than the rest of its wait. `run` must run meanwhile."""

    def __init__(self) -> None:
        self._callers: deque[tuple[float, Caller]] = deque()  # the requests of the last UNWATCHED seconds
        self._news = trio.lowlevel.ParkingLot()

    def remember(self, caller: Caller) -> None:
        """Have it look after UNWATCHED seconds, if it waits still."""
        self._callers.append((trio.current_time() + UNWATCHED, caller))
        self._news.unpark()

    async def run(self) -> None:
        while True:
            if not self._callers:
                await self._news.park()
            due, caller = self._callers[0]
            if due > trio.current_time():
                await trio.sleep_until(due)
            self._callers.popleft()
            caller.look()
