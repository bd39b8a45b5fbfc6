"""How busy an agent is."""

from __future__ import annotations

import attrs


@attrs.frozen
class Load:
    """How busy an agent is, as it measures itself or says of itself."""

    calls: float = 0.0
    """Tool calls under way, those that wait among them. What an agent tells a peer leaves that peer's own calls out."""
    waiting: float = 0.0
    """Calls that wait for a slot of a tool source."""
    lag: float = 0.0
    """Seconds by which its event loop is late."""
    cpu: float = 0.0
    """The share of its machine's cores that is busy, 0 to 1."""


IDLE = Load()
