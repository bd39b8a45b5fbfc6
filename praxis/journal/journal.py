"""Keeps runs for good, off the thread that everything else runs on: whoever writes goes on when it is in the file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from praxis.journal.database import PUT_RUN, PUT_STEP, Database, Write
from praxis.journal.records import encode
from praxis.journal.selection import Selected, Selection, select
from praxis.model.errors import PraxisError
from praxis.model.plan import RunState
from praxis.model.run import RunRecord, RunSummary, StepRecord
from praxis.observe.metrics import Metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")
FILE = "runs.db"
SWEEP = 60.0
"""Seconds between two looks at what has been kept long enough; after the end of a run there is one sooner."""
MAX_UNKEPT = 1000
"""Ends of runs that wait for a disk with room: as many as are kept by default."""
SWEEP_PAUSE = 1.0
"""Seconds between two of these."""


class Journal:
    """One writer: what comes while it writes goes together into the next transaction.

    Who writes waits until that is over, so no more waits than there are steps under way. Every method raises
    PraxisError("unavailable") when the file cannot be used.
    """

    def __init__(self, path: Path, *, keep: int, age: float, clock: Callable[[], float], metrics: Metrics) -> None:
        """Opens the file. Ended runs are kept up to a count and for `age` seconds; `clock` gives seconds since the
        epoch. Raises PraxisError("invalid") for a file of a newer version."""
        self._database = Database(path)
        self._keep, self._age, self._clock = keep, age, clock
        self._one = trio.CapacityLimiter(1)
        self._waiting: list[tuple[Write, ...]] = []
        self._over = trio.Event()
        self._there = trio.Event()
        self._ended = trio.Event()
        self._failure: PraxisError | None = None
        self._unkept: dict[str, tuple[Write, ...]] = {}
        """Ends of runs that could not be written yet, by run, the latest MAX_UNKEPT."""
        self._writing = metrics.counter("praxis_journal_writes_total", "Records written to the journal.")
        self._commits = metrics.counter("praxis_journal_commits_total", "Transactions of the journal.")
        metrics.gauge("praxis_journal_waiting", "Writes that wait for the journal.", lambda: float(len(self._waiting)))
        metrics.gauge("praxis_journal_bytes", "Size of the journal's file.", partial(_size, path))

    # -- writing ------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; what was asked for before that is written."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            try:
                task_status.started()
                while True:
                    await self._there.wait()
                    await self._commit()
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                    if self._waiting:
                        await self._commit()
                    await self._do(self._database.close)

    async def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        over, self._over = self._over, trio.Event()
        self._there = trio.Event()
        writes = [write for group in batch for write in group]
        try:
            await self._do(partial(self._database.write, writes))
        except PraxisError as error:
            if self._failure is None or str(error) != str(self._failure):  # once, not each second
                logger.error("%s", error)
            self._failure = error
        else:
            self._failure = None
            self._writing.inc(len(writes))
            self._commits.inc()
        over.set()

    async def _write(self, *writes: Write) -> None:
        self._waiting.append(writes)
        self._there.set()
        await self._over.wait()
        if self._failure is not None:
            raise self._failure

    async def begin(
        self, run: RunRecord, steps: Iterable[StepRecord] = (), *, key: str | None = None, request: str | None = None
    ) -> None:
        """Keep a run that begins, with the steps of an earlier one that count in it; `key` is what makes its request
        known again, `request` the digest of that."""
        await self._write(_run(run, key, request), *(_step(run.id, step) for step in steps))

    async def step(self, run_id: str, step: StepRecord) -> None:
        """Keep a step as it is now."""
        await self._write(_step(run_id, step))

    async def end(self, run: RunRecord, steps: Iterable[StepRecord]) -> None:
        """Keep a run as it is now, and those of its steps that have not been kept as they are."""
        writes = (_run(run), *(_step(run.id, step) for step in steps))
        try:
            await self._write(*writes)
        except PraxisError:
            self._unkept[run.id] = writes
            if len(self._unkept) > MAX_UNKEPT:
                del self._unkept[next(iter(self._unkept))]
            raise
        finally:
            self._ended.set()

    @property
    def trouble(self) -> str:
        """Why the last write failed; "" when it did not."""
        return str(self._failure) if self._failure is not None else ""

    async def _catch_up(self) -> None:
        """Write the ends that are missing: a run that has been told to have ended may not come back."""
        for run_id, writes in list(self._unkept.items()):
            await self._write(*writes)
            self._unkept.pop(run_id, None)

    async def _sweep(self) -> None:
        while True:
            try:
                await self._catch_up()
                gone = await self._do(partial(self._database.expire, self._keep, self._clock() - self._age))
                if gone:
                    logger.debug("%d runs were kept long enough", gone)
            except PraxisError as error:
                logger.error("%s", error)
            await trio.sleep(SWEEP_PAUSE)
            with trio.move_on_after(SWEEP_PAUSE if self._unkept else SWEEP):
                await self._ended.wait()
            self._ended = trio.Event()

    # -- reading ------------------------------------------------------------------------------------

    async def find(self, run_id: str) -> RunRecord | None:
        """One run with its steps; None if it is not kept."""
        return await self._do(partial(self._database.run, run_id))

    async def page(self, limit: int, cursor: str | None) -> list[RunSummary]:
        """From the newest run on, or from the one whose id is the cursor."""
        return await self._do(partial(self._database.runs, limit, cursor))

    async def select(self, selection: Selection, under_way: Mapping[str, RunState]) -> Selected:
        """Runs, those that changed last first. `under_way` are the states of those that are, which are newer
        than the journal's. Raises PraxisError("invalid") for a bad cursor."""
        return await self._do(partial(select, self._database, selection, under_way))

    async def interrupted(self) -> list[str]:
        """Ids of runs that were under way when the agent ended."""
        return await self._do(self._database.interrupted)

    async def by_key(self, key: str) -> tuple[str, str] | None:
        """The id of the run with an idempotency key, and the digest of its request."""
        return await self._do(partial(self._database.by_key, key))

    async def _do(self, read: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(read, limiter=self._one)


def _run(run: RunRecord, key: str | None = None, request: str | None = None) -> Write:
    return PUT_RUN, (run.id, run.state, run.created_at, run.ended_at, key, request, encode(run))


def _step(run_id: str, step: StepRecord) -> Write:
    return PUT_STEP, (run_id, step.id, step.state, encode(step))


def _size(path: Path) -> float:
    try:
        return float(path.stat().st_size)
    except OSError:
        return 0.0
