"""In a network too large for lines to everybody, a call makes the line that it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from praxis.config.schema import Config
from praxis.dev import RunningAgent, free_discovery_port, make_config, start
from praxis.model.errors import PraxisError
from praxis.model.tool import ToolRef
from praxis.net.serve import host_port
from praxis.peers.keyring import NetworkKey
from tests.agent.test_agent_network import ANN
from tests.support.network import PATIENCE


@asynccontextmanager
async def star(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, lookup: bool = True
) -> AsyncIterator[Sequence[RunningAgent]]:
    """Two agents that know each other by way of a third one alone; "large" begins at two."""
    monkeypatch.setattr("praxis.peers.dialer.neighbours", lambda own, others: frozenset())
    key, port = NetworkKey.generate().text, free_discovery_port()

    def config(name: str, *nodes: str) -> Config:
        made = make_config(name, key=key, discovery_port=port, folder=folder)
        discovery = attrs.evolve(made.p2p.discovery, enabled=False)
        p2p = attrs.evolve(made.p2p, discovery=discovery, bootstrap_nodes=nodes, max_peers=1, enable_dht=lookup)
        shared = None if name == "one" else made.agent.shared_dir
        return attrs.evolve(made, p2p=p2p, agent=attrs.evolve(made.agent, shared_dir=shared))

    async with trio.open_nursery() as nursery:
        middle = await start(nursery, config("middle"), folder)
        assert middle.addresses.p2p is not None
        node = host_port(*middle.addresses.p2p)
        one, two = [await start(nursery, config(name, node), folder) for name in ("one", "two")]
        with trio.fail_after(PATIENCE):
            while not all(len(agent.agent.member.directory) == 3 for agent in (middle, one, two)):  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert [owner.name for owner in one.agent.peers.owners()] == ["middle"]
        yield one, two
        for agent in (one, two, middle):
            agent.stopping.set()


@pytest.mark.parametrize("way", ["run", "call", "plan"])
async def test_a_distant_agent_is_reached_by_what_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async with star(tmp_path, monkeypatch) as (one, _):
        executor = one.agent.executor
        if way == "run":
            run = await executor.execute("CALL two:write_file a.txt hello\nCALL two:read_file a.txt", ANN)
            assert run.state == "succeeded", run.error
            assert (tmp_path / "two" / "shared" / "a.txt").read_text() == "hello"
        elif way == "call":
            result = await executor.call(ToolRef("list_files", None, "two"), {}, ANN)
            assert not result.is_error
        else:
            (step,) = await executor.preview("CALL two:read_file a.txt")
            assert step["route"]["agent"] == "two"
        assert {owner.name for owner in one.agent.peers.owners()} == {"middle", "two"}


async def test_a_name_that_a_distant_agent_has_too_is_ambiguous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with star(tmp_path, monkeypatch) as (one, _):
        with pytest.raises(PraxisError) as caught:
            await one.agent.executor.execute("CALL list_files", ANN)
        assert caught.value.code == "ambiguous"
        assert set(caught.value.data["candidates"]) == {"middle:fs/list_files", "two:fs/list_files"}


async def test_a_distant_agent_that_is_gone_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxis.peers.dialer.REACH", 0.3)
    async with star(tmp_path, monkeypatch) as (one, _):
        monkeypatch.setattr("praxis.peers.dialer.split_address", lambda address: ("127.0.0.1", 9))
        with pytest.raises(PraxisError) as caught:
            await one.agent.executor.execute("CALL two:read_file a.txt", ANN)
        assert caught.value.code == "unavailable"
        assert "its owner two " in caught.value.detail  # and how far we have got with it


async def test_without_lookup_only_peers_with_a_line_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with star(tmp_path, monkeypatch, lookup=False) as (one, _):
        with pytest.raises(PraxisError) as caught:
            await one.agent.executor.execute("CALL two:read_file a.txt", ANN)
        assert caught.value.code == "unavailable"
        assert "its owner two is not connected" in caught.value.detail
        assert [owner.name for owner in one.agent.peers.owners()] == ["middle"]
