"""Agents on a segment in memory, under a virtual clock."""

from __future__ import annotations

import errno
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from praxis.config.schema import Discovery as Settings
from praxis.net.udp import Datagram, Sent
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers import discovery
from praxis.peers.discovery import Discovery, Found
from praxis.peers.identity import Identity, peer_id_text
from praxis.wire.beacon import ANNOUNCE, BYE, HINT_GAP_MS, QUERY, Beacon, BeaconReader, Verdict, network_tag

KEY = b"k" * 32
EPOCH = 1_800_000_000.0


def identity(number: int) -> Identity:
    """One without files: no TLS is spoken here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return Identity(
        peer_id=peer_id_text(bytes([number]) * 32),
        name=f"agent-{number}",
        certificate=b"",
        server=context,
        client=context,
        beacon_keys=(KEY,),
        network_tag=network_tag(KEY),
        authorities=(),
    )


class Segment:
    """A wire in memory. Every station has one source per link; what it sends to everybody comes from each of them."""

    def __init__(self) -> None:
        self.stations: dict[tuple[str, int], Station] = {}
        self.cut = False
        self.seen: list[tuple[float, str, Beacon, str | None]] = []
        """When, from whom, what, and to whom: None is everybody."""

    def record(self, sender: str, data: bytes, to: str | None) -> None:
        verdict = BeaconReader([KEY], bytes(32)).receive(data, sender, 0)
        assert isinstance(verdict, Verdict), verdict
        self.seen.append((trio.current_time(), sender, verdict.beacon, to))

    def times(self, kind: int, sender: str = "192.0.2.1", *, to: str | None = None) -> list[float]:
        return [when for when, who, beacon, whom in self.seen if (who, beacon.kind, whom) == (sender, kind, to)]


class Station:
    """One agent's sockets."""

    def __init__(self, segment: Segment, *hosts: str) -> None:
        self.segment = segment
        self.hosts = hosts
        self.port = 50_000 + len(segment.stations)
        self.hear: Callable[[Datagram], None] | None = None
        self.new_interface: Callable[[], None] = lambda: None
        self.failure: OSError | None = None
        self.missing: frozenset[str] = frozenset()
        for host in hosts:
            segment.stations[host, self.port] = self

    async def listen(
        self,
        on_datagram: Callable[[Datagram], None],
        on_new_interface: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure:
            raise self.failure
        self.hear, self.new_interface = on_datagram, on_new_interface
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.hear = None

    async def send_everywhere(self, data: bytes) -> Sent:
        await trio.lowlevel.checkpoint()
        if self.segment.cut:
            return Sent(0, ("eth0 to 239.255.80.88: Network is unreachable",))
        self.segment.record(self.hosts[0], data, None)
        for host in self.hosts:
            for station in set(self.segment.stations.values()):
                if station.hear:
                    station.hear(Datagram(data, host, self.port))
        return Sent(len(self.hosts))

    async def send_to(self, data: bytes, host: str, port: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.segment.record(self.hosts[0], data, host)
        station = self.segment.stations.get((host, port))
        if station and station.hear:
            station.hear(Datagram(data, self.hosts[0], self.port))
        return station is not None


@attrs.define
class Agent:
    discovery: Discovery
    peer_id: str
    station: Station | None
    metrics: Metrics
    bus: EventBus
    found: list[Found] = attrs.field(factory=list)
    gone: list[tuple[str, int]] = attrs.field(factory=list)

    def counted(self, line: str) -> float:
        """The value of a line of the metrics, without its common prefix."""
        for each in self.metrics.render().splitlines():
            if each.startswith(f"praxis_agent_beacons_{line} "):
                return float(each.rpartition(" ")[2])
        return 0


def make_agent(
    number: int,
    station: Station | None = None,
    *,
    skew: float = 0.0,
    settings: Settings | None = None,
    boot: int = 7,
    **more: Any,
) -> Agent:
    found: list[Found] = []
    gone: list[tuple[str, int]] = []
    own, metrics, bus = identity(number), Metrics(), EventBus(clock=lambda: 0.0)
    service = Discovery(
        settings or Settings(),
        identity=own,
        boot=boot,
        tcp_port=4000 + number,
        on_found=found.append,
        on_bye=lambda peer_id, boot: gone.append((peer_id, boot)),
        bus=bus,
        metrics=metrics,
        clock=lambda: EPOCH + trio.current_time() + skew,
        chance=random.Random(number),
        transport=station,
        **{"loopback_only": True, **more},
    )
    return Agent(service, own.peer_id, station, metrics, bus, found, gone)


@asynccontextmanager
async def running(*agents: Agent) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for agent in agents:
            await nursery.start(agent.discovery.run)
        yield
        nursery.cancel_scope.cancel()


def beacon_of(number: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "kind": ANNOUNCE,
        "port": 4001,
        "tag": network_tag(KEY),
        "peer_id": bytes([number]) * 32,
        "boot": 1,
        "seq": 1,
        "time_ms": int((EPOCH + trio.current_time()) * 1000),
    }
    return Beacon(**fields | changes).pack(KEY)


# Sending


async def test_asks_once_and_announces_ever_more_seldom(autojump_clock: MockClock) -> None:
    segment = Segment()
    agent = make_agent(1, Station(segment, "192.0.2.1"))
    started = trio.current_time()
    async with running(agent):
        await trio.sleep(300)
    assert [when - started for when in segment.times(QUERY)] == [0]
    announced = [when - started for when in segment.times(ANNOUNCE)]
    assert announced[:6] == [0, 1, 3, 7, 15, 31]
    gaps = [after - before for before, after in pairwise(announced[5:])]
    assert len(gaps) >= 7
    assert all(24 <= gap <= 36 for gap in gaps)
    assert len(set(gaps)) == len(gaps)
    assert agent.counted('sent_total{kind="announce"}') == len(announced)
    assert agent.counted('sent_total{kind="query"}') == 1


async def test_the_configured_interval_is_kept(autojump_clock: MockClock) -> None:
    segment = Segment()
    started = trio.current_time()
    async with running(make_agent(1, Station(segment, "192.0.2.1"), settings=Settings(interval=2.0))):
        await trio.sleep(20)
    announced = [when - started for when in segment.times(ANNOUNCE)]
    assert announced[:2] == [0, 1]
    assert all(1.6 <= after - before <= 2.4 for before, after in pairwise(announced[1:]))


async def test_a_beacon_says_who_where_and_in_which_order(autojump_clock: MockClock) -> None:
    segment = Segment()
    agent = make_agent(1, Station(segment, "192.0.2.1"), boot=99, addresses=("gate.example:7",))
    async with running(agent):
        await trio.sleep(10)
    beacons = [beacon for _, _, beacon, _ in segment.seen]
    assert [beacon.seq for beacon in beacons] == [1, 2, 3, 4, 5]
    for when, _, beacon, _ in segment.seen:
        assert (beacon.peer_id, beacon.boot, beacon.port) == (bytes([1]) * 32, 99, 4001)
        assert beacon.addresses == ("gate.example:7",)
        assert beacon.time_ms == int((EPOCH + when) * 1000)


async def test_a_new_interface_is_announced_to_at_once(autojump_clock: MockClock) -> None:
    segment = Segment()
    agent = make_agent(1, Station(segment, "192.0.2.1"))
    async with running(agent):
        await trio.sleep(100)
        assert agent.station
        before = trio.current_time()
        agent.station.new_interface()
        await trio.sleep(1.5)
    assert segment.times(QUERY)[1:] == [before]
    assert [when - before for when in segment.times(ANNOUNCE) if when >= before] == [0, 1]


async def test_failed_sends_are_told_once_and_never_end_the_announcer(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    segment = Segment()
    segment.cut = True
    agent = make_agent(1, Station(segment, "192.0.2.1"))
    with caplog.at_level(logging.INFO):
        async with running(agent):
            await trio.sleep(100)
            assert segment.seen == []
            assert agent.counted('sent_total{kind="announce"}') == 0
            [warning] = caplog.records
            assert "Network is unreachable" in warning.getMessage()
            segment.cut = False
            await trio.sleep(40)
            assert len(segment.times(ANNOUNCE)) >= 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_interfaces_that_are_not_used_are_told_while_they_are_not(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    segment = Segment()
    named = Settings(interfaces=("lo", "eth0", "nosuch0"))
    station = Station(segment, "192.0.2.1")
    wide = make_agent(1, station, settings=named, loopback_only=False)
    station.missing = frozenset({"nosuch0"})
    narrow = make_agent(2, Station(segment, "127.0.0.1"), settings=named)
    async with running(wide, narrow):
        assert wide.discovery.trouble == (
            "the network interface nosuch0 is not there; p2p.discovery.interfaces names what is to be used"
        )
        station.missing = frozenset()
        assert wide.discovery.trouble == ""
        what = "the network interfaces eth0, nosuch0 are not used while p2p.host is a loopback address"
        assert narrow.discovery.trouble.startswith(what)
        (record,) = (record for record in caplog.records if record.levelname == "WARNING")
        assert record.getMessage() == f"discovery: {narrow.discovery.trouble}"
    assert make_agent(3, Station(segment, "127.0.0.1"), settings=Settings(interfaces=("lo",))).discovery.trouble == ""


async def test_a_taken_port_is_an_outage_and_another_try_works(autojump_clock: MockClock) -> None:
    segment = Segment()
    agent = make_agent(1, Station(segment, "192.0.2.1"))
    assert agent.station
    agent.station.failure = OSError(errno.EADDRINUSE, "Address already in use")
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await agent.discovery.run()
    agent.station.failure = None
    async with running(agent):
        await trio.sleep(0.5)
    assert len(segment.times(ANNOUNCE)) == 1


# Meeting


async def test_two_agents_find_each_other_at_once_whoever_comes_first(autojump_clock: MockClock) -> None:
    segment = Segment()
    a, b = make_agent(1, Station(segment, "192.0.2.1")), make_agent(2, Station(segment, "192.0.2.2"), boot=70)
    async with running(a):
        await trio.sleep(1000)
        async with running(b):
            await trio.sleep(0.1)
    assert a.found[0] == Found(b.peer_id, 70, ("192.0.2.2:4002",))
    assert b.found[0] == Found(a.peer_id, 7, ("192.0.2.1:4001",))
    assert a.counted('received_total{kind="query"}') == 1


async def test_a_query_is_answered_to_its_source_alone(autojump_clock: MockClock) -> None:
    segment = Segment()
    a, b = make_agent(1, Station(segment, "192.0.2.1")), make_agent(2, Station(segment, "192.0.2.2"))
    async with running(a):
        await trio.sleep(100)
        segment.seen.clear()
        async with running(b):
            await trio.sleep(0.2)
    assert len(segment.times(ANNOUNCE, to="192.0.2.2")) == 1
    assert segment.times(ANNOUNCE, "192.0.2.2", to="192.0.2.1") == []


async def test_hosts_beyond_the_segment_are_asked_and_answer(autojump_clock: MockClock) -> None:
    near, far = Segment(), Segment()
    one = make_agent(1, Station(near, "192.0.2.1"), settings=Settings(targets=("192.0.2.9",)))
    there = Station(far, "192.0.2.9")
    there.port = 4001
    near.stations["192.0.2.9", 4001] = there
    other = make_agent(9, there)
    async with running(other, one):
        far.stations["192.0.2.1", one.station.port] = one.station  # type: ignore[union-attr, assignment]
        await trio.sleep(100)
    assert near.times(QUERY, to="192.0.2.9")[0] == 0
    assert 6 <= len(near.times(QUERY, to="192.0.2.9")) <= 9, "1, 2, 4, 8, 16, 30, 30, ... s apart"
    assert other.found[0].peer_id == one.peer_id
    assert one.found[0].candidates == ("192.0.2.9:4009",)


async def test_one_source_gets_one_answer_a_second(autojump_clock: MockClock) -> None:
    segment = Segment()
    a = make_agent(1, Station(segment, "192.0.2.1"))
    asking = Station(segment, "192.0.2.9")
    async with running(a):
        assert a.station
        assert a.station.hear
        for seq in range(1, 31):
            a.station.hear(Datagram(beacon_of(9, kind=QUERY, seq=seq), "192.0.2.9", asking.port))
            await trio.sleep(0.1)
    answers = segment.times(ANNOUNCE, to="192.0.2.9")
    assert len(answers) == 3
    assert a.counted('dropped_total{reason="rate"}') == 27


async def test_a_flood_of_queries_from_everywhere_keeps_answers_and_memory_bounded(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(discovery, "MAX_SOURCES", 100)
    segment = Segment()
    a = make_agent(1, Station(segment, "192.0.2.1"))
    async with running(a):
        assert a.station
        assert a.station.hear
        for wave in range(3):
            for index in range(200):
                data = beacon_of(9, kind=QUERY, seq=1 + 200 * wave + index)
                a.station.hear(Datagram(data, f"10.0.{wave}.{index}", 5))
            await trio.sleep(0.5)
            assert len([1 for *_, to in segment.seen if to]) == discovery.MAX_ANSWERS * (wave + 1)
        assert len(a.discovery._answered) == 100
    assert a.counted('dropped_total{reason="rate"}') == 3 * (200 - discovery.MAX_ANSWERS)


async def test_every_way_to_a_peer_becomes_a_candidate(autojump_clock: MockClock) -> None:
    segment = Segment()
    a = make_agent(1, Station(segment, "192.0.2.1"))
    b = make_agent(2, Station(segment, "192.0.2.2", "198.51.100.2"), addresses=("b.example:9", "192.0.2.2:4002"))
    async with running(a, b):
        await trio.sleep(0.01)
    assert a.found[0].candidates == ("192.0.2.2:4002", "b.example:9")
    assert a.found[1].candidates == ("192.0.2.2:4002", "198.51.100.2:4002", "b.example:9")


@pytest.mark.parametrize(
    ("source", "listed", "candidates"),
    [
        ("192.0.2.9", ("127.0.0.1:80", "localhost:80", "[::1]:80", "0.0.0.0:80", "x.localhost:1"), ("192.0.2.9:4001",)),
        ("127.0.0.1", ("127.0.0.2:80", "localhost:80"), ("127.0.0.1:4001", "127.0.0.2:80", "localhost:80")),
        ("fe80::9%eth0", ("[fe80::8%eth0]:1",), ("[fe80::9%eth0]:4001", "[fe80::8%eth0]:1")),
    ],
)
async def test_nobody_elsewhere_can_make_us_dial_ourselves(
    source: str, listed: tuple[str, ...], candidates: tuple[str, ...], autojump_clock: MockClock
) -> None:
    a = make_agent(1, Station(Segment(), "192.0.2.1"))
    async with running(a):
        assert a.station
        assert a.station.hear
        a.station.hear(Datagram(beacon_of(9, addresses=listed), source, 5))
    assert a.found == [Found(peer_id_text(bytes([9]) * 32), 1, candidates)]


async def test_finding_and_leaving_are_published_once_per_start(autojump_clock: MockClock) -> None:
    a = make_agent(1, Station(Segment(), "192.0.2.1"))
    with a.bus.subscribe(types=["discovery"]) as events:
        async with running(a):
            assert a.station
            assert a.station.hear
            for boot, seq, kind in ((1, 1, QUERY), (1, 2, ANNOUNCE), (1, 3, BYE), (2, 1, ANNOUNCE)):
                a.station.hear(Datagram(beacon_of(9, boot=boot, seq=seq, kind=kind), "192.0.2.9", 5))
        batch = await events.receive()
    peer_id = peer_id_text(bytes([9]) * 32)
    candidates = ["192.0.2.9:4001"]
    assert [(event.type, event.fields) for event in batch.events] == [
        ("discovery.found", {"peer_id": peer_id, "boot": 1, "candidates": candidates}),
        ("discovery.bye", {"peer_id": peer_id, "boot": 1}),
        ("discovery.found", {"peer_id": peer_id, "boot": 2, "candidates": candidates}),
    ]


# Leaving


async def test_withdrawing_says_goodbye_once_and_is_silent_then(autojump_clock: MockClock) -> None:
    segment = Segment()
    a, b = make_agent(1, Station(segment, "192.0.2.1")), make_agent(2, Station(segment, "192.0.2.2"))
    async with running(a, b):
        await trio.sleep(50)
        b.found.clear()
        heard = len(a.found)
        await a.discovery.withdraw()
        await a.discovery.withdraw()
        left = trio.current_time()
        assert b.gone == [(a.peer_id, 7)]
        assert b.station
        b.station.new_interface()  # asks again, and gets no answer
        await trio.sleep(200)
        assert segment.times(BYE) == [left]
        assert [when for when, who, *_ in segment.seen if who == "192.0.2.1" and when > left] == []
        assert b.found == []
        assert len(a.found) == heard
    assert a.gone == []


async def test_a_query_that_waits_for_its_answer_gets_none_after_the_goodbye(autojump_clock: MockClock) -> None:
    segment = Segment()
    a = make_agent(1, Station(segment, "192.0.2.1"))
    async with running(a):
        assert a.station
        assert a.station.hear
        a.station.hear(Datagram(beacon_of(9, kind=QUERY), "192.0.2.9", 5))
        await a.discovery.withdraw()
        await trio.sleep(1)
    assert segment.times(ANNOUNCE, to="192.0.2.9") == []


async def test_withdrawing_before_or_after_running_sends_nothing(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    segment = Segment()
    a = make_agent(1, Station(segment, "192.0.2.1"))
    await a.discovery.withdraw()
    async with running(a):
        await trio.sleep(100)
    assert segment.seen == []
    assert not caplog.records


# What is not believed


async def test_drops_are_counted_by_reason(autojump_clock: MockClock) -> None:
    a = make_agent(1, Station(Segment(), "192.0.2.1"))
    async with running(a):
        assert a.station
        hear = a.station.hear
        assert hear
        good = beacon_of(9)
        for data in (b"", b"x" * 100, good[:-1] + b"?", good, good, beacon_of(9, seq=0), beacon_of(1)):
            hear(Datagram(data, "192.0.2.9", 5))
        await trio.sleep(0.5)
    for reason, count in {"short": 1, "foreign": 1, "mac": 1, "duplicate": 1, "replay": 1}.items():
        assert a.counted(f'dropped_total{{reason="{reason}"}}') == count, reason
    assert a.counted('dropped_total{reason="self"}') == 3  # with our own query and announcement
    assert a.counted('received_total{kind="announce"}') == 1
    assert len(a.found) == 1


async def test_a_clock_a_day_off_delays_and_does_not_divide(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    segment = Segment()
    a = make_agent(1, Station(segment, "192.0.2.1"))
    b = make_agent(2, Station(segment, "192.0.2.2"), skew=86_400.0)
    async with running(a, b):
        await trio.sleep(0.5)
        assert [found.peer_id for found in a.found] == [b.peer_id]
        assert [found.peer_id for found in b.found] == [a.peer_id]
        await trio.sleep(600)
        assert 6 <= len(a.found) <= 11
        before = len(a.found)
        await b.discovery.withdraw()
        assert a.gone == []  # a goodbye out of its time may be a recording
        assert len(a.found) == before
    mine = [record.getMessage() for record in caplog.records if b.peer_id in record.getMessage()]
    assert 1 <= len(mine) <= 600_000 // HINT_GAP_MS + 1
    assert "+86400 s off" in mine[0]
