"""Services that suffer outages, and bugs that are not hidden."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from praxis.net.supervision import RestartPolicy, ServiceState, SupervisedService, describe

POLICY = RestartPolicy(first_pause=1.0, max_pause=8.0, max_outages=6, period=1000.0)


class Flaky:
    """Starts, and meets each of these ends after `lives` seconds; then serves until it is cancelled."""

    def __init__(self, *ends: BaseException | None, lives: float = 0.0, starts: bool = True) -> None:
        self.ends = list(ends)
        self.lives = lives
        self.starts = starts
        self.began: list[float] = []
        self.serving = trio.Event()

    async def serve(self, *, task_status: trio.TaskStatus[str]) -> None:
        self.began.append(trio.current_time())
        if self.starts:
            task_status.started("ready")
        if not self.ends:
            self.serving.set()
            await trio.sleep_forever()
        await trio.sleep(self.lives)
        end = self.ends.pop(0)
        if end is not None:
            raise end


def state(service: SupervisedService) -> ServiceState:
    return service.state


def outage(text: str = "the network is down") -> OSError:
    return OSError(errno.ENETDOWN, text)


async def test_a_service_reports_its_value_and_runs(autojump_clock: MockClock) -> None:
    flaky = Flaky()
    service = SupervisedService("s", flaky.serve)
    assert state(service) is ServiceState.STARTING
    async with trio.open_nursery() as nursery:
        assert await nursery.start(service.run) == "ready"
        assert state(service) is ServiceState.RUNNING
        nursery.cancel_scope.cancel()
    assert state(service) is ServiceState.ENDED
    assert (service.restarts, service.last_outage) == (0, None)


async def test_a_service_that_returns_has_ended(autojump_clock: MockClock) -> None:
    service = SupervisedService("s", Flaky(None, lives=3).serve)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        with trio.fail_after(3.5):
            await service.wait_ended()
    assert state(service) is ServiceState.ENDED
    assert trio.current_time() == 3


async def test_after_an_outage_it_is_started_again_after_growing_pauses(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    flaky = Flaky(*(outage() for _ in range(6)))
    service = SupervisedService("feed", flaky.serve, POLICY)
    async with trio.open_nursery() as nursery:
        assert await nursery.start(service.run) == "ready"
        await flaky.serving.wait()
        assert state(service) is ServiceState.RUNNING
        nursery.cancel_scope.cancel()
    pauses = [later - sooner for sooner, later in zip(flaky.began, flaky.began[1:], strict=False)]
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert service.restarts == 6
    assert service.last_outage == "[Errno 100] the network is down"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 6
    assert "feed: [Errno 100] the network is down; next start in 2.0 s" in caplog.text


async def test_while_it_waits_its_state_says_so(autojump_clock: MockClock) -> None:
    service = SupervisedService("s", Flaky(outage()).serve, POLICY)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        await trio.sleep(0.5)
        assert state(service) is ServiceState.BACKING_OFF
        await trio.sleep(1)
        assert state(service) is ServiceState.RUNNING
        nursery.cancel_scope.cancel()


async def test_an_outage_before_it_is_ready_again_is_endured_too(autojump_clock: MockClock) -> None:
    flaky = Flaky(outage("first"), outage("second"))
    service = SupervisedService("s", flaky.serve, POLICY)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        flaky.starts = False
        await flaky.serving.wait()
        assert state(service) is ServiceState.STARTING
        assert (service.restarts, service.last_outage) == (2, "[Errno 100] second")
        nursery.cancel_scope.cancel()


async def test_too_many_outages_are_not_endured(autojump_clock: MockClock) -> None:
    flaky = Flaky(*(outage(str(number)) for number in range(10)))
    service = SupervisedService("s", flaky.serve, POLICY)
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="6"), flatten_subgroups=True):
        await service.run()
    assert len(flaky.began) == 7
    assert state(service) is ServiceState.ENDED


async def test_old_outages_are_forgotten(autojump_clock: MockClock) -> None:
    flaky = Flaky(*(outage() for _ in range(30)), lives=200)
    service = SupervisedService("s", flaky.serve, POLICY)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        await flaky.serving.wait()
        nursery.cancel_scope.cancel()
    assert service.restarts == 30
    last = flaky.began[-1] - flaky.began[-2] - 200
    assert last <= POLICY.max_pause


async def test_the_pause_starts_small_again_after_a_quiet_time(autojump_clock: MockClock) -> None:
    flaky = Flaky(*(outage() for _ in range(3)), lives=2000)
    service = SupervisedService("s", flaky.serve, POLICY)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        await flaky.serving.wait()
        nursery.cancel_scope.cancel()
    assert flaky.began == [0, 2001, 4002, 6003]


async def test_the_first_start_is_not_endured(autojump_clock: MockClock) -> None:
    flaky = Flaky(outage("port 1 is in use"), starts=False)
    service = SupervisedService("s", flaky.serve, POLICY)
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="in use"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
    assert len(flaky.began) == 1
    assert state(service) is ServiceState.ENDED


BUGS: list[Callable[[], BaseException]] = [
    lambda: ZeroDivisionError("a bug"),
    lambda: ExceptionGroup("g", [ZeroDivisionError("a bug")]),
    lambda: ExceptionGroup("g", [outage(), ZeroDivisionError("a bug")]),
    lambda: ExceptionGroup("g", [outage(), ExceptionGroup("h", [outage(), ZeroDivisionError("a bug")])]),
]


@pytest.mark.parametrize("bug", BUGS)
async def test_a_bug_ends_the_service_also_beside_an_outage(
    bug: Callable[[], BaseException], autojump_clock: MockClock
) -> None:
    flaky = Flaky(bug())
    service = SupervisedService("s", flaky.serve, POLICY)
    with pytest.raises((ZeroDivisionError, ExceptionGroup)) as caught:
        await service.run()
    found: Any = caught.value
    while isinstance(found, ExceptionGroup):
        (found,) = found.exceptions
    assert isinstance(found, ZeroDivisionError)
    assert len(flaky.began) == 1
    assert state(service) is ServiceState.ENDED


async def test_outages_in_a_group_are_one_outage(autojump_clock: MockClock) -> None:
    group = ExceptionGroup("g", [outage("a"), ExceptionGroup("h", [outage("a"), outage("b")])])
    service = SupervisedService("s", (flaky := Flaky(group)).serve, POLICY)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        await flaky.serving.wait()
        nursery.cancel_scope.cancel()
    assert service.restarts == 1
    assert service.last_outage == "[Errno 100] a; [Errno 100] b"


@pytest.mark.parametrize("after", [0.5, 1.5])
async def test_cancelling_ends_it_while_it_serves_and_while_it_waits(after: float, autojump_clock: MockClock) -> None:
    service = SupervisedService("s", Flaky(outage(), lives=1).serve, POLICY)
    with trio.move_on_after(after):
        await service.run()
    assert trio.current_time() == after
    assert state(service) is ServiceState.ENDED
    await service.wait_ended()


def test_a_description_names_each_leaf_once() -> None:
    group = BaseExceptionGroup("g", [KeyError("x"), ExceptionGroup("h", [outage(), KeyError("x")])])
    assert describe(group) == "KeyError: 'x'; [Errno 100] the network is down"


LEAVES = st.sampled_from(["a", "b", "c"]).map(OSError)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda x: ExceptionGroup("g", x)), max_leaves=6
)


@given(TREES)
@settings(max_examples=30)
def test_a_description_has_no_leaf_twice_however_deep_the_groups_are(error: Exception) -> None:
    leaves = describe(error).split("; ")
    assert set(leaves) <= {"a", "b", "c"}
    assert len(leaves) == len(set(leaves))
