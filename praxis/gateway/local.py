"""This agent as an MCP server: every tool, resource and prompt that it can reach in the network, its own tools, and its
card."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import attrs

from praxis import __version__
from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.config.schema import McpView
from praxis.gateway.changes import Changes
from praxis.gateway.entries import Entries, exported_uri
from praxis.gateway.exported import ExportedTools
from praxis.gateway.own_tools import OwnTools, Peers, Send
from praxis.gateway.views import CALL, FIND, View
from praxis.model.card import AgentCard
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, ToolResult
from praxis.observe.events import EventBus
from praxis.tools.service import Description, Notice
from praxis.wire import jsonrpc
from praxis.wire.mcp_server import refusal
from praxis.workflow.asking import Asking
from praxis.workflow.executor import Executor
from praxis.workflow.sources import SourceAt, Sources, SourceService

CARD = "agent://card"
CAPABILITIES = MappingProxyType(
    {
        "tools": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "prompts": {"listChanged": True},
        "completions": {},
        "logging": {},
    }
)
"""All of it even where no source has any: some clients ask in any case, and take a refusal for a broken server."""
INSTRUCTIONS = (
    "Tools of this machine are named SOURCE__NAME, those of other agents AGENT__SOURCE__NAME. execute_workflow runs "
    "several of them as one program; analyze_dsl shows what a program would do."
)


class LocalGateway:
    """Makes the agent's service for whoever asks."""

    def __init__(
        self,
        agent: str,
        executor: Executor,
        asking: Asking,
        sources: Sources,
        policy: Policy,
        bus: EventBus,
        card: Callable[[], AgentCard],
        peers: Peers,
        send: Send,
        views: Mapping[str, McpView] = MappingProxyType({}),
    ) -> None:
        """`send` sends a text to a peer, by name or id."""
        self.agent = agent
        self.sources = sources
        info = {"name": agent, "title": f"Praxis: {agent}", "version": __version__}
        self.description = Description(info, CAPABILITIES, INSTRUCTIONS)
        self.executor = executor
        self.policy = policy
        self.bus = bus
        self.card = card
        self.own = OwnTools(executor, asking, peers, bus, send)
        self.exported = ExportedTools(agent, executor.catalog)
        self.changes = Changes(agent, sources, self.exported.listed, bus)

        self._views = {name: View(view, agent, self.exported) for name, view in views.items()}

    def service(self, principal: Principal) -> LocalService:
        """The agent as this principal may use it."""
        return LocalService(self, principal)

    def view(self, principal: Principal, name: str) -> LocalService | None:
        """A view of it; None where there is none of this name."""
        found = self._views.get(name)
        return LocalService(self, principal, found) if found is not None else None


@attrs.frozen(eq=False)
class LocalService:
    """An McpService, for one principal."""

    gateway: LocalGateway
    principal: Principal
    view: View | None = None

    @property
    def _tools(self) -> ExportedTools | View:
        return self.view if self.view is not None else self.gateway.exported

    def describe(self) -> Description:
        return self.gateway.description

    def tool_schema(self, name: str) -> Mapping[str, JSON] | None:
        tool = self._tools.by_name().get(name)
        return tool.input_schema if tool is not None else None

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        gateway = self.gateway
        gateway.policy.authorize(self.principal, "run" if method == "tools/call" else "read")
        match method:
            case "tools/list":
                return {"tools": list(self._tools.listed())}
            case "tools/call":
                return (await self._call(params, context)).value
            case "resources/list":
                own = [self._card_entry()] if self.view is None else []
                return {"resources": [*own, *await self._entries.listed(method)]}
            case "resources/templates/list":
                return {"resourceTemplates": await self._entries.listed(method)}
            case "prompts/list":
                return {"prompts": await self._entries.listed(method)}
            case "resources/read":
                return await self._read(params, context)
            case "prompts/get":
                return await self._prompt(params, context)
            case "completion/complete":
                return await self._complete(params, context)
        raise refusal(jsonrpc.METHOD_NOT_FOUND, f"there is no method {method[:80]!r}")

    async def _call(self, params: Mapping[str, JSON], context: CallContext) -> ToolResult:
        """A call's result. What went wrong on the way is one, too: whoever reads results can do something about it."""
        name, arguments = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise refusal(jsonrpc.INVALID_PARAMS, "a call has a name, a string, and arguments, an object")
        gateway, view = self.gateway, self.view
        try:
            if gateway.own.has(name) and (view is None or view.has_own(name)):
                return await gateway.own.call(name, arguments, self.principal, context)
            if view is not None and view.compact:
                if name == FIND:
                    return view.find(arguments)
                if name == CALL:
                    name, arguments = arguments.get("name"), arguments.get("arguments") or {}
                    if not isinstance(name, str) or not isinstance(arguments, dict):
                        raise PraxisError("invalid", "expected a name, a text, and arguments, an object")
            tool = self._tools.by_name().get(name)
            if tool is None:
                raise PraxisError("not_found", f"there is no tool {name[:128]!r}", hint="tools/list shows all")
            return await gateway.executor.call(tool.ref, arguments, self.principal, context=context)
        except PraxisError as error:
            if "jsonrpc" in error.data:
                raise
            return ToolResult.of_text(str(error), is_error=True)

    def _card_entry(self) -> dict[str, JSON]:
        return {
            "uri": CARD,
            "name": "agent card",
            "description": "What this agent says of itself to others",
            "mimeType": "application/json",
        }

    @property
    def _entries(self) -> Entries:
        return Entries(self.gateway.agent, self.gateway.sources, self.principal, self._has)

    def _has(self, source: SourceAt) -> bool:
        return self.view is None or self.view.has_source(source.agent, source.name)

    async def _read(self, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        uri = params.get("uri")
        if uri == CARD and self.view is None:
            text = json.dumps(attrs.asdict(self.gateway.card()), ensure_ascii=False)
            return {"contents": [{"uri": CARD, "mimeType": "application/json", "text": text}]}
        source, own = await self._resource(uri)
        service = await self.gateway.sources.find(self.principal, source.agent, source.name)
        result = await service.request("resources/read", {**params, "uri": own}, context)
        if not isinstance(result.get("contents"), list):
            return result  # it asks for input first
        agent = self._entries.agent_of(source)
        contents = [
            {**part, "uri": exported_uri(agent, source.name, part["uri"])} if isinstance(part.get("uri"), str) else part
            for part in result["contents"]
            if isinstance(part, dict)
        ]
        return {**result, "contents": contents}

    async def _resource(self, uri: JSON) -> tuple[SourceAt, str]:
        found = await self._entries.resource(uri) if isinstance(uri, str) else None
        if found is None:
            raise refusal(jsonrpc.INVALID_PARAMS, "there is no such resource", {"uri": str(uri)[:2000]})
        return found

    async def _prompt(self, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        service, own = await self._prompt_source(params.get("name"))
        return await service.request("prompts/get", {**params, "name": own}, context)

    async def _prompt_source(self, name: JSON) -> tuple[SourceService, str]:
        found = await self._entries.prompt(name) if isinstance(name, str) else None
        if found is None:
            raise refusal(jsonrpc.INVALID_PARAMS, f"there is no prompt {str(name)[:80]!r}")
        source, entry = found
        return await self.gateway.sources.find(self.principal, source.agent, source.name), str(entry["name"])

    async def _complete(self, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        match params.get("ref"):
            case {"type": "ref/prompt", "name": name, **rest}:
                service, own = await self._prompt_source(name)
                ref = {"type": "ref/prompt", "name": own, **rest}
            case {"type": "ref/resource", "uri": uri, **rest}:
                source, own = await self._resource(uri)
                service = await self.gateway.sources.find(self.principal, source.agent, source.name)
                ref = {"type": "ref/resource", "uri": own, **rest}
            case _:
                raise refusal(jsonrpc.INVALID_PARAMS, "what is completed is a prompt or a resource, named by its ref")
        return await service.request("completion/complete", {**params, "ref": ref}, context)

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, JSON], on_notice: Notice) -> AsyncIterator[Mapping[str, JSON]]:
        """See `McpService`. Changes of a source that comes later are told with the coming of its agent."""
        async with self.gateway.changes.subscribe(self.principal, wanted, on_notice, self._has) as honoured:
            yield honoured
