"""What an MCP server is to those who ask it, whatever its era and wherever it runs.

Requests, results and notifications have the form of MCP 2026-07-28. The two ends of a connection deal with versions,
sessions, headers and ids; nothing in between does. A source on this machine, one on another and the whole network are
all services, and so is a server of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import attrs

from praxis.model.tool import JSON, CallContext

Notice = Callable[[str, Mapping[str, JSON]], None]
"""Takes a notification's method and params; must not block."""


@attrs.frozen
class Description:
    """What a server says of itself: `info` is its ``serverInfo``, `capabilities` those of 2026-07-28."""

    info: Mapping[str, JSON]
    capabilities: Mapping[str, JSON]
    instructions: str = ""


@runtime_checkable
class McpService(Protocol):
    def describe(self) -> Description: ...

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        """Answer any request that a client may make of a server, except for those about the connection itself
        (``initialize``, ``server/discover``, ``ping``, ``logging/setLevel``, subscribing).

        `params` have no ``_meta``, ``inputResponses`` or ``requestState``: those are in `context`. The result may be
        one that asks for input only if the context takes that. Raises PraxisError; a JSON-RPC error of the server's
        own is in its ``data["jsonrpc"]`` (code, message, data) and goes on unchanged. Ends when it is cancelled.
        """
        ...

    def subscribe(
        self, wanted: Mapping[str, JSON], on_notice: Notice
    ) -> AbstractAsyncContextManager[Mapping[str, JSON]]:
        """Hear of changes for as long as the context is open.

        `wanted` is the ``notifications`` of ``subscriptions/listen``: ``toolsListChanged``, ``promptsListChanged``,
        ``resourcesListChanged``, ``resourceSubscriptions`` (a list of URIs). Gives the part of it that is honoured.
        """
        ...


SchemaOf = Callable[[str], Mapping[str, JSON] | None]
"""The method ``tool_schema`` that a service may have: the ``inputSchema`` of a tool by its name, as it is listed now
and the same object until it changes; None for no such tool. It tells what headers must repeat; without it nothing does.
"""
