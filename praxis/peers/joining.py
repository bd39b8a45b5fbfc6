"""How an agent becomes a member of a network with a CA: the token, the request, the grant.

A token is for one agent, once. Its text holds where the issuer is, which key the issuer shows there, the token's number
and a secret. The joiner shows that it has the secret by an HMAC over what it asks for, so the secret itself is never
sent; the issuer is known by its key before anything is said.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from typing import Any

import attrs

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId

SECRET_SIZE = 16
PUBLIC_SIZE = 32
MAX_TOKEN = 1024
"""Characters of a token: with one address it has about 170, and eight fit."""
MAX_MESSAGE = 32 * 1024
"""Bytes of a request or a grant, which holds a few certificates of half a KiB."""
_PREFIX = "pxj1-"
_CHECK = 3
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@attrs.frozen
class JoinToken:
    addresses: tuple[str, ...]
    """``HOST:PORT`` of the issuer."""
    issuer: PeerId
    id: str
    secret: bytes = attrs.field(repr=False)

    @property
    def text(self) -> str:
        """The text form: secret until it is used."""
        value = [list(self.addresses), self.issuer, self.id, _b64(self.secret)]
        payload = json.dumps(value, separators=(",", ":")).encode()
        return _PREFIX + _b64(payload + hashlib.sha256(payload).digest()[:_CHECK])

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises PraxisError("invalid") that says what is wrong without showing any of it."""
        text = text.strip()
        what = "is too long"
        if len(text) <= MAX_TOKEN:
            what = "is mistyped or cut off"
            raw = _unb64(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
            if raw is not None and hashlib.sha256(raw[:-_CHECK]).digest()[:_CHECK] == raw[-_CHECK:]:
                try:
                    addresses, issuer, id, secret = json.loads(raw[:-_CHECK])
                    made = cls(tuple(str(a) for a in addresses), str(issuer), str(id), _unb64(secret) or b"")
                except (ValueError, TypeError, RecursionError):
                    made = None
                if made is not None and len(made.secret) == SECRET_SIZE and made.addresses:
                    return made
        hint = f"a token is {_PREFIX} and some 170 letters, digits, - and _; copy it as a whole"
        raise PraxisError("invalid", f"the join token {what}", hint=hint)


@attrs.frozen
class JoinRequest:
    token_id: str
    name: str
    public: bytes
    """The joiner's Ed25519 public key."""
    proof: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, token: JoinToken, name: str, public: bytes) -> JoinRequest:
        return cls(token.id, name, public, _proof(token.secret, token.issuer, name, public))

    def proves(self, secret: bytes, issuer: PeerId) -> bool:
        """Whether whoever made this has the token's secret, and meant this issuer."""
        return hmac.compare_digest(self.proof, _proof(secret, issuer, self.name, self.public))

    def encode(self) -> dict[str, Any]:
        return {
            "token": self.token_id,
            "name": self.name,
            "public": encode_public(self.public),
            "proof": _b64(self.proof),
        }

    @classmethod
    def decode(cls, value: Any) -> JoinRequest:
        """Raises PraxisError("invalid")."""
        keys = ("token", "name", "public", "proof")
        fields = [value.get(key) for key in keys] if isinstance(value, dict) else []
        texts = [field for field in fields if isinstance(field, str)]
        if len(texts) != len(keys):
            raise PraxisError("invalid", "a request to join has a token, a name, a public key and a proof")
        token_id, name, public, proof = texts
        return cls(token_id, check_name(name), decode_public(public), _unb64(proof) or b"")


@attrs.frozen
class Grant:
    """What makes a member: all of it may be kept, and but for the beacon keys all of it may be shown."""

    certificate: bytes
    """DER, for the joiner's key."""
    authorities: tuple[bytes, ...]
    """DER: the CAs that are believed; the first one has signed the certificate."""
    beacon_keys: tuple[bytes, ...] = attrs.field(repr=False)
    rendezvous: str
    issuer: PeerId
    not_before: int
    not_after: int
    """Of the certificate, in seconds since the epoch."""

    def encode(self) -> dict[str, Any]:
        return {
            "certificate": _b64(self.certificate),
            "authorities": [_b64(der) for der in self.authorities],
            "beacon_keys": [_b64(key) for key in self.beacon_keys],
            "rendezvous": self.rendezvous,
            "issuer": self.issuer,
            "not_before": self.not_before,
            "not_after": self.not_after,
        }

    @classmethod
    def decode(cls, value: Any) -> Grant:
        """Raises PraxisError("invalid")."""
        try:
            made = cls(
                certificate=_bytes(value["certificate"]),
                authorities=tuple(_bytes(der) for der in value["authorities"]),
                beacon_keys=tuple(_bytes(key) for key in value["beacon_keys"]),
                rendezvous=value["rendezvous"],
                issuer=value["issuer"],
                not_before=value["not_before"],
                not_after=value["not_after"],
            )
        except (KeyError, TypeError, ValueError):
            made = None
        if (
            made is None
            or not (made.authorities and made.beacon_keys and isinstance(made.rendezvous, str))
            or not (type(made.not_before) is type(made.not_after) is int)
            or not isinstance(made.issuer, str)
        ):
            raise PraxisError("invalid", "this is no grant of membership")
        return made


def encode_public(public: bytes) -> str:
    """An Ed25519 public key for a message."""
    return _b64(public)


def decode_public(text: Any) -> bytes:
    """Raises PraxisError("invalid")."""
    raw = _unb64(text)
    if raw is None or len(raw) != PUBLIC_SIZE:
        raise PraxisError("invalid", "a public key is an Ed25519 key of 32 bytes")
    return raw


def check_name(name: str) -> str:
    """The name of an agent. Raises PraxisError("invalid")."""
    if not _NAME.fullmatch(name):
        raise PraxisError("invalid", f"{name[:80]!r} is no name of an agent: 1 to 64 of a-z A-Z 0-9 - _ .")
    return name


def _proof(secret: bytes, issuer: PeerId, name: str, public: bytes) -> bytes:
    return hmac.digest(secret, b"praxis join\0" + public + issuer.encode() + b"\0" + name.encode(), "sha256")


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _unb64(text: Any) -> bytes | None:
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None


def _bytes(text: Any) -> bytes:
    value = _unb64(text)
    if not value:
        raise ValueError("no bytes")
    return value
