"""What an MCP server says beside its answers: standard error and log messages, kept and logged within bounds."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable

import attrs
import trio
from trio.abc import ReceiveStream

from praxis.tools.mcp_stderr import SHOWN_LINE, StderrTail
from praxis.wire.mcp import show

logger = logging.getLogger(__name__)

LOG_LINES, LOG_PERIOD = 20, 10.0
"""Lines of a server's own words that go into the log within so many seconds; the rest is counted."""
MAX_SAID = 200
"""Lines that are kept for people who ask, each of at most 500 characters: several starts with what they said."""
SHOWN_NOTE = 2000
"""Characters of what is told of the server itself, so that a command is there to the last of its arguments."""
_GRAVE = frozenset({"warning", "error", "critical", "alert", "emergency"})
"""Levels of a server's messages that are warnings in our log: it is the server's trouble, not the agent's."""


@attrs.frozen
class Said:
    """A line: `at` is in seconds since 1970, `kind` "stderr", the level of a message, "noise", or "agent" for what
    became of the server."""

    at: float
    kind: str
    line: str


class Words:
    """The words of one server; values in `secrets` are masked in all of them."""

    def __init__(self, server: str, secrets: Iterable[str]) -> None:
        self.stderr = StderrTail(secrets)
        self._server = server
        self._since = -LOG_PERIOD
        self._lines = 0
        self._said: deque[Said] = deque(maxlen=MAX_SAID)

    @property
    def said(self) -> tuple[Said, ...]:
        """The last lines, the oldest first."""
        return tuple(self._said)

    def note(self, text: str) -> str:
        """What became of the server, among its words; as it is kept, for the log."""
        line = show(self.stderr.mask(text), SHOWN_NOTE)
        self._said.append(Said(time.time(), "agent", line))
        return line

    async def keep_stderr(self, stream: ReceiveStream, *, task_status: trio.TaskStatus[trio.Event]) -> None:
        """Always read on, else the server blocks. The event is set at the end."""
        quiet = trio.Event()
        task_status.started(quiet)
        try:
            while data := await stream.receive_some():
                for line in self.stderr.receive(bytes(data)):
                    self._log(logging.DEBUG, "stderr", line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as good as the end
        self.stderr.finish()
        quiet.set()

    def log(self, level: str, text: str) -> None:
        """A message of a server's: `level` is one of syslog's words or "noise"."""
        number = logging.WARNING if level in _GRAVE else logging.DEBUG if level == "debug" else logging.INFO
        self._log(number, show(level, 10), show(self.stderr.mask(text)))

    def _log(self, level: int, kind: str, line: str) -> None:
        """A line of the server's own words, unless it talks too much."""
        self._said.append(Said(time.time(), kind, line[:SHOWN_LINE]))
        now = trio.current_time()
        if now - self._since >= LOG_PERIOD:
            if self._lines > LOG_LINES:
                logger.info("MCP server %s: %d more lines", self._server, self._lines - LOG_LINES)
            self._since, self._lines = now, 0
        self._lines += 1
        if self._lines <= LOG_LINES:
            logger.log(level, "MCP server %s: %s: %s", self._server, kind, line)
