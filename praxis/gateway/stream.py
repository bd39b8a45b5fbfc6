"""What is said to a caller about one request: messages in order, the answer last, read by one connection at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
import trio

from praxis.model.tool import JSON
from praxis.wire import jsonrpc

MAX_EVENTS = 512
"""Messages kept for a reader that is slow or comes back: a minute of a tool that tells ten times a second how far it
is. Progress and log messages beyond it go, the oldest first; questions and answers stay."""
MAX_BYTES = 4 * 1024 * 1024
"""Bytes of such progress and log messages, where they are large ones: as much as one request may have."""

Tell = Callable[[str, Mapping[str, JSON]], None]
"""Sends a notification, by method and params; does not block."""


@attrs.frozen
class Event:
    number: int
    line: bytes
    keep: bool


class Reader(Protocol):
    def wake(self) -> None:
        """There is news, or another one reads now. Must not block."""


class EventStream:
    """The messages of one request, or of a session.

    Attributes:
        name: what event ids begin with; "" for a stream that nobody can come back to.
        answers: so many answers are still to come; after the last one the stream has ended.
        detached: the reader is to let go and come back.
        scope: what works for this stream runs in it.
        readable: whether the caller reads more than the last answer.
        reader: who reads now.
    """

    def __init__(self, name: str = "", *, answers: int = 1, readable: bool = True) -> None:
        self.name = name
        self.answers = answers
        self.readable = readable
        self.detached = False
        self.scope = trio.CancelScope()
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._last = 0
        self._size = 0  # of those that may be dropped
        self.reader: Reader | None = None
        self._came: trio.Event | None = None  # few wait for a reader

    @property
    def ended(self) -> bool:
        return self.answers <= 0

    def tell(self, method: str, params: Mapping[str, JSON]) -> None:
        """Add a notification."""
        if self.readable:
            self.put(jsonrpc.notification(method, params))

    def put(self, line: bytes, *, keep: bool = False) -> None:
        """Add a message, a line of JSON; one to `keep` is never dropped."""
        if self.ended:
            return
        self._last += 1
        self._events.append(Event(self._last, line, keep))
        if not keep:
            self._size += len(line)
        while self._size and (self._size > MAX_BYTES or len(self._events) > MAX_EVENTS):
            self._drop()
        self.wake()

    def _drop(self) -> None:
        """Let the oldest message go that may go; there is one."""
        victim = next(event for event in self._events if not event.keep)
        self._events.remove(victim)
        self._size -= len(victim.line)
        self.dropped += 1

    def answer(self, line: bytes | None) -> None:
        """Add an answer; None for a request that gets none, because it has been cancelled."""
        if line is not None:
            self.put(line, keep=True)
        self.answers -= 1
        self.wake()

    def end(self) -> None:
        """Nothing more comes."""
        self.answers = 0
        self.wake()

    def detach(self) -> None:
        """Let the reader go; it comes back with the number of the last message that it has."""
        self.detached = True
        self.wake()

    def wake(self) -> None:
        if self.reader is not None:
            self.reader.wake()

    def attach(self, reader: Reader) -> None:
        """Be read by this one from now on. Whoever read before is woken, and stops."""
        before, self.reader = self.reader, reader
        if self._came is not None:
            self._came.set()
            self._came = None
        if before is not None and before is not reader:
            before.wake()

    def release(self, reader: Reader) -> None:
        """Be read by this one no more."""
        if self.reader is reader:
            self.reader = None

    async def wait_reader(self) -> None:
        """Wait until somebody reads."""
        if self.reader is None:
            self._came = self._came or trio.Event()
            await self._came.wait()

    @property
    def waiting(self) -> int:
        """Messages that are kept, all of which wait for a reader of a stream that nobody can come back to."""
        return len(self._events)

    def after(self, number: int) -> list[Event]:
        """What has come after this number."""
        if not self._events or self._events[-1].number <= number:
            return []
        return [event for event in self._events if event.number > number]

    def forget(self, number: int) -> None:
        """Drop what a reader has taken, up to this number."""
        while self._events and self._events[0].number <= number:
            event = self._events.popleft()
            self._size -= 0 if event.keep else len(event.line)

    def encode(self, events: list[Event]) -> bytes:
        """Events as server-sent events, in one piece; a line of JSON holds no line end but its last."""
        if not self.name:
            return b"".join([b"data: " + event.line + b"\n" for event in events])
        name = self.name.encode()
        return b"".join([b"id: %b-%d\ndata: %b\n" % (name, event.number, event.line) for event in events])


class SharedStream(EventStream):
    """The messages of a whole connection, for all requests on it. It has no end but :meth:`end`."""

    def __init__(self) -> None:
        super().__init__()
        self._room = trio.lowlevel.ParkingLot()

    def answer(self, line: bytes | None) -> None:
        if line is not None:
            self.put(line, keep=True)

    def forget(self, number: int) -> None:
        super().forget(number)
        if self.waiting < MAX_EVENTS:
            self._room.unpark_all()

    def end(self) -> None:
        super().end()
        self._room.unpark_all()

    async def wait_room(self) -> None:
        """Wait until the other side has read enough of what it was sent to be sent more."""
        while self.waiting >= MAX_EVENTS and not self.ended:
            await self._room.park()
