"""What an HTTP status means for an MCP request."""

from __future__ import annotations

from contextlib import suppress

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.net.http_client import HttpError, HttpResponse
from praxis.tools.http_statuses import CODES
from praxis.tools.mcp_connection import refusal
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import ErrorResponse, MessageError
from praxis.wire.mcp import show

SMALL_BODY = 65536
"""Bytes of an error's body that are looked at: a JSON-RPC error is smaller, and a page for people says no more."""
_HINTS = {
    401: "mcp.servers[].headers may hold an Authorization",
    403: "the server knows who asks, and does not let them",
    404: "mcp.servers[].url may lead to another path",
    405: "mcp.servers[].transport may have to be sse",
}


class SessionLostError(Exception):
    """The server no longer knows the session: `error` is what it said. The request had no effect."""

    def __init__(self, error: PraxisError) -> None:
        super().__init__(str(error))
        self.error = error


async def read_error(server: str, what: str, response: HttpResponse) -> PraxisError:
    """The error that a response with a status of 300 or more means. ``data["http"]`` is the status, and a JSON-RPC
    error in its body is in ``data["jsonrpc"]``."""
    status = response.status
    body = b""
    with suppress(HttpError):  # what it says beyond its status is not needed
        body = await response.read(SMALL_BODY)
    given = _jsonrpc(body)
    if given is not None:
        error = refusal(what, given.code, given.message, given.data)
        error.data["http"] = status
        return error
    text = show(body.decode(errors="replace").strip(), 120) if response.content_type != "text/html" else ""
    data: dict[str, JSON] = {"http": status}
    return PraxisError(
        CODES.get(status, "unavailable"),
        f"MCP server {server}: {what}: it answers with HTTP status {status}{': ' if text else ''}{text}",
        hint=_HINTS.get(status, ""),
        delivered=status >= 500,
        data=data,
    )


def _jsonrpc(body: bytes) -> ErrorResponse | None:
    try:
        messages = jsonrpc.parse(body)
    except MessageError:
        return None
    return next((message for message in messages if isinstance(message, ErrorResponse)), None)
