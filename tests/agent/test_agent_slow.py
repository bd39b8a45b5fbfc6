"""Slow loris: connections that always say a little more and never enough. Each row has its reason in a counter, costs
bounded memory, and a call of a good member runs while they are open."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio

from praxis.config.schema import Config
from praxis.dev import RunningAgent
from praxis.net.tls import Broken
from praxis.peers import line, lines
from praxis.peers.identity import Identity, load_identity
from praxis.peers.keyring import NetworkKey
from praxis.wire import frames
from praxis.wire.frames import encode
from praxis.wire.messages import Hello
from tests.agent.test_agent_network import ANN
from tests.support.network import PATIENCE, connected

KEY = NetworkKey(bytes(range(32)))
CROWD = 20
"""Lines at once: below `p2p.limits.handshakes`, so that each of them gets its time."""
GREETING = 3.0
"""Seconds for a greeting here, instead of ten."""
DRIP = 0.05
"""Seconds between two bytes: much less than any pause that could count as silence."""
ROOM = 8 * 1024 * 1024
"""Bytes by which the process may grow, the attackers' ends among them. TLS takes some 50 KiB for each end of a line,
and a read of the socket may bring 256 KiB: there is room for the former, not for buffers like the latter."""


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted(agent: RunningAgent, reason: str) -> int:
    sample = f'praxis_p2p_handshakes_total{{result="refused",reason="{reason}"}}'
    found = re.search(rf"^{re.escape(sample)} (\d+)", agent.agent.metrics.render(), re.MULTILINE)
    return int(found[1]) if found else 0


def with_key(config: Config) -> Config:
    security = attrs.evolve(config.p2p.security, network_keys=(KEY.text,))
    return attrs.evolve(config, p2p=attrs.evolve(config.p2p, security=security))


@asynccontextmanager
async def drip_hello(stream: trio.SocketStream, evil: Identity) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """After a handshake as it should be, one byte of the HELLO each time. Raises Broken when the line is cut."""
    pipe, _ = await line.authenticate(stream, evil, dialer=True)
    hello = encode(frames.HELLO, 0, Hello(id=evil.peer_id, name="evil", boot=1, agent="evil/1").encode())
    rest = list(hello[:-1])  # all but the end

    async def drip() -> None:
        await pipe.send(bytes([rest.pop(0)]))

    try:
        yield drip
    finally:
        pipe.close()


@asynccontextmanager
async def drip_client_hello(stream: trio.SocketStream, evil: Identity) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """One byte of a true ClientHello each time. Raises trio.BrokenResourceError when the line is cut."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        evil.client.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    rest = list(outgoing.read()[:-1])

    async def drip() -> None:
        await stream.send_all(bytes([rest.pop(0)]))

    async with stream:
        yield drip


@pytest.mark.parametrize(
    ("attack", "reason"),
    [(drip_client_hello, "handshake_timeout"), (drip_hello, "hello_timeout")],
    ids=["ClientHello", "HELLO"],
)
async def test_who_always_says_a_little_is_let_go_at_the_end_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: Callable[..., object], reason: str
) -> None:
    monkeypatch.setattr(line, "GREETING", GREETING)
    monkeypatch.setattr(lines, "GREETING", GREETING)
    evil = load_identity(name="evil", keys=(KEY,), rendezvous="dev", state_dir=tmp_path / "evil")
    async with connected(tmp_path, change=with_key) as (victim, good):
        dripping, cut = 0, 0

        async def keep_dripping() -> None:
            nonlocal dripping, cut
            assert victim.addresses.p2p is not None
            stream = await trio.open_tcp_stream(*victim.addresses.p2p)
            async with attack(stream, evil) as drip:  # type: ignore[attr-defined]
                await drip()
                dripping += 1
                try:
                    while True:
                        await trio.sleep(DRIP)
                        await drip()
                except (Broken, trio.BrokenResourceError):
                    cut += 1
                finally:
                    dripping -= 1

        before = rss()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as attackers:
                for _ in range(CROWD):
                    attackers.start_soon(keep_dripping)
                while dripping < CROWD:  # noqa: ASYNC110 - what others count
                    await trio.sleep(0.01)
                assert rss() - before < ROOM
                run = await good.agent.executor.execute("CALL agent-1:list_files", ANN)
                assert run.state == "succeeded", run.error
                assert dripping == CROWD, "they were all there during the call"
                assert counted(victim, reason) == 0
        assert cut == CROWD
        assert counted(victim, reason) == CROWD
        assert rss() - before < ROOM
        assert len(victim.agent.peers.links()) == 1
