"""What strangers and broken members do to the P2P listener. Each row has its reason in a counter, costs only the one
who did it, and a good call runs beside it; see `tests.support.siege`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from itertools import repeat
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from praxis.net.tls import Broken, TlsPipe
from praxis.peers import line, lines
from praxis.peers.identity import Identity
from praxis.peers.keyring import NetworkKey
from praxis.wire import frames
from praxis.wire.frames import HEAD, FrameReader, encode
from praxis.wire.messages import dumps
from tests.support.siege import (
    LINES,
    PATIENCE,
    ROOM,
    UNKNOWN,
    Siege,
    besieged,
    ended,
    hello,
    member,
    refused,
    until_closed,
)

CROWD = 16
"""Connections of one kind at once: below `p2p.limits.handshakes`, enough for what each leaves behind to show."""
FLOOD = 1024
"""Pieces of 64 KiB that are sent after the one that is too much: 64 MiB, eight times what memory may grow by."""
GREETING = 20.0
"""Seconds for a greeting where the clock is turned by hand, instead of five: enough for a call on a busy machine."""
REQUEST = encode(frames.REQUEST, 1, b'{"m":"card.get","p":{}}')


def whole(*parts: bytes) -> tuple[bytes, bytes]:
    """All but the last byte, and that."""
    data = b"".join(parts)
    return data[:-1], data[-1:]


BODY = encode(frames.REQUEST, 1, dumps({"m": "x", "b": 10**9}))
DATA = encode(frames.DATA, 1, bytes(65536))


@pytest.mark.parametrize(
    ("first", "last", "counter"),
    [
        pytest.param(*whole(HEAD.pack(1 << 30, 2, 0, 0, 1)), ended("frame_size"), id="1 GiB length"),
        pytest.param(*whole(encode(99, 1)), ended("frame_type"), id="unknown type"),
        pytest.param(*whole(encode(frames.HELLO, 0, b"{}")), ended("hello"), id="second HELLO"),
        pytest.param(*whole(encode(frames.REQUEST, 1, b"{")), ended("json"), id="broken JSON"),
        pytest.param(*whole(encode(frames.REQUEST, 2, b'{"m":"x"}')), ended("stream"), id="our stream"),
        pytest.param(DATA[:8], DATA[8:], ended("credit"), id="stray DATA"),  # refused as soon as its head is there
        pytest.param(BODY + DATA * 15, DATA, ended("credit"), id="unbounded DATA"),
        pytest.param(
            b"".join(encode(frames.REQUEST, 2 * i + 1, b'{"m":"x","b":70000}') for i in range(8)),
            encode(frames.REQUEST, 17, b'{"m":"x","b":70000}'),
            ended("bodies"),
            id="too many bodies",
        ),
    ],
)
async def test_a_member_that_breaks_the_protocol_loses_its_line_and_is_told_why(
    tmp_path: Path, first: bytes, last: bytes, counter: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with besieged(tmp_path) as it:
        with closing(await it.greet(member(tmp_path))) as pipe:
            await pipe.send(first)
            await it.good_call(beside=LINES, count=2)
            assert it.counted(counter) == 0
            with pytest.raises(Broken):
                for piece in (last, *repeat(DATA, FLOOD)):
                    await pipe.send(piece)
            await it.good_call()
            got = await until_closed(pipe)
        assert any(frame.type == frames.GOAWAY and b"protocol error" in frame.payload for frame in got)
        await it.until_counted(counter)
    assert "Traceback" not in caplog.text


@asynccontextmanager
async def members_lines(it: Siege, evil: Identity) -> AsyncIterator[list[TlsPipe]]:
    """After their handshake, and not greeted."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(await it.authenticate(evil))) for _ in range(CROWD)]


@pytest.mark.parametrize("reason", ["before_hello", "identity"])
async def test_before_hello_nothing_is_answered_and_no_member_passes_for_another(tmp_path: Path, reason: str) -> None:
    evil = member(tmp_path)
    sent = {"before_hello": REQUEST, "identity": hello(evil, "px" + "a" * 52)}[reason]
    async with besieged(tmp_path) as it, members_lines(it, evil) as pipes:
        for pipe in pipes:
            await pipe.send(sent[:-1])
        await it.good_call(beside=LINES, count=1 + CROWD)
        for pipe in pipes:
            await pipe.send(sent[-1:])
        await it.good_call()
        for pipe in pipes:
            assert not any(frame.type == frames.RESPONSE for frame in await until_closed(pipe))
        await it.until_counted(refused(reason), CROWD)


async def test_memory_that_is_taken_and_given_back_would_show(tmp_path: Path) -> None:
    """Of the siege itself."""
    grew = pytest.RaisesExc(AssertionError, match="memory grew by")
    with pytest.RaisesGroup(grew, flatten_subgroups=True, allow_unwrapped=True):
        async with besieged(tmp_path) as it:
            buffered = b"x" * (2 * ROOM)
            del buffered
            await it.good_call()


# Those that do not get through the handshake


@asynccontextmanager
async def connections(it: Siege, count: int = CROWD) -> AsyncIterator[list[trio.SocketStream]]:
    """Open, and not a word said."""
    streams: list[trio.SocketStream] = []
    try:
        for _ in range(count):
            streams.append(await it.connect())
        yield streams
    finally:
        for stream in streams:
            stream.socket.close()


async def together(attack: Callable[[trio.SocketStream], Awaitable[None]], streams: list[trio.SocketStream]) -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(attack, stream)


def _bare(change: Callable[[ssl.SSLContext], object]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["praxis/1"])
    change(context)
    return context


def _stranger(folder: Path) -> ssl.SSLContext:
    member(folder, NetworkKey.generate())
    return _bare(lambda c: c.load_cert_chain(folder / "evil" / "identity.crt", folder / "evil" / "identity.key"))


def _nobody(folder: Path) -> ssl.SSLContext:
    return _bare(lambda context: None)


def _old(folder: Path) -> ssl.SSLContext:
    return _bare(lambda context: setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_2))


def _other_protocol(folder: Path) -> ssl.SSLContext:
    context = member(folder).client
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize(
    ("make", "said", "counter"),
    [
        pytest.param(_stranger, "unknown ca", refused("certificate"), id="wrong CA"),
        pytest.param(_nobody, "certificate required", refused("certificate"), id="no certificate"),
        pytest.param(_old, "protocol version", refused("handshake"), id="TLS 1.2"),
        pytest.param(_other_protocol, "", refused("alpn"), id="other protocol"),
    ],
)
async def test_who_is_no_member_is_refused_in_the_handshake_and_told_by_tls(
    tmp_path: Path, make: Callable[[Path], ssl.SSLContext], said: str, counter: str
) -> None:
    context = make(tmp_path)
    stack = ExitStack()

    async def attack(stream: trio.SocketStream) -> None:
        pipe = stack.enter_context(closing(TlsPipe(stream, context, server_side=False)))
        if not said:
            await pipe.handshake()
            assert await pipe.receive() == b""
            return
        with pytest.raises(Broken, match=said):
            await pipe.handshake()
            await pipe.receive()

    async with besieged(tmp_path) as it, connections(it) as streams:
        await it.good_call(beside=UNKNOWN, count=CROWD)
        with stack:
            await together(attack, streams)
            await it.good_call()
            await it.until_counted(counter, CROWD)


async def test_an_agent_of_another_network_is_not_dialed_into_either(tmp_path: Path) -> None:
    async with besieged(tmp_path) as it:
        with pytest.raises(Broken, match="certificate verify failed"):
            await it.authenticate(member(tmp_path, NetworkKey.generate()))


async def _http(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


async def _garbage(stream: trio.SocketStream) -> None:
    """Megabytes of it; nobody takes them."""
    with pytest.raises(trio.BrokenResourceError):
        for _ in range(FLOOD // CROWD):
            await stream.send_all(bytes(range(256)) * 256)


async def _cut(stream: trio.SocketStream) -> None:
    await stream.send_all(b"\x16\x03\x01\x02\x00\x01")
    await stream.send_eof()


@pytest.mark.parametrize(
    ("attack", "reason"), [(_http, "handshake"), (_garbage, "handshake"), (_cut, "cut")], ids=["HTTP", "garbage", "cut"]
)
async def test_what_is_no_tls(
    tmp_path: Path, attack: Callable[[trio.SocketStream], Awaitable[None]], reason: str
) -> None:
    async with besieged(tmp_path) as it, connections(it) as streams:
        await it.good_call(beside=UNKNOWN, count=CROWD)
        await together(attack, streams)
        await it.good_call()
        await it.until_counted(refused(reason), CROWD)


# Those that take their time


async def test_half_open_connections_are_bounded_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned_clock: MockClock
) -> None:
    turned_away = 'praxis_p2p_connections_refused_total{reason="handshakes"}'
    async with besieged(tmp_path) as it:
        monkeypatch.setattr(line, "GREETING", GREETING)
        async with connections(it, 64 + CROWD) as streams:
            await it.until_counted(turned_away, CROWD)
            await it.good_call(beside=UNKNOWN, count=64)
            assert (it.value(UNKNOWN), it.counted(turned_away)) == (64, CROWD)
            await it.pass_time(GREETING)
            await together(_read_the_end, streams)
            assert it.counted(refused("handshake_timeout")) == 64
            with closing(await it.greet(member(tmp_path))):  # there is room again
                await it.until(lambda: it.value(LINES) == 2)


async def _read_the_end(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


async def test_members_that_never_greet_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned_clock: MockClock
) -> None:
    async with besieged(tmp_path) as it:
        monkeypatch.setattr(lines, "GREETING", GREETING)
        async with members_lines(it, member(tmp_path)) as pipes:
            await it.good_call(beside=LINES, count=1 + CROWD)
            assert it.counted(refused("hello_timeout")) == 0
            await it.pass_time(GREETING)
            for pipe in pipes:
                await until_closed(pipe)
            await it.until_counted(refused("hello_timeout"), CROWD)


async def test_a_member_that_answers_nothing_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned_clock: MockClock
) -> None:
    async with besieged(tmp_path) as it:
        monkeypatch.setattr(lines, "INTRODUCTION", GREETING / 2)  # before its silence would count
        with closing(await it.greet(member(tmp_path))) as pipe:
            await it.good_call(beside=LINES, count=2)
            await it.pass_time(GREETING)
            await until_closed(pipe)
        await it.until_counted(ended("introduction"))


async def test_a_member_that_answers_nonsense_has_no_tools(tmp_path: Path) -> None:
    async with besieged(tmp_path) as it:
        with closing(await it.greet(member(tmp_path))) as pipe:
            asked = await _asked(pipe)
            await it.good_call(beside=LINES, count=2)
            await pipe.send(encode(frames.RESPONSE, asked.stream, b'{"name": 7}'))
            await it.good_call()
            await until_closed(pipe)
        await it.until_counted(ended("introduction"))
        assert not any(owner.name == "evil" for owner in it.agent.agent.peers.owners())


async def _asked(pipe: TlsPipe) -> frames.Frame:
    reader = FrameReader()
    with trio.fail_after(PATIENCE):
        while True:
            for frame in reader.receive(await pipe.receive()):
                if frame.type == frames.REQUEST:
                    return frame


async def test_a_member_that_is_cut_in_a_frame_leaves_nothing(tmp_path: Path) -> None:
    async with besieged(tmp_path) as it:
        with closing(await it.greet(member(tmp_path))) as pipe:
            await pipe.send(encode(frames.REQUEST, 1, b'{"m":"' + bytes(60_000))[:-3])
            await it.good_call(beside=LINES, count=2)
        await it.until(lambda: len(it.agent.agent.peers.links()) == 1)
        await it.until_counted(ended("closed"))
