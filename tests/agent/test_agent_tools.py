"""Tools that the configuration declares, in whole agents: where they are shown, who gets a call, what is left."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.config.schema import Config, Containers, DeclaredTool, ToolParam
from praxis.dev import RunningAgent, network
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, ToolRef
from praxis.tools.source import SourceState
from tests.support.fake_engine import fake_engine, frame
from tests.support.fake_http import Exchange, fake_http
from tests.support.network import connected
from tests.support.processes import wait_gone, wait_until

ANN = Principal("local", "ann", "admin")
JOB = ToolRef("job")


def program(text: str, name: str = "job", **keys: Any) -> DeclaredTool:
    return DeclaredTool(name, "process", command=(sys.executable, "-c", text), **keys)


def having(*tools: DeclaredTool, socket: Path | None = None) -> Callable[[Config], Config]:
    return lambda config: attrs.evolve(config, tools=tools, containers=Containers(socket))


async def test_tools_of_one_group_are_routed_across_agents(tmp_path: Path) -> None:
    """Who calls has no such tool, and no word of it in its own configuration."""

    def change(config: Config) -> Config:
        if config.agent.name == "agent-1":
            return config
        names = "import os; print(os.environ['WHO'], end='')"
        tool = program(names, group="workers", idempotent=True, env={"WHO": config.agent.name})
        return attrs.evolve(config, agent=attrs.evolve(config.agent, tools=(tool,)))

    async with connected(tmp_path, 3, change=change) as agents:
        caller = agents[0].agent
        await wait_until(lambda: sum(tool.name == "job" for tool in caller.catalog.tools()) == 2)
        answers = Counter([(await caller.executor.call(JOB, {}, ANN)).text for _ in range(8)])
        assert answers.keys() <= {"agent-2", "agent-3"}
        run = await caller.executor.execute("CALL job", ANN)
        route = run.steps[0].route
        assert route is not None
        assert route.reason.startswith("interchangeable")
        assert len(route.scores) == 2
        first, other = (agents[1], agents[2]) if route.agent == "agent-2" else (agents[2], agents[1])
        first.stopping.set()
        await wait_until(lambda: sum(tool.name == "job" for tool in caller.catalog.tools()) == 1)
        assert (await caller.executor.call(JOB, {}, ANN)).text == other.agent.registry.tools()[0].agent


async def test_without_a_group_they_are_two_tools(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        return config if config.agent.name == "agent-1" else having(program("print(1)"))(config)

    async with connected(tmp_path, 3, change=change) as agents:
        caller = agents[0].agent
        await wait_until(lambda: sum(tool.name == "job" for tool in caller.catalog.tools()) == 2)
        with pytest.raises(PraxisError, match="has 2 owners"):
            await caller.executor.call(JOB, {}, ANN)


async def test_cancelling_a_call_ends_the_program_on_the_other_machine(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    text = f"import os, pathlib, time; pathlib.Path({str(file)!r}).write_text(str(os.getpid())); time.sleep(600)"

    def change(config: Config) -> Config:
        return config if config.agent.name == "agent-1" else having(program(text))(config)

    async with connected(tmp_path, 2, change=change) as agents:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agents[0].agent.executor.call, JOB, {}, ANN)
            await wait_until(lambda: file.exists() and file.read_text() != "")
            nursery.cancel_scope.cancel()
        await wait_gone(int(file.read_text()))


async def test_a_container_is_called_and_its_leftovers_go_when_the_agent_starts(tmp_path: Path) -> None:
    socket = tmp_path / "engine.sock"
    tool = DeclaredTool("job", "container", image="x", params=(ToolParam("x"),))
    async with fake_engine(socket) as engine:
        engine.output, engine.containers = frame(1, b"done"), {"praxis-left": {}}
        async with network(1, tmp_path, change=having(tool, socket=socket)) as (running,):
            agent = running.agent
            await wait_until(lambda: engine.containers == {})
            assert (await agent.executor.call(JOB, {"x": "y"}, ANN)).text == "done"
            assert agent.registry.find("container", "job").description == ""
            labels = [asked.query["filters"] for asked in engine.asked if asked.verb == "json"]
            assert running.addresses.peer_id in labels[0]


async def test_no_engine_is_a_degraded_source_and_nothing_else(tmp_path: Path) -> None:
    tools = (DeclaredTool("job", "container", image="x"), program("print('fine', end='')", "other"))
    async with network(1, tmp_path, change=having(*tools, socket=tmp_path / "none")) as (running,):
        agent = running.agent
        assert (await agent.executor.call(ToolRef("other"), {}, ANN)).text == "fine"
        with pytest.raises(PraxisError, match="there is no container engine") as refused:
            await agent.executor.call(JOB, {}, ANN)
        assert refused.value.code == "unavailable"
        report = agent._status.health()
        assert report.status == "degraded"
        check = report.checks["source container"]
        assert "No such file" in check.reason
        assert "containers.socket" in check.action
        assert report.checks["source process"].status == "healthy"


class Server:
    """A modern MCP server with two tools."""

    def __init__(self) -> None:
        self.called: list[Any] = []

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.called == "tools/call":
            self.called.append((exchange.message["params"]["name"], exchange.message["params"]["arguments"]))
        schema = {"type": "object", "properties": {"q": {"type": "string"}}}
        results: dict[str, Any] = {
            "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
            "tools/list": {
                "tools": [
                    {"name": "look", "description": "looks", "inputSchema": schema, "annotations": {"title": "Look"}},
                    {"name": "send", "description": "sends", "inputSchema": schema},
                ]
            },
            "tools/call": {"content": [{"type": "text", "text": exchange.headers.get("x-key", "")}]},
        }
        await exchange.result(results[exchange.called])


def remote(running: RunningAgent) -> SourceState:
    return next(state for state in running.agent.registry.sources() if state.name == "remote")


async def test_single_tools_of_a_server_under_names_of_our_own(tmp_path: Path) -> None:
    server = Server()
    async with fake_http(server) as http:
        plain = DeclaredTool("look", "remote-mcp", address=http.url, headers={"X-Key": "from far"})
        other = attrs.evolve(
            plain,
            name="find",
            tool="look",
            description="Finds it",
            params=(ToolParam("q", default="all"),),
            group="finders",
            read_only=True,
        )
        async with network(1, tmp_path, change=having(plain, other)) as (running,):
            registry = running.agent.registry
            await wait_until(lambda: {"look", "find"} <= {tool.name for tool in registry.tools()})
            assert "send" not in {tool.name for tool in registry.tools()}
            look, find = registry.find("remote", "look"), registry.find("remote", "find")
            assert (look.description, look.group) == ("looks", "")
            assert (find.description, find.group, find.idempotent) == ("Finds it", "finders", True)
            assert find.definition["annotations"] == {"title": "Look", "readOnlyHint": True}
            assert find.input_schema["properties"] == {"q": {"type": "string", "default": "all"}}
            assert (await registry.call(find, {}, CallContext("t"))).text == "from far"
            assert server.called == [("look", {"q": "all"})]
            state = remote(running)
            assert (state.kind, state.state, state.tools) == ("remote", "ready", 2)


async def test_a_tool_that_its_server_does_not_have_is_said_to_be_missing(tmp_path: Path) -> None:
    async with fake_http(Server()) as http:
        tools = [DeclaredTool(name, "remote-mcp", address=http.url) for name in ("look", "lok")]
        async with network(1, tmp_path, change=having(*tools)) as (running,):
            await wait_until(lambda: remote(running).state == "failed")
            assert "has no tool 'lok'" in remote(running).reason
            assert remote(running).tools == 1


async def test_a_server_that_is_not_there_is_told_with_its_reason(tmp_path: Path) -> None:
    tool = DeclaredTool("look", "remote-mcp", address="http://127.0.0.1:1/mcp")
    async with network(1, tmp_path, change=having(tool)) as (running,):
        await wait_until(lambda: remote(running).state == "backing off")
        assert "127.0.0.1" in remote(running).reason
        with pytest.raises(PraxisError) as refused:
            await running.agent.executor.call(ToolRef("look"), {}, ANN)
        assert refused.value.code == "not_found"


async def test_without_mcp_no_server_is_asked(tmp_path: Path) -> None:
    tool = DeclaredTool("look", "remote-mcp", address="http://127.0.0.1:1/mcp")

    def change(config: Config) -> Config:
        return attrs.evolve(having(tool)(config), mcp=attrs.evolve(config.mcp, enabled=False))

    async with network(1, tmp_path, change=change) as (running,):
        assert remote(running).state == "disabled"
