"""The tools of a simulated agent: they take as long or fail as the scenario says, and answer with the agent's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.tools.source import SourceState


class Work:
    """A tool source like any other.

    Attributes:
        seconds: that a call takes.
        fault: what calls fail with, None for not at all.
        asked: calls that have come in.
    """

    name = "sim"

    def __init__(self, agent: str) -> None:
        self.seconds = 0.0
        self.fault: PraxisError | None = None
        self.asked = 0
        self._agent = agent
        self._tools: tuple[Tool, ...] = ()

    def show(self, names: Iterable[str], *, read_only: bool = False) -> None:
        """Have these tools from now on; `read_only` ones may be called twice."""
        more = {"annotations": {"readOnlyHint": True}} if read_only else {}
        self._tools = tuple(
            Tool(self._agent, self.name, {"name": name, "inputSchema": {"type": "object"}, **more}) for name in names
        )

    def tools(self) -> Sequence[Tool]:
        return self._tools

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        self.asked += 1
        await trio.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault
        return ToolResult.of_text(self._agent)

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready", tools=len(self._tools))
