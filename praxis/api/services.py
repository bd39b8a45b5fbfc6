"""What the routes need of the rest of the house."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import attrs

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.model.card import AgentCard
from praxis.model.health import HealthReport
from praxis.model.peer import PeerId, PeerView
from praxis.model.tool import JSON
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.source import SourceState
from praxis.workflow.asking import Asking
from praxis.workflow.background import Background
from praxis.workflow.cache import ResultCache
from praxis.workflow.executor import Executor
from praxis.workflow.history import History


class Peers(Protocol):
    """What the routes ask of the peer registry."""

    def views(self) -> list[PeerView]: ...
    def cards(self) -> Mapping[str, AgentCard]: ...


class Network(Protocol):
    """What the routes ask of this agent as a member of its network."""

    async def ping(self, name: str) -> tuple[PeerId, float]: ...
    def forget(self, name: str) -> PeerId: ...


class Reloaded(Protocol):
    """What a reload has to tell."""

    @property
    def applied(self) -> Sequence[str]: ...
    @property
    def restart(self) -> Sequence[str]: ...
    @property
    def renewed(self) -> bool: ...


class Servers(Protocol):
    """What the routes ask of the MCP servers of this agent; PraxisError says why something cannot be done."""

    async def add(self, entry: JSON, by: Principal) -> bool: ...
    async def remove(self, name: str, by: Principal) -> bool: ...
    def restart(self, name: str, by: Principal) -> None: ...
    def approve(self, name: str, tool: str | None, by: Principal) -> Sequence[str]: ...
    def said(self, name: str) -> list[JSON]: ...
    def entry(self, name: str) -> JSON: ...


@attrs.frozen
class Services:
    """`prometheus` says whether /metrics answers, `a2a` whether requests of A2A are; `draining` whether the agent is
    stopping."""

    executor: Executor
    asking: Asking
    history: History
    cache: ResultCache | None
    background: Background
    bus: EventBus
    metrics: Metrics
    policy: Policy
    card: Callable[[], AgentCard]
    health: Callable[[], HealthReport]
    peers: Peers
    network: Network
    info: Callable[[], dict[str, JSON]]
    reload: Callable[[], Awaitable[Reloaded]]
    sources: Callable[[], list[SourceState]]
    servers: Servers
    draining: Callable[[], bool]
    a2a: bool = True
    prometheus: bool = True
