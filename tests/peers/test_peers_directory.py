"""The directory by itself: copies of records in any order, from anybody."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.peers import directory
from praxis.peers.directory import HIGHEST, TOMBSTONE, Directory
from praxis.peers.record import (
    PeerRecord,
    ToolEntry,
    Version,
    decode_digest,
    decode_records,
    encode_digest,
)


def record(name: str, boot: int = 1, rev: int = 0, **more: object) -> PeerRecord:
    return PeerRecord(f"px-{name}", name, boot, rev, **more)  # type: ignore[arg-type]


def make(name: str = "own") -> Directory:
    return Directory(record(name))


def exchange(one: Directory, other: Directory) -> None:
    """What two agents do when their hashes differ."""
    difference = other.compare(one.digest())
    for copy in difference.newer_here:
        tombstone = one.tombstone(copy.id)
        if one.offer(copy, 0.0, by_owner=copy.id == other.own.id) == "left" and tombstone is not None:
            other.offer(tombstone, 0.0)
    for copy in one.select(difference.newer_there):
        other.offer(copy, 0.0, by_owner=copy.id == one.own.id)


def test_the_newest_record_stays_whatever_the_order() -> None:
    versions = [record("ann", boot, rev) for boot in (1, 2) for rev in (0, 1, 2)]
    for order in (versions, versions[::-1], [versions[i] for i in (3, 0, 5, 1, 4, 2)]):
        here = make()
        for copy in order:
            here.offer(copy, 0.0)
        assert here.get("px-ann") == record("ann", 2, 2)


def test_a_copy_that_is_known_is_no_news() -> None:
    here = make()
    assert here.offer(record("ann"), 0.0) == "news"
    assert here.offer(record("ann"), 0.0) == "known"
    assert here.offer(record("ann", 0, 9), 0.0) == "old"
    assert len(here) == 2


def test_our_own_record_changes_only_when_it_says_something_new() -> None:
    here = make()
    before = here.hash()
    assert not here.publish(tools=())
    assert here.hash() == before
    assert here.publish(tools=(ToolEntry("fs", "read_file", "d"),))
    assert here.own.rev == 1
    assert here.hash() != before


def test_who_says_something_newer_about_us_is_told_better() -> None:
    here = make()
    assert here.offer(record("own", 7, 7, tools=(ToolEntry("evil", "rm", "d"),)), 0.0) == "self"
    assert here.own.version == Version(7, 8)
    assert here.own.tools == ()
    assert here.refuted == 1
    assert here.offer(record("own", 7, 7), 0.0) == "old"


def test_what_an_agent_says_itself_counts_more_than_a_forged_copy() -> None:
    here = make()
    assert here.offer(record("ann", 9, 9, tools=(ToolEntry("evil", "rm", "d"),)), 0.0) == "news"
    assert here.offer(record("ann", 1, 1), 0.0, by_owner=True) == "news"
    assert here.get("px-ann") == record("ann", 1, 1)
    assert here.offer(record("ann", 1, 0), 0.0, by_owner=True) == "old", "it has said something newer itself"


def test_versions_that_nobody_could_go_above_are_refused() -> None:
    here = make()
    assert here.offer(record("own", HIGHEST + 1), 0.0) == "absurd"
    assert here.offer(record("ann", 1, HIGHEST + 1), 0.0) == "absurd"
    assert len(here) == 1
    assert here.own.boot == 1


def test_two_who_know_that_somebody_has_left_do_not_tell_each_other_for_ever() -> None:
    here = make()
    gone = record("ann", 1, 2, left=True)
    assert here.offer(gone, 5.0) == "news"
    assert here.offer(gone, 6.0) == "known"
    assert here.offer(record("ann", 1, 1, left=True), 6.0) == "left", "an older goodbye is put right"
    assert here.offer(record("ann", 1, 2), 6.0) == "left", "a copy without the goodbye too"


def test_who_has_left_is_not_brought_back_by_an_old_copy_but_by_a_new_start() -> None:
    here, other = make("own"), make("other")
    for one in (here, other):
        one.offer(record("ann", 1, 1), 0.0)
    assert here.offer(record("ann", 1, 2, left=True), 5.0) == "news"
    assert here.get("px-ann") is None
    assert here.offer(record("ann", 1, 1), 6.0) == "left"
    exchange(here, other)
    assert other.get("px-ann") is None, "who has not heard of it learns it"
    assert here.offer(record("ann", 2, 0), 7.0) == "news"
    exchange(here, other)
    assert other.get("px-ann") == record("ann", 2, 0)


def test_a_forgotten_agent_stays_forgotten_here_alone_and_until_it_says_something_new() -> None:
    here, other = make("own"), make("other")
    for one in (here, other):
        one.offer(record("ann", 1, 1), 0.0)
    assert here.forget("px-ann", 0.0)
    assert not here.forget("px-ann", 0.0)
    exchange(here, other)
    assert here.get("px-ann") is None
    assert other.get("px-ann") is not None
    assert here.offer(record("ann", 1, 2), 1.0) == "news"


def test_memories_of_the_gone_end() -> None:
    here = make()
    here.offer(record("ann", 1, 1), 0.0)
    here.offer(record("ann", 1, 2, left=True), 0.0)
    here.expire(TOMBSTONE)
    assert here.offer(record("ann", 1, 1), TOMBSTONE) == "left"
    here.expire(TOMBSTONE + 1)
    assert here.offer(record("ann", 1, 1), TOMBSTONE + 1) == "news"


def test_a_directory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_MEMBERS", 4)
    here = make()
    verdicts = [here.offer(record(str(n)), 0.0) for n in range(5)]
    assert verdicts == ["news", "news", "news", "full", "full"]
    assert here.offer(record("0", 2), 0.0) == "news", "one that is known may change"
    for n in range(9):
        here.offer(record(f"gone-{n}", left=True), 0.0)
        here.offer(record("1", 1, n + 1, left=True), 0.0)
    assert len(here._gone) <= 4


RECORDS = st.builds(
    lambda name, boot, rev, left: record(name, boot, rev * 2 + left, left=left),
    st.sampled_from("abcd"),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
)


@given(st.lists(RECORDS), st.lists(RECORDS), st.randoms(use_true_random=False))
def test_directories_become_the_same_whatever_each_has_heard(
    left: list[PeerRecord], right: list[PeerRecord], chance: random.Random
) -> None:
    network = [make("one"), make("two"), make("three")]
    for copy in left:
        network[0].offer(copy, 0.0)
    for copy in right:
        network[1].offer(copy, 0.0)
    for _ in range(3):
        chance.shuffle(network)
        for one, other in ((0, 1), (1, 2), (2, 0)):
            exchange(network[one], network[other])
    assert len({d.hash() for d in network}) == 1
    assert len({tuple(sorted(d.digest().items())) for d in network}) == 1
    newest: dict[str, PeerRecord] = {}
    for copy in left + right:
        if copy.id not in newest or copy.version > newest[copy.id].version:
            newest[copy.id] = copy
    living = {id: copy.version for id, copy in newest.items() if not copy.left}
    assert {id: v for id, v in network[0].digest().items() if len(id) == 4} == living


@given(st.lists(RECORDS))
def test_the_hash_is_that_of_the_records_alone(heard: list[PeerRecord]) -> None:
    here = make()
    for copy in heard:
        here.offer(copy, 0.0)
    fresh = make()
    for copy in here.others().values():
        fresh.offer(copy, 0.0)
    assert fresh.hash() == here.hash()


@given(st.lists(RECORDS))
def test_what_is_sent_is_what_is_read(heard: list[PeerRecord]) -> None:
    full = attrs.evolve(record("ann"), addrs=("h:1",), tags=("gpu",), down=True, tools=(ToolEntry("fs", "read", "d"),))
    for records in (heard, [full]):
        assert decode_records([copy.encode() for copy in records]) == records
    digest = {copy.id: copy.version for copy in heard}
    assert decode_digest(encode_digest(digest)) == digest


@pytest.mark.parametrize(
    "value",
    [
        None,
        [None],
        [{"id": 1}],
        [{**record("a").encode(), "boot": -1}],
        [{**record("a").encode(), "addrs": ["x" * 200]}],
        [{**record("a").encode(), "addrs": ["x"] * 17}],
        [{**record("a").encode(), "tags": [1]}],
        [{**record("a").encode(), "tools": [["fs", "read"]]}],
    ],
)
def test_what_is_no_record_is_refused(value: object) -> None:
    with pytest.raises(PraxisError) as caught:
        decode_records(value)
    assert caught.value.code == "invalid"
    assert caught.value.where


def test_who_is_down_is_so_everywhere_until_it_says_otherwise() -> None:
    here, there = make(), Directory(record("bob", boot=1, rev=3))
    here.offer(there.own, 0.0, by_owner=True)
    assert here.mark_down("px-bob")
    assert not here.mark_down("px-bob")
    assert not here.mark_down("nobody")
    marked = here.get("px-bob")
    assert marked is not None and marked.down
    assert here.offer(attrs.evolve(marked, down=False), 0.0) == "old", "an earlier copy does not take it away"
    assert there.offer(marked, 0.0) == "self"
    assert (there.own.down, there.own.rev) == (False, 4)
    assert here.offer(there.own, 0.0) == "news"
    assert here.others()["px-bob"] == there.own


def test_who_is_down_can_be_forgotten_and_an_old_mark_does_not_bring_it_back() -> None:
    here = make()
    here.offer(record("bob", boot=1, rev=3), 0.0)
    assert here.forget("px-bob", 1.0)
    assert here.offer(attrs.evolve(record("bob", boot=1, rev=3), down=True), 2.0) == "known"
    assert here.offer(record("bob", boot=1, rev=4), 3.0) == "news"
