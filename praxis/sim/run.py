"""Runs a simulation so that the same seed gives the same run."""

from __future__ import annotations

import gc
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio.testing

from praxis.sim.network import SimNetwork

T = TypeVar("T")
TICK = 0.001
"""Seconds from one moment to the next. What falls between two moments happens at the later one, as with the timers of
real machines; in a network of a thousand agents something happens at each."""
GARBAGE = (100_000, 50, 100)
"""Thresholds of the garbage collector: by default it looks at the millions of objects of a large network so often that
this takes as long as all else."""
_DETERMINISTIC = "_ALLOW_DETERMINISTIC_SCHEDULING"


def simulate(
    main: Callable[[SimNetwork], Awaitable[T]],
    seed: int,
    *,
    latency: float = 0.02,
    jitter: float = 0.0,
    loss: float = 0.0,
) -> T:
    """Run ``main(network)`` under a clock that jumps to whatever happens next, and return what it returns.

    Trio runs tasks that are ready at the same time in a random order, for good reasons; here that order comes from the
    seed too. Trio has no public way to say so, but the private one has been kept for testing libraries for years.
    """
    clock = trio.testing.MockClock()
    network = SimNetwork(seed, latency=latency, jitter=jitter, loss=loss)

    async def run() -> T:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_time, clock, network)
            result = await main(network)
            nursery.cancel_scope.cancel()
        return result

    before = gc.get_threshold()
    gc.set_threshold(*GARBAGE)
    setattr(trio._core._run, _DETERMINISTIC, True)
    trio._core._run._r.seed(seed)
    try:
        return trio.run(run, clock=clock)
    finally:
        setattr(trio._core._run, _DETERMINISTIC, False)
        gc.set_threshold(*before)


async def _pass_time(clock: trio.testing.MockClock, network: SimNetwork) -> None:
    """Whenever all tasks wait for something, go on to the next moment at which a task or the network has to do."""
    while True:
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        pause = min(trio.lowlevel.current_statistics().seconds_to_next_deadline, network.next_at - now)
        if pause == math.inf:
            raise RuntimeError("every task of the simulation waits, and nothing is going to happen")
        moment = math.ceil((now + pause) / TICK) * TICK
        clock.jump(max(moment - now, pause, 0.0))
        network.happen(trio.current_time())
