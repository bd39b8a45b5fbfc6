"""MCP over HTTP+SSE, the transport of 2024-11-05: a stream of events from GET /sse, messages to POST /message.

A conversation is its stream: what it has under way ends when the stream is closed.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import trio

from praxis.access.principal import Principal
from praxis.gateway.caller import Caller, Receive, Scope, Send
from praxis.gateway.conversation import Conversation
from praxis.gateway.modern import ModernEra
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import MessageError

STREAM, MESSAGE = "/sse", "/message"
ROOM = 5.0
"""Seconds that a message waits for a client that does not read its stream before it is refused."""


class HttpSse:
    """The application. Each stream is a connection of the listener, which bounds their number."""

    def __init__(
        self,
        choose: Callable[[str, Principal], Awaitable[McpService | None]],
        *,
        principal_of: Callable[[Scope], Principal],
        modern: ModernEra,
        metrics: Metrics,
    ) -> None:
        self._choose = choose
        self._principal_of = principal_of
        self._modern = modern
        self._conversations: dict[str, Conversation] = {}
        metrics.gauge(
            "praxis_mcp_sse_streams", "Streams of MCP's HTTP+SSE transport.", lambda: float(len(self._conversations))
        )

    def serves(self, path: str) -> bool:
        """Whether a path is one of the two."""
        return path.rstrip("/") in (STREAM, MESSAGE)

    def end(self) -> None:
        """End every stream: the agent stops."""
        for conversation in self._conversations.values():
            conversation.stream.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller, path = Caller(receive, send), scope["path"].rstrip("/")
        principal = self._principal_of(scope)
        if path == STREAM and scope["method"] == "GET":
            await self._stream(caller, principal)
        elif path == MESSAGE and scope["method"] == "POST":
            await self._message(caller, principal, scope["query_string"])
        else:
            await caller.respond(405, headers=[(b"allow", b"GET" if path == STREAM else b"POST")])

    async def _stream(self, caller: Caller, principal: Principal) -> None:
        service = await self._choose(STREAM, principal)
        if service is None:
            await caller.respond(404)
            return
        await caller.read()
        id = secrets.token_urlsafe(24)
        async with trio.open_nursery() as nursery:
            conversation = Conversation(service, principal, modern=self._modern, id=id, nursery=nursery)
            self._conversations[id] = conversation
            try:
                address = f"{MESSAGE}?sessionId={id}"
                await caller.pour(conversation.stream, opening=b"event: endpoint\ndata: %b\n\n" % address.encode())
            finally:
                del self._conversations[id]
                nursery.cancel_scope.cancel()

    async def _message(self, caller: Caller, principal: Principal, query: bytes) -> None:
        body = await caller.read()
        id = parse_qs(query.decode("latin-1")).get("sessionId", [""])[0]
        conversation = self._conversations.get(id)
        if conversation is None or conversation.principal != principal:
            text = jsonrpc.error_response(None, jsonrpc.INVALID_REQUEST, f"no stream has this sessionId; GET {STREAM}")
            await caller.respond(404, text, [(b"content-type", b"application/json")])
            return
        with trio.move_on_after(ROOM) as patience:
            await conversation.stream.wait_room()
        if patience.cancelled_caught:
            await caller.respond(503, headers=[(b"retry-after", b"1")])
            return
        try:
            messages = jsonrpc.parse(body)
        except MessageError as error:
            text = jsonrpc.error_response(None, jsonrpc.PARSE_ERROR, str(error)[:200])
            await caller.respond(400, text, [(b"content-type", b"application/json")])
            return
        for message in messages:
            conversation.take(message)
        await caller.respond(202, b"Accepted", [(b"content-type", b"text/plain")])
