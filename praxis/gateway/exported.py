"""Every tool that the agent can reach, under the names that it has for MCP clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from praxis.gateway.names import exported_name
from praxis.gateway.own_tools import DEFINITIONS
from praxis.model.tool import JSON, Tool


class ExportedTools:
    """What the agent can reach now, by exported name; made anew only when that changes."""

    def __init__(self, agent: str, catalog: Callable[[], list[Tool]]) -> None:
        self._agent = agent
        self._catalog = catalog
        self._seen: list[Tool] = []
        self._tools: dict[str, Tool] = {}
        self._listed: Sequence[Mapping[str, JSON]] = DEFINITIONS

    def by_name(self) -> Mapping[str, Tool]:
        """The tools now."""
        self._look()
        return self._tools

    def listed(self) -> Sequence[Mapping[str, JSON]]:
        """What ``tools/list`` shows, in the order of names; the same object until it changes."""
        self._look()
        return self._listed

    def _look(self) -> None:
        catalog = self._catalog()
        if catalog == self._seen:  # tools are equal when they are the same object
            return
        self._seen = catalog
        self._tools = dict(sorted((exported_name(tool, self._agent), tool) for tool in catalog))
        self._listed = (*DEFINITIONS, *(listed(name, tool) for name, tool in self._tools.items()))


def listed(name: str, tool: Tool) -> dict[str, JSON]:
    """A definition as its source gave it, but for its name, and for a schema where it has none, which clients need."""
    definition = {**tool.definition, "name": name}
    if not isinstance(definition.get("inputSchema"), Mapping):
        definition["inputSchema"] = {"type": "object"}
    return definition
