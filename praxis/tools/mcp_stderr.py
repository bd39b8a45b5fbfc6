"""What an MCP server writes to its standard error: the last of it, for people who look for what went wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from praxis.wire.mcp import show

MAX_LINES = 50
"""Lines that are kept: a traceback and what led to it."""
MAX_LINE = 4096
"""Bytes of a line that are looked at; the rest of it is skipped."""
SHOWN_LINE = 500
"""Characters of a line that are kept, so that a whole tail stays below 50 * 500."""
MIN_SECRET = 8
"""Values of the configured environment from this length on are taken for secrets; ``1`` and ``true`` are not."""
MASK = "***"


class StderrTail:
    """Keeps the last lines, each on one printable line, without the values in `secrets`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one secret may be a part of another.
        self._secrets = sorted({value for value in secrets if len(value) >= MIN_SECRET}, key=len, reverse=True)
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._rest = b""
        self._skipping = False
        self.last = ""
        """The last line that is not blank, of the run that is under way."""

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def begin(self) -> None:
        """The server is started again. What it wrote before stays, but is no longer its last word."""
        self._rest, self._skipping, self.last = b"", False, ""

    def receive(self, data: bytes) -> list[str]:
        """Take the next bytes in; the lines that they complete, as they are kept."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = self._rest + whole[0]
            self._rest, self._skipping = b"", False
        lines = [self._show(line) for line in [line for line in whole if line.strip()][-MAX_LINES:]]
        if lines:
            self._lines += lines
            self.last = lines[-1]
        if not self._skipping:
            self._rest += rest
            self._skipping = len(self._rest) > MAX_LINE
            self._rest = self._rest[:MAX_LINE]
        return lines

    def finish(self) -> list[str]:
        """The end of the stream: an unfinished line counts as well."""
        return self.receive(b"\n") if self._rest else []

    def mask(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def _show(self, line: bytes) -> str:
        return show(self.mask(line[:MAX_LINE].decode(errors="replace")).rstrip(), SHOWN_LINE)
