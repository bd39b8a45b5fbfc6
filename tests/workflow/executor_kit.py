"""An executor over a network that is not there: each tool does what its test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.config.schema import Breaker, Llm
from praxis.journal.journal import Journal
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import CallContext, Tool, ToolRef, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.workflow.asking import Asking
from praxis.workflow.catalog import Catalog
from praxis.workflow.executor import Executor
from praxis.workflow.health import Health
from praxis.workflow.llm_planner import LlmPlanner
from praxis.workflow.router import Candidate, Route, Snapshot

ANN = Principal("local", "ann")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
Answer = Callable[[dict[str, Any]], Awaitable[ToolResult]]


class Network(Catalog):
    """Tools by full name, with what each of them does; those of agent `me` are local."""

    def __init__(
        self,
        answers: dict[str, Answer | Exception],
        interchangeable: tuple[str, ...],
        annotations: dict[str, bool],
        schema: dict[str, Any],
    ) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.contexts: list[CallContext] = []
        refs = [ToolRef.parse(full) for full in answers]
        more = {"inputSchema": schema, "annotations": annotations}
        tools = [Tool(ref.agent or "", ref.source or "", {"name": ref.name, **more}) for ref in refs]
        remote = [(f"px-{tool.agent}", [tool]) for tool in tools if tool.agent != "me"]
        self.view = Snapshot([tool for tool in tools if tool.agent == "me"], remote, interchangeable)
        self.health = Health(Breaker())
        self._absent = lambda ref: ()
        self._foreign = None

    def snapshot(self) -> Snapshot:
        return self.view

    def weighed(self, route: Route) -> Route:
        return route

    async def prepare(self, refs: Iterable[ToolRef]) -> None:
        pass  # nobody is distant

    async def call(self, candidate: Candidate, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        name = str(candidate.tool.ref)
        self.asked.append(name)
        self.contexts.append(context)
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return await answer(arguments)


@attrs.define
class Setting:
    executor: Executor
    network: Network
    bus: EventBus
    metrics: Metrics

    async def run(self, text: str, **options: Any) -> RunRecord:
        return await self.executor.execute(text, ANN, **options)

    async def refusal(self, text: str, **options: Any) -> PraxisError:
        with pytest.raises(PraxisError) as caught:
            await self.run(text, **options)
        return caught.value

    def asking(self, config: Llm) -> Asking:
        """Plain language, by the model of this configuration."""
        planner = LlmPlanner(config, metrics=self.metrics, clock=lambda: 0.0, chance=Random(1))
        return Asking(planner, self.executor, self.network)

    def count(self, name: str, *labels: str) -> float:
        return self.metrics.counter(f"praxis_{name}_total", "", ("state",) if labels else ()).value(*labels)


def setting(
    interchangeable: tuple[str, ...] = (),
    annotations: dict[str, bool] = {},  # noqa: B006 - not changed
    *,
    max_concurrent: int = 2,
    queue: int = 0,
    keep: int = 10,
    schema: dict[str, Any] = SCHEMA,
    journal: Journal | None = None,
    **answers: Answer | Exception,
) -> Setting:
    """`me_x` is the local tool ``fs/x``, `a_x` that of the agent `a`."""
    full = {"{}:fs/{}".format(*name.split("_")): answer for name, answer in answers.items()}
    network, bus, metrics = Network(full, interchangeable, annotations, schema), EventBus(clock=lambda: 0.0), Metrics()
    ids = iter(f"r{number}" for number in range(1, 100))
    executor = Executor(
        network,
        bus=bus,
        metrics=metrics,
        max_concurrent=max_concurrent,
        timeout=60.0,
        keep=keep,
        clock=trio.current_time,
        new_id=lambda: next(ids),
        queue=queue,
        journal=journal,
    )
    return Setting(executor, network, bus, metrics)


async def fine(arguments: dict[str, Any]) -> ToolResult:
    await trio.lowlevel.checkpoint()
    return ToolResult.of_text("fine", structured=arguments)


async def forever(arguments: dict[str, Any]) -> ToolResult:
    await trio.sleep_forever()


async def stubborn(arguments: dict[str, Any]) -> ToolResult:
    """Needs two seconds to end when it is cancelled."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(2, shield=True):
            await trio.sleep_forever()
