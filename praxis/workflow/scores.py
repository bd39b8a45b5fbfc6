"""How well each of several candidates would serve a step, and in which order to ask them.

Pure: what is known of each goes in as plain values, time and chance with it. Four factors from 0 to 1, the higher the
better, and their weighted mean:

- availability: calls there succeeded lately.
- specialization: tags of the agent that the tool's name or description mentions; half for the first, and so on.
- load: calls of ours under way there and the time one takes, beside the least loaded candidate.
- locality: this agent, its host, its segment, elsewhere; and the time of a round trip.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from praxis.config.schema import Weights

SLACK = 8
"""Calls in flight that double the load of an idle agent: with one or two it is not busy beside one that has none."""
FLOOR = 0.005
"""Seconds added to every response time: below it a difference is the network's and the event loop's noise."""
TOLERANCE = 2.0
"""An owner is slow when it takes more than so many times as long as the fastest."""
PLACES = {"agent": 1.0, "host": 0.75, "segment": 0.6, "elsewhere": 0.5}
"""What locality is before the round trip. A tool of this agent keeps its calls until some three are in flight."""
HALF_RTT = 0.1
"""Seconds of a round trip that halve locality."""
SAME = 0.02
"""Scores without load that differ by less are alike: less than any step between two places, more than noise."""
MAX_TEXT = 4000
"""Characters of a description that are looked through: definitions come from strangers."""

Place = Literal["agent", "host", "segment", "elsewhere"]
State = Literal["ready", "due", "open", "gone"]
"""`open`: the breaker keeps calls away; `due`: one call may try again; `gone`: there is no line."""
_TURN = {"ready": 0, "due": 1, "open": 1, "gone": 2}
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Measure(NamedTuple):
    """What is known of one candidate now. Times in seconds."""

    state: State = "ready"
    trouble: float = 0.0
    """The share of calls that failed lately, 0 to 1."""
    in_flight: int = 0
    """Calls under way on the agent, of whatever tool; those that wait for their turn are among them."""
    seconds: float | None = None
    """What a call takes, as measured; None before the first."""
    expected: float = 0.0
    """What the next one may take: the measured time, which fades, or the age of a call that is still out."""
    tags: tuple[str, ...] = ()
    """Tags of the agent that the step needs."""
    place: Place = "agent"
    rtt: float | None = None


class Scores(NamedTuple):
    """Each factor, 0 to 1; `total` is their weighted mean, `fit` what all but load add to it."""

    total: float
    fit: float
    availability: float
    specialization: float
    load: float
    locality: float


class Order(NamedTuple):
    """Indexes of the candidates, the one to ask first in front, and why that one."""

    indexes: list[int]
    reason: str


def score(measures: Sequence[Measure], weights: Weights) -> list[Scores]:
    """Scores of candidates for one step, in the order of the measures."""
    usable = [m for m in measures if m.state == "ready"] or measures
    fastest = min((m.seconds for m in usable if m.seconds is not None), default=0.0) + FLOOR
    least = min((_cost(m, fastest) for m in usable), default=1.0)
    whole = weights.availability + weights.specialization + weights.load + weights.locality or 1.0
    scores = []
    for measure in measures:
        availability = 1.0 - measure.trouble if measure.state in ("ready", "due") else 0.0
        specialization = 1.0 - 0.5 ** len(measure.tags)
        load = min(1.0, least / _cost(measure, fastest))
        locality = PLACES[measure.place] / (1.0 + (measure.rtt or 0.0) / HALF_RTT)
        fit = (
            weights.availability * availability + weights.specialization * specialization + weights.locality * locality
        ) / whole
        scores.append(Scores(fit + weights.load * load / whole, fit, availability, specialization, load, locality))
    return scores


def _cost(measure: Measure, fastest: float) -> float:
    slowness = (measure.expected + FLOOR) / (TOLERANCE * fastest)
    return (SLACK + measure.in_flight) * (slowness if slowness > 1.0 else 1.0)


def order(measures: Sequence[Measure], scores: Sequence[Scores], weights: Weights, draw: Callable[[], float]) -> Order:
    """Whom to ask first, and who takes over.

    Of those that fit alike two are drawn and the less loaded one is taken: when many callers see the same figures, they
    do not all run to the same owner. Who fits less well comes first when its score is the better for its idleness.
    `draw` gives a number from 0 to 1, without 1.
    """
    indexes = sorted(range(len(scores)), key=lambda i: (_TURN[measures[i].state], -scores[i].total))
    ready = [i for i in indexes if measures[i].state == "ready"]
    due = next((i for i in indexes if measures[i].state == "due"), None)
    if due is not None:
        first, reason = due, "tried again after failures"
    elif not ready:
        first = indexes[0]
        reason = "nobody is known to work" if len(indexes) > 1 else "the only one"
    else:
        first, reason = ready[0], f"the best score of {len(indexes)}" if len(indexes) > 1 else "the only one"
        best = max(scores[i].fit for i in ready)
        alike = [i for i in ready if best - scores[i].fit < SAME]
        if len(alike) > 1:
            drawn = _less_loaded(alike, scores, weights, draw)
            rival = max((i for i in ready if i not in alike), key=lambda i: scores[i].total, default=drawn)
            if scores[rival].total <= scores[drawn].total:
                first, reason = drawn, f"the less loaded of two out of {len(alike)} alike"
            else:
                first = rival
    indexes.remove(first)
    return Order([first, *indexes], reason)


def _less_loaded(alike: Sequence[int], scores: Sequence[Scores], weights: Weights, draw: Callable[[], float]) -> int:
    """The better of two that are drawn; the first of them when their load is the same or does not count."""
    one, other = int(draw() * len(alike)), int(draw() * (len(alike) - 1))
    one, other = alike[one], alike[other + (other >= one)]
    return other if weights.load and scores[other].load > scores[one].load else one


def needs(texts: Iterable[str]) -> frozenset[str]:
    """The words of a tool's name and descriptions, in small letters; ``readFile`` and ``read_file`` have two."""
    words = (_WORD.findall(_CAMEL.sub(" ", text[:MAX_TEXT]).lower()) for text in set(texts))
    return frozenset(word for found in words for word in found)


def mentioned(tags: Sequence[str], needed: frozenset[str]) -> tuple[str, ...]:
    """The tags all of whose words are needed."""
    return tuple(tag for tag in tags if (words := needs([tag])) and words <= needed)


def place_of(theirs: str, ours: str) -> Place:
    """Where a peer is, by the addresses (``HOST:PORT``) of both ends of the line; the nearest that they prove.

    Networks of 256 IPv4 addresses, or an IPv6 /64, count as one segment.
    """
    one, other = _address(theirs), _address(ours)
    if one is not None and (one.is_loopback or one == other):
        return "host"
    if one is None or other is None or one.version != other.version:
        return "elsewhere"
    shift = 8 if one.version == 4 else 64
    return "segment" if int(one) >> shift == int(other) >> shift else "elsewhere"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_WHERE = {"agent": "this agent", "host": "this host", "segment": "this segment", "elsewhere": "elsewhere"}
_STATES = {"ready": "", "due": "due to be tried again", "open": "asked last after failures", "gone": "no line to it"}


def describe(measure: Measure) -> str:
    """What made the scores, for people."""
    parts = [_STATES[measure.state]] if measure.state != "ready" else []
    if measure.trouble >= 0.01:
        parts.append(f"{measure.trouble:.0%} failed lately")
    parts.append(f"{measure.in_flight} in flight" if measure.in_flight else "idle")
    if measure.seconds is not None:
        parts.append(f"{_duration(measure.seconds)} a call")
    if measure.expected > 2 * (measure.seconds or 0.0) + FLOOR:
        parts.append(f"one is out for {_duration(measure.expected)}")
    where = _WHERE[measure.place]
    parts.append(where if measure.rtt is None else f"{where}, {_duration(measure.rtt)} away")
    if measure.tags:
        parts.append(f"tags {', '.join(measure.tags)}")
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    """Three figures at most, and no powers of ten."""
    if seconds < 0.9995:
        return f"{round(seconds * 1000, 2):.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"
