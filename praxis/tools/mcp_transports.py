"""How a configured MCP server is reached: by a program's standard streams, by streamable HTTP, by HTTP+SSE."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import attrs
import trio
from trio.abc import ReceiveStream, SendStream

from praxis import __version__
from praxis.config.schema import McpLimits, McpServer
from praxis.net.http_client import Authorize, HttpClient
from praxis.tools.mcp_client import McpClient
from praxis.tools.mcp_connection import Connection, Upward
from praxis.tools.mcp_container import contained
from praxis.tools.mcp_http import McpHttp, ToolHeaders
from praxis.tools.mcp_sse import open_sse
from praxis.wire.mcp import ClientSession, Fault

ENVIRONMENT = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG")
"""What a server gets of the agent's environment; keys and tokens stay with the agent."""

CLOSE_LIMIT = 2.0
"""Seconds to close connections that nobody uses."""


class ServerProcess(Protocol):
    """A running server, as `praxis.net.process.GuardedProcess` is one."""

    stdin: SendStream
    stdout: ReceiveStream
    stderr: ReceiveStream

    async def wait(self) -> int: ...


class Opener(Protocol):
    """Starts a server, or raises OSError; leaving the context ends it, within bounds."""

    def __call__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path
    ) -> AbstractAsyncContextManager[ServerProcess]: ...


@attrs.frozen
class Link:
    """A connection that is made, and what there is beside it of a program: its standard error and its end."""

    connection: Connection
    stderr: ReceiveStream | None = None
    wait: Callable[[], Awaitable[int]] | None = None


@attrs.frozen
class Connector:
    """Makes connections with one server."""

    server: McpServer
    limits: McpLimits
    env: Mapping[str, str]
    cwd: Path
    opener: Opener
    tool_headers: ToolHeaders
    authorize: Authorize | None = None

    @property
    def argv(self) -> list[str]:
        return [self.server.command, *self.server.args]

    def session(self, capabilities: Mapping[str, object], count: Callable[[Fault], None]) -> ClientSession:
        return ClientSession(
            name="praxis",
            version=__version__,
            max_line=self.limits.max_response_size_bytes,
            count=count,
            capabilities=capabilities,
        )

    @asynccontextmanager
    async def connect(self, transport: str, session: ClientSession, upward: Upward) -> AsyncIterator[Link]:
        """Raises OSError when the server cannot be started or reached."""
        if transport == "stdio":
            async with self._program(session, upward) as link:
                yield link
            return
        limits = self.limits
        client = HttpClient(
            keep=limits.connection_pool_size,
            headers=self.server.headers.items(),
            authorize=self.authorize,
            agent=f"praxis/{__version__}",
        )
        try:
            if transport == "http":
                yield Link(
                    McpHttp(
                        self.server.name,
                        self.server.url,
                        client,
                        session,
                        max_calls=limits.max_concurrent_requests,
                        max_message=limits.max_response_size_bytes,
                        upward=upward,
                        tool_headers=self.tool_headers,
                    )
                )
            else:
                size = limits.max_response_size_bytes
                url, messages = self.server.url, self.server.message_url
                async with open_sse(client, self.server.name, url, message_url=messages, limit=size) as (stdin, stdout):
                    yield Link(self._client(stdin, stdout, session, upward))
        finally:
            with trio.move_on_after(CLOSE_LIMIT, shield=True):
                await client.aclose()

    @asynccontextmanager
    async def _program(self, session: ClientSession, upward: Upward) -> AsyncIterator[Link]:
        async with (
            contained(self.argv, self.env) as argv,
            self.opener(argv, env=self.env, cwd=self.cwd) as process,
        ):
            yield Link(self._client(process.stdin, process.stdout, session, upward), process.stderr, process.wait)

    def _client(self, stdin: SendStream, stdout: ReceiveStream, session: ClientSession, upward: Upward) -> McpClient:
        calls = self.limits.max_concurrent_requests
        return McpClient(self.server.name, stdin, stdout, session, max_calls=calls, upward=upward)
