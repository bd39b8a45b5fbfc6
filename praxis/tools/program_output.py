"""What a program writes during one call: the start of its output, and the end of its words on standard error."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from praxis.model.tool import JSON, CallContext, ToolResult
from praxis.tools.mcp_stderr import StderrTail

logger = logging.getLogger(__name__)

MAX_OUTPUT = 1024 * 1024
"""Bytes of standard output that become a result: a quarter of what one message between agents holds, so that it fits
even with many of its characters escaped."""
TAIL = 20
"""Lines of standard error that an error repeats: the end of a traceback."""
MAX_TOLD = 1000
"""Lines of standard error that one call passes on to its caller; the rest is counted."""


class ProgramOutput:
    """Takes in what `tool` writes. Values in `secrets` are masked in all that is told of standard error."""

    def __init__(self, tool: str, context: CallContext, secrets: Iterable[str] = ()) -> None:
        self._tool = tool
        self._context = context
        self._kept = bytearray()
        self._lost = 0
        self._words = StderrTail(secrets)
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._told = 0

    def write(self, data: bytes) -> None:
        """More of standard output."""
        room = MAX_OUTPUT - len(self._kept)
        self._kept += data[:room]
        self._lost += len(data[room:])

    def write_error(self, data: bytes) -> None:
        """More of standard error."""
        self._tell(self._words.receive(data))

    def result(self, status: int, why: str = "", more: Iterable[JSON] = ()) -> ToolResult:
        """What the call came to. `why` explains a status other than 0; `more` are content blocks beside the text."""
        self._tell(self._words.finish())
        text = self._kept.decode(errors="replace")
        content: list[JSON] = [{"type": "text", "text": text}] if text or not status else []
        if self._lost:
            content.append(_text(f"{self._lost} more bytes of output are left out; {MAX_OUTPUT} are shown"))
        if status:
            told = f"{self._tool} ended with exit status {status}{f' ({why})' if why else ''}"
            content.insert(0, _text("\n".join([told + (":" if self._tail else ""), *self._tail])))
        return ToolResult({"content": [*content, *more], "isError": status != 0})

    def _tell(self, lines: list[str]) -> None:
        self._tail += lines
        context = self._context
        for line in lines:
            self._told += 1
            logger.debug("%s: stderr: %s", self._tool, line)
            if context.on_log is None or context.log_level not in (None, "debug", "info") or self._told > MAX_TOLD:
                continue
            last = self._told == MAX_TOLD
            said = "more lines are not passed on" if last else line
            context.on_log({"level": "info", "logger": self._tool, "data": said})


def _text(text: str) -> JSON:
    return {"type": "text", "text": text}
