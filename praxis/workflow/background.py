"""Runs that nobody has to wait for: children of the agent, not of the request that asked for them."""

from __future__ import annotations

import logging

import attrs
import trio

from praxis.access.principal import Principal
from praxis.model.errors import PraxisError
from praxis.workflow.executor import Executor
from praxis.workflow.order import Order

logger = logging.getLogger(__name__)


class Background:
    """A nursery for runs. The executor's bounds, `runs.max_concurrent` and `runs.queue`, hold for them as well."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, which cancels what it runs."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def start(self, text: str, principal: Principal, order: Order) -> str:
        """Start a program and return its run's id once that is in the journal; from then on it ends by itself. With the
        order's key it may be a run that has begun, or ended, before.

        Raises PraxisError as `Executor.execute` does, when nothing could begin; being cancelled before that leaves
        nothing behind.
        """
        if self._nursery is None:
            raise PraxisError("unavailable", "the agent has not started yet, or is stopping")
        begun: str = await self._nursery.start(self._execute, text, principal, order)
        return begun

    async def _execute(
        self, text: str, principal: Principal, order: Order, *, task_status: trio.TaskStatus[str]
    ) -> None:
        begun = False

        def on_begun(run_id: str) -> None:
            nonlocal begun
            begun = True
            task_status.started(run_id)

        try:
            record = await self._executor.execute(text, principal, order=attrs.evolve(order, on_begun=on_begun))
            if not begun and order.key is not None:  # it was begun before, with this key
                task_status.started(record.id)
                begun = True
        except Exception:
            if not begun:
                raise
            logger.exception("a run failed with a bug")
        if not begun:
            raise PraxisError("cancelled", "the run was cancelled before it had begun")
