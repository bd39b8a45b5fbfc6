"""Which peers to keep lines to in a network too large for lines to everybody. Pure."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable

from praxis.model.peer import PeerId

COUNT = 16
"""Lines that an agent keeps by itself then; about as many others choose it. With 16 a random network of a million is
connected, and a change of membership moves few of them."""


def neighbours(own: PeerId, others: Iterable[PeerId], count: int = COUNT) -> frozenset[PeerId]:
    """The `count` others that are nearest by a hash of the pair, so that each agent has different ones."""
    return frozenset(heapq.nsmallest(count, others, key=lambda other: _distance(own, other)))


def _distance(one: PeerId, other: PeerId) -> bytes:
    return hashlib.blake2b("|".join(sorted((one, other))).encode(), digest_size=8).digest()
