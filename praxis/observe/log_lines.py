"""What a log record looks like: as text for people, as JSON for programs; always bounded, and never more than it is.

Text from outside (a tool's name, a peer's error) goes into messages. Control characters are therefore escaped and the
lines of a traceback marked, so that nobody can write a line that looks like one of ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import attrs

MAX_MESSAGE = 8 * 1024
"""Characters of one message: a whole tool schema or HTTP head fits; a body dumped by mistake does not fill the disk."""
MAX_TRACEBACK = 16 * 1024
"""Characters of one traceback: about 150 frames, some nested exception groups."""
MAX_LINE = 2 * MAX_MESSAGE
"""Characters of one line of text once it is escaped, which can make it ten times as long."""

PRIORITIES: Mapping[str, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog's numbers, as journald reads them from ``<N>`` at the beginning of a line."""


@attrs.frozen
class Entry:
    """One record, masked and bounded. `time` is seconds since the epoch."""

    time: float
    level: str
    logger: str
    message: str
    traceback: str = ""


Render = Callable[[Entry], str]
"""One entry as whole lines, the last one ended too."""


def level_name(number: int) -> str:
    """The level as the configuration writes it; a level between two counts as the lower one."""
    for name in ("critical", "error", "warning", "info"):
        if number >= logging.getLevelNamesMapping()[name.upper()]:
            return name
    return "debug"


def make_render(format: Literal["text", "json"], *, journal: bool) -> Render:
    """How entries are written. For the journal lines begin with their priority; text lacks the time, which it knows."""
    lines = _json if format == "json" else _text_without_time if journal else _text
    if not journal:
        return lambda entry: "".join(line + "\n" for line in lines(entry))
    return lambda entry: "".join(f"<{PRIORITIES[entry.level]}>{line}\n" for line in lines(entry))


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters and how many there were beyond."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"


def shorten_middle(text: str, limit: int) -> str:
    """The beginning and, longer, the end: the innermost frame and the error itself are what a traceback is read for."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 4]}\n... ({len(text) - limit} more characters)\n{text[-(limit - limit // 4) :]}"


def escape_controls(text: str) -> str:
    """Everything that does not print, also what changes the direction of writing, as Python would write it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _stamp(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(entry: Entry) -> list[str]:
    first, *rest = _text_without_time(entry)
    return [f"{_stamp(entry)} {first}", *rest]


def _text_without_time(entry: Entry) -> list[str]:
    message = shorten(escape_controls(entry.message), MAX_LINE)
    traceback = [f"  | {shorten(escape_controls(line), MAX_LINE)}" for line in entry.traceback.splitlines()]
    return [f"{entry.level.upper():<7} {escape_controls(entry.logger)}: {message}", *traceback]


def _json(entry: Entry) -> list[str]:
    fields = {"time": _stamp(entry), "level": entry.level, "logger": entry.logger, "message": entry.message}
    if entry.traceback:
        fields["exception"] = entry.traceback
    return [json.dumps(fields)]
