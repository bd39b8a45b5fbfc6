"""This agent as a member of the network: everything in this room, put together and run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio

from praxis.config.schema import P2P
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.tool import ToolRef
from praxis.net.serve import is_loopback
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.bootstrap import Bootstrap, Resolve, resolve
from praxis.peers.credentials import Credentials
from praxis.peers.dialer import REACH, Connect, Dialer
from praxis.peers.directory import Directory
from praxis.peers.discovery import Discovery, Transport
from praxis.peers.entry import PeerEntry
from praxis.peers.gossip import Gossip
from praxis.peers.identity import Identity
from praxis.peers.issuer import Issuer
from praxis.peers.known import KnownPeers
from praxis.peers.line import authenticate
from praxis.peers.lines import Authenticate, Lines
from praxis.peers.listener import Listener
from praxis.peers.own_addresses import OwnAddresses
from praxis.peers.record import PeerRecord, ToolEntry
from praxis.peers.registry import PeerRegistry
from praxis.peers.renewal import Renewal
from praxis.peers.request import Handler, PeerRequest
from praxis.peers.upkeep import Upkeep

logger = logging.getLogger(__name__)

MAX_SUMMONED = 8
"""Distant agents to which one name makes lines; with more than one owner it is ambiguous or any of them will do."""
PING = 10.0
"""Seconds for a ping to come back before we say so."""
MAX_TEXT = 16384
"""Characters of a message from one agent to another; it is kept with the last events."""


class Member:
    """What an agent is in its network.

    Attributes:
        registry: the peers, as the rest of the house sees them.
        directory, lines, dialer: the parts that others look at.
    """

    def __init__(
        self,
        config: P2P,
        credentials: Credentials,
        *,
        boot: int,
        software: str,
        answer: Handler,
        known: Path | None,
        bus: EventBus,
        metrics: Metrics,
        clock: Callable[[], float],
        chance: Random,
        tags: Sequence[str] = (),
        connect: Connect = trio.open_tcp_stream,
        resolve: Resolve = resolve,
        authenticate: Authenticate = authenticate,
        transport: Transport | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            credentials: who this agent is; in a network with a CA its membership too, which is kept up from here.
            answer: answers what peers ask and this room does not answer itself.
            known: the file in which peers are remembered; None for none.
            clock: seconds since the epoch.
            connect, resolve, authenticate, transport: the network; others in simulations.
        """
        identity = credentials.identity
        self.registry = PeerRegistry(identity.name, bus=bus, clock=clock)
        self.directory = Directory(PeerRecord(identity.peer_id, identity.name, boot, 0, tags=tuple(tags)))
        self._config = config
        self._clock = clock
        self._bus = bus
        self._answer = answer
        self._addresses = OwnAddresses(config.advertise_addrs)
        self._gossip = Gossip(
            self.directory,
            self.registry,
            metrics=metrics,
            clock=clock,
            chance=chance,
            max_peers=config.max_peers,
            on_noted=lambda entry: self.dialer.consider(entry),
        )
        self.lines = Lines(
            self.registry,
            identity,
            addresses=self._addresses,
            config=config,
            boot=boot,
            software=software,
            handler=self._handle,
            gossip=self._gossip,
            metrics=metrics,
            clock=clock,
            authenticate=authenticate,
        )
        self.dialer = Dialer(
            self.lines, self._gossip, max_peers=config.max_peers, chance=chance, metrics=metrics, connect=connect
        )
        self._renewal = Renewal(self.lines, self.dialer)
        self._blocked: dict[str, tuple[PeerId, ...]] = {}
        self._upkeep: Upkeep | None = None
        self._issuer: Issuer | None = None
        nodes: tuple[str, ...] = ()
        if credentials.membership is not None:
            nodes = credentials.membership.bootstrap
            self._upkeep = Upkeep(
                credentials,
                credentials.membership,
                self.dialer,
                rekey=self.rekey,
                keep_out=partial(self.block, by="issuer"),
                clock=clock,
                chance=chance,
            )
        if credentials.authority is not None:
            self._issuer = Issuer(credentials.authority, self.registry, bus=bus)
        self._nodes = nodes
        self._bootstrap = Bootstrap(
            self.lines, (*config.bootstrap_nodes, *nodes), chance=chance, connect=connect, resolve=resolve
        )
        self._listener = Listener(
            self.lines,
            handshakes=config.limits.handshakes,
            metrics=metrics,
            on_join=self._issuer.join if self._issuer is not None else None,
        )
        self.lines.allow(config.security.allow)
        self._known = KnownPeers(known, self.registry, self.directory, clock=clock) if known is not None else None
        self._discovery: Discovery | None = None

        def discovery(port: int) -> Discovery:
            return Discovery(
                config.discovery,
                loopback_only=is_loopback(config.host),
                identity=self.lines.identity,
                boot=boot,
                tcp_port=port,
                on_found=lambda found: self.dialer.found(found.peer_id, found.boot, found.candidates),
                on_bye=self.dialer.left,
                bus=bus,
                metrics=metrics,
                clock=clock,
                chance=chance,
                addresses=self._addresses.listed,
                transport=transport,
            )

        self._make_discovery = discovery

    async def _handle(self, request: PeerRequest) -> Any:
        if request.method == "message.send":
            return await self._take_message(request)
        for part in (self._renewal, self._upkeep, self._issuer):
            if part is not None and request.method in part.methods:
                return await part.methods[request.method](request)
        method = self._gossip.methods.get(request.method)
        if method is None:
            return await self._answer(request)
        return await method(request, request.params if isinstance(request.params, Mapping) else {})

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for peers, keep lines to them and keep the directory, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._gossip.run)
            await nursery.start(self.dialer.run)
            if self._known is not None:
                for entry in self._known.load():
                    self.dialer.consider(entry)
                nursery.start_soon(self._known.run)
            nursery.start_soon(self._bootstrap.run)
            for part in (self._upkeep, self._issuer):
                if part is not None:
                    nursery.start_soon(part.run)
            task_status.started()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        host: str,
        port: int,
        *,
        stopping: trio.Event,
        grace: float,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept lines at `host` and `port` until `stopping`."""
        self.bind(host, port)
        await self._listener.serve(listeners, stopping=stopping, grace=grace, task_status=task_status)

    def bind(self, host: str, port: int) -> None:
        """Lines are accepted there from now on; peers are told."""
        self._addresses.bind(host, port)
        self._port = port

    async def discover(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Announce this agent and hear others on the segment, until cancelled; after `bind`. Raises OSError."""
        self._discovery = self._make_discovery(self._port)
        await self._discovery.run(task_status=task_status)

    @property
    def discovery_trouble(self) -> str:
        """What keeps discovery from working as it is configured; "" while nothing does."""
        return self._discovery.trouble if self._discovery is not None else ""

    async def rekey(self, identity: Identity) -> bool:
        """Show and believe this from now on; returns when every line rests on it, False when none had to change."""
        if self._discovery is not None:
            self._discovery.rekey(identity)
        return await self._renewal.rekey(identity)

    async def reload(self, credentials: Credentials) -> bool:
        """Go on from these, as `rekey` does. The mode `ca` is one at the start or not at all."""
        if self._upkeep is None or credentials.membership is None:
            return await self.rekey(credentials.identity)
        renewed = await self._upkeep.replace(credentials, credentials.membership)
        if self._issuer is not None:
            await self._issuer.spread()
        return renewed

    def bootstrap(self, nodes: Sequence[str]) -> None:
        """Keep lines to whoever is at these addresses, instead of those before. Raises PraxisError("invalid")."""
        self._bootstrap.replace((*nodes, *self._nodes))

    def block(self, peer_ids: Sequence[PeerId], *, by: str = "configuration") -> None:
        """Keep no line with these peers; lines that are open are cut. What somebody said before is forgotten."""
        self._blocked[by] = tuple(peer_ids)
        self.lines.block([peer_id for ids in self._blocked.values() for peer_id in ids])
        for entry in self.registry.entries():
            self.dialer.consider(entry)

    def publish(self, tools: tuple[ToolEntry, ...]) -> None:
        """Tell the network what there is to call here, and where we are, as far as that is news."""
        self._gossip.publish(tools=tools, addrs=self._addresses.everywhere)

    def distant(self) -> list[PeerRecord]:
        """Agents with tools to which there is no line now, but will be when a call needs one (see `Dialer.reach`).

        Those that somebody has lost are not among them until they say themselves that they are there.
        """
        if not self._config.enable_dht or len(self.directory) <= self._config.max_peers:
            return []
        found = []
        for record in self.directory.others().values():
            entry = self.registry.entry(record.id)
            idle = entry is not None and entry.link is None and entry.state in ("idle", "connecting")
            if record.tools and idle and not record.down:
                found.append(record)
        return found

    def absent(self, ref: ToolRef) -> list[PeerEntry]:
        """Agents without a line to us that have such a tool, or had it when their line ended."""
        found = []
        for entry in self.registry.entries():
            record = self.directory.get(entry.id)
            if not entry.connected and (
                (record is not None and _has(record, ref)) or any(tool.matches(ref) for tool in entry.last_tools)
            ):
                found.append(entry)
        return found

    async def summon(self, ref: ToolRef) -> None:
        """Make lines to the distant agents that have such a tool. Who cannot be reached is left out, and logged."""
        records = [record for record in self.distant() if _has(record, ref)]
        if not records:  # as for nearly every call
            return
        async with trio.open_nursery() as nursery:
            for record in records[:MAX_SUMMONED]:
                nursery.start_soon(self._summon, record)

    async def _summon(self, record: PeerRecord) -> None:
        try:
            await self.dialer.reach(record.id)
        except PraxisError as error:
            logger.info("%s, which the directory says has a tool that is needed, is left out: %s", record.name, error)
            return
        entry = self.registry.entry(record.id)
        with trio.move_on_after(REACH):
            while entry is not None and entry.link is not None and entry.record is None:
                await entry.news.wait()

    async def send(self, name: str, text: str) -> PeerId:
        """Give a text to the peer with this id or name; its id when it has got it. Raises PraxisError."""
        entry = self._find(name)
        link = await self.dialer.reach(entry.id)
        with trio.move_on_after(PING):
            await link.call("message.send", {"text": text})
            return entry.id
        raise PraxisError("timeout", f"{name} did not take the message within {PING:g} s")

    async def _take_message(self, request: PeerRequest) -> Any:
        text = request.params.get("text") if isinstance(request.params, Mapping) else None
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
            raise PraxisError("invalid", f"expected a text of at most {MAX_TEXT} characters", where="params.text")
        self._bus.publish("peer.message", peer=request.peer, name=request.peer_name, text=text)
        return {}

    async def ping(self, name: str) -> tuple[PeerId, float]:
        """The peer with this id or name, and the seconds to it and back. Raises PraxisError."""
        entry = self._find(name)
        link = await self.dialer.reach(entry.id)
        with trio.move_on_after(PING):
            return entry.id, await link.ping()
        raise PraxisError("timeout", f"{name} did not answer a ping within {PING:g} s")

    def forget(self, name: str) -> PeerId:
        """Know nothing of a peer any more, until it is heard of again. Raises PraxisError, ``conflict`` while there is
        a line to it."""
        entry = self._find(name)
        if entry.connected:
            raise PraxisError(
                "conflict", f"{name} is connected", hint="an agent that runs and has the key would be back at once"
            )
        self.registry.forget(entry)
        self.directory.forget(entry.id, self._clock())
        return entry.id

    def _find(self, name: str) -> PeerEntry:
        """By id or by name. Raises PraxisError: ``not_found``, ``ambiguous``."""
        entries = [entry for entry in self.registry.entries() if name in (entry.id, entry.name)]
        if not entries:
            raise PraxisError("not_found", f"no peer {name[:64]!r} is known", hint="`praxis peers` lists them")
        if len(entries) > 1:
            ids = [entry.id for entry in entries]
            raise PraxisError(
                "ambiguous", f"{len(ids)} peers are called {name!r}: {', '.join(ids[:8])}", hint="take an id"
            )
        return entries[0]

    async def withdraw(self) -> None:
        """Tell the segment that we stop; nothing else changes yet."""
        if self._discovery is not None:
            await self._discovery.withdraw()

    def say_goodbye(self) -> None:
        """Tell the network that we stop, and every peer to ask nothing new."""
        self._gossip.publish(left=True)
        self.lines.say_goodbye()


def _has(record: PeerRecord, ref: ToolRef) -> bool:
    if ref.agent not in (None, record.name, record.id):
        return False
    return any(tool.name == ref.name and ref.source in (None, tool.source) for tool in record.tools)
