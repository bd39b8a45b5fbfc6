"""The HTTP client against real sockets: servers that behave, and servers that do not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio

from praxis.net import http_client
from praxis.net.http_client import BodyTooLargeError, HttpClient, HttpError
from tests.net.test_net_tls import identity

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@attrs.define
class Server:
    """Answers the n-th request with the n-th of its texts, the last one again and again."""

    url: str
    requests: list[bytes] = attrs.field(factory=list)
    connections: int = 0


async def read_request(stream: trio.abc.Stream) -> bytes:
    """Headers and body, or b"" at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < lengths[0]:
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


@asynccontextmanager
async def serving(*texts: bytes, hang_up: bool = False) -> AsyncIterator[Server]:
    """`hang_up`: close after each answer, whatever it says."""

    async def play(stream: trio.SocketStream) -> None:
        server.connections += 1
        async with stream:
            while request := await read_request(stream):
                server.requests.append(request)
                await stream.send_all(texts[min(len(server.requests), len(texts)) - 1])
                if hang_up:
                    return

    async with served(play) as server:
        yield server


@asynccontextmanager
async def served(play: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")

        async def run(stream: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError):
                await play(stream)

        nursery.start_soon(trio.serve_listeners, run, [listener])
        with trio.fail_after(10):
            yield server
        nursery.cancel_scope.cancel()


async def get(client: HttpClient, url: str, limit: int = 1000) -> tuple[int, bytes]:
    async with client.request("GET", url) as response:
        return response.status, await response.read(limit)


async def test_a_request_as_it_is_on_the_wire() -> None:
    async with serving(OK) as server:
        client = HttpClient(keep=1, headers=[("X-Key", "k")], agent="praxis/1")
        async with client.request("POST", f"{server.url}/a?b=c", headers=[("Accept", "x/y")], body=b"{}") as response:
            assert (response.status, await response.read(10)) == (200, b"ok")
        lines = server.requests[0].decode().split("\r\n")
        assert lines[:2] == ["POST /a?b=c HTTP/1.1", f"Host: {server.url.removeprefix('http://')}"]
        assert {"X-Key: k", "User-Agent: praxis/1", "Accept: x/y", "Content-Length: 2"} <= set(lines)
        assert lines[-1] == "{}"
        await client.aclose()


async def test_connections_are_used_again_and_no_more_are_kept_than_allowed() -> None:
    async with serving(OK) as server:
        client = HttpClient(keep=2)
        for _ in range(3):
            assert await get(client, server.url) == (200, b"ok")
        assert (server.connections, client.idle) == (1, 1)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(get, client, server.url)
        assert (server.connections, client.idle) == (5, 2)
        await client.aclose()
        assert client.idle == 0
        none = HttpClient(keep=0)
        await get(none, server.url)
        assert none.idle == 0


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    async with serving(OK, hang_up=True) as server:
        client = HttpClient(keep=2)
        for _ in range(3):
            async with client.request("POST", server.url, body=b"x") as response:
                assert await response.read(10) == b"ok"
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.connections == 3
        await client.aclose()


async def test_a_body_comes_in_pieces_and_an_unread_one_costs_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(head + b"3\r\nabc\r\n") as server:
        client = HttpClient(keep=2)
        async with client.request("GET", server.url) as response:
            assert response.content_type == "text/event-stream"
            assert await response.receive() == b"abc"
        assert client.idle == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"", "ends too soon|without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "ends too soon"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "ends too soon"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "no HTTP"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50, "interim"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "encoded as 'gzip'"),
        (b"HTTP/1.1 307 Go\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n", "to another origin"),
        (b"HTTP/1.1 307 Go\r\nLocation: //evil.example/\r\nContent-Length: 0\r\n\r\n", "to another origin"),
        (b"HTTP/1.1 307 Go\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "expected an http"),
        (b"HTTP/1.1 307 Go\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n", "in circles"),
    ],
)
async def test_a_server_that_misbehaves_is_an_outage(text: bytes, problem: str) -> None:
    async with serving(text, hang_up=True) as server:
        client = HttpClient(keep=1)
        with pytest.raises(HttpError, match=problem):
            await get(client, server.url)
        assert client.idle == 0


async def test_nobody_there() -> None:
    async with serving(OK) as server:
        pass
    with pytest.raises(HttpError, match="cannot connect to 127") as caught:
        await get(HttpClient(keep=1), server.url)
    assert not caught.value.sent


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "http://a:99999/", "nothing", "http://a/\r\nX: y"])
async def test_what_is_no_url_to_ask(url: str) -> None:
    with pytest.raises(HttpError) as caught:
        await get(HttpClient(keep=1), url)
    assert not caught.value.sent


@pytest.mark.parametrize("head", [b"Content-Length: 2000\r\n\r\n", b"Connection: close\r\n\r\n"])
async def test_a_body_over_the_limit_is_not_read_to_its_end(head: bytes) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n" + head + b"x" * 2000, hang_up=True) as server:
        with pytest.raises(BodyTooLargeError) as caught:
            await get(HttpClient(keep=1), server.url, 1000)
        assert 1000 < caught.value.size <= 2000


async def test_redirects_on_the_same_origin_keep_method_and_body() -> None:
    redirect = b"HTTP/1.1 307 Go\r\nLocation: %s\r\nContent-Length: 3\r\n\r\nabc"
    async with serving(redirect % b"/mcp/", redirect % b"../x?y#z", OK) as server:
        client = HttpClient(keep=1)
        async with client.request("POST", f"{server.url}/mcp", body=b"body") as response:
            assert response.status == 200
        assert [request.split(b" ")[1] for request in server.requests] == [b"/mcp", b"/mcp/", b"/x?y"]
        assert all(request.endswith(b"body") for request in server.requests)
        assert server.connections == 1
        await client.aclose()


async def test_a_post_is_not_made_again_as_another_request() -> None:
    async with serving(b"HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n") as server:
        async with HttpClient(keep=0).request("POST", server.url, body=b"x") as response:
            assert response.status == 302
        assert len(server.requests) == 1


async def test_authorization_is_asked_before_each_request_and_told_of_a_401() -> None:
    asked: list[tuple[str, str | None]] = []

    async def authorize(url: str, challenge: str | None) -> Mapping[str, str] | None:
        asked.append((url, challenge))
        return {"Authorization": "Bearer old" if challenge is None else "Bearer new"}

    refused = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer scope="x"\r\nContent-Length: 0\r\n\r\n'
    async with serving(refused, OK) as server:
        client = HttpClient(keep=1, authorize=authorize)
        assert await get(client, server.url) == (200, b"ok")
        assert asked == [(server.url, None), (server.url, 'Bearer scope="x"')]
        assert [b"Bearer old" in server.requests[0], b"Bearer new" in server.requests[1]] == [True, True]
        await client.aclose()
    async with serving(refused) as server:
        client = HttpClient(keep=0, authorize=authorize)
        assert await get(client, server.url) == (401, b"")
        assert len(server.requests) == 2


async def test_a_silent_server_costs_no_more_than_the_callers_limit(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Len") as server:
        client = HttpClient(keep=1)
        with trio.move_on_after(3) as scope:
            await get(client, server.url)
        assert scope.cancelled_caught
        assert client.idle == 0


async def test_an_answer_that_comes_before_the_request_is_read() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some(10)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await stream.send_eof()
        while await stream.receive_some():
            pass

    async with (
        served(refuse) as server,
        HttpClient(keep=1).request("POST", server.url, body=b"x" * 3_000_000) as response,
    ):
        assert response.status == 413


async def test_tls_with_a_server_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = identity(tmp_path, "a").server
    context.verify_mode = ssl.CERT_NONE

    async def play(stream: trio.SocketStream) -> None:
        async with trio.SSLStream(stream, context, server_side=True, https_compatible=True) as tls:
            while await read_request(tls):
                await tls.send_all(OK)

    async with served(play) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(HttpError, match=r"no TLS with 127.*certificate") as caught:
            await get(HttpClient(keep=1), url)
        assert not caught.value.sent
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        client = HttpClient(keep=1, tls=trusting)
        assert await get(client, url) == (200, b"ok")
        assert await get(client, url) == (200, b"ok")
        await client.aclose()
        with pytest.raises(HttpError, match=r"no HTTP|broke|too soon|without"):
            await get(HttpClient(keep=1), server.url)


async def test_a_connection_that_was_idle_for_long_is_not_used() -> None:
    async with serving(OK) as server:
        client = HttpClient(keep=1)
        await get(client, server.url)
        client._idle[0][1].idle_since -= http_client.IDLE_LIMIT
        await get(client, server.url)
        assert server.connections == 2
        await client.aclose()
