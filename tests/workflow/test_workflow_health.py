"""What is remembered of calls, and the breaker; the clock is a number here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Breaker
from praxis.workflow.health import (
    FORGIVEN,
    HEALED,
    MAX_PAUSE,
    MAX_RECORDS,
    Change,
    Health,
    Key,
    Outcome,
)

KEY: Key = ("px-a", "fs", "read")
OTHER: Key = ("px-a", "fs", "write")
STATES: list[Outcome] = ["succeeded", "unsuccessful", "failed", "refused", "cancelled"]


def call(health: Health, now: float, outcome: Outcome = "failed", *, lasting: float = 0.0) -> Change | None:
    return health.end(health.begin(KEY, now), now + lasting, outcome)


def broken(failures: int = 3, pause: float = 1.0) -> Health:
    """Its breaker has opened at 0."""
    health = Health(Breaker(failures, pause))
    changes = [call(health, 0) for _ in range(failures)]
    assert changes == [*[None] * (failures - 1), "open"]
    return health


# -- the breaker -----------------------------------------------------------------------------------


def test_so_many_failures_in_a_row_open_it_for_one_tool_of_one_peer() -> None:
    health = broken(failures=3)
    assert health.measure(KEY, 0.99).state == "open"
    assert [health.measure(key, 0).state for key in (OTHER, ("px-b", *KEY[1:]), (None, *KEY[1:]))] == ["ready"] * 3
    assert health.broken() == 1


@pytest.mark.parametrize("outcome", ["succeeded", "unsuccessful"])
def test_an_answer_between_failures_keeps_it_closed(outcome: Outcome) -> None:
    health = Health(Breaker(3))
    for _ in range(10):
        assert [call(health, 0), call(health, 0), call(health, 0, outcome)] == [None] * 3
    assert health.measure(KEY, 0).state == "ready"


@pytest.mark.parametrize("outcome", ["refused", "cancelled", "unsuccessful", "succeeded"])
def test_what_says_nothing_against_the_owner_does_not_open_it(outcome: Outcome) -> None:
    health = Health(Breaker(1))
    assert [call(health, 0, outcome) for _ in range(10)] == [None] * 10
    assert health.measure(KEY, 0).state == "ready"


def test_after_the_pause_one_call_tries_again_and_closes_it() -> None:
    health = broken()
    assert health.measure(KEY, 1).state == "due"
    attempt = health.begin(KEY, 1)
    assert health.measure(KEY, 1).state == "open", "one call, no more"
    assert health.end(attempt, 2, "succeeded") == "closed"
    assert (health.measure(KEY, 2).state, health.broken()) == ("ready", 0)
    assert [call(health, 2), call(health, 2), call(health, 2)] == [None, None, "open"]
    assert health.measure(KEY, 3).state == "due", "the pause is the first again"


def test_each_try_that_fails_doubles_the_pause_up_to_a_minute() -> None:
    health, now, pauses = broken(), 0.0, []
    for _ in range(10):
        pause = next(p for p in range(1, 100) if health.measure(KEY, now + p).state == "due")
        pauses.append(pause)
        now += pause
        assert call(health, now) == "open"
    assert pauses == [1, 2, 4, 8, 16, 32, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE]


def test_a_longer_pause_than_a_minute_is_kept() -> None:
    health = broken(pause=300)
    assert call(health, 300) == "open"
    assert (health.measure(KEY, 599).state, health.measure(KEY, 600).state) == ("open", "due")


@pytest.mark.parametrize("outcome", ["cancelled", "refused"])
def test_a_try_that_tells_nothing_is_followed_by_another(outcome: Outcome) -> None:
    health = broken()
    assert call(health, 1, outcome) is None
    assert health.measure(KEY, 1).state == "due"


def test_calls_that_began_before_it_opened_do_not_lengthen_the_pause() -> None:
    health = Health(Breaker(1))
    early = [health.begin(KEY, 0) for _ in range(3)]
    assert [health.end(attempt, 0.5, "failed") for attempt in early] == ["open", None, None]
    assert health.measure(KEY, 1.5).state == "due"


# -- times and failures ----------------------------------------------------------------------------


def test_a_response_time_follows_its_measurements_and_a_jump_shows_at_once() -> None:
    health = Health(Breaker())
    for _ in range(20):
        call(health, 0, "succeeded", lasting=0.001)
    assert health.measure(KEY, 0).seconds == pytest.approx(0.001)
    call(health, 0, "succeeded", lasting=0.2)
    assert (health.measure(KEY, 0).seconds or 0) > 0.03
    for _ in range(20):
        call(health, 0, "succeeded", lasting=0.2)
    assert health.measure(KEY, 0).seconds == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize("outcome", ["failed", "refused", "unsuccessful"])
def test_how_quickly_something_fails_is_no_response_time(outcome: Outcome) -> None:
    health = Health(Breaker())
    call(health, 0, "succeeded", lasting=1)
    call(health, 1, outcome, lasting=0.001)
    assert health.measure(KEY, 1).seconds == 1


def test_a_call_that_was_given_up_took_at_least_that_long() -> None:
    health = Health(Breaker())
    call(health, 0, "succeeded", lasting=1)
    call(health, 1, "cancelled", lasting=0.5)
    assert health.measure(KEY, 1).seconds == 1
    call(health, 2, "cancelled", lasting=10)
    assert (health.measure(KEY, 12).seconds or 0) > 2


def test_a_call_that_does_not_come_back_makes_its_owner_slow_already() -> None:
    health = Health(Breaker())
    first, second = health.begin(KEY, 0), health.begin(KEY, 3)
    assert [health.measure(KEY, now).expected for now in (3, 7)] == [3, 7]
    health.end(first, 7, "refused")
    assert health.measure(KEY, 7).expected == 4
    health.end(second, 7, "refused")
    assert health.measure(KEY, 7).expected == 0


def test_who_is_not_asked_is_forgiven_by_and_by() -> None:
    health = Health(Breaker(100))
    call(health, 0, "succeeded", lasting=1)
    call(health, 1, "failed")
    assert health.measure(KEY, 1).expected == pytest.approx(1)
    assert health.measure(KEY, 1 + FORGIVEN).expected == pytest.approx(0.5)
    trouble = health.measure(KEY, 1).trouble
    assert health.measure(KEY, 1 + HEALED).trouble == pytest.approx(trouble / 2)


@pytest.mark.parametrize("outcome", ["failed", "unsuccessful"])
def test_failures_count_against_an_owner_and_successes_for_it(outcome: Outcome) -> None:
    health = Health(Breaker(100))
    assert health.measure(KEY, 0).trouble == 0
    call(health, 0, outcome)
    first = health.measure(KEY, 0).trouble
    call(health, 0, outcome)
    second = health.measure(KEY, 0).trouble
    call(health, 0, "succeeded")
    assert 0 < first < second < 1
    assert health.measure(KEY, 0).trouble < second


# -- counts and bounds -----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([KEY, OTHER, (None, "fs", "read")]), st.sampled_from(STATES)), max_size=20))
def test_calls_under_way_are_counted_per_agent(calls: list[tuple[Key, Outcome]]) -> None:
    health = Health(Breaker())
    attempts = [(health.begin(key, 0), outcome) for key, outcome in calls]
    local = sum(key[0] is None for key, _ in calls)
    assert (health.in_flight(None), health.in_flight("px-a")) == (local, len(calls) - local)
    assert health.measure(KEY, 0).in_flight == len(calls) - local
    for attempt, outcome in attempts:
        health.end(attempt, 1, outcome)
    assert (health.in_flight(None), health.in_flight("px-a")) == (0, 0)


def test_so_many_tools_are_remembered_and_none_that_is_being_called_is_forgotten() -> None:
    health = Health(Breaker(1))
    running = health.begin(KEY, 0)
    for number in range(MAX_RECORDS + 10):
        health.end(health.begin(("px-b", "fs", str(number)), 0), 0, "failed")
    assert len(health) == MAX_RECORDS
    assert health.end(running, 1, "failed") == "open"
    assert health.measure(KEY, 1).state == "open"
    assert health.measure(("px-b", "fs", "0"), 0).state == "ready", "the first was forgotten"
