"""An imagined network: hosts, lines between them with latency, and what can go wrong with them.

Everything random comes from one seed, and time is that of Trio's clock, so a run can be repeated exactly.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from praxis.model.peer import PeerId
from praxis.net.tls import Broken
from praxis.net.udp import Datagram, Sent

if TYPE_CHECKING:
    from praxis.sim.agent import SimAgent

BEACON_PORT = 4001

Accept = Callable[["SimPipe", PeerId], Awaitable[None]]


class SimPipe:
    """One end of a line: `praxis.peers.writer.Pipe`, without TLS. What is sent arrives after the latency, in order."""

    def __init__(self, network: SimNetwork, host: str, remote_host: str) -> None:
        self.host = host
        self.remote_host = remote_host
        self.remote = f"{remote_host}:1"
        self.wants_to_write = False
        self.claims = ("", 0.0)  # there are no certificates here
        self.other: SimPipe = self
        self._network = network
        self._arriving: deque[tuple[float, bytes]] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._end: tuple[str, str] | None = None
        self._ended_at = 0.0

    async def send(self, plain: bytes) -> None:
        """Raises Broken when the line has been reset."""
        self.send_nowait(plain)
        await trio.lowlevel.checkpoint()

    def send_nowait(self, plain: bytes) -> None:
        if self._end is not None and self._end[0] != "closed":
            raise Broken(*self._end)
        if plain:
            self.other._arriving.append((self._network.arrival(self), plain))
            self.other._arrived.unpark_all()

    async def receive(self) -> bytes:
        """What has arrived; b"" at the end. Raises Broken after a reset."""
        while True:
            now = trio.current_time()
            if self._arriving and self._arriving[0][0] <= now and self._network.carries(self.host, self.remote_host):
                parts = []
                while self._arriving and self._arriving[0][0] <= now:
                    parts.append(self._arriving.popleft()[1])
                return b"".join(parts)
            if self._end is not None and not self._arriving and self._ended_at <= now:
                if self._end[0] == "closed":
                    return b""
                raise Broken(*self._end)
            await self._wait()

    async def _wait(self) -> None:
        """Until something may be there: the next arrival, the end, or a change of the network."""
        due = [self._arriving[0][0]] if self._arriving else []
        due += [self._ended_at] if self._end is not None else []
        later = [time for time in due if time > trio.current_time()]
        with trio.move_on_at(min(later, default=float("inf"))):
            await self._arrived.park()

    def look(self) -> None:
        """The network has changed."""
        self._arrived.unpark_all()

    def close(self) -> None:
        """Both ends learn it: this one at once, the other one when the last bytes have arrived."""
        self._network.forget(self)
        if self._end is not None:
            return
        self._finish("closed", "closed", 0.0)
        self.other._finish("closed", "closed", self._network.latency)

    def reset(self, *, silently: bool = False) -> None:
        """What a process that is killed does to its lines; `silently` the other end is not told."""
        self._network.forget(self)
        self._finish("reset", "Connection reset by peer", 0.0)
        if not silently:
            self.other._finish("reset", "Connection reset by peer", self._network.latency)

    def _finish(self, reason: str, detail: str, delay: float) -> None:
        if self._end is None:
            self._end, self._ended_at = (reason, detail), trio.current_time() + delay
            self._arrived.unpark_all()


@attrs.define(eq=False)
class Host:
    """One address. `accept` serves a line that somebody dials; None while nothing listens there."""

    address: str
    segment: int
    accept: Accept | None = None
    peer_id: PeerId = ""
    hear: Callable[[Datagram], None] | None = None
    nursery: trio.Nursery | None = None
    pipes: dict[SimPipe, None] = attrs.field(factory=dict)
    """Its ends of lines, in the order in which they were made."""


class SimNetwork:
    """Hosts and what is between them. `latency` and `jitter` are in seconds, `loss` is the part of beacons lost."""

    def __init__(self, seed: int, *, latency: float = 0.02, jitter: float = 0.0, loss: float = 0.0) -> None:
        self.chance = Random(seed)  # noqa: S311 - to be repeated is what it is for
        self.latency, self.jitter, self.loss = latency, jitter, loss
        self.hosts: dict[str, Host] = {}
        self.agents: list[SimAgent] = []
        """All that were ever started here."""
        self._parts: dict[str, int] = {}
        self._silent: set[str] = set()
        self._cut: set[frozenset[str]] = set()

    # -- weather ------------------------------------------------------------------------------------

    def partition(self, *parts: set[str]) -> None:
        """Addresses in different parts do not reach each other, silently; no parts: everybody reaches everybody."""
        self._parts = {address: number for number, part in enumerate(parts) for address in part}
        self._changed()

    def silence(self, address: str) -> None:
        """The cable of a host is pulled; nobody is told."""
        self._silent.add(address)
        self._changed()

    def heal(self, address: str) -> None:
        self._silent.discard(address)
        self._changed()

    def cut(self, one: str, other: str) -> None:
        """Two addresses do not reach each other any more, silently; the others reach both."""
        self._cut.add(frozenset((one, other)))
        self._changed()

    def mend(self, one: str, other: str) -> None:
        self._cut.discard(frozenset((one, other)))
        self._changed()

    def carries(self, one: str, other: str) -> bool:
        """Whether bytes go between two addresses now."""
        if self._parts.get(one) != self._parts.get(other) or {one, other} & self._silent:
            return False
        return frozenset((one, other)) not in self._cut

    def _changed(self) -> None:
        for host in self.hosts.values():
            for pipe in host.pipes:
                pipe.look()

    def arrival(self, pipe: SimPipe) -> float:
        """When bytes that are sent now arrive; never before those that were sent earlier."""
        due = trio.current_time() + self.latency + self.chance.uniform(0, self.jitter)
        before = pipe.other._arriving[-1][0] if pipe.other._arriving else 0.0
        return max(due, before)

    # -- lines --------------------------------------------------------------------------------------

    async def connect(self, source: str, address: str) -> tuple[SimPipe, PeerId]:
        """A line from one address to another, and who is there. Raises OSError."""
        if not self.carries(source, address):
            await trio.sleep_forever()
        await trio.sleep(2 * self.latency + self.chance.uniform(0, self.jitter))
        host = self.hosts.get(address)
        if host is None or host.accept is None or host.nursery is None or not self.carries(source, address):
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        near, far = SimPipe(self, source, address), SimPipe(self, address, source)
        near.other, far.other = far, near
        self.hosts[source].pipes[near] = None
        host.pipes[far] = None
        host.nursery.start_soon(host.accept, far, self.hosts[source].peer_id)
        return near, host.peer_id

    def forget(self, pipe: SimPipe) -> None:
        self.hosts[pipe.host].pipes.pop(pipe, None)

    # -- beacons ------------------------------------------------------------------------------------

    def broadcast(self, source: Host, data: bytes) -> None:
        """To every other host of the segment; each hears it with a chance of 1 - loss."""
        for host in self.hosts.values():
            if host.segment == source.segment and host is not source:
                self.datagram(source.address, host.address, data)

    def datagram(self, source: str, address: str, data: bytes) -> None:
        host = self.hosts.get(address)
        lost = not self.carries(source, address) or self.chance.random() < self.loss
        if host is not None and host.hear is not None and host.nursery is not None and not lost:
            host.nursery.start_soon(self._deliver, host, Datagram(data, source, BEACON_PORT))

    async def _deliver(self, host: Host, datagram: Datagram) -> None:
        await trio.sleep(self.latency)
        if host.hear is not None:
            host.hear(datagram)


class SimTransport:
    """`praxis.peers.discovery.Transport` on a simulated segment."""

    missing: frozenset[str] = frozenset()

    def __init__(self, network: SimNetwork, host: Host) -> None:
        self._network = network
        self._host = host

    async def listen(
        self,
        on_datagram: Callable[[Datagram], None],
        on_new_interface: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._host.hear = on_datagram
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self._host.hear = None

    async def send_everywhere(self, data: bytes) -> Sent:
        await trio.lowlevel.checkpoint()
        self._network.broadcast(self._host, data)
        return Sent(1)

    async def send_to(self, data: bytes, host: str, port: int) -> bool:
        await trio.lowlevel.checkpoint()
        self._network.datagram(self._host.address, host, data)
        return True
