"""What a tool source is to the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import attrs

from praxis.model.tool import JSON, CallContext, Tool, ToolResult

State = Literal["starting", "ready", "backing off", "failed", "disabled"]


@attrs.frozen
class SourceState:
    """A source at one moment. `reason` says why it is not ready, `stderr_tail` holds its last words."""

    name: str
    kind: Literal["builtin", "mcp", "container", "process", "remote", "a2a"]
    state: State
    reason: str = ""
    tools: int = 0
    restarts: int = 0
    stderr_tail: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """Names of tools that are held back because their definitions changed."""
    transport: str = ""
    """Of an MCP server: how it is reached, which differs from what is configured where that did not answer."""
    protocol: str = ""
    """Of an MCP server or A2A agent: the revision that it spoke last; "" before it has been reached."""


class ToolSource(Protocol):
    """Something that has tools.

    `call` raises PraxisError for what the caller is told, OSError for an outage; it ends when it is cancelled.
    """

    name: str

    def tools(self) -> Sequence[Tool]: ...

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult: ...

    def state(self) -> SourceState: ...


@runtime_checkable
class Queueing(Protocol):
    """A source that does so many calls at once and lets others wait."""

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
