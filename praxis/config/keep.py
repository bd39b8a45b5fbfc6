"""Changes made at run time that outlast it: they are in the overlay, or they are not made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from praxis.config.save import save_overlay, write_whole
from praxis.config.schema import Config, McpEndpoint, McpServer
from praxis.model.errors import PraxisError


def add_servers(config: Config, servers: Sequence[McpServer]) -> Config:
    """The configuration with these too."""
    return attrs.evolve(config, mcp=attrs.evolve(config.mcp, servers=(*config.mcp.servers, *servers)))


def remove_server(config: Config, name: str) -> Config:
    """The configuration without the server of this name. Raises PraxisError("not_found")."""
    servers = tuple(server for server in config.mcp.servers if server.name != name)
    endpoints: tuple[McpEndpoint, ...] = tuple(
        endpoint for endpoint in config.agent.external_mcp_endpoints if endpoint.server().name != name
    )
    less = attrs.evolve(
        config,
        mcp=attrs.evolve(config.mcp, servers=servers),
        agent=attrs.evolve(config.agent, external_mcp_endpoints=endpoints),
    )
    if less == config:
        known = ", ".join(server.name for server in config.mcp_servers) or "none"
        raise PraxisError("not_found", f"there is no MCP server {name[:64]!r}", hint=f"there are: {known}")
    return less


def keep_servers(overlay: Path, before: Config, wanted: Config, reread: Callable[[], Config]) -> Config:
    """Write the MCP servers of `wanted` into the overlay where they differ; what `reread` gives then.

    Raises PraxisError when that is not what was wanted, or cannot be read or written: the overlay is as it was.
    """
    changes: dict[str, Any] = {}
    if wanted.mcp.servers != before.mcp.servers:
        changes["mcp.servers"] = [_sparse(server) for server in wanted.mcp.servers]
    if wanted.agent.external_mcp_endpoints != before.agent.external_mcp_endpoints:
        changes["agent.external_mcp_endpoints"] = [_sparse(one) for one in wanted.agent.external_mcp_endpoints]
    try:
        old = overlay.read_bytes() if overlay.exists() else None
        overlay.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_overlay(overlay, changes)
    except OSError as error:
        raise PraxisError(
            "unavailable", f"it cannot be kept: {error.strerror or error}; nothing is changed", where=str(overlay)
        ) from None
    try:
        config = reread()
        if config.mcp_servers != wanted.mcp_servers:
            raise PraxisError(
                "conflict",
                "mcp.servers is set by a flag, which stands over what is changed at run time; nothing is changed",
                hint="praxis config show --sources",
            )
    except PraxisError:
        _restore(overlay, old)
        raise
    return config


def _sparse(section: McpServer | McpEndpoint) -> dict[str, Any]:
    """Only what somebody has set, as a person would write it."""
    given = {field.name: getattr(section, field.name) for field in attrs.fields(type(section))}
    defaults = {field.name: field.default for field in attrs.fields(type(section))}
    return {name: value for name, value in given.items() if value not in (defaults[name], {})}


def _restore(overlay: Path, old: bytes | None) -> None:
    if old is None:
        overlay.unlink(missing_ok=True)
    else:
        write_whole(overlay, old)
