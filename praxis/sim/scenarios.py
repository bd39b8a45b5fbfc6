"""What happens to a simulated network, and how long it takes to be as it should be again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from praxis.config.schema import P2P, Routing
from praxis.peers.gossip import ROUND
from praxis.peers.neighbours import COUNT
from praxis.sim.agent import SimAgent
from praxis.sim.network import SimNetwork

BOOTSTRAP = ("10.0.0.1:4001", "10.0.0.2:4001", "10.0.0.3:4001")
LOOK = 0.005
"""Seconds between two looks at the directories; the measured times are that exact."""
GROUP = 128
"""Agents that are started together: their records are passed on together. A larger network begins with directories that
agree: its agents would spend nearly all of the simulation in joining, one after the other."""
START = 0.05
"""Seconds between two of them. Who has just started knows of few and dials all of these, as in a small network."""
SEGMENT = 8
"""Agents on one segment, which hear each other's beacons."""
SETTLE = 3 * ROUND
LONG = 1800.0
"""Seconds until a simulation that does not come to its end has failed."""
CHURN = 10
"""One agent in so many ends without a goodbye, and one in so many is new."""


@attrs.frozen
class Figures:
    """Of one run. Times are in seconds of simulated time."""

    agents: int
    lines: float
    """Lines per agent."""
    spread_hops: float
    """Until 95 % of the agents knew a new tool, in latencies of the network."""
    rounds: float
    """Until all of them did, in rounds of comparison."""
    messages: float
    """Messages with that news, per agent."""
    churn: float
    """Until all directories were the same after the churn and no dead agent had a line or tools any more."""
    merge: float
    """Likewise after halves that were cut off from each other for minutes, with changes in both, had met again."""


async def measure(network: SimNetwork, size: int, *, max_peers: int = 256) -> Figures:
    """The whole life of a network of five agents or more. Raises trio.TooSlowError when it does not come to rest."""
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            begin = grow if size <= GROUP else settled
            agents = await begin(network, nursery, size, max_peers=max_peers)
            await _rest(agents, max_peers)
            spread_hops, rounds, messages = await spread(network, agents)
            lines = sum(len(agent.registry.links()) for agent in agents) / size
            churn = await _churn(network, nursery, agents, max_peers=max_peers)
            merge = await _merge(network, agents)
            nursery.cancel_scope.cancel()
    return Figures(size, lines, spread_hops, rounds, messages, churn, merge)


async def grow(
    network: SimNetwork,
    nursery: trio.Nursery,
    size: int,
    *,
    max_peers: int,
    first: int = 1,
    group: int = GROUP,
    routing: Routing = Routing(),  # noqa: B008 - frozen
) -> list[SimAgent]:
    """So many agents more; all know the first few, and those on their segment. Returns when all know each other.

    They start in groups, each when those before it know each other, as machines do that are started by the rack. The
    first group is just too large for lines to everybody, if all are: who joins later sees that at once.
    """
    agents = _make(network, size, max_peers=max_peers, first=first, routing=routing)
    end = 0
    while end < size:
        begin, end = end, end + (group if end or group == 1 else min(group, max_peers + 2))
        for agent in agents[begin:end]:
            await nursery.start(agent.run)
            await trio.sleep(START)
        running = [agent for agent in network_agents(network) if agent.host.accept is not None]
        await until(partial(same, running))
    return agents


async def settled(network: SimNetwork, nursery: trio.Nursery, size: int, *, max_peers: int) -> list[SimAgent]:
    """So many agents that have known each other for long, and have lines to their neighbours."""
    agents = _make(network, size, max_peers=max_peers)
    for agent in agents:
        agent.prepare()
    for agent in agents:
        agent.remember(agents)
        await nursery.start(agent.run)
        agent.member.dialer.consider(agent.registry.entries()[0])  # one is enough for it to look at all
    await trio.sleep(SETTLE)
    await until(partial(same, agents))
    return agents


def _make(
    network: SimNetwork,
    size: int,
    *,
    max_peers: int,
    first: int = 1,
    routing: Routing = Routing(),  # noqa: B008 - frozen
) -> list[SimAgent]:
    return [
        SimAgent(network, number, config=config_of(max_peers), routing=routing, segment=number // SEGMENT)
        for number in range(first, first + size)
    ]


async def _rest(agents: Sequence[SimAgent], max_peers: int) -> None:
    """Until most lines from when there were fewer agents, or from when these knew of few, are closed again."""
    others = agents[len(BOOTSTRAP) :]  # who is in everybody's configuration has lines to everybody
    if len(agents) > max_peers:
        await until(lambda: all(len(agent.registry.links()) < 4 * COUNT for agent in others), ROUND)


def config_of(max_peers: int) -> P2P:
    return P2P(max_peers=max_peers, bootstrap_nodes=BOOTSTRAP)


def network_agents(network: SimNetwork) -> list[SimAgent]:
    """All that have been started here and not been killed."""
    return [agent for agent in network.agents if agent.alive]


def same(agents: Sequence[SimAgent]) -> bool:
    """Whether all directories are the same and complete."""
    first = agents[0].directory
    if len(first) < len(agents):
        return False
    expected = first.hash()
    return all(agent.directory.hash() == expected for agent in agents)


async def until(condition: Callable[[], bool], pause: float = 10 * LOOK) -> None:
    while not condition():  # noqa: ASYNC110 - many agents at once, and the clock is a virtual one
        await trio.sleep(pause)


async def spread(network: SimNetwork, agents: Sequence[SimAgent]) -> tuple[float, float, float]:
    """One agent has a new tool: the hops until 95 % know it, the rounds until all do, the messages per agent."""
    await trio.sleep(SETTLE)
    await until(lambda: same(agents))
    owner = agents[len(agents) // 2]
    before = sum(agent.messages for agent in agents)
    began = trio.current_time()
    owner.show(["new_tool"])
    missing = set(agents)

    def left(most: int) -> bool:
        missing.difference_update([agent for agent in missing if agent.knows(owner.peer_id, "new_tool")])
        return len(missing) <= most

    await until(lambda: left(len(agents) // 20), LOOK)
    hops = (trio.current_time() - began) / network.latency
    await until(lambda: left(0), LOOK)
    took = trio.current_time() - began
    await trio.sleep(SETTLE)
    messages = sum(agent.messages for agent in agents) - before
    return hops, took / ROUND, messages / len(agents)


async def _churn(network: SimNetwork, nursery: trio.Nursery, agents: list[SimAgent], *, max_peers: int) -> float:
    count = max(1, len(agents) // CHURN)
    dead = [agents.pop(network.chance.randrange(4, len(agents))) for _ in range(count)]
    began = trio.current_time()
    for number, agent in enumerate(dead):
        agent.kill(silently=number % 2 == 0)
    agents += await grow(network, nursery, count, max_peers=max_peers, first=len(network.agents) + 1)
    await until(lambda: same(agents) and not any(routable(agent, dead) for agent in agents), 1.0)
    return trio.current_time() - began


def routable(agent: SimAgent, others: Sequence[SimAgent]) -> bool:
    """Whether an agent would give work to one of these."""
    owners = {owner.peer_id for owner in agent.registry.owners()} | {r.id for r in agent.member.distant()}
    return any(other.peer_id in owners for other in others)


async def _merge(network: SimNetwork, agents: Sequence[SimAgent]) -> float:
    half = len(agents) // 2
    network.partition({a.address for a in agents[:half]}, {a.address for a in agents[half:]})
    await trio.sleep(90)
    agents[0].show(["left"])
    agents[-1].show(["right"])
    await trio.sleep(30)
    network.partition()
    began = trio.current_time()
    await until(
        lambda: (
            same(agents)
            and all(a.knows(agents[0].peer_id, "left") and a.knows(agents[-1].peer_id, "right") for a in agents)
        ),
        1.0,
    )
    return trio.current_time() - began
