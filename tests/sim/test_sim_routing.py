"""Calls in simulated networks: the daemon's own catalog, router and executor choose who gets them."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import trio

from praxis.config.schema import Routing, Weights
from praxis.model.errors import PraxisError
from praxis.sim.agent import SimAgent
from praxis.sim.network import SimNetwork
from praxis.sim.run import simulate
from praxis.sim.scenarios import config_of, grow, until

ROUTING = Routing(interchangeable=("job",))
ONLY_LOAD = Routing(("job",), Weights(0, 0, 1, 0))
ONLY_LOCALITY = Routing(("job",), Weights(0, 0, 0, 1))
SILENCE = 30.0
"""Seconds until a line that nobody answers on is given up, by the default keepalive."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "praxis")


async def _owners(
    network: SimNetwork,
    nursery: trio.Nursery,
    size: int,
    *,
    routing: Routing = ROUTING,
    read_only: bool = False,
    max_peers: int = 256,
) -> tuple[SimAgent, list[SimAgent]]:
    """Agents of which the first calls and all others have the same tool, as the first knows."""
    one, *owners = await grow(network, nursery, size, max_peers=max_peers, routing=routing)
    for owner in owners:
        owner.show(["job"], read_only=read_only)
    with trio.fail_after(60):
        await until(lambda: len(one.catalog.tools()) == size - 1)
    return one, owners


async def _timed(one: SimAgent) -> tuple[str, float]:
    began = trio.current_time()
    return await one.call("job"), trio.current_time() - began


def test_under_churn_every_call_is_answered_and_no_owner_is_asked_that_should_be_known_to_be_dead() -> None:
    """A killed process is noticed at once, a machine without power by the next ping. Calls that are with it then are
    made again elsewhere, since twice is the same as once; hardly any are, since calls that hang are load."""

    async def scenario(network: SimNetwork) -> None:
        async with trio.open_nursery() as nursery:
            one, owners = await _owners(network, nursery, 10, read_only=True)
            names = {owner.peer_id: owner.name for owner in owners}
            known_by: dict[str, float] = {}
            served: Counter[str] = Counter()
            took: list[float] = []

            async def ask() -> None:
                began = trio.current_time()
                eligible = [names[c.peer_id] for c in one.catalog.snapshot().tools if c.peer_id is not None]
                assert all(began <= known_by.get(name, began) for name in eligible)
                served[await one.call("job")] += 1
                took.append(trio.current_time() - began)

            async def die() -> None:
                for number, owner in enumerate(owners[:4]):
                    await trio.sleep(15)
                    silently = number % 2 == 0
                    owner.kill(silently=silently)
                    known_by[owner.name] = trio.current_time() + (SILENCE if silently else 2 * network.latency)

            nursery.start_soon(die)
            async with trio.open_nursery() as calls:
                for _ in range(300):
                    calls.start_soon(ask)
                    await trio.sleep(0.3)
            assert sum(served.values()) == 300
            assert max(took) <= SILENCE
            assert sum(seconds > 1 for seconds in took) <= 6
            assert {owner.name for owner in owners[4:]} <= set(served)
            nursery.cancel_scope.cancel()

    simulate(scenario, 1, latency=0.02, jitter=0.002, loss=0.05)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_call_that_was_with_a_dying_owner_is_made_again_only_where_twice_is_the_same_as_once(read_only: bool) -> None:
    async def scenario(network: SimNetwork) -> None:
        async with trio.open_nursery() as nursery:
            one, owners = await _owners(network, nursery, 3, read_only=read_only)
            for owner in owners:
                owner.work.seconds = 5.0
            answers: list[str] = []

            async def ask() -> None:
                try:
                    answers.append(await one.call("job"))
                except PraxisError as error:
                    assert error.delivered
                    answers.append(error.code)

            nursery.start_soon(ask)
            await until(lambda: any(owner.work.asked for owner in owners))
            asked, other = owners if owners[0].work.asked else reversed(owners)
            asked.kill()
            await until(lambda: bool(answers))
            assert answers == ([other.name] if read_only else ["unavailable"])
            assert other.work.asked == int(read_only)
            nursery.cancel_scope.cancel()

    simulate(scenario, 1)


def test_owners_that_refuse_or_take_leave_cost_no_call_and_none_is_made_twice() -> None:
    """What was not delivered goes to the next owner, whatever the tool does."""

    async def scenario(network: SimNetwork) -> None:
        async with trio.open_nursery() as nursery:
            one, owners = await _owners(network, nursery, 5)
            owners[0].work.fault = PraxisError("busy", "not now")
            for owner in owners:
                owner.work.seconds = 0.2
            served: Counter[str] = Counter()

            async def ask() -> None:
                served[await one.call("job")] += 1

            async def leave(owner: SimAgent) -> None:
                owner.member.say_goodbye()
                await trio.sleep(1)
                owner.kill()

            async with trio.open_nursery() as calls:
                for number in range(200):
                    calls.start_soon(ask)
                    if number in (60, 120):
                        nursery.start_soon(leave, owners[number // 60])
                    await trio.sleep(0.05)
            assert sum(served.values()) == 200
            assert owners[0].work.asked and not served[owners[0].name]
            assert all(owner.work.asked == served[owner.name] for owner in owners[1:])
            nursery.cancel_scope.cancel()

    simulate(scenario, 1)


def test_an_owner_that_turns_slow_loses_its_share_within_two_seconds_and_gets_it_back() -> None:
    async def scenario(network: SimNetwork) -> None:
        async with trio.open_nursery() as nursery:
            one, owners = await _owners(network, nursery, 4, routing=ONLY_LOAD)
            served: Counter[str] = Counter()

            async def caller() -> None:
                while True:
                    served[await one.call("job")] += 1

            async def shares(seconds: float) -> list[float]:
                served.clear()
                await trio.sleep(seconds)
                return [served[owner.name] / sum(served.values()) for owner in owners]

            for owner in owners:
                owner.work.seconds = 0.05
            for _ in range(6):
                nursery.start_soon(caller)
            await trio.sleep(2)
            assert all(0.8 / 3 <= share <= 1.2 / 3 for share in await shares(10))
            owners[0].work.seconds = 1.0
            await trio.sleep(2)
            assert (await shares(10))[0] <= 0.1
            owners[0].work.seconds = 0.05
            await trio.sleep(20)
            assert (await shares(10))[0] >= 0.2
            nursery.cancel_scope.cancel()

    simulate(scenario, 1)


@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_line_is_avoided_where_the_way_counts(slow: int) -> None:
    async def scenario(network: SimNetwork) -> None:
        one = SimAgent(network, 1, config=config_of(256), routing=ONLY_LOCALITY)
        owners = [SimAgent(network, number, config=config_of(256)) for number in (2, 3)]
        network.slow(one.address, owners[slow].address, 0.3)
        async with trio.open_nursery() as nursery:
            for agent in (one, *owners):
                await nursery.start(agent.run)
            for owner in owners:
                owner.show(["job"])
            with trio.fail_after(60):
                await until(lambda: len(one.catalog.tools()) == 2)
            answers = [await _timed(one) for _ in range(10)]
            assert {name for name, _ in answers} == {owners[1 - slow].name}
            assert all(seconds < 0.1 for _, seconds in answers)
            assert (await _timed_at(one, owners[slow])) > 0.59
            nursery.cancel_scope.cancel()

    simulate(scenario, 1)


async def _timed_at(one: SimAgent, owner: SimAgent) -> float:
    began = trio.current_time()
    assert await one.call(f"{owner.name}:sim/job") == owner.name
    return trio.current_time() - began


def test_a_cut_line_costs_the_calls_on_it_and_mended_it_is_used_again() -> None:
    async def scenario(network: SimNetwork) -> None:
        async with trio.open_nursery() as nursery:
            one, owners = await _owners(network, nursery, 3, read_only=True)
            network.cut(one.address, owners[0].address)
            answers = [await _timed(one) for _ in range(10)]
            assert {name for name, _ in answers} == {owners[1].name}
            assert sum(seconds > 1 for _, seconds in answers) <= 1
            assert all(seconds <= SILENCE for _, seconds in answers)
            network.mend(one.address, owners[0].address)
            with trio.fail_after(120):
                await until(lambda: len(one.catalog.tools()) == 2)
            assert await _timed_at(one, owners[0]) < 1
            nursery.cancel_scope.cancel()

    simulate(scenario, 1)
