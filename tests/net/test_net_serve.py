"""Accepting connections, and the listeners that accept them."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from praxis.net import serve
from praxis.net.serve import Handler, host_port, is_loopback, open_listeners, open_unix_listener, serve_connections

PATIENCE = 2.0
"""Seconds within which everything here happens, on a slow machine too."""


async def echo(stream: trio.SocketStream) -> None:
    while piece := await stream.receive_some():
        await stream.send_all(piece)


async def forever(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@attrs.frozen
class Serving:
    port: int
    stopping: trio.Event
    ended: trio.Event
    refused: list[None]

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def stopped(self) -> float:
        """Stop, and tell how many seconds that took."""
        began = trio.current_time()
        self.stopping.set()
        await self.ended.wait()
        return trio.current_time() - began


@asynccontextmanager
async def serving(handler: Handler, *, grace: float = 0.05, most: int = 100) -> AsyncIterator[Serving]:
    listeners = await open_listeners("127.0.0.1", 0)
    refused: list[None] = []
    server = Serving(listeners[0].socket.getsockname()[1], trio.Event(), trio.Event(), refused)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await serve_connections(
            handler,
            listeners,
            stopping=server.stopping,
            grace=grace,
            name="test",
            max_connections=most,
            on_refused=lambda: refused.append(None),
            task_status=task_status,
        )
        server.ended.set()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield server
            server.stopping.set()


async def said(stream: trio.SocketStream, word: bytes = b"x") -> bytes:
    await stream.send_all(word)
    return await stream.receive_some()


async def closed(stream: trio.SocketStream) -> bool:
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True


# -- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError("a bug"), OSError("the client went"), ExceptionGroup("g", [KeyError()])]
)
async def test_what_one_connection_raises_ends_that_one_and_is_logged(
    bug: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        if await stream.receive_some(1) == b"!":
            raise bug
        await echo(stream)

    async with serving(handler) as server, await server.connect() as good, await server.connect() as bad:
        await good.send_all(b"-1")
        assert await good.receive_some() == b"1"
        await bad.send_all(b"!")
        assert await closed(bad)
        assert await said(good, b"2") == b"2"
        async with await server.connect() as another:
            assert await said(another, b"-3") == b"3"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info and record.exc_info[1] is bug


async def test_a_connection_whose_handler_has_ended_is_closed() -> None:
    async def once(stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some())

    async with serving(once) as server, await server.connect() as stream:
        assert await said(stream) == b"x"
        assert await closed(stream)


async def test_one_connection_too_many_is_closed_at_once_and_counted() -> None:
    async with serving(echo, most=2) as server:
        first, second = await server.connect(), await server.connect()
        assert await said(first) == await said(second) == b"x"
        async with await server.connect() as third:
            assert await closed(third)
        assert len(server.refused) == 1
        assert await said(first) == b"x"
        await second.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with await server.connect() as fourth:
            assert await said(fourth) == b"x"
        assert len(server.refused) == 1
        await first.aclose()


async def test_a_stop_waits_for_what_runs_and_no_longer() -> None:
    async with serving(echo, grace=60) as server, await server.connect() as stream:
        assert await said(stream) == b"x"
        server.stopping.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(OSError, match=r"connect|refused"):
            await server.connect()
        assert await said(stream, b"still") == b"still"
        assert not server.ended.is_set()
        await stream.send_eof()
        await server.ended.wait()


async def test_a_stop_without_connections_is_at_once() -> None:
    async with serving(echo, grace=60) as server:
        async with await server.connect() as stream:
            assert await said(stream) == b"x"
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await server.stopped() < 0.5


async def test_what_runs_longer_than_the_grace_is_cancelled() -> None:
    async with serving(forever, grace=0.05) as server, await server.connect() as stream:
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert 0.05 <= await server.stopped() < 0.5
        assert await closed(stream)


async def test_a_send_that_is_shielded_does_not_hold_up_a_stop() -> None:
    async def stubborn(stream: trio.SocketStream) -> None:
        with trio.CancelScope(shield=True):
            while True:
                await stream.send_all(bytes(1_000_000))

    async with serving(stubborn, grace=0.05) as server, await server.connect():
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await server.stopped() < 0.5


class Failing:
    """A listener whose `accept` raises these errors, one after the other, and then gives no connection."""

    def __init__(self, *errors: OSError) -> None:
        self.socket = socket.socket()
        self._errors = list(errors)
        self.accepts = 0

    async def accept(self) -> Any:
        self.accepts += 1
        if self._errors:
            raise self._errors.pop(0)
        await trio.sleep_forever()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_out_of_descriptors_is_waited_for(
    number: int, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    listener: Any = Failing(OSError(number, "full"), OSError(number, "full"))
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await serve_connections(echo, [listener], stopping=stopping, grace=1, name="test", max_connections=1)

        nursery.start_soon(run)
        await trio.sleep(1.5 * serve.FULL_PAUSE)
        assert listener.accepts == 2
        await trio.sleep(serve.FULL_PAUSE)
        assert listener.accepts == 3
        stopping.set()
    assert caplog.text.count("test: cannot accept: full") == 2


async def test_a_listener_that_fails_ends_everything_with_its_outage() -> None:
    listener: Any = Failing(OSError(errno.ENETDOWN, "the network is down"))
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="network is down"), flatten_subgroups=True):
        await serve_connections(echo, [listener], stopping=trio.Event(), grace=60, name="test", max_connections=1)
    assert listener.socket.fileno() == -1


# -- listeners on addresses -----------------------------------------------------------------------


class SeveralAddresses(trio.abc.HostnameResolver):
    """Every name has two addresses here."""

    async def getaddrinfo(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (f"127.0.0.{n}", int(port))) for n in (1, 2)]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


@contextmanager
def closing(listeners: list[trio.SocketListener]) -> Iterator[list[Any]]:
    """The addresses of listeners, which are closed in the end."""
    try:
        yield [listener.socket.getsockname() for listener in listeners]
    finally:
        for listener in listeners:
            listener.socket.close()


async def test_all_addresses_of_a_name_have_one_port() -> None:
    trio.socket.set_custom_hostname_resolver(SeveralAddresses())
    for port in (0, 0, 0):
        with closing(await open_listeners("several", port)) as found:
            assert [host for host, _ in found] == ["127.0.0.1", "127.0.0.2"]
            assert len({port for _, port in found}) == 1
            assert found[0][1] > 0


async def test_the_ipv6_wildcard_is_every_address_of_both_families() -> None:
    with closing(await open_listeners("::", 0)) as found:
        assert {host for host, *_ in found} == {"::", "0.0.0.0"}
        port = found[0][1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=PATIENCE):
                pass


async def test_accepted_connections_send_at_once_and_are_given_up() -> None:
    (listener,) = await open_listeners("127.0.0.1", 0)
    async with listener, await trio.open_tcp_stream(*listener.socket.getsockname()), await listener.accept() as stream:
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        timeout = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert timeout == serve.USER_TIMEOUT_MS


async def test_a_taken_port_is_named() -> None:
    with closing(await open_listeners("127.0.0.1", 0)) as ((_, port),):
        with pytest.raises(OSError, match=f"port {port} on 127.0.0.1 is in use by another program") as caught:
            await open_listeners("127.0.0.1", port)
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_port_that_one_family_alone_has_free_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} on :: is in use"):
            await open_listeners("::", port)
    with closing(await open_listeners("::", port)) as found:  # a listener left open would have it still
        assert len(found) == 2


@pytest.mark.parametrize(
    ("host", "shown"), [("192.0.2.1", "192.0.2.1:1"), ("2001:db8::1", "[2001:db8::1]:1"), ("a..b", "a..b:1")]
)
async def test_an_address_that_is_not_ours_is_named(host: str, shown: str) -> None:
    with pytest.raises(OSError, match="cannot listen on ") as caught:
        await open_listeners(host, 1)
    assert f"cannot listen on {shown}: " in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1", "0:0:0:0:0:0:0:1"])
def test_what_only_this_machine_reaches_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "", "192.0.2.1", "10.0.0.1", "128.0.0.1", "::2", "fe80::1", "agent.example", "127.1"),
        *("127.evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.", "127.0.0.256"),
    ],
)
def test_everything_else_may_be_reached_by_others(host: str) -> None:
    assert not is_loopback(host)


def test_ipv6_addresses_get_brackets() -> None:
    assert (host_port("::1", 80), host_port("127.0.0.1", 80), host_port("a", 0)) == ("[::1]:80", "127.0.0.1:80", "a:0")


# -- unix sockets ---------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


def status(path: Path) -> os.stat_result:
    return path.stat()


async def test_a_unix_socket_is_for_this_user_alone_whatever_the_umask(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    umask, changed = os.umask, list[int]()
    before = umask(0)
    monkeypatch.setattr(os, "umask", changed.append)  # files that others make would get it
    try:
        listener = await open_unix_listener(path)
    finally:
        umask(before)
    async with listener, await trio.open_unix_socket(path):
        assert stat.S_IMODE(status(path).st_mode) == 0o600
    assert changed == []


async def test_a_socket_that_nobody_listens_on_is_replaced(path: Path) -> None:
    async with await open_unix_listener(path):
        pass
    assert stat.S_ISSOCK(status(path).st_mode)
    async with await open_unix_listener(path), await trio.open_unix_socket(path):
        pass


async def test_a_socket_that_somebody_listens_on_stays(path: Path) -> None:
    async with await open_unix_listener(path):
        with pytest.raises(OSError, match="another agent runs with this state directory") as caught:
            await open_unix_listener(path)
        assert caught.value.errno == errno.EADDRINUSE
        async with await trio.open_unix_socket(path):
            pass


async def test_an_agent_that_is_too_busy_to_answer_keeps_its_socket(path: Path) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):  # until its queue is full
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(str(path))
        with pytest.raises(OSError, match="another agent runs with this state directory"):
            await open_unix_listener(path)
        assert stat.S_ISSOCK(status(path).st_mode)


def test_what_is_no_socket_is_not_removed(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(OSError, match="is no socket"):
        trio.run(open_unix_listener, path)
    assert path.read_text() == "precious"


async def test_a_socket_of_another_kind_is_not_removed(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(OSError, match=r"api\.sock"):
            await open_unix_listener(path)
    assert stat.S_ISSOCK(status(path).st_mode)


async def test_a_path_that_is_too_long_or_not_there_is_named(tmp_path: Path) -> None:
    for path, number in ((tmp_path / ("x" * 120), errno.ENAMETOOLONG), (tmp_path / "no" / "s", errno.ENOENT)):
        with pytest.raises(OSError, match=path.name) as caught:
            await open_unix_listener(path)
        assert caught.value.errno == number
