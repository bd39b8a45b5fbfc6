"""How well each of several candidates would serve a step, and in which order to ask them.

Pure: what is known of each goes in as plain values, time and chance with it. Four factors from 0 to 1, the higher the
better, and their weighted mean:

- availability: calls there succeeded lately.
- specialization: tags of the agent that the tool's name or description mentions; half for the first, and so on.
- load: calls under way there and the time one takes, beside the least loaded candidate. What we see of that ourselves
  is of now; what the owner says of itself, the calls of others, the lag of its loop and its CPU, is some seconds old
  and heard by all alike. So where its word alone would turn a choice it does so in a share of the calls, not in all.
- locality: this agent, its host, its segment, elsewhere; and the time of a round trip.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from praxis.config.schema import Weights
from praxis.model.load import IDLE, Load

SLACK = 8
"""Calls in flight that double the load of an idle agent: with one or two it is not busy beside one that has none."""
FLOOR = 0.005
"""Seconds added to every response time: below it a difference is the network's and the event loop's noise."""
CALM = 0.5
"""The share of busy cores up to which a machine counts as idle; with all of them busy a call takes twice as long."""
TOLERANCE = 2.0
"""An owner is slow when it takes more than so many times as long as the fastest."""
PLACES = {"agent": 1.0, "host": 0.75, "segment": 0.6, "elsewhere": 0.5}
"""What locality is before the round trip. A tool of this agent keeps its calls until some three are in flight."""
HALF_RTT = 0.1
"""Seconds of a round trip that halve locality."""
SAME = 0.02
"""Scores without load that differ by less are alike: less than any step between two places, more than noise."""
BY_CHANCE = "by chance: its owner's word of its load is old, and all callers hear it"
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
    told: Load = IDLE
    """What its owner says of its load: the calls of others than us."""


class Scores(NamedTuple):
    """Each factor, 0 to 1; `total` is their weighted mean, `fit` what all but load add to it. `seen` is what load would
    be by what we see ourselves."""

    total: float
    fit: float
    seen: float
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
    usable = [i for i, m in enumerate(measures) if m.state == "ready"] or range(len(measures))
    times = [seconds for i in usable if (seconds := measures[i].seconds) is not None]
    fastest = min(times, default=0.0) + FLOOR
    own, whole = [_seen_cost(measure, fastest) for measure in measures], _sum(weights)
    costs = [cost if m.told is IDLE else _cost(m, fastest) for m, cost in zip(measures, own, strict=True)]
    least, least_own = min((costs[i] for i in usable), default=1.0), min((own[i] for i in usable), default=1.0)
    scores = []
    for measure, cost, own_cost in zip(measures, costs, own, strict=True):
        availability = 1.0 - measure.trouble if measure.state in ("ready", "due") else 0.0
        specialization = 1.0 - 0.5 ** len(measure.tags)
        load, seen = min(1.0, least / cost), min(1.0, least_own / own_cost)
        locality = PLACES[measure.place] / (1.0 + (measure.rtt or 0.0) / HALF_RTT)
        fit = (
            weights.availability * availability + weights.specialization * specialization + weights.locality * locality
        ) / whole
        total = fit + weights.load * load / whole
        scores.append(Scores(total, fit, seen, availability, specialization, load, locality))
    return scores


def _sum(weights: Weights) -> float:
    return weights.availability + weights.specialization + weights.load + weights.locality or 1.0


def _seen_cost(measure: Measure, fastest: float) -> float:
    return (SLACK + measure.in_flight) * _slowness(measure.expected, fastest)


def _cost(measure: Measure, fastest: float) -> float:
    """With the owner's word: calls that wait count twice, no call is quicker than the loop is late."""
    told = measure.told
    calls = SLACK + measure.in_flight + told.calls + told.waiting
    busy = 1.0 + max(0.0, told.cpu - CALM) / (1.0 - CALM)
    return calls * _slowness(max(measure.expected, told.lag), fastest) * busy


def _slowness(seconds: float, fastest: float) -> float:
    return max(1.0, (seconds + FLOOR) / (TOLERANCE * fastest))


def order(measures: Sequence[Measure], scores: Sequence[Scores], weights: Weights, draw: Callable[[], float]) -> Order:
    """Whom to ask first, and who takes over.

    Of those that fit alike two are drawn and the less loaded one is taken: when many callers see the same figures, they
    do not all run to the same owner. Who fits less well comes first when its score is the better for its idleness.
    Where an owner's word alone says so, that holds for a share of the calls.
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
            first, reason = _less_loaded(alike, scores, weights, draw)
        else:
            first = alike[0]
        others = [i for i in ready if i not in alike]
        if others:
            part = weights.load / _sum(weights)
            totals = [each.total for each in scores]
            seen = [each.total - part * (each.load - each.seen) for each in scores]
            drawn, rival = first, max(others, key=lambda i: totals[i])
            first = _better(drawn, rival, totals, seen, scores, draw)
            if totals[first] < max(totals[drawn], totals[rival]):
                reason = BY_CHANCE
            elif first == rival:
                reason = f"the best score of {len(indexes)}"
    indexes.remove(first)
    return Order([first, *indexes], reason)


def _less_loaded(
    alike: Sequence[int], scores: Sequence[Scores], weights: Weights, draw: Callable[[], float]
) -> tuple[int, str]:
    """The better of two that are drawn, and why; the first of them when their load is the same or does not count."""
    one, other = int(draw() * len(alike)), int(draw() * (len(alike) - 1))
    one, other = alike[one], alike[other + (other >= one)]
    reason = f"the less loaded of two out of {len(alike)} alike"
    if not weights.load:
        return one, reason
    loads = [each.load for each in scores]
    first = _better(one, other, loads, [each.seen for each in scores], scores, draw)
    return first, BY_CHANCE if loads[first] < max(loads[one], loads[other]) else reason


def _better(
    one: int,
    other: int,
    worth: Sequence[float],
    seen: Sequence[float],
    scores: Sequence[Scores],
    draw: Callable[[], float],
) -> int:
    """Which of two is worth more; `seen` is what they are worth by what we see ourselves.

    Where the owners' words turn that, they do so with a chance. Of calls of which nothing else is known each owner then
    gets a share that goes as one over the root of its burden. So many callers that hear the same old words spread, and
    the next words even out what was uneven; without the root they would swing to and fro, and always the less burdened
    one would be the next to be run down.
    """
    by_word = other if worth[other] > worth[one] else one
    by_sight = other if seen[other] > seen[one] else one
    if by_word == by_sight:
        return by_word
    root = math.sqrt(_burden(scores[by_word]) / _burden(scores[by_sight]))
    return by_word if draw() < (1.0 - root) / (1.0 + root) else by_sight


def _burden(scores: Scores) -> float:
    """What its owner's word makes of a candidate: so many times as loaded, up to a factor that all have in common."""
    return scores.seen / scores.load


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
    busy = _describe_told(measure.told)
    if measure.in_flight or not busy:
        parts.append(f"{measure.in_flight} in flight" if measure.in_flight else "idle")
    parts += busy
    if measure.seconds is not None:
        parts.append(f"{_duration(measure.seconds)} a call")
    if measure.expected > 2 * (measure.seconds or 0.0) + FLOOR:
        parts.append(f"one is out for {_duration(measure.expected)}")
    where = _WHERE[measure.place]
    parts.append(where if measure.rtt is None else f"{where}, {_duration(measure.rtt)} away")
    if measure.tags:
        parts.append(f"tags {', '.join(measure.tags)}")
    return "; ".join(parts)


def _describe_told(told: Load) -> list[str]:
    """What the owner says, in one part or none."""
    parts = []
    if (calls := round(told.calls)) >= 1:
        wait = f", {waiting} of them wait" if (waiting := round(told.waiting)) else ""
        parts.append(f"busy with {calls} {'call' if calls == 1 else 'calls'} of others{wait}")
    if told.lag >= 0.001:
        parts.append(f"loop {told.lag * 1000:.0f} ms late")
    if told.cpu > CALM:
        parts.append(f"CPU {told.cpu:.0%}")
    return [", ".join(parts)] if parts else []


def _duration(seconds: float) -> str:
    """Three figures at most, and no powers of ten."""
    if seconds < 0.9995:
        return f"{round(seconds * 1000, 2):.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"
