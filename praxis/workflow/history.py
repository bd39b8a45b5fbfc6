"""Runs of before: finding them, going on with those that were interrupted, running them again."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import attrs
import trio

from praxis.access.principal import Principal
from praxis.journal.selection import Selected, Selection
from praxis.model.errors import PraxisError
from praxis.model.plan import FINAL
from praxis.model.run import RunRecord, RunSummary, StepRecord
from praxis.model.tool import ToolRef
from praxis.workflow.catalog import Catalog
from praxis.workflow.executor import Executor
from praxis.workflow.order import Order, plan_of

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds after the start in which a run that goes on by itself waits for the agents and servers that it needs."""
PAUSE = 1.0
"""Seconds between two looks whether they are there."""
NOT_THERE = frozenset({"not_found", "unavailable", "busy"})
RESUMABLE = frozenset({"interrupted", "needs secrets"})


class History:
    """What is asked of runs that have begun, in memory or in the journal."""

    def __init__(self, executor: Executor, catalog: Catalog) -> None:
        self._executor = executor
        self._catalog = catalog

    async def find(self, run_id: str) -> RunRecord:
        """One run with its steps. Raises PraxisError("not_found")."""
        executor = self._executor
        if executor.journal is not None and not executor.has(run_id):
            kept = await executor.journal.find(run_id)
            if kept is not None:
                return kept
        return executor.get(run_id)

    async def wait(self, run_id: str) -> RunRecord:
        """One run, once nothing of it is under way. Raises PraxisError("not_found")."""
        return await (self._executor.wait(run_id) if self._executor.has(run_id) else self.find(run_id))

    async def page(self, *, limit: int = 50, cursor: str | None = None) -> tuple[list[RunSummary], str | None]:
        """Runs from the newest on, and the cursor of the next page. Raises PraxisError("invalid") for a bad cursor."""
        executor = self._executor
        if executor.journal is None:
            return executor.list_runs(limit=limit, cursor=cursor)
        kept = await executor.journal.page(limit + 1, cursor)
        shown = [executor.get(run.id).summary if executor.has(run.id) else run for run in kept[:limit]]
        return shown, kept[limit].id if len(kept) > limit else None

    async def select(self, selection: Selection) -> Selected:
        """Runs of the journal, as they are now. Raises PraxisError("invalid") for a bad cursor."""
        executor = self._executor
        if executor.journal is None:
            raise PraxisError("unavailable", "this agent keeps no journal")
        found = await executor.journal.select(selection, executor.under_way())
        now = (executor.get(run.id) if executor.has(run.id) else run for run in found.runs)
        runs = now if selection.steps else (attrs.evolve(run, steps=()) for run in now)
        return attrs.evolve(found, runs=tuple(runs))

    async def resume(
        self, run_id: str, principal: Principal, *, secrets: Mapping[str, str], repeat: bool = False
    ) -> RunRecord:
        """Go on with a run that was interrupted, to its end; steps that had ended count as they are.

        A step that was under way is made again where its tool is idempotent, or with `repeat`. Raises PraxisError:
        ``conflict`` for a run that was not interrupted, and for a step that may have happened; ``invalid`` without the
        secrets that it needs; else as `Executor.execute`.
        """
        run, order = await self.order_to_resume(run_id, secrets=secrets, repeat=repeat)
        return await self._executor.execute(run.program, principal, order=order)

    async def order_to_resume(
        self, run_id: str, *, secrets: Mapping[str, str], repeat: bool = False
    ) -> tuple[RunRecord, Order]:
        """A run that was interrupted, and what makes it go on. Raises PraxisError("conflict") as `resume` does."""
        run = await self.find(run_id)
        if run.state not in RESUMABLE:
            hint = f"`praxis runs retry {run_id}` runs it again" if run.state in FINAL else ""
            raise PraxisError("conflict", f"run {run_id} was not interrupted: it is {run.state}", hint=hint)
        done = {step.id: step for step in run.steps if _is_usable(step) or step.state == "failed"}
        if not repeat:
            await self._check_repeatable(run)
        order = Order(run.params, secrets, run_id=run_id, done=done, resumes=True, created_at=run.created_at)
        return run, attrs.evolve(order, context=run.context)

    async def _check_repeatable(self, run: RunRecord) -> None:
        """Raises PraxisError("conflict") for a step that would have to be made again, and may not happen twice."""
        steps = {step.id: step for step in plan_of(run.program).calls()}
        for record in run.steps:
            if _is_usable(record) or record.state not in ("succeeded", "interrupted", "running"):
                continue
            ref = ToolRef.parse(steps[record.id.partition("[")[0]].tool)
            await self._catalog.prepare((ref,))
            if not self._catalog.route(ref).candidates[0].tool.idempotent:
                why = "was under way when the agent ended; whether it happened is not known"
                if record.masked:
                    why = "has a result with a secret in it, which is kept nowhere, and later steps may need it"
                raise PraxisError(
                    "conflict",
                    f"step {record.id} ({record.tool}) {why}, and its tool does not say that twice is the same as once",
                    hint=f"`praxis runs resume {run.id} --repeat` makes it again",
                    data={"step": record.id},
                )

    async def retry(
        self, run_id: str, principal: Principal, *, secrets: Mapping[str, str], from_failed: bool = False
    ) -> RunRecord:
        """Run the program of an ended run again, as a new run; with `from_failed` the steps that succeeded count,
        save those whose results had a secret in them.

        Raises PraxisError: ``conflict`` while it has not ended; else as `Executor.execute`.
        """
        run = await self.find(run_id)
        if run.state not in FINAL:
            hint = f"`praxis runs resume {run_id}` goes on with it" if run.state in RESUMABLE else ""
            raise PraxisError("conflict", f"run {run_id} has not ended: it is {run.state}", hint=hint)
        done: dict[str, StepRecord] = {}
        if from_failed:
            done = {step.id: step for step in run.steps if _is_usable(step)}
        order = Order(run.params, secrets, done=done, context=run.context)
        return await self._executor.execute(run.program, principal, order=order)

    async def cancel(self, run_id: str) -> RunRecord:
        """Cancel a run, an interrupted one too; returns when all that it had under way is really gone.

        Raises PraxisError: ``not_found``; ``conflict`` when it has ended.
        """
        run = await self.find(run_id)
        if self._executor.journal is None or run.state in FINAL or self._executor.has(run_id):
            if run.state in FINAL:
                raise PraxisError("conflict", f"run {run_id} has ended already: {run.state}")
            return await self._executor.cancel(run_id)
        under_way = (step for step in run.steps if step.state in ("interrupted", "running"))
        steps = [attrs.evolve(step, state="cancelled") for step in under_way]
        cancelled = attrs.evolve(run, state="cancelled", ended_at=self._executor.now())
        await self._executor.journal.end(cancelled, steps)
        return await self.find(run_id)

    async def resume_all(self) -> None:
        """Go on with every run that was interrupted by the end of the agent, and can be; the others say why not."""
        journal = self._executor.journal
        if journal is None:
            return
        async with trio.open_nursery() as nursery:
            for run_id in await journal.interrupted():
                nursery.start_soon(self._resume_when_possible, run_id)

    async def _resume_when_possible(self, run_id: str) -> None:
        until = trio.current_time() + PATIENCE
        while True:
            run = await self.find(run_id)
            try:
                if run.needs_secrets and self._executor.journal is not None:
                    await self._executor.journal.end(attrs.evolve(run, state="needs secrets"), ())
                    logger.warning("run %s waits for secrets: %s", run_id, ", ".join(run.needs_secrets))
                    return
                ended = await self.resume(run_id, Principal("local", run.caller), secrets={})
            except PraxisError as error:
                if error.code not in NOT_THERE or trio.current_time() > until:
                    logger.warning("run %s was interrupted and does not go on: %s", run_id, error)
                    return
                await trio.sleep(PAUSE)
            else:
                logger.info("run %s went on, and has ended: %s", run_id, ended.state)
                return


def _is_usable(step: StepRecord) -> bool:
    """Whether what is kept of a step is all that later ones can ask of it: not where a secret was taken out."""
    return step.state == "succeeded" and not (step.masked and (step.bind is not None or len(step.place) > 1))
