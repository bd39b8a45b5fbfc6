"""When an MCP server that ended is started again, and from when on it counts as failed."""

from __future__ import annotations

import trio

from praxis.config.schema import McpLimits

MAX_PAUSE = 30.0
"""Seconds between two starts at most: long enough to cost nothing, short enough to wait for."""
STEADY = 10.0
"""Seconds of readiness that make a start a success; one that ends sooner counts towards `retry_attempts`."""


class Backoff:
    """Counts starts without success.

    Attributes:
        pause: seconds until the next start.
    """

    def __init__(self, limits: McpLimits) -> None:
        self.pause = 0.0
        self._limits = limits
        self._failures = 0
        self._ready_at: float | None = None

    @property
    def was_ready(self) -> bool:
        """Whether the start that is under way, or was the last one, led to a server that answers."""
        return self._ready_at is not None

    def begin(self) -> None:
        """The server is started."""
        self._ready_at = None

    def ready(self) -> None:
        """It answers."""
        self._ready_at = trio.current_time()

    def ended(self) -> bool:
        """It is over: decides on `pause`; whether the server counts as failed."""
        steady = self._ready_at is not None and trio.current_time() - self._ready_at >= STEADY
        self._failures = 1 if steady else self._failures + 1
        failed = self._failures > self._limits.retry_attempts
        # The exponent is bounded: a float overflows after a thousand failures, which a night is enough for.
        doubled = self._limits.retry_backoff_ms / 1000 * 2 ** min(self._failures - 1, 30)
        self.pause = MAX_PAUSE if failed else min(doubled, MAX_PAUSE)
        return failed

    def forget(self) -> None:
        """Somebody has started it anew: what was before does not count."""
        self._failures = 0
