"""Who an agent is, and which network it belongs to.

In `shared` mode the network key is the network's CA: from it every agent derives the same CA certificate and signs its
own leaf. Whoever has the key is a member; nobody without a peer's private key can pass for that peer, because a peer's
id is a hash of its public key. The network's name (`rendezvous`) goes into every derivation, so two networks of one key
and different names are strangers.

What is in the state directory: `network.key` when this agent made the key itself, `identity.key` with the private key,
`identity.crt` with the certificate of the last start (not secret), `boot` with the number of that start. Wrong content
or permissions raise PraxisError("invalid") that names the file and the remedy, never what is in it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.peers.ed25519 import SEED_SIZE, SigningKey
from praxis.peers.keyring import NetworkKey, base32_bytes, base32_text
from praxis.peers.private_files import create_private, read_small, replace
from praxis.peers.x509 import key_info, make_certificate, pem, private_key_pem, public_key_info, read_private_key
from praxis.wire.beacon import network_tag

log = logging.getLogger(__name__)

ALPN = "praxis/1"
JOIN_ALPN = "praxis-join/1"
"""What somebody offers who has no certificate yet and wants to ask for one."""
NOT_BEFORE = 1735689600
"""2025-01-01. Fixed, like the end, so that an agent whose clock is wrong is still a member: in this mode the dates
protect nothing."""
NOT_AFTER = NOT_BEFORE + 40 * 365 * 86400
MAX_BOOT = 1 << 63
"""Above this a stored number of starts is damage: no clock of this age leads there, and it must still grow in a u64."""

_PEER_PREFIX = "px"


def peer_id_text(digest: bytes) -> PeerId:
    """A peer id as people and JSON see it, of its 32 bytes."""
    return _PEER_PREFIX + base32_text(digest)


def peer_id_digest(peer_id: PeerId) -> bytes:
    """The 32 bytes of a peer id. Raises PraxisError("invalid") for text that is not one."""
    letters = peer_id.removeprefix(_PEER_PREFIX)
    if len(peer_id) == 54 and len(letters) == 52:
        digest = base32_bytes(letters)
        if digest is not None and peer_id_text(digest) == peer_id:
            return digest
    raise PraxisError("invalid", f"{peer_id[:80]!r} is not a peer id", hint='one is "px" and 52 letters and digits')


def peer_id_of(certificate: bytes) -> PeerId:
    """The id of the peer that shows this certificate (DER). Raises PraxisError("invalid") for other bytes.

    It hashes the public key alone, so that a new certificate for the same key is the same peer.
    """
    try:
        key = public_key_info(certificate)
    except ValueError as error:
        raise PraxisError("invalid", f"the peer's certificate cannot be read: {error}") from None
    return peer_id_text(hashlib.sha256(b"praxis-peer-v1" + key).digest())


def peer_id_of_key(public: bytes) -> PeerId:
    """The id of the peer with this Ed25519 public key of 32 bytes."""
    return peer_id_text(hashlib.sha256(b"praxis-peer-v1" + key_info(public)).digest())


@attrs.frozen
class Identity:
    """What an agent is to its peers. Made at the start, and again when the keys of the network change."""

    peer_id: PeerId
    name: str
    certificate: bytes = attrs.field(repr=False)
    """DER."""
    server: ssl.SSLContext
    client: ssl.SSLContext
    """For the listening and the dialing end. Mutual TLS 1.3; the ALPN name must still be checked after the handshake,
    because a peer that offers none is let through by OpenSSL."""
    beacon_keys: tuple[bytes, ...] = attrs.field(repr=False)
    """The first signs, all verify."""
    network_tag: bytes
    """Of the first beacon key: 8 bytes by which members know their network's datagrams."""
    authorities: tuple[str, ...]
    """Names of the CAs that are believed; the first one has signed our certificate."""
    not_after: int | None = None
    """When our certificate ends, in seconds since the epoch; None where dates and names in certificates are not the
    word of a CA, and do not count."""

    @property
    def vouched(self) -> bool:
        """Whether names and dates in peers' certificates count."""
        return self.not_after is not None


def load_identity(*, name: str, keys: Sequence[NetworkKey], rendezvous: str, state_dir: Path) -> Identity:
    """The identity of the agent whose state directory this is, made at its first start.

    Args:
        name: what the agent calls itself; it goes into the certificate.
        keys: the keyring: the first signs our certificate and beacons, peers of all of them are accepted.
        rendezvous: the network's name.
        state_dir: made with mode 0700 when it is not there.

    Raises PraxisError("invalid") when a file is damaged, open to others or cannot be used. Reads and writes files.
    """
    if not keys:
        raise PraxisError("invalid", "there is no network key")
    own = load_signing_key(state_dir)
    issuers = [SigningKey(key.derive(rendezvous, "ca ed25519 seed")) for key in keys]
    certificate = make_certificate(
        subject=name,
        public=own.public,
        issuer=_authority_name(issuers[0]),
        issuer_key=issuers[0],
        serial=b"\x01" + secrets.token_bytes(15),
        not_before=NOT_BEFORE,
        not_after=NOT_AFTER,
        uris=(f"praxis:agent:{name}",),
    )
    return make_identity(
        name=name,
        certificate=certificate,
        authorities={key.fingerprint: _authority(issuer) for key, issuer in zip(keys, issuers, strict=True)},
        beacon_keys=[key.derive(rendezvous, "beacon") for key in keys],
        state_dir=state_dir,
    )


def load_signing_key(state_dir: Path) -> SigningKey:
    """The private key of the agent whose state directory this is, made at its first start.

    Raises PraxisError("invalid") when the file is damaged or open to others.
    """
    path = _seed_path(state_dir)
    create_private(path, private_key_pem(secrets.token_bytes(SEED_SIZE)))
    try:
        return SigningKey(read_private_key(read_small(path, "private key", private=True)))
    except ValueError as error:
        raise PraxisError(
            "invalid",
            f"the private key is damaged: {error}",
            hint="restore it from a backup, or remove it to become a new peer",
            where=str(path),
        ) from None


def make_identity(
    *,
    name: str,
    certificate: bytes,
    authorities: Mapping[str, bytes],
    beacon_keys: Sequence[bytes],
    state_dir: Path,
    admits: bool = False,
) -> Identity:
    """What peers get to see, of a certificate (DER) for the key in the state directory.

    `authorities` are the CA certificates (DER) that are believed, by name; the first one has signed ours. `admits`: our
    listener lets those in who have no certificate, as far as to ask for one.
    """
    # OpenSSL loads its own key and certificate from files alone. The key's is there already, so nothing secret has to
    # be written a second time.
    key_path, certificate_path = _seed_path(state_dir), state_dir / "identity.crt"
    replace(certificate_path, pem("CERTIFICATE", certificate))
    believed = b"".join(authorities.values())
    server = _context(ssl.PROTOCOL_TLS_SERVER, certificate_path, key_path, believed)
    server.num_tickets = 0  # no resumption: every line shows its certificate
    if admits:
        server.verify_mode = ssl.CERT_OPTIONAL  # `authenticate` takes nobody without one for a peer
        server.set_alpn_protocols([ALPN, JOIN_ALPN])
    return Identity(
        peer_id=peer_id_of(certificate),
        name=name,
        certificate=certificate,
        server=server,
        client=_context(ssl.PROTOCOL_TLS_CLIENT, certificate_path, key_path, believed),
        beacon_keys=tuple(beacon_keys),
        network_tag=network_tag(beacon_keys[0]),
        authorities=tuple(authorities),
    )


def _seed_path(state_dir: Path) -> Path:
    return state_dir / "identity.key"


def next_boot(state_dir: Path, now_ms: int) -> int:
    """The number of this start, a u64 that only grows: the time in milliseconds, or one more than the last one.

    It is stored before it is returned. Raises PraxisError("invalid") when that cannot be done.
    """
    path = state_dir / "boot"
    last = 0
    if os.path.exists(path):
        text = read_small(path, "number of the last start", private=False).strip()
        if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < MAX_BOOT:
            last = int(text)
        else:
            log.warning("%s does not hold the number of the last start; going on from the clock", path)
    boot = max(now_ms, last + 1)
    replace(path, f"{boot}\n")
    return boot


def _authority_name(key: SigningKey) -> str:
    return "praxis network " + hashlib.sha256(key.public).hexdigest()[:16]


def _authority(key: SigningKey) -> bytes:
    """The network's CA certificate: the same bytes on every agent, since nothing in it is random or of the clock."""
    return make_certificate(
        subject=_authority_name(key),
        public=key.public,
        issuer=_authority_name(key),
        issuer_key=key,
        serial=b"\x01" + hashlib.sha256(b"serial" + key.public).digest()[:15],
        not_before=NOT_BEFORE,
        not_after=NOT_AFTER,
        authority=True,
    )


def _context(protocol: int, certificate: Path, key: Path, authorities: bytes) -> ssl.SSLContext:
    """Not `ssl.create_default_context`: that trusts the system's public CAs and writes the keys to SSLKEYLOGFILE."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # peers are known by their key, wherever they are
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols([ALPN])
    context.load_verify_locations(cadata=authorities)
    context.load_cert_chain(certificate, key)
    return context
