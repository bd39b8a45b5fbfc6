"""One measurement: callers that call, one call after the other, for some seconds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import trio

Call = Callable[[], Awaitable[None]]


async def measure(seconds: float, calls: Sequence[Call], cpu: Callable[[], float]) -> tuple[float, float, float]:
    """Calls per second, CPU microseconds per call by `cpu`'s account, and the 99th percentile over the median."""
    times: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds

    async def caller(call: Call) -> None:
        began = clock()
        while began < end:
            await call()
            now = clock()
            times.append(now - began)
            began = now

    spent, began = -cpu(), clock()
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(caller, call)
    took = clock() - began
    spent += cpu()
    ordered = sorted(times)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return len(times) / took, spent / len(times) * 1e6, p99 / p50
