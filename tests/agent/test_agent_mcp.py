"""Two whole agents, and MCP clients at the first one's real listeners."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from praxis.config.schema import Config, Export
from tests.api.api_kit import Hand, Reply, Served, serving
from tests.support.network import PATIENCE

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
HELLO: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    def export(config: Config) -> Config:
        return attrs.evolve(config, export=Export(("*",)))

    with serving(tmp_path_factory.mktemp("mcp"), 2, change=export) as served:
        yield served


def message(method: str, id: int = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def modern(agents: Served, method: str, **params: Any) -> Reply:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {**HEADERS, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return agents.ask("POST", "/mcp", message(method, **params, _meta=meta), headers)


def test_the_whole_network_is_listed_and_called_without_a_session(agents: Served) -> None:
    names = [tool["name"] for tool in modern(agents, "tools/list").json["result"]["tools"]]
    assert {"execute_workflow", "hand__echo", "left__twin", "agent-2__hand__echo"} <= set(names)
    for name in ("hand__echo", "agent-2__hand__echo"):
        result = modern(agents, "tools/call", name=name, arguments={"a": 1}).json["result"]
        assert (result["structuredContent"]["a"], result["resultType"]) == (1, "complete")


def test_a_session_is_served_beside_it(agents: Served) -> None:
    answer = agents.ask("POST", "/mcp/", message("initialize", **HELLO), HEADERS)
    session = {**HEADERS, "Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
    assert answer.json["result"]["serverInfo"]["name"] == "agent-1"
    called = agents.ask("POST", "/mcp", message("tools/call", name="agent-2__hand__fail"), session)
    assert called.json["result"]["isError"]
    assert agents.ask("DELETE", "/mcp", headers=session).status == 204


@pytest.mark.parametrize("name", ["hand__hold", "agent-2__hand__hold"])
def test_closing_the_connection_cancels_the_call_wherever_it_runs(agents: Served, name: str) -> None:
    hand = agents.far if name.startswith("agent-2") else agents.hand
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {**HEADERS, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": name}
    with agents.connection() as connection:
        body = message("tools/call", name=name, arguments={}, _meta=meta)
        connection.request("POST", "/mcp", json.dumps(body), headers)
        assert hand.started.acquire(timeout=PATIENCE)
    assert hand.ended.acquire(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(421, {"Host": "evil.example"}), (403, {"Origin": "http://evil.example"}), (403, {"Origin": "null"})],
)
def test_foreign_hosts_and_pages_are_turned_away(agents: Served, status: int, headers: dict[str, str]) -> None:
    assert agents.ask("POST", "/mcp", message("initialize", **HELLO), {**HEADERS, **headers}).status == status
    assert agents.ask("GET", "/sse", headers=headers, port=sse_port(agents)).status == status


def test_what_is_too_large_or_elsewhere_is_refused(agents: Served) -> None:
    assert agents.ask("POST", "/mcp", b" " * (4 * 1024 * 1024 + 1), HEADERS).status == 413
    assert agents.ask("POST", "/mcp/servers/nobody", message("ping"), HEADERS).status == 404
    assert agents.get("/mcp/tools").status == 200, "the routes beside it are there"


def sse_port(agents: Served) -> int:
    address = agents.agents[0].addresses.sse
    assert address is not None
    return address[1]


def test_the_first_revisions_transport_is_served_on_its_own_port(agents: Served) -> None:
    port = sse_port(agents)
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        stream.request("GET", "/sse", headers={"Accept": "text/event-stream"})
        events = stream.getresponse()

        def event() -> str:
            lines = []
            while line := events.readline().strip():
                lines.append(line.decode())
            return lines[-1].removeprefix("data: ")

        where = event()
        assert agents.ask("POST", where, message("initialize", 0, **HELLO), HEADERS, port=port).status == 202
        assert json.loads(event())["result"]["serverInfo"]["name"] == "agent-1"
        agents.ask("POST", where, message("tools/call", 1, name="agent-2__hand__echo"), HEADERS, port=port)
        assert json.loads(event())["result"]["structuredContent"] == {"caller": "agent-1"}
        agents.ask("POST", where, message("tools/call", 2, name="agent-2__hand__hold"), HEADERS, port=port)
        assert agents.far.started.acquire(timeout=PATIENCE)
    finally:
        stream.close()
    assert agents.far.ended.acquire(timeout=PATIENCE), "closing the stream cancels the call"


def test_what_comes_on_another_agent_is_told_and_listed(agents: Served) -> None:
    answer = agents.ask("POST", "/mcp", message("initialize", **HELLO), HEADERS)
    session = {**HEADERS, "Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
    with agents.connection() as connection:
        connection.request("GET", "/mcp", headers=session)
        events = connection.getresponse()
        assert events.headers["Content-Type"] == "text/event-stream"
        far = agents.agents[1]
        agents.do(far.agent.registry.add, Hand("agent-2", "late"))
        data = b""
        while b"list_changed" not in data:
            data = events.readline()
            assert data, "the stream has ended"
    names = [t["name"] for t in agents.ask("POST", "/mcp", message("tools/list"), session).json["result"]["tools"]]
    assert "agent-2__late__twin" in names
    assert len(set(names)) == len(names)


def test_bounds_can_be_seen(agents: Served) -> None:
    text = agents.get("/metrics").body.decode()
    for name in ("praxis_mcp_sessions", "praxis_mcp_parked_calls", "praxis_mcp_sse_streams"):
        assert f"\n{name} " in text


def test_without_mcp_there_is_no_endpoint(tmp_path: Path) -> None:
    def off(config: Config) -> Config:
        return attrs.evolve(config, mcp=attrs.evolve(config.mcp, enabled=False))

    with serving(tmp_path, change=off) as agent:
        assert agent.ask("POST", "/mcp", message("initialize", **HELLO), HEADERS).problem(404, "not_found")
        assert not (tmp_path / "agent-1" / "state" / "mcp.sock").exists()
