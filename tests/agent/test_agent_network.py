"""Two whole agents on port 0: they find each other, and one runs the other's tools."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.app import Agent
from praxis.config.schema import Config, Export, Routing
from praxis.dev import RunningAgent, free_discovery_port, make_config, network, start
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult
from praxis.peers.keyring import NetworkKey
from praxis.tools.source import SourceState
from tests.support.network import PATIENCE, connected

ANN = Principal("local", "ann", "admin")


class SlowTools:
    """The source `slow`: ``wait`` runs until it is cancelled, and says so; ``big`` answers with so many characters."""

    name = "slow"

    def __init__(self, agent: str) -> None:
        self.started, self.ended = trio.Event(), trio.Event()
        self.offered = tuple(Tool(agent, self.name, {"name": name, "inputSchema": {}}) for name in ("wait", "big"))

    def tools(self) -> Sequence[Tool]:
        return self.offered

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        if name == "big":
            return ToolResult.of_text("é" * int(arguments["size"]))
        try:
            self.started.set()
            if context.on_progress is not None:
                context.on_progress({"progress": 1})
            await trio.sleep_forever()
        finally:
            self.ended.set()

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready", tools=len(self.offered))


async def add_slow_tools(one: RunningAgent, other: RunningAgent) -> SlowTools:
    """Give `one` more tools, and wait until `other` knows of them: no restart, no poll."""
    tools = SlowTools(one.addresses.agent)
    one.agent.registry.add(tools)
    with trio.fail_after(PATIENCE):
        await other.agent.peers.wait_change(
            lambda: any(tool.name == "wait" for owner in other.agent.peers.owners() for tool in owner.tools)
        )
    return tools


async def test_agents_find_each_other_and_one_runs_the_others_tool(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        run = await one.agent.executor.execute(
            'CALL agent-2:write_file hello.txt "Hello from Praxis!"\nCALL agent-2:read_file hello.txt', ANN
        )
        assert run.state == "succeeded"
        assert [step.route.agent for step in run.steps if step.route] == ["agent-2", "agent-2"]
        assert run.result == {"content": [{"type": "text", "text": "Hello from Praxis!"}], "isError": False}
        assert (tmp_path / "agent-2" / "shared" / "hello.txt").read_text() == "Hello from Praxis!"
        assert not (tmp_path / "agent-1" / "shared" / "hello.txt").exists()
        (view,) = two.agent.peers.views()
        assert (view.name, view.state) == ("agent-1", "connected")
        assert view.rtt_ms is not None


async def test_there_is_one_line_between_two_agents(tmp_path: Path) -> None:
    async with connected(tmp_path, 3) as agents:
        await trio.sleep(0.3)
        for agent in agents:
            assert len(agent.agent.peers.links()) == 2
            assert not any(link.closed for link in agent.agent.peers.links())


async def test_the_card_of_a_peer_follows_its_tools(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        cards, peers = one.agent.peers.cards, one.agent.peers
        (peer_id,) = cards()
        before = {skill.id for skill in cards()[peer_id].skills}
        assert before == {"fs/delete_file", "fs/list_files", "fs/read_file", "fs/write_file"}
        slow = await add_slow_tools(two, one)
        assert {skill.id for skill in cards()[peer_id].skills} == before | {"slow/big", "slow/wait"}
        slow.offered = ()
        two.agent.registry.changed()
        with trio.fail_after(PATIENCE):
            await peers.wait_change(lambda: {skill.id for skill in cards()[peer_id].skills} == before)


async def test_cancelling_the_caller_ends_the_tool_on_the_other_agent(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        tools = await add_slow_tools(two, one)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.agent.executor.execute, "CALL wait", ANN)
                await tools.started.wait()
                nursery.cancel_scope.cancel()
        assert tools.ended.is_set()
        (run,), _ = one.agent.executor.list_runs()
        assert run.state == "cancelled"
        assert one.agent.executor.get(run.id).steps[0].state == "cancelled"
        assert two.agent.registry.in_flight == 0


async def test_progress_and_deadline_cross_the_line(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        tools = await add_slow_tools(two, one)
        with one.agent.bus.subscribe(types=["step.progress"]) as events:
            run = await one.agent.executor.execute("CALL wait", ANN, timeout=0.3)
            assert (await events.receive()).events[0].fields["progress"] == {"progress": 1}
        assert run.state == "failed"
        assert run.error is not None
        assert run.error.code == "timeout"
        assert tools.ended.is_set()


async def test_a_result_of_many_frames_arrives_whole_and_one_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        await add_slow_tools(two, one)
        run = await one.agent.executor.execute("CALL big --size 1000000", ANN)
        assert run.result is not None
        assert run.result["content"][0]["text"] == "é" * 1_000_000
        run = await one.agent.executor.execute("CALL big --size 3000000", ANN)
        assert run.error is not None
        assert run.error.code == "too_large"
        assert "p2p.limits.message" in run.error.hint


async def test_only_what_is_exported_can_be_seen_and_called(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        return attrs.evolve(config, export=Export(tools=("fs/read_*",)))

    async with connected(tmp_path, change=change) as (one, _):
        assert {tool.name for tool in one.agent.catalog.tools() if tool.agent == "agent-2"} == {"read_file"}
        with pytest.raises(PraxisError, match="can be reached"):
            await one.agent.executor.execute("CALL agent-2:write_file a b", ANN)
        (owner,) = one.agent.peers.owners()
        with pytest.raises(PraxisError) as refused:
            await owner.link.call(
                "tool.call", {"source": "fs", "name": "write_file", "arguments": {"filename": "a", "content": "b"}}
            )
        assert refused.value.code == "denied"
    assert not (tmp_path / "agent-2" / "shared" / "a").exists()


async def test_several_owners_are_ambiguous_unless_declared_interchangeable(tmp_path: Path) -> None:
    async with connected(tmp_path, 3) as agents:
        with pytest.raises(PraxisError) as refused:
            agents[0].agent.catalog.snapshot().route(ToolRef.parse("nope"))
        assert refused.value.code == "not_found"
        run = await agents[0].agent.executor.execute("CALL list_files", ANN)
        assert run.steps[0].route is not None
        assert run.steps[0].route.agent == "agent-1"

    def change(config: Config) -> Config:
        config = attrs.evolve(config, routing=Routing(interchangeable=("fs/*",)))
        return attrs.evolve(config, agent=attrs.evolve(config.agent, shared_dir=None)) if _is_first(config) else config

    async with network(3, tmp_path / "more", change=change) as agents:
        with trio.fail_after(PATIENCE):
            first = agents[0].agent
            await first.peers.wait_change(lambda: sum(bool(o.tools) for o in first.peers.owners()) == 2)
        route = first.catalog.snapshot().route(ToolRef.parse("list_files"))
        assert len(route.candidates) == 2
        chosen = next(a for a in agents[1:] if a.addresses.agent == route.choice.agent)
        chosen.stopping.set()
        with trio.fail_after(PATIENCE):
            await first.peers.wait_change(lambda: len(first.peers.owners()) == 1)
        run = await first.executor.execute("CALL list_files", ANN)
        assert run.state == "succeeded"
        assert run.steps[0].route is not None
        assert run.steps[0].route.agent not in (route.choice.agent, "agent-1")


def _is_first(config: Config) -> bool:
    return config.agent.name == "agent-1"


async def test_an_agent_that_stops_says_goodbye_and_one_that_comes_back_is_found_again(tmp_path: Path) -> None:
    key, port = NetworkKey.generate().text, free_discovery_port()
    async with trio.open_nursery() as nursery:
        first = await start(nursery, make_config("one", key=key, discovery_port=port, folder=tmp_path), tmp_path)
        config = make_config("two", key=key, discovery_port=port, folder=tmp_path)
        for _ in range(2):
            async with trio.open_nursery() as inner:
                second = await start(inner, config, tmp_path)
                with trio.fail_after(PATIENCE):
                    await first.agent.peers.wait_change(lambda: any(o.tools for o in first.agent.peers.owners()))
                second.stopping.set()
            with trio.fail_after(PATIENCE):
                await first.agent.peers.wait_change(lambda: not first.agent.peers.links())
            (view,) = first.agent.peers.views()
            assert view.state == "left"
        first.stopping.set()


async def test_bootstrap_finds_an_agent_without_discovery_and_waits_for_one_that_is_not_there_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, discovery_port = NetworkKey.generate().text, free_discovery_port()

    def config(name: str, port: int, bootstrap: tuple[str, ...]) -> Config:
        made = make_config(name, key=key, discovery_port=discovery_port, folder=tmp_path)
        return attrs.evolve(made, p2p=attrs.evolve(made.p2p, enable_mdns=False, port=port, bootstrap_nodes=bootstrap))

    port = free_discovery_port()  # for TCP the system does not give it out either
    async with trio.open_nursery() as nursery:
        one = await start(nursery, config("one", 0, (f"127.0.0.1:{port}",)), tmp_path)
        with trio.fail_after(PATIENCE):
            while "Connection refused; trying again" not in caplog.text:  # noqa: ASYNC110 - a line in the log
                await trio.sleep(0.01)
        two = await start(nursery, config("two", port, ()), tmp_path)
        with trio.fail_after(PATIENCE):
            await one.agent.peers.wait_change(lambda: any(o.tools for o in one.agent.peers.owners()))
            await two.agent.peers.wait_change(lambda: any(o.tools for o in two.agent.peers.owners()))
        one.stopping.set()
        two.stopping.set()


async def test_a_call_whose_only_owner_is_away_says_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with connected(tmp_path, 3) as (one, two, three):
        slow = await add_slow_tools(two, one)
        owner = two.addresses.peer_id
        entry = one.agent.peers.entry(owner)
        assert entry is not None
        assert entry.link is not None
        for agent in (one, three):
            agent.agent.member.lines.blocked = frozenset({owner})  # it is not to be back before we have looked
        entry.link.close("silent", "no answer to a ping within 10 s")
        with trio.fail_after(PATIENCE):
            await one.agent.peers.wait_change(lambda: not entry.connected)
        for call in (one.agent.executor.execute("CALL wait", ANN), one.agent.executor.call(ToolRef("wait"), {}, ANN)):
            with pytest.raises(
                PraxisError, match="no tool 'wait' can be reached: its owner agent-2 is down since 2"
            ) as e:
                await call
            assert e.value.code == "unavailable"
            assert "no answer to a ping within 10 s" in e.value.detail
        with pytest.raises(PraxisError) as caught:
            await one.agent.executor.execute("CALL nope", ANN)
        assert caught.value.code == "not_found"
        assert "owner" not in caught.value.detail
        assert not slow.started.is_set()
        run = await one.agent.executor.execute("CALL agent-3:list_files", ANN)
        assert run.state == "succeeded"
    lost = [record for record in caplog.records if "is lost" in record.getMessage()]
    told = f"the line to agent-2 ({owner}) is lost: no answer to a ping within 10 s"
    assert told in [record.getMessage() for record in lost if record.levelno == logging.WARNING]


async def test_an_owner_that_said_goodbye_has_left_and_that_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path) as (one, two):
        await add_slow_tools(two, one)
        two.stopping.set()
        entry = one.agent.peers.entry(two.addresses.peer_id)
        assert entry is not None
        with trio.fail_after(PATIENCE):
            await one.agent.peers.wait_change(lambda: not entry.connected)
        with pytest.raises(PraxisError, match="its owner agent-2 has left since") as caught:
            await one.agent.executor.execute("CALL wait", ANN)
        assert caught.value.code == "unavailable"
    assert not [record for record in caplog.records if "is lost" in record.getMessage()]


def refusals(agent: RunningAgent) -> int:
    counts = re.findall(r'^praxis_p2p_handshakes_total\{result="refused".*\} (\d+)', agent.agent.metrics.render(), re.M)
    return sum(map(int, counts))


async def test_agents_of_another_key_or_another_name_stay_strangers(tmp_path: Path) -> None:
    key, port = NetworkKey.generate().text, free_discovery_port()
    async with trio.open_nursery() as nursery:
        one = await start(nursery, make_config("one", key=key, discovery_port=port, folder=tmp_path), tmp_path)
        other_key = make_config("two", key=NetworkKey.generate().text, discovery_port=port, folder=tmp_path)
        other_name = make_config("three", key=key, discovery_port=port, folder=tmp_path)
        other_name = attrs.evolve(other_name, p2p=attrs.evolve(other_name.p2p, rendezvous="elsewhere"))
        agents = [one]
        for config in (other_key, other_name):
            address = one.addresses.p2p
            assert address is not None
            config = attrs.evolve(config, p2p=attrs.evolve(config.p2p, bootstrap_nodes=(f"127.0.0.1:{address[1]}",)))
            agents.append(await start(nursery, config, tmp_path))
        with trio.fail_after(PATIENCE):
            while not all(refusals(agent) for agent in agents[1:]) or refusals(one) < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert [agent.agent.peers.links() for agent in agents] == [[], [], []]
        assert not any('result="ok"' in agent.agent.metrics.render() for agent in agents), "nor was there ever one"
        for agent in agents:
            agent.stopping.set()


async def test_two_agents_of_one_name_are_told_apart(tmp_path: Path) -> None:
    key, port = NetworkKey.generate().text, free_discovery_port()
    async with trio.open_nursery() as nursery:
        folders = [tmp_path / name for name in "abc"]
        names = ["agent-1", "twin", "twin"]
        agents = [
            await start(nursery, make_config(name, key=key, discovery_port=port, folder=folder), folder)
            for name, folder in zip(names, folders, strict=True)
        ]
        first = agents[0].agent
        with trio.fail_after(PATIENCE):
            await first.peers.wait_change(lambda: sum(bool(o.tools) for o in first.peers.owners()) == 2)
        labels = {owner.name for owner in first.peers.owners()}
        assert "twin" in labels
        assert any(label.startswith("px") for label in labels)
        run = await first.executor.execute("CALL twin:list_files", ANN)
        assert run.state == "succeeded"
        for agent in agents:
            agent.stopping.set()


async def test_a_peer_that_stops_finishes_what_it_runs_and_is_asked_nothing_new(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        slow = await add_slow_tools(two, one)
        peers = one.agent.peers
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.agent.executor.execute, "CALL wait", ANN)
            await slow.started.wait()
            two.stopping.set()
            with trio.fail_after(PATIENCE):
                await peers.wait_change(lambda: not peers.owners())
            assert not slow.ended.is_set(), "what runs keeps its grace"
            with pytest.raises(PraxisError) as caught:
                await one.agent.executor.execute("CALL agent-2:slow/wait", ANN)
            assert caught.value.code == "not_found"


async def test_an_interface_that_is_not_there_shows_in_health(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        discovery = attrs.evolve(config.p2p.discovery, interfaces=("nosuch0",))
        return attrs.evolve(config, p2p=attrs.evolve(config.p2p, host="0.0.0.0", discovery=discovery))

    async with network(1, tmp_path, change=change) as (one,):
        report = one.agent._status.health()
        assert (report.status, report.checks["discovery"].status) == ("degraded", "degraded")
        assert "the network interface nosuch0 is not there" in report.checks["discovery"].reason
    async with network(1, tmp_path / "more") as (one,):
        assert one.agent._status.health().checks["discovery"].status == "healthy"


async def test_a_shared_folder_that_is_made_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for folder in (tmp_path / "new" / "one", tmp_path):
        config = make_config("ann", key=NetworkKey.generate().text, discovery_port=61000, folder=tmp_path)
        config = attrs.evolve(config, agent=attrs.evolve(config.agent, shared_dir=folder))
        Agent(config, base_dir=tmp_path, state_dir=tmp_path / "state")
    told = [record.getMessage() for record in caplog.records if "shared_dir" in record.getMessage()]
    assert told == [f"made agent.shared_dir, {tmp_path}/new/one"]
    assert (tmp_path / "new" / "one").is_dir()
