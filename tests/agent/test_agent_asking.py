"""Plain language, the whole way: a request at one agent, a model over HTTP, and a run on another agent."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.cli.client import Client
from praxis.config.schema import Caching, Config
from praxis.dev import RunningAgent
from praxis.workflow.order import plan_of
from tests.agent.test_agent_websocket import open_gateway, send, until
from tests.support.fake_http import Exchange, Handler
from tests.support.fake_llm import FakeLlm, calls, fake_llm
from tests.support.network import PATIENCE, connected

ROOT = Path(__file__).parents[2]
WORDS = "Leave a note on the other machine"
SECRET = "s3cret-value-0815"


def node(id: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"id": id, "tool": tool, "arguments": arguments}


def plan(*nodes: dict[str, Any], edges: Sequence[tuple[str, str]] = (), say: str = "Leaves a note.") -> dict[str, Any]:
    return {"nodes": [*nodes], "edges": [{"source": a, "target": b} for a, b in edges], "say": say}


WRITE = node("n1", "agent-2:fs/write_file", filename="note.txt", content="hello")
READ = node("n2", "agent-2:fs/read_file", filename="note.txt")
GOOD = plan(WRITE, READ, edges=[("n1", "n2")])
NOTHING = plan(say="There is no tool for coffee.")


@attrs.frozen
class Asked:
    """Two agents, the first of which has a model."""

    folder: Path
    agents: Sequence[RunningAgent]
    model: FakeLlm

    @property
    def url(self) -> str:
        return f"unix:{self.agents[0].addresses.unix}"

    async def post(self, path: str, token: str = "", key: str = "", **body: Any) -> tuple[int, Any]:
        """Status and JSON."""
        url = self.url
        if token:
            assert self.agents[0].addresses.http is not None
            url = "http://{}:{}".format(*self.agents[0].addresses.http)
        client, headers = Client(url, token=token, timeout=PATIENCE), {"Idempotency-Key": key} if key else {}
        status, _, raw = await trio.to_thread.run_sync(lambda: client.exchange("POST", path, body, headers))
        return status, json.loads(raw)

    async def praxis(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """A command as a shell runs it: exit code, standard output, standard error."""
        ran = await trio.run_process(
            [sys.executable, "-m", "praxis", *arguments, "--url", self.url],
            cwd=ROOT,
            env=environment,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        return ran.returncode, ran.stdout.decode(), ran.stderr.decode()

    def note(self, name: str = "note.txt") -> str:
        return (self.folder / "agent-2" / "shared" / name).read_text()

    def runs(self) -> int:
        return len(self.agents[0].agent.executor.list_runs()[0])


@asynccontextmanager
async def asked(folder: Path, *turns: Handler, **config: Any) -> AsyncIterator[Asked]:
    async with fake_llm(*turns, **config) as model:

        def change(config: Config) -> Config:
            return attrs.evolve(config, llm=model.config) if config.agent.name == "agent-1" else config

        async with connected(folder, change=change) as agents:
            yield Asked(folder, agents, model)


# -- over HTTP ----------------------------------------------------------------------------------------


async def test_a_request_becomes_a_run_on_another_agent(tmp_path: Path) -> None:
    async with asked(tmp_path, calls(GOOD)) as at:
        status, run = await at.post("/execute", request=WORDS)
        assert (status, run["status"]) == (200, "succeeded")
        assert [(step["id"], step["route"]["agent"]) for step in run["steps"]] == [("n1", "agent-2"), ("n2", "agent-2")]
        assert run["result"]["content"][0]["text"] == at.note() == "hello"
        (question,) = at.model.asked
        assert WORDS in question["messages"][1]["content"]
        assert "agent-2:fs/write_file" in question["messages"][1]["content"]
        assert json.loads(run["program"]) == {"request": WORDS, "say": "Leaves a note.", **GOOD}


async def test_its_run_is_one_like_all_others(tmp_path: Path) -> None:
    async with asked(tmp_path, calls(GOOD)) as at:
        agent = at.agents[0].agent
        with agent.bus.subscribe(types=["run", "step"]) as events:
            _, run = await at.post("/execute", request=WORDS)
            heard = [event.type for event in (await events.receive()).events]
        assert heard[0] == "run.started"
        kept = await agent.execution.journal.find(run["run_id"])
        assert kept is not None and (kept.state, kept.program) == ("succeeded", run["program"])
        (at.folder / "agent-2" / "shared" / "note.txt").unlink()
        again = await agent.history.retry(run["run_id"], Principal("local", "ann"), secrets={})
        assert (again.state, at.note()) == ("succeeded", "hello")
        assert len(at.model.asked) == 1, "a model has no part in it"
        assert (await agent.executor.preview_graph(run["program"]))["nodes"]


async def test_the_plan_of_a_request_is_shown_and_nothing_is_run(tmp_path: Path) -> None:
    async with asked(tmp_path, calls(GOOD)) as at:
        status, shown = await at.post("/plan", request=WORDS)
        assert (status, shown["say"], at.runs()) == (200, "Leaves a note.", 0)
        assert [step["route"]["agent"] for step in shown["steps"]] == ["agent-2", "agent-2"]
        assert [each["id"] for each in shown["graph"]["nodes"]] == ["n1", "n2"]
        assert [step.id for step in plan_of(shown["program"]).calls()] == ["n1", "n2"]
        assert not (tmp_path / "agent-2" / "shared" / "note.txt").exists()
        assert (await at.post("/plan", dsl="CALL agent-2:list_files"))[1].keys() == {"steps", "graph"}


async def test_a_bad_plan_is_mended_in_one_turn(tmp_path: Path) -> None:
    ghost, bare = node("n1", "agent-2:fs/ghost"), node("n2", "agent-2:fs/write_file", filename="note.txt")
    bad = plan(ghost, bare, READ | {"id": "n3"}, edges=[("n2", "n3"), ("n3", "n2")])
    async with asked(tmp_path, calls(bad), calls(GOOD)) as at:
        assert (await at.post("/execute", request=WORDS))[1]["status"] == "succeeded"
        told = at.model.asked[1]["messages"][3]["content"]
        assert "- n1: no tool 'agent-2:fs/ghost' can be reached" in told
        assert "- n2: arguments.content: it is required and missing" in told
        assert "- edges: the nodes wait for each other: " in told


async def test_a_plan_that_stays_bad_is_an_error_with_its_problems_and_no_run(tmp_path: Path) -> None:
    bad = plan(node("n1", "agent-2:fs/ghost"))
    async with asked(tmp_path, calls(bad), calls(bad)) as at:
        status, problem = await at.post("/execute", request=WORDS)
        assert (status, problem["code"], at.runs()) == (400, "invalid", 0)
        (told,) = problem["data"]["problems"]
        assert told.startswith("n1: no tool 'agent-2:fs/ghost' can be reached")
        assert told in problem["detail"]


async def test_where_no_tool_fits_the_model_says_so(tmp_path: Path) -> None:
    async with asked(tmp_path, calls(NOTHING)) as at:
        for path in ("/execute", "/plan"):  # the second answer is the first, kept
            status, problem = await at.post(path, request="make coffee")
            assert (status, problem["code"], problem["detail"]) == (404, "not_found", "There is no tool for coffee.")
            assert "praxis tools" in problem["hint"]
        assert at.runs() == 0


async def test_without_a_model_the_closest_tools_are_named(tmp_path: Path) -> None:
    async with asked(tmp_path, enabled=False) as at:
        status, problem = await at.post("/execute", request="write a file on the other machine")
        assert (status, problem["code"], at.runs()) == (502, "unavailable", 0)
        assert "agent-2:fs/write_file" in problem["data"]["tools"]
        assert "llm.enabled" in problem["hint"]


async def test_no_model_sees_a_value_and_nobody_keeps_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write = node("n1", "agent-2:fs/write_file", filename="${params.file}", content="${secrets.token}")
    read = node("n2", "agent-2:fs/read_file", filename="${params.file}")
    both = plan(write, read, edges=[("n1", "n2")])
    wrong = plan(node("n1", "agent-2:fs/write_file", filename="${params.name}", content="${secrets.password}"))
    async with asked(tmp_path, calls(wrong), calls(both)) as at:
        with at.agents[0].agent.bus.subscribe() as events:
            given: dict[str, Any] = {"params": {"file": "value-of-a-param"}, "secrets": {"token": SECRET}}
            status, run = await at.post("/execute", request=WORDS, **given)
            heard = str([(event.fields, event.type) for event in (await events.receive()).events])
        assert (status, run["status"]) == (200, "succeeded")
        assert at.note("value-of-a-param") == SECRET
        first, second = at.model.exchanges
        assert b"${secrets.token}" in first.body and b"${params.file}" in first.body
        assert b"${secrets.password} is not given; there are ${secrets.token}" in second.body
        for exchange in at.model.exchanges:
            sent = exchange.body + str(exchange.headers).encode()
            assert SECRET.encode() not in sent
            assert b"value-of-a-param" not in sent
        assert "run.finished" in heard and SECRET not in heard
        assert SECRET not in json.dumps(run)
        kept = b"".join(path.read_bytes() for path in (tmp_path / "agent-1" / "state").glob("runs.db*"))
        assert WORDS.encode() in kept and SECRET.encode() not in kept
    assert SECRET not in caplog.text


async def test_a_key_makes_one_run_of_the_same_words_whatever_a_model_plans(tmp_path: Path) -> None:
    async with asked(tmp_path, calls(GOOD), calls(GOOD), caching=Caching(enabled=False)) as at:
        first = (await at.post("/execute", key="k", request=WORDS))[1]
        assert (await at.post("/execute", key="k", request=WORDS))[1]["run_id"] == first["run_id"]
        assert len(at.model.asked) == 1
        for body in ({"request": "something else"}, {"dsl": WORDS}):
            assert (await at.post("/execute", key="k", **body))[1]["code"] == "conflict"
        assert (await at.post("/execute", key="other", request=WORDS))[1]["run_id"] != first["run_id"]


async def test_a_viewer_makes_no_model_work(tmp_path: Path) -> None:
    async with asked(tmp_path) as at:
        token = TokenStore(tmp_path / "agent-1" / "state" / "tokens.json").new("viewer", "eye")
        for path in ("/plan", "/execute"):
            assert (await at.post(path, token, request=WORDS))[0] == 403
        assert (await at.post("/plan", token, dsl="CALL agent-2:list_files"))[0] == 200


async def test_who_goes_away_makes_the_model_stop(tmp_path: Path) -> None:
    asked_for, gone = trio.Event(), trio.Event()

    async def ponder(exchange: Exchange) -> None:
        asked_for.set()
        assert await exchange._stream.receive_some(1) == b""
        gone.set()

    async with asked(tmp_path, ponder) as at:
        with trio.fail_after(PATIENCE):
            async with await trio.open_unix_socket(str(at.agents[0].addresses.unix)) as stream:
                body = json.dumps({"request": WORDS}).encode()
                head = f"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                await stream.send_all(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                await asked_for.wait()
            await gone.wait()
        assert at.runs() == 0


async def test_a_request_that_is_being_planned_when_the_agent_stops_is_run_within_the_grace(tmp_path: Path) -> None:
    asked_for, go = trio.Event(), trio.Event()
    answers: list[Any] = []

    async def ponder(exchange: Exchange) -> None:
        asked_for.set()
        await go.wait()
        await calls(GOOD)(exchange)

    async with asked(tmp_path, ponder) as at:

        async def ask() -> None:
            answers.append(await at.post("/execute", request=WORDS))

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await asked_for.wait()
                at.agents[0].stopping.set()
                await at.agents[1].agent.peers.wait_change(
                    lambda: all(view.state != "connected" for view in at.agents[1].agent.peers.views())
                )
                go.set()
    ((status, run),) = answers
    assert (status, run["status"]) == (200, "succeeded")


# -- the other entrances ------------------------------------------------------------------------------


async def test_words_on_the_command_line(tmp_path: Path) -> None:
    note = node("n1", "agent-2:fs/write_file", filename="${params.file}", content="${secrets.TOKEN}")
    async with asked(tmp_path, calls(plan(note)), calls(NOTHING)) as at:
        given = ("--param", "file=a.txt", "--secret", "TOKEN")
        code, out, err = await at.praxis("ask", WORDS, *given, "--plan", TOKEN=SECRET)
        assert (code, err, at.runs()) == (0, "", 0)
        first, head, step = out.splitlines()
        assert (first, head.split()) == ("Leaves a note.", ["STEP", "TOOL", "WHERE", "AFTER"])
        assert step.split()[:3] == ["n1", "agent-2:fs/write_file", "agent-2"]
        code, out, err = await at.praxis("ask", WORDS, *given, TOKEN=SECRET)
        assert (code, err) == (0, "")
        assert out.splitlines()[:2] == ["Leaves a note.", "n1  succeeded  agent-2:fs/write_file  on agent-2"]
        assert at.note("a.txt") == SECRET
        code, out, err = await at.praxis("ask", "make coffee", "-o", "json")
        assert (code, out) == (1, "")
        assert err.startswith("praxis: There is no tool for coffee. (")
        assert len(at.model.asked) == 2, "a plan is kept"


async def test_a_chat_message(tmp_path: Path) -> None:
    async with asked(tmp_path, calls(GOOD)) as at, open_gateway(at.agents[0]) as client:
        await send(client, "CHAT_MESSAGE", content=WORDS, sender="ann")
        chat, *others = await until(client, "dslResult")
        assert (chat["type"], chat["payload"]) == ("chatMessage", {"content": "Leaves a note.", "sender": "agent-1"})
        assert (others[0]["type"], others[-1]["payload"]["success"]) == ("dslProgress", True)
        assert at.note() == "hello"


async def test_a_chat_message_to_an_agent_without_a_model(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, _), open_gateway(one) as client:
        await send(client, "CHAT_MESSAGE", content="write a file")
        (error,) = await until(client, "error")
        assert (error["payload"]["code"], error["payload"]["request"]) == ("unavailable", "CHAT_MESSAGE")
        assert "llm.enabled" in error["payload"]["hint"]
        assert error["payload"]["details"]["tools"]
