"""Server-sent events (WHATWG HTML, section 9.2), both sides."""

from __future__ import annotations

import re

import attrs

COMMENT = b":\n\n"
"""Says nothing; keeps a stream alive."""

_LINE_END = re.compile("\r\n|\r|\n")
_BYTE_LINE_END = re.compile(b"\r\n|\r|\n")
MAX_RETRY = 60_000
"""Milliseconds that a server may have a client wait before it comes back; what it asks beyond is cut to that."""
MAX_ID = 1024
"""Bytes of an event's id that are kept: it goes into a header."""


def encode_event(data: str, *, event: str = "", id: str = "") -> bytes:
    """One event. Line ends in `data` become further data lines; `event` and `id` are single lines.

    Raises ValueError for a line end in `event` or `id`, or a NUL in `id`, which readers would misunderstand.
    """
    for field in (event, id):
        if _LINE_END.search(field) or "\0" in field:
            raise ValueError(f"{field!r} cannot be a field of an event")
    lines = [f"event: {event}"] if event else []
    if id:
        lines.append(f"id: {id}")
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


@attrs.frozen
class Event:
    """One event, or the start of one whose data was over the limit: then `size` is more than the limit."""

    data: bytes
    name: str = "message"
    size: int = 0


class EventReader:
    """Bytes in, events out. Lines end with LF, CR or CRLF and with nothing else, whatever Unicode has to say.

    Comments and events without data, as servers send them to keep a stream open or to begin one, only leave their
    traces in `last_id` and `retry`. Holds at most one incomplete event, of at most `limit` bytes of data.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._ended_in_cr = False
        self._begun = False
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._id: bytes | None = None
        self.last_id = ""
        """The id of the last event that had one; "" for none. Printable ASCII, or it is not remembered."""
        self.retry: int | None = None
        """Milliseconds that the server wants a client to wait before it comes back."""

    def receive(self, data: bytes) -> list[Event]:
        """The events that `data` completes, in order."""
        if not self._begun and data:
            self._begun = True
            data = data.removeprefix(b"\xef\xbb\xbf")
        if self._ended_in_cr and data:
            self._ended_in_cr = False
            data = data.removeprefix(b"\n")
        events: list[Event] = []
        start = 0
        for found in _BYTE_LINE_END.finditer(data):
            line = data[start : min(found.start(), start + self._limit + 16)]
            if self._rest:
                self._keep(line)
                line = bytes(self._rest)
                self._rest.clear()
            self._line(line, events)
            start = found.end()
        self._ended_in_cr = data.endswith(b"\r")
        if start < len(data):
            self._keep(data[start:])
        return events

    def _keep(self, piece: bytes) -> None:
        # A line that is too long is cut by one byte more than is allowed, so that it still counts as too long.
        self._rest += piece[: max(0, self._limit + 16 - len(self._rest))]

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            room = self._limit - self._size
            self._size += len(value) + bool(self._data)
            if self._size <= self._limit:
                self._data.append(value)
            elif room > 0:
                self._data.append(value[:room])
        elif field == b"event":
            self._name = value[:MAX_ID].decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            self._id = value
        elif field == b"retry" and value.isdigit() and len(value) <= 12:
            self.retry = min(int(value), MAX_RETRY)

    def _dispatch(self, events: list[Event]) -> None:
        if self._id is not None:
            fits = len(self._id) <= MAX_ID and self._id.isascii() and self._id.decode("latin-1").isprintable()
            self.last_id = self._id.decode("latin-1") if fits else ""
            self._id = None
        if self._size:
            size = self._size if self._size > self._limit else 0
            events.append(Event(b"\n".join(self._data), self._name or "message", size))
        self._name, self._size = "", 0
        self._data.clear()
