"""One answer of HTTP/1.1 as bytes: the head, the parts of the body, the end (RFC 9112, section 6).

h11 could write it too, and takes five times as long: it checks everything against its state machine, of which an
application's answer needs little. What an application gets wrong is noticed here all the same, and raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from praxis.net.http_head import Head

Header = tuple[bytes, bytes]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
GO_ON = b"HTTP/1.1 100 \r\n\r\n"
"""For a client that waits for leave to send a body."""
BODILESS = frozenset({204, 304})


class WrongAnswer(Exception):
    """The application has broken a rule of HTTP. What it has sent so far cannot be taken back."""


class Answer:
    """The answer to `request`; without one it answers what was no request.

    Attributes:
        started: the head has been made.
        over: the end has been made.
        keeps: another request may follow on the connection.
    """

    def __init__(self, request: Head | None = None) -> None:
        self.started = self.over = False
        self.keeps = request is not None and request.http_version == b"1.1" and not _says_close(request.headers)
        self._chunks = request is not None and request.http_version == b"1.1"  # whether they are understood
        self._bodiless = request is not None and request.method == b"HEAD"
        self._left: int | None = None  # bytes that were announced and have not come

    def head(self, status: int, headers: Iterable[Header], date: bytes, *, last: bool = False) -> bytes:
        """The head; with `last` no other request follows. Raises WrongAnswer."""
        if self.started or not 200 <= status <= 999:
            raise WrongAnswer(f"an answer with the status {status} is out of place here")
        lines = [b"HTTP/1.1 %d \r\n" % status]
        for name, value in headers:
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                raise WrongAnswer(f"{name!r}: {value!r} is no header")
            lower = name.lower()
            if lower == b"content-length":
                if not value.isdigit() or self._left is not None:
                    raise WrongAnswer(f"{value!r} is no length, or another one")
                self._left = int(value)
            elif lower == b"connection":
                last = last or b"close" in value.lower()
                continue
            elif lower == b"transfer-encoding":
                continue  # which is the server's to choose
            lines.append(b"%b: %b\r\n" % (name, value))
        self._bodiless = self._bodiless or status in BODILESS
        if self._left is not None or self._bodiless:
            self._chunks = False
        elif self._chunks:
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            last = True  # the end of the connection is the end of the body
        if last:
            self.keeps = False
        if not self.keeps:
            lines.append(b"connection: close\r\n")
        lines.append(b"date: %b\r\n\r\n" % date)
        self.started = True
        return b"".join(lines)

    def part(self, data: bytes, more: bool) -> bytes:
        """A part of the body as it is sent; without `more` it is the last one. Raises WrongAnswer."""
        if not self.started or self.over:
            raise WrongAnswer("a part of a body is out of place here")
        if self._bodiless:
            data = b""
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise WrongAnswer(
                    f"the body is {abs(self._left)} bytes {'over' if self._left < 0 else 'under'} its length"
                )
        elif self._chunks:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data = data if more else data + b"0\r\n\r\n"
        self.over = not more
        return data


def _says_close(headers: Iterable[Header]) -> bool:
    return any(name == b"connection" and b"close" in value.lower() for name, value in headers)
