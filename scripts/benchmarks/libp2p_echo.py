"""An echo over py-libp2p with its default security and muxer, each caller on a stream that it keeps (extra `bench`).

usage: python -m scripts.benchmarks.libp2p_echo      the server; says where it listens, and its CPU seconds when asked
"""

from __future__ import annotations

import importlib.util
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

PROTOCOL = "/praxis/bench/echo/1"


def installed() -> bool:
    return importlib.util.find_spec("libp2p") is not None


def _host() -> Any:
    from libp2p import new_host
    from libp2p.crypto.secp256k1 import create_new_key_pair

    return new_host(key_pair=create_new_key_pair(secrets.token_bytes(32)))


async def serve() -> None:
    from multiaddr import Multiaddr

    from scripts.benchmarks.workers import answer_cpu

    host = _host()

    async def echo(stream: Any) -> None:
        with suppress(Exception):  # it raises one of many kinds when the other side is done
            while data := await stream.read(65536):
                await stream.write(data)

    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        host.set_stream_handler(PROTOCOL, echo)
        print(json.dumps({"address": str(host.get_addrs()[0])}), flush=True)
        await answer_cpu()


@asynccontextmanager
async def callers(address: str, count: int, size: int) -> AsyncIterator[list[Callable[[], Awaitable[None]]]]:
    """So many callers, each of which sends `size` bytes and waits until they are back."""
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host, frame = _host(), b"x" * size

    def caller(stream: Any) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            await stream.write(frame)
            missing = size
            while missing:
                missing -= len(await stream.read(missing))

        return call

    async with host.run(listen_addrs=[]):
        peer = info_from_p2p_addr(Multiaddr(address))
        await host.connect(peer)
        yield [caller(await host.new_stream(peer.peer_id, [PROTOCOL])) for _ in range(count)]


if __name__ == "__main__":
    trio.run(serve)
