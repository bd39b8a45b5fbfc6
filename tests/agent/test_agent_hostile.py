"""What strangers and broken members do to the P2P listener. Each row has its reason in a counter, costs only the one
who did it, and a good call runs beside it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from praxis.access.principal import Principal
from praxis.dev import RunningAgent, make_config, start
from praxis.model.peer import PeerId
from praxis.net.tls import Broken, TlsPipe
from praxis.peers import line
from praxis.peers.identity import Identity, load_identity
from praxis.peers.keyring import NetworkKey
from praxis.wire import frames
from praxis.wire.frames import HEAD, FrameReader, encode
from praxis.wire.messages import Hello, dumps
from tests.support.network import PATIENCE

ANN = Principal("local", "ann", "admin")
KEY = NetworkKey.generate()


GOOD_CALL = 30.0
"""Seconds for a good call beside an attack to begin and end: the machine may have a lot else to do."""


@asynccontextmanager
async def victim(folder: Path, port: int) -> AsyncIterator[RunningAgent]:
    """One agent, and a good call that is made all the while and must never fail.

    The attack is over when one has begun and ended after its first word, and another one after its last.
    """
    async with trio.open_nursery() as nursery:
        config = make_config("victim", key=KEY.text, discovery_port=port, folder=folder)
        agent = await start(nursery, config, folder)
        good = await start(nursery, make_config("good", key=KEY.text, discovery_port=port, folder=folder), folder)
        with trio.fail_after(PATIENCE):
            await good.agent.peers.wait_change(lambda: any(o.tools for o in good.agent.peers.owners()))
        begun = ended = 0

        async def call() -> None:
            nonlocal begun, ended
            while True:
                begun += 1
                run = await good.agent.executor.execute("CALL victim:list_files", ANN)
                assert run.state == "succeeded", run.error
                ended += 1
                await trio.sleep(0.005)

        async def one_more() -> None:
            """Until a call has ended that begins from now on: they are made one after the other."""
            last = begun
            with trio.fail_after(GOOD_CALL):
                while ended <= last:  # noqa: ASYNC110 - a condition of two agents
                    await trio.sleep(0.005)

        async with trio.open_nursery() as calling:
            calling.start_soon(call)
            async with trio.open_nursery() as beside:
                beside.start_soon(one_more)
                yield agent
            await one_more()
            calling.cancel_scope.cancel()
        agent.stopping.set()
        good.stopping.set()


def member(folder: Path, key: NetworkKey = KEY) -> Identity:
    return load_identity(name="evil", keys=(key,), rendezvous="dev", state_dir=folder / "evil")


async def connect(agent: RunningAgent) -> trio.SocketStream:
    assert agent.addresses.p2p is not None
    return await trio.open_tcp_stream(*agent.addresses.p2p)


async def greet(agent: RunningAgent, identity: Identity, peer_id: PeerId | None = None) -> TlsPipe:
    """A member's line, greeted."""
    pipe, _ = await line.authenticate(await connect(agent), identity, dialer=True)
    hello = Hello(id=peer_id or identity.peer_id, name="evil", boot=1, agent="evil/1")
    await pipe.send(encode(frames.HELLO, 0, hello.encode()))
    return pipe


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


async def until_counted(agent: RunningAgent, sample: str) -> None:
    with trio.fail_after(PATIENCE):
        while f"{sample} 1" not in agent.agent.metrics.render():  # noqa: ASYNC110 - a counter tells nobody
            await trio.sleep(0.01)


def ended(reason: str) -> str:
    return f'praxis_p2p_lines_ended_total{{reason="{reason}"}}'


def refused(reason: str) -> str:
    return f'praxis_p2p_handshakes_total{{result="refused",reason="{reason}"}}'


REQUEST = encode(frames.REQUEST, 1, b'{"m":"card.get","p":{}}')


@pytest.mark.parametrize(
    ("sent", "counter"),
    [
        pytest.param(HEAD.pack(1 << 30, 2, 0, 0, 1), ended("frame_size"), id="1 GiB length"),
        pytest.param(encode(99, 1), ended("frame_type"), id="unknown type"),
        pytest.param(encode(frames.HELLO, 0, b"{}"), ended("hello"), id="second HELLO"),
        pytest.param(encode(frames.REQUEST, 1, b"{"), ended("json"), id="broken JSON"),
        pytest.param(encode(frames.REQUEST, 2, b'{"m":"x"}'), ended("stream"), id="our stream"),
        pytest.param(encode(frames.DATA, 1, bytes(1000)) * 3, ended("credit"), id="stray DATA"),
        pytest.param(
            encode(frames.REQUEST, 1, dumps({"m": "x", "b": 10**9})) + encode(frames.DATA, 1, bytes(65536)) * 17,
            ended("credit"),
            id="unbounded DATA",
        ),
        pytest.param(
            b"".join(encode(frames.REQUEST, 2 * i + 1, b'{"m":"x","b":70000}') for i in range(9)),
            ended("bodies"),
            id="too many bodies",
        ),
    ],
)
async def test_a_member_that_breaks_the_protocol_loses_its_line_and_is_told_why(
    tmp_path: Path, sent: bytes, counter: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with victim(tmp_path, 60_510) as agent:
        pipe = await greet(agent, member(tmp_path))
        await pipe.send(sent)
        got = await until_closed(pipe)
        assert any(frame.type == frames.GOAWAY and b"protocol error" in frame.payload for frame in got)
        await until_counted(agent, counter)
    assert "Traceback" not in caplog.text


async def test_before_hello_nothing_is_answered(tmp_path: Path) -> None:
    async with victim(tmp_path, 60_511) as agent:
        pipe, _ = await line.authenticate(await connect(agent), member(tmp_path), dialer=True)
        await pipe.send(REQUEST)
        got = await until_closed(pipe)
        assert not any(frame.type == frames.RESPONSE for frame in got)
        await until_counted(agent, refused("before_hello"))


async def test_a_member_cannot_pass_for_another(tmp_path: Path) -> None:
    async with victim(tmp_path, 60_512) as agent:
        pipe = await greet(agent, member(tmp_path), peer_id="px" + "a" * 52)
        await until_closed(pipe)
        await until_counted(agent, refused("identity"))


async def test_a_stranger_is_refused_in_the_handshake_and_told_by_tls(tmp_path: Path) -> None:
    async with victim(tmp_path, 60_513) as agent:
        stranger = member(tmp_path, NetworkKey.generate())
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        trusting.set_alpn_protocols(["praxis/1"])
        trusting.load_cert_chain(tmp_path / "evil" / "identity.crt", tmp_path / "evil" / "identity.key")
        pipe = TlsPipe(await connect(agent), trusting, server_side=False)
        await pipe.handshake()
        with pytest.raises(Broken, match="unknown ca"):
            await pipe.receive()
        pipe.close()
        await until_counted(agent, refused("certificate"))
        with pytest.raises(Broken, match="certificate verify failed"):
            await line.authenticate(await connect(agent), stranger, dialer=True)


def _bare(change: Callable[[ssl.SSLContext], None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    change(context)
    return context


def _old(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("change", "said", "counted"),
    [(lambda context: None, "certificate required", "certificate"), (_old, "protocol version", "handshake")],
    ids=["no certificate", "TLS 1.2"],
)
async def test_no_certificate_and_old_tls(
    tmp_path: Path, change: Callable[[ssl.SSLContext], None], said: str, counted: str
) -> None:
    async with victim(tmp_path, 60_514) as agent:
        pipe = TlsPipe(await connect(agent), _bare(change), server_side=False)
        with pytest.raises(Broken, match=said):
            await pipe.handshake()
            await pipe.receive()
        pipe.close()
        await until_counted(agent, refused(counted))


async def test_another_protocol_inside_tls(tmp_path: Path) -> None:
    async with victim(tmp_path, 60_515) as agent:
        identity = member(tmp_path)
        identity.client.set_alpn_protocols(["h2"])
        pipe = TlsPipe(await connect(agent), identity.client, server_side=False)
        await pipe.handshake()
        await until_closed(pipe)
        await until_counted(agent, refused("alpn"))


async def _http(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


async def _garbage(stream: trio.SocketStream) -> None:
    await stream.send_all(bytes(range(256)) * 64)


async def _cut(stream: trio.SocketStream) -> None:
    await stream.send_all(b"\x16\x03\x01\x02\x00\x01")
    await stream.aclose()


@pytest.mark.parametrize(
    ("attack", "reason"), [(_http, "handshake"), (_garbage, "handshake"), (_cut, "cut")], ids=["HTTP", "garbage", "cut"]
)
async def test_what_is_no_tls(
    tmp_path: Path, attack: Callable[[trio.SocketStream], Awaitable[None]], reason: str
) -> None:
    async with victim(tmp_path, 60_516) as agent:
        stream = await connect(agent)
        await attack(stream)
        await until_counted(agent, refused(reason))
        await stream.aclose()


async def test_half_open_connections_are_bounded_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "GREETING", 0.5)
    async with victim(tmp_path, 60_517) as agent:
        streams = [await connect(agent) for _ in range(80)]
        with trio.fail_after(PATIENCE):
            while 'praxis_p2p_connections_refused_total{reason="handshakes"}' not in agent.agent.metrics.render():  # noqa: ASYNC110
                await trio.sleep(0.01)
            for stream in streams:
                with trio.fail_after(5):
                    assert await _reads_the_end(stream)
        assert refused("handshake_timeout") in agent.agent.metrics.render()
        for stream in streams:
            await stream.aclose()


async def _reads_the_end(stream: trio.SocketStream) -> bool:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    return True


async def test_a_member_that_never_greets_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxis.peers.lines.GREETING", 0.3)
    async with victim(tmp_path, 60_518) as agent:
        pipe, _ = await line.authenticate(await connect(agent), member(tmp_path), dialer=True)
        await until_closed(pipe)
        await until_counted(agent, refused("hello_timeout"))


async def test_a_member_that_answers_nothing_or_nonsense_has_no_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxis.peers.lines.INTRODUCTION", 0.2)
    monkeypatch.setattr("praxis.peers.link.CANCEL_GRACE", 0.2)
    async with victim(tmp_path, 60_519) as agent:
        pipe = await greet(agent, member(tmp_path))
        await until_closed(pipe)
        await until_counted(agent, ended("introduction"))
        pipe = await greet(agent, member(tmp_path))
        reader = FrameReader()
        asked = None
        while asked is None:
            asked = next((f for f in reader.receive(await pipe.receive()) if f.type == frames.REQUEST), None)
        await pipe.send(encode(frames.RESPONSE, asked.stream, b'{"name": 7}'))
        await until_closed(pipe)
        assert not any(owner.name == "evil" for owner in agent.agent.peers.owners())


async def test_a_member_that_is_cut_in_a_frame_leaves_nothing(tmp_path: Path) -> None:
    async with victim(tmp_path, 60_520) as agent:
        pipe = await greet(agent, member(tmp_path))
        await pipe.send(REQUEST[:-3])
        pipe.close()
        with trio.fail_after(PATIENCE):
            await agent.agent.peers.wait_change(lambda: len(agent.agent.peers.links()) == 1)
