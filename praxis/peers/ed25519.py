"""Ed25519 signing (RFC 8032, section 5.1), for the few certificates that an agent makes when it starts.

Nothing is verified here: every signature and key exchange on the wire is OpenSSL's, inside `ssl`. Python integers do
not take constant time. That is acceptable because signing happens a handful of times, locally, and never over what a
remote side chose; do not use this module for anything that answers requests.
"""

from __future__ import annotations

import hashlib
from functools import cache

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960

SEED_SIZE = 32
"""Bytes of a private key; any 32 bytes are one."""

_Addend = tuple[int, int, int, int]
"""A point made ready for adding: (Y - X, Y + X, 2dT, 2Z) of extended coordinates (X : Y : Z : T)."""


@cache
def _doublings() -> tuple[_Addend, ...]:
    """The base point times 1, 2, 4, ... 2^255: they are the same for every key, so a product is additions alone."""
    table: list[_Addend] = []
    x, y, z = BASE_X, BASE_Y, 1
    t = x * y % P
    for _ in range(256):
        table.append(((y - x) % P, (y + x) % P, 2 * D * t % P, 2 * z % P))
        # RFC 8032, 5.1.4: doubling
        a, b, c = x * x, y * y, 2 * z * z
        h = a + b
        e = h - (x + y) * (x + y)
        g = a - b
        f = c + g
        x, y, z, t = e * f % P, g * h % P, f * g % P, e * h % P
    return tuple(table)


def _times_base(scalar: int) -> bytes:
    """The encoded point `scalar` times B. Every bit costs one addition, whether it is set or not."""
    x, y, z, t = 0, 1, 1, 0
    for minus, plus, torsion, twice_z in _doublings():
        # RFC 8032, 5.1.4: addition
        a, b = (y - x) * minus, (y + x) * plus
        c, d = t * torsion, z * twice_z
        e, f, g, h = b - a, d - c, d + c, b + a
        added = e * f % P, g * h % P, f * g % P, e * h % P
        if scalar & 1:
            x, y, z, t = added
        scalar >>= 1
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


class SigningKey:
    """A private key, with its public key worked out once (some milliseconds)."""

    __slots__ = ("_prefix", "_scalar", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        """`seed`: the 32 bytes of the private key. Raises ValueError for another length."""
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a private key has {SEED_SIZE} bytes, this one {len(seed)}")
        digest = hashlib.sha512(seed).digest()
        scalar = int.from_bytes(digest[:32], "little")
        self.seed = seed
        self._scalar = (scalar & ((1 << 254) - 8)) | (1 << 254)
        self._prefix = digest[32:]
        self.public: bytes = _times_base(self._scalar)
        """32 bytes."""

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature; the same message always gives the same ones."""
        nonce = int.from_bytes(hashlib.sha512(self._prefix + message).digest(), "little") % L
        commitment = _times_base(nonce)
        challenge = int.from_bytes(hashlib.sha512(commitment + self.public + message).digest(), "little") % L
        return commitment + ((nonce + challenge * self._scalar) % L).to_bytes(32, "little")
