"""What can be called: this agent's tools and those that connected peers export, and how a call gets there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import trio

from praxis.config.schema import Routing
from praxis.model.errors import PraxisError
from praxis.model.load import IDLE, Load
from praxis.model.peer import PeerId, PeerState
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult, is_address
from praxis.observe.events import EventBus
from praxis.peers.entry import Owner, PeerEntry
from praxis.peers.registry import PeerRegistry
from praxis.tools.registry import ToolRegistry
from praxis.workflow.foreign import ForeignAgents
from praxis.workflow.health import Health, Outcome
from praxis.workflow.relay import encode_context, hearer
from praxis.workflow.router import Candidate, Home, Route, Snapshot
from praxis.workflow.scores import Measure, order, score

MAX_TOLD = 4
"""Owners that an error names, with what became of each: one is usual."""
_STATES: Mapping[PeerState, str] = {
    "down": "is down",
    "indirect": "cannot be reached from here",
    "left": "has left",
    "blocked": "is blocked here",
}
FAULTS = frozenset({"unavailable", "busy", "timeout", "internal"})
"""Errors that say something about whoever was asked; the others are about the call."""


class Catalog:
    """The tools of the network as this agent sees them now."""

    def __init__(
        self,
        registry: ToolRegistry,
        peers: PeerRegistry,
        routing: Routing,
        summon: Callable[[ToolRef], Awaitable[None]] | None = None,
        absent: Callable[[ToolRef], Sequence[PeerEntry]] = lambda ref: (),
        *,
        bus: EventBus,
        draw: Callable[[], float],
        tags: Sequence[str] = (),
        clock: Callable[[], float] = trio.current_time,
        cpu: Callable[[], float] = lambda: 0.0,
        foreign: ForeignAgents | None = None,
    ) -> None:
        """`summon` makes lines to agents that have such a tool and no line to us; None: nobody is without.
        `absent` gives those that have such a tool, or had it, and cannot be called.

        `draw` gives a random number from 0 to 1; `tags` say what this agent is good at; `clock` only grows; `cpu` is
        the share of this machine's cores that is busy; `foreign` are the A2A agents that calls can name.
        """
        self.clock = clock
        self.health = Health(routing.breaker)
        self._summon = summon
        self._absent = absent
        self._routing = routing
        self._bus = bus
        self._draw = draw
        self._cpu = cpu
        self._foreign = foreign
        self._home = Home(tuple(tags))
        self._owners: dict[PeerId, Owner] = {}
        self._registry = registry
        self._peers = peers
        self._seen: tuple[tuple[Tool, ...], tuple[Owner, ...]] | None = None
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The present view; the same one until a tool or a peer comes or goes."""
        seen = (self._registry.tools(), self._peers.owners())
        known = self._seen
        if self._snapshot is None or known is None or seen[0] is not known[0] or seen[1] is not known[1]:
            self._seen = seen
            self._owners = {owner.peer_id: owner for owner in seen[1]}
            homes: dict[PeerId | None, Home] = {owner.peer_id: self._home_of(owner) for owner in seen[1]}
            remote = [(owner.peer_id, owner.tools) for owner in seen[1]]
            self._snapshot = Snapshot(seen[0], remote, self._routing.interchangeable, {None: self._home, **homes})
        return self._snapshot

    def route(self, ref: ToolRef, *, peer_id: PeerId | None = None) -> Route:
        """Who may serve a call; `peer_id` narrows to one peer. Raises PraxisError as `Snapshot.route` does, and
        ``unavailable`` where all owners of such a tool are away, with when and why, and as `ForeignAgents.resolve`
        does."""
        if peer_id is None and self._foreign is not None:
            ref = self._foreign.resolve(ref, self._is_peer)
        try:
            return self.snapshot().route(ref, peer_id=peer_id)
        except PraxisError as error:
            if error.code != "not_found":
                raise
            raise self._explained(error, ref, peer_id) from None

    def _explained(self, error: PraxisError, ref: ToolRef, peer_id: PeerId | None) -> PraxisError:
        if peer_id is not None and self._peers.entry(peer_id) is None:
            hint = "`praxis peers` lists them, by id"
            return PraxisError("not_found", f"no peer with the id {peer_id[:64]!r} is known", hint=hint)
        owners = [entry for entry in self._absent(ref) if peer_id in (None, entry.id)]
        if not owners:
            return error
        told = "; ".join(map(_whereabouts, owners[:MAX_TOLD]))
        more = f"; and {len(owners) - MAX_TOLD} more" if len(owners) > MAX_TOLD else ""
        return PraxisError("unavailable", f"{error.detail}: {told}{more}", hint=error.hint, data=error.data)

    def _is_peer(self, name: str) -> bool:
        return any(entry.name == name for entry in self._peers.entries())

    def _home_of(self, owner: Owner) -> Home:
        link = owner.link
        return Home(self._peers.tags(owner.peer_id), (link.address, link.hello.observed))

    def ranked(self, route: Route) -> Route:
        """The route as it is best now. One with a single candidate stays what it is."""
        return self.weighed(route) if len(route.candidates) > 1 else route

    def weighed(self, route: Route) -> Route:
        """The route as it is best now, with what each candidate is worth and why."""
        self.snapshot()
        now = self.clock()
        weights, everybody = self._routing.weights, len(route.candidates)
        compared = route.compared(self._draw)
        candidates = [route.candidates[i] for i in compared]
        measures = [self._measure(route.candidates[i], route.needed_tags[i], now) for i in compared]
        scores = score(measures, weights)
        found = order(measures, scores, weights, self._draw)
        reason = route.reason if everybody == 1 else f"interchangeable: {found.reason}"
        if len(candidates) < everybody:
            reason += f", drawn from {everybody}"
        return Route(
            tuple(candidates[i] for i in found.indexes), reason, tuple((measures[i], scores[i]) for i in found.indexes)
        )

    def _measure(self, candidate: Candidate, tags: tuple[str, ...], now: float) -> Measure:
        measure = self.health.measure(candidate.key, now)
        peer_id = candidate.peer_id
        if peer_id is None:  # calls of peers are load too
            in_flight = max(measure.in_flight, self._registry.in_flight)
            return measure._replace(tags=tags, in_flight=in_flight, told=Load(cpu=self._cpu()))
        owner = self._owners.get(peer_id)
        if owner is None:
            return measure._replace(tags=tags, place=candidate.home.place, state="gone")
        rtt = owner.link.rtt
        if rtt is not None and measure.seconds is not None:
            rtt = min(rtt, measure.seconds)  # a ping may be old, from a busy moment; no call is quicker than the way
        place, told = candidate.home.place, owner.link.told.now(now) if owner.link.told is not None else IDLE
        if place == "host":  # its machine is ours, and two words about it would only differ in age
            told = Load(told.calls, told.waiting, told.lag, self._cpu())
        return measure._replace(tags=tags, place=place, rtt=rtt, told=told)

    async def prepare(self, refs: Iterable[ToolRef]) -> None:
        """See to it that everybody who has a tool of one of these names is in the snapshot."""
        if self._summon is not None:
            for ref in refs:
                # An address means nothing to the network, and is not told to it.
                if ref.agent is None or not is_address(ref.agent):
                    await self._summon(ref)

    def tools(self) -> list[Tool]:
        """Every tool that can be reached, local ones first."""
        return [candidate.tool for candidate in self.snapshot().tools]

    async def call(self, candidate: Candidate, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Call a tool where it is, and keep in mind how that went. Raises PraxisError."""
        attempt = self.health.begin(candidate.key, self.clock())
        outcome: Outcome = "cancelled"
        try:
            result = await self._reach(candidate, arguments, context)
            outcome = "unsuccessful" if result.is_error else "succeeded"
            return result
        except PraxisError as error:
            outcome = "failed" if error.code in FAULTS else "refused"
            raise
        finally:
            change = self.health.end(attempt, self.clock(), outcome)
            if change is not None:
                tool = candidate.tool
                self._bus.publish(
                    "tool.breaker", tool=str(tool.ref), agent=tool.agent, peer=candidate.peer_id, state=change
                )

    async def _reach(self, candidate: Candidate, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        if candidate.peer_id is None:
            return await self._registry.call(candidate.tool, arguments, context)
        tool = candidate.tool
        link = self._peers.link(candidate.peer_id)
        if link is None:
            raise PraxisError("unavailable", f"agent {tool.agent} is not connected any more")
        params: dict[str, Any] = {"source": tool.source, "name": tool.name, "arguments": arguments}
        if context.run_id is not None:
            params["meta"] = {"run": context.run_id}
        if said := encode_context(context):
            params["mcp"] = said
        value = await link.call("tool.call", params, on_event=hearer(context), on_ask=context.ask)
        if not isinstance(value, Mapping) or not isinstance(value.get("content", []), list):
            raise PraxisError(
                "unavailable", f"agent {tool.agent} answered with something else than a result", delivered=True
            )
        return ToolResult(value)


def _whereabouts(entry: PeerEntry) -> str:
    """What is known of an owner without a line: its state, since when, and why."""
    told = f"its owner {entry.name or entry.id} {_STATES.get(entry.state, 'is not connected')}"
    if entry.last_seen:
        told += f" since {datetime.fromtimestamp(entry.last_seen, UTC).isoformat(timespec='seconds')}"
    return f"{told}: {entry.reason}" if entry.reason else told
