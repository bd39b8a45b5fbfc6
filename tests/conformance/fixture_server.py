"""Serves the conformance fixture: ``fixture_server.py --port N`` or ``--stdio``."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))

from praxis.access.entrance import LOCAL, Entrance
from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.api.guard import PRINCIPAL, guard
from praxis.gateway.caller import Receive, Scope, Send
from praxis.gateway.http import StreamableHttp
from praxis.gateway.modern import ModernEra
from praxis.gateway.sse import HttpSse
from praxis.gateway.stdio import serve_stdio
from praxis.net.http_server import serve_http
from praxis.net.serve import open_listeners
from praxis.observe.metrics import Metrics
from tests.conformance.fixture_service import FixtureService

MAX_BODY = 4 * 1024 * 1024


async def serve(port: int) -> None:
    """Streamable HTTP at /mcp and HTTP+SSE at /sse, on loopback, until interrupted. Prints the first's address."""
    service, stopping, metrics = FixtureService(), trio.Event(), Metrics()

    async def choose(path: str, principal: Principal) -> FixtureService | None:
        return service if path in ("/mcp", "/sse") else None

    def principal_of(scope: Scope) -> Principal:
        principal: Principal = scope[PRINCIPAL]
        return principal

    endpoint = StreamableHttp(choose, principal_of=principal_of, key=secrets.token_bytes(32), metrics=metrics)
    events = HttpSse(choose, principal_of=principal_of, modern=endpoint.modern, metrics=metrics)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (events if events.serves(scope["path"]) else endpoint)(scope, receive, send)

    entrance = Entrance(
        listener="loopback",
        allowed_hosts=(),
        allowed_origins=(),
        bound_host="127.0.0.1",
        insecure=False,
        tokens=TokenStore(Path("/nonexistent/tokens.json")),
    )
    listeners = await open_listeners("127.0.0.1", port)
    print(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/mcp", flush=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(endpoint.run, stopping)
        await serve_http(
            guard(app, entrance), listeners, name="fixture", stopping=stopping, grace=1.0, max_body=MAX_BODY
        )


async def serve_lines() -> None:
    """Standard input and output, until the input ends."""
    modern = ModernEra(key=secrets.token_bytes(32), metrics=Metrics())
    incoming, outgoing = (trio.lowlevel.FdStream(os.dup(number)) for number in (0, 1))
    async with incoming, outgoing:
        await serve_stdio(FixtureService(), LOCAL, incoming, outgoing, modern=modern)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--port", type=int, help="streamable HTTP at /mcp; 0 for any port")
    way.add_argument("--stdio", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    with suppress(KeyboardInterrupt):
        if options.stdio:
            trio.run(serve_lines)
        else:
            trio.run(serve, options.port)


if __name__ == "__main__":
    main()
