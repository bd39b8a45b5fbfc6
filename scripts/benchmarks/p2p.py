"""Calls of tools on a peer, over TLS on one line and through its registry.

Small ones beside a bare plaintext Trio echo of frames of the same size on as many connections as there are callers;
results of 3 MiB beside what the same TLS filter carries when there is nothing else to do.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

from praxis.model.tool import JSON, CallContext
from praxis.net.tls import TlsPipe
from praxis.peers.identity import load_identity
from praxis.peers.keyring import NetworkKey
from praxis.wire.messages import dumps
from praxis.workflow.router import Candidate
from scripts.benchmarks import libp2p_echo
from scripts.benchmarks.measure import Call, measure
from scripts.benchmarks.worker import Worker
from scripts.benchmarks.workers import BIG, KEY, make_agent

CALLERS = (1, 16, 64, 256)
LIBP2P_CALLERS = (1, 64)
BIG_CALLERS = 8
"""As many bodies as are under way at once."""
ROUNDS = 5
TEXT = "x" * 200
LONG_TEXT = "x" * 65536

Figures = tuple[float, float, float]
"""Calls per second, CPU microseconds per call of both sides, 99th over 50th percentile."""
Measure = Callable[[int], Awaitable[Figures]]
"""By the number of callers."""


def run(seconds: float) -> dict[str, float]:
    """The figures of one run."""
    return trio.run(_run, seconds)


async def _run(seconds: float) -> dict[str, float]:
    key, port = NetworkKey.generate().text, 62000 + int(time.time()) % 2000
    with (
        tempfile.TemporaryDirectory() as folder,
        Worker("echo") as echo,
        Worker("stream", f"{folder}/stream") as stream,
        Worker("agent", folder, key, str(port), "server") as server,
    ):
        agent = make_agent(Path(folder), key, port, "client")
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, stopping)
            with trio.fail_after(10):
                await agent.peers.wait_change(lambda: any(owner.tools for owner in agent.peers.owners()))
            catalog = agent.catalog
            remote = {c.tool.name: c for c in catalog.snapshot().tools if c.peer_id is not None}

            def caller(candidate: Candidate, **arguments: JSON) -> Call:
                async def call() -> None:
                    await catalog.call(candidate, arguments, CallContext("bench"))

                return call

            request = {"m": "tool.call", "p": {"source": "bench", "name": "echo", "arguments": {"text": TEXT}}}
            size = 12 + len(dumps(request))

            def cpu() -> float:
                return server.cpu + time.process_time()

            async def tls(callers: int) -> Figures:
                return await measure(seconds, [caller(remote["echo"], text=TEXT)] * callers, cpu)

            async def tls_64k(callers: int) -> Figures:
                return await measure(seconds, [caller(remote["echo"], text=LONG_TEXT)] * callers, cpu)

            async def raw_echo(callers: int) -> Figures:
                return await _measure_echo(callers, seconds, size, echo)

            async def data(callers: int) -> Figures:
                rate, *more = await measure(seconds, [caller(remote["big"])] * BIG_CALLERS, cpu)
                return rate * len(BIG) / 1e6, more[0], more[1]

            async def bare_tls(callers: int) -> Figures:
                return await _measure_bare(seconds, stream, Path(folder) / "bare"), 0.0, 0.0

            figures = await _rounds({"tls": tls, "raw_echo": raw_echo, "tls_64k": tls_64k}, CALLERS)
            bulk = await _rounds({"data": data, "bare_tls": bare_tls}, (BIG_CALLERS,))
            if libp2p_echo.installed():
                figures |= await _rounds_of_libp2p(seconds, size)
            else:
                print("no figures of py-libp2p: pip install -e .[bench]", file=sys.stderr)
            stopping.set()
    figures["data_MB_per_s"] = bulk[f"data_{BIG_CALLERS}"]
    figures["bare_tls_MB_per_s"] = bulk[f"bare_tls_{BIG_CALLERS}"]
    figures["data_vs_bare_tls"] = figures["data_MB_per_s"] / figures["bare_tls_MB_per_s"]
    if "libp2p_64" in figures:
        figures["vs_libp2p_64"] = figures["tls_64"] / figures["libp2p_64"]
    figures["tls_vs_raw_echo_64"] = figures["tls_64"] / figures["raw_echo_64"]
    figures["tls_cpu_vs_raw_echo_64"] = figures["tls_64_cpu"] / figures["raw_echo_64_cpu"]
    return figures


async def _rounds(measures: dict[str, Measure], sizes: Sequence[int]) -> dict[str, float]:
    seen: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for callers in sizes:
            for name, measure_it in measures.items():
                rate, cpu, spread = await measure_it(callers)
                seen.setdefault(f"{name}_{callers}", []).append(rate)
                seen.setdefault(f"{name}_{callers}_cpu", []).append(cpu)
                seen.setdefault(f"{name}_{callers}_p99_over_p50", []).append(spread)
    return {name: statistics.median(values) for name, values in seen.items()}


async def _measure_echo(callers: int, seconds: float, size: int, server: Worker) -> Figures:
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


async def _rounds_of_libp2p(seconds: float, size: int) -> dict[str, float]:
    """Its connection does not live through the end of the client that made it, so each measurement has its own."""
    with Worker(module="libp2p_echo") as server:

        async def libp2p(callers: int) -> Figures:
            async with libp2p_echo.callers(server.where["address"], callers, size) as calls:
                return await measure(seconds, calls, lambda: server.cpu + time.process_time())

        return await _rounds({"libp2p": libp2p}, LIBP2P_CALLERS)


async def _measure_bare(seconds: float, server: Worker, folder: Path) -> float:
    """Megabytes per second that come through the TLS filter alone."""
    identity = load_identity(name="client", keys=[KEY], rendezvous="bench", state_dir=folder)
    connection = await trio.open_tcp_stream("127.0.0.1", server.where["port"])
    pipe = TlsPipe(connection, identity.client, server_side=False)
    await pipe.handshake()
    size, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        size += len(await pipe.receive())
    pipe.close()
    return size / seconds / 1e6
