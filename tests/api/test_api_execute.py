"""POST /execute, /plan and /call: what a program answers over HTTP, and what ends it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.config.schema import Config, McpServer
from tests.api.api_kit import Served, serving
from tests.support.network import PATIENCE
from tests.support.processes import wait_gone, wait_until

SLEEPER = Path(__file__).parents[2] / "mcp_servers" / "sleep_server.py"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("execute")) as served:
        yield served


def test_execute_answers_when_the_step_has_run_with_the_tools_own_result(agent: Served) -> None:
    reply = agent.execute('CALL write_file hello.txt "Hello"')
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert (agent.folder / "agent-1" / "shared" / "hello.txt").read_text() == "Hello"
    run = reply.json
    assert run["status"] == "succeeded"
    assert run["result"] == {"content": [{"type": "text", "text": "wrote 5 bytes to hello.txt"}], "isError": False}
    (step,) = run["steps"]
    assert (step["state"], step["tool"], step["result"]) == ("succeeded", "write_file", run["result"])
    assert (step["route"]["tool"], step["route"]["peer"]) == ("agent-1:fs/write_file", None)
    assert run["created_at"] <= step["started_at"] <= step["ended_at"] <= run["ended_at"]


def test_the_answer_may_not_be_stored_on_the_way_nor_guessed_at(agent: Served) -> None:
    headers = agent.execute("CALL echo").headers
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_a_program_of_several_steps_binds_results_and_answers_with_the_last(agent: Served) -> None:
    run = agent.execute("CALL echo --text eins -> first\nPARALLEL { CALL fail }\nCALL echo --n 1").json
    assert [step["state"] for step in run["steps"]] == ["succeeded", "failed", "skipped"]
    run = agent.execute("CALL echo --text eins -> first\nCALL echo --text ${first.text}").json
    assert run["result"]["structuredContent"]["text"] == "eins"
    assert [step["bind"] for step in run["steps"]] == ["first", None]


def test_text_of_any_language_comes_back_as_it_was(agent: Served) -> None:
    text = "žluťoučký 馬 🐎 \u2028 \\ \" '"
    reply = agent.ask("POST", "/call", {"tool": "echo", "arguments": {"text": text}})
    assert reply.json["structuredContent"]["text"] == text


def test_a_step_that_fails_is_a_run_that_failed_and_no_problem(agent: Served) -> None:
    reply = agent.execute("CALL fail")
    run = reply.json
    assert (reply.status, run["status"]) == (200, "failed")
    assert run["error"]["code"] == "tool_error"
    assert run["error"]["where"] == "step s1 (fail)"
    assert run["steps"][0]["result"]["content"][0]["text"] == "it did not work"


def test_an_outage_of_a_tool_is_told_in_the_run(agent: Served) -> None:
    run = agent.execute("CALL outage").json
    assert run["status"] == "failed"
    assert run["error"]["code"] == "unavailable"
    assert "the disk is gone" in run["error"]["detail"]


def test_a_timeout_ends_the_run_and_its_tool(agent: Served) -> None:
    run = agent.execute("CALL hold", timeout=0.05).json
    assert (run["status"], run["error"]["code"]) == ("failed", "timeout")
    assert run["steps"][0]["state"] == "cancelled"
    assert agent.hand.started.acquire(timeout=0)
    assert agent.hand.ended.acquire(timeout=0), "the answer comes when the tool has ended"


def test_a_closed_connection_cancels_the_run_and_nobody_elses(agent: Served) -> None:
    with agent.good_call():
        with agent.holding() as connection:
            (run, *_) = agent.get("/runs").json["runs"]
            assert run["status"] == "running"
            connection.close()
            assert agent.hand.ended.acquire(timeout=PATIENCE)
        trio.run(wait_until, lambda: agent.get(f"/runs/{run['run_id']}").json["status"] == "cancelled")


def test_a_closed_connection_reaches_down_to_the_child_process(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        server = McpServer("sleep", sys.executable, args=(str(SLEEPER),))
        return attrs.evolve(config, mcp=attrs.evolve(config.mcp, servers=(server,)))

    with serving(tmp_path, change=change) as agent, agent.connection() as connection:
        trio.run(wait_until, lambda: b'"long_task"' in agent.get("/tools").body)
        pid_file = tmp_path / "pid"
        body = json.dumps({"dsl": f"CALL long_task 60 {pid_file}"})
        connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
        trio.run(wait_until, pid_file.exists)
        connection.close()
        trio.run(wait_gone, int(pid_file.read_text()))
        trio.run(wait_until, lambda: agent.get("/runs").json["runs"][0]["status"] == "cancelled")


def test_half_a_request_is_no_run(agent: Served) -> None:
    before = agent.get("/runs").json["runs"]
    with agent.connection() as connection:
        connection.putrequest("POST", "/execute")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b'{"dsl": "CALL echo"}')
    assert agent.execute("CALL echo").json["status"] == "succeeded"
    assert len(agent.get("/runs").json["runs"]) == len(before) + 1


def test_one_connection_serves_good_and_bad_calls_in_turn(agent: Served) -> None:
    with agent.connection() as connection:
        for tool, status in (("echo", 200), ("nothing", 404), ("echo", 200), ("", 400), ("echo", 200)):
            body = json.dumps({"dsl": f"CALL {tool}"})
            connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            assert isinstance(answer, http.client.HTTPResponse) and not answer.will_close


# -- /plan ------------------------------------------------------------------------------------------------


def test_plan_shows_steps_routes_and_problems_and_runs_nothing(agent: Served) -> None:
    before = agent.get("/runs").json
    text = "CALL write_file planned.txt x -> a\nPARALLEL {\n  CALL nothing\n  CALL echo --t ${a}\n}"
    reply = agent.ask("POST", "/plan", {"dsl": text})
    assert reply.status == 200
    write, nothing, echo = reply.json["steps"]
    assert write["route"]["tool"] == "agent-1:fs/write_file"
    assert write["route"]["reason"] == "local"
    assert write["arguments"] == [{"name": None, "value": "planned.txt"}, {"name": None, "value": "x"}]
    assert (nothing["problem"]["code"], nothing["line"], nothing["column"]) == ("not_found", 3, 3)
    assert "route" not in nothing
    assert (nothing["after"], echo["after"]) == ([write["id"]], [write["id"]])
    assert not (agent.folder / "agent-1" / "shared" / "planned.txt").exists()
    assert agent.get("/runs").json == before


def test_plan_refuses_what_execute_would_refuse_to_read(agent: Served) -> None:
    for path in ("/plan", "/execute"):
        problem = agent.ask("POST", path, {"dsl": "CALL echo\nCALL"}).problem(400, "syntax")
        assert problem["where"].startswith("line 2, column")


# -- /call ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["count", "hand/count", "agent-1:count", "agent-1:hand/count"])
def test_call_answers_with_the_result_unchanged_and_leaves_no_run(agent: Served, name: str) -> None:
    before = agent.get("/runs").json
    reply = agent.ask("POST", "/call", {"tool": name, "arguments": {"n": 3}})
    expected: dict[str, Any] = {"content": [{"type": "text", "text": "count"}], "isError": False}
    assert reply.json == {**expected, "structuredContent": {"caller": "local", "n": 3}}
    assert agent.get("/runs").json == before


def test_call_without_arguments_is_a_call_with_none(agent: Served) -> None:
    assert agent.ask("POST", "/call", {"tool": "echo"}).json["structuredContent"] == {"caller": "local"}


def test_a_tool_that_says_it_failed_is_an_answer_of_call_too(agent: Served) -> None:
    reply = agent.ask("POST", "/call", {"tool": "fail"})
    assert (reply.status, reply.json["isError"]) == (200, True)


def test_a_closed_connection_cancels_a_call(agent: Served) -> None:
    with agent.connection() as connection:
        connection.request("POST", "/call", '{"tool": "hold"}', {"Content-Type": "application/json"})
        assert agent.hand.started.acquire(timeout=PATIENCE)
    assert agent.hand.ended.acquire(timeout=PATIENCE)
