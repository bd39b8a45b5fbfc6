"""A tool source that is no MCP server, as one: it has tools and nothing else, and they never change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs

from praxis import __version__
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.tools.service import Description, Notice
from praxis.tools.source import ToolSource
from praxis.wire import jsonrpc

_EMPTY = {"resources/list": "resources", "resources/templates/list": "resourceTemplates", "prompts/list": "prompts"}


@attrs.frozen
class PlainService:
    """`source`, as `praxis.tools.service.McpService` has it."""

    source: ToolSource

    def describe(self) -> Description:
        return Description({"name": self.source.name, "version": __version__}, {"tools": {}})

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        """Lists its tools, and calls them; the arguments are the registry's to check. Raises PraxisError."""
        if method == "tools/list":
            return {"tools": [tool.definition for tool in self.source.tools()]}
        if method == "tools/call":
            return (await self.source.call(str(params.get("name")), params.get("arguments") or {}, context)).value
        if method in _EMPTY:
            return {_EMPTY[method]: []}
        text = f"{self.source.name} has tools and nothing else"
        raise PraxisError("not_found", text, data={"jsonrpc": {"code": jsonrpc.METHOD_NOT_FOUND, "message": text}})

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, JSON], on_notice: Notice) -> AsyncIterator[Mapping[str, JSON]]:
        yield {}
