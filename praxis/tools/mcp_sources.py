"""All MCP servers of an agent, and what they share: what was found out about them, and what their tools were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_pins import Pins
from praxis.tools.mcp_source import McpSource
from praxis.tools.mcp_verdicts import Verdicts
from praxis.tools.source import SourceState

VERDICTS, PINS = "mcp-servers.json", "mcp-tools.json"
"""Files in the state directory."""


class McpSources:
    """One source for each server, in their order. Raises PraxisError for a file of pins that cannot be read."""

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
        on_change: Callable[[], None],
    ) -> None:
        self._bus = bus
        verdicts, pins = Verdicts(state_dir / VERDICTS), Pins(state_dir / PINS)
        self._sources = [
            McpSource(
                server,
                limits,
                agent,
                base_dir=base_dir,
                on_change=on_change,
                on_state=self._tell_state,
                on_definition=self._teller(server.name),
                metrics=metrics,
                verdicts=verdicts,
                pins=pins,
                quarantine=quarantine,
            )
            for server in servers
        ]

    def __iter__(self) -> Iterator[McpSource]:
        return iter(self._sources)

    def find(self, name: str) -> McpSource:
        """The source of this name. Raises PraxisError("not_found")."""
        for source in self._sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self._sources) or "none"
        raise PraxisError("not_found", f"there is no MCP server {name!r}", hint=f"there are: {known}")

    def approve(self, source: str, tool: str | None = None) -> tuple[str, ...]:
        """Let a tool that is held back, or all of a source, be what it is now; their names. Raises PraxisError."""
        return self.find(source).approve(tool)

    def _tell_state(self, state: SourceState) -> None:
        self._bus.publish(
            "tool.source", source=state.name, state=state.state, reason=state.reason, restarts=state.restarts
        )

    def _teller(self, source: str) -> Callable[[str, bool], None]:
        def tell(tool: str, held: bool) -> None:
            self._bus.publish("tool.definition", source=source, tool=tool, held=held)

        return tell
