"""The composition root: builds one agent out of its rooms, starts and stops it.

What serves calls starts first, what announces us last; stopping is the mirror.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from praxis import __version__
from praxis.access.authorize import Policy
from praxis.access.entrance import LOCAL, Entrance
from praxis.access.tokens import TokenStore
from praxis.api.guard import PRINCIPAL, guard
from praxis.api.http import make_api, make_sse
from praxis.api.services import Services
from praxis.config.schema import Config
from praxis.execution import Execution
from praxis.gateway.endpoints import McpEndpoints
from praxis.gateway.local import LocalGateway
from praxis.journal.journal import FILE
from praxis.listeners import check_listeners, make_entrance
from praxis.net.http_server import serve_http
from praxis.net.serve import open_listeners, open_unix_listener
from praxis.net.supervision import SupervisedService
from praxis.observe.events import EventBus
from praxis.observe.load import LoadMeter
from praxis.observe.logs import Logs
from praxis.observe.metrics import Metrics
from praxis.peers.credentials import load_credentials
from praxis.peers.identity import next_boot
from praxis.peers.member import Member
from praxis.reload import Reload, Reread
from praxis.servers import Servers
from praxis.status import Status, register_gauges
from praxis.tools.builtin import FileTools
from praxis.tools.declared_sources import DeclaredSources
from praxis.tools.mcp_sources import McpSources
from praxis.tools.registry import ToolRegistry
from praxis.websocket.gateway import serve_gateway
from praxis.workflow.background import Background
from praxis.workflow.catalog import Catalog
from praxis.workflow.exports import Exports
from praxis.workflow.foreign import ForeignAgents
from praxis.workflow.sources import Sources

logger = logging.getLogger(__name__)

LAST_WORDS = 2.0
"""Seconds, beyond the grace, for goodbyes and for what is cancelled to end."""

Address = tuple[str, int]


@attrs.frozen
class Addresses:
    """Where an agent can be reached, with the real ports. None for what is not enabled."""

    agent: str
    peer_id: str
    unix: Path
    http: Address | None = None
    websocket: Address | None = None
    sse: Address | None = None
    p2p: Address | None = None


async def run_agent(
    config: Config,
    *,
    base_dir: Path,
    state_dir: Path,
    stopping: trio.Event,
    bus: EventBus | None = None,
    reread: Reread | None = None,
    task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one agent until `stopping` is set and what it has under way is done, or the grace is over.

    `base_dir` is what relative paths in MCP servers mean, `state_dir` where identity, keys and tokens live, `reread`
    gives the configuration as it is now, for a reload. Reports once everything serves. Raises PraxisError for what the
    configuration or the state directory has wrong, OSError for a port that is taken.
    """
    agent = Agent(config, base_dir=base_dir, state_dir=state_dir, bus=bus, reread=reread)
    await agent.run(stopping, task_status=task_status)


class Agent:
    """One agent: its rooms, put together.

    Attributes:
        bus, metrics, meter, registry, mcp, member, peers, catalog, executor, asking: the rooms that whoever embeds an
            agent works with.
    """

    def __init__(
        self,
        config: Config,
        *,
        base_dir: Path,
        state_dir: Path,
        bus: EventBus | None = None,
        reread: Reread | None = None,
        logs: Logs | None = None,
    ) -> None:
        """`logs` is where the process logs to, whose losses are shown then."""
        self._config = config
        self._state_dir = state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._services: dict[str, SupervisedService] = {}
        self._addresses: dict[str, Address] = {}
        self.bus = bus if bus is not None else EventBus(clock=time.time)
        self.metrics = Metrics()
        self.meter = LoadMeter(self.metrics)
        self._tokens = TokenStore(config.access.tokens_file or state_dir / "tokens.json")
        check_listeners(config, self._tokens)
        self._policy = Policy(config.export)
        if config.p2p.trust.mode == "open":
            logger.warning("p2p is open: whoever reaches this agent may join its network and call what it exports")
        credentials = load_credentials(config.p2p, name=config.agent.name, state_dir=state_dir, clock=time.time)
        self._identity = credentials.identity
        self._boot = next_boot(state_dir, time.time_ns() // 1_000_000)
        self.registry = ToolRegistry(config.agent.name, bus=self.bus, metrics=self.metrics)
        self._declared = DeclaredSources(
            config.declared_tools,
            config.a2a.agents,
            config.agent.name,
            self._identity.peer_id,
            socket=config.containers.socket,
            remote=config.mcp.enabled,
            limits=config.mcp.limits,
            base_dir=base_dir,
            bus=self.bus,
            metrics=self.metrics,
            registry=self.registry,
        )
        self.mcp = self._make_sources(base_dir)
        self._exports = Exports(self.registry, self._policy, card=lambda: self._status.card())
        self.member = Member(
            config.p2p,
            credentials,
            boot=self._boot,
            software=f"praxis/{__version__}",
            answer=self._exports.handle,
            known=state_dir / "peers.json",
            bus=self.bus,
            metrics=self.metrics,
            clock=time.time,
            chance=random.SystemRandom(),
            tags=config.agent.tags,
        )
        self.member.block(config.p2p.security.blocklist)
        self.reloading = Reload(config, self.member, self.mcp, state_dir=state_dir, reread=reread)
        self._servers = Servers(self.mcp, self.reloading.change_servers, enabled=config.mcp.enabled, base_dir=base_dir)
        self.peers = self.member.registry
        self.catalog = Catalog(
            self.registry,
            self.peers,
            config.routing,
            self.member.summon,
            self.member.absent,
            bus=self.bus,
            draw=random.SystemRandom().random,
            tags=config.agent.tags,
            cpu=lambda: self.meter.cpu,
            foreign=ForeignAgents(config.agent.name, config.a2a.agents),
        )
        self.execution = Execution(
            config.runs, config.llm, self.catalog, path=state_dir / FILE, bus=self.bus, metrics=self.metrics
        )
        self.executor, self.history = self.execution.executor, self.execution.history
        self.asking = self.execution.asking
        self.background = Background(self.executor)
        self._status = Status(
            config,
            registry=self.registry,
            peers=self.peers,
            policy=self._policy,
            identity=lambda: self.member.lines.identity,
            boot=self._boot,
            services=self._services,
            addresses=self._addresses,
            logs=logs,
            discovery_trouble=lambda: self.member.discovery_trouble,
            journal_trouble=lambda: self.execution.journal.trouble,
        )
        register_gauges(self.metrics, self._status, name=config.agent.name, bus=self.bus)
        sources = Sources(config.agent.name, self.registry, self.peers, self.executor, self._policy)
        card, send = self._status.card, self.member.send
        name, executor = config.agent.name, self.executor
        mine = (self._policy, self.bus, card, self.peers, send)
        gateway = LocalGateway(name, executor, self.asking, sources, *mine, config.mcp.views)
        ways = (gateway.service, gateway.view, sources.find)
        self._mcp = McpEndpoints(*ways, lambda scope: scope[PRINCIPAL], metrics=self.metrics)

    def _make_sources(self, base_dir: Path) -> McpSources:
        config = self._config
        if config.agent.shared_dir is not None:
            if not config.agent.shared_dir.exists():
                config.agent.shared_dir.mkdir(parents=True, exist_ok=True)
                logger.info("made agent.shared_dir, %s", config.agent.shared_dir)
            self.registry.add(FileTools(config.agent.shared_dir, agent=config.agent.name))
        return McpSources(
            config.mcp_servers if config.mcp.enabled else (),
            config.mcp.limits,
            config.agent.name,
            base_dir=base_dir,
            state_dir=self._state_dir,
            quarantine=config.mcp.quarantine_changes,
            bus=self.bus,
            metrics=self.metrics,
            registry=self.registry,
        )

    # -- running ------------------------------------------------------------------------------------

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start, report, serve until `stopping`, drain, end."""
        config = self._config
        grace = config.agent.stop_grace + LAST_WORDS
        unix = self._state_dir / "api.sock"
        closing = trio.Event()
        api = self._make_services()
        async with aclosing(self.asking), trio.open_nursery() as nursery:
            nursery.start_soon(self.meter.run)
            await nursery.start(self.execution.journal.run)
            await nursery.start(self.background.run)
            await nursery.start(self._declared.run)
            await nursery.start(self.mcp.run)
            http: Any = make_api(api)
            sse: Any = make_sse(api)
            if config.mcp.enabled:
                http, sse = self._mcp.before_http(http), self._mcp.before_sse(sse)
                await nursery.start(self._mcp.run, closing)
                local = partial(self._mcp.serve_socket, self._state_dir / "mcp.sock", LOCAL, closing, grace)
                await nursery.start(self._supervise, "mcp", local)
            await nursery.start(self._supervise, "local", partial(self._serve_unix, http, unix, closing, grace))
            if config.http.enabled:
                await nursery.start(self._supervise, "http", partial(self._serve_http, "http", http, closing, grace))
            if config.sse.enabled:
                await nursery.start(self._supervise, "sse", partial(self._serve_http, "sse", sse, closing, grace))
            if config.websocket.enabled:
                await nursery.start(self._supervise, "websocket", partial(self._serve_websocket, closing, grace))
            if config.p2p.enabled:
                await nursery.start(self._supervise, "p2p", partial(self._serve_p2p, closing, grace))
                self._publish()
                await nursery.start(self.member.run)
                nursery.start_soon(self._publish_changes)
                nursery.start_soon(self.member.lines.loads.run, self.meter, self.registry.under_way)
                if config.p2p.enable_mdns and config.p2p.discovery.enabled:
                    await nursery.start(self._supervise, "discovery", self.member.discover)
            nursery.start_soon(self.execution.go_on)
            task_status.started(Addresses(config.agent.name, self._identity.peer_id, unix, **self._addresses))
            await stopping.wait()
            await self._stop(closing)
            nursery.cancel_scope.cancel()
        unix.unlink(missing_ok=True)
        (self._state_dir / "mcp.sock").unlink(missing_ok=True)

    async def _stop(self, closing: trio.Event) -> None:
        """Withdraw, stop accepting, let what runs finish for the grace, cancel it, say goodbye."""
        grace = self._config.agent.stop_grace
        self._status.draining = True
        logger.info("stopping; what runs may finish within %g s", grace)
        with trio.move_on_after(LAST_WORDS):
            await self.member.withdraw()
        closing.set()
        self.member.say_goodbye()
        with trio.move_on_after(grace):
            await self.asking.wait_idle()
            await self.executor.wait_idle()
        self.executor.cancel_all()  # so that each caller is told, instead of finding its connection closed
        with trio.move_on_after(LAST_WORDS):
            await self.executor.wait_idle()
            await self.member.lines.leave_all(LAST_WORDS)
            for name, service in self._services.items():
                if name != "discovery":
                    await service.wait_ended()

    async def _supervise(
        self, name: str, serve: Callable[..., Any], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        service = self._services[name] = SupervisedService(name, serve)
        await service.run(task_status=task_status)

    def _make_services(self) -> Services:
        return Services(
            executor=self.executor,
            asking=self.asking,
            history=self.history,
            cache=self.executor.cache,
            background=self.background,
            bus=self.bus,
            metrics=self.metrics,
            policy=self._policy,
            card=self._status.card,
            health=self._status.health,
            peers=self.peers,
            network=self.member,
            info=self._status.info,
            reload=self.reloading.reload,
            sources=self.registry.sources,
            servers=self._servers,
            draining=lambda: self._status.draining,
            a2a=self._config.a2a.enabled,
            prometheus=self._config.prometheus.enabled,
        )

    def _entrance(self, host: str, *, unix: bool = False) -> Entrance:
        return make_entrance(self._config.access, self._tokens, host, unix=unix)

    def _port(self, name: str, configured: int) -> int:
        """The configured port; after an outage the one that was had before, where any would do."""
        return self._addresses.get(name, ("", configured))[1]

    async def _open(self, name: str, host: str, port: int) -> list[trio.SocketListener]:
        listeners = await open_listeners(host, self._port(name, port))
        self._addresses[name] = (host, listeners[0].socket.getsockname()[1])
        return listeners

    async def _serve_unix(
        self, app: Any, path: Path, closing: trio.Event, grace: float, *, task_status: trio.TaskStatus[None]
    ) -> None:
        listener = await open_unix_listener(path)
        entrance = self._entrance("", unix=True)
        await serve_http(
            guard(app, entrance),
            [listener],
            name="local",
            stopping=closing,
            grace=grace,
            max_body=self._config.http.max_body,
            task_status=task_status,
        )

    async def _serve_http(
        self, name: str, app: Any, closing: trio.Event, grace: float, *, task_status: trio.TaskStatus[None]
    ) -> None:
        section = self._config.http if name == "http" else self._config.sse
        listeners = await self._open(name, section.host, section.port)
        await serve_http(
            guard(app, self._entrance(section.host)),
            listeners,
            name=name,
            stopping=closing,
            grace=grace,
            max_body=self._config.http.max_body,
            task_status=task_status,
        )

    async def _serve_websocket(self, closing: trio.Event, grace: float, *, task_status: trio.TaskStatus[None]) -> None:
        section = self._config.websocket
        listeners = await self._open("websocket", section.host, section.port)
        await serve_gateway(
            section,
            agent=self._config.agent.name,
            executor=self.executor,
            asking=self.asking,
            bus=self.bus,
            policy=self._policy,
            entrance=self._entrance(section.host),
            metrics=self.metrics,
            listeners=listeners,
            stopping=closing,
            grace=grace,
            task_status=task_status,
        )

    async def _serve_p2p(self, closing: trio.Event, grace: float, *, task_status: trio.TaskStatus[None]) -> None:
        section = self._config.p2p
        listeners = await self._open("p2p", section.host, section.port)
        host, port = self._addresses["p2p"]
        await self.member.serve(listeners, host, port, stopping=closing, grace=grace, task_status=task_status)

    def _publish(self) -> None:
        self.member.publish(self._exports.tools())

    async def _publish_changes(self) -> None:
        """Tell the network when our tools change, or our addresses: peers that are new may see us elsewhere."""
        with self.bus.subscribe(types=["tools.changed", "peer.connected"], limit=1) as changes:
            while True:
                await changes.receive()
                self._publish()
