"""The lines of this agent: each is greeted, taken into the registry, introduced, and taken out again at its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

import attrs
import trio

from praxis.config.schema import P2P
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.net.tls import Broken
from praxis.observe.metrics import Metrics
from praxis.peers.addresses import seen_at
from praxis.peers.entry import PeerEntry
from praxis.peers.gossip import Gossip
from praxis.peers.identity import Identity
from praxis.peers.line import GREETING, authenticate
from praxis.peers.link import FAREWELL, PeerLink
from praxis.peers.load import FEATURE
from praxis.peers.load_news import LoadNews
from praxis.peers.own_addresses import OwnAddresses
from praxis.peers.record import decode_card
from praxis.peers.registry import PeerRegistry
from praxis.peers.request import Handler
from praxis.peers.traffic import Traffic
from praxis.peers.writer import Pipe
from praxis.wire import frames
from praxis.wire.messages import Hello, encode_goaway
from praxis.wire.session import Session

logger = logging.getLogger(__name__)

INTRODUCTION = 30.0
"""Seconds for a peer to answer with its card and tools; they are small, but its machine may be busy."""
LOOK_AGAIN = 60.0
"""Seconds between two looks at the clock for the end of a certificate."""
DATED = ("certificate has expired", "certificate is not yet valid", "certificate expired")
"""What OpenSSL says of a certificate's dates, and what its alert says that the other end sends."""
EXPECTED = frozenset({"cancelled", "blocked", "not_allowed"})
"""How lines end that this agent ends by itself, beside those that end with a goodbye."""
DUPLICATE_GRACE = 10.0
"""Seconds for the calls on a line that gives way to another one to the same peer."""


Stream: TypeAlias = Any
"""What a line is made on: a Trio stream, or in a simulation something like it."""
Opened: TypeAlias = tuple[Pipe, PeerId]
Authenticate = Callable[..., Awaitable[Opened]]


@attrs.frozen
class LineEnd:
    """How an attempt or a line ended. `up_for` is seconds in use, 0 when the peer was never greeted."""

    peer_id: PeerId | None
    up_for: float
    code: str
    reason: str


@attrs.frozen
class _Refusal:
    """Why there is no line with a peer: the code, what the peer is told, and what is said of it here."""

    reason: str
    farewell: str
    detail: str


BLOCKED = _Refusal("blocked", "this agent is told to have no line with that one", "is blocked here")
NOT_ALLOWED = _Refusal(
    "not_allowed", "this agent has lines with others alone", "is not among those that are allowed here"
)


class Lines:
    """Serves lines, dialed and accepted alike, until they end."""

    def __init__(
        self,
        registry: PeerRegistry,
        identity: Identity,
        *,
        addresses: OwnAddresses,
        config: P2P,
        boot: int,
        software: str,
        handler: Handler,
        gossip: Gossip,
        metrics: Metrics,
        clock: Callable[[], float],
        authenticate: Authenticate = authenticate,
    ) -> None:
        """`clock` gives seconds since the epoch; `handler` answers peers' requests; `authenticate` is another one where
        there is no TLS: in simulations."""
        self.registry = registry
        self.gossip = gossip
        self.loads = LoadNews(registry, metrics)
        self.identity = identity
        self.open_lines = 0
        """Lines that are open now, those among them that give way to others."""
        self._replaced: dict[PeerLink, trio.Event] = {}
        """Of lines in use: set when another one takes their place."""
        self.blocked: frozenset[PeerId] = frozenset()
        """Peers with which no line is kept; see `block`."""
        self._allowed: frozenset[str] = frozenset()
        self._addresses = addresses
        self._config = config
        self._boot = boot
        self._software = software
        self._handler = handler
        self._clock = clock
        self._authenticate = authenticate
        self._handshakes = metrics.counter(
            "praxis_p2p_handshakes_total", "Lines that were opened or refused, by why.", ("result", "reason")
        )
        self._calls = metrics.counter(
            "praxis_p2p_calls_total", "Calls of ours to peers that have ended, by method and how.", ("method", "result")
        )
        self._traffic = Traffic(registry, metrics)
        metrics.gauge("praxis_p2p_open_lines", "Lines that are open now.", lambda: float(self.open_lines))
        self._ends = metrics.counter("praxis_p2p_lines_ended_total", "Lines that ended, by why.", ("reason",))

    async def open(self, stream: Stream, *, dialer: bool, expected: PeerId | None = None) -> Opened:
        """Find out who is at the other end. Raises `Broken` with the reason; the stream is closed then."""
        try:
            pipe, peer_id = await self._authenticate(stream, self.identity, dialer=dialer, expected=expected)
            refusal = self._refusal(peer_id, pipe.claims[0] if self.identity.vouched else "")
            if refusal is not None:
                await self._turn_away(pipe, refusal.farewell)
                raise Broken(refusal.reason, f"{peer_id} {refusal.detail}")
            return pipe, peer_id
        except Broken as error:
            error = self._explained(error)
            self._handshakes.inc(1, "refused", error.reason)
            logger.info("%s line refused: %s", "dialed" if dialer else "incoming", error)
            raise error from None

    async def _turn_away(self, pipe: Pipe, reason: str) -> None:
        """Tell a member that it need not come back soon, and close."""
        try:
            with trio.move_on_after(FAREWELL):
                await pipe.send(frames.encode(frames.GOAWAY, 0, encode_goaway(reason, redial=False)))
        except Broken:
            pass  # it has gone already
        finally:
            pipe.close()

    def _explained(self, error: Broken) -> Broken:
        """Where dates in certificates count, a clock that is wrong looks like a certificate that is."""
        if self.identity.vouched and any(words in str(error) for words in DATED):
            now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
            hint = (
                "; if the clock of this machine is right, that of the peer may be wrong, or its certificate has ended"
            )
            return Broken(error.reason, f"{error}; the clock here shows {now}{hint}")
        return error

    def allow(self, peers: Sequence[str]) -> None:
        """Keep lines only with these, by id or by the name that a CA vouches for; none means all. Others are cut."""
        self._allowed = frozenset(peers)
        for link in self.registry.links():
            if not self._allows(link.peer_id, link.hello.name if self.identity.vouched else ""):
                link.close("not_allowed", "this agent keeps no line with that one any more")

    def _allows(self, peer_id: PeerId, name: str) -> bool:
        return not self._allowed or peer_id in self._allowed or name in self._allowed

    def _refusal(self, peer_id: PeerId, name: str) -> _Refusal | None:
        """Why there is to be no line with this peer; None if there may be one."""
        if peer_id in self.blocked:
            return BLOCKED
        return None if self._allows(peer_id, name) else NOT_ALLOWED

    def block(self, peer_ids: Sequence[PeerId]) -> None:
        """Keep no line with these peers, and with all others again. Lines that are open are cut at once."""
        before, self.blocked = self.blocked, frozenset(peer_ids)
        for peer_id in self.blocked - before:
            entry = self.registry.know(peer_id)
            if entry is not None:
                self.registry.block(entry)
        for peer_id in before - self.blocked:
            entry = self.registry.entry(peer_id)
            if entry is not None and entry.state == "blocked":
                self.registry.unblock(entry)

    async def serve(self, pipe: Pipe, peer_id: PeerId, *, dialer: bool) -> LineEnd:
        """Greet, use, and take leave of one line; returns how it ended."""
        hello = Hello(
            id=self.identity.peer_id,
            name=self.identity.name,
            boot=self._boot,
            agent=self._software,
            listen=self._addresses.listening,
            observed=pipe.remote,
            inflight=self._config.limits.inflight,
            message=self._config.limits.message,
            features=frozenset({FEATURE}),
        )
        link = PeerLink(
            pipe,
            Session(hello, dialer=dialer),
            peer_id=peer_id,
            address=pipe.remote,
            handler=self._handler,
            keepalive=self._config.keepalive,
            on_call=lambda method, result: self._calls.inc(1, method, result),
        )
        link.on_notice = partial(self.loads.hear, link)
        began = trio.current_time()
        greeted = False
        claims = pipe.claims if self.identity.vouched else None
        self.open_lines += 1
        try:
            greeted = await self._run(link, claims)
        finally:
            self.open_lines -= 1
            self._ends.inc(1, link.reason_code)
            self._traffic.ended(link)
        return LineEnd(peer_id, trio.current_time() - began if greeted else 0.0, link.reason_code, link.reason)

    async def _run(self, link: PeerLink, claims: tuple[str, float] | None) -> bool:
        """Until the line ends; True if the peer said HELLO."""
        greeted = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            with trio.move_on_after(GREETING):
                greeted = await link.wait_greeted()
            if greeted:
                if claims is not None and link.hello.name != claims[0]:
                    link.close("name", f"its certificate is for {claims[0]}, but it calls itself {link.hello.name}")
                    self._handshakes.inc(1, "refused", "name")
                    return False
                self._handshakes.inc(1, "ok", "")
                if claims is not None:
                    nursery.start_soon(self._expire, link, claims[1])
                await self._use(link, nursery)
                nursery.cancel_scope.cancel()
            else:
                link.close("hello_timeout", f"no HELLO within {GREETING:g} s")
                self._handshakes.inc(1, "refused", link.reason_code)
                logger.info("line with %s ended before HELLO: %s", link.peer_id, link.reason)
        return greeted

    async def _expire(self, link: PeerLink, end: float) -> None:
        """Close the line when the peer's certificate ends. The clock is looked at again and again: it may be set."""
        while (left := end - self._clock()) > 0:  # noqa: ASYNC110 - no event says that a clock was set
            await trio.sleep(min(left, LOOK_AGAIN))
        link.close("expired", "the peer's certificate has expired")

    async def _use(self, link: PeerLink, nursery: trio.Nursery) -> None:
        refusal = self._refusal(link.peer_id, link.hello.name if self.identity.vouched else "")
        if refusal is not None:  # since `open`: a line that was not greeted yet is none that `block` could cut
            link.close(refusal.reason, refusal.farewell)
            return
        entry = self.registry.know(link.peer_id)
        if entry is None:
            await link.leave("too many peers", redial=False, grace=0)
            return
        loser = self.registry.adopt(entry, link)
        replaced = self._replaced[link] = trio.Event()
        try:
            if loser is link:
                await link.leave("duplicate", redial=True, grace=DUPLICATE_GRACE)
                return
            if loser is not None:
                self._replaced[loser].set()
            nursery.start_soon(self._give_way, link, replaced)
            entry.learn(_dialable(link))
            self._addresses.observe(link.peer_id, link.hello.observed)
            await self._introduce(entry, link)
            await link.wait_ended()
        finally:
            if entry.link is link and link.closed and not link.leaving and link.reason_code not in EXPECTED:
                logger.warning("the line to %s (%s) is lost: %s", entry.name, entry.id, link.reason)
            self.registry.drop(entry, link)
            del self._replaced[link]

    async def _give_way(self, link: PeerLink, replaced: trio.Event) -> None:
        """In the line's own nursery: the line that takes its place may end before its last call does."""
        await replaced.wait()
        await link.leave("duplicate", redial=True, grace=DUPLICATE_GRACE)

    # -- introduction -------------------------------------------------------------------------------

    async def _introduce(self, entry: PeerEntry, link: PeerLink) -> None:
        """Learn the peer's card and tools. A peer that cannot say who it is, is not kept. What changes later, `Gossip`
        hears of.

        A line that gives way to another one meanwhile is left to its calls.
        """
        try:
            with trio.fail_after(INTRODUCTION):
                entry.card = decode_card(await link.call("card.get", {}))
                await link.ping()
                await self.gossip.introduce(link)
        except trio.TooSlowError:
            if not link.leaving:
                link.close("introduction", f"no card and tools within {INTRODUCTION:g} s")
        except PraxisError as error:
            if not link.leaving:
                link.close("introduction", f"introduction failed: {error}")

    def say_goodbye(self) -> None:
        """Tell every peer to ask nothing new."""
        for link in self.registry.links():
            link.say_goodbye("the agent stops", redial=True)

    async def leave_all(self, grace: float) -> None:
        """Say goodbye on every line, let what runs finish for `grace` seconds, close."""
        async with trio.open_nursery() as nursery:
            for link in self.registry.links():
                nursery.start_soon(partial(link.leave, "the agent stops", redial=True, grace=grace))


def _dialable(link: PeerLink) -> Sequence[str]:
    """Where a peer can be dialed again: where it was, and where it says it listens."""
    host = link.address.rpartition(":")[0].strip("[]")
    return [*([link.address] if link.dialer else []), *seen_at(link.hello.listen, host)]
