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
    """The payload of DATA, which is not copied; `payload` is empty then."""


def head(type: int, stream: int, size: int, flags: int = 0) -> bytes:
    """What stands before a payload of `size` bytes. The caller keeps it within MAX_PAYLOAD."""
    return HEAD.pack(size, type, flags, 0, stream)


def encode(type: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame as bytes."""
    return head(type, stream, len(payload), flags) + payload


class FrameReader:
    """Bytes in, frames out. Holds at most one incomplete frame."""

    __slots__ = ("_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = HEAD.size

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Raises ProtocolError for a frame longer than MAX_PAYLOAD."""
        frames: list[Frame] = []
        at, end, unpack, view = 0, len(data), HEAD.unpack_from, memoryview(data)
        while self._rest:  # what is missing of one frame is copied, not all that has come behind it
            stop = min(at + self._need - len(self._rest), end)
            self._rest += view[at:stop]
            at = stop
            if len(self._rest) < self._need:
                return []
            if self._need < (whole := HEAD.size + _size_of(self._rest)):
                self._need = whole
                continue
            frames.append(_frame(bytes(self._rest), 0, whole))
            self._rest, self._need = bytearray(), HEAD.size
        while end - at >= HEAD.size:
            size, type, flags, _, stream = unpack(data, at)
            if size > MAX_PAYLOAD:
                raise ProtocolError("frame_size", f"a frame of {size} bytes; {MAX_PAYLOAD} are allowed")
            stop = at + HEAD.size + size
            if stop > end:
                self._need = HEAD.size + size
                break
            if type == DATA:
                frames.append(Frame(type, flags, stream, b"", view[at + HEAD.size : stop]))
            else:
                frames.append(Frame(type, flags, stream, data[at + HEAD.size : stop]))
            at = stop
        if at < end:
            self._rest += view[at:]
        return frames


def _size_of(head: bytes | bytearray) -> int:
    size: int = HEAD.unpack_from(head)[0]
    if size > MAX_PAYLOAD:
        raise ProtocolError("frame_size", f"a frame of {size} bytes; {MAX_PAYLOAD} are allowed")
    return size


def _frame(data: bytes, begin: int, end: int) -> Frame:
    """The one frame that stands there."""
    _, type, flags, _, stream = HEAD.unpack_from(data, begin)
    if type == DATA:
        return Frame(type, flags, stream, b"", memoryview(data)[begin + HEAD.size : end])
    return Frame(type, flags, stream, data[begin + HEAD.size : end])
