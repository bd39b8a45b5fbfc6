"""Runs that outlive who has asked for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from praxis.model.errors import PraxisError
from praxis.model.tool import ToolResult
from praxis.workflow.background import Background
from praxis.workflow.history import History
from praxis.workflow.order import Order
from tests.workflow.executor_kit import ANN, Setting, fine, forever, setting
from tests.workflow.test_workflow_history import life


@asynccontextmanager
async def background(here: Setting) -> AsyncIterator[Background]:
    runs = Background(here.executor)
    async with trio.open_nursery() as nursery:
        await nursery.start(runs.run)
        yield runs
        nursery.cancel_scope.cancel()


async def test_a_run_is_in_the_journal_when_it_is_said_to_have_begun_and_goes_on(tmp_path: Path) -> None:
    go = trio.Event()

    async def waits(arguments: dict[str, Any]) -> ToolResult:
        await go.wait()
        return await fine(arguments)

    async with life(tmp_path, me_x=waits) as it, background(it.here) as runs:
        id = await runs.start("CALL x", ANN, Order(context="talk"))
        kept = await it.journal.find(id)
        assert kept is not None
        assert (kept.state, kept.context) == ("queued", "talk")
        go.set()
        ended = await it.history.wait(id)
        assert (ended.state, ended.context) == ("succeeded", "talk")
        assert await it.history.wait(id) == ended, "it has ended already"


async def test_who_waits_may_leave_and_the_run_does_not_notice(tmp_path: Path) -> None:
    go = trio.Event()

    async def waits(arguments: dict[str, Any]) -> ToolResult:
        await go.wait()
        return await fine(arguments)

    async with life(tmp_path, me_x=waits) as it, background(it.here) as runs:
        id = await runs.start("CALL x", ANN, Order())
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(it.history.wait, id)
                await wait_all_tasks_blocked()
                scope.cancel()
        go.set()
        assert (await it.history.wait(id)).state == "succeeded"


async def test_what_cannot_begin_is_told_to_who_asked_and_harms_no_other() -> None:
    here = setting(me_x=forever, max_concurrent=1, queue=0)
    async with background(here) as runs:
        for text, code in (
            ("nonsense", "syntax"),
            ("CALL nothing", "not_found"),
            ("CALL x --n ${secrets.n}", "invalid"),
        ):
            with pytest.raises(PraxisError) as caught:
                await runs.start(text, ANN, Order())
            assert caught.value.code == code
        id = await runs.start("CALL x", ANN, Order())
        with pytest.raises(PraxisError) as caught:
            await runs.start("CALL x", ANN, Order())
        assert caught.value.code == "busy"
        assert (await here.executor.cancel(id)).state == "cancelled"


async def test_a_bug_ends_its_run_alone(caplog: pytest.LogCaptureFixture) -> None:
    here = setting(me_x=RuntimeError("oops"), me_y=fine)
    async with background(here) as runs:
        id = await runs.start("CALL x", ANN, Order())
        await wait_all_tasks_blocked()
        assert here.executor.get(id).state == "failed"
        assert "oops" in caplog.text
        other = await runs.start("CALL y", ANN, Order())
        assert (await History(here.executor, here.network).wait(other)).state == "succeeded"


async def test_the_end_of_the_agent_is_the_end_of_its_runs() -> None:
    here = setting(me_x=forever)
    async with background(here) as runs:
        id = await runs.start("CALL x", ANN, Order())
        await wait_all_tasks_blocked()
        assert here.executor.under_way() == {id: "running"}
    assert here.executor.get(id).state == "cancelled"
    assert here.executor.under_way() == {}


async def test_a_run_that_is_cancelled_before_it_is_in_the_journal_has_not_begun(tmp_path: Path) -> None:
    async with life(tmp_path, me_x=forever) as it, background(it.here) as runs, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(PraxisError, match="before it had begun"):
                await runs.start("CALL x", ANN, Order())

        nursery.start_soon(ask)
        while not it.here.executor.under_way():
            await trio.lowlevel.checkpoint()
        it.here.executor.cancel_all()


async def test_nothing_begins_before_the_agent_has_started() -> None:
    with pytest.raises(PraxisError, match="not started"):
        await Background(setting(me_x=fine).executor).start("CALL x", ANN, Order())


async def test_a_run_that_goes_on_or_again_keeps_its_context(tmp_path: Path) -> None:
    async with life(tmp_path, me_x=fine) as it:
        first = await it.here.run("CALL x", order=Order(context="talk"))
        again = await it.history.retry(first.id, ANN, secrets={})
        assert again.context == "talk"
