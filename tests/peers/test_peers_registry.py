"""Who is known: room for those who count, one name for one peer, every change told, two agents with one identity."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from praxis.config.schema import Keepalive
from praxis.model.event import Event
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers import registry as module
from praxis.peers.entry import PeerEntry
from praxis.peers.link import PeerLink
from praxis.peers.record import PeerRecord
from praxis.peers.registry import CLASH_MEMORY, PeerRegistry
from praxis.peers.request import PeerRequest
from praxis.peers.traffic import Traffic
from praxis.wire.messages import Hello
from praxis.wire.session import Session
from tests.support.pipes import pipe_pair


class Setting:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.now = 1_700_000_000.0
        self.bus = EventBus(clock=lambda: self.now)
        self.registry = PeerRegistry("me", bus=self.bus, clock=lambda: self.now)
        self._nursery = nursery

    async def link(self, peer: str, name: str, *, boot: int = 1, dialer: bool = True) -> PeerLink:
        """A greeted line to a peer."""
        here, there = pipe_pair()
        links = []
        for pipe, own, other, called, start, dials in (
            (here, "px-me", peer, "me", 1, dialer),
            (there, peer, "px-me", name, boot, not dialer),
        ):
            session = Session(Hello(id=own, name=called, boot=start, agent="test"), dialer=dials)
            links.append(PeerLink(pipe, session, peer_id=other, address="test", handler=_echo, keepalive=Keepalive()))
            self._nursery.start_soon(links[-1].run)
        assert await links[0].wait_greeted()
        return links[0]

    async def meet(self, peer: str, name: str, *, boot: int = 1) -> PeerEntry:
        entry = self.registry.know(peer)
        assert entry is not None
        self.registry.adopt(entry, await self.link(peer, name, boot=boot))
        return entry

    def known(self) -> set[str]:
        return {entry.id for entry in self.registry.entries()}


async def _echo(request: PeerRequest) -> object:
    return request.params


@asynccontextmanager
async def setting() -> AsyncIterator[Setting]:
    async with trio.open_nursery() as nursery:
        yield Setting(nursery)
        nursery.cancel_scope.cancel()


# -- room -------------------------------------------------------------------------------------------


async def test_peers_that_beacons_make_up_give_way_to_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HINTED", 3)
    async with setting() as here:
        await here.meet("px-friend", "friend")
        for number in range(10):
            assert here.registry.know(f"px-{number}", hint=True) is not None
        assert here.registry.know("px-9", hint=True) is here.registry.entry("px-9")
        assert here.known() == {"px-friend", "px-7", "px-8", "px-9"}
        assert here.registry.evicted == 7
        here.registry.know("px-7")  # it is there: a beacon is not all that has told of it any more
        for number in range(20, 30):
            here.registry.know(f"px-{number}", hint=True)
        assert here.known() == {"px-friend", "px-7", "px-27", "px-28", "px-29"}


async def test_a_full_registry_forgets_who_is_missed_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PEERS", 5)
    async with setting() as here:
        registry = here.registry
        await here.meet("px-connected", "connected")
        blocked = registry.know("px-blocked")
        assert blocked is not None
        registry.block(blocked)
        for name, state in (("down", "down"), ("left", "left")):
            entry = await here.meet(f"px-{name}", name)
            assert entry.link is not None
            registry.drop(entry, entry.link)
            if state == "left":
                registry.mark_left(entry)
        registry.know("px-hint", hint=True)
        for newcomer, gone in (("px-a", "px-hint"), ("px-b", "px-left"), ("px-c", "px-down")):
            assert registry.know(newcomer) is not None
            assert gone not in here.known()
        assert here.known() == {"px-connected", "px-blocked", "px-a", "px-b", "px-c"}
        for name in "abc":
            await here.meet(f"px-{name}", name)
        assert registry.know("px-d") is None, "nobody who is connected gives way"
        assert registry.refused == 1


# -- names ------------------------------------------------------------------------------------------


async def test_a_name_belongs_to_whoever_bore_it_first(caplog: pytest.LogCaptureFixture) -> None:
    async with setting() as here:
        first = await here.meet("px-1", "twin")
        with caplog.at_level(logging.WARNING):
            second = await here.meet("px-2", "twin")
            liar = await here.meet("px-3", "me")
        assert [here.registry.label(entry) for entry in (first, second, liar)] == ["twin", "px-2", "px-3"]
        assert here.registry.conflicts == [second, liar]
        assert "px-2 calls itself twin, which is the name of px-1" in caplog.text
        assert "px-3 calls itself me, which is the name of this agent" in caplog.text
        views = {view.id: view.reason for view in here.registry.views()}
        assert "belongs to another agent" in views["px-2"]
        assert views["px-1"] == ""


async def test_a_peer_has_one_name_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    async with setting() as here:
        for number in range(30):
            await here.meet("px-1", f"name-{number}", boot=number + 1)
        assert here.registry._names == {"name-29": "px-1"}
        second = await here.meet("px-2", "name-3")
        assert here.registry.label(second) == "name-3"


async def test_a_name_is_free_when_its_peer_is_forgotten() -> None:
    async with setting() as here:
        first = await here.meet("px-1", "twin")
        assert first.link is not None
        here.registry.drop(first, first.link)
        here.registry.forget(first)
        assert here.registry.label(await here.meet("px-2", "twin")) == "twin"


async def test_a_name_is_kept_over_a_restart() -> None:
    async with setting() as here:
        here.registry.restore("px-1", "twin", owns_name=True, last_seen=1.0)
        here.registry.restore("px-2", "twin", owns_name=False, last_seen=2.0)
        here.registry.restore("px-3", "me", owns_name=True, last_seen=2.0)
        assert here.registry.label(await here.meet("px-2", "twin")) == "px-2"
        assert here.registry.label(await here.meet("px-1", "twin")) == "twin"
        assert here.registry.label(await here.meet("px-3", "me")) == "px-3"


# -- states -----------------------------------------------------------------------------------------


def told(events: tuple[Event, ...]) -> list[tuple[str, str]]:
    return [(str(event.fields["old"]), str(event.fields["state"])) for event in events]


async def test_every_change_of_a_state_is_told() -> None:
    async with setting() as here:
        registry = here.registry
        with here.bus.subscribe(types=["peer.state"], limit=100) as events:
            entry = registry.know("px-1")
            assert entry is not None
            registry.set_state(entry, "connecting", "")
            registry.set_state(entry, "connecting", "still")
            registry.set_state(entry, "down", "no answer")
            registry.mark_indirect(entry, "bob")
            link = await here.link("px-1", "ann")
            registry.adopt(entry, link)
            registry.drop(entry, link)
            registry.note(PeerRecord("px-1", "ann", 1, 9, left=True))
            registry.set_state(entry, "down", "one that has left stays so")
            registry.note(PeerRecord("px-1", "ann", 2, 1, addrs=("10.0.0.1:1",)))
            registry.mark_left(entry)
            registry.mark_back(entry)
            registry.block(entry)
            registry.note(PeerRecord("px-1", "ann", 3, 1))
            registry.unblock(entry)
            batch = events.receive_nowait()
        assert told(batch.events) == [
            ("idle", "connecting"),
            ("connecting", "down"),
            ("down", "indirect"),
            ("indirect", "connected"),
            ("connected", "down"),
            ("down", "left"),
            ("left", "idle"),
            ("idle", "left"),
            ("left", "idle"),
            ("idle", "blocked"),
            ("blocked", "idle"),
        ]
        assert batch.events[2].fields["reason"] == "bob hears it, we do not: no answer"


# -- one identity, two agents -----------------------------------------------------------------------


async def test_two_agents_with_one_identity_are_told_apart_from_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    async with setting() as here:
        registry = here.registry
        entry = await here.meet("px-1", "ann", boot=10)
        await here.meet("px-1", "ann", boot=20)
        assert registry.clones == [], "a restart"
        assert registry.adopt(entry, late := await here.link("px-1", "ann", boot=10)) is late
        assert registry.clones == [], "a call that was under way when it was restarted"
        with caplog.at_level(logging.WARNING):
            registry.adopt(entry, await here.link("px-1", "ann", boot=10))
        assert registry.clones == [entry]
        assert "two agents run with the identity of ann" in caplog.text
        here.now += CLASH_MEMORY + 1
        assert registry.clones == [], "one of them has gone"
        registry.adopt(entry, await here.link("px-1", "ann", boot=10))
        assert registry.clones == []


# -- numbers ----------------------------------------------------------------------------------------


async def test_what_went_over_a_line_counts_when_it_is_over_too() -> None:
    async with setting() as here:
        metrics = Metrics()
        traffic = Traffic(here.registry, metrics)
        entry = await here.meet("px-1", "ann")
        link = entry.link
        assert link is not None
        assert await link.call("echo", "x" * 1000) == "x" * 1000
        await link.ping()
        during = _read(metrics)
        assert during["praxis_p2p_sent_bytes"] > 1000
        assert during["praxis_p2p_received_bytes"] > 1000
        assert during['praxis_p2p_peers{state="connected"}'] == 1
        assert during['praxis_p2p_rtt_seconds{which="max"}'] >= 0
        link.close("test", "over")
        here.registry.drop(entry, link)
        traffic.ended(link)
        after = _read(metrics)
        assert after["praxis_p2p_sent_bytes"] == during["praxis_p2p_sent_bytes"]
        assert after['praxis_p2p_peers{state="down"}'] == 1


def _read(metrics: Metrics) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in metrics.render().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
