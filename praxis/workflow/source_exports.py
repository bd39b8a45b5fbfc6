"""What peers may ask of this agent's tool sources, and get: MCP requests and changes, as far as they are exported.

A tool is exported by its name (`export.tools`). Resources, prompts and completions are exported with their whole source
(`export.resources`), since nobody can say beforehand which a server will have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.peers.request import Handler, PeerRequest
from praxis.tools.registry import ToolRegistry
from praxis.workflow.relay import decode_context

HONOURED = "praxis/subscribed"
"""The first event of a subscription: what of it is honoured."""
OF_RESOURCES = frozenset(
    {
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    }
)


class SourceExports:
    """Answers ``mcp.sources``, ``mcp.request`` and ``mcp.subscribe``."""

    def __init__(self, registry: ToolRegistry, policy: Policy) -> None:
        self._registry = registry
        self._policy = policy
        self.methods: Mapping[str, Handler] = {
            "mcp.sources": self._list,
            "mcp.request": self._request,
            "mcp.subscribe": self._subscribe,
        }

    async def _list(self, request: PeerRequest) -> Any:
        peer = _principal(request)
        found = []
        for name in self._registry.names():
            if self._sees(name, peer):
                description = self._registry.service(name).describe()
                found.append(
                    {
                        "name": name,
                        "info": description.info,
                        "capabilities": self._capabilities(name, peer, description.capabilities),
                        "instructions": description.instructions,
                    }
                )
        return {"sources": found}

    async def _request(self, request: PeerRequest) -> Any:
        params, peer = _params(request), _principal(request)
        source, method, asked = self._source(params, peer), params.get("method"), params.get("params")
        if asked is not None and not isinstance(asked, dict):
            raise PraxisError("invalid", "expected an object", where="params.params")
        asked = asked or {}
        context = decode_context(params.get("mcp"), request)
        if method == "tools/list":
            return await self._tools(source, peer, asked, context)
        if method == "tools/call":
            return await self._call(source, peer, asked, context)
        if method not in OF_RESOURCES:
            raise PraxisError("not_found", f"no method {str(method)[:80]!r} of a source")
        self._policy.authorize_resources(peer, source)
        return await self._registry.service(source).request(method, asked, context)

    async def _tools(self, source: str, peer: Principal, asked: Mapping[str, JSON], context: CallContext) -> Any:
        result = await self._registry.service(source).request("tools/list", asked, context)
        shown = {tool.name for tool in self._policy.exported(self._registry.tools(), peer) if tool.source == source}
        return {**result, "tools": [tool for tool in result["tools"] if tool.get("name") in shown]}

    async def _call(self, source: str, peer: Principal, asked: Mapping[str, JSON], context: CallContext) -> Any:
        name, arguments = asked.get("name"), asked.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise PraxisError("invalid", "a call has a name, a text, and arguments, an object", where="params.params")
        try:
            tool = self._registry.find(source, name)
        except PraxisError as error:  # its hint may name tools that this peer does not see
            raise PraxisError(error.code, error.detail) from None
        self._policy.authorize(peer, "call", tool)
        return (await self._registry.call(tool, arguments, context)).value

    async def _subscribe(self, request: PeerRequest) -> Any:
        params, peer = _params(request), _principal(request)
        source, wanted = self._source(params, peer), params.get("notifications")
        if not isinstance(wanted, dict):
            raise PraxisError("invalid", "expected an object", where="params.notifications")
        if not self._policy.exports_resources(peer, source):
            wanted = {key: value for key, value in wanted.items() if key == "toolsListChanged"}
        async with self._registry.service(source).subscribe(wanted, request.emit) as honoured:
            request.emit(HONOURED, honoured)
            await trio.sleep_forever()

    def _source(self, params: Mapping[str, Any], peer: Principal) -> str:
        source = params.get("source")
        if not isinstance(source, str) or not self._sees(source, peer):
            raise PraxisError("not_found", f"no source {str(source)[:64]!r} is exported to {peer.name}")
        return source

    def _sees(self, source: str, peer: Principal) -> bool:
        if source not in self._registry.names():
            return False
        if self._policy.exports_resources(peer, source):
            return True
        return any(tool.source == source for tool in self._policy.exported(self._registry.tools(), peer))

    def _capabilities(self, source: str, peer: Principal, given: Mapping[str, JSON]) -> Mapping[str, JSON]:
        if self._policy.exports_resources(peer, source):
            return given
        return {key: value for key, value in given.items() if key in ("tools", "logging")}


def _params(request: PeerRequest) -> Mapping[str, Any]:
    if not isinstance(request.params, dict):
        raise PraxisError("invalid", "expected an object", where="params")
    return request.params


def _principal(request: PeerRequest) -> Principal:
    return Principal("peer", request.peer_name, peer_id=request.peer)
