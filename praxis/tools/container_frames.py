"""What a container writes, as engines send it: frames of 8 bytes of header and their content, on one connection.

The header is the stream (1 standard output, 2 standard error), three zero bytes, and the length, big-endian.
"""

from __future__ import annotations

from collections.abc import Iterator

HEADER = 8
STDIN, STDOUT, STDERR = 0, 1, 2


class FrameError(ValueError):
    """Bytes that are no frame."""


class Frames:
    """Takes the connection apart as it comes. Nothing but an unfinished header is kept."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream = STDOUT
        self._left = 0

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The parts of streams in the next bytes, each with its stream. Raises FrameError for no frame."""
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                yield self._stream, part
                continue
            part = data[at : at + HEADER - len(self._header)]
            self._header += part
            at += len(part)
            if len(self._header) == HEADER:
                self._begin(bytes(self._header))
                self._header.clear()

    def _begin(self, header: bytes) -> None:
        if header[0] not in (STDIN, STDOUT, STDERR) or header[1:4] != b"\0\0\0":
            raise FrameError(f"not the header of a frame: {header.hex(' ')}")
        self._stream = STDERR if header[0] == STDERR else STDOUT
        self._left = int.from_bytes(header[4:], "big")
