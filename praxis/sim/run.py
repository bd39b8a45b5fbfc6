"""Runs a simulation so that the same seed gives the same run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio.testing

T = TypeVar("T")
_DETERMINISTIC = "_ALLOW_DETERMINISTIC_SCHEDULING"


def simulate(main: Callable[[int], Awaitable[T]], seed: int) -> T:
    """Run ``main(seed)`` under a clock that jumps to whatever happens next.

    Trio runs tasks that are ready at the same time in a random order, for good reasons; here that order comes from the
    seed too. Trio has no public way to say so, but the private one has been kept for testing libraries for years.
    """
    setattr(trio._core._run, _DETERMINISTIC, True)
    trio._core._run._r.seed(seed)
    try:
        return trio.run(main, seed, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        setattr(trio._core._run, _DETERMINISTIC, False)
