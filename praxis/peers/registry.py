"""Who is known, over which line, and with which tools."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import trio

from praxis.model.card import AgentCard
from praxis.model.peer import PeerId, PeerState, PeerView
from praxis.model.tool import Tool
from praxis.observe.events import EventBus
from praxis.peers.entry import Owner, PeerEntry
from praxis.peers.link import PeerLink
from praxis.peers.record import MAX_MEMBERS, PeerRecord

logger = logging.getLogger(__name__)

UNNEEDED = "idle"
"""Why a line ends that was made for a call and is not needed any more; nothing is wrong with the peer."""

MAX_PEERS = MAX_MEMBERS
"""Peers that are known at once: as many as the directory holds. For one more the least useful one is forgotten."""
MAX_HINTED = 256
"""Peers of which a beacon alone has told, among them: a member can make any number of them up."""
CLASHES = 2
"""Times that an earlier start of a peer must call beside a later one before we say that two agents have one identity:
a call that was under way during a restart is no more than one."""
CLASH_MEMORY = 600.0
"""Seconds for which that is said."""


class PeerRegistry:
    """The peers of this agent.

    A name belongs to the first peer that bore it (`shared` mode lets members choose their name): the tools of another
    one with the same name, or with ours, are found under its peer id instead, and the conflict is shown.
    """

    def __init__(self, own_name: str, *, bus: EventBus, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self.refused = 0
        """Peers that were not taken because MAX_PEERS were known, all of them connected or blocked."""
        self.evicted = 0
        """Peers that were forgotten to make room."""
        self.duplicates = 0
        """Lines that gave way to another one to the same peer."""
        self._own_name = own_name
        self._bus = bus
        self._clock = clock
        self._entries: dict[PeerId, PeerEntry] = {}
        self._hinted: dict[PeerId, None] = {}
        self._connected: dict[PeerId, PeerEntry] = {}
        self._names: dict[str, PeerId] = {}
        self._owners: tuple[Owner, ...] | None = None
        self._changed = trio.Event()

    # -- knowing ------------------------------------------------------------------------------------

    def entry(self, peer_id: PeerId) -> PeerEntry | None:
        return self._entries.get(peer_id)

    def know(self, peer_id: PeerId, *, hint: bool = False) -> PeerEntry | None:
        """The entry of a peer, made if need be; None when there is no room for it. `hint`: a beacon alone says so."""
        entry = self._entries.get(peer_id)
        if entry is None:
            if hint and len(self._hinted) >= MAX_HINTED:
                self._evict(self._entries[next(iter(self._hinted))])
            if len(self._entries) >= MAX_PEERS and not self._make_room():
                self.refused += 1
                return None
            entry = self._entries[peer_id] = PeerEntry(peer_id, found_at=self._clock())
            if hint:
                self._hinted[peer_id] = None
            self._bus.publish("peer.found", peer=peer_id)
        if not hint:
            self._hinted.pop(peer_id, None)
        return entry

    def hinted(self, entry: PeerEntry) -> bool:
        """Whether nothing but a beacon has told of this peer so far."""
        return entry.id in self._hinted

    def _make_room(self) -> bool:
        """Forget whoever is missed least: first those of whom nothing but a beacon has told, then the longest gone."""
        idle = (e for e in self._entries.values() if e.link is None and e.state != "blocked")
        worth = {"left": 0, "down": 1}
        least = min(
            idle, key=lambda e: (e.id not in self._hinted, worth.get(e.state, 2), e.last_seen, e.id), default=None
        )
        if least is not None:
            self._evict(least)
        return least is not None

    def _evict(self, entry: PeerEntry) -> None:
        self.evicted += 1
        self.forget(entry)

    def entries(self) -> list[PeerEntry]:
        """All that are known, connected or not."""
        return list(self._entries.values())

    def forget(self, entry: PeerEntry) -> None:
        """A peer without a line is not known any more."""
        if not entry.connected:
            del self._entries[entry.id]
            self._hinted.pop(entry.id, None)
            self._free_name(entry)
            entry.state = "left"  # for whoever still holds it
            entry.tell()
            self._bus.publish("peer.forgotten", peer=entry.id, name=entry.name)

    def restore(self, peer_id: PeerId, name: str, *, owns_name: bool, last_seen: float) -> PeerEntry | None:
        """A peer that was known at the last start; `owns_name` says whether the name was its alone."""
        entry = self.know(peer_id)
        if entry is not None:
            entry.name, entry.last_seen = name, last_seen
            if owns_name and name != self._own_name:
                self._names.setdefault(name, peer_id)
        return entry

    def lost(self, before: float) -> list[PeerEntry]:
        """Peers that had a line to us and have been out of reach since a time."""
        return [e for e in self._entries.values() if e.state == "down" and e.boot and e.last_seen <= before]

    def note(self, record: PeerRecord, *, back: bool = False) -> PeerEntry | None:
        """Take in where a peer is, from its record; None when there is no room for it. `back`: it was said to be down,
        and says now that it is not."""
        entry = self.know(record.id)
        if entry is None or entry.state == "blocked":
            return entry
        if record.left:
            self._move(entry, "left", "")
        elif not entry.connected:
            entry.name = entry.name or record.name
            if entry.learn(record.addrs) or entry.state == "left" or back:
                if entry.state == "left" or (back and entry.state == "down"):
                    self._move(entry, "idle", "")
                entry.tell()
        return entry

    # -- states -------------------------------------------------------------------------------------

    def set_state(self, entry: PeerEntry, state: PeerState, reason: str) -> None:
        """Where a peer that is not connected stands; one that said goodbye has left until it is heard of again, and a
        blocked one stays so."""
        if entry.state not in ("left", "blocked"):
            self._move(entry, state, reason)

    def mark_left(self, entry: PeerEntry) -> None:
        """It says that it stops."""
        self._move(entry, "left", "")
        entry.tell()

    def mark_back(self, entry: PeerEntry) -> None:
        """One that has left is there again."""
        self._move(entry, "idle", "")

    def mark_indirect(self, entry: PeerEntry, witness: str) -> None:
        """A peer that we cannot reach is heard by another one."""
        if not entry.connected and entry.state in ("connecting", "down"):
            self._move(entry, "indirect", f"{witness} hears it, we do not: {entry.reason or 'no line'}")

    def block(self, entry: PeerEntry) -> None:
        """Have no line with a peer; one that is there is cut."""
        self._move(entry, "blocked", "it is on the blocklist")
        if entry.link is not None:
            entry.link.close("blocked", "this agent is told to have no line with that one")
        self._bus.publish("peer.blocked", peer=entry.id, name=entry.name)
        entry.tell()
        self._forget_owners()

    def unblock(self, entry: PeerEntry) -> None:
        self._move(entry, "idle", "")
        self._bus.publish("peer.unblocked", peer=entry.id, name=entry.name)
        entry.tell()

    def _move(self, entry: PeerEntry, state: PeerState, reason: str) -> None:
        """Every change of a state goes through here, and is told."""
        old, entry.state, entry.reason = entry.state, state, reason
        if old != state:
            self._bus.publish("peer.state", peer=entry.id, name=entry.name, old=old, state=state, reason=reason)

    # -- names --------------------------------------------------------------------------------------

    def label(self, entry: PeerEntry) -> str:
        """What this agent calls a peer: its name, if that is its alone."""
        return entry.name if self.owns_name(entry) else entry.id

    def owns_name(self, entry: PeerEntry) -> bool:
        return self._names.get(entry.name) == entry.id

    @property
    def conflicts(self) -> list[PeerEntry]:
        """Connected peers whose name belongs to another."""
        return [e for e in self._entries.values() if e.link is not None and not self.owns_name(e)]

    @property
    def clones(self) -> list[PeerEntry]:
        """Peers of which two agents run at the same time, with a copy of one state directory."""
        now = self._clock()
        return [e for e in self._entries.values() if e.clashes >= CLASHES and now - e.clashed_at < CLASH_MEMORY]

    def _rename(self, entry: PeerEntry, name: str) -> None:
        """A peer has one name at a time, so no more names are taken than peers are known."""
        if entry.name != name:
            self._free_name(entry)
            entry.name = name
        if name != self._own_name:
            self._names.setdefault(name, entry.id)
        if not self.owns_name(entry):
            holder = self._names.get(name, "this agent")
            logger.warning(
                "peer %s calls itself %s, which is the name of %s; it is called by its id", entry.id, name, holder
            )

    def _free_name(self, entry: PeerEntry) -> None:
        if self.owns_name(entry):
            del self._names[entry.name]

    # -- lines --------------------------------------------------------------------------------------

    def adopt(self, entry: PeerEntry, link: PeerLink) -> PeerLink | None:
        """Take a greeted line into use; returns the line that has to give way, which may be `link` itself.

        Both ends come to the same answer: the newer start of the peer wins; of two lines with the same dialer the newer
        (it gave the old one up); of two that crossed, the one dialed by the smaller id.
        """
        old, hello = entry.link, link.hello
        if hello.boot < entry.boot:
            self._note_clash(entry)
        if old is not None and not self._gives_way(old, link):
            self.duplicates += 1
            return link
        self._rename(entry, hello.name)
        entry.link, entry.boot = link, hello.boot
        self._connected[entry.id] = entry
        self._move(entry, "connected", "")
        entry.last_seen = self._clock()
        self._owners = None
        link.on_goodbye = self._forget_owners
        entry.tell()
        if old is None:
            self._bus.publish("peer.connected", peer=entry.id, name=entry.name, address=link.address)
            return None
        self.duplicates += 1
        return old

    def _note_clash(self, entry: PeerEntry) -> None:
        now = self._clock()
        entry.clashes = entry.clashes + 1 if now - entry.clashed_at < CLASH_MEMORY else 1
        entry.clashed_at = now
        if entry.clashes == CLASHES:
            logger.warning("two agents run with the identity of %s (%s): one of them is a copy", entry.name, entry.id)

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
        del self._connected[entry.id]
        self.set_state(entry, "idle" if _is_unneeded(link) else "down", link.reason)
        entry.reason = entry.reason or link.reason
        entry.last_seen = self._clock()
        entry.tools = ()
        entry.record = None
        self._owners = None
        entry.tell()
        self._bus.publish("peer.disconnected", peer=entry.id, name=entry.name, reason=link.reason)
        self._tell_change()

    def introduce(self, entry: PeerEntry, record: PeerRecord, tools: Sequence[Tool]) -> None:
        """What a connected peer lets us call is known, or has changed."""
        entry.record = record
        entry.tools = entry.last_tools = tuple(tools)
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
        return [entry.link for entry in self._connected.values() if entry.link is not None]

    def connected(self) -> list[PeerEntry]:
        return list(self._connected.values())

    def views(self) -> list[PeerView]:
        """All known peers, by name."""
        views = [self._view(entry) for entry in self._entries.values()]
        return sorted(views, key=lambda view: (view.name, view.id))

    def _view(self, entry: PeerEntry) -> PeerView:
        link = entry.link
        reason = entry.reason
        if link is not None and not self.owns_name(entry):
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
            told=link.told.now(trio.current_time()) if link is not None and link.told is not None else None,
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
