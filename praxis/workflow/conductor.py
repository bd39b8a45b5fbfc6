"""One run: its calls in the order that the plan allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from praxis.model.errors import PraxisError
from praxis.model.plan import PARAMS, SECRETS, Step
from praxis.model.run import Attempt, Problem, StepRecord
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Counter
from praxis.tools.coerce import coerce
from praxis.workflow.router import Candidate, Route
from praxis.workflow.runs import Run, problem_of
from praxis.workflow.schedule import Schedule, Turn
from praxis.workflow.values import resolve, value_of

STEPS_AT_ONCE = 64
"""Steps of one run that run at once; more wait. Enough to keep a few machines busy, small beside a peer's 256."""
MAX_DETAIL = 2000
"""Characters of a failed tool's own words in the step's error, as in an error of a peer; the result has all of them."""
MAX_BACKOFF = 300.0
"""Seconds between two attempts, however often that was doubled."""
NOT_AGAIN = frozenset({"invalid", "syntax", "denied", "unauthenticated", "ambiguous", "conflict", "too_large"})
"""Errors that another attempt would meet again."""

Call = Callable[[Route, dict[str, JSON], CallContext, Callable[[Candidate], None]], Awaitable[ToolResult]]
Save = Callable[[StepRecord], Awaitable[None]]


class Conductor:
    """Starts each call of one run when its turn has come.

    `rank` puts the candidates of a route into the order that is best now: steps wait for others, and a hundred of them
    may begin at once. `call` calls a tool by its route and says which candidate it is about to ask; `save` keeps a step
    for good before anybody is told of it; `on_cancelling` is told at once when the run is being cancelled, by whomever.
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
        save: Save | None = None,
        on_cancelling: Callable[[Run], None],
    ) -> None:
        self._run = run
        self._call = call
        self._rank = rank
        self._bus = bus
        self._clock = clock
        self._ended = ended
        self._save = save
        self._on_cancelling = on_cancelling
        self._running = 0
        self._over = False
        given = {PARAMS: dict(run.params), SECRETS: dict(run.secrets)}
        self._schedule = Schedule(run.plan, given, on_added=self._added, on_left_out=self._left_out)

    async def run(self) -> None:
        """Until every step has ended or cannot begin any more. Sets the run's state and error."""
        run = self._run
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._watch)
                async with trio.open_nursery() as nursery:
                    self._start_more(nursery)
                self._over = True
                watching.cancel_scope.cancel()
        finally:
            for id, record in run.steps.items():
                if record.state == "pending":
                    run.steps[id] = attrs.evolve(record, state="skipped")
                    self._ended.inc(1, "skipped")
                elif record.state == "running":  # what it came to could not be kept any more
                    run.steps[id] = attrs.evolve(record, state="cancelled", ended_at=self._clock())
                    self._ended.inc(1, "cancelled")
                    self._publish_end(run.steps[id], 0.0)
        run.error = self._schedule.failed
        run.state = "failed" if run.error is not None else "succeeded"

    async def _watch(self) -> None:
        """Show at once that a run is being cancelled, whoever does it; its steps take a moment to end."""
        try:
            await trio.sleep_forever()
        finally:
            if not self._over:
                self._on_cancelling(self._run)

    def _added(self, id: str, step: Step, place: tuple[int, ...]) -> None:
        if id not in self._run.steps:
            route = self._run.routes[step.id].choice
            self._run.steps[id] = StepRecord(id, step.tool, route=route, bind=step.bind, place=place)

    def _left_out(self, id: str, reason: Problem) -> None:
        steps = self._run.steps
        steps[id] = attrs.evolve(steps[id], state="skipped", error=reason)
        self._ended.inc(1, "skipped")
        self._publish_end(steps[id], 0.0)

    def _start_more(self, nursery: trio.Nursery) -> None:
        while self._running < STEPS_AT_ONCE:
            turn = self._schedule.take()
            if turn is None:
                break
            before = self._run.done.get(turn.id)
            if before is not None:
                self._repeat(turn, before)
            else:
                self._running += 1
                nursery.start_soon(self._step, turn, nursery)

    def _repeat(self, turn: Turn, before: StepRecord) -> None:
        """What a step has come to before the run was interrupted counts."""
        self._run.steps[turn.id] = before
        if before.state == "succeeded" and before.result is not None:
            self._schedule.succeeded(turn, value_of(ToolResult(before.result)))
        else:
            self._schedule.fail(turn, before.error or Problem("internal", "the step failed before"))

    async def _step(self, turn: Turn, nursery: trio.Nursery) -> None:
        """Run one step, then begin what has waited for it."""
        try:
            await self._run_step(turn)
        finally:
            self._running -= 1
        self._start_more(nursery)

    async def _run_step(self, turn: Turn) -> None:
        step, began, started_at = turn.step, trio.current_time(), self._clock()
        for attempt in range(1, step.retry + 2):
            at = self._clock()
            try:
                value, result, problem = await self._attempt(turn, started_at)
                last = problem is None or attempt > step.retry or problem.code in NOT_AGAIN
                if not last and problem is not None:
                    self._note_attempt(turn.id, at, attempt, problem)
                    await trio.sleep(min(step.backoff * 2.0 ** (attempt - 1), MAX_BACKOFF))
            except trio.Cancelled:
                self._end(turn.id, began, {"state": "cancelled"})
                raise
            except Exception:  # a bug: the run ends with it, but not with a step that seems to run for ever
                problem = Problem("internal", "the step failed; the agent's log says why")
                self._end(turn.id, began, {"state": "failed", "error": problem})
                raise
            if last:
                break
        changes: dict[str, Any] = {"state": "failed" if problem else "succeeded", "error": problem, "result": result}
        problem = await self._keep(attrs.evolve(self._run.steps[turn.id], ended_at=self._clock(), **changes)) or problem
        if problem is None:
            self._schedule.succeeded(turn, value)
        else:
            changes |= {"state": "failed", "error": problem}
            self._schedule.fail(turn, attrs.evolve(problem, where=f"step {turn.id} ({step.tool})"))
        self._end(turn.id, began, changes)

    async def _attempt(self, turn: Turn, started_at: float) -> tuple[JSON, Mapping[str, JSON] | None, Problem | None]:
        """Make one attempt: the value for later steps, the result as it may be shown, what was wrong."""
        run = self._run
        record = attrs.evolve(run.steps[turn.id], state="running", started_at=started_at)
        run.steps[turn.id] = record
        problem = await self._keep(record)
        if problem is not None:
            return None, None, problem
        # From here to the call nobody else gets a turn: who ranks next counts this call already.
        route = self._rank(run.routes[turn.step.id])
        run.steps[turn.id] = attrs.evolve(run.steps[turn.id], route=route.choice)
        self._publish_start(turn.id, route)
        try:
            result = await self._ask(turn, route)
        except PraxisError as error:
            return None, None, self._hidden(problem_of(error))
        if result.cached:
            run.steps[turn.id] = attrs.evolve(run.steps[turn.id], cached=True)
        shown = run.secrecy.hide(result.value)
        if shown != result.value:
            run.steps[turn.id] = attrs.evolve(run.steps[turn.id], masked=True)
        if result.is_error:
            detail = result.text[:MAX_DETAIL] or "the tool says that it failed"
            return None, shown, self._hidden(Problem("tool_error", detail))
        return value_of(result), shown, None

    async def _keep(self, record: StepRecord) -> Problem | None:
        """Keep a step for good. What cannot be kept has not happened: the reason why it counts as failed."""
        if self._save is not None:
            try:
                await self._save(record)
            except PraxisError as error:
                return problem_of(error)
        return None

    def _note_attempt(self, id: str, at: float, attempt: int, problem: Problem) -> None:
        record = self._run.steps[id]
        agent = record.route.agent if record.route is not None else ""
        attempts = (*record.attempts, Attempt(at, self._clock(), agent, problem))
        self._run.steps[id] = attrs.evolve(record, attempts=attempts)
        error = attrs.asdict(problem, recurse=False)
        self._bus.publish("step.retrying", run_id=self._run.id, step=id, attempt=attempt + 1, error=error)

    async def _ask(self, turn: Turn, route: Route) -> ToolResult:
        """Call the tool, or the next candidate in its place. Raises PraxisError."""
        run, step = self._run, turn.step
        context = CallContext(run.caller, run.id, lambda value: self._progress(turn.id, value))
        arguments = arguments_of(step, route.candidates[0].tool, turn.values)
        if step.timeout is None:
            return await self._call(route, arguments, context, lambda asked: self._asked(turn.id, route, asked))
        with trio.move_on_after(step.timeout):
            return await self._call(route, arguments, context, lambda asked: self._asked(turn.id, route, asked))
        raise PraxisError("timeout", f"no answer within TIMEOUT, {step.timeout:g} s", delivered=True)

    def _hidden(self, problem: Problem) -> Problem:
        hide = self._run.secrecy.hide
        return attrs.evolve(problem, detail=hide(problem.detail), hint=hide(problem.hint), data=hide(problem.data))

    def _asked(self, id: str, route: Route, candidate: Candidate) -> None:
        """Keep in the record who is asked: after a call that failed it is not the first choice."""
        before = route.candidates.index(candidate)
        if before:
            steps = self._run.steps
            steps[id] = attrs.evolve(steps[id], route=route.after(before).choice)

    def _end(self, id: str, began: float, changes: dict[str, Any]) -> None:
        steps = self._run.steps
        ended = steps[id] = attrs.evolve(steps[id], ended_at=self._clock(), **changes)
        self._ended.inc(1, ended.state)
        self._publish_end(ended, round((trio.current_time() - began) * 1000, 3))

    # -- telling ------------------------------------------------------------------------------------

    def _publish_start(self, id: str, route: Route) -> None:
        choice = route.choice
        self._bus.publish(
            "step.started",
            run_id=self._run.id,
            step=id,
            tool=choice.tool,
            agent=choice.agent,
            peer=choice.peer,
            reason=choice.reason,
            scores=[attrs.asdict(score) for score in choice.scores],
        )

    def _publish_end(self, ended: StepRecord, duration_ms: float) -> None:
        self._bus.publish(
            "step.finished",
            run_id=self._run.id,
            step=ended.id,
            state=ended.state,
            tool=ended.tool,
            agent=ended.route.agent if ended.route else "",
            duration_ms=duration_ms,
            error=attrs.asdict(ended.error, recurse=False) if ended.error else None,
        )

    def _progress(self, id: str, value: Mapping[str, JSON]) -> None:
        progress = self._run.secrecy.hide(dict(value))
        self._bus.publish("step.progress", run_id=self._run.id, step=id, progress=progress)


def arguments_of(step: Step, tool: Tool, values: Mapping[str, JSON]) -> dict[str, JSON]:
    """A step's arguments, typed by the tool's schema. Raises PraxisError("invalid")."""
    try:
        words = [(argument.name, resolve(argument, values)) for argument in step.arguments]
        return coerce(tool.input_schema, words)
    except RecursionError:
        raise PraxisError("invalid", "a value is nested too deeply to be written as text", where="arguments") from None
