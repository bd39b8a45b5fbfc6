"""Frames of the peer protocol: see the package's docstring for the layout."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEAD = struct.Struct("!IBBHI")
MAX_PAYLOAD = 65536
"""No frame carries more, so that a big answer never keeps a small one waiting for long."""

HELLO, REQUEST, RESPONSE, EVENT, DATA, CREDIT, CANCEL, PING, GOAWAY = range(1, 10)
OPTIONAL = 0x80
"""Frame types from here up are skipped when unknown."""
BODY, END, ERROR, ACK = 1, 2, 4, 8


class ProtocolError(Exception):
    """The other side broke the protocol; the line ends with this as its reason.

    Attributes:
        counter: a short stable word for metrics, such as ``frame_size``.
    """

    def __init__(self, counter: str, detail: str) -> None:
        super().__init__(detail)
        self.counter = counter


class Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    payload: bytes
    body: memoryview = memoryview(b"")
    """What has come of the payload of DATA, which is not copied; `payload` is empty then."""


def head(type: int, stream: int, size: int, flags: int = 0) -> bytes:
    """What stands before a payload of `size` bytes. The caller keeps it within MAX_PAYLOAD."""
    return HEAD.pack(size, type, flags, 0, stream)


def encode(type: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame as bytes."""
    return head(type, stream, len(payload), flags) + payload


class FrameReader:
    """Bytes in, frames out. Holds at most one incomplete frame, and nothing of DATA.

    A DATA frame that comes in pieces is handed on in pieces: each is a Frame, and the last one has its flags.
    """

    __slots__ = ("_cut", "_left", "_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = HEAD.size
        self._left = 0  # bytes that are missing of a DATA frame, whose flags and stream are in _cut
        self._cut = 0, 0

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Raises ProtocolError for a frame longer than MAX_PAYLOAD."""
        frames: list[Frame] = []
        at, end, unpack, view = 0, len(data), HEAD.unpack_from, memoryview(data)
        if self._left:
            at = self._piece(frames, view, 0, self._left, *self._cut)
        while self._rest:  # what is missing of one frame is copied, not all that has come behind it
            stop = min(at + self._need - len(self._rest), end)
            self._rest += view[at:stop]
            at = stop
            if len(self._rest) < self._need:
                return frames
            size, type, flags, _, stream = unpack(self._rest)
            if size > MAX_PAYLOAD:
                raise ProtocolError("frame_size", f"a frame of {size} bytes; {MAX_PAYLOAD} are allowed")
            if type == DATA:
                at = self._piece(frames, view, at, size, flags, stream)
            elif self._need < HEAD.size + size:
                self._need = HEAD.size + size
                continue
            else:
                frames.append(Frame(type, flags, stream, bytes(self._rest[HEAD.size :])))
            self._rest, self._need = bytearray(), HEAD.size
        while end - at >= HEAD.size:
            size, type, flags, _, stream = unpack(data, at)
            if size > MAX_PAYLOAD:
                raise ProtocolError("frame_size", f"a frame of {size} bytes; {MAX_PAYLOAD} are allowed")
            if type == DATA:
                at = self._piece(frames, view, at + HEAD.size, size, flags, stream)
                continue
            stop = at + HEAD.size + size
            if stop > end:
                self._need = HEAD.size + size
                break
            frames.append(Frame(type, flags, stream, data[at + HEAD.size : stop]))
            at = stop
        if at < end:
            self._rest += view[at:]
        return frames

    def _piece(self, frames: list[Frame], view: memoryview, begin: int, size: int, flags: int, stream: int) -> int:
        """Hand on what has come of the `size` bytes of DATA that begin there; returns where it ends."""
        stop = min(begin + size, len(view))
        self._left, self._cut = begin + size - stop, (flags, stream)
        frames.append(Frame(DATA, 0 if self._left else flags, stream, b"", view[begin:stop]))
        return stop
