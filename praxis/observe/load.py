"""How late this agent's event loop is, and how busy its machine.

The lag is how late a task wakes that slept for a fixed time: looked at at moments that have nothing to do with the
work, it is what a call that comes now waits on average before its turn.

The CPU is that of the whole machine, from the first line of /proc/stat: tools do their work in processes of their own,
which the agent's own accounting leaves out, and other programs take cores as well. The load average would count all of
this too, but it is a minute late. Where there is no /proc/stat it is what this process takes of all cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import trio

from praxis.observe.metrics import Metrics

EVERY = 0.25
"""Seconds between two looks at the loop: a stall of a second is seen, and a wake-up costs a few ten microseconds."""
CPU_EVERY = 2.0
"""Seconds between two looks at the CPU: on a machine with very many cores the kernel takes a millisecond to count."""
HALF = 1.0
"""Seconds in which what was measured before counts half: a spike is soon forgotten, work that lasts soon counts."""
STAT = "/proc/stat"


def cpu_times(stat: str = STAT) -> tuple[float, float]:
    """How long cores were busy, and how long there were cores; both only grow, in a unit of their own."""
    try:
        with open(stat, "rb", buffering=0) as file:
            user, nice, system, idle, waiting, *rest = map(int, file.read(256).split(b"\n", 1)[0].split()[1:9])
    except (OSError, ValueError):
        return time.process_time(), time.monotonic() * (os.cpu_count() or 1)
    busy = user + nice + system + sum(rest)
    return float(busy), float(busy + idle + waiting)


def smoothed(before: float, value: float, seconds: float) -> float:
    """A mean in which a value that held for so long replaces older ones, half of them in `HALF` seconds."""
    left: float = 0.5 ** (seconds / HALF)
    return value + (before - value) * left


class LoadMeter:
    """Measures while `run` runs.

    Attributes:
        lag: seconds by which the event loop was late of late.
        cpu: the share of all cores that was busy of late, 0 to 1.
        clock, cpu_times: where that comes from; others in tests.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.lag = self.cpu = 0.0
        self.clock: Callable[[], float] = trio.current_time
        self.cpu_times: Callable[[], tuple[float, float]] = cpu_times
        metrics.gauge("praxis_loop_lag_seconds", "By which the event loop is late.", lambda: self.lag)
        metrics.gauge("praxis_cpu_share", "Share of the machine's cores that is busy.", lambda: self.cpu)

    async def run(self) -> None:
        """Measure until cancelled."""
        looked_at, (busy, all) = self.clock(), self.cpu_times()
        while True:
            due = self.clock() + EVERY
            await trio.sleep(EVERY)
            now = self.clock()
            late = max(0.0, now - due)
            self.lag = smoothed(self.lag, late, EVERY + late)
            if now - looked_at >= CPU_EVERY:
                busy_before, all_before, (busy, all) = busy, all, self.cpu_times()
                if all > all_before:
                    share = min(1.0, max(0.0, (busy - busy_before) / (all - all_before)))
                    self.cpu = smoothed(self.cpu, share, now - looked_at)
                looked_at = now
