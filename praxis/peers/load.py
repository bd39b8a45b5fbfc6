"""What an agent says of its load: the EVENT ``load`` on stream 0 of a line, with calls, waiting, lag and cpu.

`lag` is in ms, `cpu` in percent, all are whole numbers and rounded to a few steps. A word that is not renewed fades.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from praxis.model.load import IDLE, Load

FEATURE = "load"
"""The event's name, and in HELLO: whoever has it takes these events; others would end the line."""
HELD = 15.0
"""Seconds for which a word is believed: one renewal that comes late, as those of a busy agent do, is no matter."""
FADES = 5.0
"""Seconds in which a word that was not renewed is halved, again and again."""
FORGOTTEN = 60.0
"""Seconds after which nothing of it is left."""
MIN_LAG = 0.010
"""Seconds of lag that are none: the scheduling of a machine that has other things to do as well."""
MIN_CPU = 0.5
"""The share of busy cores that is none: the others are free."""
MOST = {"calls": 1_000_000, "waiting": 1_000_000, "lag": 3_600_000, "cpu": 100}
"""What a peer may say; more is absurd."""


@attrs.frozen
class Word:
    """What a peer said, and Trio's time of when."""

    load: Load
    at: float

    def now(self, time: float) -> Load:
        """What is left of it."""
        age = time - self.at
        if age <= HELD:
            return self.load
        if age > FORGOTTEN:
            return IDLE
        left, load = 0.5 ** ((age - HELD) / FADES), self.load
        return Load(load.calls * left, load.waiting * left, load.lag * left, load.cpu * left)


def rounded(load: Load) -> Load:
    """In a few steps: two of them double calls, or milliseconds of lag; tenths of the CPU.

    Coarser ones would make callers swing: what is a little more would seem twice as much.
    """
    lag = _step(load.lag * 1000) / 1000 if load.lag >= MIN_LAG else 0.0
    cpu = round(load.cpu, 1) if load.cpu >= MIN_CPU else 0.0
    return Load(_step(load.calls), _step(load.waiting), lag, cpu)


def _step(value: float) -> float:
    return float(round(2.0 ** (round(2 * math.log2(value)) / 2))) if value > 0.7 else 0.0


def encode(load: Load) -> dict[str, Any]:
    """The event's value for a rounded load."""
    numbers = (load.calls, load.waiting, load.lag * 1000, load.cpu * 100)
    return {"m": FEATURE, "p": {key: min(round(n), MOST[key]) for key, n in zip(MOST, numbers, strict=True)}}


def decode(value: Any) -> Load:
    """Raises ValueError for what is not a load; unknown keys are ignored, a missing one is 0."""
    if not isinstance(value, dict):
        raise ValueError("a load is an object")
    numbers = {}
    for key, most in MOST.items():
        number = value.get(key, 0)
        if type(number) is not int or not 0 <= number <= most:
            raise ValueError(f"{key} is not a number from 0 to {most}")
        numbers[key] = number
    return Load(numbers["calls"], numbers["waiting"], numbers["lag"] / 1000, numbers["cpu"] / 100)
