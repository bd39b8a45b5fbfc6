"""Messages out of a server's standard output: one a line, or framed as language servers do it.

MCP over stdio has lines. A few servers write ``Content-Length: N``, an empty line and N bytes all the same; from the
first such header on a stream is read that way.
"""

from __future__ import annotations

import re

from praxis.wire.jsonrpc import EDGE, LineReader, LongLine

MAX_HEADER = 1024
"""Bytes of a frame's headers: there are two of them, each below a hundred. What is longer is noise."""
_LENGTH = re.compile(rb"\s*content-length:\s*(\d{1,12})\s*", re.IGNORECASE)


class MessageReader:
    """Bytes in, the text of messages out. Holds at most one incomplete message of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines = LineReader(limit)
        self._frames: _Frames | None = None

    def receive(self, data: bytes) -> list[bytes | LongLine]:
        """The messages that `data` completes, in order, and lines that are none as they are."""
        if self._frames is not None:
            return self._frames.receive(data)
        lines = self._lines.receive(data)
        for index, line in enumerate(lines):
            if isinstance(line, bytes) and line[:1] in b"Cc" and _LENGTH.fullmatch(line):
                # All that follows the header is bytes again, lines or not.
                rest = self._lines.unfinished()
                later = lines[index + 1 :]
                again = b"".join(bytes(one) + b"\n" for one in later if isinstance(one, bytes)) + rest
                self._frames = _Frames(self._limit)
                return lines[:index] + self._frames.receive(line + b"\n" + again)
        return lines


class _Frames:
    """Headers, an empty line, a body. What stands between frames is noise and comes as a line."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._length = -1  # of the body, once a header told it
        self._in_body = False
        self._skip = 0  # bytes of a body over the limit that are still to come
        self._head = b""

    def receive(self, data: bytes) -> list[bytes | LongLine]:
        self._buffer += data
        done: list[bytes | LongLine] = []
        while True:
            if self._skip:
                cut = min(self._skip, len(self._buffer))
                tail = bytes(self._buffer[max(0, cut - EDGE) : cut])
                del self._buffer[:cut]
                self._skip -= cut
                if self._skip:
                    return done
                done.append(LongLine(self._length, self._head, tail))
                self._length = -1
            elif self._in_body:
                if self._length > self._limit:
                    if len(self._buffer) < min(EDGE, self._length):
                        return done
                    self._head, self._skip = bytes(self._buffer[:EDGE]), self._length
                elif len(self._buffer) < self._length:
                    return done
                else:
                    done.append(bytes(self._buffer[: self._length]))
                    del self._buffer[: self._length]
                    self._length = -1
                self._in_body = False
            else:
                stop = self._buffer.find(b"\n")
                if stop < 0:
                    del self._buffer[MAX_HEADER:]
                    return done
                line = bytes(self._buffer[:stop])
                del self._buffer[: stop + 1]
                if found := _LENGTH.fullmatch(line):
                    self._length = int(found[1])
                elif not line.strip():
                    self._in_body = self._length >= 0
                elif self._length < 0:
                    done.append(line)
