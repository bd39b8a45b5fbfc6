"""Stands before the application: who calls is settled before any route is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from praxis.access.entrance import READ, Entrance
from praxis.api.problem import problem_headers, status_of
from praxis.model.errors import PraxisError
from praxis.model.problem import problem_body

PRINCIPAL = "praxis.principal"
"""The key under which a request's scope holds its Principal."""
PROBED = frozenset({"/health/live", "/health/ready"})
"""Paths for probes, which show no token and name any host; they tell nothing but a word."""
CARD = "/.well-known/agent-card.json"
OPEN = PROBED | {"/health", CARD}
"""Paths that need no token. Health tells what is wrong with what, so a web page elsewhere does not get it. The card is
what this agent says of itself to anybody."""

App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def guard(app: Any, entrance: Entrance) -> App:
    """An ASGI application that lets only admitted requests through."""

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                headers = [
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in scope["headers"]
                    if name.lower() in READ  # decoding all would cost more than the check
                ]
                arrived = scope["server"][0] if scope.get("server") and entrance.listener != "unix" else ""
                if scope["path"] not in OPEN:
                    scope[PRINCIPAL] = entrance.admit(headers, arrived=arrived)
                elif scope["path"] not in PROBED:
                    entrance.check_names(headers, arrived=arrived)
            except PraxisError as error:
                await _refuse(send, error)
                return
        await app(scope, receive, send)

    return guarded


async def _refuse(send: Any, error: PraxisError) -> None:
    status = status_of(error)
    body = problem_body(error, status)
    headers = [(name.lower().encode(), value.encode()) for name, value in problem_headers(error, status).items()]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
