"""How many events a second reach WebSocket clients: the gateway, beside a bare trio-websocket loop.

The clients are in a process of their own and do as little as they can: they count messages. Of the gateway's clients
one more has stopped reading; the bare loop has none such, because one would stop it for good. Rounds are interleaved,
so that whatever else the machine does meets all alike, and the median of each is taken.

Each measurement is whole: the time ends when every client has every event, and a lost event is an error.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from praxis.access.authorize import Policy
from praxis.access.entrance import Entrance
from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.config.schema import Export, WebSocket
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.net.serve import open_listeners
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.websocket.gateway import serve_gateway
from praxis.workflow.order import Order

CLIENTS = (10, 100, 500)
ROUNDS = 5
BURST = 8
"""Events published between two turns of the loop in the figures that say "bursts": parallel steps that end together.
In the others it is one, which leaves nothing to join and is the hardest case."""
WARM_UP = 100
"""Events that are sent before the time begins."""
AHEAD = 256
"""Events that the slowest client may be behind before the publisher waits: nothing may be lost."""
SETTLE = 0.1
"""Seconds for the last client to be in the fan-out after its handshake."""
PATIENCE = 60.0
"""Seconds until a measurement that does not end is an error."""
FIELDS = {"step": "s12", "state": "succeeded", "tool": "praxis-agent-2:fs/write_file", "agent": "praxis-agent-2"}

_COUNTERS = Path(__file__).with_name("event_clients.py")

Publish = Callable[[int], Awaitable[None]]
"""Publishes so many events, and waits while the clients are too far behind."""


class Server(Protocol):
    def __call__(self, clients: int) -> AbstractAsyncContextManager[tuple[int, Publish]]: ...


def run(seconds: float) -> dict[str, float]:
    """Measure for about so many seconds; returns deliveries a second, and ratios."""
    return trio.run(_run, seconds)


async def _run(seconds: float) -> dict[str, float]:
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        gateway = partial(_gateway, Path(folder))
        kinds: dict[str, Callable[[float], Awaitable[float]]] = {
            f"events_{count}": partial(_measure, gateway, count, 1, 1) for count in CLIENTS
        }
        kinds["events_100_bursts"] = partial(_measure, gateway, 100, 1, BURST)
        kinds["bare_100"] = partial(_measure, _bare, 100, 0, 1)
        for _ in range(ROUNDS):
            for name, measure in kinds.items():
                rates.setdefault(name, []).append(await measure(seconds / (ROUNDS * len(kinds))))
    figures = {name: statistics.median(values) for name, values in rates.items()}
    figures["events_vs_bare_100"] = figures["events_100"] / figures["bare_100"]
    figures["events_bursts_vs_bare_100"] = figures["events_100_bursts"] / figures["bare_100"]
    figures["events_500_vs_events_100"] = figures["events_500"] / figures["events_100"]
    return figures


async def _measure(server: Server, readers: int, stalled: int, burst: int, seconds: float) -> float:
    """Deliveries a second to `readers` clients, beside `stalled` ones that do not read."""
    with trio.fail_after(PATIENCE + seconds):
        async with server(readers + stalled) as (port, publish), _clients(port, readers, stalled) as process:
            await publish(WARM_UP)
            published = WARM_UP
            start = trio.current_time()
            while trio.current_time() - start < seconds:
                await publish(burst)
                published += burst
            assert process.stdin is not None
            await process.stdin.send_all(b"%d\n" % published)
            await _expect(process, b"done\n")
            return readers * (published - WARM_UP) / (trio.current_time() - start)


@asynccontextmanager
async def _clients(port: int, readers: int, stalled: int) -> AsyncIterator[trio.Process]:
    """The process of the clients, all of them connected."""
    command = [sys.executable, "-I", "-S", str(_COUNTERS), str(port), str(readers), str(stalled)]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(run)
        await _expect(process, b"ready\n")
        await trio.sleep(SETTLE)
        yield process
        nursery.cancel_scope.cancel()


async def _expect(process: trio.Process, line: bytes) -> None:
    assert process.stdout is not None
    said = await process.stdout.receive_some()
    if said != line:
        raise RuntimeError(f"the clients said {bytes(said)!r} in place of {line!r}; see standard error")


class _NoRuns:
    """The gateway's executor: nothing is run here."""

    async def execute(self, text: str, principal: Principal, *, order: Order) -> RunRecord:
        raise PraxisError("unavailable", "nothing is run here")

    async def cancel(self, run_id: str) -> RunRecord:
        raise PraxisError("not_found", "nothing is run here")

    def get(self, run_id: str) -> RunRecord:
        raise PraxisError("not_found", "nothing is run here")


@asynccontextmanager
async def _gateway(folder: Path, clients: int) -> AsyncIterator[tuple[int, Publish]]:
    """The gateway as the agent runs it, but for the agent."""
    bus, metrics, stopping = EventBus(), Metrics(), trio.Event()
    entrance = Entrance("loopback", (), (), "127.0.0.1", False, TokenStore(folder / "tokens.json"))
    listeners = await open_listeners("127.0.0.1", 0)
    messages = metrics.counter("praxis_websocket_messages_total", "Messages of clients.", ("direction",))
    published = 0

    async def publish(count: int) -> None:
        nonlocal published
        for _ in range(count):
            bus.publish("step.finished", run_id="0123456789abcdef", duration_ms=1.5, **FIELDS)
        published += count
        await trio.lowlevel.checkpoint()
        # The client that does not read gets a few at first and then none; it counts for nothing.
        while messages.value("out") < (clients - 1) * (published - AHEAD):
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                serve_gateway,
                WebSocket(),
                executor=_NoRuns(),
                bus=bus,
                policy=Policy(Export()),
                entrance=entrance,
                metrics=metrics,
                listeners=listeners,
                stopping=stopping,
                grace=0.0,
            )
        )
        yield listeners[0].socket.getsockname()[1], publish
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _bare(clients: int) -> AsyncIterator[tuple[int, Publish]]:
    """What one would write first: a set of connections, and a loop that sends to each."""
    connections: set[WebSocketConnection] = set()
    seq = 0

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        connections.add(connection)
        try:
            while True:
                await connection.get_message()
        except ConnectionClosed:
            pass
        finally:
            connections.discard(connection)

    async def publish(count: int) -> None:
        nonlocal seq
        for _ in range(count):
            seq += 1
            payload = {"workflowId": "0123456789abcdef", "durationMs": 1.5, "error": None, **FIELDS}
            text = json.dumps({"type": "nodeStatusUpdate", "seq": seq, "payload": payload}, separators=(",", ":"))
            for connection in connections:
                await connection.send_message(text)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, handle, "127.0.0.1", 0, None))
        yield server.port, publish
        nursery.cancel_scope.cancel()
