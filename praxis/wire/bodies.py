"""Bodies of requests and answers that are larger than a frame: DATA under CREDIT, in both directions of one line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from praxis.wire.frames import DATA, END, MAX_PAYLOAD, ProtocolError

INITIAL_CREDIT = 1024 * 1024
"""Bytes of a body that may be under way unread: enough for 1 Gbit/s at 8 ms, a quarter of the default message limit."""
MAX_BODIES = 8
"""Bodies under way per direction; bounds what a peer makes us hold to this many times `limits.message`."""
BULK = 256 * 1024
"""Bytes of bodies per write, so that small frames never queue behind more than this."""


@attrs.define
class Incoming:
    """A body that is being received; `head` is the JSON object that announced it, `credit` what may still come."""

    head: dict[str, Any]
    size: int
    content: memoryview
    """As long as was announced from the start: to let it grow costs more than all else."""
    received: int = 0
    credit: int = INITIAL_CREDIT
    _uncredited: int = 0

    def receive(self, payload: memoryview) -> int:
        """Take some DATA in; returns the credit to grant for it, 0 for none yet. Raises ProtocolError."""
        begin, self.received = self.received, self.received + len(payload)
        self.credit -= len(payload)
        self._uncredited += len(payload)
        if self.credit < 0 or self.received > self.size:
            raise ProtocolError("credit", "more DATA than was announced or allowed")
        self.content[begin : self.received] = payload
        if self._uncredited < INITIAL_CREDIT // 2 or self.credit >= self.size - self.received:
            return 0
        grant, self._uncredited = self._uncredited, 0
        self.credit += grant
        return grant


class IncomingBodies:
    """How many bodies are being received, and how much DATA may still come for those that were given up."""

    def __init__(self) -> None:
        self._open = 0
        self._tolerated = 0
        self._spare = memoryview(b"")

    def begin(self, head: dict[str, Any]) -> Incoming:
        """Raises ProtocolError for a size that is none, and for one body too many."""
        size = head.get("b")
        if type(size) is not int or size <= 0:
            raise ProtocolError("body", f"a body of {str(size)[:20]} bytes")
        if self._open >= MAX_BODIES:
            raise ProtocolError("bodies", f"more than {MAX_BODIES} bodies under way")
        self._open += 1
        spare, self._spare = self._spare, memoryview(b"")
        return Incoming(head, size, spare[:size] if len(spare) >= size else memoryview(bytearray(size)))

    def end(self, incoming: Incoming) -> memoryview:
        """The whole body, to be read at once: its memory may serve the next one.

        Raises ProtocolError when it is not as long as was announced.
        """
        self._close(incoming)
        if incoming.received != incoming.size:
            raise ProtocolError("body", f"a body of {incoming.received} bytes, announced as {incoming.size}")
        return incoming.content

    def give_up(self, incoming: Incoming) -> None:
        """Nobody waits for this body any more; its sender may use up the credit it has."""
        self._close(incoming)
        self._tolerated += incoming.credit

    def _close(self, incoming: Incoming) -> None:
        """Keep its memory for the next body as long as others are under way: fresh memory costs more than a copy."""
        self._open -= 1
        self._spare = incoming.content if self._open else memoryview(b"")

    def tolerate(self, size: int) -> None:
        """DATA of this size may come for a body that was refused when it was announced."""
        self._tolerated += size

    def stray(self, size: int) -> None:
        """DATA came for no body. Raises ProtocolError unless it was to be expected."""
        self._tolerated -= size
        if self._tolerated < 0:
            raise ProtocolError("credit", "DATA without credit")


@attrs.define
class Outgoing:
    """A body to send, in parts that are never put together. `announce` queues the frame that announces it.

    A part that is a str has only ASCII: it is encoded chunk by chunk as it leaves, and never held twice.
    """

    announce: Callable[[], None]
    parts: deque[bytes | str]
    left: int
    credit: int = INITIAL_CREDIT
    _at: int = 0
    """How much of the first part has been given."""

    @property
    def sendable(self) -> int:
        """Bytes that may be sent now."""
        return min(self.credit, self.left)

    def chunk(self, most: int) -> bytes | memoryview:
        """The next bytes of the body, `most` at most and no more than may be sent; empty when that is none."""
        if not self.left:
            return b""
        part, begin = self.parts[0], self._at
        size = min(most, self.credit, len(part) - begin)
        self._at += size
        if self._at == len(part):
            self.parts.popleft()
            self._at = 0
        self.left -= size
        self.credit -= size
        return part[begin : begin + size].encode() if isinstance(part, str) else memoryview(part)[begin : begin + size]


class OutgoingBodies:
    """Bodies being sent, MAX_BODIES at once in turn; more wait, first come, first served."""

    def __init__(self) -> None:
        self._sending: dict[int, Outgoing] = {}
        self._waiting: deque[tuple[int, Outgoing]] = deque()

    def __contains__(self, stream: int) -> bool:
        return stream in self._sending or any(stream == waiting for waiting, _ in self._waiting)

    def __bool__(self) -> bool:
        return bool(self._sending)

    @property
    def ready(self) -> bool:
        return any(outgoing.sendable for outgoing in self._sending.values())

    def add(self, stream: int, outgoing: Outgoing) -> None:
        if len(self._sending) >= MAX_BODIES:
            self._waiting.append((stream, outgoing))
        else:
            self._sending[stream] = outgoing
            outgoing.announce()

    def credit(self, stream: int, size: int) -> None:
        outgoing = self._sending.get(stream)
        if outgoing is not None:
            outgoing.credit += size

    def drop(self, stream: int) -> bool:
        """Send no more of this body. False when it had not been announced yet (or there is none)."""
        if self._sending.pop(stream, None) is not None:
            if self._waiting:
                self.add(*self._waiting.popleft())
            return True
        for entry in self._waiting:
            if entry[0] == stream:
                self._waiting.remove(entry)
                break
        return False

    def put_chunks(self, put: Callable[[int, int, bytes | memoryview, int], None]) -> list[int]:
        """Give up to BULK bytes of bodies to ``put(DATA, stream, payload, flags)``, as their credit allows.

        Each time the body goes first that has waited longest, and may have all the room. Returns the streams whose body
        has been given whole.
        """
        room, done = BULK, []
        while room > 0 and (stream := self._next()) is not None:
            outgoing = self._sending[stream] = self._sending.pop(stream)
            while room > 0 and (chunk := outgoing.chunk(min(MAX_PAYLOAD, room))):
                room -= len(chunk)
                put(DATA, stream, chunk, 0 if outgoing.left else END)
            if not outgoing.left:
                done.append(stream)
                self.drop(stream)
        return done

    def _next(self) -> int | None:
        """The stream whose turn it is."""
        for stream, outgoing in self._sending.items():
            if outgoing.credit and outgoing.left:
                return stream
        return None
