"""Peers, cards and tools over HTTP, and calls of a peer's tool: two agents."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.api.network import card_json, tool_json
from praxis.config.schema import Config, McpServer
from praxis.model.card import AgentCard, Skill
from praxis.model.tool import Tool
from tests.api.api_kit import Served, serving
from tests.support.network import PATIENCE
from tests.support.processes import wait_gone, wait_until

SLEEPER = Path(__file__).parents[2] / "mcp_servers" / "sleep_server.py"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("network"), 2) as served:
        yield served


def peer_id(two: Served) -> str:
    return two.agents[1].addresses.peer_id


def test_peers_shows_who_is_there_and_with_what(two: Served) -> None:
    (peer,) = two.get("/peers").json["peers"]
    assert (peer["id"], peer["name"], peer["state"], peer["connected"]) == (peer_id(two), "agent-2", "connected", True)
    address = two.agents[1].addresses.p2p
    assert address is not None
    assert peer["address"].startswith("127.0.0.1:")
    assert peer["found_at"] <= peer["last_seen"]
    assert (peer["load"], peer["reason"]) == (0, "")
    assert {"fs/write_file", "hand/echo"} <= set(peer["tools"])
    documented = {"id", "name", "connected", "address", "rtt_ms", "found_at", "last_seen", "state", "tools", "load"}
    assert documented | {"told"} <= set(peer)


def test_the_load_of_a_peer_is_what_it_runs_for_us(two: Served) -> None:
    with two.connection() as connection:
        body = b'{"tool": "agent-2:hold"}'
        connection.request("POST", "/call", body, {"Content-Type": "application/json"})
        assert two.far.started.acquire(timeout=PATIENCE)
        assert two.get("/peers").json["peers"][0]["load"] == 1
    assert two.far.ended.acquire(timeout=PATIENCE)
    trio.run(wait_until, lambda: two.get("/peers").json["peers"][0]["load"] == 0)


def test_cards_are_by_peer_id_and_what_each_agent_says_of_itself(two: Served) -> None:
    far_port = (two.agents[1].addresses.http or ("", 0))[1]
    own = two.ask("GET", "/agent/card", port=far_port).json
    cards = two.get("/p2p/cards").json["cards"]
    assert list(cards) == [peer_id(two)]
    card = cards[peer_id(two)]
    assert (card["name"], card["peer_id"]) == (own["name"], own["peer_id"]) == ("agent-2", peer_id(two))
    assert card["url"] == own["url"] == f"http://127.0.0.1:{far_port}"


def test_the_agents_own_card_has_its_exported_tools_as_skills(two: Served) -> None:
    card = two.get("/agent/card").json
    assert set(card) == {"name", "version", "description", "url", "peer_id", "skills"}
    assert card["peer_id"] == two.agents[0].addresses.peer_id
    skills = {skill["id"]: skill for skill in card["skills"]}
    assert skills["hand/count"] == {"id": "hand/count", "name": "count", "description": "", "tags": ["hand"]}


def test_info_says_how_to_reach_this_agent(two: Served) -> None:
    info = two.get("/p2p/info").json
    own = two.agents[0].addresses
    assert own.p2p is not None
    assert (info["peer_id"], info["name"]) == (own.peer_id, "agent-1")
    assert info["addresses"] == [f"127.0.0.1:{own.p2p[1]}"]
    assert (info["protocol"], info["network"], info["mode"]) == ("praxis/1", "dev", "shared")


def test_tools_are_all_that_can_be_reached_with_schema_and_owner(two: Served) -> None:
    tools = two.get("/tools").json["tools"]
    assert tools == two.get("/mcp/tools").json["tools"]
    by_ref = {tool["ref"]: tool for tool in tools}
    assert len(by_ref) == len(tools)
    count = by_ref["agent-2:hand/count"]
    assert (count["agent"], count["source"], count["name"]) == ("agent-2", "hand", "count")
    assert count["inputSchema"]["required"] == ["n"]
    assert {"agent-1:hand/count", "agent-1:left/twin", "agent-1:fs/read_file", "agent-2:fs/read_file"} <= set(by_ref)


def test_a_tool_of_every_name_in_the_list_can_be_called_by_it(two: Served) -> None:
    for tool in two.get("/tools").json["tools"]:
        if tool["name"] in ("echo", "twin"):
            assert two.ask("POST", "/call", {"tool": tool["ref"]}).json["content"][0]["text"] == tool["name"]


def test_sources_are_this_agents_own(two: Served) -> None:
    sources = {source["name"]: source for source in two.get("/sources").json["sources"]}
    assert set(sources) == {"fs", "hand", "left", "right"}
    assert (sources["fs"]["state"], sources["fs"]["kind"], sources["fs"]["tools"]) == ("ready", "builtin", 4)
    assert sources["fs"]["stderr_tail"] == []


# -- calls ------------------------------------------------------------------------------------------------


def test_execute_runs_on_the_agent_that_owns_the_tool(two: Served) -> None:
    run = two.execute('CALL agent-2:write_file far.txt "over there"\nCALL agent-2:read_file far.txt').json
    assert run["status"] == "succeeded"
    assert run["result"]["content"] == [{"type": "text", "text": "over there"}]
    assert {(step["route"]["agent"], step["route"]["peer"]) for step in run["steps"]} == {("agent-2", peer_id(two))}
    assert (two.folder / "agent-2" / "shared" / "far.txt").read_text() == "over there"


def test_p2p_tool_answers_with_the_result_unchanged(two: Served) -> None:
    body = {"peer_id": peer_id(two), "tool_name": "echo", "args": {"deep": [{"ä": None}], "n": 1.5}}
    reply = two.ask("POST", "/p2p/tool", body)
    result = reply.json
    assert reply.status == 200
    assert result["structuredContent"].pop("caller")
    expected: dict[str, Any] = {"content": [{"type": "text", "text": "echo"}], "isError": False}
    assert result == {**expected, "structuredContent": body["args"]}
    failed = two.ask("POST", "/p2p/tool", {**body, "tool_name": "hand/fail"})
    assert (failed.status, failed.json["isError"]) == (200, True)


@pytest.mark.parametrize(
    ("change", "status", "code", "says"),
    [
        ({"peer_id": "px" + "a" * 52}, 404, "not_found", "no peer with the id 'pxaaa"),
        ({"peer_id": "nobody"}, 404, "not_found", "`praxis peers` lists them"),
        ({"tool_name": "left/twin"}, 404, "not_found", "agent-1:left/twin"),
        ({"tool_name": "agent-1:echo"}, 404, "not_found", "agent-1:echo"),
        ({"tool_name": "ehco"}, 404, "not_found", "did you mean echo"),
        ({"tool_name": ""}, 400, "invalid", "SOURCE/NAME"),
        ({"args": []}, 400, "invalid", "body.args"),
        ({"arguments": {}}, 400, "invalid", "body.arguments"),
        ({"tool_name": "count", "args": {"n": "x"}}, 400, "invalid", "arguments.n"),
        ({"tool_name": "outage"}, 502, "unavailable", "the disk is gone"),
        ({"tool_name": "bug"}, 500, "internal", "hand/bug"),
    ],
)
def test_a_bad_call_of_a_peers_tool_says_what_and_where(
    two: Served, change: dict[str, Any], status: int, code: str, says: str
) -> None:
    with two.good_call():
        reply = two.ask("POST", "/p2p/tool", {"peer_id": peer_id(two), "tool_name": "echo", "args": {}} | change)
        reply.problem(status, code)
        assert says in reply.body.decode()
        assert b"secret thoughts" not in reply.body


def test_a_bad_argument_of_a_peers_tool_is_told_before_it_is_asked(two: Served) -> None:
    with two.good_call():
        problem = two.execute("CALL agent-2:count --n x").problem(400, "invalid")
        assert problem["where"] == "line 1, column 1: arguments.n"


def test_a_closed_connection_ends_the_call_on_the_other_agent(two: Served) -> None:
    with two.good_call():
        with two.connection() as connection:
            body = b'{"dsl": "PARALLEL { CALL agent-2:hold; CALL agent-2:hold }"}'
            connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
            for _ in range(2):
                assert two.far.started.acquire(timeout=PATIENCE)
        for _ in range(2):
            assert two.far.ended.acquire(timeout=PATIENCE)


def test_delete_of_a_run_answers_when_the_other_agent_has_ended_it(two: Served) -> None:
    with two.connection() as connection:
        body = b'{"dsl": "CALL agent-2:hold"}'
        connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
        assert two.far.started.acquire(timeout=PATIENCE)
        id = two.get("/runs?limit=1").json["runs"][0]["run_id"]
        assert two.ask("DELETE", f"/runs/{id}").json["status"] == "cancelled"
        assert two.far.ended.acquire(timeout=0)


def test_a_closed_connection_reaches_the_child_process_of_the_other_agent(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        server = McpServer("sleep", sys.executable, args=(str(SLEEPER),))
        servers = (server,) if config.agent.name == "agent-2" else ()
        return attrs.evolve(config, mcp=attrs.evolve(config.mcp, servers=servers))

    with serving(tmp_path, 2, change=change) as two, two.connection() as connection:
        trio.run(wait_until, lambda: b"agent-2:sleep/long_task" in two.get("/tools").body)
        pid_file = tmp_path / "pid"
        body = f'{{"dsl": "CALL long_task 60 {pid_file}"}}'
        connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
        trio.run(wait_until, pid_file.exists)
        connection.close()
        trio.run(wait_gone, int(pid_file.read_text()))
        assert two.ask("POST", "/call", {"tool": "sleep/echo", "arguments": {"text": "on"}}).json["isError"] is False


# -- plain calls ------------------------------------------------------------------------------------------


def test_a_tools_definition_is_shown_as_its_source_gave_it() -> None:
    definition = {"name": "x", "inputSchema": {"$comment": "odd"}, "annotations": {"readOnlyHint": True}, "more": [1]}
    shown = tool_json(Tool("a", "s", definition))
    assert shown == {**definition, "agent": "a", "source": "s", "ref": "a:s/x"}


def test_a_tool_cannot_pretend_to_have_another_owner() -> None:
    shown = tool_json(Tool("a", "s", {"name": "x", "agent": "b", "source": "t", "ref": "b:t/x"}))
    assert (shown["agent"], shown["source"], shown["ref"]) == ("a", "s", "a:s/x")


def test_a_card_is_shown_whole() -> None:
    card = AgentCard("n", "1", "d", "http://x", "px", (Skill("s/t", "t", "does it", ("s",)),))
    skill = {"id": "s/t", "name": "t", "description": "does it", "tags": ("s",)}
    assert card_json(card) == {
        "name": "n", "version": "1", "description": "d", "url": "http://x", "peer_id": "px", "skills": (skill,)
    }  # fmt: skip


def test_a_peer_is_pinged_by_id_or_name(two: Served) -> None:
    for name in (peer_id(two), "agent-2"):
        answer = two.ask("POST", f"/peers/{name}/ping")
        assert answer.status == 200
        assert answer.json["id"] == peer_id(two)
        assert 0 < answer.json["rtt_ms"] < 1000
    assert "praxis peers" in two.ask("POST", "/peers/nobody/ping").problem(404, "not_found")["hint"]


def test_a_connected_peer_is_not_forgotten_and_one_that_is_gone_is(tmp_path: Path) -> None:
    with serving(tmp_path, 2) as served:
        assert served.ask("DELETE", "/peers/agent-2").problem(409, "conflict")["hint"]
        served.ask("DELETE", "/peers/nobody").problem(404, "not_found")
        served.do(served.agents[1].stopping.set)
        trio.run(wait_until, lambda: not served.get("/peers").json["peers"][0]["connected"])
        gone = peer_id(served)  # it has said goodbye, and its line ends in a moment
        trio.run(wait_until, lambda: served.ask("DELETE", "/peers/agent-2").json == {"id": gone})
        assert served.get("/peers").json["peers"] == []
