"""Who dials whom, and when again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import trio

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.net.tls import Broken
from praxis.observe.metrics import Metrics
from praxis.peers.addresses import order, split_address
from praxis.peers.backoff import Backoff
from praxis.peers.entry import PeerEntry
from praxis.peers.gossip import Gossip
from praxis.peers.lines import LineEnd, Lines, Opened, Stream
from praxis.peers.link import PeerLink
from praxis.peers.neighbours import neighbours
from praxis.peers.pace import Pace
from praxis.peers.registry import UNNEEDED

COURTESY = 2.0
"""Seconds that the larger id leaves to the smaller one to dial first; halves the crossed lines."""
CONNECT = 10.0
"""Seconds for a TCP connection."""
STAGGER = 0.25
"""Seconds that one candidate has before the next is tried beside it (RFC 8305's Connection Attempt Delay)."""
MAX_DIALS = 32
"""Peers dialed at once: what a large network that starts brings, and little for the machine."""
MAX_HINTED_DIALS = 16
"""Peers dialed at once, besides, of which nothing but a beacon has told: a member can make any number of them up, and
those that never answer must not hold up the others."""
HINTED_RATE = 10
"""Connections a second to these, after as many at once: a flood of beacons must not make us a flood. A segment of fifty
agents that start together takes five seconds at most, and less where their directories tell of them first."""
REACH = 15.0
"""Seconds for a line that is made because a call needs it."""
IDLE = 300.0
"""Seconds without a call after which a line that was made for one is closed."""
REVIEW = 1.0
"""Seconds over which changes of the membership are collected before the neighbours are chosen anew."""

Connect = Callable[[str, int], Awaitable[Stream]]


class Dialer:
    """Keeps a line to every peer, or to some of them where there are more than `max_peers`."""

    def __init__(
        self,
        lines: Lines,
        gossip: Gossip,
        *,
        max_peers: int,
        chance: Random,
        metrics: Metrics,
        connect: Connect = trio.open_tcp_stream,
    ) -> None:
        """`connect` raises OSError."""
        self._lines = lines
        self._gossip = gossip
        self._max_peers = max_peers
        self._chance = chance
        self._connect = connect
        self._nursery: trio.Nursery | None = None
        self._kept: set[PeerId] = set()
        self._near: frozenset[PeerId] | None = None
        """The peers to keep lines to; None means all."""
        self._chosen_of = -1
        self._needed: dict[PeerId, float] = {}
        """Peers that calls have needed, and when last; looked at for each line and dropped with it."""
        self._grown = trio.Event()
        self._dials = trio.Semaphore(MAX_DIALS)
        self._hinted_dials = trio.Semaphore(MAX_HINTED_DIALS)
        self._pace = Pace(HINTED_RATE)
        self._renewing: set[PeerId] = set()
        self._redials = metrics.counter(
            "praxis_p2p_redials_total", "Peers dialed again after an attempt or a line ended."
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                while True:
                    await self._grown.wait()
                    await trio.sleep(REVIEW)
                    self._grown = trio.Event()
                    self._choose()
            finally:
                self._nursery = None

    def found(self, peer_id: PeerId, boot: int, candidates: tuple[str, ...]) -> None:
        """A beacon says that this peer is there: a hint, which only makes us dial."""
        registry = self._lines.registry
        entry = registry.know(peer_id, hint=True)
        if entry is None or entry.state == "blocked":
            return
        moved = entry.learn(candidates) or boot > entry.boot
        # A beacon that was under way when the peer said goodbye does not bring it back; one of a new start does.
        said_goodbye = self._gossip.directory.tombstone(peer_id) is not None
        if entry.state == "left" and (boot > entry.boot or (boot == entry.boot and not said_goodbye)):
            registry.mark_back(entry)
            moved = True
        if moved:
            entry.tell()
        self.consider(entry)

    def left(self, peer_id: PeerId, boot: int) -> None:
        """A beacon says that this peer stops; it is not dialed again until it announces itself."""
        entry = self._lines.registry.entry(peer_id)
        if entry is not None and entry.boot <= boot:
            self._lines.registry.mark_left(entry)

    def consider(self, entry: PeerEntry) -> None:
        """Something about this peer is new: see to it that there is a line, if there should be one."""
        if self._near is not None:
            self._grown.set()
        elif len(self._gossip.directory) > self._max_peers:
            self._choose()
        if self._nursery is not None and entry.id not in self._kept and self._wanted(entry):
            self._kept.add(entry.id)
            self._nursery.start_soon(self._keep, entry)

    async def reach(self, peer_id: PeerId) -> PeerLink:
        """A line to a peer, made now if need be. Raises PraxisError("unavailable") with the reason."""
        entry = self._lines.registry.entry(peer_id)
        if entry is None:
            raise PraxisError("unavailable", f"nothing is known of peer {peer_id}")
        self._needed[peer_id] = trio.current_time()
        if entry.link is None:
            entry.tell()
            self.consider(entry)
            with trio.move_on_after(REACH):
                while entry.link is None:
                    await entry.news.wait()
        if entry.link is None:
            raise PraxisError(
                "unavailable", f"{entry.name or peer_id} cannot be reached: {entry.reason or 'no answer'}"
            )
        return entry.link

    async def renew(self, entry: PeerEntry, link: PeerLink) -> None:
        """Make another line beside one that we have dialed; it gives way to the new one.

        Returns at once when that is under way already. Raises PraxisError("unavailable").
        """
        if entry.id in self._renewing:
            return
        self._renewing.add(entry.id)
        try:
            await self._replace(entry, link)
        finally:
            self._renewing.discard(entry.id)

    async def _replace(self, entry: PeerEntry, link: PeerLink) -> None:
        ends: list[LineEnd] = []

        async def serve(opened: Opened) -> None:
            ends.append(await self._serve(opened, entry))
            entry.tell()

        async with self._dials:
            result = await dial(self._lines, self._connect, link.address, entry.id)
        if isinstance(result, LineEnd):
            raise PraxisError("unavailable", result.reason)
        if self._nursery is None:
            result[0].close()
            raise PraxisError("unavailable", "the agent stops")
        self._nursery.start_soon(serve, result)
        with trio.move_on_after(REACH):
            while entry.link is link and not ends:
                await entry.news.wait()
        if entry.link is link:
            raise PraxisError("unavailable", ends[0].reason if ends else f"no line within {REACH:g} s")

    # -- which ---------------------------------------------------------------------------------------

    def _choose(self) -> None:
        registry, directory = self._lines.registry, self._gossip.directory
        if directory.members == self._chosen_of:
            return
        self._chosen_of = directory.members
        members = directory.others()
        near = neighbours(directory.own.id, members) if len(members) >= self._max_peers else None
        if near == self._near:
            return
        self._near = near
        for peer_id in sorted(members if near is None else near):
            entry = registry.entry(peer_id)
            if entry is not None:
                self.consider(entry)

    def _wanted(self, entry: PeerEntry) -> bool:
        if entry.state in ("left", "blocked") or not (entry.candidates or entry.connected):
            return False
        needed = self._needed.get(entry.id)
        return (
            self._near is None or entry.id in self._near or (needed is not None and trio.current_time() - needed < IDLE)
        )

    # -- keeping -------------------------------------------------------------------------------------

    async def _keep(self, entry: PeerEntry) -> None:
        backoff = Backoff(self._chance)
        try:
            while self._wanted(entry):
                if entry.connected:
                    await entry.news.wait()
                    continue
                if backoff.fresh and self._lines.identity.peer_id > entry.id and not self._is_needed(entry):
                    with trio.move_on_after(COURTESY):
                        await entry.news.wait()
                        continue
                if not backoff.fresh:
                    self._redials.inc()
                end = await self._dial(entry)
                if end is None or entry.connected:
                    continue
                if entry.state == "idle" and not self._wanted(entry):
                    break  # its line was not needed any more: it is not lost
                self._lines.registry.set_state(entry, "down", end.reason)
                self._gossip.lost(entry)
                news = entry.news
                with trio.move_on_after(backoff.after(end.code, end.up_for, trio.current_time())) as pause:
                    await news.wait()
                if not pause.cancelled_caught and not entry.connected:
                    backoff.reset()
        finally:
            self._kept.discard(entry.id)
            self._needed.pop(entry.id, None)

    def _is_needed(self, entry: PeerEntry) -> bool:
        return entry.id in self._needed

    async def _serve(self, opened: Opened, entry: PeerEntry) -> LineEnd:
        """Serve a line that we have dialed; one that was made for calls is closed when there are none any more."""

        async def close_when_idle() -> None:
            while True:
                await trio.sleep(IDLE / 2)
                link = entry.link
                if link is None or not link.dialer:
                    continue
                if link.load:
                    self._needed[entry.id] = trio.current_time()
                elif not self._wanted(entry):
                    await link.leave(UNNEEDED, redial=True, grace=0)  # the peer may want it for calls of its own

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_when_idle)
            end = await self._lines.serve(*opened, dialer=True)
            nursery.cancel_scope.cancel()
        return end

    async def _dial(self, entry: PeerEntry) -> LineEnd | None:
        """Try the candidates, the next one a moment after the last, and serve the first line that comes about.

        Returns how it ended, or the last refusal; None when the peer has dialed us meanwhile.
        """
        if entry.state == "idle":  # one that is down stays so until it is reached
            self._lines.registry.set_state(entry, "connecting", "")
        opened: list[Opened] = []
        failures: list[LineEnd] = []
        hinted = self._lines.registry.hinted(entry) and not self._is_needed(entry)

        async def attempt(address: str, failed: trio.Event, all_attempts: trio.CancelScope) -> None:
            result = await dial(self._lines, self._connect, address, entry.id)
            if isinstance(result, LineEnd):
                failures.append(result)
                failed.set()
            elif opened:
                result[0].close()
            else:
                opened.append(result)
                all_attempts.cancel()

        try:
            async with self._hinted_dials if hinted else self._dials, trio.open_nursery() as nursery:
                for address in order(entry.candidates, recent=entry.candidates[:1]):
                    if hinted and self._wanted(entry) and not entry.connected:
                        await self._pace.wait()
                    if entry.connected or not self._wanted(entry):
                        nursery.cancel_scope.cancel()
                        break
                    failed = trio.Event()
                    nursery.start_soon(attempt, address, failed, nursery.cancel_scope)
                    with trio.move_on_after(STAGGER):
                        await failed.wait()
        except BaseException:
            for pipe, _ in opened:
                pipe.close()
            raise
        if opened:
            return await self._serve(opened[0], entry)
        return failures[-1] if failures and not entry.connected else None


async def dial(lines: Lines, connect: Connect, address: str, expected: PeerId | None) -> Opened | LineEnd:
    """Connect and find out who is there; a `LineEnd` says why not."""
    try:
        with trio.fail_after(CONNECT):
            stream = await connect(*split_address(address))
    except trio.TooSlowError:
        return LineEnd(None, 0.0, "connect_timeout", f"{address}: no connection within {CONNECT:g} s")
    except OSError as error:
        return LineEnd(None, 0.0, "connect", f"{address}: {_reason(error)}")
    except PraxisError as error:
        return LineEnd(None, 0.0, "address", str(error))
    try:
        return await lines.open(stream, dialer=True, expected=expected)
    except Broken as error:
        return LineEnd(None, 0.0, error.reason, f"{address}: {error}")


def _reason(error: OSError) -> str:
    """The words of the operating system, not of the layers above it."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        leaves = {str(leaf.strerror or leaf) for leaf in cause.exceptions if isinstance(leaf, OSError)}
        return "; ".join(sorted(leaves)) or str(error)
    return str(cause if isinstance(cause, OSError) else error)
