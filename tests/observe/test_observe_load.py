"""How late the loop is and how busy the machine, measured under a virtual clock."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from praxis.observe.load import CPU_EVERY, EVERY, HALF, LoadMeter, cpu_times, smoothed
from praxis.observe.metrics import Metrics


async def test_the_lag_is_how_late_the_loop_wakes_a_task(mock_clock: MockClock) -> None:
    metrics = Metrics()
    meter = LoadMeter(metrics)
    meter.cpu_times = lambda: (0.0, 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meter.run)
        for late in (0.0, 0.0, 1.0):
            await wait_all_tasks_blocked()
            mock_clock.jump(EVERY + late)  # as when something did not let others run
        await wait_all_tasks_blocked()
        expected = 1 - 0.5 ** ((1.0 + EVERY) / HALF)
        assert meter.lag == pytest.approx(expected)
        assert f"praxis_loop_lag_seconds {meter.lag}" in metrics.render()
        for _ in range(round(10 * HALF / EVERY)):
            mock_clock.jump(EVERY)
            await wait_all_tasks_blocked()
        assert meter.lag < 0.001, "it is forgotten"
        nursery.cancel_scope.cancel()


async def test_the_cpu_is_the_share_of_the_time_between_two_looks(autojump_clock: MockClock) -> None:
    metrics = Metrics()
    meter = LoadMeter(metrics)
    began = trio.current_time()

    def two_cores() -> tuple[float, float]:  # both busy until 60 s, then one
        passed = trio.current_time() - began
        return 2 * min(passed, 60.0) + max(0.0, passed - 60.0), 2 * passed

    meter.cpu_times = two_cores
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meter.run)
        await trio.sleep(10 * CPU_EVERY)
        assert meter.cpu == pytest.approx(1.0, abs=0.01)
        await trio.sleep(60)
        assert meter.cpu == pytest.approx(0.5, abs=0.01)
        assert f"praxis_cpu_share {meter.cpu}" in metrics.render()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("broken", [(5.0, 5.0), (0.0, 100.0), (200.0, 100.0)])
async def test_an_accounting_that_stands_still_or_goes_back_does_no_harm(
    autojump_clock: MockClock, broken: tuple[float, float]
) -> None:
    meter = LoadMeter(Metrics())
    readings = iter([(5.0, 5.0)])
    meter.cpu_times = lambda: next(readings, broken)
    with trio.move_on_after(5 * CPU_EVERY):
        await meter.run()
    assert 0.0 <= meter.cpu <= 1.0


def test_the_kernel_s_figures_are_read(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 400 50 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert cpu_times(str(stat)) == (171.0, 621.0), "waiting for a disk is idle, a stolen core is busy"
    busy, all = cpu_times()
    assert 0 < busy <= all


@pytest.mark.parametrize("text", [None, "", "cpu  1 2\n", "rubbish\n"])
def test_without_them_it_is_the_time_of_this_process(tmp_path: Path, text: str | None) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    (busy, all), (later, all_later) = cpu_times(str(stat)), cpu_times(str(stat))
    assert 0 < busy <= later and 0 < all < all_later


def test_half_of_what_was_is_gone_after_the_half_time() -> None:
    assert smoothed(1.0, 0.0, HALF) == 0.5
    assert smoothed(1.0, 0.0, 2 * HALF) == smoothed(smoothed(1.0, 0.0, HALF), 0.0, HALF)
    assert smoothed(3.0, 3.0, 0.1) == 3.0
