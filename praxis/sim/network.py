"""An imagined network: hosts, lines between them with latency, and what can go wrong with them.

Everything random comes from one seed, and time is that of Trio's clock, so a run can be repeated exactly.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

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
        self._reader: trio.lowlevel.Task | None = None
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
            due = self._network.arrival(self)
            self.other._arriving.append((due, plain))
            self._network.at(due, self.other.look)

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
            self._reader = current_task()
            await wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _: object) -> Abort:
        self._reader = None
        return Abort.SUCCEEDED

    def look(self) -> None:
        """Something has arrived, or the network has changed."""
        if self._reader is not None:
            reschedule(self._reader)
            self._reader = None

    def close(self) -> None:
        """Both ends learn it: this one at once, the other one when the last bytes have arrived."""
        self._network.forget(self)
        if self._end is not None:
            return
        self._finish("closed", "closed", 0.0)
        self.other._finish("closed", "closed", self._network.between(self.host, self.remote_host))

    def reset(self, *, silently: bool = False) -> None:
        """What a process that is killed does to its lines; `silently` the other end is not told."""
        self._network.forget(self)
        self._finish("reset", "Connection reset by peer", 0.0)
        if not silently:
            delay = self._network.between(self.host, self.remote_host)
            self.other._finish("reset", "Connection reset by peer", delay)

    def _finish(self, reason: str, detail: str, delay: float) -> None:
        if self._end is None:
            self._end, self._ended_at = (reason, detail), trio.current_time() + delay
            self._network.at(self._ended_at, self.look)


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

    def hears(self, datagram: Datagram) -> None:
        """A datagram has arrived; nobody may listen any more."""
        if self.hear is not None:
            self.hear(datagram)


class SimNetwork:
    """Hosts and what is between them. `latency` and `jitter` are in seconds, `loss` is the part of beacons lost."""

    def __init__(self, seed: int, *, latency: float = 0.02, jitter: float = 0.0, loss: float = 0.0) -> None:
        self.chance = Random(seed)  # noqa: S311 - to be repeated is what it is for
        self.latency, self.jitter, self.loss = latency, jitter, loss
        self.hosts: dict[str, Host] = {}
        self.agents: list[SimAgent] = []
        """All that were ever started here."""
        self._segments: dict[int, list[Host]] = {}
        self._to_come: list[tuple[float, int, Callable[[], None]]] = []
        """What happens, and when: a heap. Nothing waits in a task of its own, which would cost more than all else."""
        self._order = count()
        self._parts: dict[str, int] = {}
        self._silent: set[str] = set()
        self._cut: set[frozenset[str]] = set()
        self._slow: dict[frozenset[str], float] = {}

    def host(self, address: str, segment: int) -> Host:
        """The one at an address, made if need be; an agent that is started again there finds its segment again."""
        host = self.hosts.get(address)
        if host is None:
            host = self.hosts[address] = Host(address, segment)
            self._segments.setdefault(segment, []).append(host)
        return host

    # -- time ---------------------------------------------------------------------------------------

    def at(self, time: float, happens: Callable[[], None]) -> None:
        """Have something happen at a time of Trio's clock."""
        heapq.heappush(self._to_come, (time, next(self._order), happens))

    @property
    def next_at(self) -> float:
        """When something happens next; infinity when nothing is under way."""
        return self._to_come[0][0] if self._to_come else float("inf")

    def happen(self, now: float) -> None:
        """Let happen what is due."""
        while self._to_come and self._to_come[0][0] <= now:
            heapq.heappop(self._to_come)[2]()

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

    def slow(self, one: str, other: str, latency: float) -> None:
        """What goes from one of these addresses to the other takes so many seconds from now on."""
        self._slow[frozenset((one, other))] = latency

    def between(self, one: str, other: str) -> float:
        """Seconds that bytes take from one address to another now, without jitter."""
        return self._slow.get(frozenset((one, other)), self.latency) if self._slow else self.latency

    def carries(self, one: str, other: str) -> bool:
        """Whether bytes go between two addresses now."""
        if self._parts and self._parts.get(one) != self._parts.get(other):
            return False
        if self._silent and (one in self._silent or other in self._silent):
            return False
        return not self._cut or frozenset((one, other)) not in self._cut

    def _changed(self) -> None:
        for host in self.hosts.values():
            for pipe in host.pipes:
                pipe.look()

    def arrival(self, pipe: SimPipe) -> float:
        """When bytes that are sent now arrive; never before those that were sent earlier."""
        due = trio.current_time() + self.between(pipe.host, pipe.remote_host) + self.chance.uniform(0, self.jitter)
        before = pipe.other._arriving[-1][0] if pipe.other._arriving else 0.0
        return max(due, before)

    # -- lines --------------------------------------------------------------------------------------

    async def connect(self, source: str, address: str) -> tuple[SimPipe, PeerId]:
        """A line from one address to another, and who is there. Raises OSError."""
        if not self.carries(source, address):
            await trio.sleep_forever()
        await trio.sleep(2 * self.between(source, address) + self.chance.uniform(0, self.jitter))
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
        for host in self._segments[source.segment]:
            if host is not source:
                self.datagram(source.address, host.address, data)

    def datagram(self, source: str, address: str, data: bytes) -> None:
        lost = not self.carries(source, address) or self.chance.random() < self.loss
        host = self.hosts.get(address)
        if host is not None and host.hear is not None and not lost:
            due = trio.current_time() + self.between(source, address)
            self.at(due, partial(host.hears, Datagram(data, source, BEACON_PORT)))


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
