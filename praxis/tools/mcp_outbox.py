"""Lines on their way to an MCP server: one writer, a bounded queue, and a server that may have stopped reading."""

from __future__ import annotations

from collections import deque

import trio
from trio.abc import SendStream

QUEUE = 262_144
"""Bytes of requests that wait for the pipe, and one request more, however large. Who comes later waits outside, under
its own deadline."""
URGENT = 64
"""Replies and cancellations that wait for the pipe. They are small and overtake requests; a server that asks this
often without reading the answers gets no more of them."""
BATCH = 65536
"""Bytes that are written at once, unless one line is longer: what a pipe holds. More would only be out of reach for
`withdraw` sooner."""


class Line:
    """One line. `started` once any of it may have reached the server, `done` when nothing more will happen to it."""

    __slots__ = ("_written", "data", "done", "started")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.started = False
        self.done = False
        self._written: trio.Event | None = None  # most lines have nobody who waits for them

    def finish(self) -> None:
        self.done = True
        if self._written is not None:
            self._written.set()

    async def wait_done(self) -> None:
        if not self.done:
            self._written = self._written or trio.Event()
            await self._written.wait()


class Outbox:
    """Takes lines from any task; `run` writes them."""

    def __init__(self, stream: SendStream) -> None:
        self._stream = stream
        self._queue: deque[Line] = deque()
        self._urgent: deque[Line] = deque()
        self._size = 0
        self._idle = False
        self._work = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._closed = False
        self.dropped = 0
        """Urgent lines for which there was no room."""

    @property
    def full(self) -> bool:
        """Whether `put` has to wait for room first."""
        return self._size >= QUEUE and not self._closed

    async def wait_room(self) -> None:
        """Return when `put` may be called, at once or before the next checkpoint."""
        while self.full:
            await self._room.park()

    def put(self, data: bytes) -> Line:
        """Queue a request, after `wait_room`."""
        self._size += len(data)
        return self._add(self._queue, data)

    def put_urgent(self, data: bytes) -> Line:
        """Queue a small line before all requests, or drop it when there are `URGENT` of them."""
        if len(self._urgent) < URGENT:
            return self._add(self._urgent, data)
        self.dropped += 1
        line = Line(data)
        line.finish()
        return line

    def withdraw(self, line: Line) -> bool:
        """Take a request back. False when it is too late for that."""
        if line.started or line not in self._queue:
            return False
        self._queue.remove(line)
        self._size -= len(line.data)
        self._room.unpark_all()
        line.finish()
        return True

    async def run(self) -> None:
        """Write until cancelled. Raises trio.BrokenResourceError when the server takes no more."""
        while True:
            batch = self._take()
            if not batch:
                self._idle = True
                await self._work.park()
                continue
            try:
                await self._stream.send_all(b"".join([line.data for line in batch]))
            finally:
                for line in batch:
                    line.finish()

    def close(self) -> None:
        """Nothing is written any more, and nobody waits for it."""
        self._closed = True
        for line in (*self._urgent, *self._queue):
            line.finish()
        self._urgent.clear()
        self._queue.clear()
        self._size = 0
        self._room.unpark_all()

    def _take(self) -> list[Line]:
        """What goes into one write, so that a burst of calls costs one system call."""
        batch: list[Line] = []
        size = 0
        was_full = self.full
        while queue := self._urgent or self._queue:
            size += len(queue[0].data)
            if batch and size > BATCH:
                break
            line = queue.popleft()
            if queue is self._queue:
                self._size -= len(line.data)
            line.started = True
            batch.append(line)
        if was_full and not self.full:
            self._room.unpark_all()
        return batch

    def _add(self, queue: deque[Line], data: bytes) -> Line:
        line = Line(data)
        if self._closed:
            line.finish()
        else:
            queue.append(line)
            if self._idle:
                self._idle = False
                self._work.unpark()
        return line
