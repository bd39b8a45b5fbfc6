"""An agent under attack. A good peer calls its tools all the while, and what the attack costs the process is measured.

Every row of the hostile table is a siege: `besieged` makes one, `good_call` is a call that begins and ends while the
attack goes on, `until_counted` waits for the counter that names the attack. The end of the siege asserts that a call
still succeeds, that no line of the attacker is left, and that memory never grew by more than `room`.
"""

from __future__ import annotations

import gc
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
from trio.testing import MockClock

from praxis.access.principal import Principal
from praxis.config.schema import Config
from praxis.dev import RunningAgent
from praxis.net.tls import Broken, TlsPipe
from praxis.peers import line
from praxis.peers.identity import Identity, load_identity
from praxis.peers.keyring import NetworkKey
from praxis.wire import frames
from praxis.wire.frames import FrameReader, encode
from praxis.wire.messages import Hello
from tests.support.network import connected

ANN = Principal("local", "ann", "admin")
KEY = NetworkKey(bytes(range(32)))
PATIENCE = 30.0
"""Seconds until something that does not happen is a failure: the machine may have a lot else to do."""
ROOM = 8 * 1024 * 1024
"""Bytes by which the process may grow at most: victim, good peer and attacker are all in it. TLS takes some 50 KiB for
each end of a line, a read of the socket may bring 256 KiB, and one large message is 4 MiB."""
WARM = 20
"""Calls before memory is measured: the first ones load and cache what all others use."""
SLICE = 5.0
"""Seconds by which the clock is turned at once: well below what makes a silent line of the good peer suspect."""
UNKNOWN = "praxis_p2p_unauthenticated_lines"
LINES = "praxis_p2p_open_lines"


def ended(reason: str) -> str:
    return f'praxis_p2p_lines_ended_total{{reason="{reason}"}}'


def refused(reason: str) -> str:
    return f'praxis_p2p_handshakes_total{{result="refused",reason="{reason}"}}'


def peak() -> int:
    """The most bytes that this process has had in memory since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> int:
    """Measure from now on; returns the bytes in memory."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class Siege:
    """`agent` is the one under attack."""

    def __init__(self, agent: RunningAgent, good: RunningAgent) -> None:
        self.agent, self.good = agent, good
        self._before: dict[str, float] = {}
        self._begun = self._ended = 0

    # -- what it shows ------------------------------------------------------------------------------

    def _samples(self) -> dict[str, float]:
        page = self.agent.agent.metrics.render()
        return {
            name: float(value) for name, value in re.findall(r"^(praxis_\w+(?:\{.*\})?) (\S+)$", page, re.MULTILINE)
        }

    def value(self, sample: str) -> float:
        """What a gauge shows."""
        return self._samples().get(sample, 0.0)

    def counted(self, sample: str) -> int:
        """By how much a counter has grown since the siege began."""
        return int(self.value(sample) - self._before.get(sample, 0.0))

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - a number tells nobody
                await trio.sleep(0.005)

    async def until_counted(self, sample: str, times: int = 1) -> None:
        await self.until(lambda: self.counted(sample) >= times)

    # -- the good peer ------------------------------------------------------------------------------

    async def good_call(self, beside: str = "", count: int = 1) -> None:
        """A call that begins from now on, and ends. The gauge `beside` shows `count` or more before and after: the
        attacker's connections were open all the while."""
        if beside:
            await self.until(lambda: self.value(beside) >= count)
        last = self._begun
        await self.until(lambda: self._ended > last)
        if beside:
            assert self.value(beside) >= count, "the attack was over before the call"

    async def pass_time(self, seconds: float) -> None:
        """Turn the clock on, a little at a time, with a good call after each. The test has a `turned_clock`."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        while seconds > 0:
            clock.jump(min(SLICE, seconds))
            seconds -= SLICE
            await self.good_call()

    async def _call(self) -> None:
        self._begun += 1
        run = await self.good.agent.executor.execute(f"CALL {self.agent.addresses.agent}:list_files", ANN)
        assert run.state == "succeeded", run.error
        self._ended += 1

    async def _keep_calling(self) -> None:
        while True:
            await self._call()
            await trio.sleep(0.005)

    # -- the attacker -------------------------------------------------------------------------------

    async def connect(self) -> trio.SocketStream:
        assert self.agent.addresses.p2p is not None
        return await trio.open_tcp_stream(*self.agent.addresses.p2p)

    async def authenticate(self, identity: Identity) -> TlsPipe:
        """A line after the handshake and before the greeting."""
        pipe, _ = await line.authenticate(await self.connect(), identity, dialer=True)
        return pipe

    async def greet(self, identity: Identity) -> TlsPipe:
        """A member's line."""
        pipe = await self.authenticate(identity)
        await pipe.send(hello(identity))
        return pipe


@asynccontextmanager
async def siege(agent: RunningAgent, good: RunningAgent, *, room: int = ROOM) -> AsyncIterator[Siege]:
    """`agent` is attacked, `good` has a line to it and calls its tools."""
    it = Siege(agent, good)
    for _ in range(WARM):
        await it._call()
    it._before = it._samples()
    lines = it.value(LINES)
    before = forget_peak()
    async with trio.open_nursery() as calling:
        calling.start_soon(it._keep_calling)
        yield it
        await it.until(lambda: (it.value(UNKNOWN), it.value(LINES)) == (0, lines))
        await it.good_call()
        calling.cancel_scope.cancel()
    grown = peak() - before
    assert grown < room, f"memory grew by {grown / 2**20:.1f} MiB, more than {room / 2**20:g} MiB"


@asynccontextmanager
async def besieged(folder: Path, *, room: int = ROOM) -> AsyncIterator[Siege]:
    """One agent that is attacked and a good one, of the network with `KEY`."""

    def with_key(config: Config) -> Config:
        security = attrs.evolve(config.p2p.security, network_keys=(KEY.text,))
        return attrs.evolve(config, p2p=attrs.evolve(config.p2p, security=security))

    async with connected(folder, change=with_key) as (agent, good), siege(agent, good, room=room) as it:
        yield it


def member(folder: Path, key: NetworkKey = KEY) -> Identity:
    """Another member of that network; with another key, a stranger."""
    return load_identity(name="evil", keys=(key,), rendezvous="dev", state_dir=folder / "evil")


def hello(identity: Identity, peer_id: str = "") -> bytes:
    greeting = Hello(id=peer_id or identity.peer_id, name="evil", boot=1, agent="evil/1")
    return encode(frames.HELLO, 0, greeting.encode())


async def until_closed(pipe: TlsPipe) -> list[frames.Frame]:
    """Everything that the agent sends until it closes the line."""
    reader, got = FrameReader(), []
    with trio.fail_after(PATIENCE):
        try:
            while data := await pipe.receive():
                got += reader.receive(data)
        except Broken:
            pass
    pipe.close()
    return got
