"""The runs in memory: found again, paged, and bounded in number and in size."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.dsl.parser import parse
from praxis.model.errors import PraxisError
from praxis.model.plan import RunState
from praxis.model.run import Problem
from praxis.model.tool import Tool
from praxis.workflow import runs as module
from praxis.workflow.planner import plan
from praxis.workflow.router import Candidate, Route
from praxis.workflow.runs import STEP_BYTES, Run, RunStore, problem_of

PROGRAM = "CALL a -> x\nCALL b ${x}"
ROUTE = Route((Candidate(Tool("me", "fs", {"name": "a"}), None),), "local")


def make_run(id: str, program: str = PROGRAM) -> Run:
    planned = plan(parse(program))
    return Run(id, program, "ann", planned, {step.id: ROUTE for step in planned.steps}, 5.0)


def end(store: RunStore, run: Run, result: Any = None, state: RunState = "succeeded") -> None:
    run.state = state
    run.steps["s1"] = attrs.evolve(run.steps["s1"], state="succeeded", result=result)
    store.ended(run)


def begun(store: RunStore, *ids: str) -> list[Run]:
    runs = [make_run(id) for id in ids]
    for run in runs:
        store.add(run)
    return runs


def ids(store: RunStore) -> list[str]:
    return [record.id for record in store.page(100, None)[0]]


# -- records ---------------------------------------------------------------------------------------


def test_a_new_run_shows_each_step_pending_with_its_route() -> None:
    record = make_run("r1").record
    assert (record.id, record.state, record.caller, record.program) == ("r1", "running", "ann", PROGRAM)
    assert (record.created_at, record.ended_at, record.error, record.result) == (5.0, None, None, None)
    assert [(step.id, step.tool, step.state, step.bind) for step in record.steps] == [
        ("s1", "a", "pending", "x"),
        ("s2", "b", "pending", None),
    ]
    assert all(step.route == ROUTE.choice for step in record.steps)


def test_a_record_does_not_change_when_the_run_goes_on() -> None:
    run = make_run("r1")
    before = run.record
    run.steps["s1"] = attrs.evolve(run.steps["s1"], state="failed", error=Problem("timeout", "late"))
    run.state, run.error, run.ended_at = "failed", Problem("timeout", "late"), 7.0
    assert (before.state, before.steps[0].state) == ("running", "pending")
    after = run.record
    assert (after.state, after.steps[0].state, after.ended_at) == ("failed", "failed", 7.0)
    assert after.error == after.steps[0].error == Problem("timeout", "late")


def test_the_result_of_a_run_is_that_of_its_last_step_that_has_one() -> None:
    run = make_run("r1")
    run.steps["s1"] = attrs.evolve(run.steps["s1"], result={"content": [1]})
    assert run.record.result == {"content": [1]}
    run.steps["s2"] = attrs.evolve(run.steps["s2"], result={"content": [2]})
    assert run.record.result == {"content": [2]}


def test_an_error_becomes_a_problem_with_all_that_is_told() -> None:
    error = PraxisError("busy", "full", hint="wait", where="line 1", data={"a": 1})
    assert problem_of(error) == Problem("busy", "full", "wait", "line 1", {"a": 1})


# -- finding ---------------------------------------------------------------------------------------


def test_runs_are_found_by_id_and_an_unknown_one_is_named() -> None:
    store = RunStore(keep=2)
    (run,) = begun(store, "r1")
    assert store.get("r1") is run
    assert (store.has("r1"), store.has("r2"), len(store)) == (True, False, 1)
    with pytest.raises(PraxisError, match=r"no run 'r2' \(.*runs\.retention\)") as caught:
        store.get("r2")
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(("state", "running"), [("running", True), ("cancelling", True), ("failed", False)])
def test_a_run_is_under_way_until_it_has_ended(state: RunState, running: bool) -> None:
    store = RunStore(keep=2)
    (run,) = begun(store, "r1")
    run.state = state
    assert store.running() == ([run] if running else [])


def test_pages_go_from_the_newest_run_to_the_oldest() -> None:
    store = RunStore(keep=9)
    begun(store, "a", "b", "c", "d", "e")
    first, cursor = store.page(2, None)
    assert ([run.id for run in first], cursor) == (["e", "d"], "c")
    begun(store, "f")
    second, cursor = store.page(2, cursor)
    assert ([run.id for run in second], cursor) == (["c", "b"], "a")
    last, cursor = store.page(2, cursor)
    assert ([run.id for run in last], cursor) == (["a"], None)


def test_a_page_that_ends_with_the_last_run_has_no_successor() -> None:
    store = RunStore(keep=9)
    begun(store, "a", "b")
    assert store.page(2, None)[1] is None
    assert RunStore(keep=9).page(2, None) == ([], None)


def test_a_cursor_whose_run_has_gone_is_refused() -> None:
    with pytest.raises(PraxisError, match="no page begins at 'gone' any more") as caught:
        RunStore(keep=1).page(1, "gone")
    assert (caught.value.code, caught.value.where) == ("invalid", "cursor")


# -- bounds ----------------------------------------------------------------------------------------


def test_only_so_many_ended_runs_are_kept_and_running_ones_always() -> None:
    store = RunStore(keep=2)
    for run in begun(store, "on", *"abcd")[1:]:
        end(store, run)
    assert ids(store) == ["d", "c", "on"]


def test_the_run_that_ended_first_goes_first_not_the_one_that_began_first() -> None:
    store = RunStore(keep=2)
    long, a, b, c = begun(store, "long", "a", "b", "c")
    for run in (a, b, long, c):
        end(store, run)
    assert ids(store) == ["c", "long"]


def test_large_results_push_older_runs_out_however_few_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETAINED_BYTES", 100_000)
    store = RunStore(keep=1000)
    a, b, c = begun(store, "a", "b", "c")
    end(store, a, {"content": ["x" * 40_000]})
    end(store, b, {"content": ["x" * 40_000]})
    assert ids(store) == ["c", "b", "a"]
    assert 80_000 < store.bytes < 100_000
    end(store, c, {"content": ["x" * 40_000]})
    assert ids(store) == ["c", "b"]
    assert 80_000 < store.bytes < 100_000


def test_the_latest_run_is_kept_even_if_it_alone_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETAINED_BYTES", 10_000)
    store = RunStore(keep=5)
    a, b, c = begun(store, "a", "b", "c")
    end(store, a)
    end(store, b, {"content": ["x" * 50_000]})
    assert ids(store) == ["c", "b"]
    end(store, c)
    assert ids(store) == ["c"]
    assert store.bytes < 10_000


def test_what_errors_carry_and_steps_without_results_count_too() -> None:
    store = RunStore(keep=9)
    (one,) = begun(store, "one")
    end(store, one)
    bare = store.bytes
    assert bare >= 2 * STEP_BYTES + len(PROGRAM)
    (two,) = begun(store, "two")
    two.steps["s2"] = attrs.evolve(two.steps["s2"], error=Problem("internal", "d" * 1000, data={"k": ["v" * 2000]}))
    end(store, two, state="failed")
    assert store.bytes - bare >= bare + 3000


def test_a_result_as_deep_as_it_likes_is_weighed() -> None:
    deep: Any = "x" * 5000
    for _ in range(5000):
        deep = {"k": [deep]}
    store = RunStore(keep=1)
    (run,) = begun(store, "r1")
    end(store, run, {"content": [], "structuredContent": deep})
    assert store.bytes > 10_000


@given(st.integers(1, 4), st.lists(st.integers(0, 3), max_size=30))
def test_the_books_are_right_whatever_the_order(keep: int, choices: list[int]) -> None:
    store, under_way, ended = RunStore(keep=keep), list[Run](), list[str]()
    for number, choice in enumerate(choices):
        if choice or not under_way:
            under_way += begun(store, f"r{number}")
        else:
            run = under_way.pop(number % len(under_way))
            end(store, run, {"content": ["x" * number]})
            ended.append(run.id)
    assert set(ids(store)) == {run.id for run in under_way} | set(ended[-keep:])
    assert store.bytes == sum(store.get(id).weight for id in ended[-keep:])
    assert [run.id for run in store.running()] == [run.id for run in under_way]
