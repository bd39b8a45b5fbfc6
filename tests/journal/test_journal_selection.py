"""Runs chosen by state, context and time, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from praxis.journal.database import PUT_RUN, PUT_STEP, Database
from praxis.journal.records import encode
from praxis.journal.selection import Selected, Selection, select
from praxis.model.errors import PraxisError
from praxis.model.plan import RunState
from praxis.model.run import RunRecord, StepRecord

RUNS: tuple[tuple[str, RunState, float, float | None, str], ...] = (
    ("a", "succeeded", 10.0, 90.5, "one"),
    ("b", "failed", 20.0, 30.000001, ""),
    ("c", "queued", 40.0, None, "one"),
    ("d", "interrupted", 50.0, None, "two"),
    ("e", "succeeded", 60.0, 90.5, "two"),
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "runs.db")
    for id, state, created, ended, context in RUNS:
        run = RunRecord(id, state, "ann", "CALL x", (), created, ended, context=context)
        database.write([(PUT_RUN, (id, state, created, ended, None, None, encode(run)))])
    return database


def ids(found: Selected) -> str:
    return "".join(run.id for run in found.runs)


def test_what_changed_last_comes_first(database: Database) -> None:
    found = select(database, Selection(10), {})
    assert (ids(found), found.total, found.cursor) == ("eadcb", 5, "")
    assert found.runs[0].context == "two"


def test_pages_go_through_all_once_also_where_times_are_the_same(database: Database) -> None:
    for size in (1, 2, 3, 4):
        seen, cursor = "", ""
        while True:
            found = select(database, Selection(size, cursor=cursor), {})
            assert (found.total, len(found.runs) <= size) == (5, True)
            seen, cursor = seen + ids(found), found.cursor
            if not cursor:
                break
        assert seen == "eadcb"


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(9, context="one"), "ac"),
        (Selection(9, context="b"), "b"),  # without a context of its own a run is its own
        (Selection(9, context="a"), ""),
        (Selection(9, states=frozenset({"succeeded"})), "ea"),
        (Selection(9, states=frozenset({"interrupted", "failed"})), "db"),
        (Selection(9, states=frozenset({"succeeded"}), context="two"), "e"),
        (Selection(9, since=50.0), "ead"),
        (Selection(9, since=50.000001), "ea"),
    ],
)
def test_a_selection_narrows_and_counts(database: Database, selection: Selection, expected: str) -> None:
    found = select(database, selection, {})
    assert (ids(found), found.total) == (expected, len(expected))


def test_the_states_of_what_is_under_way_are_newer_than_the_journals(database: Database) -> None:
    under_way: Mapping[str, RunState] = {"c": "running", "d": "queued"}
    for state, expected in (("running", "c"), ("queued", "d"), ("interrupted", "")):
        states: frozenset[RunState] = frozenset({state})  # type: ignore[arg-type]
        assert ids(select(database, Selection(9, states=states), under_way)) == expected


def test_steps_are_read_only_where_they_are_wanted(database: Database) -> None:
    step = StepRecord("s1", "x", "succeeded", result={"content": []})
    database.write([(PUT_STEP, ("e", "s1", step.state, encode(step)))])
    assert select(database, Selection(1), {}).runs[0].steps == (step,)
    (run,) = select(database, Selection(1, steps=False), {}).runs
    assert (run.id, run.state, run.ended_at, run.steps) == ("e", "succeeded", 90.5, ())


@pytest.mark.parametrize("cursor", ["x", "1", "1_", "_1", "1.5_1", "1_1;", "9" * 19 + "_1", "\u0663_1"])
def test_a_cursor_that_no_page_gave_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(PraxisError, match="no page begins"):
        select(database, Selection(9, cursor=cursor), {})
