"""`praxis dev`."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import trio

from praxis.cli.client import OK
from praxis.cli.output import emit, say
from praxis.dev import network


def serve_network(size: int) -> int:
    """Run `size` agents until a signal."""
    with tempfile.TemporaryDirectory(prefix="praxis-dev-") as folder:
        trio.run(_serve, size, Path(folder))
    return OK


async def _serve(size: int, folder: Path) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with network(size, folder) as agents:
            rows = []
            for agent in agents:
                addresses = agent.addresses
                bound = (addresses.http, addresses.websocket, addresses.sse, addresses.p2p)
                rows.append([addresses.agent, *(f"{a[0]}:{a[1]}" if a else "-" for a in bound)])
            emit(rows, "table", columns=("AGENT", "HTTP", "WEBSOCKET", "SSE", "P2P"), rows=rows)
            say("Ctrl-C ends the network and removes its state")
            async for _ in signals:
                break
