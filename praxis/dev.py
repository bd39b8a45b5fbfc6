"""A small network in one process, on loopback, with temporary state and a discovery port of its own.

`praxis dev` runs it, and so do the tests.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from praxis.app import Addresses, Agent
from praxis.config.schema import Agent as AgentSection
from praxis.config.schema import Config, Export, Http, Sse, WebSocket
from praxis.peers.keyring import NetworkKey


@attrs.frozen
class RunningAgent:
    """One agent of the network, and how to stop it alone."""

    agent: Agent
    addresses: Addresses
    stopping: trio.Event


def make_config(name: str, *, key: str, discovery_port: int, folder: Path) -> Config:
    """An agent on port 0 everywhere, with file tools in a folder of its own that its peers may use."""
    shared = folder / name / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    config = Config(
        agent=AgentSection(name=name, shared_dir=shared, stop_grace=2.0),
        http=Http(port=0),
        websocket=WebSocket(port=0),
        sse=Sse(port=0),
        export=Export(tools=("*",)),
    )
    p2p = attrs.evolve(
        config.p2p,
        port=0,
        rendezvous="dev",
        security=attrs.evolve(config.p2p.security, network_keys=(key,)),
        discovery=attrs.evolve(config.p2p.discovery, port=discovery_port, interval=5.0),
    )
    return attrs.evolve(config, p2p=p2p)


@asynccontextmanager
async def network(
    size: int, folder: Path, *, change: Callable[[Config], Config] = lambda config: config
) -> AsyncIterator[Sequence[RunningAgent]]:
    """`size` agents named agent-1, agent-2, ...; `change` may alter each configuration. All end with the block."""
    key = NetworkKey.generate().text
    port = free_discovery_port()
    async with trio.open_nursery() as nursery:
        running = []
        for number in range(1, size + 1):
            config = change(make_config(f"agent-{number}", key=key, discovery_port=port, folder=folder))
            running.append(await start(nursery, config, folder))
        try:
            yield running
        finally:
            for one in running:
                one.stopping.set()


async def start(nursery: trio.Nursery, config: Config, folder: Path) -> RunningAgent:
    """Start one agent in this nursery; it ends when its `stopping` is set."""
    agent = Agent(config, base_dir=folder, state_dir=folder / config.agent.name / "state")
    stopping = trio.Event()
    addresses: Addresses = await nursery.start(agent.run, stopping)
    return RunningAgent(agent, addresses, stopping)


def free_discovery_port() -> int:
    """A port above the range that the system gives out by itself, at random: it cannot be 0, since all share it."""
    return 61000 + random.SystemRandom().randrange(4000)
