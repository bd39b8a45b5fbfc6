"""Calls whose time is up, when one clock watches over all of a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from praxis.tools.mcp_deadlines import Deadlines, TimedCall
from tests.support.costs import counted


class Waiting:
    """Calls by number, and when each of them was woken."""

    def __init__(self) -> None:
        self.calls: dict[int, TimedCall] = {}
        self.deadlines = Deadlines(self.calls)
        self.woken: dict[int, float] = {}

    async def wait(self, number: int, deadline: float, begins: float = 0.0) -> None:
        await trio.sleep_until(begins)
        call = self.calls[number] = TimedCall("work", None, 0.0, self.deadlines)
        call.end_at(deadline)
        await call.wait()
        self.woken[number] = trio.current_time()
        del self.calls[number]


@asynccontextmanager
async def waiting() -> AsyncIterator[Waiting]:
    calls = Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.deadlines.run)
        yield calls
        nursery.cancel_scope.cancel()


async def test_each_call_is_woken_at_its_own_time(autojump_clock: MockClock) -> None:
    async with waiting() as calls:
        async with trio.open_nursery() as nursery:
            for number, (deadline, begins) in enumerate([(9.0, 0.0), (5.0, 0.0), (5.0, 1.0), (3.0, 2.0), (3.0, 4.0)]):
                nursery.start_soon(calls.wait, number, deadline, begins)
        assert calls.woken == {0: 9.0, 1: 5.0, 2: 5.0, 3: 3.0, 4: 4.0}
        await trio.sleep_until(100.0)
        await calls.wait(5, 101.0)
        assert calls.woken[5] == 101.0


async def test_a_deadline_can_be_moved_both_ways(autojump_clock: MockClock) -> None:
    async with waiting() as calls:
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(calls.wait, number, 10.0)
            await trio.sleep_until(1.0)
            calls.calls[0].end_at(600.0)
            await trio.sleep_until(20.0)
            assert calls.woken == {1: 10.0}
            calls.calls[0].end_at(30.0)
        assert calls.woken == {0: 30.0, 1: 10.0}


async def test_calls_that_are_answered_in_time_do_not_wake_the_clock(autojump_clock: MockClock) -> None:
    async with waiting() as calls:
        with counted(lambda task: "Deadlines" in task.name) as costs:
            for number in range(100):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(calls.wait, number, trio.current_time() + 30.0)
                    await trio.sleep(0.1)
                    calls.calls[number].finish("answer")
        assert len(calls.woken) == 100
        assert costs.steps <= 2, "when it begins, and when the first of them comes"
