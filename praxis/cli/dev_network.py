"""`praxis dev`."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio

from praxis.app import Addresses
from praxis.cli.client import DEV_PREFIX, OK
from praxis.cli.output import emit, say
from praxis.dev import network

ACQUAINTED = 5.0
"""Seconds for the agents to find each other, before what is advised is printed: it names a tool of the last one."""


def serve_network(size: int) -> int:
    """Run `size` agents until a signal."""
    with tempfile.TemporaryDirectory(prefix=DEV_PREFIX) as folder:
        trio.run(_serve, size, Path(folder))
    return OK


async def _serve(size: int, folder: Path) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with network(size, folder) as agents:
            peers = agents[0].agent.peers
            with trio.move_on_after(ACQUAINTED):
                await peers.wait_change(lambda: sum(bool(owner.tools) for owner in peers.owners()) == size - 1)
            rows = []
            for agent in agents:
                addresses = agent.addresses
                bound = (addresses.http, addresses.websocket, addresses.sse, addresses.p2p)
                rows.append([addresses.agent, *(f"{a[0]}:{a[1]}" if a else "-" for a in bound)])
            emit(rows, "table", columns=("AGENT", "HTTP", "WEBSOCKET", "SSE", "P2P"), rows=rows)
            say("next, in another terminal:")
            for command in _next(agents[0].addresses, agents[-1].addresses.agent):
                say(f"  {command}")
            say("Ctrl-C ends the network and removes its state")
            async for _ in signals:
                break


def _next(first: Addresses, last: str) -> Iterator[str]:
    """What can be tried: at the first agent, a tool of the last one."""
    yield f"praxis status --agent {first.agent}"
    yield f"praxis call {last}:write_file filename=hello.txt content=Hello --agent {first.agent}"
    if first.http is not None:
        url = f"http://{first.http[0]}:{first.http[1]}"
        yield f"praxis tools --url {url}"
        program = f'{{"dsl": "CALL {last}:list_files"}}'
        yield f"curl -X POST {url}/execute -H 'content-type: application/json' -d '{program}'"
