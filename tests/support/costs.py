"""What something costs in counts that are the same on every machine: steps of tasks and new tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio


@attrs.define(eq=False)
class Costs(trio.abc.Instrument):
    """Counts while it is in use. `counts` chooses tasks."""

    counts: Callable[[trio.lowlevel.Task], bool]
    steps: int = 0
    tasks: int = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += self.counts(task)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += self.counts(task)


@contextmanager
def counted(counts: Callable[[trio.lowlevel.Task], bool]) -> Iterator[Costs]:
    costs = Costs(counts)
    trio.lowlevel.add_instrument(costs)
    try:
        yield costs
    finally:
        trio.lowlevel.remove_instrument(costs)
