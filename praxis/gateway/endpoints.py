"""Every way by which MCP callers reach this agent: /mcp, /sse with /message, and a local socket for stdio."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from praxis.access.principal import Principal
from praxis.gateway.caller import Receive, Scope, Send
from praxis.gateway.http import StreamableHttp
from praxis.gateway.sse import STREAM, HttpSse
from praxis.gateway.stdio import serve_stdio
from praxis.model.errors import PraxisError
from praxis.net.serve import open_unix_listener, serve_connections
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService

PLACE = "/mcp"
SERVERS = "/mcp/servers/"
"""Below this path stand single servers, ``[AGENT/]NAME``."""
VIEWS = "/mcp/views/"
"""Below this path stand views, ``NAME``."""
MAX_LOCAL = 64
"""Clients of the local socket at once: desktop programs of one person, each with some."""

MakeService = Callable[[Principal], McpService]
MakeView = Callable[[Principal, str], McpService | None]
"""A view for a principal; None where there is none of this name."""
Find = Callable[[Principal, str | None, str], Awaitable[McpService]]
"""A single source for a principal, by agent (None: this one) and name. Raises PraxisError("not_found")."""


class McpEndpoints:
    """The endpoints of one agent. `service` makes what stands at /mcp for a principal, `view` what stands below
    /mcp/views, `find` what stands below /mcp/servers; `principal_of` finds that in a request's scope."""

    def __init__(
        self,
        service: MakeService,
        view: MakeView,
        find: Find,
        principal_of: Callable[[Scope], Principal],
        *,
        metrics: Metrics,
    ) -> None:
        self._service = service
        self._view = view
        self._find = find
        key = secrets.token_bytes(32)  # what was sealed before a restart belongs to calls that are gone
        self._http = StreamableHttp(self._choose, principal_of=principal_of, key=key, metrics=metrics)
        self._sse = HttpSse(self._choose, principal_of=principal_of, modern=self._http.modern, metrics=metrics)
        self._refused = metrics.counter("praxis_mcp_local_refused_total", "Clients of the local socket over the bound.")

    async def _choose(self, path: str, principal: Principal) -> McpService | None:
        if path in (PLACE, STREAM):
            return self._service(principal)
        if path.startswith(VIEWS):
            return self._view(principal, path.removeprefix(VIEWS))
        agent, _, name = path.removeprefix(SERVERS).rpartition("/")
        if not name or "/" in agent:
            return None
        try:
            return await self._find(principal, agent or None, name)
        except PraxisError as error:
            if error.code == "not_found":
                return None
            raise

    def before_http(self, app: Any) -> Any:
        """An application with /mcp in front of `app`."""

        async def fronted(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "")
            ours = scope["type"] == "http" and (path in (PLACE, f"{PLACE}/") or path.startswith((SERVERS, VIEWS)))
            await (self._http if ours else app)(scope, receive, send)

        return fronted

    def before_sse(self, app: Any) -> Any:
        """An application with /sse and /message in front of `app`."""

        async def fronted(scope: Scope, receive: Receive, send: Send) -> None:
            ours = scope["type"] == "http" and self._sse.serves(scope["path"])
            await (self._sse if ours else app)(scope, receive, send)

        return fronted

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold what outlives its connection, until cancelled. With `stopping` every stream without an end ends."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._http.run, stopping)
            task_status.started()
            await stopping.wait()
            self._sse.end()

    async def serve_socket(
        self,
        path: Path,
        principal: Principal,
        stopping: trio.Event,
        grace: float,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the local socket at `path`, one message a line, to `principal`, until `stopping`. Raises OSError."""
        listener = await open_unix_listener(path)

        async def handle(stream: trio.SocketStream) -> None:
            service = self._service(principal)
            await serve_stdio(service, principal, stream, stream, modern=self._http.modern, stopping=stopping)

        await serve_connections(
            handle,
            [listener],
            stopping=stopping,
            grace=grace,
            name="mcp",
            max_connections=MAX_LOCAL,
            on_refused=partial(self._refused.inc, 1),
            task_status=task_status,
        )
