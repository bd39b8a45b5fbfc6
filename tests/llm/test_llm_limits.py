"""Turns: never more than the limits in any minute, first come first served, and whoever cannot wait is told at once."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from praxis.llm.limits import RateLimits
from praxis.model.errors import PraxisError


async def test_requests_in_a_minute(autojump_clock: MockClock) -> None:
    limits, times = RateLimits(3, 0), []
    began = trio.current_time()
    for pause in (0, 10, 10, 0, 0, 0, 200, 0):
        await trio.sleep(pause)
        await limits.wait(10**9)
        times.append(round(trio.current_time() - began))
    assert times == [0, 10, 20, 60, 70, 80, 280, 280]


async def test_tokens_in_a_minute(autojump_clock: MockClock) -> None:
    limits, times = RateLimits(0, 100), []
    began = trio.current_time()
    for tokens in (60, 40, 1, 60, 40):
        await limits.wait(tokens)
        times.append(round(trio.current_time() - began))
    assert times == [0, 0, 60, 60, 120]
    assert times[-1] == 120, "39 would have fitted"


async def test_what_was_not_taken_is_there_for_others(autojump_clock: MockClock) -> None:
    limits = RateLimits(0, 100)
    began = trio.current_time()
    limits.settle(await limits.wait(90), 20)
    await limits.wait(80)
    assert trio.current_time() == began
    await limits.wait(1)
    assert trio.current_time() == began + 60


async def test_nobody_passes_those_who_came_before(autojump_clock: MockClock) -> None:
    limits, times = RateLimits(0, 100), {}
    began = trio.current_time()

    async def come(name: str, tokens: int) -> None:
        await limits.wait(tokens)
        times[name] = trio.current_time() - began

    async with trio.open_nursery() as nursery:
        for name, tokens in (("first", 80), ("large", 90), ("small", 1)):
            nursery.start_soon(come, name, tokens)
            await trio.testing.wait_all_tasks_blocked()
    assert times == {"first": 0, "large": 60, "small": 60}


async def test_whoever_cannot_wait_is_told_at_once(autojump_clock: MockClock) -> None:
    limits = RateLimits(1, 0)
    await limits.wait(1)
    began = trio.current_time()
    with trio.move_on_after(59), pytest.raises(PraxisError, match="leave room in 60 s") as caught:
        await limits.wait(1)
    assert caught.value.code == "busy"
    assert trio.current_time() == began
    with trio.move_on_after(61):
        await limits.wait(1)
    assert trio.current_time() == began + 60, "who was refused took no turn"


async def test_who_gives_up_takes_no_turn(autojump_clock: MockClock) -> None:
    limits = RateLimits(1, 0)
    await limits.wait(1)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limits.wait, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await limits.wait(1)
    assert trio.current_time() == began + 60


async def test_more_than_a_minute_has() -> None:
    with pytest.raises(PraxisError, match="tokens_per_minute is 100") as caught:
        await RateLimits(0, 100).wait(101)
    assert caught.value.code == "too_large"


async def test_no_limits(autojump_clock: MockClock) -> None:
    limits = RateLimits(0, 0)
    began = trio.current_time()
    for _ in range(1000):
        await limits.wait(10**6)
    assert trio.current_time() == began
