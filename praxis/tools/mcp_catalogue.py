"""Which of a server's tools are there: those that can be named, are wanted, and are what they were."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeGuard

from praxis.config.schema import McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, Tool, ToolRef
from praxis.tools.mcp_pins import Pins, pin
from praxis.wire.mcp import show
from praxis.wire.mcp_headers import HeaderError, ParamHeader, param_headers

logger = logging.getLogger(__name__)

OnChange = Callable[[str, bool], None]
"""Takes the name of a tool whose definition is not what it was, and whether it is held back."""


class Catalogue:
    """The tools of one server.

    Attributes:
        tools: those that are there. A tool stays the same object as long as its definition is the same.
    """

    def __init__(self, server: McpServer, agent: str, pins: Pins, *, quarantine: bool, on_change: OnChange) -> None:
        self.tools: tuple[Tool, ...] = ()
        self._server = server
        self._agent = agent
        self._pins = pins
        self._quarantine = quarantine
        self._on_change = on_change
        self._held: dict[str, Tool] = {}
        self._headers: dict[str, tuple[ParamHeader, ...]] = {}
        self._names: frozenset[str] = frozenset()  # of the tools that are there
        self._structured: frozenset[str] = frozenset()
        self._listed: Sequence[Mapping[str, JSON]] = ()
        self._checks_headers = False

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the tools that are held back until they are approved."""
        return tuple(self._held)

    def headers(self, tool: str) -> tuple[ParamHeader, ...]:
        """The HTTP headers that repeat arguments of this tool."""
        return self._headers.get(tool, ())

    def keeps_its_word(self, tool: str, result: Mapping[str, JSON]) -> bool:
        """Whether a result has the structured content that the tool's definition promises."""
        return tool not in self._structured or "structuredContent" in result or result.get("isError") is True

    def adopt(self, definitions: Sequence[Mapping[str, JSON]], *, checks_headers: bool) -> bool:
        """Take what the server lists; whether anything changed. `checks_headers`: tools whose schema names HTTP
        headers wrongly are left out, as the specification demands where there are headers."""
        self._listed, self._checks_headers = definitions, checks_headers
        known = {tool.name: tool for tool in self.tools}
        tools: dict[str, Tool] = {}
        self._headers = {}
        held: dict[str, Tool] = {}
        for definition in definitions:
            name = definition.get("name")
            if not _is_name(name) or name in tools or name in held:
                logger.warning("MCP server %s: tool %s is left out: no usable name", self._server.name, show(name))
                continue
            if not self._is_wanted(name) or (checks_headers and not self._take_headers(name, definition)):
                continue
            tool = Tool(self._agent, self._server.name, definition)
            before = known.get(name)
            if before is not None and before.digest == tool.digest:
                tools[name] = before
            elif self._is_trusted(tool):
                tools[name] = tool
            else:
                held[name] = tool
        self._held = held
        self._names = frozenset(tools)
        self._structured = frozenset(name for name, tool in tools.items() if tool.definition.get("outputSchema"))
        self._pins.save()
        return self._replace(tuple(tools.values()))

    def clear(self) -> bool:
        """There are no tools any more; whether there were any."""
        return self._replace(())

    def refuse(self, name: JSON) -> None:
        """Raises PraxisError for a tool that is not to be called though the server may have it."""
        if not isinstance(name, str) or not (name in self._names or self._is_wanted(name)):
            raise PraxisError("not_found", f"{self._server.name} has no tool {show(name)}")
        if name in self._held:
            raise PraxisError(
                "denied",
                f"{self._server.name}/{name} is held back: its definition is not what it was",
                hint=f"praxis mcp approve {self._server.name} {name}",
            )

    def approve(self, name: str | None) -> tuple[str, ...]:
        """Let a tool that is held back, or all of them, be what it is now; the names. Raises PraxisError."""
        if name is not None and name not in self._held:
            raise PraxisError("not_found", f"{self._server.name} has no tool {show(name)} that is held back")
        approved = tuple(self._held) if name is None else (name,)
        for one in approved:
            self._pins.put(self._server, one, pin(self._held[one].definition))
        self.adopt(self._listed, checks_headers=self._checks_headers)
        return approved

    def _is_wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._server.include) and not any(
            fnmatchcase(name, glob) for glob in self._server.exclude
        )

    def _take_headers(self, name: str, definition: Mapping[str, JSON]) -> bool:
        try:
            if found := param_headers(definition.get("inputSchema")):
                self._headers[name] = found
        except HeaderError as error:
            logger.warning("MCP server %s: tool %s is left out: %s", self._server.name, show(name), error)
            return False
        return True

    def _is_trusted(self, tool: Tool) -> bool:
        """Compare with the pin, and make one for what is new."""
        now, before = pin(tool.definition), self._pins.get(self._server, tool.name)
        if before is not None and before != now:
            again = tool.name in self._held and pin(self._held[tool.name].definition) == now
            if not again:
                logger.warning(
                    "MCP server %s: the definition of tool %s is not what it was%s",
                    self._server.name,
                    show(tool.name),
                    "; it is held back" if self._quarantine else "",
                )
                self._on_change(tool.name, self._quarantine)
            if self._quarantine:
                return False
        self._pins.put(self._server, tool.name, now)
        return True

    def _replace(self, tools: tuple[Tool, ...]) -> bool:
        if tools == self.tools:
            return False  # and the tuple stays the same one too
        self.tools = tools
        return True


def _is_name(name: JSON) -> TypeGuard[str]:
    """Whether a tool of this name can be called: nothing in it is taken for an agent or a source."""
    try:
        return isinstance(name, str) and ToolRef.parse(name) == ToolRef(name)
    except PraxisError:
        return False
