"""Keeps the directories of all agents the same: what is new is passed on at once, what was missed is compared.

Our own changes go to every peer with a line to us; what we hear of others goes on to a few. Every few seconds one peer
is asked whether its directory is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.observe.metrics import Metrics
from praxis.peers.definitions import Definitions
from praxis.peers.directory import Directory
from praxis.peers.entry import PeerEntry
from praxis.peers.link import PeerLink
from praxis.peers.record import (
    PeerRecord,
    decode_card,
    decode_digest,
    decode_ids,
    decode_records,
    encode_digest,
)
from praxis.peers.registry import PeerRegistry
from praxis.peers.request import PeerRequest

logger = logging.getLogger(__name__)

FAN = 4
"""Peers that news about others go on to. Three reach 93 % of any network by themselves, five 99 %; the comparison gets
the rest."""
PAUSE = 0.1
"""Seconds after one message with news until the next one to that peer: when halves of a large network meet again, all
that is new goes in a few messages instead of one for each agent."""
ROUND = 10.0
"""Seconds between two comparisons with some peer, give or take a fifth."""
ANSWER = 30.0
"""Seconds for a peer to answer; what is asked is small, but its machine may be busy."""
WITNESSES = 3
"""Peers that are asked whether they hear one that we have lost."""
LATER = 2.0
"""Seconds over which marks that an agent is down are collected before they go on: they come in crowds, when a network
falls into halves, and are no news to those who need the agent, whose calls have told them."""
GRACE = 10.0
"""Seconds for which an agent must be out of reach before others are told that it is down: a line that broke is dialed
again at once, by the other end too, and a machine that was asleep comes back to all its lines."""
HEARD = 25.0
"""Seconds since the last byte within which a peer counts as heard: a silent line is given up by then."""

Method = Callable[[PeerRequest, Mapping[str, Any]], Awaitable[Any]]


class Gossip:
    """The service around `Directory`: who is told, who is asked, and what is done with the answers."""

    def __init__(
        self,
        directory: Directory,
        registry: PeerRegistry,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        chance: Random,
        max_peers: int,
        on_noted: Callable[[PeerEntry], None],
    ) -> None:
        """`clock` gives seconds since the epoch; `chance` chooses peers; `on_noted` hears of new records.

        Above `max_peers` agents do not have lines to all others.
        """
        self.directory = directory
        self.methods: Mapping[str, Method] = {
            "directory.hash": self._on_hash,
            "directory.pull": self._on_pull,
            "directory.push": self._on_push,
            "member.check": self._on_check,
        }
        """What peers may ask, by method."""
        self._registry = registry
        self._definitions = Definitions()
        self._clock = clock
        self._chance = chance
        self._on_noted = on_noted
        self._max_peers = max_peers
        self._nursery: trio.Nursery | None = None
        self._outbox: dict[PeerId, set[PeerId]] = {}
        self._asking: set[PeerId] = set()
        self._resolving: set[PeerId] = set()
        self._marked: set[PeerId] = set()
        """Peers whose marks go on in a moment."""
        self._accused: set[PeerId] = set()
        """Peers of whom we have said that they are down, since we last had a line to them: once is enough. One that we
        alone cannot reach puts it right, and would have to do so for ever."""
        self._messages = metrics.counter(
            "praxis_p2p_directory_messages_total",
            "Messages about the directory that were sent, by method.",
            ("method",),
        )
        metrics.gauge("praxis_p2p_directory_members", "Agents in the directory.", lambda: float(len(directory)))
        metrics.gauge(
            "praxis_p2p_directory_refuted",
            "Claims of others about us that were put right.",
            lambda: float(directory.refuted),
        )
        metrics.gauge(
            "praxis_p2p_directory_behind", "Connected peers with news that we have not got yet.", self._behind
        )
        self._ignored = metrics.counter(
            "praxis_p2p_directory_ignored_total",
            "Records that peers sent and that were not taken, by why.",
            ("reason",),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Compare, now and then, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                while True:
                    await trio.sleep(ROUND * self._chance.uniform(0.8, 1.2))
                    self._do_round(nursery)
            finally:
                self._nursery = None

    def _do_round(self, nursery: trio.Nursery) -> None:
        self.directory.expire(self._clock())
        for link in self._some_links(1):
            nursery.start_soon(self._guarded, link, self._compare, link)
        for entry in self._registry.connected():
            self._resolve(entry)
        self._testify()

    def _behind(self) -> float:
        return float(sum(e.record != self.directory.get(e.id) for e in self._registry.connected()))

    # -- our own record -----------------------------------------------------------------------------

    def publish(self, **changes: Any) -> None:
        """Change our record and tell every peer, if that says something new."""
        if self.directory.publish(**changes):
            self._tell_own()

    def _tell_own(self) -> None:
        for link in self._registry.links():
            self._send(link, (self.directory.own.id,))

    def _testify(self) -> None:
        """Where lines to everybody are too many, say who is down: others have no line to see it by."""
        self._accused &= {entry.id for entry in self._registry.entries() if not entry.connected}
        if len(self.directory) <= self._max_peers:
            return
        before = self._clock() - GRACE
        for entry in self._registry.lost(before):
            if entry.id not in self._accused:
                self._accused.add(entry.id)
                if self.directory.mark_down(entry.id):
                    self._spread(self.directory.others()[entry.id], self.directory.own.id)

    # -- a line begins, a line is lost --------------------------------------------------------------

    async def introduce(self, link: PeerLink) -> None:
        """Make both directories the same over a new line; whoever has dialed it does that. Raises PraxisError."""
        if link.dialer:
            await self._compare(link)
        entry = self._registry.entry(link.peer_id)
        if entry is not None:
            self._resolve(entry)

    def lost(self, entry: PeerEntry) -> None:
        """A peer cannot be reached any more: ask others whether they hear it, unless that is settled."""
        record = self.directory.get(entry.id)
        if record is not None and record.down:
            return
        links = [link for link in self._some_links(WITNESSES) if link.peer_id != entry.id]
        if self._nursery is not None and links:
            self._nursery.start_soon(self._ask_witnesses, entry, links)

    async def _ask_witnesses(self, entry: PeerEntry, links: Sequence[PeerLink]) -> None:
        async def ask(link: PeerLink) -> None:
            answer = await self._call(link, "member.check", {"id": entry.id})
            if answer.get("heard") is True:
                self._registry.mark_indirect(entry, link.hello.name)

        async with trio.open_nursery() as nursery:
            for link in links:
                nursery.start_soon(self._guarded, link, ask, link)

    # -- telling ------------------------------------------------------------------------------------

    def _spread(self, record: PeerRecord, source: PeerId) -> None:
        """Pass news about another agent on, since not everybody may have a line to that one."""
        if not record.down:
            for link in self._some_links(FAN, but=(source, record.id)):
                self._send(link, (record.id,))
        elif self._nursery is not None:
            if not self._marked:
                self._nursery.start_soon(self._spread_marks)
            self._marked.add(record.id)

    async def _spread_marks(self) -> None:
        await trio.sleep(LATER)
        for link in self._some_links(FAN):
            self._send(link, self._marked)
        self._marked.clear()

    def _send(self, link: PeerLink, ids: Iterable[PeerId]) -> None:
        """Queue records for a peer. They are read when their turn comes, so a record that changes goes once."""
        waiting = self._outbox.get(link.peer_id)
        if waiting is not None:
            waiting.update(ids)
        elif self._nursery is not None:
            self._outbox[link.peer_id] = set(ids)
            self._nursery.start_soon(self._push, link)

    async def _push(self, link: PeerLink) -> None:
        waiting = self._outbox[link.peer_id]

        async def push() -> None:
            while waiting:
                ids = sorted(waiting)
                waiting.clear()
                records = [self.directory.get(id) or self.directory.tombstone(id) for id in ids]
                await self._call(link, "directory.push", {"records": [r.encode() for r in records if r is not None]})
                await trio.sleep(PAUSE)

        try:
            await self._guarded(link, push)
        finally:
            del self._outbox[link.peer_id]

    # -- asking -------------------------------------------------------------------------------------

    async def _compare(self, link: PeerLink) -> None:
        """Make both directories the same. Each side says what is true of itself, whatever the other one has heard."""
        own = {"record": self.directory.own.encode(), "hash": self.directory.hash()}
        answer = await self._call(link, "directory.hash", own)
        self._take(link.peer_id, [PeerRecord.decode(answer.get("record"))])
        if answer.get("hash") == self.directory.hash():
            return
        answer = await self._call(link, "directory.pull", {"digest": encode_digest(self.directory.digest())})
        self._take(link.peer_id, decode_records(answer.get("records")))
        records = self.directory.select(decode_ids(answer.get("want")))
        if records:
            await self._call(link, "directory.push", {"records": [record.encode() for record in records]})

    def _ask_owner(self, link: PeerLink, heard: PeerRecord) -> None:
        """Somebody knows something newer about a peer than the peer has told us; that it is down, it has to hear."""
        if self._nursery is not None and link.peer_id not in self._asking:
            self._asking.add(link.peer_id)
            self._nursery.start_soon(self._guarded, link, self._ask, link, heard)

    async def _ask(self, link: PeerLink, heard: PeerRecord) -> None:
        try:
            if heard.down:
                await self._call(link, "directory.push", {"records": [heard.encode()]})
            else:
                await self._compare(link)
        finally:
            self._asking.discard(link.peer_id)

    async def _call(self, link: PeerLink, method: str, params: Any) -> Mapping[str, Any]:
        self._messages.inc(1, method)
        with trio.fail_after(ANSWER):
            answer = await link.call(method, params)
        if not isinstance(answer, Mapping):
            raise PraxisError("invalid", f"the answer to {method} is no object")
        return answer

    async def _guarded(self, link: PeerLink, do: Callable[..., Awaitable[None]], *args: Any) -> None:
        """What one peer does not answer, or answers badly, is made up for by the next comparison."""
        try:
            await do(*args)
        except (PraxisError, trio.TooSlowError) as error:
            logger.info("the directory of %s: %s", link.peer_id, error)

    def _some_links(self, most: int, but: Sequence[PeerId] = ()) -> list[PeerLink]:
        links = [link for link in self._registry.links() if link.peer_id not in but and not link.leaving]
        return self._chance.sample(links, min(most, len(links)))

    # -- hearing ------------------------------------------------------------------------------------

    def _take(self, source: PeerId, records: Sequence[PeerRecord]) -> None:
        """Take in what a peer sends. Of peers with a line to us only their own word counts, of the others any copy.

        A peer that has said goodbye on its line may leave by any copy.
        """
        now = self._clock()
        for record in records:
            by_owner = record.id == source
            before = self.directory.get(record.id)
            direct = None if by_owner else self._registry.link(record.id)
            if direct is not None and not (record.left and direct.leaving):
                if before is None or record.version > before.version:
                    self._ignored.inc(1, "second_hand")
                    self._ask_owner(direct, record)
                continue
            link = self._registry.link(source)
            if by_owner and link and before and before.version == record.version._replace(down=True):
                self._ask_owner(link, before)  # the others go on to think so until it hears it
                continue
            verdict = self.directory.offer(record, now, by_owner=by_owner)
            if verdict == "news":
                self._noted(record, source, back=before is not None and before.down and not record.down)
            elif verdict == "self":
                self._tell_own()
            elif verdict in ("absurd", "full"):
                self._ignored.inc(1, verdict)
            elif verdict == "left" and link is not None:
                self._send(link, (record.id,))

    def _noted(self, record: PeerRecord, source: PeerId, *, back: bool) -> None:
        entry = self._registry.note(record, back=back)
        self._spread(record, source)
        if entry is not None:
            self._resolve(entry)
            self._on_noted(entry)

    def _resolve(self, entry: PeerEntry) -> None:
        """Get the definitions of a connected peer's tools, and its card, where its record has changed.

        One such asking per peer is under way at a time, however often its record changes.
        """
        record, link = self.directory.get(entry.id), entry.link
        if record is None or link is None or entry.record == record or entry.id in self._resolving:
            return
        if self._nursery is not None:
            self._resolving.add(entry.id)
            self._nursery.start_soon(self._guarded, link, self._learn_tools, entry, link, record)

    async def _learn_tools(self, entry: PeerEntry, link: PeerLink, record: PeerRecord) -> None:
        try:
            with trio.fail_after(ANSWER):
                tools = await self._definitions.tools(record, self._registry.label(entry), link)
                card = decode_card(await link.call("card.get", {}))  # asked after the record was seen: not older
        finally:
            self._resolving.discard(entry.id)
        if entry.link is link:
            entry.card = card
            self._registry.introduce(entry, record, tools)
            self._resolve(entry)  # it may have changed meanwhile

    # -- answering ----------------------------------------------------------------------------------

    async def _on_hash(self, request: PeerRequest, params: Mapping[str, Any]) -> Any:
        self._take(request.peer, [PeerRecord.decode(params.get("record"))])
        return {"record": self.directory.own.encode(), "hash": self.directory.hash()}

    async def _on_pull(self, request: PeerRequest, params: Mapping[str, Any]) -> Any:
        difference = self.directory.compare(decode_digest(params.get("digest")))
        return {"records": [record.encode() for record in difference.newer_here], "want": difference.newer_there}

    async def _on_push(self, request: PeerRequest, params: Mapping[str, Any]) -> Any:
        self._take(request.peer, decode_records(params.get("records")))
        return {}

    async def _on_check(self, request: PeerRequest, params: Mapping[str, Any]) -> Any:
        peer_id = params.get("id")
        link = self._registry.link(peer_id) if isinstance(peer_id, str) else None
        return {"heard": link is not None and trio.current_time() - link.heard_at < HEARD}
