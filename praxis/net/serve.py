"""Accepting connections: one task each, none of which can end another."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

logger = logging.getLogger(__name__)

Handler = Callable[[trio.SocketStream], Awaitable[None]]

USER_TIMEOUT_MS = 10_000
"""Milliseconds after which the kernel gives up a connection whose other end takes nothing: a send that is shielded by a
library cannot hold up a stop for longer."""
BACKLOG = 1024
FULL_PAUSE = 0.1
"""Seconds to wait when the process or the system is out of descriptors or memory."""
FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def serve_connections(
    handler: Handler,
    listeners: Sequence[trio.SocketListener],
    *,
    stopping: trio.Event,
    grace: float,
    name: str,
    max_connections: int,
    on_refused: Callable[[], None] = lambda: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept until `stopping` is set, then give what runs `grace` seconds, then cancel it.

    An exception of one connection ends that one, and is logged with its traceback. Over `max_connections` a new one is
    closed at once and `on_refused` is called. Closes the listeners. Raises OSError when a listener fails.
    """
    open_streams: set[trio.SocketStream] = set()
    drained = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await handler(stream)
        except Exception:
            logger.exception("%s: a connection failed", name)
        finally:
            open_streams.discard(stream)
            stream.socket.close()
            if stopping.is_set() and not open_streams:
                drained.set()

    async def accept(listener: trio.SocketListener, connections: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in FULL:
                    raise
                logger.warning("%s: cannot accept: %s", name, error.strerror)
                await trio.sleep(FULL_PAUSE)
                continue
            if len(open_streams) >= max_connections:
                on_refused()
                stream.socket.close()
                continue
            open_streams.add(stream)
            connections.start_soon(handle, stream)

    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(accept, listener, connections)
                task_status.started()
                await stopping.wait()
                accepting.cancel_scope.cancel()
        finally:
            _close(listeners)
        if open_streams:
            with trio.move_on_after(grace):
                await drained.wait()
            for stream in open_streams:
                stream.socket.close()  # so that a send which a library shields from cancellation ends, too
        connections.cancel_scope.cancel()


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listeners on every address of `host`, all on one port; ``::`` is every address of both families.

    Raises OSError that names the address.
    """
    listeners: list[trio.SocketListener] = []
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
        found = listeners[0].socket.getsockname()[1]
        if port == 0 and len(listeners) > 1:  # each has a port of its own
            _close(listeners)
            listeners = await trio.open_tcp_listeners(found, host=host, backlog=BACKLOG)
        if host == "::":  # Trio keeps IPv4 out of it
            listeners += await trio.open_tcp_listeners(found, host="0.0.0.0", backlog=BACKLOG)  # noqa: S104
    except (OSError, UnicodeError) as error:
        _close(listeners)
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        if number == errno.EADDRINUSE:
            raise OSError(number, f"port {port} on {host} is in use by another program") from None
        reason = getattr(error, "strerror", None) or error
        raise OSError(number, f"cannot listen on {host_port(host, port)}: {reason}") from None
    for listener in listeners:
        listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    return listeners


def _close(listeners: Sequence[trio.SocketListener]) -> None:
    for listener in listeners:
        listener.socket.close()


async def open_unix_listener(path: Path) -> trio.SocketListener:
    """A listener on a unix socket that only this user reaches.

    A socket that nobody listens on any more is replaced. Raises OSError when an agent listens there, or when the path
    is too long for a socket.
    """
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX)
    try:
        # Linux gives the file the mode of the socket. The umask would do it too, but it is the whole process's, and
        # files and children that others make meanwhile would get it.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(str(path))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno or errno.ENAMETOOLONG, f"{path}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def _remove_stale(path: Path) -> None:
    """Make way for a socket. Raises OSError when somebody listens there."""
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, f"{path} is there and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except BlockingIOError:  # so many connections wait there already
                raise _taken(path) from None
            except OSError as error:
                raise OSError(error.errno, f"{path}: {error.strerror}") from None
            else:
                raise _taken(path)


def _taken(path: Path) -> OSError:
    return OSError(errno.EADDRINUSE, f"another agent runs with this state directory: it listens on {path}")


def is_loopback(host: str) -> bool:
    """True for a host that only this machine reaches. Any other name may mean anything."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_port(host: str, port: int) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
