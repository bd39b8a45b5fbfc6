"""Finding the agents of one network on the same segment: the service around `praxis.wire.beacon`.

It says that we are here, hears who else is, and hands over addresses to dial. What it hears are hints: a wrong or
repeated one costs a dial that TLS refuses, and how often that may happen is bounded by whoever dials.
"""

from __future__ import annotations

import ipaddress
import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from praxis.config.schema import Discovery as Settings
from praxis.model.peer import PeerId
from praxis.net.families import Family, IPv4, IPv6
from praxis.net.udp import Datagram, SegmentSockets, Sent
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.identity import Identity, peer_id_digest, peer_id_text
from praxis.wire.beacon import ANNOUNCE, BYE, KINDS, MAX_SEQ, QUERY, WINDOW_MS, Beacon, BeaconReader, Verdict

log = logging.getLogger(__name__)

GROUP = "239.255.80.88"
"""In the block that stays inside a site (RFC 2365)."""
GROUP6 = "ff12::7072:6178"
"""Of link-local scope, not permanently assigned (RFC 4291, section 2.7)."""
FIRST_PAUSE = 1.0
"""Seconds from the first announcement to the second; it doubles up to the configured interval."""
SPREAD = 0.2
"""Part of the interval that chance adds or takes, so that agents started together drift apart."""
ANSWER_DELAY = 0.1
"""Seconds over which the answers to one query spread."""
ANSWER_GAP = 1.0
"""Seconds in which one source gets no second answer. Query and answer have one size, so there is no amplification."""
MAX_ANSWERS = 64
"""Answers that wait at once: twice what a big segment asks for within the delay. Who gets none hears the next
announcement."""
MAX_SKEWS = 64
"""Peers whose clock is remembered: those heard last."""
MAX_SOURCES = 1024
"""Sources whose last answer is remembered; the oldest is forgotten first, since by then its gap has long passed."""
RESOLVE = 5.0
"""Seconds for the name of a host that is asked directly; it is tried again with the next announcement."""
SKEW_GAP = 60.0
"""Seconds between two log lines about clocks."""


@attrs.frozen
class Found:
    """A peer that may be reached at one of the candidates, ``HOST:PORT``, the likeliest first."""

    peer_id: PeerId
    boot: int
    candidates: tuple[str, ...]


class Transport(Protocol):
    """What is needed of `praxis.net.udp.SegmentSockets`."""

    @property
    def missing(self) -> frozenset[str]: ...

    async def listen(
        self,
        on_datagram: Callable[[Datagram], None],
        on_new_interface: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None: ...

    async def send_everywhere(self, data: bytes) -> Sent: ...

    async def send_to(self, data: bytes, host: str, port: int) -> bool: ...


def _families(config: Settings) -> list[Family]:
    families: list[Family] = [IPv4(GROUP, multicast=config.multicast, broadcast=config.broadcast)]
    if config.ipv6 and config.multicast:
        families.append(IPv6(GROUP6))
    return families


class Discovery:
    """Announces this agent and listens for others."""

    def __init__(
        self,
        config: Settings,
        *,
        loopback_only: bool,
        identity: Identity,
        boot: int,
        tcp_port: int,
        on_found: Callable[[Found], None],
        on_bye: Callable[[PeerId, int], None],
        bus: EventBus,
        metrics: Metrics,
        clock: Callable[[], float],
        chance: random.Random,
        addresses: tuple[str, ...] = (),
        transport: Transport | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            loopback_only: True while our TCP listener is bound to loopback: then nobody else could reach it.
            tcp_port: where our listener is; not 0.
            on_found: told of every beacon with something new in it; must not block. `on_bye` likewise, with the boot
                number of the start that is over.
            clock: seconds since the epoch.
            chance: spreads announcements and answers in time.
            addresses: ``HOST:PORT`` to list besides the address that our datagrams come from.
            transport: sockets of another kind, for tests.
        """
        self._interval = config.interval
        self._targets, self._port = config.targets, config.port
        self._identity = identity
        self._boot = boot
        self._tcp_port = tcp_port
        self._on_found = on_found
        self._on_bye = on_bye
        self._bus = bus
        self._clock = clock
        self._addresses = addresses
        self._unused = frozenset(config.interfaces) - {"lo"} if loopback_only else frozenset[str]()
        self._transport: Transport = transport or SegmentSockets(
            config.port, _families(config), interfaces=("lo",) if loopback_only else config.interfaces
        )
        self._reader = BeaconReader(identity.beacon_keys, peer_id_digest(identity.peer_id))
        self._chance = chance
        self._seq = 0
        self._again = trio.Event()
        self._withdrawn = False
        self._nursery: trio.Nursery | None = None
        self._answering = 0
        self._answered: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._unheard = False
        self._warned_of_skew = -float("inf")
        self._skews: OrderedDict[PeerId, float] = OrderedDict()
        metrics.gauge(
            "praxis_p2p_clock_skew_seconds",
            "How far clocks of peers that announce themselves are off ours, with the way: the furthest.",
            lambda: max(self._skews.values(), key=abs, default=0.0),
        )
        self._sent = metrics.counter("praxis_agent_beacons_sent_total", "Beacons sent, by kind.", ("kind",))
        self._received = metrics.counter("praxis_agent_beacons_received_total", "Beacons taken, by kind.", ("kind",))
        self._dropped = metrics.counter(
            "praxis_agent_beacons_dropped_total", "Datagrams on the discovery port not taken, by reason.", ("reason",)
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Announce and listen until cancelled; started once the sockets are bound.

        Raises OSError when the port cannot be had or a socket fails; may be run again after that.
        """
        async with trio.open_nursery() as nursery:
            self._nursery, self._answering = nursery, 0
            if self._unused:
                log.warning("discovery: %s", self.trouble)
            try:
                await nursery.start(self._transport.listen, self._receive, self._announce_again)
                task_status.started()
                for target in self._targets:
                    nursery.start_soon(self._ask, target)
                await self._announce()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @property
    def trouble(self) -> str:
        """Which of the configured interfaces are not used, and why; "" when all are."""
        if self._unused:
            return f"{_named(self._unused)} not used while p2p.host is a loopback address, which only lo reaches"
        missing = self._transport.missing
        return f"{_named(missing)} not there; p2p.discovery.interfaces names what is to be used" if missing else ""

    def rekey(self, identity: Identity) -> None:
        """Sign and verify with other keys from now on, and announce this agent to those who have only these."""
        self._identity = identity
        self._reader.rekey(identity.beacon_keys)
        self._announce_again()

    async def withdraw(self) -> None:
        """Say goodbye and be silent from now on. Takes as long as the transport's patience at most."""
        if self._withdrawn:
            return
        self._withdrawn = True
        self._again.set()
        if self._nursery is not None:
            await self._send(BYE)

    async def _announce(self) -> None:
        """Until withdrawn: ask who is there, then announce ever more seldom; from the top for a new interface."""
        while not self._withdrawn:
            self._again = trio.Event()
            await self._send(QUERY)
            pause = FIRST_PAUSE
            while not self._again.is_set():
                await self._send(ANNOUNCE)
                if pause >= self._interval:
                    pause = self._interval * self._chance.uniform(1 - SPREAD, 1 + SPREAD)
                with trio.move_on_after(pause):
                    await self._again.wait()
                pause = max(2 * pause, FIRST_PAUSE)

    async def _ask(self, target: str) -> None:
        """Until withdrawn: ask a host beyond the segment, where announcements do not get; it answers us alone."""
        pause = FIRST_PAUSE
        while not self._withdrawn:
            try:
                with trio.fail_after(RESOLVE):
                    found = await trio.socket.getaddrinfo(target, self._port, type=trio.socket.SOCK_DGRAM)
                address = str(found[0][4][0])
                if await self._transport.send_to(self._pack(QUERY), address, self._port):
                    self._sent.inc(1, KINDS[QUERY])
            except (OSError, trio.TooSlowError) as error:
                log.debug("cannot ask %s who is there: %s", target, error or "its name is not resolved")
            await trio.sleep(pause * self._chance.uniform(1 - SPREAD, 1 + SPREAD))
            pause = min(2 * pause, self._interval)

    def _announce_again(self) -> None:
        self._again.set()

    def _pack(self, kind: int) -> bytes:
        # At the last number, which an agent reaches in years, others take what follows for replays until it restarts.
        self._seq = min(self._seq + 1, MAX_SEQ)
        return Beacon(
            kind=kind,
            port=self._tcp_port,
            tag=self._identity.network_tag,
            peer_id=self._reader.own_id,
            boot=self._boot,
            seq=self._seq,
            time_ms=int(self._clock() * 1000),
            addresses=self._addresses,
        ).pack(self._identity.beacon_keys[0])

    async def _send(self, kind: int) -> None:
        sent = await self._transport.send_everywhere(self._pack(kind))
        if sent.paths:
            self._sent.inc(1, KINDS[kind])
        if self._unheard != (not sent.paths):
            self._unheard = not sent.paths
            if self._unheard:
                reasons = "; ".join(sent.errors[:4]) or "neither multicast nor broadcast is on"
                log.warning("cannot announce this agent on any interface (%s); going on trying", reasons)
            else:
                log.info("announcing this agent again, on %d paths", sent.paths)

    def _receive(self, datagram: Datagram) -> None:
        verdict = self._reader.receive(datagram.data, datagram.host, int(self._clock() * 1000))
        if not isinstance(verdict, Verdict):
            self._dropped.inc(1, verdict)
            return
        if self._withdrawn:
            return
        beacon = verdict.beacon
        self._received.inc(1, KINDS[beacon.kind])
        if verdict.standing == "hint":
            self._warn_of_skew(beacon, datagram.host)
        peer_id = peer_id_text(beacon.peer_id)
        self._note_skew(peer_id, beacon.time_ms / 1000 - self._clock())
        if beacon.kind == BYE:
            if verdict.standing == "new":
                self._bus.publish("discovery.bye", peer_id=peer_id, boot=beacon.boot)
                self._on_bye(peer_id, beacon.boot)
            return
        found = Found(peer_id, beacon.boot, _candidates(verdict))
        if verdict.first:
            self._bus.publish("discovery.found", peer_id=peer_id, boot=beacon.boot, candidates=list(found.candidates))
        self._on_found(found)
        if beacon.kind == QUERY and verdict.standing != "path":
            self._answer_soon(datagram.host, datagram.port)

    def _answer_soon(self, host: str, port: int) -> None:
        now, last = trio.current_time(), self._answered.get((host, port))
        if self._nursery is None:
            return
        if self._answering >= MAX_ANSWERS or (last is not None and now - last < ANSWER_GAP):
            self._dropped.inc(1, "rate")
            return
        self._answered[host, port] = now
        self._answered.move_to_end((host, port))
        if len(self._answered) > MAX_SOURCES:
            self._answered.popitem(last=False)
        self._answering += 1
        self._nursery.start_soon(self._answer, host, port)

    async def _answer(self, host: str, port: int) -> None:
        try:
            await trio.sleep(self._chance.uniform(0, ANSWER_DELAY))
            if not self._withdrawn and await self._transport.send_to(self._pack(ANNOUNCE), host, port):
                self._sent.inc(1, KINDS[ANNOUNCE])
        finally:
            self._answering -= 1

    def _note_skew(self, peer_id: PeerId, seconds: float) -> None:
        self._skews[peer_id] = seconds
        self._skews.move_to_end(peer_id)
        if len(self._skews) > MAX_SKEWS:
            self._skews.popitem(last=False)

    def _warn_of_skew(self, beacon: Beacon, host: str) -> None:
        now = trio.current_time()
        if now - self._warned_of_skew >= SKEW_GAP:
            self._warned_of_skew = now
            off = beacon.time_ms / 1000 - self._clock()
            log.warning(
                "the clock of peer %s at %s is %+.0f s off ours, more than %d s: it is found slowly",
                peer_id_text(beacon.peer_id),
                host,
                off,
                WINDOW_MS // 1000,
            )


def _named(interfaces: frozenset[str]) -> str:
    names = ", ".join(sorted(interfaces))
    return f"the network interface {names} is" if len(interfaces) == 1 else f"the network interfaces {names} are"


def _candidates(verdict: Verdict) -> tuple[str, ...]:
    """Where to dial: the sources with the beacon's port, then what it lists and could be the peer from here."""
    beacon = verdict.beacon
    here = [f"[{host}]:{beacon.port}" if ":" in host else f"{host}:{beacon.port}" for host in verdict.sources]
    local = any(_loopback(host) for host in verdict.sources)
    listed = (address for address in beacon.addresses if _dialable(address, local=local))
    return tuple(dict.fromkeys([*here, *listed]))


def _dialable(address: str, *, local: bool) -> bool:
    """Loopback addresses are those of the peer's own machine, and so are dialed only when that is ours too."""
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    if _loopback(host):
        return local
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return True  # a name


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
