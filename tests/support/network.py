"""Whole agents in this process, for tests that look at the side effect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from praxis.config.schema import Config
from praxis.dev import RunningAgent, network

PATIENCE = 10.0
"""Seconds until something that does not happen is a failure."""


@asynccontextmanager
async def connected(
    folder: Path, size: int = 2, *, change: Callable[[Config], Config] = lambda config: config
) -> AsyncIterator[Sequence[RunningAgent]]:
    """`size` agents that all know each other and each other's tools."""
    async with network(size, folder, change=change) as agents:
        with trio.fail_after(PATIENCE):
            for one in agents:
                await one.agent.peers.wait_change(
                    lambda one=one: sum(bool(owner.tools) for owner in one.agent.peers.owners()) == size - 1  # type: ignore[misc]
                )
        yield agents
