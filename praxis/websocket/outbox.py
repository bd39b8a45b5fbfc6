"""What waits to be sent to one client: a bounded queue of bytes that are frames already.

Events never wait for a client: one that does not fit is counted, and the client is told the count as soon as there is
room. Answers do wait, so that whoever asks without reading the answers is slowed down. A queue that stays full for
longer than `STALL` cuts its client off.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs
import trio

QUEUE_BYTES = 1024 * 1024
"""Bytes that may wait for one client: about 5,000 events. Pieces of events are shared by all clients that get them, so
1,000 clients that lag alike cost little more than one."""

SEND_BYTES = 256 * 1024
"""Bytes that are joined into one send: beyond this the kernel's buffers give nothing, and it is a copy per client."""

STALL = 10.0
"""Seconds that a queue may stay full. As long as TCP_USER_TIMEOUT on the listeners: a network that recovers later than
that has lost its connections anyway."""


@attrs.define(eq=False)
class Outbox:
    """One client's queue.

    `gap` makes the frame that tells of so many missed events up to a number; `send_now` may send frames without
    waiting and returns how many bytes are left for the writer, or None for all; `cut` is the scope of the connection.
    """

    gap: Callable[[int, int], bytes]
    send_now: Callable[[bytes], int | None]
    on_dropped: Callable[[int], None]
    on_sent: Callable[[int], None]
    cut: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _pieces: deque[tuple[bytes, int]] = attrs.field(factory=deque)
    _size: int = 0
    _missed: int = 0
    _missed_seq: int = 0
    _closed: bool = False
    _armed: bool = False
    _writer: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _askers: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def offer(self, piece: bytes, events: int, seq: int) -> None:
        """Queue the frames of so many events, the last of which has this number, or count them as missed."""
        if self._size and self._size + len(piece) > QUEUE_BYTES:
            self.skip(events, seq)
            self._arm()
            return
        # A writer that waits has nothing left to send or to tell: what is next need not pass through it.
        if self._writer and (left := self.send_now(piece)) is not None:
            if left:
                self._append(b"", events)
            else:
                self.on_sent(events)
            return
        self._tell_gap()
        self._append(piece, events)

    def skip(self, events: int, seq: int) -> None:
        """So many events, up to this number, cannot be sent."""
        self._missed += events
        self._missed_seq = seq
        self.on_dropped(events)
        self._writer.unpark_all()

    async def wait_room(self) -> None:
        """Wait until an answer may be queued."""
        await trio.lowlevel.checkpoint()
        while self._size >= QUEUE_BYTES and not self._closed:
            self._arm()
            await self._askers.park()

    def put(self, frame: bytes) -> None:
        """Queue an answer; it may go over the bound by itself. Nothing happens once the outbox is closed."""
        if not self._closed:
            self._tell_gap()
            self._append(frame, 1)

    async def take(self) -> tuple[bytes, int] | None:
        """Wait for bytes to send; returns them with the number of messages in them, or None after the last."""
        while not self._pieces:
            if self._missed:
                self._tell_gap()
            elif self._closed:
                return None
            else:
                await self._writer.park()
        piece, count = self._pieces.popleft()
        if self._pieces and len(piece) < SEND_BYTES:
            parts, size = [piece], len(piece)
            while self._pieces and size + len(self._pieces[0][0]) <= SEND_BYTES:
                part, more = self._pieces.popleft()
                parts.append(part)
                size += len(part)
                count += more
            piece = b"".join(parts)
        self._size -= len(piece)
        return piece, count

    def sent(self, count: int) -> None:
        """So many messages that were taken have been sent: the client reads."""
        self.on_sent(count)
        if self._size <= QUEUE_BYTES // 2:
            if self._armed:
                self._armed = False
                self.cut.deadline = math.inf
            if self._askers:
                self._askers.unpark_all()

    def close(self) -> None:
        """Nothing more will come; `take` gives what is there and then None."""
        self._closed = True
        self._writer.unpark_all()
        self._askers.unpark_all()

    def _append(self, piece: bytes, count: int) -> None:
        self._pieces.append((piece, count))
        self._size += len(piece)
        if self._writer:
            self._writer.unpark_all()

    def _tell_gap(self) -> None:
        if self._missed:
            frame = self.gap(self._missed, self._missed_seq)
            self._missed = 0
            self._append(frame, 1)

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self.cut.deadline = trio.current_time() + STALL
