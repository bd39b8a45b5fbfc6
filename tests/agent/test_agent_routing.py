"""Several agents with the same tool: which of them gets a call, and who takes over."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.app import Agent
from praxis.cli.client import Client
from praxis.config.schema import Breaker, Config, Routing, Weights
from praxis.dev import RunningAgent
from praxis.model.errors import PraxisError
from praxis.model.load import Load
from praxis.model.run import RouteChoice
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult
from praxis.peers.link import PeerLink
from praxis.tools.source import SourceState
from tests.support.network import PATIENCE, connected

ANN = Principal("local", "ann", "admin")
FACTORS = ("availability", "specialization", "load", "locality")
JOB, LOOK = ToolRef("job"), ToolRef("look")


class Work:
    """The source `work`: ``job`` may not be done twice, ``look`` may; both answer with the name of their agent.

    A call with ``hold`` lasts until `hold` is set, one with ``block`` keeps the event loop for so many seconds.
    """

    name = "work"

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.asked = 0
        self.running = 0
        self.seconds = 0.0
        self.fault: PraxisError | None = None
        self.gate = trio.Event()
        self.gate.set()
        self.hold = trio.Event()
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
            if "hold" in arguments:
                await self.hold.wait()
            if "block" in arguments:
                time.sleep(float(str(arguments["block"])))  # noqa: ASYNC251 - as a tool with a bug does
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
    """The first of the agents calls; `works` are the owners by the number of their agent."""

    agents: Sequence[RunningAgent]
    works: Mapping[int, Work]

    @property
    def one(self) -> RunningAgent:
        return self.agents[0]

    @property
    def agent(self) -> Agent:
        return self.one.agent

    def link(self, number: int) -> PeerLink:
        """The line of the first agent to this one."""
        (found,) = [owner.link for owner in self.agent.peers.owners() if owner.name == f"agent-{number}"]
        return found

    def stop_the_clock(self) -> None:
        """From now on all calls take as long, in the eyes of the first agent: what the machine does besides is no
        matter."""
        now = trio.current_time()
        self.agent.catalog.clock = lambda: now

    async def wait_word(self, number: int, such: Callable[[Load], bool]) -> None:
        """Wait until this agent has said such a thing of its load to the first one."""
        link, news = self.link(number), trio.lowlevel.ParkingLot()
        hear = link.on_notice

        def hear_and_tell(value: Any) -> None:
            hear(value)
            news.unpark_all()

        link.on_notice = hear_and_tell
        with trio.fail_after(3 * PATIENCE):  # it says something every 5 s
            while link.told is None or not such(link.told.load):
                await news.park()
        link.on_notice = hear

    def keep_busy(self, nursery: trio.Nursery, number: int, arguments: dict[str, JSON], count: int = 1) -> None:
        """The last agent calls this one, again and again."""
        last = self.agents[-1].agent.executor

        async def call() -> None:
            while True:
                await last.call(ToolRef("job", "work", f"agent-{number}"), arguments, ANN)

        for _ in range(count):
            nursery.start_soon(call)

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
    size: int = 0,
    late: Sequence[int] = (),
) -> AsyncIterator[Setting]:
    """At least `size` agents of which these have the tools; the first has the weights.

    How far they are is not what a busy machine makes of it, and no loop but those of `late` is seen to be late.
    """

    def change(config: Config) -> Config:
        number = int(config.agent.name.rpartition("-")[2])
        agent = attrs.evolve(config.agent, tags=(tags or {}).get(number, ()))
        p2p = attrs.evolve(config.p2p, keepalive=attrs.evolve(config.p2p.keepalive, interval=1000.0))
        return attrs.evolve(config, agent=agent, p2p=p2p, routing=Routing(("work/*",), weights, breaker))

    async with connected(folder, max(size, *numbers), change=change) as agents:
        works = {number: Work(f"agent-{number}") for number in numbers}
        for number, work in works.items():
            agents[number - 1].agent.registry.add(work)
        one = agents[0]
        with trio.fail_after(PATIENCE):
            for each in agents:  # the last one calls too
                await each.agent.peers.wait_change(partial(knows_all, each.agent, len(works)))
        for number, each in enumerate(agents, 1):
            meter = each.agent.meter
            meter.cpu_times = lambda: (0.0, 0.0)
            if number not in late:
                meter.clock = lambda: 0.0
            meter.lag = meter.cpu = 0.0
        for owner in one.agent.peers.owners():
            owner.link.rtt, owner.link.told = 0.001, None
        yield Setting(agents, works)


def knows_all(agent: Agent, owners: int) -> bool:
    return sum(tool.name == "job" for tool in agent.catalog.tools()) == owners


def only(factor: str) -> Weights:
    return Weights(**{each: float(each == factor) for each in FACTORS})


# -- each factor alone -----------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "good"), [(2, 3), (3, 2)])
async def test_calls_go_where_they_succeeded_lately(tmp_path: Path, bad: int, good: int) -> None:
    async with owners(tmp_path, weights=only("availability")) as here:
        here.works[bad].fault = PraxisError("busy", "not now")
        assert await here.asks(20) == {f"agent-{good}": 20}, "whoever asks is always served"
        assert here.works[bad].asked <= 1
    async with owners(tmp_path / "without", weights=Weights(0, 0, 0, 0)) as here:
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
        here.link(far).rtt = 0.3  # as a ping over a long way would have measured it
        assert await here.asks(10) == {f"agent-{near}": 10}


@pytest.mark.parametrize("busy", [2, 3])
async def test_an_owner_that_another_agent_keeps_busy_loses_some_of_its_share(tmp_path: Path, busy: int) -> None:
    async with owners(tmp_path, size=4, weights=only("load")) as here, trio.open_nursery() as nursery:
        here.keep_busy(nursery, busy, {"hold": True}, 60)
        await here.wait_word(busy, lambda load: load.calls >= 32)
        here.stop_the_clock()
        served = await here.asks(300)
        assert 30 < served[f"agent-{busy}"] < 126, "some 90; half of them if it were not heeded"
        assert here.link(busy).load == 0
        (shown,) = [score for score in (await here.choice()).scores if score.agent == f"agent-{busy}"]
        assert re.match(r"busy with \d\d calls of others; ", shown.reason)
        (view,) = [view for view in here.agent.peers.views() if view.name == f"agent-{busy}"]
        assert view.load == 0 and view.told is not None and view.told.calls >= 32
        (view,) = [view for view in here.agents[-1].agent.peers.views() if view.name == f"agent-{busy}"]
        assert view.load == 60 and (view.told is None or view.told.calls == 0), "it is not told of its own"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("late", [2, 3])
async def test_an_owner_whose_loop_is_late_loses_some_of_its_share(tmp_path: Path, late: int) -> None:
    async with owners(tmp_path, size=4, weights=only("load"), late=[late]) as here:
        async with trio.open_nursery() as nursery:
            here.keep_busy(nursery, late, {"block": 0.2})
            await here.wait_word(late, lambda load: load.lag >= 0.045)
            assert here.agents[late - 1].agent.meter.lag > 0.02
            nursery.cancel_scope.cancel()
        here.stop_the_clock()
        assert (await here.asks(300))[f"agent-{late}"] < 126, "some 80; half of them if it were not heeded"
        (shown,) = [score for score in (await here.choice()).scores if score.agent == f"agent-{late}"]
        assert re.search(r"loop \d+ ms late", shown.reason)


# -- many callers ----------------------------------------------------------------------------------


async def test_64_callers_spread_evenly_over_equal_owners(tmp_path: Path) -> None:
    async with owners(tmp_path, (2, 3, 4)) as here:
        here.stop_the_clock()
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
        here.stop_the_clock()
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
                before = await wait_calls(150)
            here.works[3].seconds = 0.5
            await trio.sleep(2)
            with trio.fail_after(PATIENCE):
                after = await wait_calls(100)
            nursery.cancel_scope.cancel()
        assert before["agent-3"] > 0.2 * 150
        assert after["agent-3"] < 0.1 * 100


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
            here.link(2).close("test", "the cable was cut")

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
