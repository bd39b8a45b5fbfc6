"""What can be called: this agent's tools and those that connected peers export, and how a call gets there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult
from praxis.peers.registry import Owner, PeerRegistry
from praxis.tools.registry import ToolRegistry
from praxis.workflow.router import Candidate, Snapshot


class Catalog:
    """The tools of the network as this agent sees them now."""

    def __init__(
        self,
        registry: ToolRegistry,
        peers: PeerRegistry,
        interchangeable: Sequence[str],
        summon: Callable[[ToolRef], Awaitable[None]] | None = None,
    ) -> None:
        """`summon` makes lines to agents that have such a tool and no line to us; None: nobody is without."""
        self._summon = summon
        self._registry = registry
        self._peers = peers
        self._interchangeable = interchangeable
        self._seen: tuple[tuple[Tool, ...], tuple[Owner, ...]] | None = None
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The present view; the same one until a tool or a peer comes or goes."""
        seen = (self._registry.tools(), self._peers.owners())
        if (
            self._snapshot is None
            or self._seen is None
            or any(a is not b for a, b in zip(seen, self._seen, strict=True))
        ):
            self._seen = seen
            remote = [(owner.peer_id, owner.tools) for owner in seen[1]]
            self._snapshot = Snapshot(seen[0], remote, self._interchangeable)
        return self._snapshot

    async def prepare(self, refs: Iterable[ToolRef]) -> None:
        """See to it that everybody who has a tool of one of these names is in the snapshot."""
        if self._summon is not None:
            for ref in refs:
                await self._summon(ref)

    def tools(self) -> list[Tool]:
        """Every tool that can be reached, local ones first."""
        return [candidate.tool for candidate in self.snapshot().tools]

    async def call(self, candidate: Candidate, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Call a tool where it is. Raises PraxisError."""
        if candidate.peer_id is None:
            return await self._registry.call(candidate.tool, arguments, context)
        tool = candidate.tool
        link = self._peers.link(candidate.peer_id)
        if link is None:
            raise PraxisError("unavailable", f"agent {tool.agent} is not connected any more")
        params: dict[str, Any] = {"source": tool.source, "name": tool.name, "arguments": arguments}
        if context.run_id is not None:
            params["meta"] = {"run": context.run_id}
        value = await link.call("tool.call", params, on_progress=_objects_only(context.on_progress))
        if not isinstance(value, Mapping) or not isinstance(value.get("content", []), list):
            raise PraxisError(
                "unavailable", f"agent {tool.agent} answered with something else than a result", delivered=True
            )
        return ToolResult(value)


def _objects_only(take: Callable[[Mapping[str, JSON]], None] | None) -> Callable[[JSON], None] | None:
    """Progress as a peer sends it may be any JSON value; what is no object is not passed on."""
    if take is None:
        return None
    return lambda value: take(value) if isinstance(value, Mapping) else None
