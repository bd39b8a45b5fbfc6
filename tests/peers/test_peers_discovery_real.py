"""Discovery over real sockets on loopback, in real time."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from praxis.config.schema import Discovery as Settings
from praxis.dev import free_discovery_port
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.discovery import Discovery, Found
from praxis.peers.identity import Identity, load_identity
from praxis.peers.keyring import NetworkKey

KEY = NetworkKey(bytes(range(32)))
PATIENCE = 10.0
"""Seconds: the announcements come in a tenth of one, unless the machine is busy with other things."""
LONE_AGENT = """
import random, sys, time
from pathlib import Path
import trio
from praxis.config.schema import Discovery as Settings
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.discovery import Discovery
from praxis.peers.identity import load_identity, next_boot
from praxis.peers.keyring import NetworkKey

async def main(state_dir, port, key):
    found = trio.Event()
    def on_found(each):
        print(each.peer_id, *each.candidates, flush=True)
        found.set()
    service = Discovery(
        Settings(port=port), loopback_only=True,
        identity=load_identity(name="child", keys=[key], rendezvous="praxis", state_dir=state_dir),
        boot=next_boot(state_dir, int(time.time() * 1000)), tcp_port=4002,
        on_found=on_found, on_bye=print, bus=EventBus(), metrics=Metrics(), clock=time.time, chance=random.Random(1),
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            await found.wait()
            await service.withdraw()
            nursery.cancel_scope.cancel()

trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), NetworkKey.parse(sys.stdin.readline()))
"""


class Ears:
    """What one agent is told."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.gone: list[tuple[str, int]] = []
        self._news = trio.Event()

    def on_found(self, found: Found) -> None:
        self.found.append(found)
        self._news.set()

    def on_bye(self, peer_id: str, boot: int) -> None:
        self.gone.append((peer_id, boot))
        self._news.set()

    async def wait_news(self) -> None:
        await self._news.wait()
        self._news = trio.Event()


def make_discovery(identity: Identity, ears: Ears, port: int, *, tcp_port: int, settings: Settings) -> Discovery:
    return Discovery(
        settings,
        loopback_only=True,
        identity=identity,
        boot=5,
        tcp_port=tcp_port,
        on_found=ears.on_found,
        on_bye=ears.on_bye,
        bus=EventBus(),
        metrics=Metrics(),
        clock=time.time,
        chance=random.Random(1),
    )


def make_identity(state_dir: Path, *keys: NetworkKey, rendezvous: str = "praxis") -> Identity:
    return load_identity(name=state_dir.name, keys=keys or (KEY,), rendezvous=rendezvous, state_dir=state_dir)


@pytest.mark.parametrize("means", ["multicast", "broadcast", "both"])
async def test_two_agents_of_one_host_find_and_leave_each_other(tmp_path: Path, means: str) -> None:
    settings = Settings(port=free_discovery_port(), multicast=means != "broadcast", broadcast=means != "multicast")
    a, b = make_identity(tmp_path / "a"), make_identity(tmp_path / "b")
    stranger = make_identity(tmp_path / "c", rendezvous="elsewhere")
    at_a, at_b, at_stranger = Ears(), Ears(), Ears()
    first = make_discovery(a, at_a, settings.port, tcp_port=4001, settings=settings)
    second = make_discovery(b, at_b, settings.port, tcp_port=4002, settings=settings)
    third = make_discovery(stranger, at_stranger, settings.port, tcp_port=4003, settings=settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(third.run)
        await nursery.start(first.run)
        await nursery.start(second.run)
        with trio.fail_after(PATIENCE):
            while not (at_a.found and at_b.found):
                await (at_b if at_a.found else at_a).wait_news()
        assert at_a.found[0] == Found(b.peer_id, 5, ("127.0.0.1:4002",))
        assert at_b.found[0] == Found(a.peer_id, 5, ("127.0.0.1:4001",))
        await second.withdraw()
        with trio.fail_after(PATIENCE):
            while not at_a.gone:
                await at_a.wait_news()
        assert at_a.gone == [(b.peer_id, 5)]
        assert {found.peer_id for found in at_a.found} == {b.peer_id}
        assert at_stranger.found == []
        nursery.cancel_scope.cancel()


async def test_two_processes_that_share_the_port_find_each_other(tmp_path: Path) -> None:
    settings = Settings(port=free_discovery_port())
    identity, ears = make_identity(tmp_path / "parent"), Ears()
    service = make_discovery(identity, ears, settings.port, tcp_port=4001, settings=settings)
    command = [sys.executable, "-c", LONE_AGENT, str(tmp_path / "child"), str(settings.port)]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            child = await trio.run_process(
                command,
                stdin=KEY.text.encode() + b"\n",
                capture_stdout=True,
                cwd=Path(__file__).parents[2],
                stderr=subprocess.STDOUT,
                check=False,
            )
            while not ears.gone:
                await ears.wait_news()
            nursery.cancel_scope.cancel()
    assert child.stdout.decode().splitlines()[0] == f"{identity.peer_id} 127.0.0.1:4001"
    assert child.returncode == 0
    peer_id = make_identity(tmp_path / "child").peer_id
    assert ears.found[0].peer_id == peer_id
    assert ears.found[0].candidates == ("127.0.0.1:4002",)
    assert ears.gone == [(peer_id, ears.found[0].boot)]
    assert ears.found[0].boot > 1_700_000_000_000
