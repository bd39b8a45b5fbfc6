"""What has been done: a run and its steps, as every entrance shows them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from praxis.model.plan import RunState, StepState
from praxis.model.tool import JSON


@attrs.frozen
class CandidateScore:
    """What one candidate was worth when a step was routed: each factor from 0 to 1, and their weighted mean."""

    tool: str
    agent: str
    peer: str | None
    score: float
    availability: float
    specialization: float
    load: float
    locality: float
    reason: str
    """What was known of it, in words."""


@attrs.frozen
class RouteChoice:
    """Where a step goes and why. `tool` is a full name; `peer` is None for this agent."""

    tool: str
    agent: str
    peer: str | None
    reason: str
    others: tuple[str, ...] = ()
    """Full names that may take over, in order: when the call was not delivered, or the tool is idempotent."""
    scores: tuple[CandidateScore, ...] = ()
    """The chosen one and the next best, where there was a choice."""


@attrs.frozen
class Problem:
    """An error as it is told to people and programs: the JSON-ready twin of PraxisError."""

    code: str
    detail: str
    hint: str = ""
    where: str = ""
    data: Mapping[str, JSON] = attrs.field(factory=dict)


@attrs.frozen
class Attempt:
    """An attempt of a step that failed and was made again. Times are seconds since the epoch."""

    started_at: float
    ended_at: float
    agent: str
    error: Problem


@attrs.frozen
class StepRecord:
    """One step of a run at one moment. Times are seconds since the epoch."""

    id: str
    """That of the step in the plan; in a FOREACH with the round, ``s4[0]``."""
    tool: str
    state: StepState = "pending"
    route: RouteChoice | None = None
    result: Mapping[str, JSON] | None = None
    """The MCP tool result, unchanged, once the tool has answered."""
    error: Problem | None = None
    started_at: float | None = None
    ended_at: float | None = None
    bind: str | None = None
    attempts: tuple[Attempt, ...] = ()
    """Those before the last one."""
    cached: bool = False
    """True when the result is one that an earlier step has got."""
    masked: bool = False
    """True when a secret was taken out of the result: it is not what later steps have got."""
    place: tuple[int, ...] = ()
    """Where it stands in the program: indexes of the block, of its round, and in there. Steps of a run are in this
    order."""


@attrs.frozen
class RunRecord:
    """One run at one moment. Times are seconds since the epoch."""

    id: str
    state: RunState
    caller: str
    program: str
    """Its text; of a graph the JSON."""
    steps: tuple[StepRecord, ...]
    created_at: float
    ended_at: float | None = None
    error: Problem | None = None
    params: Mapping[str, JSON] = attrs.field(factory=dict)
    needs_secrets: tuple[str, ...] = ()
    """Names of the secrets that it was given; they are kept nowhere."""
    context: str = ""
    """What its caller groups runs by; "" for none."""

    @property
    def result(self) -> Mapping[str, JSON] | None:
        """The result of the last step that has one: what the program as a whole answered."""
        return next((step.result for step in reversed(self.steps) if step.result is not None), None)

    @property
    def summary(self) -> RunSummary:
        return RunSummary(
            self.id, self.state, self.caller, self.program, len(self.steps), self.created_at, self.ended_at
        )


@attrs.frozen
class RunSummary:
    """A run in a list. Times are seconds since the epoch; `steps` is how many there are."""

    id: str
    state: RunState
    caller: str
    program: str
    steps: int
    created_at: float
    ended_at: float | None
