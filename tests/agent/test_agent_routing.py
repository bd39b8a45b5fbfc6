"""Several agents with the same tool: which of them gets a call, and who takes over."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.app import Agent
from praxis.cli.client import Client
from praxis.config.schema import Breaker, Config, Routing, Weights
from praxis.dev import RunningAgent
from praxis.model.errors import PraxisError
from praxis.model.run import RouteChoice
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult
from praxis.tools.source import SourceState
from tests.support.network import PATIENCE, connected

ANN = Principal("local", "ann", "admin")
FACTORS = ("availability", "specialization", "load", "locality")
JOB, LOOK = ToolRef("job"), ToolRef("look")


class Work:
    """The source `work`: ``job`` may not be done twice, ``look`` may; both answer with the name of their agent."""

    name = "work"

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.asked = 0
        self.running = 0
        self.seconds = 0.0
        self.fault: PraxisError | None = None
        self.gate = trio.Event()
        self.gate.set()
        self._begun = trio.lowlevel.ParkingLot()
        text = "Paints a picture, on a GPU if there is one."
        job = {"name": "job", "description": text, "inputSchema": {}}
        self._tools = (
            Tool(agent, self.name, job),
            Tool(agent, self.name, {**job, "name": "look", "annotations": {"readOnlyHint": True}}),
        )

    def tools(self) -> Sequence[Tool]:
        return self._tools

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        self.asked += 1
        self.running += 1
        self._begun.unpark_all()
        try:
            await trio.sleep(self.seconds)
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.fault is not None:
            raise self.fault
        return ToolResult.of_text(self.agent)

    async def wait_running(self, count: int) -> None:
        with trio.fail_after(PATIENCE):
            while self.running < count:
                await self._begun.park()

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready", tools=len(self._tools))


@attrs.define
class Setting:
    """`one` calls; `works` are the owners by the number of their agent."""

    one: RunningAgent
    works: Mapping[int, Work]

    @property
    def agent(self) -> Agent:
        return self.one.agent

    async def ask(self, ref: ToolRef = JOB) -> str:
        return (await self.agent.executor.call(ref, {}, ANN)).text

    async def asks(self, count: int) -> Counter[str]:
        return Counter([await self.ask() for _ in range(count)])

    async def choice(self) -> RouteChoice:
        run = await self.agent.executor.execute("CALL job", ANN)
        assert run.steps[0].route is not None
        return run.steps[0].route


@asynccontextmanager
async def owners(
    folder: Path,
    numbers: Sequence[int] = (2, 3),
    *,
    weights: Weights = Weights(),  # noqa: B008 - frozen
    breaker: Breaker = Breaker(),  # noqa: B008
    tags: Mapping[int, tuple[str, ...]] | None = None,
) -> AsyncIterator[Setting]:
    """Agents of which these have the tools; the first has the weights."""

    def change(config: Config) -> Config:
        number = int(config.agent.name.rpartition("-")[2])
        agent = attrs.evolve(config.agent, tags=(tags or {}).get(number, ()))
        return attrs.evolve(config, agent=agent, routing=Routing(("work/*",), weights, breaker))

    async with connected(folder, max(numbers), change=change) as agents:
        works = {number: Work(f"agent-{number}") for number in numbers}
        for number, work in works.items():
            agents[number - 1].agent.registry.add(work)
        one = agents[0]
        with trio.fail_after(PATIENCE):
            await one.agent.peers.wait_change(
                lambda: sum(tool.name == "job" for tool in one.agent.catalog.tools()) == len(works)
            )
        yield Setting(one, works)


def only(factor: str) -> Weights:
    return Weights(**{each: float(each == factor) for each in FACTORS})


# -- each factor alone -----------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "good"), [(2, 3), (3, 2)])
async def test_calls_go_where_they_succeeded_lately(tmp_path: Path, bad: int, good: int) -> None:
    async with owners(tmp_path, weights=only("availability")) as here:
        here.works[bad].fault = PraxisError("busy", "not now")
        assert await here.asks(20) == {f"agent-{good}": 20}, "whoever asks is always served"
        assert here.works[bad].asked <= 1
    async with owners(tmp_path / "without", weights=Weights(0, 0, 0, 1)) as here:
        for link in here.agent.peers.links():
            link.rtt = 0.0  # what a busy machine measured would be a reason
        here.works[bad].fault = PraxisError("busy", "not now")
        await here.asks(20)
        assert here.works[bad].asked > 1, "it does not count"


@pytest.mark.parametrize("special", [2, 3])
async def test_calls_go_where_the_tool_mentions_a_tag(tmp_path: Path, special: int) -> None:
    tags = {2: ("cpu",), 3: ("cpu",), special: ("gpu", "cpu")}
    async with owners(tmp_path, weights=only("specialization"), tags=tags) as here:
        assert await here.asks(10) == {f"agent-{special}": 10}
        (best, other) = (await here.choice()).scores
        assert (best.agent, best.specialization, other.specialization) == (f"agent-{special}", 0.5, 0)
        assert best.reason.endswith("tags gpu")


@pytest.mark.parametrize(("busy", "idle"), [(2, 3), (3, 2)])
async def test_calls_go_where_fewer_are_under_way(tmp_path: Path, busy: int, idle: int) -> None:
    async with owners(tmp_path, weights=only("load")) as here, trio.open_nursery() as nursery:
        here.works[busy].gate = trio.Event()
        route = ToolRef("job", "work", f"agent-{busy}")
        for _ in range(3):
            nursery.start_soon(here.ask, route)
        await here.works[busy].wait_running(3)
        assert await here.asks(10) == {f"agent-{idle}": 10}
        here.works[busy].gate.set()


async def test_calls_go_where_it_is_nearest(tmp_path: Path) -> None:
    async with owners(tmp_path, (1, 2, 3), weights=only("locality")) as here:
        assert await here.asks(10) == {"agent-1": 10}


@pytest.mark.parametrize(("far", "near"), [(2, 3), (3, 2)])
async def test_calls_go_where_the_way_is_shortest(tmp_path: Path, far: int, near: int) -> None:
    async with owners(tmp_path, weights=only("locality")) as here:
        for owner in here.agent.peers.owners():
            if owner.name == f"agent-{far}":
                owner.link.rtt = 0.3  # as a ping over a long way would have measured it
        assert await here.asks(10) == {f"agent-{near}": 10}


# -- many callers ----------------------------------------------------------------------------------


async def test_64_callers_spread_evenly_over_equal_owners(tmp_path: Path) -> None:
    async with owners(tmp_path, (2, 3, 4)) as here:
        served: Counter[str] = Counter()

        async def caller() -> None:
            for _ in range(8):
                served[await here.ask()] += 1

        with trio.fail_after(3 * PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(caller)
        even = 64 * 8 / 3
        assert len(served) == 3
        assert all(abs(count - even) <= 0.2 * even for count in served.values()), served


async def test_64_steps_that_begin_at_once_spread_too(tmp_path: Path) -> None:
    async with owners(tmp_path, (2, 3)) as here:
        run = await here.agent.executor.execute("PARALLEL {" + "CALL job;" * 64 + "}", ANN)
        assert run.state == "succeeded"
        assert all(26 <= work.asked <= 38 for work in here.works.values())
        assert {step.route.reason for step in run.steps if step.route} == {
            "interchangeable: the less loaded of two out of 2 alike"
        }


async def test_an_owner_that_turns_slow_loses_its_share_within_two_seconds(tmp_path: Path) -> None:
    async with owners(tmp_path, (2, 3, 4)) as here:
        order: list[str] = []
        answered = trio.lowlevel.ParkingLot()

        async def caller() -> None:
            while True:
                order.append(await here.ask())
                answered.unpark_all()

        async def wait_calls(count: int) -> Counter[str]:
            start = len(order)
            while len(order) < start + count:
                await answered.park()
            return Counter(order[start:])

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(caller)
            with trio.fail_after(PATIENCE):
                before = await wait_calls(240)
            here.works[3].seconds = 0.1
            with trio.fail_after(2):
                await wait_calls(150)
                after = await wait_calls(150)
            nursery.cancel_scope.cancel()
        assert before["agent-3"] > 0.2 * 240
        assert after["agent-3"] < 0.1 * 150


# -- the breaker -----------------------------------------------------------------------------------


async def test_a_breaker_opens_and_closes_again(tmp_path: Path) -> None:
    weights = Weights(0, 0, 0, 0)  # else a failure, or a slow first ping, would keep the calls away
    async with owners(tmp_path, weights=weights, breaker=Breaker(3, 30.0)) as here:
        now, bad = trio.current_time(), here.works[2]
        here.agent.catalog.clock = lambda: now
        bad.fault = PraxisError("unavailable", "out of order", delivered=False)
        with here.agent.bus.subscribe(types=["tool.breaker"]) as events:
            assert await here.asks(50) == {"agent-3": 50}
            assert bad.asked == 3, "then it is asked no more"
            assert "praxis_breakers_open 1" in here.agent.metrics.render()
            (shown,) = [score for score in (await here.choice()).scores if score.agent == "agent-2"]
            assert (shown.availability, shown.reason.partition(";")[0]) == (0, "asked last after failures")
            now += 30
            await here.asks(50)
            assert bad.asked == 4, "one call tries again, and the pause is doubled"
            now += 59
            await here.asks(50)
            assert bad.asked == 4
            now, bad.fault = now + 1, None
            assert await here.ask() == "agent-2"
            assert (await here.asks(50)).keys() == {"agent-2", "agent-3"}
            states = [(event.fields["agent"], event.fields["state"]) for event in events.receive_nowait().events]
        assert states == [("agent-2", "open"), ("agent-2", "open"), ("agent-2", "closed")]


async def test_a_breaker_keeps_no_call_from_the_only_owner(tmp_path: Path) -> None:
    async with owners(tmp_path, (2,), breaker=Breaker(1, 1000.0)) as here:
        here.works[2].fault = PraxisError("unavailable", "out of order")
        for _ in range(3):
            with pytest.raises(PraxisError, match="out of order"):
                await here.ask()
        here.works[2].fault = None
        assert await here.ask() == "agent-2"


# -- taking over -----------------------------------------------------------------------------------

DELIVERED = PraxisError("unavailable", "the tool's server died", delivered=True)


@pytest.mark.parametrize(
    ("ref", "fault", "served"),
    [
        (JOB, PraxisError("busy", "full"), True),
        (JOB, PraxisError("denied", "not you"), False),
        (JOB, DELIVERED, False),
        (LOOK, DELIVERED, True),
        (LOOK, PraxisError("invalid", "wrong", delivered=True), False),
    ],
    ids=["not delivered", "refused", "delivered", "idempotent", "wrong"],
)
async def test_another_owner_takes_over_when_the_call_cannot_have_run_or_may_run_twice(
    tmp_path: Path, ref: ToolRef, fault: PraxisError, served: bool
) -> None:
    async with owners(tmp_path, tags={2: ("gpu",)}) as here:
        here.works[2].fault = fault
        run = await here.agent.executor.execute(f"CALL {ref}", ANN)
        route = run.steps[0].route
        assert route is not None
        assert (here.works[2].asked, here.works[3].asked) == (1, int(served))
        assert (run.state, route.agent) == (("succeeded", "agent-3") if served else ("failed", "agent-2"))
        assert route.reason.endswith("; 1 before it failed") == served


@pytest.mark.parametrize(("ref", "served"), [(JOB, False), (LOOK, True)], ids=["job", "look"])
async def test_a_line_that_is_cut_during_a_call(tmp_path: Path, ref: ToolRef, served: bool) -> None:
    async with owners(tmp_path, tags={2: ("gpu",)}) as here:
        here.works[2].gate = trio.Event()

        async def cut() -> None:
            await here.works[2].wait_running(1)
            (owner,) = [owner for owner in here.agent.peers.owners() if owner.name == "agent-2"]
            owner.link.close("test", "the cable was cut")

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                run = await here.agent.executor.execute(f"CALL {ref}", ANN)
        assert run.steps[0].route is not None
        if served:
            assert (run.state, run.steps[0].route.agent) == ("succeeded", "agent-3")
        else:
            assert (run.state, run.steps[0].route.agent) == ("failed", "agent-2")
            assert run.error is not None and "whether the call ran there is not known" in run.error.detail
        here.works[2].gate.set()


# -- what is shown ---------------------------------------------------------------------------------


async def test_the_decision_shows_in_the_plan_the_run_and_its_event(tmp_path: Path) -> None:
    async with owners(tmp_path, tags={3: ("gpu",)}) as here:
        unix = Client(f"unix:{here.one.addresses.unix}", timeout=PATIENCE)
        plan = await trio.to_thread.run_sync(lambda: unix.request("POST", "/plan", {"dsl": "CALL job"}))
        planned = plan["steps"][0]["route"]
        with here.agent.bus.subscribe(types=["step.started"]) as events:
            route = await here.choice()
            (started,) = events.receive_nowait().events
        ran = json.loads(json.dumps(attrs.asdict(route)))
        for shown in (planned, ran, started.fields):
            assert (shown["agent"], shown["reason"]) == ("agent-3", "interchangeable: the best score of 2")
            assert [score["agent"] for score in shown["scores"]] == ["agent-3", "agent-2"]
            for score in shown["scores"]:
                assert score["score"] == pytest.approx(sum(score[factor] for factor in FACTORS) / 4, abs=0.01)
        assert "this host" in planned["scores"][0]["reason"] and "tags gpu" in planned["scores"][0]["reason"]
        assert here.works[2].asked == 0


async def test_praxis_plan_shows_the_scores(tmp_path: Path) -> None:
    async with owners(tmp_path, tags={3: ("gpu",)}) as here:
        command = [sys.executable, "-m", "praxis", "plan", "CALL job", "--url", f"unix:{here.one.addresses.unix}"]
        done = await trio.run_process(command, capture_stdout=True)
        first, second = done.stdout.decode().split("\n\n")
        assert "agent-3 (interchangeable: the best score of 2)" in first
        head, *rows = [re.split(r"  +", line) for line in second.splitlines()]
        assert head == ["STEP", "CANDIDATE", "SCORE", "AVAILABILITY", "SPECIALIZATION", "LOAD", "LOCALITY", "REASON"]
        assert [row[:2] + row[3:6] for row in rows] == [
            ["s1", "agent-3:work/job", "1.0", "0.5", "1.0"],
            ["s1", "agent-2:work/job", "1.0", "0.0", "1.0"],
        ]
        assert all("idle; this host" in row[7] for row in rows)
