"""How long to wait before the next attempt to reach a peer."""

from __future__ import annotations

from random import Random

FIRST = 0.5
LONGEST = 60.0
"""Seconds between attempts: doubled from the first, with full jitter, so that a crowd does not come back at once."""
REFUSED = 300.0
"""Seconds after an answer that will not change soon, such as that we are on a blocklist."""
SELDOM = 600.0
"""Seconds between attempts for a peer that has not been reached for GIVE_UP."""
GIVE_UP = 3600.0
STABLE = 30.0
"""Seconds after which a line counts as good, and the pauses begin anew."""
FINAL = frozenset({"wrong_id", "self", "version", "alpn", "blocked", "not_allowed", "refused"})
"""Ends that say that the address is not worth trying soon."""


class Backoff:
    """The pauses of one peer or address."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._attempts = 0
        self._failing_since: float | None = None

    @property
    def fresh(self) -> bool:
        """True before the first failure, and after a success."""
        return self._attempts == 0

    def reset(self) -> None:
        """Something has changed: the next attempt is a first one."""
        self._attempts, self._failing_since = 0, None

    def after(self, code: str, up_for: float, now: float) -> float:
        """Seconds to wait after a line or an attempt that ended with this code and was in use for `up_for` seconds."""
        if up_for >= STABLE:
            self.reset()
        else:
            self._attempts += 1
            self._failing_since = now if self._failing_since is None else self._failing_since
        if code in FINAL:
            return REFUSED * self._chance.uniform(0.8, 1.2)
        if self._failing_since is not None and now - self._failing_since > GIVE_UP:
            return SELDOM * self._chance.uniform(0.8, 1.2)
        longest = min(FIRST * 2.0 ** max(0, self._attempts - 1), LONGEST)
        return self._chance.uniform(longest / 10, longest)
