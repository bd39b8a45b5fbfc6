"""How many strangers may knock at once, in all and from one address: imagined ones, which say nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from praxis.net.tls import Broken
from praxis.observe.metrics import Metrics
from praxis.peers.listener import MAX_PER_SOURCE, Listener

HANDSHAKES = 3 * MAX_PER_SOURCE


class Stream:
    """A connection from some address. It is also its own socket."""

    def __init__(self, source: str) -> None:
        self.socket = self
        self.source = source
        self.closed = False

    def getpeername(self) -> tuple[str, int]:
        return self.source, 40_000

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()


class Door:
    """What streams come through; it is also its own socket."""

    def __init__(self) -> None:
        self.socket = self
        self._sender, self._receiver = trio.open_memory_channel[Stream](0)

    async def knock(self, source: str, times: int = 1) -> list[Stream]:
        """As many connections, one after the other."""
        streams = [Stream(source) for _ in range(times)]
        for stream in streams:
            await self._sender.send(stream)
        await trio.testing.wait_all_tasks_blocked()
        return streams

    async def accept(self) -> Stream:
        return await self._receiver.receive()

    def close(self) -> None:
        pass


class Lines:
    """Greets nobody: a stream is open until `let_go` says that its handshake is over."""

    def __init__(self) -> None:
        self.waiting: dict[Stream, trio.Event] = {}

    async def open(self, stream: Stream, *, dialer: bool) -> Any:
        over = self.waiting[stream] = trio.Event()
        await over.wait()
        del self.waiting[stream]
        raise Broken("handshake_timeout", "no TLS handshake")

    async def let_go(self, *streams: Stream) -> None:
        for stream in streams:
            self.waiting[stream].set()
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Door, Lines, Metrics]]:
    door, lines, metrics, stopping = Door(), Lines(), Metrics(), trio.Event()
    listener = Listener(lines, handshakes=HANDSHAKES, metrics=metrics)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            await listener.serve([door], stopping=stopping, grace=0, task_status=task_status)  # type: ignore[list-item]

        await nursery.start(serve)
        yield door, lines, metrics
        stopping.set()


def refused(metrics: Metrics) -> int:
    start = 'praxis_p2p_connections_refused_total{reason="handshakes"} '
    return sum(int(line.removeprefix(start)) for line in metrics.render().splitlines() if line.startswith(start))


def unknown(metrics: Metrics) -> bool:
    return "praxis_p2p_unauthenticated_lines 0\n" not in metrics.render()


@pytest.mark.parametrize("source", ["192.0.2.7", "2001:db8::7"])
async def test_one_address_has_few_lines_that_are_unknown_and_others_have_theirs(source: str) -> None:
    async with listening() as (door, lines, metrics):
        taken = await door.knock(source, MAX_PER_SOURCE)
        assert not any(stream.closed for stream in taken)
        (more,) = await door.knock(source)
        assert more.closed
        assert refused(metrics) == 1
        (neighbour,) = await door.knock("192.0.2.8")
        assert neighbour in lines.waiting
        assert not neighbour.closed

        await lines.let_go(taken[0])
        (again,) = await door.knock(source)
        assert again in lines.waiting
        (more,) = await door.knock(source)
        assert more.closed
        assert refused(metrics) == 2

        await lines.let_go(*list(lines.waiting))
        assert not unknown(metrics)
        assert not any(stream.closed for stream in (await door.knock(source, MAX_PER_SOURCE)))


async def test_loopback_has_as_many_as_there_are_and_all_together_no_more() -> None:
    async with listening() as (door, _, metrics):
        assert not any(stream.closed for stream in await door.knock("127.0.0.1", MAX_PER_SOURCE + 1))
        rest = HANDSHAKES - MAX_PER_SOURCE - 1
        assert not any(stream.closed for stream in await door.knock("::1", rest))
        assert unknown(metrics)
        for source in ("127.0.0.1", "192.0.2.7"):
            (more,) = await door.knock(source)
            assert more.closed
        assert refused(metrics) == 2
