"""Declared tools that an MCP server somewhere else has: single tools, under names and with marks of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from praxis.config.schema import DeclaredTool, McpEndpoint, McpLimits
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.observe.metrics import Metrics
from praxis.tools.declared import input_schema, marks, with_defaults
from praxis.tools.mcp_source import McpSource
from praxis.tools.show import quoted
from praxis.tools.source import SourceState, State

_WORST_FIRST: tuple[State, ...] = ("failed", "backing off", "starting", "disabled", "ready")


class RemoteTools:
    """The source ``remote``. Tools with one address, headers and timeout share a connection.

    A tool is there while its server has it. What the entry says of it, description, parameters and marks, stands over
    what the server says. `on_change` and `on_state` must not block.
    """

    name = "remote"

    def __init__(
        self,
        tools: Sequence[DeclaredTool],
        limits: McpLimits,
        agent: str,
        *,
        base_dir: Path,
        enabled: bool,
        on_change: Callable[[], None],
        metrics: Metrics,
        on_state: Callable[[SourceState], None] = lambda state: None,
    ) -> None:
        self._agent = agent
        self._declared = {tool.name: tool for tool in tools}
        self._homes: dict[str, McpSource] = {}
        self._shown: dict[str, tuple[Tool, Tool]] = {}
        servers: dict[tuple[object, ...], McpSource] = {}
        for tool in tools:
            key = (tool.address, tuple(sorted(tool.headers.items())), tool.timeout)
            if key not in servers:
                endpoint = McpEndpoint(tool.address, headers=tool.headers, timeout=tool.timeout, enabled=enabled)
                servers[key] = McpSource(
                    endpoint.server(),
                    limits,
                    agent,
                    base_dir=base_dir,
                    on_change=on_change,
                    on_state=lambda state: on_state(self.state()),
                    metrics=metrics,
                )
            self._homes[tool.name] = servers[key]
        self._servers = tuple(servers.values())

    def tools(self) -> Sequence[Tool]:
        return [found for tool in self._declared.values() if (found := self._tool(tool)) is not None]

    def state(self) -> SourceState:
        """That of the server that is worst off; one that does not have a tool that it should have is no better."""
        states = [server.state() for server in self._servers]
        worst = min(states, key=lambda state: _WORST_FIRST.index(state.state))
        state, reason = worst.state, f"{worst.name}: {worst.reason}" if worst.reason else ""
        if state == "ready":
            missing = [tool for tool in self._declared.values() if self._tool(tool) is None]
            if missing:
                there = self._homes[missing[0].name].name
                state, reason = "failed", f"{there} has no tool {quoted(_name_there(missing[0]))}"
        restarts = sum(each.restarts for each in states)
        return SourceState(self.name, "remote", state, reason, len(self.tools()), restarts)

    @property
    def waiting(self) -> int:
        return sum(server.waiting for server in self._servers)

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Call the tool where it is. Raises PraxisError as `McpSource.call` does, and ``not_found``."""
        tool = self._declared.get(name)
        if tool is None:
            raise PraxisError("not_found", f"there is no tool {quoted(name)} in {self.name}")
        return await self._homes[name].call(_name_there(tool), with_defaults(tool, arguments), context)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connections until cancelled. Started at once, whether the servers answer or not."""
        async with trio.open_nursery() as nursery:
            for server in self._servers:
                await nursery.start(server.run)
            task_status.started()

    def _tool(self, tool: DeclaredTool) -> Tool | None:
        there = next((one for one in self._homes[tool.name].tools() if one.name == _name_there(tool)), None)
        if there is None:
            return None
        known = self._shown.get(tool.name)
        if known is None or known[0] is not there:
            known = self._shown[tool.name] = there, Tool(self._agent, self.name, _defined(tool, there))
        return known[1]


def _name_there(tool: DeclaredTool) -> str:
    return tool.tool or tool.name


def _defined(tool: DeclaredTool, there: Tool) -> dict[str, JSON]:
    """The server's definition, and over it what the configuration says."""
    found = {**there.definition, "name": tool.name}
    if tool.description:
        found["description"] = tool.description
    if tool.params or tool.inputSchema:
        found["inputSchema"] = input_schema(tool)
    for member, said in marks(tool).items():
        theirs = there.definition.get(member)
        found[member] = {**(theirs if isinstance(theirs, dict) else {}), **said}
    return found
