"""Plain language to a run: a model plans, and its plan is checked and run like everybody else's."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs
import trio

from praxis.access.principal import Principal
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import JSON
from praxis.workflow.catalog import Catalog
from praxis.workflow.executor import Executor
from praxis.workflow.llm_planner import LlmPlanner
from praxis.workflow.order import Order, digest_of
from praxis.workflow.plan_check import plan_problems

LEAST = 0.001
"""Seconds that a run has at least where planning has taken the time of both: it ends with its own words."""


@attrs.frozen
class Planned:
    """`program` is the JSON of a graph, with the request's words in it; `say` what the model says of it."""

    program: str
    say: str


class Asking:
    """What is asked in plain language."""

    def __init__(self, planner: LlmPlanner, executor: Executor, catalog: Catalog) -> None:
        self._planner = planner
        self._executor = executor
        self._catalog = catalog
        self._under_way = 0
        self._over = trio.lowlevel.ParkingLot()

    async def aclose(self) -> None:
        """Close the connections to the model."""
        await self._planner.aclose()

    async def wait_idle(self) -> None:
        """Wait until no request is being planned, or has become a run that is under way."""
        while self._under_way:
            await self._over.park()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._over.unpark_all()

    async def plan(
        self,
        request: str,
        *,
        params: Collection[str] = (),
        secrets: Collection[str] = (),
        timeout: float | None = None,
    ) -> Planned:
        """The program that a model makes of a request; nothing is run. `params` and `secrets` are names alone.

        `timeout` is in seconds. Raises PraxisError: ``not_found`` with the model's words where no tool fits;
        ``timeout``; else as `LlmPlanner.plan` does.
        """

        async def check(plan: Mapping[str, JSON]) -> Sequence[str]:
            return await plan_problems(plan, self._catalog, params=params, secrets=secrets)

        tools, names = self._catalog.tools(), {"params": sorted(params), "secrets": sorted(secrets)}
        try:
            with self._counted(), trio.fail_after(math.inf if timeout is None else timeout):
                plan = await self._planner.plan(request, tools, check, **names)
        except trio.TooSlowError:
            raise PraxisError("timeout", f"no plan within {timeout:g} s") from None
        if not plan["nodes"]:
            raise PraxisError("not_found", plan["say"], hint="`praxis tools` lists what can be reached")
        # The words come first: lists of runs show the beginning of a program.
        program = {"request": request, "say": plan["say"], "nodes": plan["nodes"], "edges": plan["edges"]}
        return Planned(json.dumps(program, ensure_ascii=False), plan["say"])

    async def run(self, request: str, principal: Principal, order: Order) -> RunRecord:
        """Plan a request and run the plan to its end, within the order's `timeout` for both.

        With the order's `key` the same words are planned once. Raises PraxisError as `plan` and `Executor.execute` do.
        """
        with self._counted():
            return await self._run(request, principal, attrs.evolve(order, request=request))

    async def _run(self, request: str, principal: Principal, order: Order) -> RunRecord:
        if order.key is not None:
            before = await self._executor.begun_before(order.key, digest_of(request, order))
            if before is not None:
                return before
        began = trio.current_time()
        planned = await self.plan(request, params=order.params, secrets=order.secrets, timeout=order.timeout)
        if order.timeout is not None:
            left = order.timeout - (trio.current_time() - began)
            order = attrs.evolve(order, timeout=max(left, LEAST))
        return await self._executor.execute(planned.program, principal, order=order)
