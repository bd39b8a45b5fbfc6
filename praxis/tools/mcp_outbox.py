"""Lines on their way to an MCP server: one writer, a bounded queue, and a server that may have stopped reading."""

from __future__ import annotations

from collections import deque

import attrs
import trio
from trio.abc import SendStream

QUEUE = 16
"""Requests that wait for the pipe. Each may be as large as a request's body; who comes later waits outside, under its
own deadline."""
URGENT = 64
"""Replies and cancellations that wait for the pipe. They are small and overtake requests; a server that asks this
often without reading the answers gets no more of them."""
BATCH = 65536
"""Bytes that are written at once, unless one line is longer: what a pipe holds. More would only be out of reach for
`withdraw` sooner."""


@attrs.define(eq=False)
class Line:
    """One line. `started` once any of it may have reached the server, `done` when nothing more will happen to it."""

    data: bytes
    started: bool = False
    done: trio.Event = attrs.field(factory=trio.Event)


class Outbox:
    """Takes lines from any task; `run` writes them."""

    def __init__(self, stream: SendStream) -> None:
        self._stream = stream
        self._queue: deque[Line] = deque()
        self._urgent: deque[Line] = deque()
        self._work = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._closed = False
        self.dropped = 0
        """Urgent lines for which there was no room."""

    async def wait_room(self) -> None:
        """Return when `put` may be called, at once or before the next checkpoint."""
        while len(self._queue) >= QUEUE and not self._closed:
            await self._room.park()

    def put(self, data: bytes) -> Line:
        """Queue a request, after `wait_room`."""
        return self._add(self._queue, data)

    def put_urgent(self, data: bytes) -> Line:
        """Queue a small line before all requests, or drop it when there are `URGENT` of them."""
        if len(self._urgent) < URGENT:
            return self._add(self._urgent, data)
        self.dropped += 1
        line = Line(data)
        line.done.set()
        return line

    def withdraw(self, line: Line) -> bool:
        """Take a request back. False when it is too late for that."""
        if line.started or line not in self._queue:
            return False
        self._queue.remove(line)
        self._room.unpark()
        line.done.set()
        return True

    async def run(self) -> None:
        """Write until cancelled. Raises trio.BrokenResourceError when the server takes no more."""
        while True:
            batch = self._take()
            if not batch:
                self._work = trio.Event()
                await self._work.wait()
                continue
            try:
                await self._stream.send_all(b"".join(line.data for line in batch))
            finally:
                for line in batch:
                    line.done.set()

    def close(self) -> None:
        """Nothing is written any more, and nobody waits for it."""
        self._closed = True
        for line in (*self._urgent, *self._queue):
            line.done.set()
        self._urgent.clear()
        self._queue.clear()
        self._room.unpark_all()

    def _take(self) -> list[Line]:
        """What goes into one write, so that a burst of calls costs one system call."""
        batch: list[Line] = []
        size = 0
        while queue := self._urgent or self._queue:
            size += len(queue[0].data)
            if batch and size > BATCH:
                break
            line = queue.popleft()
            line.started = True
            batch.append(line)
        self._room.unpark_all()
        return batch

    def _add(self, queue: deque[Line], data: bytes) -> Line:
        line = Line(data)
        if self._closed:
            line.done.set()
        else:
            queue.append(line)
            self._work.set()
        return line
