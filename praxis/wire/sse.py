"""Server-sent events (WHATWG HTML, section 9.2), the sending side."""

from __future__ import annotations

import re

COMMENT = b":\n\n"
"""Says nothing; keeps a stream alive."""

_LINE_END = re.compile("\r\n|\r|\n")


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
