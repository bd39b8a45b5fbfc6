"""When the time of a connection's calls is up: one clock for all of them, in place of a cancel scope for each."""

from __future__ import annotations

import math
from collections.abc import Mapping

import trio

from praxis.model.tool import CallContext
from praxis.tools.mcp_calls import Call


class Deadlines:
    """Wakes `calls` that wait when their time is up. Most are answered long before: a deadline of its own in Trio's
    books would cost a call twice what its JSON does. `run` must run meanwhile."""

    def __init__(self, calls: Mapping[int, TimedCall]) -> None:
        self._calls = calls
        self._next = math.inf  # not after the first deadline of a call that waits
        self._sleep = trio.CancelScope()

    def expect(self, deadline: float) -> None:
        """A call has this deadline now."""
        if deadline < self._next:
            self._next = self._sleep.deadline = deadline

    async def run(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._next) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            later = math.inf
            for call in self._calls.values():
                if call.deadline <= now:
                    call.wake()
                else:
                    later = min(later, call.deadline)
            self._next = later


class TimedCall(Call):
    """A call that its connection's `Deadlines` wake at `deadline`, without an answer."""

    __slots__ = ("_deadlines", "deadline")

    def __init__(self, what: str, context: CallContext | None, timeout: float, deadlines: Deadlines) -> None:
        super().__init__(what, context, timeout)
        self.deadline = math.inf
        self._deadlines = deadlines

    def end_at(self, deadline: float) -> None:
        self.deadline = deadline
        self._deadlines.expect(deadline)
