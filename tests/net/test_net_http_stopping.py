"""HTTP over real sockets: applications that do wrong, the end of the server, and Quart above it."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest
import trio
import trio.testing
from quart import request
from quart_trio import QuartTrio

from praxis.net import http_server
from praxis.net.http_server import App, Receive, Scope, Send
from tests.net.http_kit import (
    PATIENCE,
    client_of,
    echo,
    everything,
    get,
    serving,
)

# -- applications that do wrong -------------------------------------------------------------------


async def test_a_bug_before_the_answer_is_a_500_with_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bug":
            raise ZeroDivisionError("a bug")
        await echo(scope, receive, send)

    async with serving(app) as server, client_of(server) as good, client_of(server) as client:
        status, headers, body = await client.get("/bug")
        assert (status, headers[b"connection"], body) == (500, b"close", b"")
        assert await client.closed()
        assert (await good.get("/good"))[0] == 200
        await good.stream.aclose()
        await server.idle()
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.name.startswith("praxis.") and record.exc_info and record.exc_info[0] is ZeroDivisionError


async def test_a_bug_within_the_answer_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/bug":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError("a bug")

    async with serving(app) as server, client_of(server) as good, client_of(server) as client:
        await client.stream.send_all(get(path=b"/bug"))
        assert (await everything(client.stream)).endswith(b"\r\n\r\nhalf")
        assert (await good.get("/good"))[0] == 200
        await good.stream.aclose()
        await server.idle()
    assert "ZeroDivisionError: a bug" in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"type": "http.response.start", "status": 200, "headers": [(b"bad name", b"x")]}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]}],
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "no.such.message"}],
    ],
)
async def test_an_application_that_breaks_the_rules_harms_only_its_connection(messages: list[Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/bug":
            await echo(scope, receive, send)
            return
        for message in messages:
            await send(message)

    async with serving(app) as server, client_of(server) as good, client_of(server) as client:
        await client.stream.send_all(get(path=b"/bug"))
        assert b"HTTP/1.1 200" not in await everything(client.stream) or len(messages) == 1
        assert (await good.get("/good"))[0] == 200
        await good.stream.aclose()
        await server.idle()


# -- stopping -------------------------------------------------------------------------------------


async def test_a_stop_does_not_wait_for_idle_connections() -> None:
    async with serving(echo, grace=30) as server, client_of(server) as used, client_of(server) as fresh:
        assert (await used.get())[0] == 200
        await fresh.stream.send_all(b"GET / HT")
        await trio.testing.wait_all_tasks_blocked()
        assert await server.stopped() < 0.5
        assert await used.closed()
        assert await fresh.closed()
        with pytest.raises(OSError, match=r"refused|connect"):
            await server.connect()


async def test_a_stop_lets_a_running_request_finish() -> None:
    running, may_end = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        running.set()
        await may_end.wait()
        await echo(scope, receive, send)

    async with serving(app, grace=30) as server, client_of(server) as client, trio.open_nursery() as nursery:
        await client.stream.send_all(get())
        await running.wait()
        nursery.start_soon(server.stopped)
        await trio.testing.wait_all_tasks_blocked()
        assert not server.ended.is_set()
        may_end.set()
        assert (await everything(client.stream)).endswith(b"GET / ")
        with trio.fail_after(PATIENCE):
            await server.ended.wait()


async def test_a_stop_ends_what_goes_on_after_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(scope["path"])

    async with serving(app, grace=0.1) as server, client_of(server) as client:
        await client.stream.send_all(get())
        await trio.testing.wait_all_tasks_blocked()
        assert 0.1 <= await server.stopped() < 0.5
        assert ended == ["/"]
        assert await client.closed()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_client_that_stops_reading_does_not_hold_up_a_stop(cancelled: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/huge":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 10_000_000, "more_body": True})

    with trio.CancelScope() as scope:
        async with serving(app, grace=0.1) as server, client_of(server) as good, client_of(server) as stuck:
            await stuck.stream.send_all(get(path=b"/huge"))
            await stuck.stream.receive_some(10)
            assert (await good.get("/good"))[0] == 200
            await trio.testing.wait_all_tasks_blocked(0.02)
            began = trio.current_time()
            if cancelled:
                scope.cancel()
            await server.stopped()
    assert trio.current_time() - began < 0.5


# -- the disconnect that comes too early ----------------------------------------------------------


def quart_app() -> App:
    app = QuartTrio("test")

    @app.post("/")
    async def index() -> dict[str, Any]:
        return {"got": str(await request.get_data(as_text=True))}

    return cast(App, app)


async def test_quart_answers_several_requests_on_one_connection() -> None:
    async with serving(quart_app(), grace=30) as server, client_of(server) as client:
        for word in (b"one", b"two", b"three"):
            status, _, body = await client.request("POST", "/", word)
            assert (status, json.loads(body)) == (200, {"got": word.decode()})
        assert await server.stopped() < 0.5


async def test_quart_honours_connection_close_and_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE", 0.1)
    async with serving(quart_app()) as server, client_of(server) as client, client_of(server) as idle:
        assert (await client.request("POST", "/", b"x", ("Connection", "close")))[0] == 200
        assert await client.closed()
        assert (await idle.request("POST", "/", b"x"))[0] == 200
        assert await idle.closed()
        await server.idle()
