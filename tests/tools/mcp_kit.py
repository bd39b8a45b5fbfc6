"""A source with servers inside the test's own process, and what it reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_connection import Upward
from praxis.tools.mcp_source import McpSource
from praxis.tools.source import SourceState
from tests.support.fake_mcp import Behaviour, FakeOpener, FakeServer, serve

CONTEXT = CallContext("test")
ENVIRON = {"PATH": "/bin", "HOME": "/home/a", "SECRET_TOKEN": "hush", "LC_ALL": "C"}


async def refuse(method: str, params: Mapping[str, Any], context: CallContext) -> Mapping[str, Any]:
    raise PraxisError("denied", f"nobody answers {method}")


def make_upward(**changes: Any) -> Upward:
    """Callbacks that hear nothing, but for those that are given."""
    silent = Upward(on_notice=lambda method, params: None, on_text=lambda level, text: None, answer=refuse)
    return attrs.evolve(silent, **changes)


@attrs.define
class Setting:
    """A source that runs, the servers that it has started, and what it reported."""

    source: McpSource
    opener: FakeOpener
    metrics: Metrics
    states: list[SourceState] = attrs.field(factory=list)
    changes: int = 0

    @property
    def server(self) -> FakeServer:
        return self.opener.servers[-1]

    def faults(self, fault: str) -> float:
        labels = ("source", "fault")
        return self.metrics.counter(
            "praxis_mcp_server_faults_total", "What MCP servers did wrong, or too late.", labels
        ).value("fake", fault)

    async def call(self, tool: str, on_progress: Any = None, /, **arguments: Any) -> Mapping[str, Any]:
        return (await self.source.call(tool, arguments, CallContext("test", on_progress=on_progress))).value

    async def fail(self, tool: str, /, **arguments: Any) -> PraxisError:
        """The error of a call that must fail."""
        with pytest.raises(PraxisError) as caught:
            await self.source.call(tool, arguments, CONTEXT)
        return caught.value


@asynccontextmanager
async def running(
    *behaviours: Behaviour | OSError,
    server: McpServer | None = None,
    limits: McpLimits | None = None,
    protocol: Literal["auto", "legacy", "modern"] = "legacy",
    **more: Any,
) -> AsyncIterator[Setting]:
    """`more` goes to the source as it is."""
    async with trio.open_nursery() as nursery:
        opener = FakeOpener(nursery, behaviours or [serve])

        metrics = Metrics()

        def changed() -> None:
            setting.changes += 1

        source = McpSource(
            attrs.evolve(server or McpServer("fake", command="fake-server"), protocol=protocol),
            limits or McpLimits(),
            "agent-1",
            base_dir=Path("/base"),
            on_change=changed,
            metrics=metrics,
            on_state=lambda state: setting.states.append(state),
            environ=ENVIRON,
            opener=opener,
            **more,
        )
        setting = Setting(source, opener, metrics)
        await nursery.start(source.run)
        await wait_all_tasks_blocked()
        yield setting
        nursery.cancel_scope.cancel()


async def collect(setting: Setting, errors: list[PraxisError], *tools: str) -> None:
    """Make calls at once, all of which must fail."""

    async def fail(tool: str) -> None:
        errors.append(await setting.fail(tool))

    async with trio.open_nursery() as nursery:
        for tool in tools:
            nursery.start_soon(fail, tool)
