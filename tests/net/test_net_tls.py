"""TLS over real sockets with small buffers, and what is told when it fails."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from praxis.net.tls import Broken, TlsPipe
from praxis.peers.identity import Identity, load_identity
from praxis.peers.keyring import NetworkKey

KEY = NetworkKey.generate()


def identity(folder: Path, name: str, key: NetworkKey = KEY) -> Identity:
    return load_identity(name=name, keys=(key,), rendezvous="test", state_dir=folder / name)


def connected() -> tuple[trio.SocketStream, trio.SocketStream]:
    one, two = socket.socketpair()
    for end in (one, two):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    return tuple(trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in (one, two))  # type: ignore[return-value]


@asynccontextmanager
async def pipes(folder: Path) -> AsyncIterator[tuple[TlsPipe, TlsPipe]]:
    one, two = connected()
    dialing = TlsPipe(one, identity(folder, "a").client, server_side=False)
    listening = TlsPipe(two, identity(folder, "b").server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialing.handshake)
        nursery.start_soon(listening.handshake)
    try:
        yield dialing, listening
    finally:
        dialing.close()
        listening.close()


async def read(pipe: TlsPipe, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += await pipe.receive()
    return got


async def test_bytes_arrive_in_order_however_they_are_sent(tmp_path: Path) -> None:
    parts = [bytes([n % 256]) * (n * 37 % 5000) for n in range(400)]
    async with pipes(tmp_path) as (dialing, listening):

        async def send() -> None:
            for number, part in enumerate(parts):
                if number % 3 and not dialing.wants_to_write:
                    dialing.send_nowait(part)
                else:
                    await dialing.send(part)
            await dialing.send(b"")

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                assert await read(listening, sum(map(len, parts))) == b"".join(parts)
        assert not dialing.wants_to_write


async def test_what_the_kernel_does_not_take_is_kept_for_the_next_send(tmp_path: Path) -> None:
    async with pipes(tmp_path) as (dialing, listening):
        dialing.send_nowait(b"x" * 200_000)
        assert dialing.wants_to_write
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialing.send, b"end")
            assert await read(listening, 200_003) == b"x" * 200_000 + b"end"


async def test_an_orderly_close_reads_as_the_end(tmp_path: Path) -> None:
    async with pipes(tmp_path) as (dialing, listening):
        await dialing.send(b"bye")
        dialing.close()
        assert await read(listening, 3) == b"bye"
        assert await listening.receive() == b""


async def test_a_cut_is_no_orderly_close(tmp_path: Path) -> None:
    one, two = connected()
    dialing = TlsPipe(one, identity(tmp_path, "a").client, server_side=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(two.aclose)
        with pytest.raises(Broken) as cut:
            await dialing.handshake()
    assert cut.value.reason == "cut"
    dialing.close()


async def test_closing_wakes_whoever_waits(tmp_path: Path) -> None:
    async with pipes(tmp_path) as (dialing, _):

        async def receive() -> None:
            with pytest.raises(Broken) as closed:
                await dialing.receive()
            assert closed.value.reason == "closed"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            dialing.close()


async def test_the_refused_side_learns_why(tmp_path: Path) -> None:
    one, two = connected()
    dialing = TlsPipe(one, identity(tmp_path, "a", NetworkKey.generate()).client, server_side=False)
    listening = TlsPipe(two, identity(tmp_path, "b").server, server_side=True)
    said = []

    async def shake(pipe: TlsPipe) -> None:
        try:
            await pipe.handshake()
            await pipe.receive()
        except Broken as error:
            said.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, dialing)
        nursery.start_soon(shake, listening)
    assert any("certificate verify failed" in text for text in said)
    assert any("unknown ca" in text for text in said)
    dialing.close()
    listening.close()
