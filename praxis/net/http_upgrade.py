"""A request over a unix socket whose answer is no body but the connection itself, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import h11
import trio

from praxis.net.http_client import CHUNK, CONNECT_LIMIT, MAX_HEAD, HttpError

MAX_REFUSAL = 64 * 1024
"""Bytes of a refusal's body that are read: one sentence, and room for a long one."""


class RefusedUpgradeError(HttpError):
    """The server answered instead of handing over the connection."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"it answers with status {status}", sent=True)
        self.status = status
        self.body = body


@attrs.define(eq=False)
class Upgraded:
    """The connection. `early` is what came of the other protocol together with the answer, to be read first."""

    stream: trio.SocketStream
    early: bytes

    async def receive(self) -> bytes:
        """The next bytes, b"" at the end. Raises HttpError when the connection breaks."""
        if self.early:
            early, self.early = self.early, b""
            return early
        try:
            return bytes(await self.stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HttpError(f"the connection broke: {error.__cause__ or error}", sent=True) from None


@asynccontextmanager
async def open_upgraded(socket: Path, method: str, target: str) -> AsyncIterator[Upgraded]:
    """Ask the server on `socket` for a connection of the protocol ``tcp``. Leaving the context closes it.

    Raises HttpError when there is none to be had, RefusedUpgradeError with what the server said if it said something.
    """
    with trio.move_on_after(CONNECT_LIMIT) as limit:
        try:
            stream = await trio.open_unix_socket(socket)
        except OSError as error:
            raise HttpError(f"cannot connect to {socket}: {error.strerror or error}", sent=False) from None
    if limit.cancelled_caught:
        raise HttpError(f"cannot connect to {socket} within {CONNECT_LIMIT:g} s", sent=False)
    try:
        yield await _ask(stream, method, target)
    finally:
        await trio.aclose_forcefully(stream)


async def _ask(stream: trio.SocketStream, method: str, target: str) -> Upgraded:
    state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    headers = [("Host", "localhost"), ("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Length", "0")]
    written = state.send(h11.Request(method=method, target=target, headers=headers)) or b""
    refusal: h11.Response | None = None
    body = bytearray()
    try:
        await stream.send_all(written + (state.send(h11.EndOfMessage()) or b""))
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(bytes(await stream.receive_some(CHUNK)))
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return Upgraded(stream, state.trailing_data[0])
            elif isinstance(event, h11.Response):
                refusal = event
            elif isinstance(event, h11.Data) and len(body) <= MAX_REFUSAL:
                body += event.data
            elif refusal is not None:
                raise RefusedUpgradeError(refusal.status_code, bytes(body[:MAX_REFUSAL]))
            elif not isinstance(event, h11.InformationalResponse):
                raise HttpError("it closed the connection without an answer", sent=True)
    except h11.RemoteProtocolError as error:
        raise HttpError(f"its answer is no HTTP, or ends too soon: {error}", sent=True) from None
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise HttpError(f"the connection broke: {error.__cause__ or error}", sent=True) from None
