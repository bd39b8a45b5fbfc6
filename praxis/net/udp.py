"""Datagrams to everybody on the segment: by every family, on every interface, received on one shared port."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from praxis.net.families import Family

log = logging.getLogger(__name__)

RECEIVE = 2048
"""Bytes read of one datagram: one that fills this is longer than anything we send and is refused by its reader."""
JOIN_INTERVAL = 15.0
"""Seconds between looks for new interfaces: an address that appears is used soon, and the look costs microseconds."""
SEND_PATIENCE = 1.0
"""Seconds that the interfaces together may keep a sender waiting for room."""
MAX_INTERFACES = 64
"""A host full of containers has hundreds of bridges; the first ones, by index, are the physical ones."""

NOWHERE = "0.0.0.0"  # noqa: S104 - compared, not bound
"""Where a host without an IPv4 address broadcasts from. An answer would come back to whoever sends it, and a dial too;
by IPv6 the same host can be reached."""


@attrs.frozen
class Datagram:
    """One datagram and the host and port it says it came from. `host` is a numeric address, with its scope if any."""

    data: bytes
    host: str
    port: int


@attrs.frozen
class Sent:
    """What became of one datagram to everybody: the ways it went out by, and what the others said."""

    paths: int
    errors: tuple[str, ...] = ()


@attrs.frozen
class _Pair:
    """The two sockets of one family."""

    family: Family
    shared: trio.socket.SocketType
    sender: trio.socket.SocketType

    def close(self) -> None:
        self.shared.close()
        self.sender.close()


class SegmentSockets:
    """Sends to the segment and hears what others send there.

    Several processes of one host may use the same port: what goes to everybody reaches them all. An answer by unicast
    would reach any one of them, so everything is sent from a second socket with a port of its own, and answers come
    back there.
    """

    def __init__(self, port: int, families: Sequence[Family], *, interfaces: Sequence[str] = ()) -> None:
        """Opens nothing yet.

        Args:
            port: the UDP port of everybody.
            families: the first must be there; of the others, one that this host does not have is done without.
            interfaces: names of the only interfaces to send and to hear on; none means all there are.
        """
        self._port = port
        self._families = tuple(families)
        self._names = frozenset(interfaces)
        self._indexes: dict[int, str] = {}
        self._missing: frozenset[str] = frozenset()
        self._pairs: list[_Pair] = []

    @property
    def missing(self) -> frozenset[str]:
        """Names of wanted interfaces that were not there when it was last looked, `JOIN_INTERVAL` ago at most."""
        return self._missing

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
        try:
            self._open()
            self._join()
            async with trio.open_nursery() as nursery:
                for pair in self._pairs:
                    nursery.start_soon(self._receive, pair.family, pair.shared, on_datagram)
                    nursery.start_soon(self._receive, pair.family, pair.sender, on_datagram)
                task_status.started()
                while True:
                    await trio.sleep(JOIN_INTERVAL)
                    if self._join():
                        on_new_interface()
        finally:
            for pair in self._pairs:
                pair.close()
            self._pairs = []

    async def send_everywhere(self, data: bytes) -> Sent:
        """Send by every family, interface and means. Never raises for a failed path: that is in the result."""
        if not self._pairs:
            return Sent(0, ("the sockets are not open",))
        paths, errors = 0, []
        with trio.move_on_after(SEND_PATIENCE) as patience:
            for index, name in self._indexes.items():
                for pair in self._pairs:
                    for control, address in pair.family.paths(index, name, self._port):
                        try:
                            await pair.sender.sendmsg([data], control, 0, address)
                            paths += 1
                        except (OSError, trio.ClosedResourceError) as error:
                            errors.append(f"{name} to {address[0]}: {_reason(error)}")
        if patience.cancelled_caught:
            errors.append(f"no room to send for {SEND_PATIENCE:g} s")
        return Sent(paths, tuple(errors))

    async def send_to(self, data: bytes, host: str, port: int) -> bool:
        """Send to one numeric address; False when that failed at once."""
        wanted = socket.AF_INET6 if ":" in host else socket.AF_INET
        for pair in self._pairs:
            if pair.sender.family == wanted:
                with trio.move_on_after(SEND_PATIENCE):
                    try:
                        await pair.sender.sendto(data, (host, port))
                        return True
                    except (OSError, trio.ClosedResourceError):
                        return False
        return False

    async def _receive(
        self, family: Family, sock: trio.socket.SocketType, on_datagram: Callable[[Datagram], None]
    ) -> None:
        room = socket.CMSG_SPACE(family.control_size)
        while True:
            data, control, _, sender = await sock.recvmsg(RECEIVE, room)
            source: Any = sender
            host = family.host(source)
            if host != NOWHERE and (not self._names or family.interface(control) in self._indexes):
                on_datagram(Datagram(data, host, source[1]))

    def _open(self) -> None:
        for family in self._families:
            try:
                with family.open(self._port) as shared, family.open(0) as sender:
                    self._pairs.append(_Pair(family, _wrapped(shared), _wrapped(sender)))
            except OSError as error:
                if not self._pairs:
                    raise
                log.info("no discovery by %s: %s", family.name, _reason(error))

    def _join(self) -> bool:
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
        for index, name in self._indexes.items():
            for pair in self._pairs:
                try:
                    pair.family.join(pair.shared, index)
                except OSError as error:
                    # Joined already, which is the normal case; or an interface that can do without, since broadcasts
                    # still reach it, and that is tried again.
                    if error.errno != errno.EADDRINUSE:
                        log.debug("no %s multicast on %s: %s", pair.family.name, name, _reason(error))
        return not self._indexes.keys() <= before


def _wrapped(sock: socket.socket) -> trio.socket.SocketType:
    """Trio's view of a socket; the one given may be closed."""
    return trio.socket.from_stdlib_socket(sock.dup())


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
