"""What an agent keeps of its membership in a network with a CA: `membership.json` in its state directory.

A bundle is a membership together with its private key, made by the issuer for an agent that cannot join by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.peers.ed25519 import SigningKey
from praxis.peers.identity import Identity, load_signing_key, make_identity, peer_id_of, peer_id_of_key
from praxis.peers.joining import Grant
from praxis.peers.private_files import create_private, read_small, replace
from praxis.peers.x509 import private_key_pem, read_private_key

FILE = "membership.json"
MAX_FILE = 256 * 1024
"""Bytes: eight certificates and eight keys are 8 KiB, 1024 ids of blocked peers 60 KiB."""
SCHEMA = 1
RENEW_AT = 2 / 3
"""Part of a certificate's life after which it is renewed, so that a third is left for an issuer to come back."""


@attrs.frozen
class Membership:
    name: str
    grant: Grant
    addresses: tuple[str, ...] = ()
    """Where the issuer was."""
    blocked: tuple[PeerId, ...] = ()
    """Whom the issuer last said to keep out."""

    @property
    def bootstrap(self) -> tuple[str, ...]:
        """The issuer, as addresses to begin with."""
        return tuple(f"{self.grant.issuer}@{address}" for address in self.addresses)

    def needs_renewal(self, now: float) -> bool:
        life = self.grant.not_after - self.grant.not_before
        return now > self.grant.not_before + RENEW_AT * life

    def save(self, state_dir: Path) -> None:
        """Raises PraxisError("invalid") when the file cannot be written."""
        replace(state_dir / FILE, json.dumps(self._encode()) + "\n")

    def identity(self, state_dir: Path, *, admits: bool, more: Sequence[bytes] = ()) -> Identity:
        """What peers get to see. `admits`: lines of joiners are accepted, who have no certificate yet.

        `more` are CA certificates (DER) that the operator believes beside those of the network. Raises
        PraxisError("invalid") when a certificate or the private key cannot be used.
        """
        path = state_dir / FILE
        if peer_id_of(self.grant.certificate) != peer_id_of_key(load_signing_key(state_dir).public):
            hint = "restore both from one backup, or join again"
            raise PraxisError("invalid", "it is for another private key than identity.key", hint=hint, where=str(path))
        made = make_identity(
            name=self.name,
            certificate=self.grant.certificate,
            authorities={fingerprint(der): der for der in (*self.grant.authorities, *more)},
            beacon_keys=self.grant.beacon_keys,
            state_dir=state_dir,
            admits=admits,
        )
        return attrs.evolve(made, not_after=self.grant.not_after)

    def bundle(self, key: SigningKey) -> str:
        """The text of a bundle: secret."""
        return json.dumps({**self._encode(), "private_key": private_key_pem(key.seed)}, indent=1) + "\n"

    def _encode(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "addresses": list(self.addresses),
            "blocked": list(self.blocked),
            "grant": self.grant.encode(),
        }


def load_membership(state_dir: Path) -> Membership:
    """Raises PraxisError("invalid") when this agent is no member, or the file is damaged or open to others."""
    path = state_dir / FILE
    if not path.exists():
        raise PraxisError(
            "invalid",
            "this agent is no member of a network with a CA yet",
            hint="`praxis network token` on the issuer makes a token, `praxis network join` takes it; or "
            "`praxis network init` makes this agent an issuer",
            where="p2p.security.mode",
        )
    return _decode(read_small(path, "membership", private=True, limit=MAX_FILE), str(path))


def import_bundle(path: Path, state_dir: Path) -> Membership:
    """Become the member that a bundle was made for. Raises PraxisError: ``conflict`` when there is a key already."""
    text = read_small(path, "bundle", private=True, limit=MAX_FILE)
    membership = _decode(text, str(path))
    try:
        key = SigningKey(read_private_key(json.loads(text)["private_key"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PraxisError("invalid", "it holds no private key: it is no bundle", where=str(path)) from None
    if not create_private(state_dir / "identity.key", private_key_pem(key.seed)):
        raise PraxisError(
            "conflict",
            "there is a private key already; a bundle brings its own",
            hint="let this agent join with a token, or move its key away",
            where=str(state_dir / "identity.key"),
        )
    membership.save(state_dir)
    return membership


def _decode(text: str, where: str) -> Membership:
    try:
        value = json.loads(text)
        if value["schema"] > SCHEMA:
            raise PraxisError("invalid", "it was written by a newer version of Praxis", where=where)
        membership = Membership(
            str(value["name"]),
            Grant.decode(value["grant"]),
            tuple(map(str, value["addresses"])),
            tuple(map(str, value["blocked"])),
        )
        peer_id_of(membership.grant.certificate)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PraxisError("invalid", "the membership is damaged", hint="join again", where=where) from None
    except PraxisError as error:
        raise PraxisError("invalid", f"the membership cannot be used: {error}", where=where) from None
    return membership


def fingerprint(certificate: bytes) -> str:
    """Tells CAs apart: 8 hexadecimal digits."""
    return hashlib.sha256(certificate).hexdigest()[:8]
