"""How the two internet families send to everybody on a segment: options, groups and addresses of each.

Each interface is addressed by its index (`IP_PKTINFO`, see ip(7); the scope of an address, see ipv6(7)), so there is no
need to know addresses or routes, to be root, or to have a default route.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any, Protocol

import attrs
import trio

_LOOPBACK = "lo"
_BROADCAST = "255.255.255.255"
_IP_PKTINFO = 8  # <linux/in.h>; the socket module names it since Python 3.14
_IP_MULTICAST_ALL = 49  # 0: only groups that this very socket has joined
_IPV6_MULTICAST_ALL = 29  # <linux/in6.h>, likewise
_PKTINFO = struct.Struct("@i4s4s")
_PKTINFO6 = struct.Struct("@16sI")

Control = list[tuple[int, int, bytes]]


class Family(Protocol):
    """What `praxis.net.udp.SegmentSockets` needs to know of a family."""

    name: str
    control_size: int
    """Bytes of the largest control message that says which interface a datagram came in on."""

    def open(self, port: int) -> socket.socket:
        """A bound socket: `port`, shared with other processes, to hear; or 0, its own, to send. Raises OSError."""

    def join(self, sock: trio.socket.SocketType, index: int) -> None:
        """Hear the group on an interface. Raises OSError, EADDRINUSE when it is heard already."""

    def paths(self, index: int, name: str, port: int) -> Iterator[tuple[Control, Any]]:
        """Control messages and address of each way to reach everybody by an interface."""

    def interface(self, control: Control) -> int:
        """The index of the interface that a datagram came in on, 0 when it is not known."""

    def host(self, source: Any) -> str:
        """The numeric address of a sender, with its scope where that belongs to it."""


@attrs.frozen
class IPv4(Family):
    """Multicast, and broadcast to 255.255.255.255, which some networks carry and others do not."""

    group: str
    multicast: bool = True
    broadcast: bool = True
    name: str = "IPv4"
    control_size: int = _PKTINFO.size

    def open(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            if port:
                sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            return _bound(sock, "0.0.0.0", port)  # noqa: S104 - see `_bound`
        except BaseException:
            sock.close()
            raise

    def join(self, sock: trio.socket.SocketType, index: int) -> None:
        if self.multicast:
            membership = socket.inet_aton(self.group) + bytes(4) + struct.pack("@i", index)  # struct ip_mreqn
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

    def paths(self, index: int, name: str, port: int) -> Iterator[tuple[Control, Any]]:
        # By index alone the kernel would take another interface's address as the source on loopback.
        source = socket.inet_aton("127.0.0.1") if name == _LOOPBACK else bytes(4)
        control = [(int(socket.IPPROTO_IP), _IP_PKTINFO, _PKTINFO.pack(index, source, bytes(4)))]
        if self.multicast:
            yield control, (self.group, port)
        if self.broadcast:
            yield control, (_BROADCAST, port)

    def interface(self, control: Control) -> int:
        for level, kind, value in control:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO.size:
                return int(_PKTINFO.unpack_from(value)[0])
        return 0

    def host(self, source: Any) -> str:
        return str(source[0])


@attrs.frozen
class IPv6(Family):
    """Multicast of link-local scope. There is no broadcast."""

    group: str
    name: str = "IPv6"
    control_size: int = _PKTINFO6.size

    def open(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            if port:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            return _bound(sock, "::", port)
        except BaseException:
            sock.close()
            raise

    def join(self, sock: trio.socket.SocketType, index: int) -> None:
        membership = socket.inet_pton(socket.AF_INET6, self.group) + struct.pack("@I", index)  # struct ipv6_mreq
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)

    def paths(self, index: int, name: str, port: int) -> Iterator[tuple[Control, Any]]:
        if name != _LOOPBACK:  # which has no link-local addresses; IPv4 reaches whoever is on this host
            yield [], (self.group, port, 0, index)

    def interface(self, control: Control) -> int:
        for level, kind, value in control:
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(value) >= _PKTINFO6.size:
                return int(_PKTINFO6.unpack_from(value)[1])
        return 0

    def host(self, source: Any) -> str:
        host, _, _, scope = source
        host = host.partition("%")[0]
        if not scope:
            return str(host)
        try:
            return f"{host}%{socket.if_indextoname(scope)}"
        except OSError:  # the interface has just gone
            return f"{host}%{scope}"


def _bound(sock: socket.socket, host: str, port: int) -> socket.socket:
    # Not an address of ours: a socket bound to one hears neither multicast nor broadcast. Who is heard is decided
    # by the interface that a datagram came in on.
    if port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock
