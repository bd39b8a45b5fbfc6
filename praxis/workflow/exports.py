"""What peers may ask of this agent, and get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.model.card import AgentCard
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.tool import Tool
from praxis.peers.record import ToolEntry, encode_card
from praxis.peers.request import PeerRequest
from praxis.tools.registry import ToolRegistry
from praxis.workflow.relay import answer_question, decode_context
from praxis.workflow.source_exports import SourceExports

MAX_DIGESTS = 1024
"""Definitions that a peer may ask for at once."""


Method = Callable[[PeerRequest, dict[str, Any]], Awaitable[Any]]


class Exports:
    """Answers peers' requests. Whatever they say is remote input, and each call passes the policy."""

    def __init__(
        self,
        registry: ToolRegistry,
        policy: Policy,
        *,
        card: Callable[[], AgentCard],
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._card = card
        self._sources = SourceExports(registry, policy)
        self._methods: dict[str, Method] = {
            "tool.call": self._call,
            "card.get": self._get_card,
            "tools.describe": self._describe,
            "mcp.ask": self._answer,
        }

    async def handle(self, request: PeerRequest) -> Any:
        """Raises PraxisError("not_found") for a method of a later version, and what the method raises."""
        if request.method in self._sources.methods:
            return await self._sources.methods[request.method](request)
        method = self._methods.get(request.method)
        if method is None:
            raise PraxisError("not_found", f"no method {request.method!r}")
        params = request.params
        if not isinstance(params, dict):
            raise PraxisError("invalid", "expected an object", where="params")
        return await method(request, params)

    def tools(self) -> tuple[ToolEntry, ...]:
        """What the directory says of our tools: the names of all that some peer may call.

        Names are known to every member; definitions, and calls, to those that the narrower rules of `export.peers` let
        through.
        """
        return tuple(
            ToolEntry(tool.source, tool.name, tool.digest) for tool in self._policy.offered(self._registry.tools())
        )

    async def _answer(self, request: PeerRequest, params: dict[str, Any]) -> Any:
        return await answer_question(request)

    async def _call(self, request: PeerRequest, params: dict[str, Any]) -> Any:
        source, name, arguments = params.get("source"), params.get("name"), params.get("arguments")
        if not isinstance(source, str) or not isinstance(name, str):
            raise PraxisError(
                "invalid", "expected a text", where="params.source" if isinstance(name, str) else "params.name"
            )
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise PraxisError("invalid", "expected an object", where="params.arguments")
        tool = self._find(source, name)
        self._policy.authorize(_principal(request.peer, request.peer_name), "call", tool)
        meta = params.get("meta")
        run_id = meta.get("run") if isinstance(meta, dict) else None
        context = decode_context(params.get("mcp"), request, run_id=run_id if isinstance(run_id, str) else None)
        result = await self._registry.call(tool, arguments, context)
        return result.value

    def _find(self, source: str, name: str) -> Tool:
        """The registry's own error names tools that are alike, and this peer may not see them all."""
        try:
            return self._registry.find(source, name)
        except PraxisError as error:
            raise PraxisError(error.code, error.detail) from None

    async def _get_card(self, request: PeerRequest, params: dict[str, Any]) -> Any:
        return encode_card(self._card())

    async def _describe(self, request: PeerRequest, params: dict[str, Any]) -> Any:
        digests = params.get("digests")
        if not isinstance(digests, list) or len(digests) > MAX_DIGESTS:
            raise PraxisError("invalid", f"expected a list of at most {MAX_DIGESTS}", where="params.digests")
        wanted = {digest for digest in digests if isinstance(digest, str)}
        tools = self._exported(_principal(request.peer, request.peer_name))
        return {"tools": {tool.digest: tool.definition for tool in tools if tool.digest in wanted}}

    def _exported(self, peer: Principal) -> list[Tool]:
        return self._policy.exported(self._registry.tools(), peer)


def _principal(peer_id: PeerId, name: str) -> Principal:
    return Principal("peer", name, peer_id=peer_id)
