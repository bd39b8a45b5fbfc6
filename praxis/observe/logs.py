"""The agent's log: standard error, a file, and warnings as events.

Secrets are masked in the record itself before anything is done with it, so every handler sees the masked one. A log
line never fails the one who writes it: what cannot be written is counted.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TextIO

import attrs
import trio

from praxis.model.tool import JSON
from praxis.observe.log_lines import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    Entry,
    Render,
    level_name,
    make_render,
    shorten,
    shorten_middle,
)
from praxis.observe.log_writer import FileOutput, LineWriter, StreamOutput, reason_of

LOGGER = "praxis"
"""The logger above all of ours."""

MIN_SECRET = 6
"""Shorter values are not masked: a switch, a port or a user name set for a tool server would blacken ordinary words."""

MAX_HANDED_OVER = 256
"""Events from other threads that may wait for the Trio loop; worker threads log a handful of lines each."""

MASK = "***"


class Bus(Protocol):
    """What of the event bus is needed here."""

    def publish(self, type: str, /, *, run_id: str | None = None, **fields: JSON) -> object: ...


class Secrets:
    """Texts that must not be seen. They may be added at any time and are kept for good."""

    def __init__(self) -> None:
        self._texts: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        """Also masks the value as JSON or Python would write it. One shorter than `MIN_SECRET` is left alone."""
        value = value.strip()
        if len(value) < MIN_SECRET:
            return
        self._texts |= {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
        # The longest first: one secret may be the beginning of another.
        self._pattern = re.compile("|".join(re.escape(text) for text in sorted(self._texts, key=len, reverse=True)))

    def mask(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)


@attrs.frozen
class Logs:
    """The log while it is installed."""

    _stream: LineWriter
    _file: LineWriter | None
    _feed: _Feed | None

    @property
    def lost(self) -> dict[str, int]:
        """Records that each output did not take: ``stream``, ``file``; and warnings the bus did not get, ``events``."""
        return {
            "stream": self._stream.lost,
            "file": self._file.lost if self._file is not None else 0,
            "events": self._feed.lost if self._feed is not None else 0,
        }

    @property
    def file_trouble(self) -> str | None:
        """Why records for the log file are being lost now; "" while it takes them, None if there is no such file."""
        return self._file.trouble if self._file is not None else None

    def flush(self) -> bool:
        """Waits, for seconds at most, until everything logged so far is written or lost; False if some is not."""
        writers = [self._stream, *([self._file] if self._file is not None else [])]
        done = [writer.flush() for writer in writers]  # every one, also after one that hangs
        return all(done)


@contextmanager
def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["text", "json"],
    file: Path | None,
    bus: Bus | None,
    secrets: Secrets,
    journal: bool | None = None,
    stream: TextIO | None = None,
) -> Iterator[Logs]:
    """Installs the log on the logger ``praxis`` until the block is left, which writes what still waits.

    Args:
        file: written besides `stream`; one that cannot be opened or written costs lines, never an exception.
        bus: gets an event ``log`` with level, logger and message for each record of level warning and above.
        journal: whether lines on `stream` begin with journald's priorities; None looks whether it is the one that
            systemd's JOURNAL_STREAM means. Children inherit that variable, and their standard error may be another.
        stream: standard error if None.
    """
    stream = sys.stderr if stream is None else stream
    if journal is None:
        journal = _is_journal(stream, os.environ.get("JOURNAL_STREAM", ""))
    to_stream = make_render(format, journal=journal)
    to_file = make_render(format, journal=False)
    feed = None if bus is None else _Feed(bus)

    def tell(error: Exception) -> None:
        text = f"log file {file}: {reason_of(error)}; records are lost until it works again"
        shown.put(to_stream(_notice("error", text)))

    shown = LineWriter(StreamOutput(stream), "stream", failed=_ignore, missing=_missing(to_stream))
    outputs = [(to_stream, shown)]
    kept = None
    if file is not None:
        kept = LineWriter(FileOutput(file), "file", failed=tell, missing=_missing(to_file))
        outputs.append((to_file, kept))

    handler = _Handler(secrets, outputs, feed)
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    try:
        yield Logs(shown, kept, feed)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        for _, writer in reversed(outputs):
            writer.close()


class _Handler(logging.Handler):
    def __init__(self, secrets: Secrets, outputs: Sequence[tuple[Render, LineWriter]], feed: _Feed | None) -> None:
        super().__init__()
        self._secrets, self._outputs, self._feed = secrets, outputs, feed

    def emit(self, record: logging.LogRecord) -> None:
        self._mask(record)
        entry = Entry(
            record.created,
            level_name(record.levelno),
            record.name,
            shorten(record.msg, MAX_MESSAGE),
            shorten_middle(record.exc_text or "", MAX_TRACEBACK),
        )
        for render, writer in self._outputs:
            writer.put(render(entry))
        if self._feed is not None and record.levelno >= logging.WARNING:
            self._feed.offer(entry)

    def _mask(self, record: logging.LogRecord) -> None:
        """Makes the record one that holds nothing but masked text, for us and for every handler after us."""
        try:
            message = record.getMessage()
        except Exception as error:  # one call whose arguments do not fit its text; it is still told what it had to say
            message = f"{record.msg} [arguments that cannot be formatted: {error!r}]"
        details = record.exc_text or ""
        if record.exc_info and not details:
            details = "".join(traceback.format_exception(record.exc_info[1]))
        if record.stack_info:
            details = f"{details}\n{record.stack_info}" if details else record.stack_info
        record.msg, record.args = self._secrets.mask(message), None
        record.exc_info = record.stack_info = None
        record.exc_text = self._secrets.mask(details).rstrip() or None


class _Feed:
    """Warnings on their way to the bus, which is to be touched from the Trio thread alone."""

    def __init__(self, bus: Bus) -> None:
        self.lost = 0
        self._bus = bus
        self._publishing = False
        self._waiting = 0
        self._lock = threading.Lock()
        self._token = _current_token()

    def offer(self, entry: Entry) -> None:
        """From any thread. Before the loop runs and after it has ended there is no one to tell."""
        if (token := _current_token()) is not None:
            self._token = token
            self._publish(entry)
        elif self._token is not None:
            self._hand_over(self._token, entry)

    def _publish(self, entry: Entry) -> None:
        if self._publishing:  # publishing itself had something to log; told as an event it would never end
            return
        self._publishing = True
        try:
            self._bus.publish("log", level=entry.level, logger=entry.logger, message=entry.message)
        finally:
            self._publishing = False

    def _hand_over(self, token: trio.lowlevel.TrioToken, entry: Entry) -> None:
        with self._lock:
            if self._waiting >= MAX_HANDED_OVER:
                self.lost += 1
                return
            self._waiting += 1
        try:
            token.run_sync_soon(self._arrive, entry)
        except trio.RunFinishedError:
            with self._lock:
                self._waiting -= 1

    def _arrive(self, entry: Entry) -> None:
        with self._lock:
            self._waiting -= 1
        self._publish(entry)


def _is_journal(stream: TextIO, meant: str) -> bool:
    """Whether a stream is the one of device and inode `meant`, as systemd writes them: ``DEVICE:INODE``, decimal."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # it is no file at all, or closed
        return False
    return meant == f"{status.st_dev}:{status.st_ino}"


def _current_token() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


def _notice(level: str, message: str) -> Entry:
    return Entry(time.time(), level, __name__, message)


def _missing(render: Render) -> Callable[[int], str]:
    return lambda lines: render(_notice("warning", f"{lines} log records were lost here"))


def _ignore(error: Exception) -> None:
    """Nobody is left to be told that standard error is gone; `Logs.lost` counts what it did not take."""
