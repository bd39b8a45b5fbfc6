"""The result cache: what serves again, and what never does."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis.model.tool import Tool, ToolResult
from praxis.observe.metrics import Metrics
from praxis.workflow.cache import ResultCache
from praxis.workflow.order import Order
from tests.workflow.executor_kit import Setting, setting

READS = {"readOnlyHint": True, "idempotentHint": True}


def cache(**changes: Any) -> ResultCache:
    bounds = {"ttl": 10.0, "max_entries": 100, "max_bytes": 10_000} | changes
    return ResultCache(clock=trio.current_time, metrics=Metrics(), **bounds)


class Counting:
    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    async def __call__(self, arguments: dict[str, Any]) -> ToolResult:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        return ToolResult.of_text(f"answer {self.calls}", is_error=self.fails)


def cached(tool: Counting, annotations: dict[str, bool] = READS, **changes: Any) -> Setting:
    here = setting(annotations=annotations, me_x=tool)
    here.executor.cache = cache(**changes)
    return here


async def test_who_asks_the_same_gets_the_same_until_it_is_old(autojump_clock: MockClock) -> None:
    tool = Counting()
    here = cached(tool)
    runs = [await here.run(text) for text in ("CALL x 1", "CALL x --n 1", "CALL x 2")]
    assert tool.calls == 2
    assert [run.steps[0].cached for run in runs] == [False, True, False]
    assert runs[0].result == runs[1].result
    await trio.sleep(11)
    await here.run("CALL x 1")
    assert tool.calls == 3
    assert here.executor.cache is not None
    assert here.executor.cache.stats()["hits"] == 1
    assert here.executor.cache.clear() == 2
    await here.run("CALL x 1")
    assert tool.calls == 4


@pytest.mark.parametrize("annotations", [{}, {"readOnlyHint": True}, {"idempotentHint": True}])
async def test_tools_that_do_not_say_both_are_asked_each_time(annotations: dict[str, bool]) -> None:
    tool = Counting()
    here = cached(tool, annotations)
    for _ in range(2):
        assert not (await here.run("CALL x 1")).steps[0].cached
    assert tool.calls == 2


async def test_errors_and_runs_with_secrets_are_not_kept() -> None:
    tool = Counting()
    here = cached(tool)
    tool.fails = True
    await here.run("CALL x 1")
    tool.fails = False
    for _ in range(2):
        await here.run("CALL x ${secrets.n}", order=Order(secrets={"n": "1111"}))
    assert tool.calls == 3
    await here.run("CALL x 1")
    assert tool.calls == 4, "nor do they look"


async def test_there_is_an_end_to_what_is_kept() -> None:
    kept = cache(max_entries=2, max_bytes=500)
    tool = Tool("me", "fs", {"name": "x", "annotations": READS})
    keys = [kept.key(tool, {"n": number}) for number in range(4)]
    assert None not in keys
    small, large = ToolResult.of_text("small"), ToolResult.of_text("l" * 400)
    for key in keys[:3]:
        kept.keep(key, small)  # type: ignore[arg-type]
    assert [kept.find(key) is not None for key in keys[:3]] == [False, True, True]  # type: ignore[arg-type]
    kept.keep(keys[3], large)  # type: ignore[arg-type]
    assert kept.stats()["entries"] == 1
    kept.keep(keys[0], ToolResult.of_text("l" * 500))  # type: ignore[arg-type]
    assert kept.find(keys[0]) is None  # type: ignore[arg-type]


async def test_another_definition_is_another_tool() -> None:
    one = Tool("me", "fs", {"name": "x", "annotations": READS})
    other = Tool("me", "fs", {"name": "x", "annotations": READS, "description": "changed"})
    assert cache().key(one, {}) != cache().key(other, {})
