"""One agent of a simulation: the modules that the daemon runs, from its lines to its executor, put together as the
daemon does it (`praxis.app`), without TLS, HTTP and tools that do anything."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from functools import partial
from itertools import count

import trio

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.config.schema import P2P, Export, Routing
from praxis.model.card import AgentCard
from praxis.model.peer import PeerId, PeerState
from praxis.model.tool import ToolRef
from praxis.net.tls import Broken
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.credentials import Credentials
from praxis.peers.identity import Identity, peer_id_text
from praxis.peers.lines import Opened
from praxis.peers.member import Member
from praxis.sim.network import SimNetwork, SimPipe, SimTransport
from praxis.sim.work import Work
from praxis.tools.registry import ToolRegistry
from praxis.wire.beacon import network_tag
from praxis.workflow.catalog import Catalog
from praxis.workflow.executor import Executor
from praxis.workflow.exports import Exports

KEY = b"simulation key, 32 bytes long..."
EPOCH = 1_700_000_000.0
"""What the clocks of a simulation show at its start."""


PATIENCE = 60.0
"""Seconds for a call."""
SCENARIO = Principal("local", "scenario", "admin")


class SimAgent:
    """`skew` is what its clock is off by, in seconds; `routing` and `tags` are as in the configuration.

    Attributes:
        work: its tools.
        alive: False once it has been killed.
    """

    def __init__(
        self,
        network: SimNetwork,
        number: int,
        *,
        config: P2P,
        routing: Routing = Routing(),  # noqa: B008 - frozen
        tags: tuple[str, ...] = (),
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
        self.host = network.host(self.address, segment)
        self.host.peer_id = self.peer_id
        self._network = network
        self._announce = announce
        self._scope = trio.CancelScope()

        def clock() -> float:
            return EPOCH + trio.current_time() + skew

        self.work = Work(self.name)
        self.tools = ToolRegistry(self.name, bus=self.bus, metrics=self.metrics)
        self.tools.add(self.work)
        card = AgentCard(self.name, "1", "", "", self.peer_id, ())
        self._exports = Exports(self.tools, Policy(Export(("*",))), card=lambda: card)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # never used: there is nothing to be read on the way
        self.member = Member(
            config,
            Credentials(Identity(self.peer_id, self.name, b"", tls, tls, (KEY,), network_tag(KEY), ())),
            boot=boot,
            software="praxis/sim",
            answer=self._exports.handle,
            known=None,
            bus=self.bus,
            metrics=self.metrics,
            clock=clock,
            chance=network.chance,
            tags=tags,
            connect=partial(_connect, network, self.address),
            resolve=_resolve,
            authenticate=_authenticate,
            transport=SimTransport(network, self.host),
        )
        self.registry, self.directory = self.member.registry, self.member.directory
        self.catalog = Catalog(
            self.tools,
            self.registry,
            routing,
            self.member.summon,
            bus=self.bus,
            draw=network.chance.random,
            tags=tags,
        )
        self.executor = Executor(
            self.catalog,
            bus=self.bus,
            metrics=self.metrics,
            max_concurrent=64,
            timeout=PATIENCE,
            keep=16,
            clock=clock,
            new_id=partial(next, map(str, count(1))),
        )
        self._messages = self.metrics.counter("praxis_p2p_directory_messages_total", "", ("method",))
        self._port = config.port
        self.alive = True
        network.agents.append(self)

    @property
    def messages(self) -> float:
        """Messages with news about the directory that it has sent."""
        return self._messages.value("directory.push")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is killed or cancelled."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                self.host.nursery, self.host.accept = nursery, self._accept
                self.prepare()
                await nursery.start(self.member.run)
                if self._announce:
                    await nursery.start(self.member.discover)
                task_status.started()
        self.host.nursery = self.host.accept = None

    def prepare(self) -> None:
        """Say in its own record where it is and what it has; `run` begins with this."""
        self.member.bind(self.address, self._port)
        self._publish()

    def remember(self, others: Iterable[SimAgent]) -> None:
        """Know these, which are prepared, before it runs: as if it had been among them for long."""
        for other in others:
            if other is not self:
                self.directory.offer(other.directory.own, EPOCH)
                self.registry.note(other.directory.own)

    def kill(self, *, silently: bool = False) -> None:
        """End it without a goodbye; `silently` as when its machine loses power: nobody is told."""
        self.alive = False
        if silently:
            self._network.silence(self.address)
        for pipe in list(self.host.pipes):
            pipe.reset(silently=silently)
        self.host.accept = None
        self._scope.cancel()

    def show(self, tools: Iterable[str], *, read_only: bool = False) -> None:
        """Its tools are these from now on; `read_only` ones may be called twice."""
        self.work.show(tools, read_only=read_only)
        self.tools.changed()
        self._publish()

    def _publish(self) -> None:
        self.member.publish(self._exports.tools())

    async def call(self, tool: str) -> str:
        """Call a tool, wherever the router sends that; returns the name of the agent that has answered.

        Raises PraxisError.
        """
        return (await self.executor.call(ToolRef.parse(tool), {}, SCENARIO)).text

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
