"""Views: a part of what an agent can reach, at an address of its own (`mcp.views`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from praxis.config.schema import McpView
from praxis.gateway.exported import ExportedTools, listed
from praxis.gateway.own_tools import DEFINITIONS
from praxis.model.tool import JSON, Tool, ToolResult
from praxis.tools.finding import ToolIndex
from praxis.tools.schema import compile_schema

FIND, CALL = "find_tools", "call_tool"
MOST = 20
"""Tools that one search shows; a model reads each with its schema."""
COMPACT: tuple[Mapping[str, JSON], ...] = (
    {
        "name": FIND,
        "description": "Find tools by words of what they do. Answers with names, descriptions and input schemas, the "
        "best match first; call one of them with call_tool.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": 1000},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 5},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": CALL,
        "description": "Call a tool that find_tools has shown, with arguments that fit its schema.",
        "inputSchema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
)
"""What stands for the tools in a compact view."""
_FIND_SCHEMA = compile_schema(COMPACT[0]["inputSchema"])


class View:
    """What a view lets through, and what it lists; made anew only when the tools change."""

    def __init__(self, config: McpView, agent: str, exported: ExportedTools) -> None:
        self._config = config
        self._agent = agent
        self._exported = exported
        self._seen: object = None
        self._tools: dict[str, Tool] = {}
        self._listed: Sequence[Mapping[str, JSON]] = ()
        self._index: ToolIndex | None = None
        self._own = [tool for tool in DEFINITIONS if self.has_own(str(tool["name"]))]

    @property
    def compact(self) -> bool:
        return self._config.compact

    def has_own(self, name: str) -> bool:
        """Whether one of Praxis's own tools is there: they may reach everything, so they must be named."""
        named = [glob for glob in self._config.allow if glob.startswith("praxis/")]
        full = f"praxis/{name}"
        return _any(named, full) and not _any(self._config.deny, full)

    def has_source(self, agent: str | None, source: str) -> bool:
        """Whether what a source has besides tools is there; an `agent` of None is the serving one."""
        names = (f"{source}/*", f"{agent or self._agent}:{source}/*")
        allow, deny = self._config.allow, self._config.deny
        return any(_any(allow, name) for name in names) and not any(_any(deny, name) for name in names)

    def by_name(self) -> Mapping[str, Tool]:
        """The tools that can be called, by the names that they have here."""
        self._look()
        return self._tools

    def listed(self) -> Sequence[Mapping[str, JSON]]:
        """What ``tools/list`` shows; the same object until it changes."""
        self._look()
        return self._listed

    def find(self, arguments: Mapping[str, JSON]) -> ToolResult:
        """``find_tools``. Raises PraxisError("invalid")."""
        _FIND_SCHEMA.check(arguments)
        self._look()
        if self._index is None:
            self._index = ToolIndex(self._tools)
        found = self._index.find(arguments["query"], arguments.get("limit", 5))
        tools = [
            {key: value for key, value in listed(name, self._tools[name]).items() if key in _SHOWN} | {"score": score}
            for name, score in found
        ]
        value = {"tools": tools, "of": len(self._tools)}
        return ToolResult.of_text(json.dumps(value, ensure_ascii=False), structured=value)

    def _look(self) -> None:
        seen = self._exported.listed()
        if seen is self._seen:
            return
        tools = {name: tool for name, tool in self._exported.by_name().items() if self._has(tool)}
        self._seen, self._index = seen, None
        if tools == self._tools and self._listed:
            return
        self._tools = tools
        shown = COMPACT if self.compact else [listed(name, tool) for name, tool in tools.items()]
        self._listed = [*self._own, *shown]

    def _has(self, tool: Tool) -> bool:
        names = (tool.name, f"{tool.source}/{tool.name}", str(tool.ref))
        allow, deny = self._config.allow, self._config.deny
        return any(_any(allow, name) for name in names) and not any(_any(deny, name) for name in names)


_SHOWN = frozenset({"name", "title", "description", "inputSchema"})


def _any(globs: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
