"""The lines of this agent: each is greeted, taken into the registry, introduced, and taken out again at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from praxis.config.schema import P2P
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.tool import Tool
from praxis.net.tls import Broken
from praxis.observe.metrics import Metrics
from praxis.peers.identity import Identity
from praxis.peers.line import GREETING, authenticate
from praxis.peers.link import PeerLink
from praxis.peers.record import PeerRecord, decode_card, decode_definitions
from praxis.peers.registry import PeerEntry, PeerRegistry
from praxis.peers.request import Handler
from praxis.wire.messages import Hello
from praxis.wire.session import Session

logger = logging.getLogger(__name__)

INTRODUCTION = 30.0
"""Seconds for a peer to answer with its card and tools; they are small, but its machine may be busy."""
DUPLICATE_GRACE = 10.0
"""Seconds for the calls on a line that gives way to another one to the same peer."""
DESCRIBE = 256
"""Definitions asked for at once, so that an answer stays well below the message limit."""


@attrs.frozen
class LineEnd:
    """How an attempt or a line ended. `up_for` is seconds in use, 0 when the peer was never greeted."""

    peer_id: PeerId | None
    up_for: float
    code: str
    reason: str


class Lines:
    """Serves lines, dialed and accepted alike, until they end."""

    def __init__(
        self,
        registry: PeerRegistry,
        identity: Identity,
        *,
        config: P2P,
        boot: int,
        software: str,
        handler: Handler,
        metrics: Metrics,
    ) -> None:
        self.registry = registry
        self.identity = identity
        self.listen: tuple[str, ...] = ()
        """Addresses that we tell peers to dial; there once the listener is up."""
        self._config = config
        self._boot = boot
        self._software = software
        self._handler = handler
        self._definitions: dict[str, Any] = {}
        self._handshakes = metrics.counter(
            "praxis_p2p_handshakes_total", "Lines that were opened or refused, by why.", ("result", "reason")
        )
        self._ends = metrics.counter("praxis_p2p_lines_ended_total", "Lines that ended, by why.", ("reason",))

    async def serve(
        self, stream: trio.SocketStream, *, dialer: bool, expected: PeerId | None = None, on_known: Callable[[], None]
    ) -> LineEnd:
        """Greet, use, and take leave of one line; returns how it ended. `on_known` is called after the handshake."""
        try:
            pipe, peer_id = await authenticate(stream, self.identity, dialer=dialer, expected=expected)
        except Broken as error:
            on_known()
            self._handshakes.inc(1, "refused", error.reason)
            logger.info("%s line refused: %s", "dialed" if dialer else "incoming", error)
            return LineEnd(None, 0.0, error.reason, str(error))
        on_known()
        hello = Hello(
            id=self.identity.peer_id,
            name=self.identity.name,
            boot=self._boot,
            agent=self._software,
            listen=self.listen,
            observed=pipe.remote,
            inflight=self._config.limits.inflight,
            message=self._config.limits.message,
        )
        link = PeerLink(
            pipe,
            Session(hello, dialer=dialer),
            peer_id=peer_id,
            address=pipe.remote,
            handler=self._handler,
            keepalive=self._config.keepalive,
        )
        began = trio.current_time()
        greeted = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            with trio.move_on_after(GREETING):
                greeted = await link.wait_greeted()
            if greeted:
                self._handshakes.inc(1, "ok", "")
                await self._use(link, nursery)
            else:
                link.close("hello_timeout", f"no HELLO within {GREETING:g} s")
                self._handshakes.inc(1, "refused", link.reason_code)
                logger.info("line with %s ended before HELLO: %s", peer_id, link.reason)
        self._ends.inc(1, link.reason_code)
        return LineEnd(peer_id, trio.current_time() - began if greeted else 0.0, link.reason_code, link.reason)

    async def _use(self, link: PeerLink, nursery: trio.Nursery) -> None:
        entry = self.registry.know(link.peer_id)
        if entry is None:
            await link.leave("too many peers", redial=False, grace=0)
            return
        loser = self.registry.adopt(entry, link)
        try:
            if loser is link:
                await link.leave("duplicate", redial=False, grace=DUPLICATE_GRACE)
                return
            if loser is not None:
                nursery.start_soon(self._retire, loser)
            entry.learn(_dialable(link))
            await self._introduce(entry, link)
            await link.wait_ended()
        finally:
            self.registry.drop(entry, link)

    async def _retire(self, link: PeerLink) -> None:
        await link.leave("duplicate", redial=False, grace=DUPLICATE_GRACE)

    # -- introduction -------------------------------------------------------------------------------

    async def _introduce(self, entry: PeerEntry, link: PeerLink) -> None:
        """Learn the peer's card and tools. A peer that cannot say who it is, is not kept."""
        try:
            with trio.fail_after(INTRODUCTION):
                entry.card = decode_card(await link.call("card.get", {}))
                await link.ping()
                answer = await link.call("directory.pull", {})
                await self.take_records(link, answer)
        except trio.TooSlowError:
            link.close("introduction", f"no card and tools within {INTRODUCTION:g} s")
        except PraxisError as error:
            link.close("introduction", f"introduction failed: {error}")

    async def take_records(self, link: PeerLink, message: Any) -> None:
        """Take in ``{"records": [...]}`` as a peer sends it. Raises PraxisError for what is none.

        A peer speaks for itself only; records of others are not taken from it.
        """
        records = message.get("records") if isinstance(message, dict) else None
        if not isinstance(records, list) or len(records) > 1024:
            raise PraxisError("invalid", "expected a list of at most 1024", where="records")
        for value in records:
            record = PeerRecord.decode(value)
            entry = self.registry.entry(record.id)
            if record.id != link.peer_id or entry is None or entry.link is not link:
                continue
            known = entry.record
            if known is not None and (record.boot, record.rev) <= (known.boot, known.rev):
                continue
            definitions = await self._definitions_of(link, record)
            label = self.registry.label(entry)
            tools = [
                Tool(label, tool.source, definitions[tool.digest])
                for tool in record.tools
                if tool.digest in definitions and definitions[tool.digest].get("name") == tool.name
            ]
            if entry.link is link:
                self.registry.introduce(entry, record, tools)

    async def _definitions_of(self, link: PeerLink, record: PeerRecord) -> dict[str, Any]:
        """Definitions by digest, asked for where they are not known from before."""
        wanted = list(dict.fromkeys(tool.digest for tool in record.tools))
        known = {digest: self._definitions[digest] for digest in wanted if digest in self._definitions}
        missing = [digest for digest in wanted if digest not in known]
        for at in range(0, len(missing), DESCRIBE):
            answer = await link.call("tools.describe", {"digests": missing[at : at + DESCRIBE]})
            for digest, definition in decode_definitions(answer).items():
                if Tool("", "", definition).digest == digest:  # a peer cannot change what a digest means for others
                    known[digest] = definition
        for digest, definition in known.items():
            self._definitions.pop(digest, None)
            self._definitions[digest] = definition
        while len(self._definitions) > MAX_DEFINITIONS:
            del self._definitions[next(iter(self._definitions))]
        return known

    async def announce_record(self, encode: Callable[[PeerId, str], dict[str, Any]]) -> None:
        """Tell every connected peer what of ours it may call now."""
        async with trio.open_nursery() as nursery:
            for link in self.registry.links():
                nursery.start_soon(self._push, link, encode(link.peer_id, link.hello.name))

    async def _push(self, link: PeerLink, record: dict[str, Any]) -> None:
        try:
            with trio.fail_after(INTRODUCTION):
                await link.call("directory.push", {"records": [record]})
        except (PraxisError, trio.TooSlowError) as error:
            logger.info("peer %s did not take our new record: %s", link.peer_id, error)

    def say_goodbye(self) -> None:
        """Tell every peer to ask nothing new."""
        for link in self.registry.links():
            link.say_goodbye("the agent stops", redial=True)

    async def leave_all(self, grace: float) -> None:
        """Say goodbye on every line, let what runs finish for `grace` seconds, close."""
        async with trio.open_nursery() as nursery:
            for link in self.registry.links():
                nursery.start_soon(partial(link.leave, "the agent stops", redial=True, grace=grace))


MAX_DEFINITIONS = 16384
"""Tool definitions that are remembered by digest, about 1 KiB each; the least recently used go first."""


def _dialable(link: PeerLink) -> Sequence[str]:
    """Where a peer says it listens; an unspecified host stands for the one we see it at."""
    host = link.address.rpartition(":")[0]
    addresses = []
    for address in link.hello.listen:
        listed, _, port = address.rpartition(":")
        addresses.append(f"{host}:{port}" if listed in ("0.0.0.0", "[::]") else address)  # noqa: S104 - compared only
    if link.dialer:
        addresses.insert(0, link.address)
    return addresses
