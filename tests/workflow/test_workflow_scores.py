"""Scores and the order that they make, with plain values."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Weights
from praxis.model.load import Load
from praxis.peers.load import rounded
from praxis.workflow.scores import (
    BY_CHANCE,
    CALM,
    FLOOR,
    HALF_RTT,
    SLACK,
    Measure,
    Order,
    Scores,
    describe,
    mentioned,
    needs,
    order,
    place_of,
    score,
)

FACTORS = ("availability", "specialization", "load", "locality")
EVEN = Weights()


def only(factor: str) -> Weights:
    return Weights(**{each: float(each == factor) for each in FACTORS})


def ordered(*measures: Measure, weights: Weights = EVEN, chance: Any = None) -> Order:
    return order(measures, score(measures, weights), weights, chance or (lambda: 0.0))


def scored(*measures: Measure, weights: Weights = EVEN) -> list[Scores]:
    return score(measures, weights)


# -- factors ---------------------------------------------------------------------------------------

BETTER = {
    "availability": (Measure(trouble=0.3), Measure()),
    "specialization": (Measure(), Measure(tags=("gpu",))),
    "load": (Measure(in_flight=3), Measure()),
    "locality": (Measure(place="segment"), Measure(place="host")),
}
BUSY = {
    "calls of others": Load(calls=32),
    "calls that wait": Load(calls=12, waiting=12),
    "lag": Load(lag=0.064),
    "cpu": Load(cpu=1.0),
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("weights", [EVEN, None], ids=["all weights", "its weight alone"])
def test_each_factor_alone_decides(factor: str, weights: Weights | None) -> None:
    worse, better = BETTER[factor]
    weights = weights or only(factor)
    assert ordered(worse, better, weights=weights).indexes == [1, 0]
    assert ordered(better, worse, weights=weights).indexes == [0, 1]


@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_of_no_weight_decides_nothing(factor: str) -> None:
    worse, better = BETTER[factor]
    weights = Weights(**{factor: 0.0})
    chosen = {ordered(worse, better, weights=weights, chance=lambda at=at: at).indexes[0] for at in (0.0, 0.9)}
    assert chosen == {0, 1}, "it is left to chance"
    assert len({each.total for each in scored(worse, better, weights=weights)}) == 1


@pytest.mark.parametrize(
    ("measures", "load"),
    [
        ((Measure(in_flight=SLACK), Measure()), [0.5, 1]),
        ((Measure(in_flight=40), Measure(in_flight=40)), [1, 1]),
        ((Measure(seconds=1, expected=1), Measure(seconds=0.1, expected=0.1)), [0.209, 1]),
        ((Measure(seconds=0.19, expected=0.19), Measure(seconds=0.1, expected=0.1)), [1, 1]),
        ((Measure(seconds=FLOOR, expected=FLOOR), Measure(seconds=0.0001, expected=0.0001)), [1, 1]),
        ((Measure(seconds=1, expected=1), Measure()), [1, 1]),
        ((Measure(seconds=0.1, expected=3), Measure(seconds=0.1, expected=0.1)), [0.07, 1]),
        ((Measure(in_flight=8), Measure(state="open"), Measure()), [0.5, 1, 1]),
    ],
    ids=["calls", "as many", "slow", "hardly slower", "both quick", "unmeasured", "one is stuck", "open"],
)
def test_load_is_measured_against_the_least_loaded(measures: tuple[Measure, ...], load: list[float]) -> None:
    assert [each.load for each in scored(*measures)] == pytest.approx(load, abs=0.002)


@pytest.mark.parametrize(
    ("told", "load"),
    [
        (Load(8), 0.5),
        (Load(8, 8), 1 / 3),
        (Load(lag=FLOOR), 1),
        (Load(lag=5 * FLOOR), 1 / 3),
        (Load(cpu=CALM), 1),
        (Load(cpu=0.75), 2 / 3),
        (Load(cpu=1.0), 0.5),
        (Load(8, 0, 5 * FLOOR, 1.0), 1 / 12),
    ],
)
def test_what_an_owner_says_of_itself_is_part_of_its_load(told: Load, load: float) -> None:
    busy, idle = scored(Measure(told=told), Measure())
    assert (busy.load, idle.load) == pytest.approx((load, 1))
    assert busy.seen == idle.seen == 1


def test_a_loop_that_is_late_is_no_matter_to_calls_that_take_much_longer() -> None:
    slow = Measure(seconds=1.0, expected=1.0)
    assert [each.load for each in scored(slow._replace(told=Load(lag=0.2)), slow)] == [1, 1]


@pytest.mark.parametrize("told", BUSY.values(), ids=BUSY)
@pytest.mark.parametrize("busy", [0, 1])
def test_an_owner_that_says_it_is_busy_gets_less_but_not_nothing(told: Load, busy: int) -> None:
    measures = [Measure(place="host", told=told if i == busy else Load()) for i in range(2)]
    chance = Random(7).random
    for weights in (EVEN, only("load")):
        found = [ordered(*measures, weights=weights, chance=chance) for _ in range(2000)]
        share = sum(each.indexes[0] == busy for each in found) / 2000
        burden = 1 / scored(*measures)[busy].load
        assert share == pytest.approx(burden**-0.5 / (1 + burden**-0.5), abs=0.04)
        assert share < 0.45
        assert {each.reason for each in found} == {"the less loaded of two out of 2 alike", BY_CHANCE}
    unheeded = Counter(ordered(*measures, weights=Weights(load=0.0), chance=chance).indexes[0] for _ in range(2000))
    assert unheeded[busy] / 2000 == pytest.approx(0.5, abs=0.04)


def test_what_we_see_ourselves_decides_where_the_owners_say_the_same() -> None:
    ours, told = Measure(in_flight=3, told=Load(16)), Measure(told=Load(16))
    chance = Random(7).random
    assert {ordered(ours, told, chance=chance).indexes[0] for _ in range(100)} == {1}
    assert {ordered(ours._replace(told=Load(32)), told, chance=chance).indexes[0] for _ in range(100)} == {1}


def test_a_word_draws_calls_to_one_that_fits_less_well_but_not_all_of_them() -> None:
    near, far = Measure(place="host", told=Load(100)), Measure(place="elsewhere")
    chance = Random(7).random
    found = Counter((each.indexes[0], each.reason) for each in (ordered(near, far, chance=chance) for _ in range(1000)))
    assert set(found) == {(1, "the best score of 2"), (0, BY_CHANCE)}
    assert 0.3 < found[0, BY_CHANCE] / 1000 < 0.5
    assert ordered(near._replace(told=Load(2)), far).indexes[0] == 0, "a little load is no matter"


@pytest.mark.parametrize(("owners", "callers"), [(2, 16), (2, 64), (2, 400), (3, 64), (3, 300), (8, 400)])
@pytest.mark.parametrize("seed", range(5))
def test_many_callers_that_hear_the_same_old_words_are_no_herd(owners: int, callers: int, seed: int) -> None:
    """In each round all callers choose by what the owners said after the round before; the first words are the worst:
    all calls are with one owner."""
    draw = Random(seed).random
    words = [rounded(Load(float(callers) if i == 0 else 0.0)) for i in range(owners)]
    even = callers / owners
    noise = 4 * math.sqrt(even)
    rounds = []
    for _ in range(30):
        measures = [Measure(place="host", told=word) for word in words]
        chosen = Counter(ordered(*measures, chance=draw).indexes[0] for _ in range(callers))
        rounds.append([chosen[i] for i in range(owners)])
        words = [rounded(Load(float(count))) for count in rounds[-1]]
    first, later = rounds[0], rounds[4:]
    assert first[0] < even, "the busy one is spared"
    assert max(first) < callers, "and nobody else is run down"
    assert all(abs(count - even) < 0.2 * even + noise for counts in later for count in counts), later
    assert all(abs(sum(counts) / len(later) - even) < 0.15 * even for counts in zip(*later, strict=True)), later


def test_a_round_trip_makes_a_place_farther_and_no_place_comes_before_this_agent() -> None:
    rtts = (None, 0.0002, 0.01, HALF_RTT, 1.0)
    localities = [scored(Measure(place="host", rtt=rtt))[0].locality for rtt in rtts]
    assert localities == sorted(localities, reverse=True)
    assert localities[3] == localities[0] / 2
    assert scored(Measure())[0].locality == 1 > localities[0]


MEASURES = st.builds(
    Measure,
    state=st.sampled_from(["ready", "due", "open", "gone"]),
    trouble=st.floats(0, 1),
    in_flight=st.integers(0, 10**6),
    seconds=st.none() | st.floats(0, 1e6),
    expected=st.floats(0, 1e6),
    tags=st.lists(st.text(), max_size=64).map(tuple),
    place=st.sampled_from(["agent", "host", "segment", "elsewhere"]),
    rtt=st.none() | st.floats(0, 1e4),
    told=st.builds(Load, *[st.floats(0, 1e6)] * 3, st.floats(0, 1)),
)
WEIGHTS = st.builds(Weights, **{factor: st.floats(0, 1000) for factor in FACTORS})


@given(st.lists(MEASURES, min_size=1, max_size=8), WEIGHTS, st.floats(0, 1, exclude_max=True))
def test_every_score_is_between_0_and_1_and_everybody_stands_in_the_order_once(
    measures: list[Measure], weights: Weights, chance: float
) -> None:
    scores = score(measures, weights)
    assert all(-1e-9 <= number <= 1 + 1e-9 for each in scores for number in each)
    found = order(measures, scores, weights, lambda: chance)
    assert sorted(found.indexes) == list(range(len(measures)))
    assert found.reason and all(describe(measure) for measure in measures)


# -- the order -------------------------------------------------------------------------------------


def test_what_is_broken_or_gone_comes_last_however_good_it_is() -> None:
    poor = Measure(trouble=0.9, in_flight=100, place="elsewhere", rtt=1.0)
    gone, broken = Measure("gone", tags=("a",)), Measure("open", tags=("a", "b"))
    assert ordered(gone, broken, poor).indexes == [2, 1, 0]
    assert ordered(gone, broken).indexes == [1, 0]
    assert ordered(broken).reason == "the only one"


def test_what_is_due_gets_one_call() -> None:
    found = ordered(Measure(), Measure("due", trouble=0.9), Measure("due", trouble=0.8))
    assert (found.indexes[0], found.reason) == (2, "tried again after failures")
    assert found.indexes[1] == 0, "the one that works takes over"


def test_equal_owners_share_by_chance() -> None:
    chance = Random(7).random
    firsts = Counter(ordered(*[Measure(place="host")] * 5, chance=chance).indexes[0] for _ in range(5000))
    assert set(firsts) == set(range(5))
    assert all(abs(count - 1000) < 150 for count in firsts.values())


def test_of_two_that_are_drawn_the_less_loaded_one_is_taken() -> None:
    """So the most loaded one gets nothing, and yet not all run to the least loaded one."""
    measures = [Measure(place="host", in_flight=n) for n in (0, 2, 4, 6)]
    chance = Random(7).random
    firsts = Counter(ordered(*measures, chance=chance).indexes[0] for _ in range(6000))
    assert [round(firsts[i] / 1000) for i in range(4)] == [3, 2, 1, 0]


def test_who_fits_less_well_helps_when_the_others_are_overloaded() -> None:
    busy, idle = Measure(place="host", in_flight=40), Measure(place="elsewhere")
    assert ordered(busy, busy, idle).indexes[0] == 2
    assert ordered(busy, busy, idle).reason == "the best score of 3"
    calm = busy._replace(in_flight=2)
    assert ordered(calm, calm, idle).indexes[-1] == 2
    assert ordered(calm, calm, idle).reason == "the less loaded of two out of 2 alike"


# -- what a step needs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "tags", "found"),
    [
        (["render_frame", "Renders on a GPU."], ["gpu", "frame", "cpu"], ("gpu", "frame")),
        (["renderFrame"], ["Frame"], ("Frame",)),
        (["edit", "image editing"], ["image-editing", "image sound", "IMAGE"], ("image-editing", "IMAGE")),
        (["programs"], ["gram", "", "-"], ()),
        (["übersetzen"], ["Übersetzen"], ("Übersetzen",)),
        (["x" * 5000 + " gpu"], ["gpu"], ()),
    ],
)
def test_a_tag_counts_when_all_its_words_are_mentioned(texts: list[str], tags: list[str], found: Any) -> None:
    assert mentioned(tags, needs(texts)) == found


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours", "place"),
    [
        ("127.0.0.1:4001", "127.0.0.1:50000", "host"),
        ("[::1]:4001", "", "host"),
        ("10.0.0.5:4001", "10.0.0.5:50000", "host"),
        ("10.0.0.5:4001", "10.0.0.9:50000", "segment"),
        ("[::ffff:10.0.0.5]:4001", "10.0.0.9:50000", "segment"),
        ("10.0.1.5:4001", "10.0.0.9:50000", "elsewhere"),
        ("[fe80::1%eth0]:4001", "[fe80::2%eth1]:50000", "segment"),
        ("[2001:db8::1]:4001", "[2001:db8::ffff:2]:50000", "segment"),
        ("[2001:db8::1]:4001", "[2001:db8:0:1::1]:50000", "elsewhere"),
        ("10.0.0.5:4001", "[fe80::2]:50000", "elsewhere"),
        ("10.0.0.5:4001", "rubbish", "elsewhere"),
        ("memory", "", "elsewhere"),
    ],
)
def test_a_place_is_what_both_addresses_prove(theirs: str, ours: str, place: str) -> None:
    assert place_of(theirs, ours) == place


def test_what_made_the_scores_is_said_in_words() -> None:
    assert describe(Measure()) == "idle; this agent"
    told = Load(12, 3, 0.03, 0.9)
    text = "busy with 12 calls of others, 3 of them wait, loop 30 ms late, CPU 90%"
    assert describe(Measure(told=told, place="host")) == f"{text}; this host"
    assert describe(Measure(in_flight=2, told=told)) == f"2 in flight; {text}; this agent"
    assert describe(Measure(told=Load(1))) == "busy with 1 call of others; this agent"
    assert describe(Measure(told=Load(0.4, 0.4, 0.0004, CALM))) == "idle; this agent", "faded, or nothing to speak of"
    measure = Measure("open", 0.512, 3, 0.0123, 2.0, ("gpu", "big"), "segment", 0.0004)
    assert describe(measure) == (
        "asked last after failures; 51% failed lately; 3 in flight; 12.3 ms a call; one is out for 2 s; "
        "this segment, 0.4 ms away; tags gpu, big"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *[(0.0, "0 ms"), (0.00000123, "0 ms"), (0.000456, "0.46 ms"), (0.00123, "1.23 ms"), (0.1234, "123 ms")],
        *[
            (0.9994, "999 ms"),
            (0.9996, "1 s"),
            (1.0, "1 s"),
            (12.345, "12.3 s"),
            (999.6, "1000 s"),
            (12345.6, "12346 s"),
        ],
    ],
)
def test_a_duration_is_good_to_read(seconds: float, said: str) -> None:
    assert f"; {said} a call" in describe(Measure(seconds=seconds))
