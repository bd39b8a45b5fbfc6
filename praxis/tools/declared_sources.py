"""The sources of declared tools, as far as there are such tools, and those of A2A agents, in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from praxis.config.schema import A2aAgent, DeclaredTool, McpLimits
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.a2a_source import A2aSource
from praxis.tools.container_tools import ContainerTools
from praxis.tools.process_tools import ProcessTools
from praxis.tools.registry import ToolRegistry
from praxis.tools.remote_tools import RemoteTools
from praxis.tools.source import SourceState


class DeclaredSources:
    """`agent_id` is what this agent alone is called, `socket` where the engine of containers is, or None; `remote`
    says whether MCP servers are connected to at all."""

    def __init__(
        self,
        tools: Sequence[DeclaredTool],
        agents: Sequence[A2aAgent],
        agent: str,
        agent_id: str,
        *,
        socket: Path | None,
        remote: bool,
        limits: McpLimits,
        base_dir: Path,
        bus: EventBus,
        metrics: Metrics,
        registry: ToolRegistry,
    ) -> None:
        self._bus = bus
        self._running: list[ContainerTools | RemoteTools | A2aSource] = []
        if local := [tool for tool in tools if tool.kind == "process"]:
            registry.add(ProcessTools(local, agent, base_dir=base_dir))
        if contained := [tool for tool in tools if tool.kind == "container"]:
            containers = ContainerTools(contained, agent, agent_id, socket=socket, on_state=self._tell)
            self._running.append(containers)
            registry.add(containers)
        if elsewhere := [tool for tool in tools if tool.kind == "remote"]:
            servers = RemoteTools(
                elsewhere,
                limits,
                agent,
                base_dir=base_dir,
                enabled=remote,
                on_change=registry.changed,
                metrics=metrics,
                on_state=self._tell,
            )
            self._running.append(servers)
            registry.add(servers)
        for each in agents:
            foreign = A2aSource(each, agent, on_change=registry.changed, on_state=self._tell)
            self._running.append(foreign)
            registry.add(foreign)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what has to be kept for them until cancelled. Started at once, whether an engine or server answers."""
        async with trio.open_nursery() as nursery:
            for source in self._running:
                await nursery.start(source.run)
            task_status.started()

    def _tell(self, state: SourceState) -> None:
        self._bus.publish(
            "tool.source", source=state.name, state=state.state, reason=state.reason, restarts=state.restarts
        )
