"""Slow loris: connections that always say a little more and never enough. Each row has its reason in a counter, costs
bounded memory, and calls of a good member run while they are open."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from praxis.net.tls import Broken
from praxis.peers import line, lines
from praxis.peers.identity import Identity
from tests.support.siege import LINES, UNKNOWN, Siege, besieged, hello, member, refused

CROWD = 20
"""Lines at once: below `p2p.limits.handshakes`, so that each of them gets its time."""
GREETING = 30.0
"""Seconds for a greeting here, instead of five: the clock is turned by hand, and goes on by itself meanwhile."""
DRIP = 1.0
"""Seconds between two bytes: much less than any pause that could count as silence."""
DRIPS = 15
"""Bytes that each says before its time is over; there is as much time left then for the calls beside them."""

Drip = Callable[[], Awaitable[None]]


@asynccontextmanager
async def drip_hello(it: Siege, evil: Identity) -> AsyncIterator[Drip]:
    """After a handshake as it should be, one byte of the HELLO each time. Raises Broken when the line is cut."""
    rest = list(hello(evil)[:-1])  # all but the end
    with closing(await it.authenticate(evil)) as pipe:

        async def drip() -> None:
            await pipe.send(bytes([rest.pop(0)]))

        yield drip


@asynccontextmanager
async def drip_client_hello(it: Siege, evil: Identity) -> AsyncIterator[Drip]:
    """One byte of a true ClientHello each time. Raises trio.BrokenResourceError when the line is cut."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        evil.client.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    rest = list(outgoing.read()[:-1])
    async with await it.connect() as stream:

        async def drip() -> None:
            await stream.send_all(bytes([rest.pop(0)]))

        yield drip


@pytest.mark.parametrize(
    ("attack", "reason", "gauge", "others"),
    [(drip_client_hello, "handshake_timeout", UNKNOWN, 0), (drip_hello, "hello_timeout", LINES, 1)],
    ids=["ClientHello", "HELLO"],
)
async def test_who_always_says_a_little_is_let_go_at_the_end_of_its_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    turned_clock: MockClock,
    attack: Callable[[Siege, Identity], AbstractAsyncContextManager[Drip]],
    reason: str,
    gauge: str,
    others: int,
) -> None:
    evil = member(tmp_path)
    async with besieged(tmp_path) as it:
        monkeypatch.setattr(line, "GREETING", GREETING)
        monkeypatch.setattr(lines, "GREETING", GREETING)
        async with AsyncExitStack() as stack:
            crowd: list[Drip] = [await stack.enter_async_context(attack(it, evil)) for _ in range(CROWD)]
            for _ in range(DRIPS):
                for drip in crowd:
                    await drip()
                await it.pass_time(DRIP)
            await it.good_call(beside=gauge, count=others + CROWD)
            assert it.counted(refused(reason)) == 0
            for _ in range(DRIPS):
                for drip in crowd:
                    with suppress(Broken, trio.BrokenResourceError):
                        await drip()
                await it.pass_time(DRIP)
            await it.until_counted(refused(reason), CROWD)
            assert it.counted(refused(reason)) == CROWD
            await it.until(lambda: it.value(gauge) == others)
            for drip in crowd:
                with pytest.raises((Broken, trio.BrokenResourceError)):
                    for _ in range(3):
                        await drip()
        assert len(it.agent.agent.peers.links()) == 1
