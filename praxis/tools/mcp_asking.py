"""What an MCP server may ask of whoever calls it, and who answers.

The configuration decides (`ask` and `roots` of a server); what it does not allow is neither declared nor answered,
whatever the caller could do. What it allows, the caller must be able to as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from praxis.config.schema import McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.tools.mcp_connection import ASK_LIMIT
from praxis.wire import jsonrpc
from praxis.wire.mcp import show
from praxis.wire.mcp_eras import ASKS

MAX_REQUESTS = 32
"""Questions in one result; a form has a handful."""
_HANDSHAKE: Mapping[str, JSON] = {
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
    "roots": {},
}
"""What is declared in a handshake, before anybody knows who will call; each question is checked when it comes."""


class Asking:
    """The policy for one server."""

    def __init__(self, server: McpServer) -> None:
        self._server = server.name
        self._allowed: frozenset[str] = frozenset(server.ask)
        self._roots = [{"uri": root.as_uri(), "name": root.name or str(root)} for root in server.roots]
        self.declared: Mapping[str, JSON] = {name: _HANDSHAKE[name] for name in _HANDSHAKE if name in self._allowed}
        """Client capabilities for a handshake, and for requests of nobody's."""
        if self._roots:
            self.declared = {**self.declared, "roots": {}}

    def declared_for(self, context: CallContext) -> Mapping[str, JSON]:
        """Client capabilities for one request: what the caller can do, as far as the server may ask for it."""
        able = context.capabilities if context.takes_input_requests or context.ask is not None else {}
        declared: dict[str, JSON] = {name: able[name] for name in self._allowed if isinstance(able.get(name), Mapping)}
        return {**declared, "roots": {}} if self._roots else declared

    async def answer(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        """Answer one question. Raises PraxisError with the reason why there is no answer."""
        if method == "roots/list" and self._roots:
            return {"roots": self._roots}
        self._check(method, params, context)
        if context.ask is None:
            raise _not_supported(f"nobody who calls can be asked ({method})")
        return await context.ask(method, params)

    def _check(self, method: str, params: Mapping[str, JSON], context: CallContext) -> None:
        capability = ASKS.get(method)
        if capability is None:
            raise _not_supported(f"not supported: {show(method)}")
        if capability not in self._allowed:
            raise _not_supported(f"{method} is not allowed by the configuration (mcp.servers[].ask of {self._server})")
        able = context.capabilities.get(capability)
        if not isinstance(able, Mapping):
            raise _not_supported(f"whoever calls does not support {capability}")
        if params.get("mode") == "url" and method == "elicitation/create" and "url" not in able:
            raise _not_supported("whoever calls does not support elicitation by URL")
        if "tools" in params and method == "sampling/createMessage" and "tools" not in able:
            raise _not_supported("whoever calls does not support sampling with tools")

    def pass_on(self, result: Mapping[str, JSON], context: CallContext) -> bool:
        """Whether a result that asks for input may go to a caller who takes such results. Raises PraxisError if not.

        False when some of it is ours to answer, so that the caller cannot be the one who makes the request again.
        """
        requests = input_requests(result)
        for method, params in requests.values():
            if method == "roots/list" and self._roots:
                return False
            self._check(method, params, context)
        return True

    async def answer_all(self, result: Mapping[str, JSON], context: CallContext) -> dict[str, JSON]:
        """What the request is to be made with again: ``inputResponses`` and ``requestState``, as the server wants it.

        Raises PraxisError when one of the questions gets no answer.
        """
        responses: dict[str, JSON] = {}
        for key, (method, params) in input_requests(result).items():
            with trio.move_on_after(ASK_LIMIT) as scope:
                responses[key] = await self.answer(method, params, context)
            if scope.cancelled_caught:
                raise PraxisError("timeout", f"nobody answered {method} within {ASK_LIMIT:g} s")
        state = {"requestState": result["requestState"]} if "requestState" in result else {}
        return {**({"inputResponses": responses} if responses else {}), **state}


def input_requests(result: Mapping[str, JSON]) -> dict[str, tuple[str, Mapping[str, JSON]]]:
    """The questions in a result with ``resultType: input_required``, by key. Raises PraxisError for nonsense."""
    given = result.get("inputRequests")
    given = {} if given is None else given
    found: dict[str, tuple[str, Mapping[str, JSON]]] = {}
    for key, request in given.items() if isinstance(given, Mapping) and len(given) <= MAX_REQUESTS else ():
        if isinstance(request, Mapping) and isinstance(method := request.get("method"), str):
            params = request.get("params")
            found[key] = (method, params if isinstance(params, Mapping) else {})
    if not isinstance(given, Mapping) or len(found) != len(given) or not (found or "requestState" in result):
        raise PraxisError("internal", "the server asks for input in a form that cannot be understood", delivered=True)
    return found


def _not_supported(reason: str) -> PraxisError:
    given = {"code": jsonrpc.METHOD_NOT_FOUND, "message": reason}
    return PraxisError("denied", reason, delivered=True, data={"jsonrpc": given})
