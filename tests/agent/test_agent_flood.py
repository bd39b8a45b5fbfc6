"""Beacons that lie, records that lie, connections by the thousand; good calls run between the bursts."""

from __future__ import annotations

import errno
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from praxis.net.families import IPv4
from praxis.net.tls import TlsPipe
from praxis.net.udp import SegmentSockets
from praxis.peers import line
from praxis.peers.discovery import GROUP
from praxis.peers.identity import load_identity, peer_id_digest
from praxis.peers.keyring import NetworkKey
from praxis.wire import frames
from praxis.wire.beacon import ANNOUNCE, Beacon
from praxis.wire.frames import encode
from praxis.wire.messages import dumps
from tests.support.siege import ANN, KEY, LINES, PATIENCE, UNKNOWN, Siege, besieged, member, refused

CROWD = 10_000
BURST = 250
"""Connections made at once: fewer than wait in the listener's queue, so that none of them is lost on the way."""
HANDSHAKES = 64
BEACONS = 200
"""Datagrams of one kind that must be dropped: a burst is fifty or fewer, and good calls run between two."""


def dropped(reason: str) -> str:
    return f'praxis_agent_beacons_dropped_total{{reason="{reason}"}}'


def ignored(reason: str) -> str:
    return f'praxis_p2p_directory_ignored_total{{reason="{reason}"}}'


@asynccontextmanager
async def segment(it: Siege) -> AsyncIterator[SegmentSockets]:
    """What an attacker on the same segment has."""
    sockets = SegmentSockets(it.agent.agent._config.p2p.discovery.port, [IPv4(GROUP)], interfaces=["lo"])
    async with trio.open_nursery() as nursery:
        await nursery.start(sockets.listen, lambda datagram: None, lambda: None)
        yield sockets
        nursery.cancel_scope.cancel()


def beacon(folder: Path, key: NetworkKey = KEY, **changes: int) -> bytes:
    identity = load_identity(name="evil", keys=(key,), rendezvous="dev", state_dir=folder / "evil")
    own, now = peer_id_digest(identity.peer_id), int(time.time() * 1000)
    made = Beacon(ANNOUNCE, 9, identity.network_tag, own, boot=5, seq=5, time_ms=now)
    changed: Beacon = attrs.evolve(made, **changes)  # type: ignore[arg-type]  # numbers all
    return changed.pack(identity.beacon_keys[0])


def lies(folder: Path, kind: str) -> list[bytes]:
    good = beacon(folder)
    if kind == "mac":
        return [good[:40] + bytes([good[40] ^ 1]) + good[41:]] * 50
    if kind == "foreign":
        return [beacon(folder / "other", NetworkKey.generate())] * 50
    if kind == "replay":
        return [good, *[beacon(folder, seq=seq) for seq in (4, 3, 2)] * 12, beacon(folder, boot=4, seq=99)]
    if kind == "rate":
        return [beacon(folder, seq=seq, time_ms=1000) for seq in range(6, 50)]
    return {"short": [b"", b"PRX"] * 25, "long": [good + bytes(600)] * 50}[kind]


@pytest.mark.parametrize("kind", ["mac", "foreign", "replay", "rate", "short", "long"])
async def test_beacons_that_lie_are_dropped_and_counted(tmp_path: Path, kind: str) -> None:
    datagrams = lies(tmp_path, kind)
    async with besieged(tmp_path) as it, segment(it) as attacker:
        known = len(it.agent.agent.peers.entries())
        with trio.fail_after(PATIENCE):
            while it.counted(dropped(kind)) < BEACONS:
                for datagram in datagrams:
                    await attacker.send_everywhere(datagram)
                await it.good_call()
        assert len(it.agent.agent.peers.entries()) <= known + 1, "a member may say that it is there; nobody else"


async def test_replayed_beacons_of_a_member_cost_a_dial_and_no_more(tmp_path: Path) -> None:
    """The place that they name takes connections and says nothing: both agents dial it once, and wait."""
    dials: list[trio.SocketStream] = []

    async def take(stream: trio.SocketStream) -> None:
        dials.append(stream)
        await trio.sleep_forever()

    async with besieged(tmp_path) as it, segment(it) as attacker, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, take, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        recorded, newest = (beacon(tmp_path, port=port, seq=seq) for seq in (5, 6))
        with trio.fail_after(PATIENCE):
            while len(dials) < 2:
                await attacker.send_everywhere(newest)
                await it.good_call()
            while it.counted(dropped("replay")) < BEACONS:
                for _ in range(50):
                    await attacker.send_everywhere(recorded)
                await it.good_call()
        assert len(dials) == 2, "one of each agent"
        (view,) = (view for view in it.agent.agent.peers.views() if view.name == "")
        assert view.state == "connecting"
        nursery.cancel_scope.cancel()


async def push(pipe: TlsPipe, stream: int, records: list[dict[str, object]]) -> None:
    await pipe.send(encode(frames.REQUEST, stream, dumps({"m": "directory.push", "p": {"records": records}})))


async def test_records_that_a_member_makes_up_are_hints_at_most(tmp_path: Path) -> None:
    async with besieged(tmp_path) as it:
        with closing(await it.greet(member(tmp_path))) as pipe:
            await it.good_call(beside=LINES, count=2)
            name, good = it.good.addresses.agent, it.good.addresses.peer_id
            directory = it.agent.agent.member.directory
            forged: dict[str, object] = {"id": good, "name": name, "boot": 2**59, "rev": 1, "tools": [["x", "rm", "0"]]}
            gone = {**forged, "rev": 2, "tools": [], "left": True}
            absurd = {**forged, "id": "px" + "z" * 52, "boot": 2**61}
            crowd = [{"id": f"px{n:052d}", "name": f"n{n}", "boot": 1, "rev": 1, "tools": []} for n in range(400)]
            for number in range(50):
                await push(pipe, 4 * number + 1, [forged, gone, absurd])
                await push(pipe, 4 * number + 3, crowd[number * 8 :][:8])
                await it.good_call(beside=LINES, count=2)
            await it.until_counted(ignored("second_hand"), 100)
            await it.until_counted(ignored("absurd"), 50)
            await it.until(lambda: directory.get(f"px{399:052d}") is not None)
            record = directory.get(good)
            assert record is not None
            assert record.boot < 2**59, "of a peer with a line to us only its own word counts"
            assert directory.get("px" + "z" * 52) is None
            (view,) = (view for view in it.agent.agent.peers.views() if view.id == good)
            assert (view.state, view.tools) != ("left", ())
            run = await it.agent.agent.executor.execute(f"CALL {name}:list_files", ANN)
            assert run.state == "succeeded", run.error


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Room for so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} open files; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def knock(address: tuple[str, int]) -> socket.socket:
    """A connection of the kernel's: it is there, or on its way, and nothing is said."""
    made = socket.socket()
    made.setblocking(False)
    assert made.connect_ex(address) in (0, errno.EINPROGRESS)
    return made


async def test_ten_thousand_half_open_connections_hold_sixty_four_places_and_give_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned_away = 'praxis_p2p_connections_refused_total{reason="handshakes"}'
    knocking: list[socket.socket] = []
    async with besieged(tmp_path) as it:
        assert it.agent.addresses.p2p is not None
        monkeypatch.setattr(line, "GREETING", 10 * PATIENCE)  # so that they end when they are cut, not in the middle
        with many_files(CROWD + 500):
            try:
                while len(knocking) < CROWD:
                    knocking += [knock(it.agent.addresses.p2p) for _ in range(BURST)]
                    await it.until_counted(turned_away, len(knocking) - HANDSHAKES)
                    await it.good_call(beside=UNKNOWN, count=HANDSHAKES)
                    assert it.value(UNKNOWN) == HANDSHAKES
                assert it.counted(turned_away) == CROWD - HANDSHAKES
            finally:
                for one in knocking:
                    one.close()
        await it.until(lambda: it.value(UNKNOWN) == 0)
        assert it.counted(refused("cut")) == HANDSHAKES
        with closing(await it.greet(member(tmp_path))):
            await it.until(lambda: it.value(LINES) == 2)
