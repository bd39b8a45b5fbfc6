"""A tool source that is an MCP server with everything, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, Tool, ToolResult
from praxis.tools.service import Description, Notice
from praxis.tools.source import SourceState

ASKING = {"method": "elicitation/create", "params": {"message": "your name?"}}


class Library:
    """A source that is an MCP server: two tools, a resource, a prompt, and a question."""

    name = "library"

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self.seen: list[tuple[str, Mapping[str, Any], CallContext]] = []
        self.notices: list[Notice] = []
        self.ended: list[str] = []

    def tools(self) -> Sequence[Tool]:
        schema = {"type": "object", "$defs": {"x": {"$anchor": "y"}}}
        names = ("find", "lend", "wait")
        return [
            Tool(self._agent, self.name, {"name": name, "inputSchema": schema, "_meta": {"n": 1}}) for name in names
        ]

    def state(self) -> SourceState:
        return SourceState(self.name, "mcp", "ready")

    def describe(self) -> Description:
        return Description({"name": "lib"}, {"tools": {}, "resources": {"subscribe": True}, "prompts": {}}, "read on")

    async def call(self, name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        result = await self.request("tools/call", {"name": name, "arguments": arguments}, context)
        return ToolResult(result)

    async def request(self, method: str, params: Mapping[str, Any], context: CallContext) -> Mapping[str, Any]:
        self.seen.append((method, params, context))
        if method == "tools/list":
            return {"tools": [tool.definition for tool in self.tools()], "ttlMs": 5}
        if params.get("name") == "wait":
            try:
                await trio.sleep_forever()
            finally:
                self.ended.append("wait")
        if params.get("name") == "lend" and context.takes_input_requests:
            if context.input is None:
                return {"resultType": "input_required", "inputRequests": {"who": ASKING}, "requestState": "é\u2028"}
            return {"content": [], "_meta": {"given": dict(context.input)}}
        if params.get("name") == "lend":
            assert context.ask is not None
            answer = await context.ask(ASKING["method"], ASKING["params"])  # type: ignore[arg-type]
            return {"content": [], "structuredContent": answer, "isError": True}
        if context.on_progress is not None:
            context.on_progress({"progress": 1, "total": 2})
        if context.on_log is not None:
            context.on_log({"level": "info", "data": [1]})
        if method == "resources/read" and params["uri"] == "test://none":
            given = {"code": -32602, "message": "no such", "data": {"uri": "test://none"}}
            raise PraxisError("invalid", "no such", data={"jsonrpc": given})
        return {"content": [], "got": dict(params)}

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, Any], on_notice: Notice) -> AsyncIterator[Mapping[str, Any]]:
        self.notices.append(on_notice)
        try:
            yield wanted
        finally:
            self.ended.append("subscription")
