"""Who dials whom and when: members on an imagined network, under a virtual clock. Every dial is written down."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from praxis.config.schema import P2P
from praxis.model.peer import PeerId
from praxis.peers import bootstrap
from praxis.peers.bootstrap import MAX_ADDRESSES, REFRESH, RESOLVE
from praxis.peers.dialer import COURTESY, HINTED_RATE, MAX_HINTED_DIALS, STAGGER
from praxis.sim.agent import SimAgent
from praxis.sim.network import Host, SimNetwork, SimPipe

NAME = "agents.example:4001"
LATENCY = 0.001
"""Seconds one way: little beside the pauses that are measured here."""


class Network(SimNetwork):
    """One that remembers who dialed what, and takes as long as it is told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(1, latency=LATENCY)
        self.nursery = nursery
        self.dialed: list[tuple[float, str, str]] = []
        """When, from where, where to."""
        self.deaf: dict[str, float] = {}
        """Seconds until an address takes a connection."""
        self.began = trio.current_time()

    def at(self, time: float, happens: Callable[[], None]) -> None:
        self.nursery.start_soon(self._happen_at, time, happens)

    async def _happen_at(self, time: float, happens: Callable[[], None]) -> None:
        await trio.sleep_until(time)
        happens()

    async def connect(self, source: str, address: str) -> tuple[SimPipe, PeerId]:
        self.dialed.append((trio.current_time() - self.began, source, address))
        await trio.sleep(self.deaf.get(address, 0.0))
        return await super().connect(source, address)

    async def start(self, number: int, *nodes: str) -> SimAgent:
        """An agent that announces nothing: it knows of others what the test tells it."""
        agent = SimAgent(self, number, config=P2P(bootstrap_nodes=nodes), announce=False)
        await self.nursery.start(agent.run)
        return agent

    def dials(self, source: SimAgent, address: str) -> list[float]:
        return [when for when, who, where in self.dialed if (who, where) == (source.address, address)]


@asynccontextmanager
async def imagined() -> AsyncIterator[Network]:
    async with trio.open_nursery() as nursery:
        yield Network(nursery)
        nursery.cancel_scope.cancel()


class Names:
    """A resolver that answers what it is told to; an error is raised, and None is never answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Sequence[str] | OSError | None = ()
        self.asked: list[tuple[str, int]] = []
        monkeypatch.setattr("praxis.sim.agent._resolve", self.resolve)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, OSError):
            raise self.answer
        if self.answer is None:
            await trio.sleep_forever()
        return [f"{address}:{port}" for address in self.answer or ()]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def connected(agent: SimAgent) -> set[PeerId]:
    return {link.peer_id for link in agent.registry.links()}


def ids(*agents: SimAgent) -> set[PeerId]:
    return {agent.peer_id for agent in agents}


def refused(agent: SimAgent, reason: str) -> bool:
    return f'praxis_p2p_handshakes_total{{result="refused",reason="{reason}"}}' in agent.metrics.render()


# Addresses to begin with


async def test_each_address_of_a_name_is_dialed_once(names: Names, autojump_clock: MockClock) -> None:
    async with imagined() as network:
        others = [await network.start(number) for number in (2, 3, 4)]
        names.answer = ["10.0.0.1", *(other.address for other in others), "10.0.0.99"]  # with its own, and a dead one
        agent = await network.start(1, NAME)
        await trio.sleep(1)
        assert names.asked == [("agents.example", 4001)]
        assert connected(agent) == ids(*others)
        assert all(len(network.dials(agent, address)) == 1 for address in names.answer)


async def test_a_name_is_resolved_again_for_agents_that_are_new_behind_it(
    names: Names, autojump_clock: MockClock
) -> None:
    async with imagined() as network:
        first, second = await network.start(2), await network.start(3)
        names.answer = [first.address]
        agent = await network.start(1, NAME)
        await trio.sleep(REFRESH * 0.7)
        assert connected(agent) == ids(first)
        names.answer = [first.address, second.address]
        await trio.sleep(REFRESH * 0.7)
        assert connected(agent) == ids(first, second)
        assert len(names.asked) == 2
        assert len(network.dials(agent, first.address)) == 1, "a line that is there is enough"


async def test_a_name_that_is_not_there_yet_is_tried_again(
    names: Names, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "praxis.peers.bootstrap")
    async with imagined() as network:
        other = await network.start(2)
        names.answer = OSError(errno.ENOENT, "Name or service not known")
        agent = await network.start(1, NAME)
        await trio.sleep(30)
        assert len(names.asked) > 3
        assert [record.getMessage() for record in caplog.records] == [
            f"bootstrap {NAME}: Name or service not known; trying again"
        ], "once, not each time"
        names.answer = ()  # as a headless service without instances
        await trio.sleep(60)
        names.answer = [other.address]
        await trio.sleep(60)
        assert connected(agent) == ids(other)


async def test_a_resolver_that_does_not_answer_is_given_up_and_asked_again(
    names: Names, autojump_clock: MockClock
) -> None:
    async with imagined() as network:
        other = await network.start(2)
        names.answer = None
        agent = await network.start(1, NAME)
        await trio.sleep(RESOLVE - 1)
        names.answer = [other.address]
        assert len(names.asked) == 1
        await trio.sleep(2)
        assert connected(agent) == ids(other)


async def test_of_very_many_addresses_some_are_tried_by_chance(names: Names, autojump_clock: MockClock) -> None:
    async with imagined() as network:
        names.answer = [f"10.0.1.{number}" for number in range(200)]
        agent = await network.start(1, NAME)
        await trio.sleep(LATENCY)  # it has them
        addresses, names.answer = names.answer, None
        await trio.sleep(5)
        assert len(names.asked) == 2
        tried = [where for _, who, where in network.dialed if who == agent.address]
        assert len(set(tried)) == len(tried) == MAX_ADDRESSES
        assert set(tried) != set(addresses[:MAX_ADDRESSES])


async def test_a_pinned_id_lets_no_other_agent_stand_in(names: Names, autojump_clock: MockClock) -> None:
    async with imagined() as network:
        meant, other = await network.start(2), await network.start(3)
        names.answer = [other.address]
        agent = await network.start(1, f"{meant.peer_id}@{NAME}")
        await trio.sleep(1)
        assert network.dials(agent, other.address)
        assert connected(agent) == set()
        assert refused(agent, "wrong_id")
        names.answer = [other.address, meant.address]
        await trio.sleep(400)  # what was refused is not tried again soon
        assert connected(agent) == ids(meant)


async def test_the_systems_resolver_gives_all_addresses_of_both_families() -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
            await trio.lowlevel.checkpoint()
            assert (host, type) == (b"agents.example", trio.socket.SOCK_STREAM)
            hosts = ("192.0.2.1", "192.0.2.2", "192.0.2.1")
            found = [(trio.socket.AF_INET, type, 6, "", (host, port)) for host in hosts]
            return [*found, (trio.socket.AF_INET6, type, 6, "", ("2001:db8::1", port, 0, 0))]

        async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    before = trio.socket.set_custom_hostname_resolver(Resolver())
    try:
        found = await bootstrap.resolve("agents.example", 4001)
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert found == ["192.0.2.1:4001", "192.0.2.2:4001", "[2001:db8::1]:4001"]


# Peers that are heard of


def by_id(*agents: SimAgent) -> list[SimAgent]:
    return sorted(agents, key=lambda agent: agent.peer_id)


def tell(agent: SimAgent, peer: SimAgent, *addresses: str) -> None:
    """As a beacon does."""
    agent.member.dialer.found(peer.peer_id, 1, tuple(f"{address}:4001" for address in addresses or (peer.address,)))


async def test_the_smaller_id_dials_at_once_and_the_larger_one_leaves_it_the_time(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        tell(small, large)
        await trio.sleep(COURTESY * 2)
        assert [(who, where) for _, who, where in network.dialed] == [(small.address, large.address)]
        assert network.dialed[0][0] == pytest.approx(0.0, abs=0.01)

    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        tell(large, small)  # the other one has heard nothing
        await trio.sleep(COURTESY * 2)
        assert network.dials(large, small.address) == [pytest.approx(COURTESY, abs=0.01)]
        assert connected(small) == ids(large)


async def test_two_that_hear_of_each_other_at_once_do_not_cross(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        network.deaf[large.address] = COURTESY / 2
        tell(large, small)
        tell(small, large)
        await trio.sleep(COURTESY * 5)
        assert [who for _, who, _ in network.dialed] == [small.address]
        assert connected(large) == ids(small)


async def test_a_call_waits_for_no_courtesy(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        entry = large.registry.know(small.peer_id)
        assert entry is not None
        entry.learn([f"{small.address}:4001"])
        link = await large.member.dialer.reach(small.peer_id)
        assert link.peer_id == small.peer_id
        assert trio.current_time() - network.began < COURTESY / 2


async def test_candidates_are_tried_one_after_the_other_without_waiting_for_the_slow_ones(
    autojump_clock: MockClock,
) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        silent, dead = "10.0.9.1", "10.0.9.2"
        network.deaf[silent] = 3600.0
        tell(small, large, silent, dead, large.address)
        await trio.sleep(5)
        assert [where for _, _, where in network.dialed] == [silent, dead, large.address]
        first, second, third = (when for when, _, _ in network.dialed)
        assert second - first == pytest.approx(STAGGER, abs=0.01)
        assert third - second < STAGGER / 5, "one that refuses is not waited for"
        assert connected(small) == ids(large)


async def test_the_first_candidate_that_is_the_peer_wins(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        stranger = await network.start(3)
        slow = "10.0.9.1"  # the peer too, by a longer way
        network.hosts[slow] = Host(slow, 0, large.host.accept, large.peer_id, nursery=large.host.nursery)
        network.deaf[slow] = 1.5 * STAGGER
        tell(small, large, slow, stranger.address, large.address)
        await trio.sleep(5)
        assert [where for _, _, where in network.dialed] == [slow, stranger.address, large.address]
        assert refused(small, "wrong_id")
        assert connected(small) == ids(large)
        (link,) = small.registry.links()
        assert link.address.startswith(large.address)
        assert not stranger.registry.links()
        assert 'lines_ended_total{reason="duplicate"}' not in small.metrics.render(), "the slow attempt is given up"


# Peers that a member makes up


def make_up(agent: SimAgent, count: int, *addresses: str) -> None:
    """Beacons of peers that are nowhere; their ids are large, so that none of them is left the time to dial first."""
    for number in range(count):
        found = tuple(f"{address}:4001" for address in addresses) or (f"10.9.{number >> 8}.{number & 255}:4001",)
        agent.member.dialer.found(f"pxz{number:051d}", 1, found)


async def test_a_flood_of_beacons_makes_us_dial_so_many_times_a_second_and_no_more(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        agent = await network.start(1)
        for _ in range(10):
            make_up(agent, 200)
            await trio.sleep(1)
        dials = [when for when, _, _ in network.dialed]
        assert len(dials) == pytest.approx(HINTED_RATE * 11, abs=1), "it does dial"
        for begin in range(10):
            assert sum(begin + 0.05 < when <= begin + 1.05 for when in dials) <= HINTED_RATE + 1


async def test_every_address_that_a_beacon_lists_counts(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        agent = await network.start(1)
        make_up(agent, 100, *(f"10.9.9.{number}" for number in range(8)))
        await trio.sleep(2)
        assert HINTED_RATE * 2 < len(network.dialed) <= HINTED_RATE * 3 + 1


async def test_peers_that_are_made_up_and_never_answer_hold_up_nobody_else(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        network.deaf["10.9.9.9"] = 3600.0
        make_up(small, 200, "10.9.9.9")
        await trio.sleep(5)
        assert len(network.dials(small, "10.9.9.9")) == MAX_HINTED_DIALS
        small.registry.know(large.peer_id)  # as its record in the directory does
        tell(small, large)
        await trio.sleep(0.1)
        assert connected(small) == ids(large)


async def test_peers_that_were_made_up_and_are_forgotten_take_no_turn(autojump_clock: MockClock) -> None:
    async with imagined() as network:
        small, large = by_id(await network.start(1), await network.start(2))
        make_up(small, 200)
        await trio.sleep(0.05)
        for entry in small.registry.entries():
            small.registry.forget(entry)
        dialed = len(network.dialed)
        tell(small, large)
        await trio.sleep(2 * MAX_HINTED_DIALS / HINTED_RATE)  # the rest of them would need ten times that
        assert connected(small) == ids(large)
        assert len(network.dialed) == dialed + 1
