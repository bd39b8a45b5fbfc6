"""Telling peers how busy we are, and hearing it of them.

A peer is told when the rounded figures have changed, and again now and then while they are not those of an idle agent.
Each is told of the calls of others: its own it knows better. Only a peer whose HELLO has the feature is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import trio

from praxis.model.load import IDLE, Load
from praxis.observe.load import LoadMeter, smoothed
from praxis.observe.metrics import Metrics
from praxis.peers.link import PeerLink
from praxis.peers.load import FEATURE, Word, decode, encode, rounded
from praxis.peers.registry import PeerRegistry

CALL = "tool.call"
"""The method by which a peer's calls come; what else it asks, or subscribes to, is no load of that kind."""
LOOK = 1.0
"""Seconds between two looks at what could be told: some microseconds for each line."""
EVERY = 5.0
"""Seconds at least between two words to one peer: 256 of them cost a busy agent some 50 small messages a second."""
RENEW = 10.0
"""Seconds after which a word that still holds is said again."""


@attrs.define
class _Line:
    """What was told over one line, and the mean of what could have been."""

    calls: float = 0.0
    waiting: float = 0.0
    told: Load = IDLE
    told_at: float = -math.inf


class LoadNews:
    """Tells peers of our load, and takes in what they say of theirs: it is kept at the line as `PeerLink.told`."""

    def __init__(self, registry: PeerRegistry, metrics: Metrics) -> None:
        self._registry = registry
        self._lines: dict[PeerLink, _Line] = {}
        self._messages = metrics.counter(
            "praxis_p2p_load_messages_total", "Words about load: told, heard, and heard but absurd.", ("what",)
        )

    def hear(self, link: PeerLink, value: Any) -> None:
        """A peer said something that belongs to no request. What is not about load is of a later version."""
        if not isinstance(value, dict) or value.get("m") != FEATURE:
            self._messages.inc(1, "unknown")
            return
        try:
            link.told = Word(decode(value.get("p")), trio.current_time())
            self._messages.inc(1, "heard")
        except ValueError:
            self._messages.inc(1, "absurd")

    async def run(self, meter: LoadMeter, calls: Callable[[], tuple[int, int]]) -> None:
        """Tell, until cancelled. `calls` says how many are under way here, and how many of them wait."""
        while True:
            await trio.sleep(LOOK)
            running, waiting = calls()
            now, lines = trio.current_time(), self._lines
            self._lines = {}
            for link in self._registry.links():
                if FEATURE in link.hello.features:
                    line = self._lines[link] = lines.get(link) or _Line()
                    others = max(0, running - link.serves(CALL))
                    line.calls = smoothed(line.calls, others, LOOK)
                    line.waiting = smoothed(line.waiting, waiting * others / running if running else 0.0, LOOK)
                    self._tell(link, line, rounded(Load(line.calls, line.waiting, meter.lag, meter.cpu)), now)

    def _tell(self, link: PeerLink, line: _Line, load: Load, now: float) -> None:
        if load == line.told == IDLE:
            return
        if now - line.told_at >= (EVERY if load != line.told else RENEW):
            line.told, line.told_at = load, now
            link.notify(encode(load))
            self._messages.inc(1, "told")
