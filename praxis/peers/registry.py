"""Who is known, over which line, and with which tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from praxis.model.card import AgentCard
from praxis.model.peer import PeerId, PeerState, PeerView
from praxis.model.tool import Tool
from praxis.observe.events import EventBus
from praxis.peers.link import PeerLink
from praxis.peers.record import PeerRecord

MAX_PEERS = 1024
"""Peers that are known at once; one more is not taken, and counted. A full mesh is meant up to 256."""
MAX_CANDIDATES = 8
"""Addresses that are remembered per peer, the newest first."""
UNNEEDED = "idle"
"""Why a line ends that was made for a call and is not needed any more; nothing is wrong with the peer."""


@attrs.define(eq=False)
class PeerEntry:
    """One peer, connected or not. Times are seconds since the epoch."""

    id: PeerId
    found_at: float
    name: str = ""
    boot: int = 0
    state: PeerState = "idle"
    reason: str = ""
    last_seen: float = 0.0
    candidates: tuple[str, ...] = ()
    link: PeerLink | None = None
    card: AgentCard | None = None
    record: PeerRecord | None = None
    tools: tuple[Tool, ...] = ()
    news: trio.Event = attrs.field(factory=trio.Event)
    """Set, and replaced, whenever something happened that a dialer or a waiting caller should look at."""

    @property
    def connected(self) -> bool:
        return self.link is not None

    def set_state(self, state: PeerState, reason: str) -> None:
        """Where a peer that is not connected stands; one that said goodbye has left until it is heard of again, and a
        blocked one stays so."""
        if self.state not in ("left", "blocked"):
            self.state, self.reason = state, reason

    def tell(self) -> None:
        self.news.set()
        self.news = trio.Event()

    def learn(self, candidates: Sequence[str]) -> bool:
        """Put addresses in front of those that are known. True when one is new."""
        fresh = any(candidate not in self.candidates for candidate in candidates)
        merged = dict.fromkeys((*candidates, *self.candidates))
        self.candidates = tuple(merged)[:MAX_CANDIDATES]
        return fresh


@attrs.frozen
class Owner:
    """A connected peer and the tools that it lets us call."""

    peer_id: PeerId
    name: str
    tools: tuple[Tool, ...]
    link: PeerLink


class PeerRegistry:
    """The peers of this agent.

    A name belongs to the first peer that bore it (`shared` mode lets members choose their name): the tools of another
    one with the same name, or with ours, are found under its peer id instead, and the conflict is shown.
    """

    def __init__(self, own_name: str, *, bus: EventBus, clock: Callable[[], float]) -> None:
        self.refused = 0
        """Peers that were not taken because MAX_PEERS were known."""
        self.duplicates = 0
        """Lines that gave way to another one to the same peer."""
        self._own_name = own_name
        self._bus = bus
        self._clock = clock
        self._entries: dict[PeerId, PeerEntry] = {}
        self._names: dict[str, PeerId] = {}
        self._owners: tuple[Owner, ...] | None = None
        self._changed = trio.Event()

    # -- knowing ------------------------------------------------------------------------------------

    def entry(self, peer_id: PeerId) -> PeerEntry | None:
        return self._entries.get(peer_id)

    def know(self, peer_id: PeerId) -> PeerEntry | None:
        """The entry of a peer, made if need be; None when MAX_PEERS are known already."""
        entry = self._entries.get(peer_id)
        if entry is None:
            if len(self._entries) >= MAX_PEERS:
                self.refused += 1
                return None
            entry = self._entries[peer_id] = PeerEntry(peer_id, found_at=self._clock())
            self._bus.publish("peer.found", peer=peer_id)
        return entry

    def entries(self) -> list[PeerEntry]:
        """All that are known, connected or not."""
        return list(self._entries.values())

    def forget(self, entry: PeerEntry) -> None:
        """A peer without a line is not known any more."""
        if not entry.connected:
            del self._entries[entry.id]
            if self._names.get(entry.name) == entry.id:
                del self._names[entry.name]
            entry.state = "left"  # for whoever still holds it
            entry.tell()
            self._bus.publish("peer.forgotten", peer=entry.id, name=entry.name)

    def lost(self) -> list[PeerEntry]:
        """Peers that had a line to us and cannot be reached any more, those first that were seen last."""
        down = [entry for entry in self._entries.values() if entry.state == "down" and entry.boot]
        return sorted(down, key=lambda entry: (-entry.last_seen, entry.id))

    def note(self, record: PeerRecord) -> PeerEntry | None:
        """Take in where a peer is, from its record; None when MAX_PEERS are known already."""
        entry = self.know(record.id)
        if entry is None:
            return None
        if entry.state == "blocked":
            pass
        elif record.left:
            entry.state, entry.reason = "left", ""
        elif not entry.connected:
            entry.name = entry.name or record.name
            if entry.learn(record.addrs) or entry.state == "left":
                entry.state = "idle" if entry.state == "left" else entry.state
                entry.tell()
        return entry

    def mark_indirect(self, entry: PeerEntry, witness: str) -> None:
        """A peer that we cannot reach is heard by another one."""
        if not entry.connected and entry.state in ("connecting", "down"):
            entry.state, entry.reason = "indirect", f"{witness} hears it, we do not: {entry.reason or 'no line'}"

    def label(self, entry: PeerEntry) -> str:
        """What this agent calls a peer: its name, if that is its alone."""
        return entry.name if self._names.get(entry.name) == entry.id else entry.id

    @property
    def conflicts(self) -> list[PeerEntry]:
        """Connected peers whose name belongs to another."""
        return [e for e in self._entries.values() if e.link is not None and self.label(e) != e.name]

    # -- lines --------------------------------------------------------------------------------------

    def adopt(self, entry: PeerEntry, link: PeerLink) -> PeerLink | None:
        """Take a greeted line into use; returns the line that has to give way, which may be `link` itself.

        Both ends come to the same answer: the newer start of the peer wins; of two lines with the same dialer the newer
        (it gave the old one up); of two that crossed, the one dialed by the smaller id.
        """
        old = entry.link
        if old is not None and not self._gives_way(old, link):
            self.duplicates += 1
            return link
        hello = link.hello
        entry.link, entry.name, entry.boot = link, hello.name, hello.boot
        if hello.name != self._own_name:
            self._names.setdefault(hello.name, entry.id)
        entry.state, entry.reason = "connected", ""
        entry.last_seen = self._clock()
        self._owners = None
        link.on_goodbye = self._forget_owners
        entry.tell()
        if old is None:
            self._bus.publish("peer.connected", peer=entry.id, name=entry.name, address=link.address)
            return None
        self.duplicates += 1
        return old

    def _gives_way(self, old: PeerLink, new: PeerLink) -> bool:
        if old.closed or old.leaving:
            return True
        if new.hello.boot != old.hello.boot:
            return new.hello.boot > old.hello.boot
        if new.dialer == old.dialer:
            return True
        own, other = new.session.hello.id, new.peer_id
        return (own if new.dialer else other) == min(own, other)

    def drop(self, entry: PeerEntry, link: PeerLink) -> None:
        """A line has ended."""
        if entry.link is not link:
            return
        entry.link = None
        entry.set_state("idle" if _is_unneeded(link) else "down", link.reason)
        entry.reason = entry.reason or link.reason
        entry.last_seen = self._clock()
        entry.tools = ()
        entry.record = None
        self._owners = None
        entry.tell()
        self._bus.publish("peer.disconnected", peer=entry.id, name=entry.name, reason=link.reason)
        self._tell_change()

    def block(self, entry: PeerEntry) -> None:
        """Have no line with a peer; one that is there is cut."""
        entry.state, entry.reason = "blocked", "it is on the blocklist"
        if entry.link is not None:
            entry.link.close("blocked", "this agent is told to have no line with that one")
        self._bus.publish("peer.blocked", peer=entry.id, name=entry.name)
        entry.tell()
        self._forget_owners()

    def unblock(self, entry: PeerEntry) -> None:
        entry.state, entry.reason = "idle", ""
        self._bus.publish("peer.unblocked", peer=entry.id, name=entry.name)
        entry.tell()

    def introduce(self, entry: PeerEntry, record: PeerRecord, tools: Sequence[Tool]) -> None:
        """What a connected peer lets us call is known, or has changed."""
        entry.record = record
        entry.tools = tuple(tools)
        self._owners = None
        entry.tell()
        self._bus.publish("peer.tools", peer=entry.id, name=entry.name, tools=len(tools))
        self._tell_change()

    # -- asking -------------------------------------------------------------------------------------

    def owners(self) -> tuple[Owner, ...]:
        """Connected peers that still take requests, with what they let us call; the same tuple until that changes."""
        if self._owners is None:
            self._owners = tuple(
                Owner(e.id, self.label(e), e.tools, e.link)
                for e in sorted(self._entries.values(), key=lambda e: e.id)
                if e.link is not None and not e.link.closed and not e.link.leaving
            )
        return self._owners

    def link(self, peer_id: PeerId) -> PeerLink | None:
        entry = self._entries.get(peer_id)
        return entry.link if entry is not None else None

    def tags(self, peer_id: PeerId) -> tuple[str, ...]:
        """What a connected peer says it is good at."""
        entry = self._entries.get(peer_id)
        return entry.record.tags if entry is not None and entry.record is not None else ()

    def links(self) -> list[PeerLink]:
        return [entry.link for entry in self._entries.values() if entry.link is not None]

    def connected(self) -> list[PeerEntry]:
        return [entry for entry in self._entries.values() if entry.link is not None]

    def views(self) -> list[PeerView]:
        """All known peers, by name."""
        views = [self._view(entry) for entry in self._entries.values()]
        return sorted(views, key=lambda view: (view.name, view.id))

    def _view(self, entry: PeerEntry) -> PeerView:
        link = entry.link
        reason = entry.reason
        if link is not None and self.label(entry) != entry.name:
            reason = f"the name {entry.name!r} belongs to another agent; this one is called by its id"
        return PeerView(
            id=entry.id,
            name=entry.name,
            state=entry.state,
            address=link.address if link is not None else next(iter(entry.candidates), ""),
            rtt_ms=round(link.rtt * 1000, 3) if link is not None and link.rtt is not None else None,
            found_at=entry.found_at,
            last_seen=self._clock() if link is not None else entry.last_seen,
            tools=tuple(f"{tool.source}/{tool.name}" for tool in entry.tools),
            load=link.load if link is not None else 0,
            reason=reason,
        )

    def cards(self) -> Mapping[PeerId, AgentCard]:
        """The cards of connected peers."""
        return {e.id: e.card for e in self._entries.values() if e.card is not None and e.link is not None}

    async def wait_change(self, until: Callable[[], bool]) -> None:
        """Wait until a condition on this registry holds; it is looked at after every change."""
        while not until():
            await self._changed.wait()

    def _forget_owners(self) -> None:
        self._owners = None
        self._tell_change()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _is_unneeded(link: PeerLink) -> bool:
    """Either end may have said so."""
    return link.leaving and link.reason.endswith(UNNEEDED)
