"""Beacons that lie, records that lie, connections by the thousand; a good call runs all the while."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from praxis.dev import RunningAgent
from praxis.net.families import IPv4
from praxis.net.udp import SegmentSockets
from praxis.peers import line
from praxis.peers.discovery import GROUP
from praxis.peers.identity import load_identity, peer_id_digest
from praxis.peers.keyring import NetworkKey
from praxis.wire import frames
from praxis.wire.beacon import ANNOUNCE, Beacon
from praxis.wire.frames import encode
from praxis.wire.messages import dumps
from tests.agent.test_agent_hostile import KEY, connect, greet, member, until_closed, victim
from tests.support.network import PATIENCE

ROOM = 32 * 1024 * 1024
"""Bytes by which the process may grow: attacker, victim and the good agent are all in it."""
CROWD = 10_000 if os.environ.get("PRAXIS_FULL") else 1000


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def steady(folder: Path, port: int) -> AsyncIterator[RunningAgent]:
    """A victim whose memory must not grow."""
    async with victim(folder, port) as agent:
        before = rss()
        yield agent
        assert rss() - before < ROOM


def counted(agent: RunningAgent, name: str) -> int:
    found = re.search(rf"^{re.escape(name)} (\d+)", agent.agent.metrics.render(), re.MULTILINE)
    return int(found[1]) if found else 0


def dropped(reason: str) -> str:
    return f'praxis_agent_beacons_dropped_total{{reason="{reason}"}}'


@asynccontextmanager
async def segment(port: int) -> AsyncIterator[SegmentSockets]:
    """What an attacker on the same segment has."""
    sockets = SegmentSockets(port, [IPv4(GROUP)], interfaces=["lo"])
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
        return [good, *(beacon(folder, seq=seq) for seq in (4, 3, 2)), beacon(folder, boot=4, seq=99)]
    if kind == "rate":
        return [beacon(folder, seq=seq, time_ms=1000) for seq in range(6, 12)]
    return {"short": [b"", b"PRX"] * 50, "long": [good + bytes(600)] * 50}[kind]


@pytest.mark.parametrize("kind", ["mac", "foreign", "replay", "rate", "short", "long"])
async def test_beacons_that_lie_are_dropped_and_counted(tmp_path: Path, kind: str) -> None:
    port = 60_520 + len(kind)
    async with steady(tmp_path, port) as agent, segment(port) as attacker:
        known = len(agent.agent.peers.entries())
        with trio.fail_after(PATIENCE):
            while not counted(agent, dropped(kind)):
                for datagram in lies(tmp_path, kind):
                    await attacker.send_everywhere(datagram)
                await trio.sleep(0.02)
        assert len(agent.agent.peers.entries()) <= known + 1, "a member may say that it is there; nobody else"


async def test_a_replayed_beacon_of_a_member_costs_a_dial_and_no_more(tmp_path: Path) -> None:
    async with steady(tmp_path, 60_531) as agent, segment(60_531) as attacker:
        recorded = beacon(tmp_path)
        for _ in range(200):
            await attacker.send_everywhere(recorded)
        with trio.fail_after(PATIENCE):
            while not any(view.name == "" and view.state == "down" for view in agent.agent.peers.views()):  # noqa: ASYNC110
                await trio.sleep(0.02)
        (view,) = (view for view in agent.agent.peers.views() if view.name == "")
        assert "127.0.0.1:9: " in view.reason
        assert "Connection refused" in view.reason


async def test_records_that_a_member_makes_up_are_hints_at_most(tmp_path: Path) -> None:
    async with steady(tmp_path, 60_532) as agent:
        evil = member(tmp_path)
        pipe = await greet(agent, evil)
        good = next(owner for owner in agent.agent.peers.owners() if owner.name == "good")
        forged = {"id": good.peer_id, "name": "good", "boot": 2**59, "rev": 1, "tools": [["x", "rm", "0" * 16]]}
        crowd = [{"id": f"px{n:052d}", "name": f"n{n}", "boot": 1, "rev": 1, "tools": []} for n in range(2000)]
        for stream, records in ((1, [forged]), (3, crowd[:400])):
            await pipe.send(encode(frames.REQUEST, stream, dumps({"m": "directory.push", "p": {"records": records}})))
        with trio.fail_after(PATIENCE):
            while agent.agent.member.directory.get("px" + "0" * 52) is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
        record = agent.agent.member.directory.get(good.peer_id)
        assert record is not None
        assert record.boot < 2**59, "of a peer with a line to us only its own word counts"
        pipe.close()
        await until_closed(pipe)


async def test_thousands_of_half_open_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "GREETING", 1.0)
    refused = 'praxis_p2p_connections_refused_total{reason="handshakes"}'
    async with steady(tmp_path, 60_533) as agent:
        streams = []
        for _ in range(CROWD // 100):
            streams += [await connect(agent) for _ in range(100)]
            await trio.lowlevel.checkpoint()
        with trio.fail_after(30):
            while counted(agent, refused) < CROWD // 2:  # noqa: ASYNC110 - a counter tells nobody
                await trio.sleep(0.05)
        for stream in streams:
            await stream.aclose()
