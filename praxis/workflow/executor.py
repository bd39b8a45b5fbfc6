"""Runs programs. The only way a tool is called, whichever entrance the call came in by."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import attrs
import trio

from praxis.access.principal import Principal
from praxis.journal.journal import Journal
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.plan import FINAL, Plan, RunState, Step
from praxis.model.run import Problem, RunRecord, RunSummary
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.workflow.cache import ResultCache
from praxis.workflow.caller import Caller
from praxis.workflow.catalog import Catalog
from praxis.workflow.conductor import Conductor, arguments_of
from praxis.workflow.layout import layout
from praxis.workflow.order import Order, digest_of, given_params, plan_of
from praxis.workflow.router import Route
from praxis.workflow.runs import Run, RunStore, problem_of
from praxis.workflow.values import is_constant

logger = logging.getLogger(__name__)

LAST_WORDS = 5.0
"""Seconds for the journal to keep how a run that is being cancelled has ended."""


class Executor:
    """Plans, routes and runs programs, and knows the runs of late.

    `clock` gives seconds since the epoch, `new_id` an id that was never given before.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        bus: EventBus,
        metrics: Metrics,
        max_concurrent: int,
        timeout: float,
        keep: int,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        queue: int = 0,
        journal: Journal | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        """At most `max_concurrent` runs are under way, and `queue` more wait for their turn."""
        self.journal = journal
        self.cache = cache
        self._catalog = catalog
        self._bus = bus
        self._max, self._queue = max_concurrent, queue
        self._places = trio.Semaphore(max_concurrent)
        self._queued = 0
        self._timeout = timeout
        self._clock = clock
        self._new_id = new_id
        self._store = RunStore(keep=keep)
        self._keys: dict[str, tuple[str, Run]] = {}
        """Runs under way that were begun with an idempotency key."""
        self._open = self._running = 0
        self._run_over = trio.lowlevel.ParkingLot()
        self._ended = metrics.counter("praxis_runs_total", "Runs that ended, by state.", ("state",))
        self._refused = metrics.counter("praxis_runs_refused_total", "Runs refused because the queue was full.")
        self._steps = metrics.counter("praxis_steps_total", "Steps that ended, by state.", ("state",))
        self._caller = Caller(catalog, metrics)
        metrics.gauge(
            "praxis_breakers_open", "Tools of agents that are asked last.", lambda: float(catalog.health.broken())
        )
        metrics.gauge("praxis_runs_running", "Runs under way.", lambda: float(self._running))
        metrics.gauge("praxis_runs_queued", "Runs that wait for their turn.", lambda: float(self._queued))
        metrics.gauge("praxis_runs_kept", "Runs in memory, bounded by runs.retention.", lambda: float(len(self._store)))
        metrics.gauge("praxis_runs_kept_bytes", "About the size of their results.", lambda: float(self._store.bytes))

    # -- asking -------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Runs under way."""
        return self._running

    async def wait_idle(self) -> None:
        """Wait until no run is under way."""
        while self._open:
            await self._run_over.park()

    def catalog(self) -> list[Tool]:
        """Every tool that can be reached, local ones first."""
        return self._catalog.tools()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def has(self, run_id: str) -> bool:
        """Whether a run is in memory."""
        return self._store.has(run_id)

    def get(self, run_id: str) -> RunRecord:
        """One in memory. Raises PraxisError("not_found")."""
        return self._store.get(run_id).record

    async def wait(self, run_id: str) -> RunRecord:
        """One in memory, once it has ended. Raises PraxisError("not_found")."""
        run = self._store.get(run_id)
        await run.over.wait()
        return run.record

    def under_way(self) -> dict[str, RunState]:
        """The states of the runs that have not ended, by id."""
        return {run.id: run.state for run in self._store.running()}

    def list_runs(self, *, limit: int = 50, cursor: str | None = None) -> tuple[list[RunSummary], str | None]:
        """Those in memory."""
        return self._store.page(limit, cursor)

    async def preview(self, text: str) -> list[dict[str, JSON]]:
        """The calls of a program, each with its route or the problem that it has. Nothing is run.

        Raises PraxisError for a program that is no plan at all.
        """
        planned = await self._plan(text)
        return [self._preview(step) for step in planned.calls()]

    async def preview_graph(self, text: str) -> dict[str, JSON]:
        """The plan of a program as a graph with positions. Raises PraxisError."""
        return layout(plan_of(text))

    async def _plan(self, text: str) -> Plan:
        """The plan of a program, with everybody at hand who may be needed for it."""
        planned = plan_of(text)
        await self._catalog.prepare(_refs(planned))
        return planned

    def _preview(self, step: Step) -> dict[str, JSON]:
        shown: dict[str, JSON] = {"id": step.id, "tool": step.tool, "after": list(step.after), "bind": step.bind}
        shown["line"], shown["column"] = step.line, step.column
        shown["arguments"] = [{"name": argument.name, "value": str(argument)} for argument in step.arguments]
        try:
            route = self._catalog.weighed(self._route(step))
        except PraxisError as error:
            shown["problem"] = attrs.asdict(problem_of(error), recurse=False)
        else:
            shown["route"] = attrs.asdict(route.choice)
        return shown

    # -- running ------------------------------------------------------------------------------------

    async def execute(
        self,
        text: str,
        principal: Principal,
        *,
        run_id: str | None = None,
        timeout: float | None = None,
        order: Order | None = None,
    ) -> RunRecord:
        """Run a program, or the JSON of a graph, to its end. The run is a child of the caller: cancelling the calling
        task cancels it.

        `run_id` and `timeout` are those of the order, for a program without one. Raises PraxisError when nothing could
        be run: ``syntax``, ``invalid``, ``not_found``, ``ambiguous`` with the place in the program, or ``busy``. What
        happens once it runs is in the record.
        """
        order = order or Order(run_id=run_id, timeout=timeout)
        digest = digest_of(text, order)
        if order.key is not None:
            before = await self.begun_before(order.key, digest)
            if before is not None:
                return before
        planned = await self._plan(text)
        order = attrs.evolve(order, params=given_params(planned, order))
        routes = {step.id: self._route(step) for step in planned.calls()}
        if order.key is not None:  # somebody may have begun it while others were looked for
            before = await self.begun_before(order.key, digest)
            if before is not None:
                return before
        return await self._execute(text, planned, routes, principal, order, digest)

    async def begun_before(self, key: str, digest: str) -> RunRecord | None:
        """The run that this key has begun, when it has ended. Raises PraxisError("conflict") if it was another one."""
        kept = await self.journal.by_key(key) if self.journal is not None else None
        under_way = self._keys.get(key)
        known = under_way[0] if under_way is not None else kept[1] if kept is not None else digest
        if known != digest:
            hint = "give each run a key of its own, and the same one for its repetition alone"
            raise PraxisError("conflict", "this Idempotency-Key came with another request", hint=hint)
        if under_way is not None:
            await under_way[1].over.wait()
            return under_way[1].record
        if kept is not None and self._store.has(kept[0]):  # it may have gone on after the agent's end
            await self._store.get(kept[0]).over.wait()
        return await self._kept(kept[0]) if kept is not None else None

    async def call(
        self,
        ref: ToolRef,
        arguments: dict[str, JSON],
        principal: Principal,
        *,
        peer_id: PeerId | None = None,
        context: CallContext | None = None,
    ) -> ToolResult:
        """Call one tool and return its result unchanged. Raises PraxisError.

        It is a call and no run: nothing is kept of it. Cancelling the calling task cancels it. `context` is what
        travels with it beside the arguments; without one it is the principal's name alone.
        """
        await self._catalog.prepare((ref,))
        route = self._catalog.ranked(self._catalog.route(ref, peer_id=peer_id))
        with trio.move_on_after(self._timeout) as patience:
            return await self._caller.call(route, arguments, context or CallContext(principal.name))
        assert patience.cancelled_caught  # noqa: S101 - tells the reader and the type checker what is left
        raise PraxisError("timeout", f"no answer within runs.timeout, {self._timeout:g} s", delivered=True)

    async def cancel(self, run_id: str) -> RunRecord:
        """Cancel a run; returns when all that it had under way is really gone. Raises PraxisError."""
        run = self._store.get(run_id)
        if run.state in FINAL:
            raise PraxisError("conflict", f"run {run_id} has ended already: {run.state}")
        self._cancelling(run)
        run.scope.cancel()
        await run.over.wait()
        return run.record

    def cancel_all(self) -> None:
        """Cancel every run under way; their callers get the record."""
        for run in self._store.running():
            self._cancelling(run)
            run.scope.cancel()

    def _route(self, step: Step) -> Route:
        """Where a step goes. Constant arguments are checked, so that what cannot work is told before anything runs."""
        where = f"line {step.line}, column {step.column}"
        try:
            route = self._catalog.route(ToolRef.parse(step.tool))
            if all(is_constant(argument) for argument in step.arguments):
                first = route.candidates[0]
                first.validator.check(arguments_of(step, first.tool, {}))
        except PraxisError as error:
            error.where = f"{where}: {error.where}" if error.where else where
            raise
        return route

    async def _execute(
        self,
        text: str,
        planned: Plan,
        routes: dict[str, Route],
        principal: Principal,
        order: Order,
        digest: str,
    ) -> RunRecord:
        run_id = order.run_id or self._new_id()
        await self._check_free(run_id, order)
        # From here to its place in the store nobody else gets a turn.
        if self._running + self._queued >= self._max + self._queue:
            self._refused.inc()
            raise PraxisError(
                "busy",
                f"{self._running} runs are under way, and {self._queued} wait",
                hint="try again, or raise runs.max_concurrent or runs.queue",
            )
        began = order.created_at or self._clock()
        run = Run(run_id, text, principal.name, planned, routes, began, order.params, order.secrets, order.done)
        run.context = order.context
        run.state, run.began = "queued", trio.current_time()
        self._store.add(run)
        if order.key is not None:
            self._keys[order.key] = digest, run
        seconds = min(self._timeout, order.timeout) if order.timeout is not None else self._timeout
        patience = trio.CancelScope(deadline=run.began + seconds)
        self._queued += 1
        self._open += 1
        try:
            with run.scope, patience:
                await self._run(run, order, digest)
            if patience.cancelled_caught:
                run.error = Problem("timeout", f"the run took longer than {seconds:g} s")
                run.state = "failed"
        except PraxisError:  # the journal cannot keep it: nothing has begun
            run.state = "failed"
            raise
        except Exception:  # a bug: it goes on to the entrance, which logs it
            run.error = Problem("internal", "the run failed; the agent's log says why")
            run.state = "failed"
            raise
        finally:
            await self._end(run)
            if order.key is not None:
                del self._keys[order.key]
        return run.record

    async def _kept(self, run_id: str) -> RunRecord:
        kept = await self.journal.find(run_id) if self.journal is not None else None
        return kept if kept is not None else self.get(run_id)

    async def _check_free(self, run_id: str, order: Order) -> None:
        """Raises PraxisError("conflict") if there is such a run; one that goes on has not done so yet."""
        kept = await self.journal.find(run_id) if self.journal is not None and order.run_id is not None else None
        begun = self._store.has(run_id)  # looked at after the wait: it may have begun meanwhile
        if order.resumes and (begun or (kept is not None and kept.state in FINAL)):
            raise PraxisError("conflict", f"run {run_id} has gone on already")
        if begun or (kept is not None and not order.resumes):
            raise PraxisError("conflict", f"there is a run {run_id!r} already", hint="give each run an id of its own")

    async def _run(self, run: Run, order: Order, digest: str) -> None:
        """Wait for a place, then run."""
        waits = True
        try:
            if self.journal is not None:
                await self.journal.begin(run.record, run.done.values(), key=order.key, request=digest)
            if order.on_begun is not None:
                order.on_begun(run.id)
            async with self._places:
                self._queued -= 1
                self._running += 1
                waits = False
                run.began = trio.current_time()
                run.state = "running"
                steps = sum(1 for _ in run.plan.calls())
                self._bus.publish("run.started", run_id=run.id, caller=run.caller, steps=steps)
                try:
                    await Conductor(
                        run,
                        self._caller.call if run.secrets else partial(self._caller.call, cache=self.cache),
                        rank=self._catalog.ranked,
                        bus=self._bus,
                        clock=self._clock,
                        ended=self._steps,
                        save=partial(self.journal.step, run.id) if self.journal is not None else None,
                        on_cancelling=self._cancelling,
                    ).run()
                finally:
                    self._running -= 1
        finally:
            self._queued -= waits

    async def _end(self, run: Run) -> None:
        """Keep how a run has ended, then tell."""
        if run.state not in FINAL:
            run.state = "cancelled"
        run.ended_at = self._clock()
        if self.journal is not None:
            unkept = [s for s in run.steps.values() if s.state in ("skipped", "cancelled") or s.id in run.done]
            try:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORDS):
                    await self.journal.end(run.record, unkept)
            except PraxisError as error:
                logger.error("how run %s has ended is not kept: %s", run.id, error)
        self._ended.inc(1, run.state)
        self._store.ended(run)
        duration = round((trio.current_time() - run.began) * 1000, 3)
        self._bus.publish("run.finished", run_id=run.id, state=run.state, duration_ms=duration)
        self._open -= 1
        run.over.set()
        self._run_over.unpark_all()

    def _cancelling(self, run: Run) -> None:
        """It takes a moment until all that a run has under way is gone, here and elsewhere."""
        if run.state in ("queued", "running"):
            run.state = "cancelling"
            self._bus.publish("run.cancelling", run_id=run.id)


def _refs(planned: Plan) -> list[ToolRef]:
    """What the steps call, each once; a name that is none is told when it is routed."""
    refs: dict[ToolRef, None] = {}
    for name in dict.fromkeys(step.tool for step in planned.calls()):
        with suppress(PraxisError):
            refs[ToolRef.parse(name)] = None
    return list(refs)
