"""How the agent is, as /health shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

Health = Literal["healthy", "degraded", "unhealthy"]


@attrs.frozen
class Check:
    """One part of the agent. `reason` says why it is not healthy, `action` what to do; both "" while it is."""

    status: Health
    reason: str = ""
    action: str = ""


@attrs.frozen
class HealthReport:
    agent: str
    version: str
    uptime_s: float
    checks: Mapping[str, Check]

    @property
    def status(self) -> Health:
        """The worst of the checks."""
        states = {check.status for check in self.checks.values()}
        return "unhealthy" if "unhealthy" in states else "degraded" if "degraded" in states else "healthy"
