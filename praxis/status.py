"""What an agent says of itself: card, health, gauges. Read from what is known already; waits for nothing."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping

from praxis import __version__
from praxis.access.authorize import Policy
from praxis.config.schema import Config
from praxis.model.card import AgentCard, Skill
from praxis.model.health import Check, HealthReport
from praxis.model.tool import JSON
from praxis.net.serve import host_port
from praxis.net.supervision import ServiceState, SupervisedService
from praxis.observe.events import EventBus
from praxis.observe.logs import Logs
from praxis.observe.metrics import Metrics
from praxis.peers.identity import Identity
from praxis.peers.registry import PeerRegistry
from praxis.tools.registry import ToolRegistry
from praxis.tools.source import SourceState

CERTIFICATE_WARNING = 30 * 86400
"""Seconds before the end of a certificate from which on that is a warning; it should have been renewed long before."""


class Status:
    """Looks at the rooms of one agent. `services` and `addresses` are filled as listeners come up."""

    def __init__(
        self,
        config: Config,
        *,
        registry: ToolRegistry,
        peers: PeerRegistry,
        policy: Policy,
        identity: Callable[[], Identity],
        boot: int,
        services: Mapping[str, SupervisedService],
        addresses: Mapping[str, tuple[str, int]],
        discovery_trouble: Callable[[], str],
        journal_trouble: Callable[[], str],
        logs: Logs | None = None,
    ) -> None:
        self.draining = False
        """True from the request to stop on."""
        self.registry = registry
        self.peers = peers
        self._config = config
        self.logs = logs
        self._policy = policy
        self._identity = identity
        self._boot = boot
        self._services = services
        self._addresses = addresses
        self._discovery_trouble = discovery_trouble
        self._journal_trouble = journal_trouble
        self._started = time.monotonic()

    def card(self) -> AgentCard:
        """The agent card. Its skills are the tools that peers may call."""
        agent = self._config.agent
        http = self._addresses.get("http")
        return AgentCard(
            name=agent.name,
            version=agent.version,
            description=agent.description,
            url=agent.url or (f"http://{host_port(*http)}" if http else ""),
            peer_id=self._identity().peer_id,
            skills=tuple(
                Skill(f"{tool.source}/{tool.name}", tool.name, tool.description, (tool.source,))
                for tool in self._policy.offered(self.registry.tools())
            ),
        )

    def info(self) -> dict[str, JSON]:
        """GET /p2p/info."""
        p2p = self._addresses.get("p2p")
        return {
            "peer_id": self._identity().peer_id,
            "name": self._config.agent.name,
            "boot": self._boot,
            "addresses": [host_port(*p2p)] if p2p else [],
            "protocol": "praxis/1",
            "network": self._config.p2p.rendezvous,
            "mode": self._config.p2p.trust.mode,
            "authorities": [*self._identity().authorities],
            "certificate_until": self._identity().not_after,
            "discovery": "discovery" in self._services,
        }

    def certificate_left(self) -> float | None:
        """Seconds until our certificate ends; None where its dates do not count."""
        end = self._identity().not_after
        return None if end is None else end - time.time()

    def health(self) -> HealthReport:
        """Every part with its state, its reason, and what to do."""
        checks: dict[str, Check] = {}
        for name, service in self._services.items():
            if service.state is ServiceState.BACKING_OFF:
                checks[name] = Check("degraded", service.last_outage or "", "it is started again by itself")
            elif name == "discovery" and (trouble := self._discovery_trouble()):
                checks[name] = Check("degraded", trouble, "an interface that comes is used by itself; else correct it")
            else:
                checks[name] = Check("healthy")
        for source in self.registry.sources():
            if source.state in ("failed", "backing off"):
                checks[f"source {source.name}"] = Check("degraded", source.reason, _remedy(source))
            else:
                checks[f"source {source.name}"] = Check("healthy")
        if trouble := self._journal_trouble():
            checks["journal"] = Check("degraded", trouble, "no run begins until the state directory can be written")
        if self.logs is not None and (lost := self.logs.file_trouble) is not None:
            checks["log file"] = _log_file(lost)
        if (left := self.certificate_left()) is not None:
            checks["certificate"] = _certificate(left)
        conflicts = self.peers.conflicts
        if conflicts:
            names = ", ".join(sorted(f"{entry.name} ({entry.id})" for entry in conflicts))
            checks["names"] = Check("degraded", f"the name of another agent: {names}", "give each agent its own name")
        if clones := self.peers.clones:
            names = ", ".join(sorted(f"{entry.name} ({entry.id})" for entry in clones))
            action = "give one of the two a state directory of its own; a copy is for the same machine after a loss"
            checks["identities"] = Check("degraded", f"two agents have one identity: {names}", action)
        if self.draining:
            checks["agent"] = Check("degraded", "stopping")
        return HealthReport(
            agent=self._config.agent.name,
            version=__version__,
            uptime_s=round(time.monotonic() - self._started, 3),
            checks=checks,
        )


def _remedy(source: SourceState) -> str:
    """What to do about a source of tools that is not well."""
    if source.kind == "container":
        return "start Docker or Podman, or see containers.socket; it is looked for again by itself"
    if source.kind == "mcp":
        return f"`praxis mcp logs {source.name}` shows its last words; see its entry in mcp.servers"
    if source.kind == "a2a":
        return "see its entry in a2a.agents; its card is looked for again by itself"
    return "`praxis tools --sources` shows what is wrong; see its entries in tools"


def _log_file(trouble: str) -> Check:
    if trouble:
        return Check("degraded", f"records are lost: {trouble}", "make room, or see logging.file; it is tried again")
    return Check("healthy")


def _certificate(left: float) -> Check:
    action = "it is renewed by itself when the issuer can be reached; the log says why it was not"
    if left <= 0:
        return Check("degraded", "it has ended, so no peer takes it", f"{action}; or join again with a new token")
    if left < CERTIFICATE_WARNING:
        return Check("degraded", f"it ends in {left / 86400:.1f} days", action)
    return Check("healthy")


HEALTH_VALUES = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}


def register_gauges(metrics: Metrics, status: Status, *, name: str, bus: EventBus) -> None:
    """Gauges that are read when the metrics are."""
    registry, peers = status.registry, status.peers
    gauges: dict[str, tuple[str, Callable[[], float]]] = {
        "praxis_agent_health_status": (
            "1 healthy, 0.5 degraded, 0 unhealthy.",
            lambda: HEALTH_VALUES[status.health().status],
        ),
        "praxis_agent_peer_count": ("Peers that are known.", lambda: float(len(peers.views()))),
        "praxis_agent_connection_count": ("Peers with a line to us.", lambda: float(len(peers.links()))),
        "praxis_agent_mcp_tools_count": ("Tools of this agent.", lambda: float(len(registry.tools()))),
        "praxis_p2p_peers_refused": ("Peers not taken, because too many are known.", lambda: float(peers.refused)),
        "praxis_p2p_peers_evicted": ("Peers forgotten to make room for others.", lambda: float(peers.evicted)),
        "praxis_p2p_duplicate_lines": ("Lines that gave way to another one.", lambda: float(peers.duplicates)),
        "praxis_p2p_queued_bytes": (
            "Bytes that wait to be written to peers.",
            lambda: float(sum(link.session.queued for link in peers.links())),
        ),
        "praxis_events_dropped": ("Events that slow subscribers missed.", lambda: float(bus.dropped)),
        "praxis_events_published": ("Events published.", lambda: float(bus.published)),
        "praxis_event_subscribers": ("Subscribers of the event bus.", lambda: float(bus.subscribers)),
    }
    if status.certificate_left() is not None:
        gauges["praxis_p2p_certificate_left_seconds"] = (
            "Until this agent's certificate ends.",
            lambda: status.certificate_left() or 0.0,
        )
    if (logs := status.logs) is not None:
        metrics.counted(
            "praxis_log_lines_lost_total",
            "Log records that an output did not take.",
            lambda: {(output,): float(lost) for output, lost in logs.lost.items()},
            ("output",),
        )
    for gauge, (help, read) in gauges.items():
        metrics.gauge(gauge, help, read)
    info = (name, __version__, platform.python_version())
    metrics.gauge("praxis_agent_info", "1; what runs.", lambda: {info: 1.0}, ("agent", "version", "python"))
