"""So many requests and so many tokens in any minute, first come, first served."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from praxis.model.errors import PraxisError

WINDOW = 60.0
"""Seconds: what providers count by."""


@attrs.define(eq=False)
class Turn:
    """When a request may be sent, by Trio's clock, and the tokens that it counts for."""

    at: float
    tokens: int


class RateLimits:
    """Gives out turns so that no 60 s have more than the limits; 0 is no limit.

    A turn is fixed when it is asked for, so whoever would wait longer than it can is told at once, and nobody passes
    those who came before.
    """

    def __init__(self, requests_per_minute: int, tokens_per_minute: int) -> None:
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        # Those of the last minute and those that wait: bounded by the limits and by the runs that there are.
        self._turns: deque[Turn] = deque()

    async def wait(self, tokens: int) -> Turn:
        """Until it is our turn to send about `tokens` tokens. Who is cancelled while waiting takes none.

        Raises PraxisError: "busy" when that would be after the deadline of the caller's cancel scopes, "too_large" for
        more tokens than a minute has.
        """
        if 0 < self._tokens < tokens:
            raise PraxisError(
                "too_large",
                f"the request may take {tokens} tokens, and llm.rate_limiting.tokens_per_minute is {self._tokens}",
                hint="raise that, or lower llm.max_tokens",
            )
        now = trio.current_time()
        while self._turns and self._turns[0].at <= now - WINDOW:
            self._turns.popleft()
        turn = Turn(self._earliest(tokens, now), tokens)
        if turn.at > trio.current_effective_deadline():
            raise PraxisError(
                "busy",
                f"the limits on requests to the model leave room in {turn.at - now:.0f} s",
                hint="try again then, or raise llm.rate_limiting",
            )
        self._turns.append(turn)
        try:
            await trio.sleep_until(turn.at)
        except trio.Cancelled:
            self._turns.remove(turn)
            raise
        return turn

    def settle(self, turn: Turn, tokens: int) -> None:
        """The request of a turn has really taken so many."""
        turn.tokens = tokens

    def _earliest(self, tokens: int, now: float) -> float:
        """When there is room, not before anybody else's turn."""
        at = max(now, self._turns[-1].at) if self._turns else now
        inside = [turn for turn in self._turns if turn.at > at - WINDOW]
        total = tokens + sum(turn.tokens for turn in inside)
        for index, turn in enumerate(inside):
            full = 0 < self._requests <= len(inside) - index
            if not full and not 0 < self._tokens < total:
                break
            at = max(at, turn.at + WINDOW)  # by then it is out of the window
            total -= turn.tokens
        return at
