"""Who dials whom, and when again."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import trio

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.peers.lines import LineEnd, Lines
from praxis.peers.registry import PeerEntry

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds between attempts: doubled from the first, with full jitter, so that a crowd does not come back at once."""
REFUSED_PAUSE = 300.0
"""Seconds after an answer that will not change soon, such as a certificate of another network."""
STABLE = 30.0
"""Seconds after which a line counts as good, and the pauses begin anew."""
COURTESY = 2.0
"""Seconds that the larger id leaves to the smaller one to dial first; halves the crossed lines."""
CONNECT = 10.0
"""Seconds for a TCP connection."""
FINAL = frozenset({"wrong_id", "self", "version", "alpn"})
"""Ends that say that the address is not worth trying soon."""


class Dialer:
    """Keeps a line to every peer that is known, and to every bootstrap address."""

    def __init__(self, lines: Lines, *, bootstrap: Sequence[str]) -> None:
        self._lines = lines
        self._bootstrap = [parse_address(text) for text in bootstrap]
        self._nursery: trio.Nursery | None = None
        self._kept: set[PeerId] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for expected, address in self._bootstrap:
                nursery.start_soon(self._keep_bootstrap, expected, address)
            task_status.started()
            await trio.sleep_forever()

    def found(self, peer_id: PeerId, boot: int, candidates: Sequence[str]) -> None:
        """A beacon says that this peer is there: a hint, which only makes us dial."""
        entry = self._lines.registry.know(peer_id)
        if entry is None:
            return
        moved = entry.learn(candidates) or boot > entry.boot
        if entry.state == "left" and boot >= entry.boot:
            entry.state, moved = "connecting", True
        if moved:
            entry.tell()
        self.keep(entry)

    def left(self, peer_id: PeerId, boot: int) -> None:
        """A beacon says that this peer stops; it is not dialed again until it announces itself."""
        entry = self._lines.registry.entry(peer_id)
        if entry is not None and entry.boot <= boot:
            entry.state = "left"
            entry.tell()

    def keep(self, entry: PeerEntry) -> None:
        """See to it that there is a line to this peer, from now on."""
        if self._nursery is not None and entry.id not in self._kept:
            self._kept.add(entry.id)
            self._nursery.start_soon(self._keep_peer, entry)

    async def _keep_peer(self, entry: PeerEntry) -> None:
        attempts = 0
        while True:
            while entry.connected or entry.state == "left" or not entry.candidates:
                await entry.news.wait()
            if attempts == 0 and self._lines.identity.peer_id > entry.id and await _appears(entry, COURTESY):
                continue
            end = await self._dial_candidates(entry)
            if end is None or entry.connected:
                continue
            attempts = 0 if end.up_for >= STABLE else attempts + 1
            entry.set_state("down", end.reason)
            with trio.move_on_after(_pause(attempts, end)):
                await entry.news.wait()

    async def _dial_candidates(self, entry: PeerEntry) -> LineEnd | None:
        end = None
        for address in entry.candidates:
            if entry.connected:
                return None
            entry.set_state("connecting", "")
            end = await self._dial(address, entry.id)
            if end.up_for > 0:
                return end
        return end

    async def _keep_bootstrap(self, expected: PeerId | None, address: str) -> None:
        """Dial an address, again and again, whenever the peer that answers there has no line to us."""
        attempts = 0
        while True:
            end = await self._dial(address, expected)
            if end.peer_id is not None:
                entry = self._lines.registry.entry(end.peer_id)
                while entry is not None and entry.link is not None:
                    await entry.news.wait()
            if end.up_for == 0.0 and attempts == 0:
                logger.warning("bootstrap %s: %s; trying again", address, end.reason)
            attempts = 0 if end.up_for >= STABLE else attempts + 1
            await trio.sleep(_pause(attempts, end))

    async def _dial(self, address: str, expected: PeerId | None) -> LineEnd:
        host, port = split_address(address)
        try:
            with trio.fail_after(CONNECT):
                stream = await trio.open_tcp_stream(host, port)
        except trio.TooSlowError:
            return LineEnd(None, 0.0, "connect_timeout", f"{address}: no connection within {CONNECT:g} s")
        except OSError as error:
            return LineEnd(None, 0.0, "connect", f"{address}: {_reason(error)}")
        return await self._lines.serve(stream, dialer=True, expected=expected, on_known=lambda: None)


async def _appears(entry: PeerEntry, patience: float) -> bool:
    """Wait up to `patience` seconds for a line that the peer dials."""
    with trio.move_on_after(patience):
        while not entry.connected:
            await entry.news.wait()
    return entry.connected


def parse_address(text: str) -> tuple[PeerId | None, str]:
    """``HOST:PORT`` or ``PEER_ID@HOST:PORT``. Raises PraxisError("invalid")."""
    peer_id, at, address = text.rpartition("@")
    split_address(address)
    if at and not (peer_id.startswith("px") and len(peer_id) == 54):
        raise PraxisError("invalid", f"{peer_id!r} is not a peer id", where=text)
    return (peer_id if at else None), address


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``. Raises PraxisError("invalid")."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise PraxisError("invalid", f"{address!r} is not HOST:PORT", hint="IPv6 hosts stand in brackets")
    return host.strip("[]"), int(port)


def _pause(attempts: int, end: LineEnd) -> float:
    if end.code in FINAL:
        return REFUSED_PAUSE
    longest = min(FIRST_PAUSE * 2 ** max(0, attempts - 1), LONGEST_PAUSE)
    return random.uniform(longest / 10, longest)  # noqa: S311 - only spreads the attempts


def _reason(error: OSError) -> str:
    """The words of the operating system, not of the layers above it."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        leaves = {str(leaf.strerror or leaf) for leaf in cause.exceptions if isinstance(leaf, OSError)}
        return "; ".join(sorted(leaves)) or str(error)
    return str(cause if isinstance(cause, OSError) else error)
