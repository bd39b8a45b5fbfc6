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
END, ERROR, ACK = 2, 4, 8


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


def encode(type: int, stream: int, payload: bytes | memoryview = b"", flags: int = 0) -> bytes:
    """One frame as bytes. The caller keeps payloads within MAX_PAYLOAD."""
    return HEAD.pack(len(payload), type, flags, 0, stream) + payload


class FrameReader:
    """Bytes in, frames out. Holds at most one incomplete frame."""

    __slots__ = ("_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = HEAD.size

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Raises ProtocolError for a frame longer than MAX_PAYLOAD."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[Frame] = []
        at, end, unpack = 0, len(data), HEAD.unpack_from
        self._need = HEAD.size
        while end - at >= HEAD.size:
            size, type, flags, _, stream = unpack(data, at)
            if size > MAX_PAYLOAD:
                raise ProtocolError("frame_size", f"a frame of {size} bytes; {MAX_PAYLOAD} are allowed")
            stop = at + HEAD.size + size
            if stop > end:
                self._need = HEAD.size + size
                break
            frames.append(Frame(type, flags, stream, data[at + HEAD.size : stop]))
            at = stop
        if at < end:
            self._rest += memoryview(data)[at:]
        return frames
