"""One agent of a simulation: the peer modules that the daemon runs, without TLS, HTTP and tools that do anything."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from functools import partial
from typing import Any

import trio

from praxis.config.schema import P2P
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId, PeerState
from praxis.model.tool import Tool
from praxis.net.tls import Broken
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.credentials import Credentials
from praxis.peers.identity import Identity, peer_id_text
from praxis.peers.lines import Opened
from praxis.peers.member import Member
from praxis.peers.record import ToolEntry
from praxis.peers.request import PeerRequest
from praxis.sim.network import Host, SimNetwork, SimPipe, SimTransport
from praxis.wire.beacon import network_tag

KEY = b"simulation key, 32 bytes long..."
EPOCH = 1_700_000_000.0
"""What the clocks of a simulation show at its start."""


class SimAgent:
    """`skew` is what its clock is off by, in seconds."""

    def __init__(
        self,
        network: SimNetwork,
        number: int,
        *,
        config: P2P,
        boot: int = 1,
        segment: int = 0,
        skew: float = 0.0,
        announce: bool = True,
    ) -> None:
        self.name = f"agent-{number}"
        self.address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self.peer_id: PeerId = peer_id_text(hashlib.sha256(self.name.encode()).digest())
        self.metrics = Metrics()
        self.bus = EventBus(clock=trio.current_time)
        self.host = network.hosts.setdefault(self.address, Host(self.address, segment))
        self.host.peer_id = self.peer_id
        self._network = network
        self._announce = announce
        self._scope = trio.CancelScope()
        self._tools: dict[str, dict[str, Any]] = {}

        def clock() -> float:
            return EPOCH + trio.current_time() + skew

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # never used: there is nothing to be read on the way
        self.member = Member(
            config,
            Credentials(Identity(self.peer_id, self.name, b"", tls, tls, (KEY,), network_tag(KEY), ())),
            boot=boot,
            software="praxis/sim",
            answer=self._answer,
            known=None,
            bus=self.bus,
            metrics=self.metrics,
            clock=clock,
            chance=network.chance,
            connect=partial(_connect, network, self.address),
            resolve=_resolve,
            authenticate=_authenticate,
            transport=SimTransport(network, self.host),
        )
        self.registry, self.directory = self.member.registry, self.member.directory
        self._port = config.port
        self.alive = True
        network.agents.append(self)

    @property
    def messages(self) -> float:
        """Messages with news about the directory that it has sent."""
        counter = 'praxis_p2p_directory_messages_total{method="directory.push"}'
        lines = self.metrics.render().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(counter))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is killed or cancelled."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                self.host.nursery, self.host.accept = nursery, self._accept
                self.member.bind(self.address, self._port)
                self.member.publish(())
                await nursery.start(self.member.run)
                if self._announce:
                    await nursery.start(self.member.discover)
                task_status.started()
        self.host.nursery = self.host.accept = None

    def kill(self, *, silently: bool = False) -> None:
        """End it without a goodbye; `silently` as when its machine loses power: nobody is told."""
        self.alive = False
        if silently:
            self._network.silence(self.address)
        for pipe in list(self.host.pipes):
            pipe.reset(silently=silently)
        self.host.accept = None
        self._scope.cancel()

    def show(self, tools: Iterable[str]) -> None:
        """Its tools are these from now on."""
        self._tools = {}
        entries = []
        for name in tools:
            tool = Tool(self.name, "sim", {"name": name, "inputSchema": {"type": "object"}})
            self._tools[tool.digest] = dict(tool.definition)
            entries.append(ToolEntry("sim", name, tool.digest))
        self.member.publish(tuple(entries))

    def knows(self, peer_id: PeerId, tool: str) -> bool:
        """Whether its directory says that this peer has the tool."""
        record = self.directory.get(peer_id)
        return record is not None and any(entry.name == tool for entry in record.tools)

    def state_of(self, other: SimAgent) -> PeerState | None:
        """Where it sees another agent."""
        entry = self.registry.entry(other.peer_id)
        return entry.state if entry is not None else None

    async def _accept(self, pipe: SimPipe, peer_id: PeerId) -> None:
        await self.member.lines.serve(pipe, peer_id, dialer=False)

    async def _answer(self, request: PeerRequest) -> Any:
        params = request.params
        if request.method == "card.get":
            texts = {"name": self.name, "version": "1", "description": "", "url": "", "peer_id": self.peer_id}
            return {**texts, "skills": []}
        if request.method == "tools.describe":
            return {"tools": {digest: self._tools[digest] for digest in params["digests"] if digest in self._tools}}
        raise PraxisError("not_found", f"no method {request.method!r}")


async def _connect(network: SimNetwork, source: str, host: str, port: int) -> Opened:
    return await network.connect(source, host)


async def _authenticate(opened: Opened, identity: Identity, *, dialer: bool, expected: PeerId | None = None) -> Opened:
    pipe, peer_id = opened
    await trio.lowlevel.checkpoint()
    if peer_id == identity.peer_id:
        pipe.close()
        raise Broken("self", "this is the agent itself")
    if expected is not None and peer_id != expected:
        pipe.close()
        raise Broken("wrong_id", f"expected {expected} there, found {peer_id}")
    return opened


async def _resolve(host: str, port: int) -> list[str]:
    await trio.lowlevel.checkpoint()
    return [f"{host}:{port}"]
