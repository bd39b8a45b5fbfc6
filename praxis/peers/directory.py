"""What this agent knows of every member of the network: one record each. Pure: calls in, news out.

Only its owner writes a record and everybody else copies the newest, so copies can be exchanged in any order and any
number of times, and all directories end up the same (a last-writer-wins map with one writer per key). The one thing
that others add is the mark that an agent is down, which a later word of the agent takes away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from praxis.model.peer import PeerId
from praxis.peers.record import MAX_MEMBERS, PeerRecord, Version

TOMBSTONE = 24 * 3600.0
"""Seconds for which it is remembered that an agent has left or was forgotten, so that no old copy brings it back."""
HIGHEST = 2**60
"""Boot and rev of records that are taken from others: far above what an agent reaches in a thousand years, and far
enough below the end of the numbers for an agent to go above what somebody else says about it."""

Verdict = Literal["news", "known", "old", "left", "self", "full", "absurd"]


@attrs.frozen
class Difference:
    """Between this directory and one whose digest we got."""

    newer_here: tuple[PeerRecord, ...]
    newer_there: tuple[PeerId, ...]


@attrs.frozen
class _Gone:
    """Of a record that is not here any more: its version, since when, and whether its owner has said goodbye."""

    version: Version
    since: float
    left: bool


class Directory:
    """The records of all members, our own among them. Times are seconds of any clock that only goes on."""

    def __init__(self, own: PeerRecord) -> None:
        self.own = own
        self.refuted = 0
        """How often somebody knew something newer about us than we do, and was told better."""
        self.members = 0
        """Another number whenever somebody has come or gone."""
        self._records: dict[PeerId, PeerRecord] = {}
        self._gone: dict[PeerId, _Gone] = {}
        self._second_hand: set[PeerId] = set()
        self._sum = _mark(own)

    # -- our own record -----------------------------------------------------------------------------

    def publish(self, **changes: Any) -> bool:
        """Change our own record. False when that says nothing new."""
        changed = attrs.evolve(self.own, **changes)
        if changed == self.own:
            return False
        self._set_own(attrs.evolve(changed, rev=self.own.rev + 1))
        return True

    def _set_own(self, record: PeerRecord) -> None:
        self._sum = (self._sum - _mark(self.own) + _mark(record)) % 2**64
        self.own = record

    # -- those of the others ------------------------------------------------------------------------

    def offer(self, record: PeerRecord, now: float, *, by_owner: bool = False) -> Verdict:
        """Take a copy in if it is the newest.

        ``self``: it was about us, newer than ours, and ours is above it now. ``left``: the agent has left since then,
        which whoever sent the copy should know too (see `tombstone`).

        `by_owner` says that the agent itself has sent it: that counts more than any copy which somebody else has sent,
        who may have made it up.
        """
        if not by_owner and max(record.boot, record.rev) > HIGHEST:
            return "absurd"
        if record.id == self.own.id:
            return self._refute(record)
        seen = self._seen(record.id)
        if seen is not None and record.version <= seen and not (by_owner and record.id in self._second_hand):
            gone = self._gone.get(record.id)
            if gone and gone.left and not (record.left and record.version == seen):
                return "left"  # whoever sends just that knows: telling it so would go back and forth for ever
            return "known" if record.version == seen else "old"
        if record.id not in self._records and len(self._records) >= MAX_MEMBERS - 1:
            return "full"
        if record.left:
            self._bury(record.id, record.version._replace(down=False), now, left=True)
        else:
            self._put(record, first_hand=by_owner)
        return "news"

    def _refute(self, record: PeerRecord) -> Verdict:
        if record.version <= self.own.version:
            return "known" if record.version == self.own.version else "old"
        self.refuted += 1
        self._set_own(attrs.evolve(self.own, boot=record.boot, rev=record.rev + 1))
        return "self"

    def mark_down(self, peer_id: PeerId) -> bool:
        """Say of another agent that it cannot be reached. False when that is said already, or it is not known."""
        record = self._records.get(peer_id)
        if record is None or record.down:
            return False
        self._put(attrs.evolve(record, down=True), first_hand=False)  # what it says itself counts more
        return True

    def forget(self, peer_id: PeerId, now: float) -> bool:
        """Drop a record; the same one is not taken again, a newer one is. False when there is none."""
        record = self._records.get(peer_id)
        if record is not None:
            self._bury(peer_id, record.version._replace(down=True), now, left=False)
        return record is not None

    def expire(self, now: float) -> None:
        """Let go of what was remembered long enough."""
        for peer_id in [id for id, gone in self._gone.items() if now - gone.since > TOMBSTONE]:
            del self._gone[peer_id]

    def _put(self, record: PeerRecord, *, first_hand: bool) -> None:
        if not self._take_out(record.id):
            self.members += 1
        self._gone.pop(record.id, None)
        self._records[record.id] = record
        self._sum = (self._sum + _mark(record)) % 2**64
        if not first_hand:
            self._second_hand.add(record.id)

    def _bury(self, peer_id: PeerId, version: Version, now: float, *, left: bool) -> None:
        if self._take_out(peer_id):
            self.members += 1
        self._gone.pop(peer_id, None)
        self._gone[peer_id] = _Gone(version, now, left)
        if len(self._gone) > MAX_MEMBERS:
            del self._gone[next(iter(self._gone))]

    def _take_out(self, peer_id: PeerId) -> bool:
        record = self._records.pop(peer_id, None)
        if record is not None:
            self._sum = (self._sum - _mark(record)) % 2**64
        self._second_hand.discard(peer_id)
        return record is not None

    def _seen(self, peer_id: PeerId) -> Version | None:
        """The newest version of a record that was here, even if it is not any more."""
        record, gone = self.get(peer_id), self._gone.get(peer_id)
        return record.version if record else gone.version if gone else None

    # -- asking -------------------------------------------------------------------------------------

    def get(self, peer_id: PeerId) -> PeerRecord | None:
        return self.own if peer_id == self.own.id else self._records.get(peer_id)

    def others(self) -> Mapping[PeerId, PeerRecord]:
        """The records of all but ourselves."""
        return self._records

    def __len__(self) -> int:
        return len(self._records) + 1

    def hash(self) -> str:
        """The same at two agents whose directories are the same."""
        return f"{self._sum:016x}"

    def digest(self) -> dict[PeerId, Version]:
        """The version of every record."""
        return {id: record.version for id, record in self._records.items()} | {self.own.id: self.own.version}

    def compare(self, digest: Mapping[PeerId, Version]) -> Difference:
        """What the sender of a digest lacks, and what we do."""
        here = [record for record in (self.own, *self._records.values()) if _lacks(digest, record)]
        there: list[PeerId] = []
        for peer_id, version in digest.items():
            seen = self._seen(peer_id)
            if seen is None or seen < version:
                there.append(peer_id)
            elif (tombstone := self.tombstone(peer_id)) is not None:
                here.append(tombstone)
        return Difference(tuple(here), tuple(there))

    def tombstone(self, peer_id: PeerId) -> PeerRecord | None:
        """The last record of an agent that has left.

        It goes only to those who have an older one: if everybody passed it on to everybody, nobody could ever let go
        of it.
        """
        gone = self._gone.get(peer_id)
        if gone is None or not gone.left:
            return None
        return PeerRecord(peer_id, "", gone.version.boot, gone.version.rev, left=True)

    def select(self, ids: Iterable[PeerId]) -> list[PeerRecord]:
        """The records of these, as far as they are known."""
        return [record for record in map(self.get, ids) if record is not None]


def _lacks(digest: Mapping[PeerId, Version], record: PeerRecord) -> bool:
    version = digest.get(record.id)
    return version is None or version < record.version


def _mark(record: PeerRecord) -> int:
    """64 bits of one record's version; the sum over a directory is its hash."""
    text = f"{record.id} {record.boot} {record.rev} {record.down:d}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
