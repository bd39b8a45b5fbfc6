"""Whole agents that find each other by what they are told, by what they remember, and not at all."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from praxis.config.schema import P2P, Config
from praxis.dev import RunningAgent, free_discovery_port, make_config, start
from praxis.net.families import IPv4
from praxis.net.serve import host_port
from praxis.net.udp import Datagram, SegmentSockets
from praxis.peers.discovery import GROUP
from praxis.peers.identity import load_identity, peer_id_digest
from praxis.peers.keyring import NetworkKey
from praxis.wire.beacon import BeaconReader, Verdict
from tests.agent.test_agent_network import ANN
from tests.support.network import PATIENCE

KEY = NetworkKey(bytes(range(32)))
DAY = 86_400.0


def config(folder: Path, name: str, port: int, change: Callable[[P2P], P2P] = lambda p2p: p2p) -> Config:
    """One without discovery, unless `change` says otherwise."""
    made = make_config(name, key=KEY.text, discovery_port=port, folder=folder)
    return attrs.evolve(made, p2p=change(attrs.evolve(made.p2p, enable_mdns=False)))


def listening(agent: RunningAgent) -> str:
    assert agent.addresses.p2p is not None
    return host_port(*agent.addresses.p2p)


async def knows(agent: RunningAgent, *others: RunningAgent) -> None:
    """Until it has lines to these others alone, and their tools."""
    wanted = {other.addresses.peer_id for other in others}
    with trio.fail_after(PATIENCE):
        await agent.agent.peers.wait_change(
            lambda: {owner.peer_id for owner in agent.agent.peers.owners() if owner.tools} == wanted
        )


@asynccontextmanager
async def ending_with() -> AsyncIterator[trio.Nursery]:
    """For what goes on around the agents, until they have ended."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def until_said(agent: RunningAgent, *samples: str) -> None:
    """Until each of these stands in its metrics."""
    with trio.fail_after(PATIENCE):
        while not all(sample in agent.agent.metrics.render() for sample in samples):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def call(agent: RunningAgent, other: RunningAgent) -> None:
    run = await agent.agent.executor.execute(f"CALL {other.addresses.agent}:list_files", ANN)
    assert run.state == "succeeded", run.error


async def test_a_pinned_address_takes_no_other_agent(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        there = await start(nursery, config(tmp_path, "there", 1), tmp_path)
        other_id = load_identity(name="x", keys=(KEY,), rendezvous="dev", state_dir=tmp_path / "x").peer_id
        node = f"{other_id}@{listening(there)}"
        here = await start(
            nursery, config(tmp_path, "here", 1, lambda p2p: attrs.evolve(p2p, bootstrap_nodes=(node,))), tmp_path
        )
        await until_said(here, 'praxis_p2p_handshakes_total{result="refused",reason="wrong_id"} 1')
        assert here.agent.peers.links() == []
        here.agent.member.bootstrap([f"{there.addresses.peer_id}@{listening(there)}"])
        await knows(here, there)
        assert other_id not in {entry.id for entry in here.agent.peers.entries()}
        here.stopping.set()
        there.stopping.set()


async def test_an_advertised_address_is_learned_from_others_and_dialed(tmp_path: Path) -> None:
    """As behind a port that a router forwards: here the test forwards it, and counts who comes."""
    came = 0

    async def forward(target: str, stream: trio.SocketStream) -> None:
        nonlocal came
        came += 1
        host, _, port = target.rpartition(":")
        try:
            further = await trio.open_tcp_stream(host, int(port))
        except OSError:  # the agent has ended, and a peer dials it once more
            return
        async with further as onward, trio.open_nursery() as both:
            for here, there in ((stream, onward), (onward, stream)):
                both.start_soon(pump, here, there, both.cancel_scope)

    async def pump(here: trio.SocketStream, there: trio.SocketStream, line: trio.CancelScope) -> None:
        try:
            async for data in here:
                await there.send_all(data)
        except trio.BrokenResourceError:
            pass
        line.cancel()

    async with ending_with() as around, trio.open_nursery() as nursery:
        # Whose id is smaller dials first: the other one is the one to be dialed.
        names = sorted(
            ("ann", "bob"),
            key=lambda name: (
                load_identity(name=name, keys=(KEY,), rendezvous="dev", state_dir=tmp_path / name / "state").peer_id
            ),
        )
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        advertised = host_port(*listener.socket.getsockname()[:2])
        middle = await start(nursery, config(tmp_path, "middle", 1), tmp_path)

        def told(p2p: P2P) -> P2P:
            return attrs.evolve(p2p, bootstrap_nodes=(listening(middle),))

        behind = await start(
            nursery,
            config(tmp_path, names[1], 1, lambda p2p: attrs.evolve(told(p2p), advertise_addrs=(advertised,))),
            tmp_path,
        )
        around.start_soon(partial(trio.serve_listeners, partial(forward, listening(behind)), [listener]))
        await knows(middle, behind)
        dialer = await start(nursery, config(tmp_path, names[0], 1, told), tmp_path)
        await knows(dialer, middle, behind)
        link = dialer.agent.peers.link(behind.addresses.peer_id)
        assert link is not None
        assert link.address == advertised
        assert came == 1
        await call(dialer, behind)
        record = middle.agent.member.directory.get(behind.addresses.peer_id)
        assert record is not None
        assert record.addrs == (advertised, listening(behind))
        for agent in (dialer, behind, middle):
            agent.stopping.set()


async def test_without_mdns_no_beacon_is_sent_and_none_is_heard(tmp_path: Path) -> None:
    port = free_discovery_port()
    reader = BeaconReader(
        load_identity(name="x", keys=(KEY,), rendezvous="dev", state_dir=tmp_path / "x").beacon_keys, bytes(32)
    )
    heard: set[bytes] = set()

    def hear(datagram: Datagram) -> None:
        verdict = reader.receive(datagram.data, datagram.host, int(time.time() * 1000))
        if isinstance(verdict, Verdict):
            heard.add(verdict.beacon.peer_id)

    def loud(p2p: P2P) -> P2P:
        return attrs.evolve(p2p, enable_mdns=True)

    async with ending_with() as around, trio.open_nursery() as nursery:
        sockets = SegmentSockets(port, [IPv4(GROUP)], interfaces=["lo"])
        await around.start(sockets.listen, hear, lambda: None)
        quiet = await start(nursery, config(tmp_path, "quiet", port), tmp_path)
        one, two = [await start(nursery, config(tmp_path, name, port, loud), tmp_path) for name in ("one", "two")]
        await knows(one, two)
        await knows(two, one)
        with trio.fail_after(PATIENCE):
            while len(heard) < 2:  # noqa: ASYNC110 - datagrams
                await trio.sleep(0.01)
        assert heard == {peer_id_digest(agent.addresses.peer_id) for agent in (one, two)}
        assert quiet.agent.peers.entries() == []
        assert quiet.addresses.peer_id not in {entry.id for entry in one.agent.peers.entries()}
        assert "praxis_agent_beacons_sent_total{" in one.agent.metrics.render()
        assert "praxis_agent_beacons_" not in quiet.agent.metrics.render()

        quiet.agent.member.bootstrap([listening(one)])  # it is in the network for all that
        await knows(quiet, one, two)
        for agent in (quiet, one, two):
            agent.stopping.set()


async def test_who_was_met_is_dialed_at_the_next_start_without_any_hint(tmp_path: Path) -> None:
    """From another port than before, so that only its own memory can bring it back."""
    async with trio.open_nursery() as nursery:
        stays = await start(nursery, config(tmp_path, "stays", 1), tmp_path)
        third = await start(
            nursery,
            config(tmp_path, "third", 1, lambda p2p: attrs.evolve(p2p, bootstrap_nodes=(listening(stays),))),
            tmp_path,
        )
        async with trio.open_nursery() as first_time:
            moves = await start(
                first_time,
                config(tmp_path, "moves", 1, lambda p2p: attrs.evolve(p2p, bootstrap_nodes=(listening(stays),))),
                tmp_path,
            )
            await knows(moves, stays, third)
            moves.stopping.set()
        await knows(stays, third)
        again = await start(nursery, config(tmp_path, "moves", 1), tmp_path)
        assert again.addresses.peer_id == moves.addresses.peer_id
        await knows(again, stays, third)
        await knows(stays, third, again)
        await call(again, third)
        await call(stays, again)
        for agent in (again, third, stays):
            agent.stopping.set()


class Clock:
    """What an agent takes for the time: the module that it reads it from."""

    def __init__(self, off: float) -> None:
        self._off = off

    def time(self) -> float:
        return time.time() + self._off

    def time_ns(self) -> int:
        return time.time_ns() + int(self._off * 1e9)


async def test_clocks_a_day_apart_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the mode `shared`. What their beacons say is a hint, one a minute; lines, calls and the directory go on."""
    port = free_discovery_port()

    async def begin(name: str, off: float) -> RunningAgent:
        with monkeypatch.context() as here:
            here.setattr("praxis.app.time", Clock(off))
            return await start(nursery, config(tmp_path, name, port, loud), tmp_path)

    def loud(p2p: P2P) -> P2P:
        return attrs.evolve(p2p, enable_mdns=True)

    async with trio.open_nursery() as nursery:
        slow, right, fast = [await begin(name, off) for name, off in (("slow", -DAY), ("right", 0.0), ("fast", DAY))]
        everybody = (slow, right, fast)
        for agent in everybody:
            assert abs(agent.agent.member._clock() - time.time()) == pytest.approx(0 if agent is right else DAY, abs=60)
            await knows(agent, *(other for other in everybody if other is not agent))
        for agent in everybody:
            for other in everybody:
                if other is not agent:
                    await call(agent, other)
            await until_said(agent, 'praxis_agent_beacons_dropped_total{reason="rate"}')
        slowly = [said for said in caplog.messages if "it is found slowly" in said]
        assert len(slowly) == len(everybody), "each says so once, not with each beacon"
        assert all(re.search(r" is [+-](86400|172800) s off ours", said) for said in slowly), slowly

        fast.stopping.set()  # what leaves and comes back does so on every clock
        await knows(slow, right)
        again = await begin("fast", DAY)
        for agent in (slow, right):
            await knows(agent, again, right if agent is slow else slow)
            assert len(agent.agent.member.directory) == 3
        await call(slow, again)
        for agent in (slow, right, again):
            agent.stopping.set()
