"""Runs that go on: after the end of the agent, after a failure, after their steps were counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from praxis.config.schema import Llm
from praxis.journal.journal import Journal
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import ToolResult
from praxis.observe.metrics import Metrics
from praxis.workflow.history import History
from praxis.workflow.order import Order
from tests.workflow.executor_kit import ANN, Setting, setting

IDEMPOTENT = {"idempotentHint": True}


@attrs.frozen
class Life:
    """An agent from its start to its end, with its journal."""

    here: Setting
    history: History
    journal: Journal

    async def states(self, run_id: str) -> dict[str, str]:
        return {step.id: step.state for step in (await self.history.find(run_id)).steps}


@asynccontextmanager
async def life(path: Path, *, annotations: dict[str, bool] = {}, **answers: Any) -> AsyncIterator[Life]:  # noqa: B006
    journal = Journal(path / "runs.db", keep=99, age=1e9, clock=trio.current_time, metrics=Metrics())
    here = setting(annotations=annotations, journal=journal, **answers)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield Life(here, History(here.executor, here.network), journal)
        nursery.cancel_scope.cancel()


class Tape:
    """Appends what it is asked; stops the world at one number, as a kill does."""

    def __init__(self, stop_at: int | None = None, fail_at: int | None = None) -> None:
        self.written: list[Any] = []
        self.stop_at, self.fail_at = stop_at, fail_at
        self.stopped = trio.Event()

    async def __call__(self, arguments: dict[str, Any]) -> ToolResult:
        await trio.lowlevel.checkpoint()
        self.written.append(arguments["n"])
        if arguments["n"] == self.stop_at:
            self.stopped.set()
            await trio.sleep_forever()
        if arguments["n"] == self.fail_at:
            return ToolResult.of_text("broken", is_error=True)
        return ToolResult.of_text("", structured={"n": arguments["n"]})


PROGRAM = "FOREACH n IN '[1,2,3]' { CALL tape ${n} -> r } -> all\nCALL tape ${all[2].n}"


async def killed(path: Path, tape: Tape, program: str = PROGRAM, **more: Any) -> None:
    """A run whose process ends in the middle: the journal's file is put aside at that moment and back afterwards."""
    async with life(path, me_tape=tape, **more.pop("life", {})) as it, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: it.here.executor.execute(program, ANN, order=Order(run_id="r", **more)))
        await tape.stopped.wait()
        saved = {
            name: await trio.Path(path / name).read_bytes()
            for name in ("runs.db", "runs.db-wal")
            if await trio.Path(path / name).exists()
        }
        nursery.cancel_scope.cancel()
    for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
        await trio.Path(path / name).unlink(missing_ok=True)
        if name in saved:
            await trio.Path(path / name).write_bytes(saved[name])


async def test_a_run_goes_on_where_it_was_and_repeats_nothing_that_has_ended(tmp_path: Path) -> None:
    await killed(tmp_path, Tape(stop_at=2))
    tape = Tape()
    async with life(tmp_path, annotations=IDEMPOTENT, me_tape=tape) as it:
        assert (await it.history.find("r")).state == "interrupted"
        before = await it.states("r")
        assert (before["s2[0]"], before["s2[1]"]) == ("succeeded", "interrupted")
        record = await it.history.resume("r", ANN, secrets={})
        assert record.state == "succeeded", record.error
        assert tape.written == [2, 3, 3]
        assert await it.states("r") == {
            "s3": "succeeded",
            "s2[0]": "succeeded",
            "s2[1]": "succeeded",
            "s2[2]": "succeeded",
        }
        with pytest.raises(PraxisError, match="it is succeeded"):
            await it.history.resume("r", ANN, secrets={})


async def test_a_run_of_a_request_goes_on_by_its_graph(tmp_path: Path) -> None:
    nodes = [{"id": f"n{n}", "tool": "me:fs/tape", "arguments": {"n": n}} for n in (1, 2, 3)]
    edges = [{"source": "n1", "target": "n2"}, {"source": "n2", "target": "n3"}]
    program = json.dumps({"request": "write on the tape", "say": "It writes.", "nodes": nodes, "edges": edges})
    await killed(tmp_path, Tape(stop_at=2), program, key="k", request="write on the tape")
    tape = Tape()
    async with life(tmp_path, annotations=IDEMPOTENT, me_tape=tape) as it:
        record = await it.history.resume("r", ANN, secrets={})
        assert (record.state, record.program, tape.written) == ("succeeded", program, [2, 3])
        order = Order(key="k", request="write on the tape")
        same = await it.here.asking(Llm()).run("write on the tape", ANN, order)
        assert same.id == "r", "no model is needed for what was run already"


async def test_a_step_that_may_have_happened_is_repeated_on_demand_alone(tmp_path: Path) -> None:
    await killed(tmp_path, Tape(stop_at=2))
    tape = Tape()
    async with life(tmp_path, me_tape=tape) as it:
        with pytest.raises(PraxisError, match="whether it happened is not known") as caught:
            await it.history.resume("r", ANN, secrets={})
        assert (caught.value.code, caught.value.data["step"]) == ("conflict", "s2[1]")
        assert (await it.history.find("r")).state == "interrupted"
        assert tape.written == []
        assert (await it.history.resume("r", ANN, secrets={}, repeat=True)).state == "succeeded"
        assert tape.written == [2, 3, 3]


async def test_runs_go_on_by_themselves_as_far_as_they_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await killed(tmp_path, Tape(stop_at=2))
    tape = Tape()
    async with life(tmp_path, me_tape=tape) as it:
        await it.history.resume_all()
        assert "whether it happened is not known" in caplog.text
        assert tape.written == []
    async with life(tmp_path, annotations=IDEMPOTENT, me_tape=tape) as it:
        await it.history.resume_all()
        assert (await it.history.find("r")).state == "succeeded"


async def test_a_run_that_needs_secrets_waits_for_them(tmp_path: Path) -> None:
    program = "CALL tape 1\nCALL tape ${secrets.k}"
    await killed(tmp_path, Tape(stop_at=1), program, secrets={"k": "5555"})
    text = b"".join([await path.read_bytes() async for path in _files(tmp_path)])
    assert b"secrets.k" in text
    assert b"5555" not in text
    tape = Tape()
    async with life(tmp_path, annotations=IDEMPOTENT, me_tape=tape) as it:
        await it.history.resume_all()
        assert (await it.history.find("r")).state == "needs secrets"
        with pytest.raises(PraxisError, match="needs secrets: k"):
            await it.history.resume("r", ANN, secrets={})
        assert (await it.history.resume("r", ANN, secrets={"k": "7777"})).state == "succeeded"
        assert tape.written == [1, 7777]


async def _files(path: Path) -> AsyncIterator[trio.Path]:
    for entry in await trio.Path(path).iterdir():
        yield entry


async def test_an_ended_run_is_run_again_whole_or_from_where_it_failed(tmp_path: Path) -> None:
    tape = Tape(fail_at=2)
    async with life(tmp_path, me_tape=tape) as it:
        first = await it.here.run(PROGRAM, order=Order({"p": 1}))
        assert (first.state, tape.written) == ("failed", [1, 2])
        tape.fail_at = None
        second = await it.history.retry(first.id, ANN, secrets={}, from_failed=True)
        assert (second.state, tape.written[2:], second.params) == ("succeeded", [2, 3, 3], {"p": 1})
        assert second.id != first.id
        third = await it.history.retry(first.id, ANN, secrets={})
        assert (third.state, tape.written[5:]) == ("succeeded", [1, 2, 3, 3])
    async with life(tmp_path, me_tape=tape) as it:
        again = await it.history.find(second.id)
        assert again == attrs.evolve(second, steps=again.steps)
        assert {step.id: step.state for step in again.steps} == {step.id: step.state for step in second.steps}


async def test_what_counted_of_an_earlier_run_counts_after_a_kill_too(tmp_path: Path) -> None:
    async with life(tmp_path, me_tape=Tape(fail_at=3)) as it:
        first = await it.here.run(PROGRAM)
        done = {step.id: step for step in first.steps if step.state == "succeeded"}
        assert done.keys() == {"s2[0]", "s2[1]"}
    await killed(tmp_path, Tape(stop_at=3), done=done)  # as a retry with from_failed begins
    tape = Tape()
    async with life(tmp_path, me_tape=tape) as it:
        assert (await it.states("r"))["s2[0]"] == "succeeded"
        assert (await it.history.resume("r", ANN, secrets={}, repeat=True)).state == "succeeded"
    assert tape.written == [3, 3]


async def test_a_run_goes_on_once_whoever_asks_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await killed(tmp_path, Tape(stop_at=2))
    tape, looking, go_on = Tape(), trio.Event(), trio.Event()
    async with life(tmp_path, me_tape=tape) as it, trio.open_nursery() as nursery:

        async def slowly(refs: object) -> None:
            monkeypatch.undo()
            looking.set()
            await go_on.wait()

        async def too_late() -> None:
            with pytest.raises(PraxisError, match="run r has gone on already") as caught:
                await it.history.resume("r", ANN, secrets={}, repeat=True)
            assert caught.value.code == "conflict"

        monkeypatch.setattr(it.here.network, "prepare", slowly)
        nursery.start_soon(too_late)
        await looking.wait()
        assert (await it.history.resume("r", ANN, secrets={}, repeat=True)).state == "succeeded"
        go_on.set()
    assert tape.written == [2, 3, 3]


async def test_of_two_runs_with_one_id_at_once_the_second_is_refused(tmp_path: Path) -> None:
    tape, refused = Tape(), list[PraxisError]()
    async with life(tmp_path, me_tape=tape) as it:

        async def run() -> None:
            try:
                await it.here.run("CALL tape 1", run_id="mine")
            except PraxisError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(run)
    assert [error.code for error in refused] == ["conflict"]
    assert tape.written == [1]


async def test_one_key_at_once_is_one_run_although_others_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, records = Tape(), list[RunRecord]()
    async with life(tmp_path, me_tape=tape) as it:

        async def prepare(refs: object) -> None:
            await trio.testing.wait_all_tasks_blocked()

        async def run() -> None:
            records.append(await it.here.run("CALL tape 1", order=Order(key="k")))

        monkeypatch.setattr(it.here.network, "prepare", prepare)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(run)
    assert len(records) == 3
    assert len({record.id for record in records}) == 1
    assert tape.written == [1]


async def test_a_key_of_a_run_that_goes_on_waits_for_its_end(tmp_path: Path) -> None:
    await killed(tmp_path, Tape(stop_at=2), key="k")
    tape, records = Tape(stop_at=2), list[RunRecord]()
    async with life(tmp_path, annotations=IDEMPOTENT, me_tape=tape) as it, trio.open_nursery() as nursery:

        async def again() -> None:
            records.append(await it.here.run(PROGRAM, order=Order(key="k")))

        nursery.start_soon(lambda: it.history.resume("r", ANN, secrets={}))
        await tape.stopped.wait()
        nursery.start_soon(again)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not records
        await it.history.cancel("r")
    assert [(record.id, record.state) for record in records] == [("r", "cancelled")]


async def test_an_interrupted_run_can_be_cancelled_for_good(tmp_path: Path) -> None:
    await killed(tmp_path, Tape(stop_at=2))
    async with life(tmp_path, annotations=IDEMPOTENT, me_tape=Tape()) as it:
        assert (await it.history.cancel("r")).state == "cancelled"
        assert (await it.states("r"))["s2[1]"] == "cancelled"
        for again in (it.history.cancel("r"), it.history.resume("r", ANN, secrets={})):
            with pytest.raises(PraxisError) as caught:
                await again
            assert caught.value.code == "conflict"
        await it.history.resume_all()
        assert (await it.history.find("r")).state == "cancelled"


async def test_runs_of_earlier_lives_are_listed_before_those_of_now(tmp_path: Path) -> None:
    async def fine(arguments: dict[str, Any]) -> ToolResult:
        await trio.lowlevel.checkpoint()
        return ToolResult.of_text("fine")

    async with life(tmp_path, me_x=fine) as it:
        for number in range(3):
            await it.here.run("CALL x", run_id=f"old{number}")
    async with life(tmp_path, me_x=fine) as it:
        await it.here.run("CALL x", run_id="new")
        page, cursor = await it.history.page(limit=2)
        rest, end = await it.history.page(limit=5, cursor=cursor)
        assert [run.id for run in (*page, *rest)] == ["new", "old2", "old1", "old0"]
        assert end is None
        assert page[0].steps == 1
        error = await it.here.refusal("CALL x", run_id="old1")
        assert error.code == "conflict"
        with pytest.raises(PraxisError) as caught:
            await it.history.find("nope")
        assert caught.value.code == "not_found"


async def test_a_key_is_known_in_later_lives(tmp_path: Path) -> None:
    tape = Tape()
    records: list[RunRecord] = []
    for _ in range(2):
        async with life(tmp_path, me_tape=tape) as it:
            records.append(await it.here.run("CALL tape 1", order=Order(key="k")))
    assert records[0].id == records[1].id
    assert tape.written == [1]


async def test_what_the_journal_cannot_keep_has_not_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape()
    async with life(tmp_path, me_tape=tape) as it:

        async def full(run_id: str, step: object) -> None:
            await trio.lowlevel.checkpoint()
            raise PraxisError("unavailable", "the journal cannot be used: disk full")

        monkeypatch.setattr(it.journal, "step", full)
        record = await it.here.run("CALL tape 1\nCALL tape 2")
        assert record.error is not None
        assert (record.state, record.error.code, tape.written) == ("failed", "unavailable", [])


async def test_what_a_secret_was_taken_out_of_is_made_again_and_never_passed_on(tmp_path: Path) -> None:
    got: list[Any] = []

    async def login(arguments: dict[str, Any]) -> ToolResult:
        await trio.lowlevel.checkpoint()
        got.append(arguments["n"])
        return ToolResult.of_text("", structured={"token": "very-secret"}, is_error=len(got) == 2)

    schema = {"type": "object", "properties": {"n": {"type": "string"}}}
    program = "CALL login ${secrets.s} -> r\nCALL login ${r.token}"
    async with life(tmp_path, me_login=login, annotations={}) as it:
        it.here.network.view = setting(me_login=login, schema=schema).network.view
        first = await it.here.run(program, order=Order(secrets={"s": "very-secret"}))
        assert (first.state, first.steps[0].masked) == ("failed", True)
        again = await it.history.retry(first.id, ANN, secrets={"s": "very-secret"}, from_failed=True)
        assert again.state == "succeeded"
        assert got == ["very-secret"] * 4, "both calls again, with the secret itself"


async def test_the_end_of_a_run_is_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    async with life(tmp_path, me_tape=tape) as it:
        database = it.journal._database
        write, full = database.write, True

        def limited(writes: Any) -> None:
            if full and any("succeeded" in str(values) for _, values in writes):
                raise PraxisError("unavailable", "the journal cannot be used: database or disk is full")
            write(writes)

        monkeypatch.setattr(database, "write", limited)
        record = await it.here.run("CALL tape 1", run_id="r")
        assert record.state == "failed"
        full = False
        with trio.fail_after(10):
            while (await it.journal.find("r") or record).state != "failed" or it.journal.trouble:  # noqa: ASYNC110
                await trio.sleep(0.05)
    async with life(tmp_path, me_tape=tape) as it:
        assert (await it.history.find("r")).state == "failed"
