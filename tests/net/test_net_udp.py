"""Real sockets on loopback: what is tested here is what the kernel does with them."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest
import trio
import trio.testing

from praxis.dev import free_discovery_port
from praxis.net import udp
from praxis.net.families import IPv4
from praxis.net.udp import JOIN_INTERVAL, Datagram, SegmentSockets

GROUP = "239.255.80.88"


class Inbox:
    """What one process hears."""

    def __init__(self) -> None:
        self._queue: list[Datagram] = []
        self._more = trio.Event()

    def put(self, datagram: Datagram) -> None:
        self._queue.append(datagram)
        self._more.set()

    def __len__(self) -> int:
        return len(self._queue)

    async def take(self, count: int) -> list[Datagram]:
        """The next so many; fails when they do not come."""
        with trio.fail_after(5):
            while len(self._queue) < count:
                self._more = trio.Event()
                await self._more.wait()
        taken, self._queue = self._queue[:count], self._queue[count:]
        return taken


@asynccontextmanager
async def listening(
    port: int, *, interfaces: tuple[str, ...] = ("lo",), multicast: bool = True, broadcast: bool = True
) -> AsyncIterator[tuple[SegmentSockets, Inbox]]:
    sockets = SegmentSockets(port, [IPv4(GROUP, multicast, broadcast)], interfaces=interfaces)
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        await nursery.start(sockets.listen, inbox.put, lambda: None)
        yield sockets, inbox
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("multicast", "broadcast"), [(True, False), (False, True), (True, True)])
async def test_all_who_share_the_port_hear_what_goes_to_everybody(multicast: bool, broadcast: bool) -> None:
    port, ways = free_discovery_port(), multicast + broadcast
    async with (
        listening(port, multicast=multicast, broadcast=broadcast) as (a, at_a),
        listening(port, multicast=multicast, broadcast=broadcast) as (_, at_b),
    ):
        sent = await a.send_everywhere(b"hello")
        assert (sent.paths, sent.errors) == (ways, ())
        for inbox in (at_a, at_b):
            for datagram in await inbox.take(ways):
                assert (datagram.data, datagram.host) == (b"hello", "127.0.0.1")
                assert datagram.port != port


async def test_an_answer_reaches_the_process_that_asked() -> None:
    port = free_discovery_port()
    async with listening(port, broadcast=False) as (a, at_a), listening(port, broadcast=False) as (b, at_b):
        for round in range(8):  # with one socket the kernel would give half of them to the other process
            await a.send_everywhere(b"question")
            [question] = await at_b.take(1)
            assert (await at_a.take(1))[0].data == b"question"
            assert await b.send_to(b"answer %d" % round, question.host, question.port)
            assert (await at_a.take(1))[0].data == b"answer %d" % round


async def test_only_the_named_interfaces_are_used_and_heard(caplog: pytest.LogCaptureFixture) -> None:
    port = free_discovery_port()
    async with (
        listening(port, interfaces=("no-such-one",)) as (deaf, at_deaf),
        listening(port, interfaces=("lo", "no-such-one")) as (hearing, at_hearing),
    ):
        assert (await deaf.send_everywhere(b"x")).paths == 0
        assert deaf.missing == hearing.missing == {"no-such-one"}
        assert (await hearing.send_everywhere(b"one")).paths == 2
        await at_hearing.take(2)
        await hearing.send_to(b"to one of us", "127.0.0.1", port)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not at_deaf
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all("no network interface no-such-one here; there are " in text and "lo" in text for text in warnings)


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        sockets = SegmentSockets(other.getsockname()[1], [IPv4(GROUP)], interfaces=("lo",))
        with pytest.raises(OSError, match=r"in use") as caught:
            await sockets.listen(lambda datagram: None, lambda: None)
        assert caught.value.errno == errno.EADDRINUSE


async def test_nothing_is_sent_before_and_after_listening() -> None:
    port = free_discovery_port()
    async with listening(port) as (sockets, inbox):
        assert await sockets.send_to(b"x", "127.0.0.1", port)
        await inbox.take(1)
    assert (await sockets.send_everywhere(b"x")).paths == 0
    assert not await sockets.send_to(b"x", "127.0.0.1", port)


async def test_listening_works_again_after_it_ended() -> None:
    port, inbox = free_discovery_port(), Inbox()
    sockets = SegmentSockets(port, [IPv4(GROUP)], interfaces=("lo",))
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(sockets.listen, inbox.put, lambda: None)
            assert (await sockets.send_everywhere(b"again")).paths == 2
            await inbox.take(2)
            nursery.cancel_scope.cancel()


class BrokenSocket:
    """Fails as a cable that was pulled."""

    async def sendmsg(self, *_: object) -> int:
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENETUNREACH, "Network is unreachable")


def sending_by(monkeypatch: pytest.MonkeyPatch, sockets: SegmentSockets, sock: object) -> None:
    (pair,) = sockets._pairs
    monkeypatch.setattr(pair.sender, "sendmsg", sock.sendmsg)  # type: ignore[attr-defined]
    monkeypatch.setattr(pair.sender, "sendto", sock.sendmsg)  # type: ignore[attr-defined]


async def test_a_failed_send_is_told_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(free_discovery_port()) as (sockets, _):
        sending_by(monkeypatch, sockets, BrokenSocket())
        sent = await sockets.send_everywhere(b"x")
        assert sent.paths == 0
        assert sent.errors == (
            f"lo to {GROUP}: Network is unreachable",
            "lo to 255.255.255.255: Network is unreachable",
        )
        assert not await sockets.send_to(b"x", "127.0.0.1", 9)


class StuckSocket:
    async def sendmsg(self, *_: object) -> NoReturn:
        await trio.sleep_forever()


async def test_a_send_that_finds_no_room_is_given_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with listening(free_discovery_port()) as (sockets, _):
        sending_by(monkeypatch, sockets, StuckSocket())
        started = trio.current_time()
        sent = await sockets.send_everywhere(b"x")
        assert (sent.paths, sent.errors) == (0, ("no room to send for 1 s",))
        assert trio.current_time() - started == pytest.approx(udp.SEND_PATIENCE)


async def test_a_new_interface_is_told_and_an_old_one_is_not(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    there = [(1, "lo")]
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(there))
    times: list[float] = []

    def tell() -> None:
        times.append(trio.current_time())

    sockets = SegmentSockets(free_discovery_port(), [IPv4(GROUP)])
    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        await nursery.start(sockets.listen, lambda datagram: None, tell)
        await trio.sleep(2.5 * JOIN_INTERVAL)
        assert times == []
        there.append((999_999, "vanishes0"))  # joining it fails, as on a link without multicast
        await trio.sleep(JOIN_INTERVAL)
        assert [time - started for time in times] == [pytest.approx(3 * JOIN_INTERVAL)]
        there.pop()
        await trio.sleep(2 * JOIN_INTERVAL)
        assert len(times) == 1
        nursery.cancel_scope.cancel()


async def test_interfaces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [(index, f"veth{index}") for index in range(udp.MAX_INTERFACES + 1_000_000, 1_000_000, -1)]
    monkeypatch.setattr(socket, "if_nameindex", lambda: [*crowd, (1, "lo")])
    async with listening(free_discovery_port(), interfaces=()) as (sockets, inbox):
        sent = await sockets.send_everywhere(b"x")
        assert sent.paths == 2
        assert len(sent.errors) == 2 * (udp.MAX_INTERFACES - 1)
        await inbox.take(2)
