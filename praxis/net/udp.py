"""Datagrams to everybody on the segment: multicast and broadcast on every interface, received on one shared port.

Each interface is addressed by its index (`IP_PKTINFO`, see ip(7)), so there is no need to know addresses or routes, to
be root, or to have a default route. IPv4 for now; a second family is one more pair of sockets and one more group here,
and hosts of a `Datagram` are text for that reason.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import cast

import attrs
import trio

log = logging.getLogger(__name__)

RECEIVE = 2048
"""Bytes read of one datagram: one that fills this is longer than anything we send and is refused by its reader."""
JOIN_INTERVAL = 15.0
"""Seconds between looks for new interfaces: an address that appears is used soon, and the look costs microseconds."""
SEND_PATIENCE = 1.0
"""Seconds that the interfaces together may keep a sender waiting for room."""
MAX_INTERFACES = 64
"""A host full of containers has hundreds of bridges; the first ones, by index, are the physical ones."""

_LOOPBACK = "lo"
_BROADCAST = "255.255.255.255"
_IP_PKTINFO = 8  # <linux/in.h>; the socket module names it since Python 3.14
_IP_MULTICAST_ALL = 49  # 0: only groups that this very socket has joined
_PKTINFO = struct.Struct("@i4s4s")


@attrs.frozen
class Datagram:
    """One datagram and the host and port it says it came from. `host` is a numeric address."""

    data: bytes
    host: str
    port: int


@attrs.frozen
class Sent:
    """What became of one datagram to everybody: the ways it went out by, and what the others said."""

    paths: int
    errors: tuple[str, ...] = ()


class SegmentSockets:
    """Sends to the segment and hears what others send there.

    Several processes of one host may use the same port: what goes to everybody reaches them all. An answer by unicast
    would reach any one of them, so everything is sent from a second socket with a port of its own, and answers come
    back there.
    """

    def __init__(
        self,
        port: int,
        *,
        group: str,
        interfaces: Sequence[str] = (),
        multicast: bool = True,
        broadcast: bool = True,
    ) -> None:
        """Opens nothing yet.

        Args:
            port: the UDP port of everybody.
            group: the IPv4 multicast group.
            interfaces: names of the only interfaces to send and to hear on; none means all there are.
            multicast: whether to use the group; `broadcast` likewise for 255.255.255.255.
        """
        self._port = port
        self._group = group
        self._names = frozenset(interfaces)
        self._multicast = multicast
        self._broadcast = broadcast
        self._indexes: dict[int, str] = {}
        self._missing: frozenset[str] = frozenset()
        self._sender: trio.socket.SocketType | None = None

    async def listen(
        self,
        on_datagram: Callable[[Datagram], None],
        on_new_interface: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hand over every datagram until cancelled; started once the sockets are bound.

        Raises OSError when the port cannot be bound or a socket fails. May be called again after that.
        """
        with _open() as shared, _open() as sender:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            # Not an address: a socket bound to one hears neither multicast nor broadcast. Who is heard is decided by
            # the interface that a datagram came in on.
            await shared.bind(("0.0.0.0", self._port))  # noqa: S104
            await sender.bind(("0.0.0.0", 0))  # noqa: S104
            self._join(shared)
            self._sender = sender
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive, shared, on_datagram)
                    nursery.start_soon(self._receive, sender, on_datagram)
                    task_status.started()
                    while True:
                        await trio.sleep(JOIN_INTERVAL)
                        if self._join(shared):
                            on_new_interface()
            finally:
                self._sender = None

    async def send_everywhere(self, data: bytes) -> Sent:
        """Send by every interface and means. Never raises for a failed path: that is in the result."""
        sender = self._sender
        if sender is None:
            return Sent(0, ("the sockets are not open",))
        groups = [self._group] * self._multicast + [_BROADCAST] * self._broadcast
        paths, errors = 0, []
        with trio.move_on_after(SEND_PATIENCE) as patience:
            for index, name in self._indexes.items():
                # By index alone the kernel would take another interface's address as the source on loopback.
                source = socket.inet_aton("127.0.0.1") if name == _LOOPBACK else bytes(4)
                control = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(index, source, bytes(4)))]
                for host in groups:
                    try:
                        await sender.sendmsg([data], control, 0, (host, self._port))
                        paths += 1
                    except (OSError, trio.ClosedResourceError) as error:
                        errors.append(f"{name} to {host}: {_reason(error)}")
        if patience.cancelled_caught:
            errors.append(f"no room to send for {SEND_PATIENCE:g} s")
        return Sent(paths, tuple(errors))

    async def send_to(self, data: bytes, host: str, port: int) -> bool:
        """Send to one place; False when that failed at once."""
        if self._sender is None:
            return False
        with trio.move_on_after(SEND_PATIENCE):
            try:
                await self._sender.sendto(data, (host, port))
                return True
            except (OSError, trio.ClosedResourceError):
                return False
        return False

    async def _receive(self, sock: trio.socket.SocketType, on_datagram: Callable[[Datagram], None]) -> None:
        room = socket.CMSG_SPACE(_PKTINFO.size)
        while True:
            data, control, _, source = await sock.recvmsg(RECEIVE, room)
            host, port = cast("tuple[str, int]", source)
            index = 0
            for level, kind, value in control:
                if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO.size:
                    index = _PKTINFO.unpack_from(value)[0]
            if not self._names or index in self._indexes:
                on_datagram(Datagram(data, host, port))

    def _join(self, sock: trio.socket.SocketType) -> bool:
        """Join the group on every interface there is now; True when there is one that was not there before."""
        before = self._indexes.keys()
        there = {name: index for index, name in socket.if_nameindex()}
        wanted = [(index, name) for name, index in there.items() if not self._names or name in self._names]
        self._indexes = dict(sorted(wanted)[:MAX_INTERFACES])
        missing = self._names - there.keys()
        if missing - self._missing:
            log.warning(
                "no network interface %s here; there are %s", ", ".join(sorted(missing)), ", ".join(sorted(there))
            )
        self._missing = missing
        if self._multicast:
            for index, name in self._indexes.items():
                membership = socket.inet_aton(self._group) + bytes(4) + struct.pack("@i", index)  # struct ip_mreqn
                try:
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
                except OSError as error:
                    # Joined already, which is the normal case; or an interface that can do without, since broadcasts
                    # still reach it, and that is tried again.
                    if error.errno != errno.EADDRINUSE:
                        log.debug("no multicast on %s: %s", name, _reason(error))
        return not self._indexes.keys() <= before


def _open() -> trio.socket.SocketType:
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
