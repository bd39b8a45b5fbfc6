"""The runs that are under way or ended lately, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from praxis.model.errors import PraxisError
from praxis.model.plan import FINAL, Plan, RunState, Step
from praxis.model.run import Problem, RunRecord, RunSummary, StepRecord
from praxis.model.tool import JSON
from praxis.workflow.router import Route
from praxis.workflow.secrecy import Secrecy

RETAINED_BYTES = 64 * 1024 * 1024
"""About the size of all ended runs that are kept: who ended first goes when there is more, however few they are."""
SCORE_BYTES = 400
"""About the size of what one candidate of a step was worth."""
STEP_BYTES = 700
"""About the size of a step without its result, as measured: its part of the plan, its route and its record."""


@attrs.define(eq=False)
class Run:
    """One run while it happens; `record` is what others see of it."""

    id: str
    program: str
    caller: str
    plan: Plan
    routes: dict[str, Route]
    created_at: float
    params: Mapping[str, JSON] = attrs.field(factory=dict)
    secrets: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    done: Mapping[str, StepRecord] = attrs.field(factory=dict)
    """What steps had come to when the run was interrupted."""
    context: str = ""
    state: RunState = "running"
    ended_at: float | None = None
    error: Problem | None = None
    steps: dict[str, StepRecord] = attrs.field(factory=dict)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)
    began: float = 0.0
    """When it got its place, on Trio's clock."""
    weight: int = 0
    secrecy: Secrecy = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.secrecy = Secrecy(self.secrets)
        self.steps = {
            step.id: StepRecord(step.id, step.tool, route=self.routes[step.id].choice, bind=step.bind, place=(index,))
            for index, step in enumerate(self.plan.steps)
            if isinstance(step, Step)
        }

    @property
    def record(self) -> RunRecord:
        return RunRecord(
            id=self.id,
            state=self.state,
            caller=self.caller,
            program=self.program,
            steps=tuple(sorted(self.steps.values(), key=lambda step: step.place)),
            created_at=self.created_at,
            ended_at=self.ended_at,
            error=self.error,
            params=self.params,
            needs_secrets=tuple(sorted(self.plan.secrets())),
            context=self.context,
        )


class RunStore:
    """Keeps ended runs up to a count and a size; running ones always."""

    def __init__(self, *, keep: int) -> None:
        self._keep = keep
        self._runs: dict[str, Run] = {}
        self._ended: deque[Run] = deque()
        """In the order in which they ended, which is not that in which they began."""
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """About the size of all ended runs that are kept."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._runs)

    def running(self) -> list[Run]:
        """Runs that have not ended."""
        return [run for run in self._runs.values() if run.state not in FINAL]

    def has(self, run_id: str) -> bool:
        return run_id in self._runs

    def add(self, run: Run) -> None:
        """Take a run, whose id no other has."""
        self._runs[run.id] = run

    def ended(self, run: Run) -> None:
        """A run is over; those that ended before it make room."""
        run.weight = len(run.program) + sum(map(_step_weight, run.steps.values()))
        self._ended.append(run)
        self._bytes += run.weight
        while len(self._ended) > 1 and (len(self._ended) > self._keep or self._bytes > RETAINED_BYTES):
            old = self._ended.popleft()
            del self._runs[old.id]
            self._bytes -= old.weight

    def get(self, run_id: str) -> Run:
        """Raises PraxisError("not_found")."""
        run = self._runs.get(run_id)
        if run is None:
            raise PraxisError(
                "not_found", f"no run {run_id!r}", hint="ended runs are kept for a while, see runs.retention"
            )
        return run

    def page(self, limit: int, cursor: str | None) -> tuple[list[RunSummary], str | None]:
        """Runs from the newest on, and the cursor of the next page. Raises PraxisError("invalid") for a bad cursor."""
        runs = list(reversed(self._runs.values()))
        if cursor is not None:
            at = next((i for i, run in enumerate(runs) if run.id == cursor), None)
            if at is None:
                raise PraxisError("invalid", f"no page begins at {cursor!r} any more", where="cursor")
            runs = runs[at:]
        following = runs[limit].id if len(runs) > limit else None
        return [run.record.summary for run in runs[:limit]], following


def _step_weight(step: StepRecord) -> int:
    told = (step.error.detail, step.error.hint, step.error.data) if step.error is not None else ()
    scores = len(step.route.scores) if step.route is not None else 0
    return STEP_BYTES + SCORE_BYTES * scores + _weight([step.result, *told])


def _weight(value: Any) -> int:
    """About how many bytes a JSON value takes, without encoding it, and however deep it is."""
    total, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, Mapping):
            total += sum(map(len, part))
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
        else:
            total += 8
    return total


def problem_of(error: PraxisError) -> Problem:
    """An error as records and events carry it."""
    return Problem(error.code, error.detail, error.hint, error.where, error.data)
