"""Scores and the order that they make, with plain values."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Weights
from praxis.workflow.scores import (
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
