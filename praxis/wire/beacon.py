"""Beacons: the datagrams by which agents of one network find each other.

One beacon is one UDP datagram of 84 to 484 bytes, numbers in network byte order::

    offset  size  field
    0       4     magic and version: "PRX" and 0x01
    4       1     kind: 1 ANNOUNCE, 2 QUERY, 3 BYE
    5       1     flags: sent as 0, ignored
    6       2     the agent's TCP port, not 0
    8       8     network tag: the first 8 bytes of SHA-256 over "praxis beacon tag" and the beacon key
    16      32    peer id (the bytes behind the text "px...")
    48      8     boot: the number of the agent's start, growing
    56      4     seq: the number of the beacon since that start, growing, over all kinds
    60      8     time of sending, milliseconds since the epoch
    68      16    MAC: the first 16 bytes of HMAC-SHA256 with the beacon key over bytes 0 to 67 and 84 to the end
    84      0-400 further addresses: "host:port", printable ASCII without space, separated by one newline each

An ANNOUNCE says "I am here". A QUERY says the same and asks for an ANNOUNCE in return, by unicast to the datagram's
source. A BYE says that this start of the agent is over.

A receiver takes a datagram when its size, tag and MAC are right, it is not its own, and (boot, seq) is greater than
the greatest of that peer. The same (boot, seq) again within 2 s has come another way: its source is one more address of
the peer. A beacon whose time is more than 300 s off (a wrong clock or a recording) counts as a hint, at most once a
minute for one peer at one source. Whatever a beacon says, it can only make the receiver dial: who the peer is, TLS
decides. The address to dial is the datagram's source with the port of the beacon; the listed ones come after it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, get_args

import attrs

MAGIC = b"PRX\x01"
ANNOUNCE, QUERY, BYE = 1, 2, 3
KINDS = {ANNOUNCE: "announce", QUERY: "query", BYE: "bye"}

_HEAD = struct.Struct("!4sBBH8s32sQIQ")
_MAC_SIZE = 16
_TAG = slice(8, 16)
MIN_SIZE = _HEAD.size + _MAC_SIZE
MAX_ADDRESSES_SIZE = 400
"""Bytes: a dozen addresses, and the datagram still passes any link whole."""
MAX_SIZE = MIN_SIZE + MAX_ADDRESSES_SIZE
MAX_SEQ = 2**32 - 1

WINDOW_MS = 300_000
"""How far the sender's clock may be off before its beacons are only hints."""
SAME_BEACON_MS = 2_000
"""How long a copy that came another way may take; a later one is a replay."""
HINT_GAP_MS = 60_000
"""One dial a minute for a beacon out of the window: enough to meet a peer with a wrong clock."""
MAX_PEERS = 4096
"""Peers whose last beacon is remembered, the longest unheard forgotten first: far above the mesh's size."""
MAX_PATHS = 8
"""Sources remembered of one beacon: an agent with more interfaces is reached by one of these."""

_ADDRESS = re.compile(r"(?:\[[0-9A-Za-z:.%_-]+\]|[0-9A-Za-z._-]+):([1-9][0-9]{0,4})")

Drop = Literal["short", "long", "foreign", "mac", "malformed", "self", "replay", "duplicate", "rate"]
"""Why a datagram is not taken. `duplicate` is a copy by a path that is known already, which is the normal course when
both multicast and broadcast arrive; `rate` a beacon out of the clock window that comes too soon after the last."""
DROPS: tuple[Drop, ...] = get_args(Drop)


def network_tag(key: bytes) -> bytes:
    """The 8 bytes by which beacons of this key are told from those of other networks, before any MAC is computed."""
    return hashlib.sha256(b"praxis beacon tag" + key).digest()[:8]


@attrs.frozen
class Beacon:
    """One datagram, read. `flags` is 0 in version 1; `peer_id` has 32 bytes; `time_ms` is since the epoch."""

    kind: int
    port: int
    tag: bytes
    peer_id: bytes
    boot: int
    seq: int
    time_ms: int
    addresses: tuple[str, ...] = ()
    flags: int = 0

    def pack(self, key: bytes) -> bytes:
        """The datagram, authenticated with the beacon key whose tag this beacon bears.

        Raises ValueError for addresses that are no addresses or take more than 400 bytes.
        """
        if not all(is_address(address) for address in self.addresses):
            raise ValueError(f"not all of these are host:port: {self.addresses!r}")
        listed = "\n".join(self.addresses).encode("ascii")
        if len(listed) > MAX_ADDRESSES_SIZE:
            raise ValueError(f"{len(listed)} bytes of addresses; {MAX_ADDRESSES_SIZE} fit")
        head = _HEAD.pack(
            MAGIC, self.kind, self.flags, self.port, self.tag, self.peer_id, self.boot, self.seq, self.time_ms
        )
        return head + _mac(key, head, listed) + listed


@attrs.frozen
class Verdict:
    """A beacon that is taken.

    Attributes:
        standing: ``new``; ``path`` when it came another way before; ``hint`` when its time is out of the window.
        first: True when it is the first one of this start of the peer.
        sources: the hosts this very beacon came from so far, in order.
    """

    beacon: Beacon
    standing: Literal["new", "path", "hint"]
    first: bool
    sources: tuple[str, ...]


@attrs.define
class _Heard:
    """The greatest beacon of one peer."""

    boot: int
    seq: int
    at_ms: int
    sources: tuple[str, ...]


class BeaconReader:
    """Decides which datagrams to believe, as far as a datagram can be believed. Holds no clock and no socket.

    Attributes:
        own_id: 32 bytes; what bears it is dropped.
        drops: how many datagrams were not taken, by reason.
    """

    def __init__(self, keys: Sequence[bytes], own_id: bytes, max_peers: int = MAX_PEERS) -> None:
        """`keys`: the beacon keys of the keyring; `own_id`: 32 bytes."""
        self.rekey(keys)
        self.own_id = own_id
        self._max_peers = max_peers
        self._heard: OrderedDict[bytes, _Heard] = OrderedDict()
        self._hints: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self.drops: dict[Drop, int] = dict.fromkeys(DROPS, 0)

    def rekey(self, keys: Sequence[bytes]) -> None:
        """Take these keys instead. What was heard stays known, so that nothing can be replayed."""
        self._keys = {network_tag(key): key for key in keys}

    def receive(self, datagram: bytes, source: str, now_ms: int) -> Verdict | Drop:
        """Judge one datagram that came from the host `source`; never raises, whatever is in it."""
        verdict = self._judge(datagram, source, now_ms)
        if isinstance(verdict, str):
            self.drops[verdict] += 1
        return verdict

    def _judge(self, datagram: bytes, source: str, now_ms: int) -> Verdict | Drop:
        beacon = self._read(datagram)
        if isinstance(beacon, str):
            return beacon
        if beacon.peer_id == self.own_id:
            return "self"
        heard = self._heard.get(beacon.peer_id)
        if heard and (beacon.boot, beacon.seq) <= (heard.boot, heard.seq):
            if (beacon.boot, beacon.seq) < (heard.boot, heard.seq) or now_ms - heard.at_ms > SAME_BEACON_MS:
                return "replay"
            if source in heard.sources or len(heard.sources) >= MAX_PATHS:
                return "duplicate"
            heard.sources += (source,)
            return Verdict(beacon, "path", first=False, sources=heard.sources)
        first = heard is None or beacon.boot > heard.boot
        if abs(now_ms - beacon.time_ms) > WINDOW_MS:
            # It leaves no trace among the peers: a recording must not outweigh what the peer itself says later.
            return Verdict(beacon, "hint", first, (source,)) if self._may_hint(source, beacon, now_ms) else "rate"
        self._heard[beacon.peer_id] = _Heard(beacon.boot, beacon.seq, now_ms, (source,))
        self._heard.move_to_end(beacon.peer_id)
        if len(self._heard) > self._max_peers:
            self._heard.popitem(last=False)
        return Verdict(beacon, "new", first, (source,))

    def _read(self, datagram: bytes) -> Beacon | Drop:
        if len(datagram) < MIN_SIZE:
            return "short"
        if len(datagram) > MAX_SIZE:
            return "long"
        key = self._keys.get(datagram[_TAG])
        if key is None or not datagram.startswith(MAGIC):
            return "foreign"
        head, mac, listed = datagram[: _HEAD.size], datagram[_HEAD.size : MIN_SIZE], datagram[MIN_SIZE:]
        if not hmac.compare_digest(mac, _mac(key, head, listed)):
            return "mac"
        _, kind, flags, port, tag, peer_id, boot, seq, time_ms = _HEAD.unpack(head)
        addresses = tuple(listed.decode("latin-1").split("\n")) if listed else ()
        if kind not in KINDS or port == 0 or not all(is_address(address) for address in addresses):
            return "malformed"
        return Beacon(kind, port, tag, peer_id, boot, seq, time_ms, addresses, flags)

    def _may_hint(self, source: str, beacon: Beacon, now_ms: int) -> bool:
        place = (source, beacon.peer_id)
        last = self._hints.get(place)
        if last is not None and 0 <= now_ms - last < HINT_GAP_MS:
            return False
        self._hints[place] = now_ms
        self._hints.move_to_end(place)
        if len(self._hints) > self._max_peers:
            self._hints.popitem(last=False)
        return True


def _mac(key: bytes, head: bytes, listed: bytes) -> bytes:
    return hmac.digest(key, head + listed, "sha256")[:_MAC_SIZE]


def is_address(text: str) -> bool:
    """Whether a beacon can list this: ``HOST:PORT`` or ``[V6]:PORT``, ASCII, with a port from 1 to 65535."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and int(match[1]) <= 65535
