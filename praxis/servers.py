"""Managing the MCP servers of a running agent. A server that is a program is code that runs here: who may do this is
settled before anything of this module is called, and what is done is in the log with who did it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import attrs

from praxis.access.principal import Principal
from praxis.config.entries import read_server, write_server
from praxis.config.keep import add_servers, remove_server
from praxis.config.schema import Config
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.mcp_sources import McpSources
from praxis.wire.mcp import show

logger = logging.getLogger(__name__)

MAX_SHOWN = 8192
"""Characters of a command in the log: every argument of any honest one."""

Change = Callable[[Callable[[Config], Config]], Awaitable[bool]]


class Servers:
    """The servers in `sources`; `change` changes which there are, and says whether that outlasts a restart.

    A relative path of an entry is relative to `base_dir`, its references mean `environ`. The methods raise
    PraxisError: ``not_found`` for a name that is none, ``invalid`` and ``conflict`` as `praxis.config.entries` does.
    """

    def __init__(
        self,
        sources: McpSources,
        change: Change,
        *,
        enabled: bool,
        base_dir: Path,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._sources = sources
        self._change = change
        self._enabled = enabled
        self._base_dir = base_dir
        self._environ = environ

    async def add(self, entry: JSON, by: Principal) -> bool:
        """Start a server that `entry` describes, as in the configuration; whether it outlasts a restart."""
        if not self._enabled:
            raise PraxisError("conflict", "this agent has no MCP servers", hint="mcp.enabled is false")

        def change(config: Config) -> Config:
            server = read_server(entry, config, base_dir=self._base_dir, environ=self._environ, where="body")
            self._sources.check_free(server.name)
            logger.warning("%s adds MCP server %s: %s", by.name, server.name, show(server.shown, MAX_SHOWN))
            return add_servers(config, [server])

        return await self._change(change)

    async def remove(self, name: str, by: Principal) -> bool:
        """End a server and forget it; whether that outlasts a restart. Returns when the server has ended."""

        def change(config: Config) -> Config:
            less = remove_server(config, name)
            logger.warning("%s removes MCP server %s", by.name, name)
            return less

        return await self._change(change)

    def restart(self, name: str, by: Principal) -> None:
        """End a server and start it again at once; it is under way when this returns."""
        self._sources.find(name).restart()
        logger.info("%s starts MCP server %s again", by.name, name)

    def approve(self, name: str, tool: str | None, by: Principal) -> tuple[str, ...]:
        """Let a tool that is held back, or all of them, be what it is now; the names."""
        approved = self._sources.approve(name, tool)
        logger.warning("%s approves tools of %s: %s", by.name, name, ", ".join(map(show, approved)) or "none")
        return approved

    def said(self, name: str) -> list[JSON]:
        """``[{"at", "kind", "line"}]``: the last of what a server said, and of what became of it."""
        return [attrs.asdict(said) for said in self._sources.find(name).words.said]

    def entry(self, name: str) -> JSON:
        """The server as an entry of the configuration. Secrets are references, or ``***``."""
        return write_server(self._sources.find(name).server)
