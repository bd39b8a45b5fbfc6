"""Programs from the text to the record: routes, fail-over, deadlines, cancelling, bounds."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import CallContext, ToolRef, ToolResult
from tests.workflow.executor_kit import ANN, fine, forever, setting, stubborn

# -- before anything runs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("CALL x; CALL", "syntax", "line 1, column 13"),
        ("CALL x\nCALL nope", "not_found", "line 2, column 1"),
        ("CALL x\n CALL y", "ambiguous", "line 2, column 2"),
        ("CALL x; CALL x ${r}", "invalid", "line 1, column 16"),
        ("CALL x; CALL x five", "invalid", "line 1, column 9: arguments.n"),
        ("CALL x; CALL x --m 5", "invalid", "line 1, column 9: arguments.m"),
    ],
)
async def test_what_cannot_work_is_told_with_its_place_and_nothing_runs(text: str, code: str, where: str) -> None:
    here = setting(me_x=fine, a_y=fine, b_y=fine)
    error = await here.refusal(text)
    assert (error.code, error.where) == (code, where)
    assert here.network.asked == []
    assert here.executor.list_runs() == ([], None)
    assert here.bus.published == 0


async def test_a_program_without_a_call_is_no_run_that_succeeds() -> None:
    assert (await setting(me_x=fine).refusal("# nothing")).code == "syntax"


async def test_a_preview_shows_each_route_or_problem_and_runs_nothing() -> None:
    here = setting(me_x=fine, a_x=fine)
    first, second, third = await here.executor.preview("CALL x 5 -> r\nCALL a:x 'n'\nCALL nope ${r.n}")
    assert (first["id"], first["tool"], first["bind"], first["after"]) == ("s1", "x", "r", [])
    assert first["arguments"] == [{"name": None, "value": "5"}]
    assert (first["route"]["tool"], first["route"]["reason"]) == ("me:fs/x", "local first")
    assert "route" not in second
    assert (second["problem"]["code"], second["problem"]["where"]) == ("invalid", "line 2, column 1: arguments.n")
    assert (third["problem"]["code"], third["after"], third["line"]) == ("not_found", ["s2", "s1"], 3)
    assert third["arguments"] == [{"name": None, "value": "${r.n}"}]
    assert here.network.asked == []


# -- runs ------------------------------------------------------------------------------------------


async def test_a_run_succeeds_when_every_tool_has_answered() -> None:
    here = setting(me_x=fine, a_y=fine)
    record = await here.run("CALL x 5 -> r\nCALL y ${r.n}")
    assert (record.id, record.state, record.caller, record.error) == ("r1", "succeeded", "ann", None)
    assert record.result == ToolResult.of_text("fine", structured={"n": 5}).value
    assert here.network.asked == ["me:fs/x", "a:fs/y"]
    assert {(context.caller, context.run_id) for context in here.network.contexts} == {("ann", "r1")}
    assert here.executor.get("r1") == record
    assert here.executor.list_runs() == ([record.summary], None)
    assert (here.count("runs", "succeeded"), here.count("steps", "succeeded")) == (1, 2)


async def test_a_run_tells_that_it_began_and_how_it_ended(autojump_clock: MockClock) -> None:
    async def slow(arguments: dict[str, Any]) -> ToolResult:
        await trio.sleep(2)
        return ToolResult.of_text("no", is_error=True)

    here = setting(me_x=slow)
    with here.bus.subscribe() as events:
        record = await here.run("CALL x", run_id="mine")
        batch = events.receive_nowait().events
    assert [event.type for event in batch] == ["run.started", "step.started", "step.finished", "run.finished"]
    assert {event.run_id for event in batch} == {"mine"}
    assert batch[0].fields == {"caller": "ann", "steps": 1}
    assert batch[-1].fields == {"state": "failed", "duration_ms": 2000.0}
    assert (record.state, record.created_at, record.ended_at) == ("failed", 0, 2)


async def test_an_id_is_given_once() -> None:
    here = setting(me_x=fine)
    await here.run("CALL x", run_id="mine")
    error = await here.refusal("CALL x", run_id="mine")
    assert (error.code, len(here.network.asked)) == ("conflict", 1)


async def test_so_many_runs_at_once_and_one_more_is_refused() -> None:
    here = setting(me_x=forever, me_y=fine, max_concurrent=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, "CALL x")
        nursery.start_soon(here.run, "CALL x")
        await wait_all_tasks_blocked()
        assert here.executor.running == 2
        error = await here.refusal("CALL y")
        assert (error.code, error.detail) == ("busy", "2 runs are under way, and 0 wait")
        assert "runs.max_concurrent" in error.hint
        await here.executor.cancel("r1")
        assert (await here.run("CALL y")).state == "succeeded"
        nursery.cancel_scope.cancel()
    assert here.executor.running == 0
    assert here.count("runs_refused") == 1


async def test_only_the_latest_runs_are_kept() -> None:
    here = setting(me_x=fine, keep=2)
    for _ in range(4):
        await here.run("CALL x")
    assert [record.id for record in here.executor.list_runs()[0]] == ["r4", "r3"]
    with pytest.raises(PraxisError, match="no run 'r1'"):
        here.executor.get("r1")


async def test_a_bug_is_recorded_and_goes_on_to_the_entrance() -> None:
    here = setting(me_x=ValueError("secret"))
    with pytest.raises(ExceptionGroup) as caught:
        await here.run("CALL x")
    assert caught.group_contains(ValueError, match="secret")
    record = here.executor.get("r1")
    assert (record.state, record.steps[0].state, here.executor.running) == ("failed", "failed", 0)
    assert record.error is not None
    assert record.error.code == "internal"
    assert "secret'" not in str(record)


# -- deadlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "seconds"), [(None, 60), (5, 5), (1000, 60)])
async def test_a_run_ends_at_its_deadline(autojump_clock: MockClock, asked: float | None, seconds: float) -> None:
    here = setting(me_x=forever, a_y=fine)
    record = await here.run("PARALLEL { CALL x; CALL y }; CALL y", timeout=asked)
    assert trio.current_time() == record.ended_at == seconds
    assert record.state == "failed"
    assert record.error is not None
    assert (record.error.code, record.error.detail) == ("timeout", f"the run took longer than {seconds} s")
    assert [step.state for step in record.steps] == ["cancelled", "succeeded", "skipped"]
    assert here.count("runs", "failed") == 1


async def test_the_deadline_is_that_of_the_scope_which_the_call_runs_in(autojump_clock: MockClock) -> None:
    deadlines: list[float] = []

    async def note(arguments: dict[str, Any]) -> ToolResult:
        deadlines.append(trio.current_effective_deadline())
        return await fine(arguments)

    here = setting(a_x=note)
    await here.run("CALL x", timeout=7)
    await here.executor.call(ToolRef("x"), {}, ANN)
    assert deadlines == [7, 60]


# -- cancelling ------------------------------------------------------------------------------------


async def test_cancel_returns_when_everything_has_really_ended(autojump_clock: MockClock) -> None:
    here = setting(a_x=stubborn, me_y=fine)
    records: list[RunRecord] = []

    async def execute() -> None:
        records.append(await here.run("CALL y; PARALLEL { CALL x; CALL x }; CALL y"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute)
        await wait_all_tasks_blocked()
        nursery.start_soon(here.executor.cancel, "r1")
        await trio.sleep(1)
        assert here.executor.get("r1").state == "cancelling"
        record = await here.executor.cancel("r1")
        assert trio.current_time() == 2
    assert records == [record]
    assert (record.state, record.error, record.ended_at) == ("cancelled", None, 2)
    assert [step.state for step in record.steps] == ["succeeded", "cancelled", "cancelled", "skipped"]
    assert here.count("runs", "cancelled") == 1


async def test_cancelling_the_caller_cancels_its_run_which_is_recorded(autojump_clock: MockClock) -> None:
    here = setting(a_x=stubborn)
    with here.bus.subscribe(types=["run"]) as events:
        with trio.move_on_after(3) as scope:
            await here.run("CALL x")
        batch = events.receive_nowait().events
    assert scope.cancelled_caught
    record = here.executor.get("r1")
    assert (record.state, record.steps[0].state, record.ended_at) == ("cancelled", "cancelled", 5)
    assert [event.type for event in batch] == ["run.started", "run.cancelling", "run.finished"]
    assert batch[-1].fields["state"] == "cancelled"
    assert here.executor.running == 0


async def test_a_run_that_has_ended_or_never_was_cannot_be_cancelled() -> None:
    here = setting(me_x=fine)
    await here.run("CALL x")
    with pytest.raises(PraxisError, match="run r1 has ended already: succeeded") as ended:
        await here.executor.cancel("r1")
    assert (ended.value.code, here.executor.get("r1").state) == ("conflict", "succeeded")
    with pytest.raises(PraxisError, match="no run 'r2'"):
        await here.executor.cancel("r2")


async def test_all_runs_are_cancelled_at_once_and_their_callers_get_the_record(autojump_clock: MockClock) -> None:
    here = setting(a_x=stubborn, me_y=fine)
    await here.run("CALL y")
    states: list[str] = []

    async def execute() -> None:
        states.append((await here.run("CALL x")).state)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute)
        nursery.start_soon(execute)
        await wait_all_tasks_blocked()
        here.executor.cancel_all()
        assert [here.executor.get(id).state for id in ("r2", "r3")] == ["cancelling", "cancelling"]
        with trio.fail_after(60):
            await here.executor.wait_idle()
        assert trio.current_time() == 2
    assert states == ["cancelled", "cancelled"]
    assert here.executor.get("r1").state == "succeeded"


# -- single calls ----------------------------------------------------------------------------------


async def test_a_single_call_returns_the_result_unchanged_and_is_no_run() -> None:
    here = setting(a_x=fine, b_x=fine)
    result = await here.executor.call(ToolRef("x"), {"n": 1}, ANN, peer_id="px-b")
    assert result.value == ToolResult.of_text("fine", structured={"n": 1}).value
    assert here.network.asked == ["b:fs/x"]
    assert here.network.contexts == [CallContext("ann")]
    assert here.executor.list_runs() == ([], None)
    with pytest.raises(PraxisError, match="has 2 owners"):
        await here.executor.call(ToolRef("x"), {}, ANN)


async def test_a_single_call_that_is_late_may_have_been_delivered(autojump_clock: MockClock) -> None:
    here = setting(("x",), me_x=PraxisError("busy", "full"), a_x=forever, b_x=fine)
    with pytest.raises(PraxisError, match=r"no answer within runs\.timeout, 60 s") as caught:
        await here.executor.call(ToolRef("x"), {}, ANN)
    assert (caught.value.code, caught.value.delivered, trio.current_time()) == ("timeout", True, 60)
    assert here.network.asked == ["me:fs/x", "a:fs/x"], "the first did not get it, the second may have"


async def test_cancelling_a_single_call_is_no_timeout(autojump_clock: MockClock) -> None:
    here = setting(a_x=stubborn)
    with trio.move_on_after(1) as scope:
        await here.executor.call(ToolRef("x"), {}, ANN)
    assert scope.cancelled_caught
    assert trio.current_time() == 3
