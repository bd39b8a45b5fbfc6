"""What is known of one peer."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from praxis.model.card import AgentCard
from praxis.model.peer import PeerId, PeerState
from praxis.model.tool import Tool
from praxis.peers.link import PeerLink
from praxis.peers.record import PeerRecord

MAX_CANDIDATES = 8
"""Addresses that are remembered per peer, the newest first."""


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
    last_tools: tuple[Tool, ...] = ()
    """What it let us call when there was a line to it: who asks for one of these then is told where it is."""
    clashes: int = 0
    """How often an earlier start of it has called while a later one was known."""
    clashed_at: float = 0.0
    news: trio.Event = attrs.field(factory=trio.Event)
    """Set, and replaced, whenever something happened that a dialer or a waiting caller should look at."""

    @property
    def connected(self) -> bool:
        return self.link is not None

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
