"""One run: its steps in the order that the plan allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from praxis.model.errors import PraxisError
from praxis.model.plan import Step
from praxis.model.run import Problem
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Counter
from praxis.tools.coerce import coerce
from praxis.workflow.router import Candidate, Route
from praxis.workflow.runs import Run, problem_of
from praxis.workflow.values import resolve, value_of

STEPS_AT_ONCE = 64
"""Steps of one run that run at once; more wait. Enough to keep a few machines busy, small beside a peer's 256."""

MAX_DETAIL = 2000
"""Characters of a failed tool's own words in the step's error, as in an error of a peer; the result has all of them."""

Call = Callable[[Route, dict[str, JSON], CallContext, Callable[[Candidate], None]], Awaitable[ToolResult]]


class Conductor:
    """Starts each step of one run when all that it waits for has succeeded.

    `rank` puts the candidates of a route into the order that is best now: steps wait for others, and a hundred of them
    may begin at once. `call` calls a tool by its route and says which candidate it is about to ask; `on_cancelling` is
    told at once when the run is being cancelled, by whomever.
    """

    def __init__(
        self,
        run: Run,
        call: Call,
        *,
        rank: Callable[[Route], Route],
        bus: EventBus,
        clock: Callable[[], float],
        ended: Counter,
        on_cancelling: Callable[[Run], None],
    ) -> None:
        self._run = run
        self._call = call
        self._rank = rank
        self._bus = bus
        self._clock = clock
        self._ended = ended
        self._on_cancelling = on_cancelling
        self._values: dict[str, JSON] = {}
        self._missing = {step.id: len(step.after) for step in run.plan.steps}
        self._dependants: dict[str, list[Step]] = {}
        for step in run.plan.steps:
            for before in step.after:
                self._dependants.setdefault(before, []).append(step)
        self._slots = trio.Semaphore(STEPS_AT_ONCE)
        self._failed: Problem | None = None
        self._over = False

    async def run(self) -> None:
        """Until every step has ended or cannot begin any more. Sets the run's state and error."""
        run = self._run
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._watch)
                async with trio.open_nursery() as nursery:
                    for step in run.plan.steps:
                        if not step.after:
                            await self._slots.acquire()
                            nursery.start_soon(self._step, step, nursery)
                self._over = True
                watching.cancel_scope.cancel()
        finally:
            for id, record in run.steps.items():
                if record.state == "pending":
                    run.steps[id] = attrs.evolve(record, state="skipped")
                    self._ended.inc(1, "skipped")
        run.error = self._failed
        run.state = "failed" if self._failed is not None else "succeeded"

    async def _watch(self) -> None:
        """Show at once that a run is being cancelled, whoever does it; its steps take a moment to end."""
        try:
            await trio.sleep_forever()
        finally:
            if not self._over:
                self._on_cancelling(self._run)

    async def _step(self, step: Step, nursery: trio.Nursery) -> None:
        """Run one step, then give its slot to a step that has waited for it."""
        try:
            if self._failed is None:
                await self._run_step(step)
        finally:
            self._slots.release()
        if self._failed is not None:
            return
        for dependant in self._dependants.get(step.id, ()):
            self._missing[dependant.id] -= 1
            if not self._missing[dependant.id]:
                await self._slots.acquire()
                nursery.start_soon(self._step, dependant, nursery)

    async def _run_step(self, step: Step) -> None:
        run = self._run
        route = self._rank(run.routes[step.id])  # from here to the call nobody else gets a turn: it is counted at once
        choice = route.choice
        run.steps[step.id] = attrs.evolve(run.steps[step.id], state="running", started_at=self._clock(), route=choice)
        self._bus.publish(
            "step.started",
            run_id=run.id,
            step=step.id,
            tool=choice.tool,
            agent=choice.agent,
            peer=choice.peer,
            reason=choice.reason,
            scores=[attrs.asdict(score) for score in choice.scores],
        )
        began = trio.current_time()
        context = CallContext(run.caller, run.id, lambda value: self._progress(step, value))
        changes: dict[str, Any]
        try:
            arguments = arguments_of(step, route.candidates[0].tool, self._values)
            result = await self._call(route, arguments, context, lambda asked: self._asked(step, route, asked))
        except PraxisError as error:
            changes = {"state": "failed", "error": problem_of(error)}
        except trio.Cancelled:
            self._end(step, began, {"state": "cancelled"})
            raise
        except Exception:  # a bug: the run ends with it, but not with a step that seems to run for ever
            problem = Problem("internal", "the step failed; the agent's log says why")
            self._end(step, began, {"state": "failed", "error": problem})
            raise
        else:
            failure = (
                Problem("tool_error", result.text[:MAX_DETAIL] or "the tool says that it failed")
                if result.is_error
                else None
            )
            changes = {"state": "failed" if failure else "succeeded", "error": failure, "result": result.value}
            if step.bind is not None:
                self._values[step.bind] = value_of(result)
        if changes["error"] is not None:
            first = changes["error"]
            self._failed = self._failed or attrs.evolve(first, where=f"step {step.id} ({step.tool})")
        self._end(step, began, changes)

    def _asked(self, step: Step, route: Route, candidate: Candidate) -> None:
        """Keep in the record who is asked: after a call that failed it is not the first choice."""
        before = route.candidates.index(candidate)
        if before:
            steps = self._run.steps
            steps[step.id] = attrs.evolve(steps[step.id], route=route.after(before).choice)

    def _end(self, step: Step, began: float, changes: dict[str, Any]) -> None:
        run = self._run
        ended = run.steps[step.id] = attrs.evolve(run.steps[step.id], ended_at=self._clock(), **changes)
        self._ended.inc(1, ended.state)
        self._bus.publish(
            "step.finished",
            run_id=run.id,
            step=ended.id,
            state=ended.state,
            tool=ended.tool,
            agent=ended.route.agent if ended.route else "",
            duration_ms=round((trio.current_time() - began) * 1000, 3),
            error=attrs.asdict(ended.error, recurse=False) if ended.error else None,
        )

    def _progress(self, step: Step, value: Mapping[str, JSON]) -> None:
        self._bus.publish("step.progress", run_id=self._run.id, step=step.id, progress=dict(value))


def arguments_of(step: Step, tool: Tool, values: Mapping[str, JSON]) -> dict[str, JSON]:
    """A step's arguments, typed by the tool's schema. Raises PraxisError("invalid")."""
    try:
        words = [(argument.name, resolve(argument, values)) for argument in step.arguments]
        return coerce(tool.input_schema, words)
    except RecursionError:
        raise PraxisError("invalid", "a value is nested too deeply to be written as text", where="arguments") from None
