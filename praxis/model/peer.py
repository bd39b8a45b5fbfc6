"""Peers as the rest of the house sees them."""

from __future__ import annotations

from typing import Literal

import attrs

from praxis.model.load import Load

PeerId = str
"""``px`` and 52 letters: SHA-256 of the public key in the peer's certificate, base32."""

PeerState = Literal["connected", "connecting", "idle", "indirect", "down", "left", "blocked"]
"""`idle`: known, and dialed when it is needed. `indirect`: others hear it, we do not. `left`: it said goodbye."""


@attrs.frozen
class PeerView:
    """One peer at one moment. Times are seconds since the epoch; `rtt_ms` is None before the first ping."""

    id: PeerId
    name: str
    state: PeerState
    address: str
    rtt_ms: float | None
    found_at: float
    last_seen: float
    tools: tuple[str, ...]
    load: int
    """Calls that we have in flight on this peer."""
    told: Load | None = None
    """What it says of its load, which is that of others than us; None while it has said nothing."""
    reason: str = ""
    """Why it is not connected, in words; "" while it is."""

    @property
    def connected(self) -> bool:
        return self.state == "connected"
