"""Addresses, pauses and neighbours: the small decisions of dialing, each by itself."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.peers import backoff
from praxis.peers.addresses import is_loopback, order, parse_address, seen_at, split_address
from praxis.peers.backoff import Backoff
from praxis.peers.neighbours import COUNT, neighbours
from praxis.peers.own_addresses import MAX_REPORTS, OwnAddresses
from praxis.peers.record import MAX_ADDRESSES, PeerRecord

PEER = "px" + "a" * 52


def test_an_address_has_a_host_and_a_port_and_may_pin_a_peer() -> None:
    assert split_address("[fe80::1%eth0]:4001") == ("fe80::1%eth0", 4001)
    assert parse_address(f"{PEER}@agent.example:4001") == (PEER, "agent.example:4001")
    assert parse_address("10.0.0.1:4001") == (None, "10.0.0.1:4001")


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":4001", "host:0", "host:65536", "host:x", "ann@host:4001", "@h:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(PraxisError) as caught:
        parse_address(text)
    assert caught.value.code == "invalid"


def test_what_worked_comes_first_then_the_nearest() -> None:
    found = order(["[2001:db8::1]:1", "93.184.216.34:1", "[fe80::1%eth0]:1", "10.0.0.1:1", "name:1"], recent=["name:1"])
    assert found == ("name:1", "10.0.0.1:1", "93.184.216.34:1", "[2001:db8::1]:1", "[fe80::1%eth0]:1")


def test_an_unspecified_host_is_where_the_peer_was_seen_and_loopback_is_its_own() -> None:
    listed = ["0.0.0.0:4001", "127.0.0.1:4001", "agent.example:4001", "rubbish"]
    assert seen_at(listed, "10.0.0.9") == ("10.0.0.9:4001", "agent.example:4001")
    assert seen_at(["[::]:4001"], "fe80::1%eth0") == ("[fe80::1%eth0]:4001",)
    assert seen_at(["127.0.0.1:4001"], "127.0.0.1") == ("127.0.0.1:4001",)
    assert is_loopback("::1%lo")
    assert not is_loopback("agent.example")


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_good_line() -> None:
    pauses = Backoff(Random(1))
    assert Backoff(Random(1)).fresh
    seen = [pauses.after("connect", 0.0, now) for now in range(12)]
    for number, pause in enumerate(seen):
        longest = min(backoff.FIRST * 2**number, backoff.LONGEST)
        assert longest / 10 <= pause <= longest
    assert pauses.fresh is False
    assert pauses.after("closed", backoff.STABLE, 100.0) <= backoff.FIRST
    assert pauses.fresh


def test_refusals_and_long_outages_are_tried_seldom() -> None:
    pauses = Backoff(Random(1))
    assert pauses.after("wrong_id", 0.0, 0.0) >= 0.8 * backoff.REFUSED
    assert pauses.after("connect", 0.0, backoff.GIVE_UP + 1) >= 0.8 * backoff.SELDOM
    pauses.reset()
    assert pauses.after("connect", 0.0, backoff.GIVE_UP + 2) <= backoff.FIRST


@given(st.integers(20, 200), st.integers(0, 5))
def test_neighbours_are_few_and_mostly_stay_when_members_come_and_go(size: int, gone: int) -> None:
    members = [f"px{n}" for n in range(size)]
    before = neighbours("own", members)
    after = neighbours("own", members[gone:])
    assert len(before) == COUNT
    assert len(before - after) <= gone
    assert neighbours("own", members[::-1]) == before


def test_a_network_of_neighbours_hangs_together() -> None:
    members = [f"px{n}" for n in range(300)]
    near = {one: neighbours(one, [m for m in members if m != one]) for one in members}
    assert len({frozenset(chosen) for chosen in near.values()}) == len(members)
    lines: dict[str, set[str]] = {one: set(chosen) for one, chosen in near.items()}
    for one, chosen in near.items():
        for other in chosen:
            lines[other].add(one)
    reached, edge = {members[0]}, [members[0]]
    while edge:
        edge = [other for one in edge for other in lines[one] if other not in reached and not reached.add(other)]  # type: ignore[func-returns-value]
    assert len(reached) == len(members)


def test_we_tell_others_what_is_configured_and_what_two_peers_agree_on() -> None:
    own = OwnAddresses(["agent.example:4001"])
    assert {own.everywhere, own.listed, own.listening} == {("agent.example:4001",)}
    own.bind("0.0.0.0", 4001)
    assert list(own.listening) == ["agent.example:4001", "0.0.0.0:4001"]
    assert list(own.listed) == ["agent.example:4001"]
    own.observe("px1", "10.0.0.5:51000")
    own.observe("px1", "10.0.0.5:51001")
    assert list(own.everywhere) == ["agent.example:4001"], "one peer alone may be wrong"
    own.observe("px2", "10.0.0.5:4001")
    own.observe("px3", "nonsense")
    assert list(own.everywhere) == ["agent.example:4001", "10.0.0.5:4001"]
    own.bind("10.0.0.7", 4002)
    assert list(own.everywhere) == ["agent.example:4001", "10.0.0.7:4002"]


def test_reports_are_bounded() -> None:
    own = OwnAddresses([])
    own.bind("::", 4001)
    for number in range(MAX_REPORTS + 10):
        own.observe(f"px{number}", f"[fd00::{number // 2:x}]:1")
    assert len(own._reports) == MAX_REPORTS
    assert len(own.everywhere) == MAX_ADDRESSES


def test_a_record_lists_what_is_configured_and_what_most_peers_agree_on() -> None:
    own = OwnAddresses(["one.example:4001", "two.example:4001"])
    own.bind("0.0.0.0", 4001)
    for number in range(60):
        own.observe(f"liar{number}", f"10.0.0.{number // 2}:1")
    for number in range(3):
        own.observe(f"px{number}", "203.0.113.5:1")
    record = PeerRecord("own", "own", 1, 1, addrs=own.everywhere)
    assert PeerRecord.decode(record.encode()) == record, "others take it"
    assert len(record.addrs) == MAX_ADDRESSES
    assert record.addrs[:2] == ("one.example:4001", "two.example:4001")
    assert "203.0.113.5:4001" in record.addrs
