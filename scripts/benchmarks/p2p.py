"""Calls of an echo tool on a peer, over TLS on one line and through its registry, beside a bare plaintext Trio echo of
frames of the same size on as many connections as there are callers."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from praxis.model.tool import CallContext
from praxis.peers.identity import NetworkKey
from praxis.wire.messages import dumps
from praxis.workflow.router import Candidate
from scripts.benchmarks.measure import measure
from scripts.benchmarks.worker import Worker
from scripts.benchmarks.workers import make_agent

CALLERS = (1, 16, 64)
ROUNDS = 5
TEXT = "x" * 200

Measure = Callable[[int], Awaitable[tuple[float, float, float]]]
"""From callers to (calls per second, CPU microseconds per call of both sides, 99th over 50th percentile)."""


def run(seconds: float) -> dict[str, float]:
    """The figures of one run."""
    return trio.run(_run, seconds)


async def _run(seconds: float) -> dict[str, float]:
    key, port = NetworkKey.generate().text, 62000 + int(time.time()) % 2000
    with (
        tempfile.TemporaryDirectory() as folder,
        Worker("echo") as echo,
        Worker("agent", folder, key, str(port), "server") as server,
    ):
        agent = make_agent(Path(folder), key, port, "client")
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, stopping)
            with trio.fail_after(10):
                await agent.peers.wait_change(lambda: any(owner.tools for owner in agent.peers.owners()))
            catalog = agent.catalog
            candidate = next(c for c in catalog.snapshot().tools if c.peer_id is not None and c.tool.name == "echo")

            async def call(candidate: Candidate = candidate) -> None:
                await catalog.call(candidate, {"text": TEXT}, CallContext("bench"))

            request = {"m": "tool.call", "p": {"source": "bench", "name": "echo", "arguments": {"text": TEXT}}}
            size = 12 + len(dumps(request))

            async def tls(callers: int) -> tuple[float, float, float]:
                return await measure(seconds, [call] * callers, lambda: server.cpu + time.process_time())

            async def raw_echo(callers: int) -> tuple[float, float, float]:
                return await _measure_echo(callers, seconds, size, echo)

            figures = await _rounds({"tls": tls, "raw_echo": raw_echo})
            stopping.set()
    figures["tls_vs_raw_echo_64"] = figures["tls_64"] / figures["raw_echo_64"]
    figures["tls_cpu_vs_raw_echo_64"] = figures["tls_64_cpu"] / figures["raw_echo_64_cpu"]
    return figures


async def _rounds(measures: dict[str, Measure]) -> dict[str, float]:
    seen: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for callers in CALLERS:
            for name, measure_it in measures.items():
                rate, cpu, spread = await measure_it(callers)
                seen.setdefault(f"{name}_{callers}", []).append(rate)
                seen.setdefault(f"{name}_{callers}_cpu", []).append(cpu)
                seen.setdefault(f"{name}_{callers}_p99_over_p50", []).append(spread)
    return {name: statistics.median(values) for name, values in seen.items()}


async def _measure_echo(callers: int, seconds: float, size: int, server: Worker) -> tuple[float, float, float]:
    frame = b"x" * size
    streams = [await trio.open_tcp_stream("127.0.0.1", server.where["port"]) for _ in range(callers)]

    def call_on(stream: trio.SocketStream) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            await stream.send_all(frame)
            missing = size
            while missing:
                missing -= len(await stream.receive_some(missing))

        return call

    try:
        return await measure(seconds, [call_on(stream) for stream in streams], lambda: server.cpu + time.process_time())
    finally:
        for stream in streams:
            await stream.aclose()
