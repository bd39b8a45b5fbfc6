"""So many a second and no more, first come, first served."""

from __future__ import annotations

import trio


class Pace:
    """Lets `rate` through at once, and `rate` a second after that. Who is cancelled while waiting takes no turn."""

    def __init__(self, rate: float) -> None:
        """`rate` per second, above 0."""
        self._gap = 1 / rate
        self._paid_until = -float("inf")
        """Where the turns that were taken would end if each took its gap; a second ahead of now at most."""
        self._order = trio.Lock()

    async def wait(self) -> None:
        """Until it is our turn."""
        async with self._order:
            await trio.sleep_until(self._paid_until + self._gap - 1)
            self._paid_until = max(self._paid_until, trio.current_time()) + self._gap
