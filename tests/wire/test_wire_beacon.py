from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire.beacon import (
    ANNOUNCE,
    BYE,
    HINT_GAP_MS,
    MAX_ADDRESSES_SIZE,
    MAX_PATHS,
    MAX_SIZE,
    MIN_SIZE,
    QUERY,
    SAME_BEACON_MS,
    WINDOW_MS,
    Beacon,
    BeaconReader,
    Verdict,
    network_tag,
)

KEY, OTHER = b"k" * 32, b"o" * 32
OWN, PEER = b"\x01" * 32, b"\x02" * 32
NOW = 1_800_000_000_000
HOST = "192.0.2.7"

addresses = st.lists(
    st.builds(
        "{}:{}".format,
        st.from_regex(r"\A[0-9a-zA-Z._-]{1,20}\Z") | st.just("[fe80::1%eth0]"),
        st.integers(1, 65535),
    ),
    max_size=8,
).map(tuple)
beacons = st.builds(
    Beacon,
    kind=st.sampled_from([ANNOUNCE, QUERY, BYE]),
    port=st.integers(1, 65535),
    tag=st.just(network_tag(KEY)),
    peer_id=st.binary(min_size=32, max_size=32).filter(lambda value: value != OWN),
    boot=st.integers(0, 2**64 - 1),
    seq=st.integers(0, 2**32 - 1),
    time_ms=st.integers(NOW - WINDOW_MS, NOW + WINDOW_MS),
    addresses=addresses,
    flags=st.integers(0, 255),
)


def beacon(**changes: Any) -> Beacon:
    fields: dict[str, Any] = {
        "kind": ANNOUNCE,
        "port": 4001,
        "tag": network_tag(KEY),
        "peer_id": PEER,
        "boot": 10,
        "seq": 1,
        "time_ms": NOW,
    }
    return Beacon(**fields | changes)


def reader(*keys: bytes, max_peers: int = 4) -> BeaconReader:
    return BeaconReader(keys or (KEY,), OWN, max_peers=max_peers)


def taken(verdict: object) -> Verdict:
    assert isinstance(verdict, Verdict), verdict
    return verdict


# The datagram


def test_the_layout_is_the_specified_one() -> None:
    listed = b"a.example:4001\n[fe80::1]:9"
    datagram = beacon(kind=QUERY, seq=7, addresses=("a.example:4001", "[fe80::1]:9")).pack(KEY)
    assert len(datagram) == 84 + len(listed)
    assert datagram[0:4] == b"PRX\x01"
    assert datagram[4:6] == b"\x02\x00"
    assert datagram[6:8] == (4001).to_bytes(2, "big")
    assert datagram[8:16] == hashlib.sha256(b"praxis beacon tag" + KEY).digest()[:8]
    assert datagram[16:48] == PEER
    assert datagram[48:56] == (10).to_bytes(8, "big")
    assert datagram[56:60] == (7).to_bytes(4, "big")
    assert datagram[60:68] == NOW.to_bytes(8, "big")
    assert datagram[68:84] == hmac.new(KEY, datagram[:68] + listed, hashlib.sha256).digest()[:16]
    assert datagram[84:] == listed
    assert (MIN_SIZE, MAX_SIZE) == (84, 484)


@given(beacons)
def test_what_is_packed_is_read(sent: Beacon) -> None:
    verdict = taken(reader().receive(sent.pack(KEY), HOST, NOW))
    assert verdict == Verdict(sent, "new", first=True, sources=(HOST,))


@given(beacons, st.data())
def test_no_changed_bit_is_accepted(sent: Beacon, data: st.DataObject) -> None:
    datagram = bytearray(sent.pack(KEY))
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    assert reader().receive(bytes(datagram), HOST, NOW) in ("mac", "foreign")


@given(beacons, st.data())
def test_no_cut_or_lengthened_datagram_is_accepted(sent: Beacon, data: st.DataObject) -> None:
    datagram = sent.pack(KEY)
    cut = datagram[: data.draw(st.integers(0, len(datagram) - 1))]
    assert reader().receive(cut, HOST, NOW) in ("short", "mac")
    longer = datagram + data.draw(st.binary(min_size=1, max_size=600))
    assert reader().receive(longer, HOST, NOW) in ("long", "mac")


@given(
    st.lists(
        st.binary(max_size=600) | st.binary(max_size=500).map((b"PRX\x01\x01\0\x0f\xa1" + network_tag(KEY)).__add__)
    )
)
def test_garbage_yields_only_drops_that_are_counted(garbage: list[bytes]) -> None:
    reading = reader()
    for datagram in garbage:
        assert reading.receive(datagram, HOST, NOW) in ("short", "long", "foreign", "mac")
    assert sum(reading.drops.values()) == len(garbage)


@given(st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=400))
def test_even_a_member_can_only_be_read_or_dropped(kind: int, port: int, listed: bytes) -> None:
    head = struct.pack("!4sBBH8s32sQIQ", b"PRX\x01", kind, 0, port, network_tag(KEY), PEER, 1, 1, NOW)
    datagram = head + hmac.digest(KEY, head + listed, "sha256")[:16] + listed
    verdict = reader().receive(datagram, HOST, NOW)
    if isinstance(verdict, Verdict):
        assert verdict.beacon.pack(KEY) == datagram
    else:
        assert verdict == "malformed"


@pytest.mark.parametrize(
    "listed",
    [
        b"a",
        b"a:",
        b":1",
        b"a:0",
        b"a:65536",
        b"a:1\n",
        b"a:1\n\nb:2",
        b"a b:1",
        b"a:1\r",
        b"\xff:1",
        b"::1:5",
        b"a:+1",
        b"a/b:1",
    ],
)
def test_addresses_that_are_none_are_refused_at_both_ends(listed: bytes) -> None:
    with pytest.raises(ValueError, match="host:port"):
        beacon(addresses=(listed.decode("latin-1"),)).pack(KEY)
    head = beacon().pack(KEY)[:68]
    datagram = head + hmac.digest(KEY, head + listed, "sha256")[:16] + listed
    assert reader().receive(datagram, HOST, NOW) == "malformed"


def test_too_many_addresses_are_refused() -> None:
    fits = ("a" * (MAX_ADDRESSES_SIZE - 2) + ":1",)
    assert len(beacon(addresses=fits).pack(KEY)) == MAX_SIZE
    with pytest.raises(ValueError, match="401 bytes"):
        beacon(addresses=("a" * (MAX_ADDRESSES_SIZE - 1) + ":1",)).pack(KEY)


# Who is believed


def test_only_keys_of_the_keyring_are_believed() -> None:
    both, one = reader(OTHER, KEY), reader(KEY)
    old = beacon().pack(KEY)
    new = beacon(peer_id=b"n" * 32, tag=network_tag(OTHER)).pack(OTHER)
    assert taken(both.receive(old, HOST, NOW)).standing == "new"
    assert taken(both.receive(new, HOST, NOW)).standing == "new"
    assert one.receive(new, HOST, NOW) == "foreign"
    assert one.receive(beacon(tag=network_tag(KEY)).pack(OTHER), HOST, NOW) == "mac"
    assert one.receive(b"X" + old[1:], HOST, NOW) == "foreign"
    assert (one.drops["foreign"], one.drops["mac"]) == (2, 1)


def test_our_own_beacons_are_not_taken() -> None:
    assert reader().receive(beacon(peer_id=OWN).pack(KEY), HOST, NOW) == "self"


def test_only_greater_numbers_of_a_peer_are_new() -> None:
    reading = reader()
    firsts = []
    for boot, seq in ((10, 5), (10, 6), (10, 9), (11, 1), (11, 2)):
        verdict = taken(reading.receive(beacon(boot=boot, seq=seq).pack(KEY), HOST, NOW))
        assert verdict.standing == "new"
        firsts.append(verdict.first)
    assert firsts == [True, False, False, True, False]
    for boot, seq in ((11, 1), (10, 9), (10, 100), (9, 2**32 - 1)):
        assert reading.receive(beacon(boot=boot, seq=seq).pack(KEY), HOST, NOW) == "replay"
    assert reading.drops["replay"] == 4


def test_a_copy_that_came_another_way_adds_its_source_for_a_moment() -> None:
    reading = reader()
    datagram = beacon().pack(KEY)
    assert taken(reading.receive(datagram, "192.0.2.1", NOW)).sources == ("192.0.2.1",)
    assert reading.receive(datagram, "192.0.2.1", NOW) == "duplicate"
    verdict = taken(reading.receive(datagram, "198.51.100.1", NOW + SAME_BEACON_MS))
    assert (verdict.standing, verdict.first) == ("path", False)
    assert verdict.sources == ("192.0.2.1", "198.51.100.1")
    assert reading.receive(datagram, "203.0.113.1", NOW + SAME_BEACON_MS + 1) == "replay"


def test_the_paths_of_one_beacon_are_bounded() -> None:
    reading = reader()
    datagram = beacon().pack(KEY)
    for index in range(MAX_PATHS):
        assert len(taken(reading.receive(datagram, f"192.0.2.{index}", NOW)).sources) == index + 1
    assert reading.receive(datagram, "198.51.100.1", NOW) == "duplicate"


@pytest.mark.parametrize("off", [-86_400_000, -WINDOW_MS - 1, WINDOW_MS + 1, 86_400_000, 2**63 - NOW])
def test_a_wrong_clock_makes_a_hint_once_a_minute_for_a_source(off: int) -> None:
    reading = reader()

    def hear(seq: int, host: str = HOST, at: int = NOW) -> Verdict | str:
        return reading.receive(beacon(seq=seq, time_ms=at + off).pack(KEY), host, at)

    assert taken(hear(1)) == Verdict(beacon(seq=1, time_ms=NOW + off), "hint", first=True, sources=(HOST,))
    assert hear(1) == "rate"
    assert hear(2, at=NOW + HINT_GAP_MS - 1) == "rate"
    assert taken(hear(2, "198.51.100.1")).standing == "hint"
    assert taken(hear(3, at=NOW + HINT_GAP_MS)).standing == "hint"
    assert reading.drops["rate"] == 2


def test_the_edges_of_the_window_belong_to_it() -> None:
    for off in (-WINDOW_MS, WINDOW_MS):
        assert taken(reader().receive(beacon(time_ms=NOW + off).pack(KEY), HOST, NOW)).standing == "new"


def test_a_recording_out_of_the_window_outweighs_nothing() -> None:
    reading = reader()
    recorded = beacon(boot=99, time_ms=NOW - WINDOW_MS - 1).pack(KEY)
    assert taken(reading.receive(recorded, HOST, NOW)).standing == "hint"
    assert taken(reading.receive(beacon(boot=10).pack(KEY), HOST, NOW)).standing == "new"
    old = beacon(boot=9, time_ms=NOW - WINDOW_MS - 1).pack(KEY)
    assert reading.receive(old, "198.51.100.1", NOW) == "replay"


def test_the_longest_unheard_peer_is_forgotten_first() -> None:
    reading = reader(max_peers=2)
    a, b, c = (beacon(peer_id=bytes([index]) * 32) for index in (10, 11, 12))
    for each in (a, b, attrs.evolve(a, seq=2), c):
        assert taken(reading.receive(each.pack(KEY), HOST, NOW)).standing == "new"
    assert reading.receive(a.pack(KEY), HOST, NOW) == "replay"
    assert taken(reading.receive(b.pack(KEY), HOST, NOW)).first is True


def test_remembered_hints_are_bounded() -> None:
    reading = reader(max_peers=2)
    datagram = beacon(time_ms=NOW - WINDOW_MS - 1).pack(KEY)
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"):
        assert taken(reading.receive(datagram, host, NOW)).standing == "hint"
    assert reading.receive(datagram, "192.0.2.3", NOW) == "rate"
