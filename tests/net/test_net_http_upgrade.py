"""HTTP over a unix socket: requests, and connections that are handed over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from praxis.net.http_client import HttpClient, HttpError
from praxis.net.http_upgrade import MAX_REFUSAL, RefusedUpgradeError, open_upgraded
from praxis.net.serve import open_unix_listener

UPGRADE = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


@asynccontextmanager
async def saying(folder: Path, *pieces: bytes, then: str = "close") -> AsyncIterator[tuple[Path, list[bytes]]]:
    """A server that says just this to whoever asks, then closes, or sends back what it gets ("echo")."""
    heard: list[bytes] = []
    socket = folder / "server.sock"

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            heard.append(bytes(await stream.receive_some()))
            for piece in pieces:
                await stream.send_all(piece)
                await trio.sleep(0.001)
            if then == "echo":
                while piece := bytes(await stream.receive_some()):
                    await stream.send_all(piece.upper())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [await open_unix_listener(socket)])
        with trio.fail_after(5):
            yield socket, heard
        nursery.cancel_scope.cancel()


async def test_a_connection_is_handed_over_with_what_came_early(tmp_path: Path) -> None:
    async with saying(tmp_path, b"HTTP/1.1 100 Continue\r\n\r\n", UPGRADE + b"early", then="echo") as (socket, heard):
        async with open_upgraded(socket, "POST", "/attach?stdin=1") as line:
            assert await line.receive() == b"early"
            await line.stream.send_all(b"late")
            assert await line.receive() == b"LATE"
            await line.stream.send_eof()
            assert await line.receive() == b""
        assert heard[0].startswith(b"POST /attach?stdin=1 HTTP/1.1\r\n")
        assert b"upgrade: tcp" in heard[0].lower()


async def test_a_refusal_keeps_its_words_within_bounds(tmp_path: Path) -> None:
    body = b"x" * (3 * MAX_REFUSAL)
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with saying(tmp_path, head, body) as (socket, _):
        with pytest.raises(RefusedUpgradeError) as refused:
            async with open_upgraded(socket, "POST", "/"):
                pass
    assert (refused.value.status, refused.value.body) == (404, b"x" * MAX_REFUSAL)


@pytest.mark.parametrize(
    "said", [b"", b"\0\1\2\r\n\r\n", UPGRADE[:20], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_what_is_no_answer_is_an_outage(tmp_path: Path, said: bytes) -> None:
    async with saying(tmp_path, said) as (socket, _):
        with pytest.raises(HttpError) as error:
            async with open_upgraded(socket, "POST", "/"):
                pass
    assert error.value.sent


async def test_a_request_goes_to_the_socket_whatever_host_it_names(tmp_path: Path) -> None:
    async with saying(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as (socket, heard):
        client = HttpClient(keep=1, unix=socket)
        async with client.request("GET", "http://nowhere.example/x") as response:
            assert await response.read(10) == b"hi"
        await client.aclose()
        assert b"nowhere.example" in heard[0]


async def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    socket = tmp_path / "none.sock"
    with pytest.raises(HttpError, match=r"none\.sock: No such file") as error:
        async with HttpClient(keep=1, unix=socket).request("GET", "http://x/"):
            pass
    assert not error.value.sent
    with pytest.raises(HttpError, match=r"none\.sock: No such file"):
        async with open_upgraded(socket, "POST", "/"):
            pass
