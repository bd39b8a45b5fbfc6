"""Serves ASGI applications over HTTP/1.1: a connection class of our own over our own accept loop.

What a client or the application does wrong ends one connection and no more. There is no HTTP/2, no WebSocket and no
tunnel here: who asks for an upgrade is answered as if it had not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from praxis.net.http_connection import App as App
from praxis.net.http_connection import Dates, HttpConnection, Terms
from praxis.net.http_connection import Receive as Receive
from praxis.net.http_connection import Scope as Scope
from praxis.net.http_connection import Send as Send
from praxis.net.serve import serve_connections

MAX_CONNECTIONS = 1024
"""Connections of one listener at once: far above 50 machines' needs, and a third of usual descriptor limits."""
IDLE = 20.0
"""Seconds that a connection may take for a request's head, the wait between two requests included."""
BODY_TIMEOUT = 30.0
"""Seconds for the whole body of a request: the largest that is allowed, at about 1 Mbit/s."""
LINGER = 1.0
"""Seconds that the rest of a refused request is read: enough for a client on this machine or near to send all of it."""


async def serve_http(
    app: App,
    listeners: Sequence[trio.SocketListener],
    *,
    name: str,
    stopping: trio.Event,
    grace: float,
    max_body: int,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stopping`, then let running requests finish for `grace` seconds.

    Raises OSError when a listener fails.
    """
    terms = Terms(max_body=max_body, body=BODY_TIMEOUT, linger=LINGER)
    dates = Dates()
    connections: set[HttpConnection] = set()  # as many as `serve_connections` lets in

    async def handle(stream: trio.SocketStream) -> None:
        connection = HttpConnection(app, stream, terms, stopping, dates)
        connections.add(connection)
        try:
            await connection.serve()
        finally:
            connections.discard(connection)

    async def tell_connections() -> None:
        """Idle connections are closed at once; a running request is the last one on its connection."""
        await stopping.wait()
        for connection in connections:
            if connection.idle_since < math.inf:
                connection.close()

    async def close_idle() -> None:
        """Close the connections that have been idle for too long: one clock for all costs a request nothing."""
        while True:
            now = trio.current_time()
            for connection in connections:
                if connection.idle_since + IDLE <= now:
                    connection.close()
            earliest = min((connection.idle_since for connection in connections), default=now)
            await trio.sleep_until(min(earliest, now) + IDLE)  # whoever falls idle meanwhile has longer

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_connections)
        nursery.start_soon(close_idle)
        await serve_connections(
            handle,
            listeners,
            stopping=stopping,
            grace=grace,
            name=name,
            max_connections=MAX_CONNECTIONS,
            task_status=task_status,
        )
        nursery.cancel_scope.cancel()
