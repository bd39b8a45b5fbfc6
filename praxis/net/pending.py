"""An answer that somebody waits for: of a peer, of an MCP server."""

from __future__ import annotations

from typing import Any

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from praxis.model.errors import PraxisError


class Pending:
    """Set by the reader, awaited by the caller, in whichever order. Waits in a slot, which is lighter than an event."""

    __slots__ = ("_task", "done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: PraxisError | None = None
        self._task: trio.lowlevel.Task | None = None

    def finish(self, value: Any, error: PraxisError | None = None) -> None:
        """The first call counts."""
        if self.done:
            return
        self.value, self.error, self.done = value, error, True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits go, with an answer or without."""
        if self._task is not None:
            reschedule(self._task)
            self._task = None

    async def wait(self) -> None:
        """For one task only."""
        if not self.done:
            self._task = current_task()
            await wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
