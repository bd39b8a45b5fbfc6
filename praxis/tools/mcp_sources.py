"""All MCP servers of an agent, and what they share: what was found out about them, and what their tools were.

They run under one task. Which servers there are can change while it runs: those that stay the same notice nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import trio

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_pins import Pins
from praxis.tools.mcp_source import McpSource
from praxis.tools.mcp_verdicts import Verdicts
from praxis.tools.registry import ToolRegistry
from praxis.tools.source import SourceState

logger = logging.getLogger(__name__)

VERDICTS, PINS = "mcp-servers.json", "mcp-tools.json"
"""Files in the state directory."""


@attrs.define(eq=False)
class _Life:
    """A source, and the task that keeps it."""

    source: McpSource
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            with self.scope:
                await self.source.run(task_status=task_status)
        finally:
            self.ended.set()


class McpSources:
    """One source for each server, in their order, in the `registry`.

    Raises PraxisError for a file of pins that cannot be read.
    """

    def __init__(
        self,
        servers: Sequence[McpServer],
        limits: McpLimits,
        agent: str,
        *,
        base_dir: Path,
        state_dir: Path,
        quarantine: bool,
        bus: EventBus,
        metrics: Metrics,
        registry: ToolRegistry,
    ) -> None:
        self._limits = limits
        self._agent = agent
        self._base_dir = base_dir
        self._quarantine = quarantine
        self._bus = bus
        self._metrics = metrics
        self._registry = registry
        self._verdicts, self._pins = Verdicts(state_dir / VERDICTS), Pins(state_dir / PINS)
        self._lives: dict[str, _Life] = {}
        self._nursery: trio.Nursery | None = None
        self._turn = trio.Lock()
        for server in servers:
            self._add(server)

    def __iter__(self) -> Iterator[McpSource]:
        return iter([life.source for life in self._lives.values()])

    def find(self, name: str) -> McpSource:
        """The source of this name. Raises PraxisError("not_found")."""
        life = self._lives.get(name)
        if life is not None:
            return life.source
        known = ", ".join(self._lives) or "none"
        raise PraxisError("not_found", f"there is no MCP server {name[:64]!r}", hint=f"there are: {known}")

    def check_free(self, name: str) -> None:
        """Raises PraxisError("conflict") for a name that a source has which is no MCP server."""
        if name in self._registry.names() and name not in self._lives:
            raise PraxisError("conflict", f"another source has the name {name!r}", where="name")

    def approve(self, source: str, tool: str | None = None) -> tuple[str, ...]:
        """Let a tool that is held back, or all of a source, be what it is now; their names. Raises PraxisError."""
        return self.find(source).approve(tool)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the servers running until cancelled. Started once all have begun, whether they start or not."""
        async with trio.open_nursery() as nursery:
            for life in self._lives.values():
                await nursery.start(life.run)
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def apply(self, servers: Sequence[McpServer]) -> None:
        """Have these servers and no others: what is new begins, what is gone ends, what differs does both.

        Returns when what had to end has ended. Goes on when whoever waits for it is cancelled.
        """
        if self._nursery is None:
            raise RuntimeError("sources that do not run cannot change")
        done = trio.Event()
        self._nursery.start_soon(self._apply, tuple(servers), done)
        await done.wait()

    async def _apply(self, servers: Sequence[McpServer], done: trio.Event) -> None:
        async with self._turn:
            wanted = {server.name: server for server in servers}
            lives = self._lives
            gone = [life for name, life in lives.items() if wanted.get(name) != life.source.server]
            for life in gone:
                del lives[life.source.name]
                self._registry.remove(life.source.name)
                left = life.source.name not in wanted
                life.source.say_goodbye("it is removed" if left else "it is started again with another configuration")
                life.scope.cancel()
                if left:
                    self._tell_removed(life.source.name)
            for life in gone:
                await life.ended.wait()
            for name, server in wanted.items():
                if name not in lives and (new := self._add(server)) and self._nursery is not None:
                    await self._nursery.start(new.run)
            self._lives = {name: lives[name] for name in wanted if name in lives}
        done.set()

    def _add(self, server: McpServer) -> _Life | None:
        if server.name in self._registry.names():
            logger.error("MCP server %s is left out: another source has its name", server.name)
            return None
        source = McpSource(
            server,
            self._limits,
            self._agent,
            base_dir=self._base_dir,
            on_change=self._registry.changed,
            on_state=self._tell_state,
            on_definition=self._teller(server.name),
            metrics=self._metrics,
            verdicts=self._verdicts,
            pins=self._pins,
            quarantine=self._quarantine,
        )
        life = self._lives[server.name] = _Life(source)
        self._registry.add(source)
        return life

    def _tell_state(self, state: SourceState) -> None:
        self._bus.publish(
            "tool.source", source=state.name, state=state.state, reason=state.reason, restarts=state.restarts
        )

    def _tell_removed(self, name: str) -> None:
        self._bus.publish("tool.source", source=name, state="removed", reason="", restarts=0)

    def _teller(self, source: str) -> Callable[[str, bool], None]:
        def tell(tool: str, held: bool) -> None:
            self._bus.publish("tool.definition", source=source, tool=tool, held=held)

        return tell
