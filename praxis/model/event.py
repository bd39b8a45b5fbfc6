"""What happened, as the event bus carries it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from praxis.model.tool import JSON


@attrs.frozen
class Event:
    """One thing that happened. `fields` is JSON-ready, bears no secret, and is not changed after publishing."""

    seq: int
    """Grows by one with every event of this agent's process, from 1."""
    time: float
    """Seconds since the epoch."""
    type: str
    """Dotted, such as ``run.started``, ``step.finished``, ``peer.connected``, ``tool.source``, ``log``."""
    fields: Mapping[str, JSON]
    run_id: str | None = None
