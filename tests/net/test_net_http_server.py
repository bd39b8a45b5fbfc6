"""HTTP over real sockets: what a client sees, however badly it or the application behaves."""

from __future__ import annotations

import json
import logging
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from praxis.net import http_server
from praxis.net.http_server import Receive, Scope, Send
from tests.net.http_kit import (
    HOST,
    MAX_BODY,
    PATIENCE,
    client_of,
    echo,
    everything,
    get,
    serving,
)


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LINGER", 0.05)


# -- the ordinary ---------------------------------------------------------------------------------


async def test_one_connection_takes_many_requests() -> None:
    async with serving(echo) as server, client_of(server) as client:
        for number in range(5):
            status, _, body = await client.request("POST", f"/{number}", b"x" * number)
            assert (status, body) == (200, b"POST /%d %s" % (number, b"x" * number))
        await client.stream.send_all(get(path=b"/a") + get(b"Connection: close", path=b"/b"))
        said = await everything(client.stream)
        assert said.index(b"GET /a ") < said.index(b"GET /b ")


async def test_connection_close_is_honoured_and_leaves_nothing_behind() -> None:
    async with serving(echo) as server, client_of(server) as client:
        assert (await client.get("/", ("Connection", "close")))[0] == 200
        assert await client.closed()
        await server.idle()


async def test_a_connection_whose_client_has_left_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two places at once are enough for a hundred clients one after the other."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 2)
    async with serving(echo) as server:
        for _ in range(20):
            async with client_of(server) as client:
                assert (await client.get())[0] == 200
            await server.idle()
        for _ in range(5):
            await (await server.connect()).aclose()
            await server.idle()


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    async with serving(echo, unix=tmp_path / "api.sock") as server, client_of(server) as client:
        assert (await client.get("/a"))[2] == b"GET /a "
        assert (await client.get("/b"))[2] == b"GET /b "


async def test_a_body_comes_after_its_head_and_before_the_next_request() -> None:
    async with serving(echo) as server, client_of(server) as client:
        head = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n"
        for piece in (head, b"ab", b"c", b"d" + get(b"Connection: close", path=b"/b")):
            await client.stream.send_all(piece)
            await trio.sleep(0.01)
        said = await everything(client.stream)
        assert 0 < said.index(b"POST /a abcd") < said.index(b"GET /b ")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_exactly_the_limit_passes(chunked: bool) -> None:
    async with serving(echo) as server, client_of(server) as client:
        body = b"x" * MAX_BODY
        if chunked:
            head = b"POST / HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % HOST
            await client.stream.send_all(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            status, _, got = await client.response()
        else:
            status, _, got = await client.request("POST", "/", body)
        assert (status, got) == (200, b"POST / " + body)


async def test_a_refused_body_is_read_for_a_moment_so_that_the_answer_is_not_lost() -> None:
    """Closing over unread bytes would reset the connection: whoever writes first and reads then would see only that."""
    async with serving(echo) as server, client_of(server) as client:
        status, headers, body = await client.request("POST", "/", b"x" * 10 * MAX_BODY)
        assert (status, headers[b"connection"]) == (413, b"close")
        assert json.loads(body)["detail"] == f"a body of {10 * MAX_BODY} bytes; {MAX_BODY} are allowed"
        assert await client.closed()
        await server.idle()
        assert not server.paths


# -- clients that do wrong ------------------------------------------------------------------------


UPGRADE = get(
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SAID = {
    "websocket and a stray line": "illegal request line",
    "request and garbage behind it": "illegal request line",
    "HTTP/2 preface": "HTTP/2.0 is not spoken here",
    "HTTP/2 preface with settings": "HTTP/2.0 is not spoken here",
    "another version": "HTTP/3.7 is not spoken here",
    "CONNECT": "this agent is no proxy",
    "garbage": "illegal request line",
    "TLS": "illegal request line",
    "no Host": "Missing mandatory Host: header",
    "two Hosts": "Found multiple Host: headers",
    "oversized head": "the head of the request has more than 16384 bytes",
    "endless head": "the head of the request has more than 16384 bytes",
    "endless first line": "the head of the request has more than 16384 bytes",
    "bad Content-Length": "bad Content-Length",
    "Content-Length of 5000 digits": "bad Content-Length",
    "two Content-Lengths": "conflicting Content-Length headers",
    "bad chunk": "illegal chunk header",
    "unknown coding": "Only Transfer-Encoding: chunked is supported",
    "Content-Length too large": "a body of 100001 bytes; 100000 are allowed",
    "the same, and some of it": "a body of 1000000000 bytes; 100000 are allowed",
    "the same, asking first": "a body of 1000000000 bytes; 100000 are allowed",
    "chunks beyond the limit": "a body of more than the 100000 bytes that are allowed",
    "many small chunks": "a body of more than the 100000 bytes that are allowed",
}
"""What the body of a refusal says was wrong."""
SENT_AND_ANSWERED: dict[str, tuple[bytes, bytes]] = {
    "h2c": (get(b"Upgrade: h2c", b"HTTP2-Settings: A"), b"HTTP/1.1 200"),
    "h2c with Connection": (
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: A"),
        b"HTTP/1.1 200",
    ),
    "websocket": (UPGRADE, b"HTTP/1.1 200"),
    "websocket and a stray byte": (UPGRADE + b"x", b"HTTP/1.1 200"),
    "websocket and a stray line": (UPGRADE + b"x\r\n\r\n", b"HTTP/1.1 400"),
    "request and garbage behind it": (get() + b"\0\0\r\n\r\n", b"HTTP/1.1 400"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505"),
    "HTTP/2 preface with settings": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4" + bytes(5), b"HTTP/1.1 505"),
    "another version": (b"GET / HTTP/3.7\r\n" + HOST + b"\r\n", b"HTTP/1.1 505"),
    "CONNECT": (b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n" + HOST + b"\r\nSSH-2.0-x\r\n", b"HTTP/1.1 501"),
    "garbage": (bytes(range(256)), b"HTTP/1.1 400"),
    "TLS": (bytes.fromhex("1603010200010001fc0303") + bytes(100), b"HTTP/1.1 400"),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    "two Hosts": (get(b"Host: evil.example"), b"HTTP/1.1 400"),
    "oversized head": (get(b"X: " + b"x" * 100_000), b"HTTP/1.1 431"),
    "endless head": (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 5000, b"HTTP/1.1 431"),
    "endless first line": (b"GET /" + b"x" * 70_000, b"HTTP/1.1 4"),
    "bad Content-Length": (get(b"Content-Length: -1"), b"HTTP/1.1 400"),
    "Content-Length of 5000 digits": (get(b"Content-Length: " + b"9" * 5000), b"HTTP/1.1 400"),
    "two Content-Lengths": (get(b"Content-Length: 1", b"Content-Length: 2"), b"HTTP/1.1 400"),
    "bad chunk": (get(b"Transfer-Encoding: chunked") + b"zz\r\n\r\n", b"HTTP/1.1 400"),
    "unknown coding": (get(b"Transfer-Encoding: gzip"), b"HTTP/1.1 501"),
    "Content-Length too large": (get(b"Content-Length: %d" % (MAX_BODY + 1)), b"HTTP/1.1 413"),
    "the same, and some of it": (
        get(b"Content-Length: %d" % 10**9) + b"x" * 3 * MAX_BODY,
        b"HTTP/1.1 413",
    ),
    "the same, asking first": (get(b"Content-Length: %d" % 10**9, b"Expect: 100-continue"), b"HTTP/1.1 413"),
    "chunks beyond the limit": (
        get(b"Transfer-Encoding: chunked") + b"2710\r\n%s\r\n" % (b"x" * 10_000) * 30,
        b"HTTP/1.1 413",
    ),
    "many small chunks": (get(b"Transfer-Encoding: chunked") + b"a\r\nxxxxxxxxxx\r\n" * 10_001, b"HTTP/1.1 413"),
}


def refusal(said: bytes) -> dict[str, Any]:
    """The problem in the last answer, which tells all that a problem of ours does."""
    answer = re.split(rb"(?=HTTP/1\.1 \d{3} )", said)[-1]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    problem: dict[str, Any] = json.loads(body)
    assert problem.keys() == {"type", "title", "status", "code", "detail", "hint"}
    assert problem["title"] != problem["detail"]
    return problem


@pytest.mark.parametrize("kind", SENT_AND_ANSWERED)
async def test_no_request_disturbs_another_connection(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    sent, wanted = SENT_AND_ANSWERED[kind]
    async with serving(echo) as server, client_of(server) as good:
        assert (await good.get("/before"))[0] == 200
        stream = await server.connect()
        async with stream, trio.open_nursery() as nursery:

            async def send() -> None:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.send_all(sent)

            nursery.start_soon(send)
            said = await stream.receive_some()
            assert (await good.get("/during"))[2] == b"GET /during "
            if wanted != b"HTTP/1.1 200":
                said += await everything(stream)
            nursery.cancel_scope.cancel()
        assert wanted in said
        if kind in SAID:
            problem = refusal(said)
            assert SAID[kind] in problem["detail"]
            assert f"HTTP/1.1 {problem['status']} ".encode() in said
        assert (await good.get("/after"))[2] == b"GET /after "
        await good.stream.aclose()
        await server.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_refused_head_has_no_body_and_a_refused_url_is_read_before_the_end() -> None:
    async with serving(echo) as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(b"HEAD / HTTP/3.7\r\n" + HOST + b"\r\n")
            assert (await everything(stream)).endswith(b"\r\n\r\n")
        stream = await server.connect()
        async with stream:
            with trio.fail_after(PATIENCE):
                await stream.send_all(b"GET /" + b"x" * 3_000_000)  # not one byte of it is refused with a reset
            assert refusal(await everything(stream))["status"] == 431
        await server.idle()


async def test_upgrades_reach_the_application_as_plain_requests() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await echo(scope, receive, send)

    async with serving(app) as server:
        for sent in (UPGRADE, get(b"Upgrade: h2c", b"HTTP2-Settings: A")):
            async with client_of(server) as client:
                await client.stream.send_all(sent)
                client.expect_answer()
                assert (await client.response())[2].startswith(b"GET /")
    assert [scope["type"] for scope in seen] == ["http", "http"]
    assert b"upgrade" not in [name for scope in seen for name, _ in scope["headers"]]


@pytest.mark.parametrize("kind", [kind for kind, (_, wanted) in SENT_AND_ANSWERED.items() if b"413" in wanted])
async def test_a_body_that_is_too_large_never_reaches_the_application(kind: str) -> None:
    async with serving(echo) as server, client_of(server) as client:
        with suppress(trio.BrokenResourceError):
            await client.stream.send_all(SENT_AND_ANSWERED[kind][0][: 2 * MAX_BODY])
        assert b"application/problem+json" in await everything(client.stream)
        assert not server.paths


async def test_a_refused_body_that_goes_on_for_ever_holds_nothing() -> None:
    """The last send of the answer waits for a queue that the unread body fills, unless that is read on."""
    async with serving(echo) as server, client_of(server) as good:
        stream = await server.connect()
        with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE):
            await stream.send_all(get(b"Content-Length: %d" % 10**12))
            while True:
                await stream.send_all(b"x" * 65536)
                assert (await good.get("/during"))[0] == 200
        await stream.aclose()
        await good.stream.aclose()
        await server.idle()


@pytest.mark.parametrize("sent", [get(b"Content-Length: 10") + b"x", get(b"Transfer-Encoding: chunked") + b"5\r\nab"])
async def test_a_body_that_does_not_come(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 0.05)
    async with serving(echo) as server, client_of(server) as good, client_of(server) as slow:
        await slow.stream.send_all(sent)
        assert (await good.get("/good"))[0] == 200
        status, headers, body = await slow.response()
        assert (status, headers[b"connection"], json.loads(body)["code"]) == (408, b"close", "timeout")
        assert await slow.closed()
        assert server.paths == ["/good"]


@pytest.mark.parametrize("sent", [b"", b"GET", get()[:-2]])
async def test_a_head_that_does_not_come(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE", 0.15)
    async with serving(echo) as server, client_of(server) as good, client_of(server) as slow:
        if sent:
            await slow.stream.send_all(sent)
        for byte in (b"X", b":", b"y"):  # what trickles in gives no more time
            await trio.sleep(0.04)
            await slow.stream.send_all(byte)
            assert (await good.get("/good"))[0] == 200
        assert await slow.closed()
        assert set(server.paths) == {"/good"}


async def test_idle_time_counts_from_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE", 0.1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0.12)  # a request may take longer
        await echo(scope, receive, send)

    async with serving(app) as server, client_of(server) as client:
        for _ in range(2):
            assert (await client.get())[0] == 200
        began = trio.current_time()
        assert await client.closed()
        assert trio.current_time() - began > 0.05
        await server.idle()


@pytest.mark.parametrize(
    "sent", [get(b"Content-Length: 10") + b"x" * 9, get(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n"]
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_truncated_body_never_reaches_the_application(sent: bytes, reset: bool) -> None:
    async with serving(echo) as server, client_of(server) as good:
        assert (await good.get("/before"))[0] == 200
        stream = await server.connect()
        await stream.send_all(sent)
        assert (await good.get("/beside"))[0] == 200
        if reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.aclose()
        assert (await good.get("/after"))[0] == 200
        await good.stream.aclose()
        await server.idle()
        assert server.paths == ["/before", "/beside", "/after"]


async def test_a_client_that_leaves_is_told_to_the_application() -> None:
    got = trio.Event()
    disconnected = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/wait":
            await echo(scope, receive, send)
            return
        assert (await receive())["type"] == "http.request"
        got.set()
        assert (await receive())["type"] == "http.disconnect"
        disconnected.set()

    async with serving(app) as server, client_of(server) as good:
        async with client_of(server) as client:
            await client.stream.send_all(get(path=b"/wait"))
            await got.wait()
            assert (await good.get())[0] == 200
            assert not disconnected.is_set()
        with trio.fail_after(PATIENCE):
            await disconnected.wait()
        await good.stream.aclose()
        await server.idle()


async def test_a_client_that_leaves_behind_a_second_request_leaves_nothing_behind() -> None:
    """The reader waits for the first answer's end, which does not come."""
    began = trio.Event()
    gone = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        began.set()
        await gone.wait()
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as server:
        stream = await server.connect()
        await stream.send_all(get() + get(path=b"/second"))
        await began.wait()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.aclose()
        gone.set()
        await server.idle()
        assert server.paths == ["/"]
