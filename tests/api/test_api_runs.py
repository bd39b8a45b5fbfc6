"""GET /runs, GET and DELETE /runs/{id}: what is under way, what ended, and how to end it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import trio

from praxis.api.records import run_json
from praxis.config.schema import Config, Retention, Runs
from praxis.model.run import Problem, RunRecord, StepRecord
from tests.api.api_kit import Served, serving
from tests.support.network import PATIENCE


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("runs")) as served:
        yield served


def limited(runs: Runs) -> Callable[[Config], Config]:
    return lambda config: attrs.evolve(config, runs=runs)


def newest(agent: Served) -> str:
    id = agent.get("/runs?limit=1").json["runs"][0]["run_id"]
    assert isinstance(id, str)
    return id


def test_a_run_can_be_looked_at_again_just_as_it_was_answered(agent: Served) -> None:
    run = agent.execute("CALL echo --text again").json
    assert agent.get(f"/runs/{run['run_id']}").json == run
    assert run["caller"] == "local"
    assert run["program"] == "CALL echo --text again"


def test_the_list_begins_with_the_newest_and_leaves_results_out(agent: Served) -> None:
    ids = [agent.execute(f"CALL echo --n {n}").json["run_id"] for n in range(2)]
    second, first = agent.get("/runs").json["runs"][:2]
    assert [first["run_id"], second["run_id"]] == ids
    assert (first["status"], first["steps"], first["program"]) == ("succeeded", 1, "CALL echo --n 0")
    assert "result" not in first


def test_a_long_program_is_cut_in_the_list_and_whole_in_the_run(agent: Served) -> None:
    program = "CALL echo # " + "x" * 500
    run = agent.execute(program).json
    assert agent.get("/runs?limit=1").json["runs"][0]["program"] == program[:200]
    assert run["program"] == program


def test_pages_go_through_all_runs_once(agent: Served) -> None:
    for _ in range(5):
        agent.execute("CALL echo")
    everything = [run["run_id"] for run in agent.get("/runs?limit=500").json["runs"]]
    seen: list[str] = []
    path = "/runs?limit=2"
    while True:
        page = agent.get(path).json
        assert len(page["runs"]) <= 2
        seen += [run["run_id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            break
        path = f"/runs?limit=2&cursor={page['next_cursor']}"
    assert seen == everything
    assert len(set(seen)) == len(seen) >= 5


@pytest.mark.parametrize("limit", ["0", "501", "-1", "+1", "1.0", "", "two", "٣", "00000000199999", "1" * 5000])
def test_a_bad_limit_is_named(agent: Served, limit: str) -> None:
    with agent.good_call():
        problem = agent.get(f"/runs?limit={quote(limit)}").problem(400, "invalid")
        assert problem["where"] == "query.limit"
        assert "from 1 to 500" in problem["detail"]
        assert len(problem["detail"]) < 100


def test_a_cursor_that_no_page_gave_is_refused(agent: Served) -> None:
    with agent.good_call():
        assert "nonsense" in agent.get("/runs?cursor=nonsense").problem(400, "invalid")["detail"]


def test_delete_cancels_the_run_and_answers_when_its_tool_has_ended(agent: Served) -> None:
    with agent.holding("CALL echo\nCALL hold\nCALL echo") as connection:
        id = newest(agent)
        assert agent.get(f"/runs/{id}").json["status"] == "running"
        reply = agent.ask("DELETE", f"/runs/{id}")
        assert agent.hand.ended.acquire(timeout=0)
        assert (reply.status, reply.json["run_id"], reply.json["status"]) == (200, id, "cancelled")
        assert [step["state"] for step in reply.json["steps"]] == ["succeeded", "cancelled", "skipped"]
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read()) == reply.json, "its caller is told, too"


def test_delete_cancels_that_run_alone(agent: Served) -> None:
    with agent.good_call(), agent.holding() as connection:
        assert agent.ask("DELETE", f"/runs/{newest(agent)}").json["status"] == "cancelled"
        assert json.loads(connection.getresponse().read())["status"] == "cancelled"
        assert agent.hand.ended.acquire(timeout=PATIENCE)


def test_a_run_that_has_ended_cannot_be_cancelled_and_stays_as_it_is(agent: Served) -> None:
    run = agent.execute("CALL echo").json
    with agent.good_call():
        problem = agent.ask("DELETE", f"/runs/{run['run_id']}").problem(409, "conflict")
    assert "succeeded" in problem["detail"]
    assert agent.get(f"/runs/{run['run_id']}").json == run


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("GET", "/events")])
@pytest.mark.parametrize("id", ["0123456789abcdef", "%00", "..", "%F0%9F", "x" * 3000])
def test_a_run_that_is_not_there_is_not_found(agent: Served, method: str, suffix: str, id: str) -> None:
    with agent.good_call():
        problem = agent.ask(method, f"/runs/{id}{suffix}").problem(404, "not_found")
        assert "no run" in problem["detail"]
        assert "runs.retention" in problem["hint"]


def test_one_run_too_many_is_refused_until_there_is_room(tmp_path: Path) -> None:
    with serving(tmp_path, change=limited(Runs(max_concurrent=1, queue=0))) as agent:
        with agent.good_call():
            reply = agent.execute("CALL echo")
            problem = reply.problem(429, "busy")
            assert reply.headers["Retry-After"] == "1"
            assert "runs.max_concurrent" in problem["hint"]
        assert agent.execute("CALL echo").json["status"] == "succeeded"


def test_runs_timeout_bounds_what_a_caller_may_ask_for(tmp_path: Path) -> None:
    with serving(tmp_path, change=limited(Runs(timeout=0.05))) as agent:
        run = agent.execute("CALL hold", timeout=60).json
        assert run["error"]["code"] == "timeout"
        problem = agent.ask("POST", "/call", {"tool": "hold"}).problem(504, "timeout")
        assert "runs.timeout" in problem["detail"]
        assert agent.hand.ended.acquire(timeout=0)
        assert agent.hand.ended.acquire(timeout=0)


def test_old_runs_make_room_and_are_not_found_then(tmp_path: Path) -> None:
    with serving(tmp_path, change=limited(Runs(retention=Retention(count=2)))) as agent:
        ids = [agent.execute("CALL echo").json["run_id"] for _ in range(3)]
        deadline = time.monotonic() + PATIENCE
        while len(agent.get("/runs").json["runs"]) > 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [run["run_id"] for run in agent.get("/runs").json["runs"]] == ids[:0:-1]
        agent.get(f"/runs/{ids[0]}").problem(404, "not_found")


def test_an_error_with_much_in_it_is_shown_whole() -> None:
    deep: Any = "bottom"
    for _ in range(600):
        deep = [deep]
    problem = Problem("invalid", "no", "do", "there", {"deep": deep})
    step = StepRecord("s1", "x", "failed", error=problem)
    value = run_json(RunRecord("r", "failed", "ann", "CALL x", (step,), 1.0, 2.0, problem))
    expected = {"code": "invalid", "detail": "no", "hint": "do", "where": "there", "data": {"deep": deep}}
    assert (value["error"] == expected) and (value["steps"][0]["error"] == expected)


def test_a_run_with_a_key_goes_on_without_its_connection(agent: Served) -> None:
    headers = {"Idempotency-Key": "lost"}
    with agent.connection() as connection:
        body = json.dumps({"dsl": "CALL hold --kept true"})
        connection.request("POST", "/execute", body, {"Content-Type": "application/json", **headers})
        assert agent.hand.started.acquire(timeout=PATIENCE)
    assert agent.get("/runs?limit=1").json["runs"][0]["status"] == "running"
    agent.do(agent.hand.go.set)
    try:
        run = agent.ask("POST", "/execute", {"dsl": "CALL hold --kept true"}, headers).json
        assert run["status"] == "succeeded"
        assert agent.ask("POST", "/execute", {"dsl": "CALL hold --kept true"}, headers).json == run
        assert agent.hand.ended.acquire(timeout=PATIENCE)
    finally:
        agent.do(setattr, agent.hand, "go", trio.Event())
