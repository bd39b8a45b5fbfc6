"""How calls went of late: in flight, response time, failures, and a breaker per peer and tool.

Time comes in as an argument, in seconds of a clock that only grows.
"""

from __future__ import annotations

from typing import Literal

import attrs

from praxis.config.schema import Breaker
from praxis.model.peer import PeerId
from praxis.workflow.scores import Measure, State

MAX_RECORDS = 4096
"""Tools of peers that are remembered, some 2 MiB; the one that was called first is forgotten first."""
MAX_PAUSE = 60.0
"""Seconds at most between two tries of a tool that fails."""
SHARE = 0.2
"""What the last call counts in the response time: a tenfold change shows in the first call, noise fades in a few."""
FORGIVEN = 5.0
"""Seconds without a call after which an owner is taken for twice as fast as it was: it must be asked to be known."""
BLAME = 0.3
"""What one failure, or one success, moves the share of recent failures."""
HEALED = 10.0
"""Seconds in which that share falls to half by itself."""

Key = tuple[PeerId | None, str, str]
"""Who (None for this agent), source and name of a tool."""
Outcome = Literal["succeeded", "unsuccessful", "failed", "refused", "cancelled"]
"""`unsuccessful`: the tool answers that it failed. `failed`: no answer of the tool. `refused`: the call was wrong."""
Change = Literal["open", "closed"]


@attrs.define(eq=False)
class _Record:
    failures: int = 0
    """In a row."""
    trouble: float = 0.0
    trouble_at: float = 0.0
    seconds: float | None = None
    seconds_at: float = 0.0
    running: dict[Attempt, None] = attrs.field(factory=dict)
    """Calls under way, the oldest first."""
    open_until: float | None = None
    pause: float = 0.0
    probe: Attempt | None = None

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "ready"
        return "open" if now < self.open_until or self.probe is not None else "due"

    def trouble_now(self, now: float) -> float:
        return self.trouble and self.trouble * 0.5 ** ((now - self.trouble_at) / HEALED)


@attrs.define(eq=False)
class Attempt:
    """One call under way."""

    key: Key
    began: float
    record: _Record


class Health:
    """What this agent has seen of each tool that it called."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._records: dict[Key, _Record] = {}
        self._in_flight: dict[PeerId | None, int] = {}

    def __len__(self) -> int:
        return len(self._records)

    def broken(self) -> int:
        """Tools whose breaker is not closed."""
        return sum(record.open_until is not None for record in self._records.values())

    def in_flight(self, peer_id: PeerId | None) -> int:
        """Our calls under way on one agent."""
        return self._in_flight.get(peer_id, 0)

    def measure(self, key: Key, now: float) -> Measure:
        """What is known of a tool; tags and place are for others to say."""
        in_flight = self._in_flight.get(key[0], 0)
        record = self._records.get(key)
        if record is None:
            return Measure(in_flight=in_flight)
        expected = (record.seconds or 0.0) * 0.5 ** ((now - record.seconds_at) / FORGIVEN)
        if record.running:
            expected = max(expected, now - next(iter(record.running)).began)
        return Measure(record.state(now), record.trouble_now(now), in_flight, record.seconds, expected)

    def begin(self, key: Key, now: float) -> Attempt:
        """A call begins. When its tool is due to be tried again, this is the try."""
        record = self._records.get(key)
        if record is None:
            record = self._remember(key)
        attempt = Attempt(key, now, record)
        if record.open_until is not None and record.state(now) == "due":
            record.probe = attempt
        record.running[attempt] = None
        self._in_flight[key[0]] = self._in_flight.get(key[0], 0) + 1
        return attempt

    def end(self, attempt: Attempt, now: float, outcome: Outcome) -> Change | None:
        """The call is over. Returns what became of the breaker, if that has changed."""
        record, peer_id = attempt.record, attempt.key[0]
        del record.running[attempt]
        left = self._in_flight[peer_id] - 1
        if left:
            self._in_flight[peer_id] = left
        else:
            del self._in_flight[peer_id]
        probing = record.probe is attempt
        if probing:
            record.probe = None
        if outcome == "succeeded":
            _take_time(record, now - attempt.began, now)
            return self._answered(record, now, blame=0.0)
        if outcome == "unsuccessful":  # its time says nothing: failing is often quick
            return self._answered(record, now, blame=1.0)
        if outcome == "failed":
            return self._failed(record, now, probing=probing)
        if outcome == "cancelled" and now - attempt.began > (record.seconds or 0.0):
            _take_time(record, now - attempt.began, now)  # it would have taken longer still
        return None

    def _answered(self, record: _Record, now: float, *, blame: float) -> Change | None:
        _take_blame(record, blame, now)
        record.failures = 0
        if record.open_until is None:
            return None
        record.open_until, record.pause = None, 0.0
        return "closed"

    def _failed(self, record: _Record, now: float, *, probing: bool) -> Change | None:
        _take_blame(record, 1.0, now)
        record.failures += 1
        if record.open_until is None:
            if record.failures < self._breaker.failures:
                return None
            record.pause = self._breaker.pause
        elif probing:
            record.pause = min(2 * record.pause, max(MAX_PAUSE, self._breaker.pause))
        else:  # it began before the breaker opened, or nobody else was left
            return None
        record.open_until = now + record.pause
        return "open"

    def _remember(self, key: Key) -> _Record:
        if len(self._records) >= MAX_RECORDS:
            oldest = next((old for old, record in self._records.items() if not record.running), None)
            if oldest is not None:
                del self._records[oldest]
        record = self._records[key] = _Record()
        return record


def _take_time(record: _Record, seconds: float, now: float) -> None:
    known = record.seconds
    record.seconds = seconds if known is None else known + SHARE * (seconds - known)
    record.seconds_at = now


def _take_blame(record: _Record, blame: float, now: float) -> None:
    if blame or record.trouble:
        trouble = record.trouble_now(now)
        record.trouble, record.trouble_at = trouble + BLAME * (blame - trouble), now
