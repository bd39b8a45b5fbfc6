"""Listeners of a whole agent that are bound to all addresses: who may name them how."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from praxis.config.schema import Access, Config
from praxis.dev import RunningAgent, network
from tests.support.network import PATIENCE

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LISTENERS = {
    "http": ("/health", "", "200"),
    "sse": ("/events", "", "200"),
    "websocket": ("/ws/workflow", HANDSHAKE, "101"),
}
"""By listener: a path, what is sent besides, and the status of who is let in."""


def open_to_all(*, names: tuple[str, ...] = ()) -> Callable[[Config], Config]:
    def change(config: Config) -> Config:
        config = attrs.evolve(config, access=Access(insecure=True, allowed_hosts=names))
        wide = {name: attrs.evolve(getattr(config, name), host="0.0.0.0") for name in LISTENERS}
        return attrs.evolve(config, **wide)

    return change


@asynccontextmanager
async def agent_of(folder: Path, change: Callable[[Config], Config]) -> AsyncIterator[RunningAgent]:
    async with network(1, folder, change=change) as (one,):
        yield one


async def status(agent: RunningAgent, listener: str, host: str, at: str = "127.0.0.2") -> str:
    """What a request to the address `at` is answered that names `host`."""
    path, more, _ = LISTENERS[listener]
    address = getattr(agent.addresses, listener)
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(at, address[1]) as stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
            said = b""
            while b"\r\n" not in said:
                said += await stream.receive_some()
    return said.split()[1].decode()


@pytest.mark.parametrize("listener", LISTENERS)
async def test_the_address_that_a_connection_arrived_on_may_be_named_and_no_other_and_no_name(
    tmp_path: Path, listener: str
) -> None:
    good = LISTENERS[listener][2]
    async with agent_of(tmp_path, open_to_all(names=("agent.example",))) as agent:
        port = getattr(agent.addresses, listener)[1]
        assert await status(agent, listener, f"127.0.0.2:{port}") == good
        assert await status(agent, listener, "127.0.0.2") == good
        assert await status(agent, listener, "agent.example") == good
        for foreign in ("127.0.0.3", "0.0.0.0", "evil.example", "127.0.0.2.evil.example", "[127.0.0.2]"):
            assert await status(agent, listener, foreign) == "421"
        assert await status(agent, listener, "127.0.0.2", at="127.0.0.3") == "421"


async def test_listeners_that_are_open_to_everybody_are_named_in_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def only_http(config: Config) -> Config:
        return attrs.evolve(config, access=Access(insecure=True), http=attrs.evolve(config.http, host="0.0.0.0"))

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if "access.insecure" in record.getMessage()]

    async with agent_of(tmp_path / "loopback", lambda config: attrs.evolve(config, access=Access(insecure=True))):
        assert warnings() == []
    async with agent_of(tmp_path / "one", only_http):
        (warning,) = warnings()
        assert "http at 0.0.0.0" in warning
        assert "websocket" not in warning
    caplog.clear()
    async with agent_of(tmp_path / "all", open_to_all()):
        (warning,) = warnings()
        assert "http at 0.0.0.0 or websocket at 0.0.0.0 or sse at 0.0.0.0" in warning
