"""The CA of a network, in the state directory of its issuer: who gets a certificate, under which name, for how long.

The folder `ca` holds `ca.key` with the private key, `ca.json` with the certificate and the beacon key, `tokens.json`
with tokens that were not used yet, `issued.json` with what was issued, `blocked.json` with who is kept out. All are the
issuer's alone. Commands and the
running agent change them one after the other, under a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.peers.ed25519 import SEED_SIZE, SigningKey
from praxis.peers.identity import peer_id_digest, peer_id_of, peer_id_of_key
from praxis.peers.joining import SECRET_SIZE, Grant, JoinRequest, JoinToken, check_name
from praxis.peers.private_files import create_private, read_small, replace, unusable
from praxis.peers.x509 import make_certificate, private_key_pem, read_private_key

DAY = 86400
CA_DAYS = 3650
LEAF_DAYS = 365
SLACK = DAY
"""Seconds before now from which a certificate counts: clocks of members may be behind."""
MAX_TOKENS = 1000
"""Tokens that wait to be used; expired ones do not count."""
MAX_ATTEMPTS = 5
"""Wrong proofs after which a token is worth nothing: its secret has 128 bits, so each is a mistake or an attack."""
MAX_ISSUED = 10_000
"""Certificates that are remembered, for their names; expired ones are forgotten."""
MAX_BLOCKED = 1024
"""Peers that are kept out. A certificate ends after a year by itself, and a larger number asks for another CA."""
MAX_FILE = 8 * 1024 * 1024
"""Bytes of one of the files: the largest holds MAX_ISSUED names of 200 bytes."""
SCHEMA = 1

Clock = Callable[[], float]
Entry = dict[str, Any]


class Authority:
    """One network's CA. Methods raise PraxisError; `clock` gives seconds since the epoch."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        """Raises PraxisError("invalid") when the files are damaged or open to others."""
        self._folder = folder
        self._clock = clock
        path = folder / "ca.key"
        try:
            self._key = SigningKey(read_private_key(read_small(path, "CA's private key", private=True)))
        except ValueError as error:
            raise PraxisError(
                "invalid", f"the CA's private key is damaged: {error}", hint="restore it from a backup", where=str(path)
            ) from None
        about = self._read("ca.json")
        self.rendezvous: str = about["rendezvous"]
        self.issuer: PeerId = about["issuer"]
        self.certificate = bytes.fromhex(about["certificate"])
        self._beacon_key = bytes.fromhex(about["beacon_key"])
        self._until: int = about["not_after"]

    # -- tokens -------------------------------------------------------------------------------------

    def make_token(self, addresses: Sequence[str], *, name: str | None, ttl: float) -> JoinToken:
        """A token for one agent, which must call itself `name` if one is given, within `ttl` seconds."""
        if name is not None:
            self._check_free(check_name(name), None)
        token = JoinToken(tuple(addresses), self.issuer, secrets.token_hex(6), secrets.token_bytes(SECRET_SIZE))
        with self._locked():
            tokens = self._tokens()
            if len(tokens) >= MAX_TOKENS:
                raise PraxisError("busy", f"{MAX_TOKENS} tokens wait to be used", hint="they expire by themselves")
            until = int(self._clock() + ttl)
            tokens[token.id] = {"secret": token.secret.hex(), "name": name, "until": until, "wrong": 0}
            self._write("tokens.json", tokens)
        return token

    def admit(self, request: JoinRequest) -> Grant:
        """A certificate for whoever shows a token. The token is used up before the answer is given.

        Raises PraxisError("denied") with what is wrong with the token, "conflict" for a name that is taken.
        """
        with self._locked():
            tokens = self._tokens(expired=True)
            entry = tokens.get(request.token_id)
            if entry is None:
                raise PraxisError("denied", "this token is unknown or was used", hint="make another one")
            if entry["until"] < self._clock():
                raise PraxisError("denied", "this token has expired", hint="make another one")
            if not request.proves(bytes.fromhex(entry["secret"]), self.issuer):
                entry["wrong"] += 1
                if entry["wrong"] >= MAX_ATTEMPTS:
                    del tokens[request.token_id]
                self._write("tokens.json", tokens)
                raise PraxisError("denied", "the proof does not fit the token")
            if entry["name"] not in (None, request.name):
                raise PraxisError("denied", f"this token is for {entry['name']}, not for {request.name}")
            grant = self._certify(request.name, request.public, LEAF_DAYS)
            del tokens[request.token_id]
            self._write("tokens.json", tokens)
            self._remember(request.name, grant)
        return grant

    # -- certificates -------------------------------------------------------------------------------

    def issue(self, name: str, public: bytes, *, days: int = LEAF_DAYS) -> Grant:
        """A certificate for a key (32 bytes), by the operator's own word. Raises PraxisError("conflict")."""
        with self._locked():
            grant = self._certify(check_name(name), public, days)
            self._remember(name, grant)
        return grant

    def renew(self, peer_id: PeerId, name: str, public: bytes) -> Grant:
        """Another certificate for a member that has shown its old one. Raises PraxisError("denied")."""
        if peer_id_of_key(public) != peer_id:
            raise PraxisError("denied", "a certificate is renewed for the same key alone")
        if self.id_of(name) != peer_id:  # others are believed too where p2p.security.ca_files says so
            raise PraxisError("denied", "this CA has not issued the certificate that is shown", hint="join again")
        return self.issue(name, public)

    def _certify(self, name: str, public: bytes, days: int) -> Grant:
        now = int(self._clock())
        not_before, not_after = now - SLACK, min(now + days * DAY, self._until)
        if not_after <= now:
            raise PraxisError(
                "unavailable", "the CA itself has expired", hint="`praxis network init` makes another one"
            )
        certificate = make_certificate(
            subject=name,
            public=public,
            issuer=_name(self._key),
            issuer_key=self._key,
            serial=b"\x01" + secrets.token_bytes(15),
            not_before=not_before,
            not_after=not_after,
            uris=(f"praxis:agent:{name}",),
        )
        self._check_free(name, peer_id_of(certificate))
        if peer_id_of(certificate) in self.blocked():
            raise PraxisError(
                "denied", "this agent is blocked", hint="`praxis network unblock` on the issuer lets it in"
            )
        return Grant(
            certificate, (self.certificate,), (self._beacon_key,), self.rendezvous, self.issuer, not_before, not_after
        )

    def _check_free(self, name: str, peer_id: PeerId | None) -> None:
        """A name belongs to one key as long as its certificate counts, unless that was blocked."""
        taken = self._issued().get(name)
        if taken is not None and taken["id"] != peer_id and taken["until"] > self._clock():
            raise PraxisError(
                "conflict",
                f"the name {name} belongs to {taken['id']}",
                hint=f"take another name, or free it with `praxis network block {taken['id']}`",
            )

    # -- who is kept out ----------------------------------------------------------------------------

    def blocked(self) -> tuple[PeerId, ...]:
        """Peers that no member keeps a line with, whatever certificate they show."""
        return tuple(self._read("blocked.json"))

    def block(self, peer_id: PeerId) -> None:
        """Keep a peer out from now on. Its name may be given to another one. Raises PraxisError("busy")."""
        peer_id_digest(peer_id)
        with self._locked():
            blocked = self._read("blocked.json")
            if len(blocked) >= MAX_BLOCKED and peer_id not in blocked:
                raise PraxisError("busy", f"{MAX_BLOCKED} peers are blocked", hint="make another CA")
            self._write("blocked.json", {**blocked, peer_id: int(self._clock())})
            self._write("issued.json", {n: e for n, e in self._issued().items() if e["id"] != peer_id})

    def unblock(self, peer_id: PeerId) -> None:
        """Let a peer in again. Raises PraxisError("not_found")."""
        with self._locked():
            blocked = self._read("blocked.json")
            if blocked.pop(peer_id, None) is None:
                raise PraxisError("not_found", f"{peer_id[:80]} is not blocked here")
            self._write("blocked.json", blocked)

    def id_of(self, name: str) -> PeerId | None:
        """Whose certificate bears this name."""
        entry = self._issued().get(name)
        return entry["id"] if entry is not None else None

    def _remember(self, name: str, grant: Grant) -> None:
        issued = {n: entry for n, entry in self._issued().items() if entry["until"] > self._clock()}
        if len(issued) >= MAX_ISSUED and name not in issued:
            raise PraxisError("busy", f"{MAX_ISSUED} certificates are in use")
        issued[name] = {"id": peer_id_of(grant.certificate), "until": grant.not_after}
        self._write("issued.json", issued)

    # -- files --------------------------------------------------------------------------------------

    def _tokens(self, *, expired: bool = False) -> dict[str, Entry]:
        tokens = self._read("tokens.json")
        return {id: t for id, t in tokens.items() if t["until"] > self._clock() - (DAY if expired else 0)}

    def _issued(self) -> dict[str, Entry]:
        return self._read("issued.json")

    def _read(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        try:
            value = json.loads(read_small(path, name, private=True, limit=MAX_FILE))
            if value["schema"] == SCHEMA:
                found: dict[str, Any] = value["content"]
                return found
            problem = "it was written by another version of Praxis"
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = "it is damaged"
        raise PraxisError("invalid", problem, hint="restore it from a backup", where=str(path))

    def _write(self, name: str, content: dict[str, Any]) -> None:
        _write(self._folder, name, content)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unusable(self._folder, "folder of the CA", error) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def create_authority(state_dir: Path, *, rendezvous: str, issuer: PeerId, clock: Clock) -> Authority:
    """Make the CA of a network. Raises PraxisError("conflict") when there is one."""
    folder, now = state_dir / "ca", int(clock())
    key = SigningKey(secrets.token_bytes(SEED_SIZE))
    if not create_private(folder / "ca.key", private_key_pem(key.seed)):
        raise PraxisError("conflict", "this agent is an issuer already", where=str(folder))
    not_after = now + CA_DAYS * DAY
    certificate = make_certificate(
        subject=_name(key),
        public=key.public,
        issuer=_name(key),
        issuer_key=key,
        serial=b"\x01" + secrets.token_bytes(15),
        not_before=now - SLACK,
        not_after=not_after,
        authority=True,
    )
    about = {
        "rendezvous": rendezvous,
        "issuer": issuer,
        "certificate": certificate.hex(),
        "beacon_key": secrets.token_hex(32),
        "not_after": not_after,
    }
    for name, content in (("tokens.json", {}), ("issued.json", {}), ("blocked.json", {}), ("ca.json", about)):
        _write(folder, name, content)
    return Authority(folder, clock=clock)


def load_authority(state_dir: Path, *, clock: Clock) -> Authority | None:
    """The CA whose issuer this agent is; None for other members. Raises PraxisError("invalid")."""
    folder = state_dir / "ca"
    return Authority(folder, clock=clock) if folder.exists() else None


def _name(key: SigningKey) -> str:
    return "praxis ca " + hashlib.sha256(key.public).hexdigest()[:16]


def _write(folder: Path, name: str, content: dict[str, Any]) -> None:
    replace(folder / name, json.dumps({"schema": SCHEMA, "content": content}) + "\n")
