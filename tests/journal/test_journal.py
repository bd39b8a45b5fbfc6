"""The journal: what has been kept is there after the process was killed, and nothing is lost silently."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.journal.database import SCHEMA
from praxis.journal.journal import Journal
from praxis.model.errors import PraxisError
from praxis.model.run import Attempt, CandidateScore, Problem, RouteChoice, RunRecord, StepRecord
from praxis.observe.metrics import Metrics

SCORE = CandidateScore("a:b/c", "a", None, 0.5, 1, 1, 0, 1, "here")
STEP = StepRecord(
    "s1[0]",
    "b/c",
    "succeeded",
    RouteChoice("a:b/c", "a", None, "local", ("d:b/c",), (SCORE,)),
    {"content": [{"type": "text", "text": "ä\ud800"[:1]}], "structuredContent": {"n": [1, None, 2.5]}},
    None,
    1.0,
    2.0,
    "x",
    (Attempt(0.5, 0.9, "a", Problem("timeout", "late", data={"s": 1})),),
    cached=True,
    place=(3, 0),
)
RUN = RunRecord("r1", "running", "ann", "CALL c", (STEP,), 1.0, params={"p": [1]}, needs_secrets=("k",))


@asynccontextmanager
async def opened(path: Path, *, keep: int = 100, age: float = 1e9, now: float = 10.0) -> AsyncIterator[Journal]:
    journal = Journal(path / "runs.db", keep=keep, age=age, clock=lambda: now, metrics=Metrics())
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


async def test_what_was_kept_is_there_again_as_it_was(tmp_path: Path) -> None:
    ended = attrs.evolve(
        RUN, state="failed", ended_at=3.0, error=Problem("tool_error", "no", "try", "step s1", {"a": 1})
    )
    async with opened(tmp_path) as journal:
        await journal.begin(RUN, key="k", request="d")
        await journal.step("r1", attrs.evolve(STEP, state="running"))
        await journal.end(ended, [STEP])
        assert await journal.find("r1") == ended
        assert await journal.find("r2") is None
    async with opened(tmp_path) as journal:
        assert await journal.find("r1") == ended
        assert await journal.by_key("k") == ("r1", "d")
        assert await journal.by_key("other") is None
        assert [run.id for run in await journal.page(10, None)] == ["r1"]
    assert stat.S_IMODE((tmp_path / "runs.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["ä\ud800", "\udfff", "\0", "𝄞 ü"], ids=ascii)
async def test_every_text_that_json_can_carry_is_kept(tmp_path: Path, text: str) -> None:
    """Half a surrogate pair too, as some programs cut texts: it comes in requests and results, and UTF-8 has none."""
    run, step = attrs.evolve(RUN, params={text: text}, steps=()), attrs.evolve(STEP, result={"content": [text]})
    async with opened(tmp_path) as journal:
        await journal.begin(run)
        await journal.step("r1", step)
    async with opened(tmp_path) as journal:
        kept = await journal.find("r1")
        assert kept is not None
        assert kept.params == {text: text}
        assert kept.steps == (step,)


async def test_what_is_nested_too_deeply_is_refused_and_all_else_is_kept(tmp_path: Path) -> None:
    def nested(levels: int) -> Any:
        return {"a": nested(levels - 1)} if levels else 1

    deep: Any = 1
    for _ in range(100_000):
        deep = {"a": deep}
    async with opened(tmp_path) as journal:
        with pytest.raises(PraxisError, match="nested too deeply") as caught:
            await journal.step("r1", attrs.evolve(STEP, result=deep))
        assert caught.value.code == "too_large"
        await journal.begin(RUN)
        step = attrs.evolve(STEP, result=nested(500))
        await journal.step("r1", step)
        kept = await journal.find("r1")
        assert kept is not None
        assert kept.steps == (step,)


async def test_runs_that_were_under_way_are_interrupted_at_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        for number, state in enumerate(("queued", "running", "cancelling", "succeeded", "needs secrets")):
            run = attrs.evolve(RUN, id=f"r{number}", state=state, steps=())  # type: ignore[arg-type]
            await journal.begin(run)
        await journal.step("r1", attrs.evolve(STEP, state="running"))
        await journal.step("r1", attrs.evolve(STEP, id="s2"))
    async with opened(tmp_path) as journal:
        assert await journal.interrupted() == ["r0", "r1", "r2"]
        kept = await journal.find("r1")
        assert kept is not None
        assert {step.id: step.state for step in kept.steps} == {"s1[0]": "interrupted", "s2": "succeeded"}
        assert [r.state for r in await journal.page(5, None)] == ["needs secrets", "succeeded", *["interrupted"] * 3]


async def test_who_writes_at_once_shares_a_transaction(tmp_path: Path) -> None:
    metrics = Metrics()
    journal = Journal(tmp_path / "runs.db", keep=9, age=9, clock=lambda: 0.0, metrics=metrics)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        async with trio.open_nursery() as writers:
            for number in range(200):
                writers.start_soon(journal.step, "r1", attrs.evolve(STEP, id=f"s{number}"))
        nursery.cancel_scope.cancel()
    assert metrics.counter("praxis_journal_writes_total", "").value() == 200
    assert metrics.counter("praxis_journal_commits_total", "").value() <= 20


async def test_pages_go_from_the_newest_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        for number in range(5):
            await journal.begin(attrs.evolve(RUN, id=f"r{number}"))
        assert [run.id for run in await journal.page(2, None)] == ["r4", "r3"]
        assert [run.id for run in await journal.page(9, "r2")] == ["r2", "r1", "r0"]
        with pytest.raises(PraxisError, match="no page begins"):
            await journal.page(2, "nope")


async def test_ended_runs_go_by_count_and_by_age_and_others_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        for number in range(6):
            ended = None if number == 0 else float(number)
            state = "running" if number == 0 else "succeeded"
            run = attrs.evolve(RUN, id=f"r{number}", state=state, ended_at=ended)  # type: ignore[arg-type]
            await journal.begin(run)
            await journal.end(run, [STEP])
    async with opened(tmp_path, keep=3) as journal:
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert [run.id for run in await journal.page(9, None)] == ["r5", "r4", "r3", "r0"]
    async with opened(tmp_path, age=5.5) as journal:
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert [run.id for run in await journal.page(9, None)] == ["r5", "r0"]
        assert await journal.find("r4") is None
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        assert connection.execute("SELECT COUNT(*) FROM steps").fetchone() == (2,)


async def test_a_damaged_file_is_moved_aside_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "runs.db").write_bytes(b"this is no database at all, and long enough to be read as one" * 50)
    async with opened(tmp_path) as journal:
        await journal.begin(RUN)
        assert await journal.find("r1") is not None
    (aside,) = await trio.to_thread.run_sync(lambda: list(tmp_path.glob("runs.db.damaged-*")))
    assert aside.name in caplog.text


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(PraxisError, match="newer version"):
        Journal(tmp_path / "runs.db", keep=1, age=1, clock=lambda: 0.0, metrics=Metrics())
    assert {entry.name for entry in os.scandir(tmp_path)} == {"runs.db"}


async def test_what_cannot_be_kept_is_told_to_whoever_wanted_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.begin(RUN)
        with sqlite3.connect(tmp_path / "runs.db") as other:
            other.execute("DROP TABLE steps")
        with pytest.raises(PraxisError, match="the journal cannot be used") as caught:
            await journal.step("r1", STEP)
        assert caught.value.code == "unavailable"
        await journal.begin(attrs.evolve(RUN, id="r2"))
