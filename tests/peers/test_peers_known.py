"""Peers that are remembered from one start to the next."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import trio
import trio.testing

from praxis.observe.events import EventBus
from praxis.peers import known
from praxis.peers.directory import Directory
from praxis.peers.entry import PeerEntry
from praxis.peers.known import KEEP, PAUSE, KnownPeers
from praxis.peers.record import PeerRecord
from praxis.peers.registry import PeerRegistry

NOW = 1_700_000_000.0


def clock() -> float:
    return NOW + trio.current_time()


def make(path: Path) -> tuple[KnownPeers, PeerRegistry, Directory]:
    registry = PeerRegistry("own", bus=EventBus(clock=lambda: 0.0), clock=clock)
    directory = Directory(PeerRecord("px-own", "own", 1, 0))
    return KnownPeers(path, registry, directory, clock=clock), registry, directory


def meet(registry: PeerRegistry, name: str, *, seen: float = NOW) -> PeerEntry:
    entry = registry.know(f"px-{name}")
    assert entry is not None
    entry.name, entry.boot, entry.last_seen = name, 1, seen
    entry.learn([f"{name}.example:4001"])
    return entry


async def test_who_was_met_is_known_at_the_next_start(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "peers.json"
    peers, registry, _ = make(path)
    meet(registry, "ann")
    registry.know("px-never-met")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peers.run)
        await trio.sleep(PAUSE + 1)
        assert path.stat().st_mode & 0o777 == 0o600
        meet(registry, "bob", seen=NOW + 1)
        nursery.cancel_scope.cancel()
    again, registry, _ = make(path)
    assert [(e.id, e.name, e.candidates) for e in again.load()] == [
        ("px-bob", "bob", ("bob.example:4001",)),
        ("px-ann", "ann", ("ann.example:4001",)),
    ]
    assert len(registry.entries()) == 2


async def test_an_unchanged_file_is_not_written_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "peers.json"
    peers, registry, _ = make(path)
    meet(registry, "ann")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peers.run)
        await trio.sleep(PAUSE + 1)
        path.unlink()
        await trio.sleep(5 * PAUSE)
        assert not path.exists()
        nursery.cancel_scope.cancel()


async def test_who_was_not_seen_for_a_week_is_forgotten_everywhere(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    peers, registry, directory = make(tmp_path / "peers.json")
    meet(registry, "ann", seen=NOW - KEEP + 2 * PAUSE)
    directory.offer(PeerRecord("px-ann", "ann", 1, 1), NOW)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peers.run)
        await trio.sleep(1.5 * PAUSE)
        assert registry.entry("px-ann") is not None
        registry.entries()[0].found_at = 0.0
        await trio.sleep(2 * PAUSE)
        assert registry.entry("px-ann") is None
        assert directory.get("px-ann") is None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"peers": 1}', '{"peers": [1, {"id": 2}, {}]}', '{"peers": "abc"}', "[" * 100_000],
)
async def test_a_damaged_file_is_none(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "peers.json").write_text(text)
    peers, registry, _ = make(tmp_path / "peers.json")
    assert peers.load() == []
    assert registry.entries() == []
    if not text.startswith('{"peers": '):
        assert "found anew" in caplog.text


async def test_old_ones_in_the_file_are_passed_over_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(known, "MAX_KNOWN", 2)
    path = tmp_path / "peers.json"
    peers, registry, _ = make(path)
    for number, name in enumerate(("ann", "bob", "cat")):
        meet(registry, name, seen=NOW + number)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peers.run)
        await trio.sleep(PAUSE + 1)
        nursery.cancel_scope.cancel()
    assert [peer["name"] for peer in json.loads(path.read_text())["peers"]] == ["cat", "bob"]
    await trio.sleep(KEEP + 10)
    again, _, _ = make(path)
    assert again.load() == []


async def test_a_full_disk_costs_the_memory_alone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "gone"
    peers, registry, _ = make(folder / "peers.json")
    meet(registry, "ann")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peers.run)
        await trio.sleep(PAUSE + 1)
        assert "cannot be remembered" in caplog.text
        folder.mkdir()
        await trio.sleep(PAUSE)
        assert (folder / "peers.json").exists()
        nursery.cancel_scope.cancel()
