"""Taking in a changed configuration while the agent runs: what can change does, what cannot is named.

A configuration that cannot be used changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import trio

from praxis.config.keep import keep_servers
from praxis.config.load import OVERLAY
from praxis.config.schema import P2P, Config
from praxis.model.errors import PraxisError
from praxis.peers.credentials import load_credentials
from praxis.peers.member import Member
from praxis.tools.mcp_sources import McpSources

logger = logging.getLogger(__name__)

Reread = Callable[[], Config]


@attrs.frozen
class Reloaded:
    """What a reload did: names of keys that are in force now, and of those that wait for a restart."""

    applied: tuple[str, ...]
    restart: tuple[str, ...]
    renewed: bool
    """Whether the lines to all peers were made anew."""


class Reload:
    """Reads the configuration again and applies it."""

    def __init__(
        self, config: Config, member: Member, sources: McpSources, *, state_dir: Path, reread: Reread | None
    ) -> None:
        """`reread` gives the configuration as it is on the disk now, and raises PraxisError; None: there is none."""
        self._running = config
        self._member = member
        self._sources = sources
        self._state_dir = state_dir
        self._reread = reread
        self._turn = trio.Lock()

    async def reload(self) -> Reloaded:
        """Raises PraxisError when the new configuration or its keys cannot be used; then all stays as it is."""
        if self._reread is None:
            raise PraxisError("unavailable", "this agent was not started from a configuration")
        async with self._turn:
            config = self._reread()
            changed = tuple(differences(self._running, config))
            # What waits for a restart stays as it runs, and is told again next time.
            running = attrs.evolve(_with_servers(self._running, config), p2p=_mixed(self._running.p2p, config.p2p))
            applied = tuple(differences(self._running, running))
            renewed = await self._apply(running)
            self._running = running
            await self._apply_servers()
        done = Reloaded(applied, tuple(key for key in changed if key not in applied), renewed)
        logger.info(
            "reloaded: changed %s; lines %s",
            ", ".join(done.applied) or "no key that can change",
            "made anew" if done.renewed else "stay",
        )
        if done.restart:
            logger.warning("a restart is needed for %s", ", ".join(done.restart))
        return done

    async def change_servers(self, change: Callable[[Config], Config]) -> bool:
        """Change the MCP servers, at once and for good; whether it outlasts a restart, for which there has to be a
        configuration to start with again.

        `change` makes the configuration that is wanted of the one that is on the disk now. What else is new on the
        disk waits for a reload, other servers do not. Raises PraxisError, also what `change` raises; nothing has
        changed then.
        """
        async with self._turn:
            if self._reread is None:
                config = change(self._running)
            else:
                before = self._reread()
                config = keep_servers(self._state_dir / OVERLAY, before, change(before), self._reread)
            self._running = _with_servers(self._running, config)
            await self._apply_servers()
        return self._reread is not None

    async def _apply_servers(self) -> None:
        await self._sources.apply(self._running.mcp_servers if self._running.mcp.enabled else ())

    async def _apply(self, config: Config) -> bool:
        p2p = config.p2p
        credentials = load_credentials(p2p, name=config.agent.name, state_dir=self._state_dir, clock=time.time)
        self._member.block(p2p.security.blocklist)
        self._member.lines.allow(p2p.security.allow)
        self._member.bootstrap(p2p.bootstrap_nodes)
        return await self._member.reload(credentials)


def _with_servers(running: Config, wanted: Config) -> Config:
    """The MCP servers as they are wanted, the rest as it runs."""
    return attrs.evolve(
        running,
        mcp=attrs.evolve(running.mcp, servers=wanted.mcp.servers),
        agent=attrs.evolve(running.agent, external_mcp_endpoints=wanted.agent.external_mcp_endpoints),
    )


def _mixed(running: P2P, wanted: P2P) -> P2P:
    """What can change as it is wanted, the rest as it runs. A CA comes and goes with a restart alone."""
    mixed = attrs.evolve(
        running, secure=wanted.secure, security=wanted.security, bootstrap_nodes=wanted.bootstrap_nodes
    )
    if mixed.trust.mode != running.trust.mode and "ca" in (mixed.trust.mode, running.trust.mode):
        security = attrs.evolve(wanted.security, mode=running.security.mode)
        mixed = attrs.evolve(mixed, secure=running.secure, security=security)
    return mixed


def differences(old: object, new: object, path: str = "") -> Iterator[str]:
    """Names of the keys in which two configurations differ, in the order of the schema; never their values."""
    kind: type[Any] = type(old)
    if attrs.has(kind) and kind is type(new):
        for field in attrs.fields(kind):
            below = f"{path}.{field.name}" if path else field.name
            yield from differences(getattr(old, field.name), getattr(new, field.name), below)
    elif old != new:
        yield path
