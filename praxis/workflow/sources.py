"""Every tool source in reach as an MCP server: those of this agent, and what peers export of theirs.

A call of a tool goes through the executor, as every call does; all else goes straight to the source, or over the line
to its agent, which answers as far as it is exported.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.tool import JSON, CallContext, ToolRef
from praxis.peers.link import PeerLink
from praxis.peers.registry import PeerRegistry
from praxis.tools.registry import ToolRegistry
from praxis.tools.service import Description, Notice
from praxis.wire import jsonrpc
from praxis.workflow.executor import Executor
from praxis.workflow.relay import encode_context, hearer
from praxis.workflow.source_exports import HONOURED

logger = logging.getLogger(__name__)

KEPT = 5.0
"""Seconds for which a peer's word on its sources is good."""
ANSWER = 10.0
"""Seconds for a peer to say which sources it has; it asks nobody for that."""
MAX_SOURCES = 256
"""Sources of one peer that are looked at."""


@attrs.frozen
class SourceAt:
    """A source, and whose it is; `agent` is None for this agent's own."""

    agent: str | None
    name: str
    description: Description


class Sources:
    """Finds sources, and makes what answers for them."""

    def __init__(
        self, agent: str, registry: ToolRegistry, peers: PeerRegistry, executor: Executor, policy: Policy
    ) -> None:
        self._agent = agent
        self._registry = registry
        self._peers = peers
        self._executor = executor
        self._policy = policy
        self._told: dict[PeerId, tuple[float, list[SourceAt]]] = {}

    def own(self) -> list[SourceAt]:
        """The sources of this agent."""
        return [SourceAt(None, name, self._registry.service(name).describe()) for name in self._registry.names()]

    async def of_peer(self, agent: str) -> list[SourceAt]:
        """What a peer exports to us, as it said within the last seconds. Raises PraxisError."""
        link = self._link(agent)
        told = self._told.get(link.peer_id)
        if told is not None and trio.current_time() - told[0] < KEPT:
            return told[1]
        with trio.move_on_after(ANSWER):
            answer = await link.call("mcp.sources", {})
            found = [SourceAt(agent, *decoded) for decoded in _decode(answer)]
            connected = {owner.peer_id for owner in self._peers.owners()}
            self._told = {id: kept for id, kept in self._told.items() if id in connected}
            self._told[link.peer_id] = trio.current_time(), found
            return found
        raise PraxisError("timeout", f"{agent} did not say within {ANSWER:g} s which sources it has")

    async def everywhere(self) -> list[SourceAt]:
        """Our own sources and those of all peers; one that does not say in time has none. Raises nothing."""
        found = self.own()

        async def ask(agent: str) -> None:
            try:
                found.extend(await self.of_peer(agent))
            except PraxisError as error:
                logger.info("the sources of %s are left out: %s", agent, error)

        async with trio.open_nursery() as nursery:
            for owner in self._peers.owners():
                nursery.start_soon(ask, owner.name)
        return sorted(found, key=lambda source: (source.agent is not None, source.agent or "", source.name))

    async def find(self, principal: Principal, agent: str | None, name: str) -> SourceService:
        """The source of this name, for one principal; `agent` None is this one. Raises PraxisError, ``not_found``."""
        agent = None if agent == self._agent else agent
        for source in self.own() if agent is None else await self.of_peer(agent):
            if source.name == name:
                return SourceService(self, principal, source)
        whose = "this agent has" if agent is None else f"{agent[:64]} exports to this agent"
        raise PraxisError(
            "not_found", f"there is no source {name[:64]!r} that {whose}", hint="`praxis mcp ls` lists them"
        )

    def _link(self, agent: str) -> PeerLink:
        for owner in self._peers.owners():
            if agent in (owner.name, owner.peer_id):
                return owner.link
        raise PraxisError("unavailable", f"agent {agent[:64]} is not connected", hint="`praxis peers` shows who is")


@attrs.frozen(eq=False)
class SourceService:
    """One source: a `praxis.tools.service.McpService`."""

    sources: Sources
    principal: Principal
    at: SourceAt

    @property
    def agent(self) -> str | None:
        return self.at.agent

    @property
    def name(self) -> str:
        return self.at.name

    def describe(self) -> Description:
        return self.at.description

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        """See `McpService`."""
        self.sources._policy.authorize(self.principal, "run" if method == "tools/call" else "read")
        if method == "tools/call":
            return await self._call(params, context)
        if self.agent is None:
            return await self.sources._registry.service(self.name).request(method, params, context)
        asked = {"source": self.name, "method": method, "params": dict(params)}
        if said := encode_context(context):
            asked["mcp"] = said
        link = self.sources._link(self.agent)
        result = await link.call("mcp.request", asked, on_event=hearer(context), on_ask=context.ask)
        if not isinstance(result, dict):
            raise PraxisError("invalid", f"agent {self.agent} answered {method} with no object", delivered=True)
        return result

    async def _call(self, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        name, arguments = params.get("name"), params.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(arguments, dict):
            text = "a call has a name, and arguments, an object"
            raise PraxisError("invalid", text, data={"jsonrpc": {"code": jsonrpc.INVALID_PARAMS, "message": text}})
        ref = ToolRef(name, self.name, self.agent or self.sources._agent)
        return (await self.sources._executor.call(ref, arguments, self.principal, context=context)).value

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, JSON], on_notice: Notice) -> AsyncIterator[Mapping[str, JSON]]:
        """See `McpService`. Raises PraxisError; when the line to the agent is lost later, nothing is heard any more."""
        if self.agent is None:
            async with self.sources._registry.service(self.name).subscribe(wanted, on_notice) as honoured:
                yield honoured
            return
        link = self.sources._link(self.agent)
        async with trio.open_nursery() as nursery:
            honoured = await nursery.start(_follow, link, self.name, wanted, on_notice)
            yield honoured
            nursery.cancel_scope.cancel()


async def _follow(
    link: PeerLink,
    source: str,
    wanted: Mapping[str, JSON],
    on_notice: Notice,
    *,
    task_status: trio.TaskStatus[Mapping[str, JSON]],
) -> None:
    begun = False

    def hear(method: str, params: Mapping[str, JSON]) -> None:
        nonlocal begun
        if method != HONOURED:
            on_notice(method, params)
        elif not begun:
            begun = True
            task_status.started(params)

    try:
        await link.call("mcp.subscribe", {"source": source, "notifications": dict(wanted)}, on_event=hear)
    except PraxisError:
        if not begun:
            raise
    if not begun:
        raise PraxisError("invalid", f"{source} did not say what it honours of a subscription")
    await trio.sleep_forever()


def _decode(answer: object) -> list[tuple[str, Description]]:
    """A peer's word is remote input: what does not fit is left out."""
    entries = answer.get("sources") if isinstance(answer, dict) else None
    found = []
    for entry in entries[:MAX_SOURCES] if isinstance(entries, list) else ():
        match entry:
            case {"name": str(name), "info": dict(info), "capabilities": dict(can), "instructions": str(text)}:
                found.append((name, Description(info, can, text)))
    return found
