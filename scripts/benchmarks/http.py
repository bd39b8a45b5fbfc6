"""POST /execute of a no-op tool, local and on a peer, beside GET of a constant on the same server."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import trio

from praxis.peers.keyring import NetworkKey
from scripts.benchmarks.measure import measure
from scripts.benchmarks.worker import Worker

CONNECTIONS = (1, 16, 64)
ROUNDS = 3


def run(seconds: float) -> dict[str, float]:
    """The figures of one run."""
    return trio.run(_run, seconds)


async def _run(seconds: float) -> dict[str, float]:
    key, port = NetworkKey.generate().text, 62000 + int(time.time()) % 2000
    with (
        tempfile.TemporaryDirectory() as folder,
        Worker("agent", folder, key, str(port), "one") as one,
        Worker("agent", folder, key, str(port), "two"),
    ):
        requests = {
            "get_constant": _request("GET", "/health/live"),
            "execute_local": _request("POST", "/execute", {"dsl": "CALL one:bench/noop"}),
            "execute_peer": _request("POST", "/execute", {"dsl": "CALL two:bench/noop"}),
        }
        with trio.fail_after(20):
            while not await _succeeds(one.where["http"][1], requests["execute_peer"]):  # noqa: ASYNC110 - over HTTP
                await trio.sleep(0.1)
        seen: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                for name, request in requests.items():
                    rate, cpu, _ = await _measure(connections, seconds, request, one)
                    seen.setdefault(f"{name}_{connections}", []).append(rate)
                    seen.setdefault(f"{name}_{connections}_cpu", []).append(cpu)
    figures = {name: statistics.median(values) for name, values in seen.items()}
    for kind in ("local", "peer"):
        figures[f"execute_{kind}_vs_constant_64"] = figures[f"execute_{kind}_64"] / figures["get_constant_64"]
    return figures


def _request(method: str, path: str, body: object = None) -> bytes:
    payload = json.dumps(body).encode() if body is not None else b""
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {len(payload)}", "", "")).encode() + payload


async def _exchange(stream: trio.SocketStream, request: bytes) -> bytes:
    """One request and its answer, which has a Content-Length."""
    await stream.send_all(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await stream.receive_some(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some(65536)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the agent answered {head[:40]!r} {body[:200]!r}")
    return body


async def _succeeds(port: int, request: bytes) -> bool:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        return b'"succeeded"' in await _exchange(stream, request)
    except RuntimeError:
        return False
    finally:
        await stream.aclose()


async def _measure(connections: int, seconds: float, request: bytes, server: Worker) -> tuple[float, float, float]:
    """CPU is the server's alone: the client is a few lines, which no ratio should hide behind."""
    streams = [await trio.open_tcp_stream("127.0.0.1", server.where["http"][1]) for _ in range(connections)]

    def call_on(stream: trio.SocketStream) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            await _exchange(stream, request)

        return call

    try:
        return await measure(seconds, [call_on(stream) for stream in streams], lambda: server.cpu)
    finally:
        for stream in streams:
            await stream.aclose()
