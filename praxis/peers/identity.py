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

import base64
import hashlib
import hmac
import logging
import os
import re
import secrets
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path

import attrs

from praxis.config.schema import Security
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.peers.ed25519 import SEED_SIZE, SigningKey
from praxis.peers.x509 import make_certificate, pem, private_key_pem, public_key_info, read_private_key
from praxis.wire.beacon import network_tag

log = logging.getLogger(__name__)

ALPN = "praxis/1"
KEY_SIZE = 32
MAX_KEYS = 8
"""Keys of a keyring. A rotation needs two; each costs some milliseconds at every start."""
MAX_FILE = 4096
"""Bytes read of a file that holds one key or number: many times what is in it."""
NOT_BEFORE = 1735689600
"""2025-01-01. Fixed, like the end, so that an agent whose clock is wrong is still a member: in this mode the dates
protect nothing."""
NOT_AFTER = NOT_BEFORE + 40 * 365 * 86400
MAX_BOOT = 1 << 63
"""Above this a stored number of starts is damage: no clock of this age leads there, and it must still grow in a u64."""

_KEY_PREFIX = "pxk1-"
_KEY_LETTERS = 55  # base32 of 32 bytes of key and 2 of check
_PEER_PREFIX = "px"
_BASE32 = re.compile(r"[a-z2-7]*")


def _base32(value: bytes) -> str:
    return base64.b32encode(value).decode().lower().rstrip("=")


def _unbase32(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def peer_id_text(digest: bytes) -> PeerId:
    """A peer id as people and JSON see it, of its 32 bytes."""
    return _PEER_PREFIX + _base32(digest)


def peer_id_digest(peer_id: PeerId) -> bytes:
    """The 32 bytes of a peer id. Raises PraxisError("invalid") for text that is not one."""
    letters = peer_id.removeprefix(_PEER_PREFIX)
    if len(peer_id) == 54 and len(letters) == 52 and _BASE32.fullmatch(letters):
        digest = _unbase32(letters)
        if peer_id_text(digest) == peer_id:
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


def _whole_key(_: object, attribute: attrs.Attribute[bytes], value: bytes) -> None:
    if len(value) != KEY_SIZE:
        raise ValueError(f"a network key has {KEY_SIZE} bytes, this one {len(value)}")


@attrs.frozen(repr=False)
class NetworkKey:
    """256 bits that make a network. Their text is ``pxk1-`` and the base32 of the key and 2 check bytes.

    There are no passphrases: from one certificate of the network a guessable key could be found offline.
    """

    secret: bytes = attrs.field(validator=_whole_key)

    @classmethod
    def generate(cls) -> NetworkKey:
        return cls(secrets.token_bytes(KEY_SIZE))

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> NetworkKey:
        """Read the text form; capitals and space around it do not matter.

        Raises PraxisError("invalid") that says what is wrong without showing any of it. `where` is the place for it.
        """

        def wrong(what: str) -> PraxisError:
            hint = f"a network key is {_KEY_PREFIX} and {_KEY_LETTERS} letters and digits; copy it as a whole"
            return PraxisError("invalid", f"the network key {what}", hint=hint, where=where)

        letters = text.strip().lower()
        if not letters:
            raise wrong("is empty")
        if not letters.startswith(_KEY_PREFIX):
            raise wrong(f"does not start with {_KEY_PREFIX}")
        letters = letters.removeprefix(_KEY_PREFIX)
        if len(letters) != _KEY_LETTERS:
            size = "short" if len(letters) < _KEY_LETTERS else "long"
            raise wrong(f"is too {size}: {len(letters)} characters after {_KEY_PREFIX}")
        if not _BASE32.fullmatch(letters):
            raise wrong("has a character that is not one of a-z and 2-7")
        key = cls(_unbase32(letters)[:KEY_SIZE])
        if not hmac.compare_digest(key.text, _KEY_PREFIX + letters):
            raise wrong("is mistyped: its check does not fit")
        return key

    @property
    def text(self) -> str:
        """The text form: secret."""
        return _KEY_PREFIX + _base32(self.secret + hashlib.sha256(b"praxis network key" + self.secret).digest()[:2])

    def derive(self, rendezvous: str, label: str) -> bytes:
        """32 bytes for one purpose in the network of that name."""
        return hmac.digest(self.secret, f"praxis/1 {label}\0{rendezvous}".encode(), "sha256")

    def __repr__(self) -> str:
        return f"NetworkKey(fingerprint={hashlib.sha256(self.secret).hexdigest()[:8]})"


@attrs.frozen
class Identity:
    """What an agent is to its peers, made once per start."""

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


def load_network_keys(security: Security, state_dir: Path) -> tuple[NetworkKey, ...]:
    """The keyring: the configured keys, else the one in the configured file, else the one of the state directory.

    The latter is made when there is none yet, and how to share it is logged. Raises PraxisError("invalid").
    """
    if len(security.network_keys) > MAX_KEYS:
        raise PraxisError(
            "invalid",
            f"{len(security.network_keys)} network keys; {MAX_KEYS} may be",
            where="p2p.security.network_keys",
        )
    if security.network_keys:
        places = (f"p2p.security.network_keys[{index}]" for index in range(MAX_KEYS))
        keys = (NetworkKey.parse(text, where=where) for text, where in zip(security.network_keys, places, strict=False))
        return tuple(dict.fromkeys(keys))
    if security.network_key_file is not None:
        # Mounted secrets belong to others and are open to them (0444); their permissions are the operator's matter.
        path = security.network_key_file
        return (NetworkKey.parse(_read(path, "network key", private=False), where=str(path)),)
    path = state_dir / "network.key"
    if _create_private(path, NetworkKey.generate().text + "\n"):
        log.info(
            "made a new network key in %s; to let other agents join, give them a copy as PRAXIS_NETWORK_KEY_FILE", path
        )
    return (NetworkKey.parse(_read(path, "network key", private=True), where=str(path)),)


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
    seed_path, certificate_path = state_dir / "identity.key", state_dir / "identity.crt"
    _create_private(seed_path, private_key_pem(secrets.token_bytes(SEED_SIZE)))
    try:
        own = SigningKey(read_private_key(_read(seed_path, "private key", private=True)))
    except ValueError as error:
        raise PraxisError(
            "invalid",
            f"the private key is damaged: {error}",
            hint="restore it from a backup, or remove it to become a new peer",
            where=str(seed_path),
        ) from None

    issuers = [SigningKey(key.derive(rendezvous, "ca ed25519 seed")) for key in keys]
    authorities = b"".join(_authority(issuer) for issuer in issuers)
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
    # OpenSSL loads its own key and certificate from files alone. The key's is there already, so nothing secret has to
    # be written a second time.
    _replace(certificate_path, pem("CERTIFICATE", certificate))
    server = _context(ssl.PROTOCOL_TLS_SERVER, certificate_path, seed_path, authorities)
    server.num_tickets = 0  # no resumption: every line shows its certificate
    beacon_keys = tuple(key.derive(rendezvous, "beacon") for key in keys)
    return Identity(
        peer_id=peer_id_of(certificate),
        name=name,
        certificate=certificate,
        server=server,
        client=_context(ssl.PROTOCOL_TLS_CLIENT, certificate_path, seed_path, authorities),
        beacon_keys=beacon_keys,
        network_tag=network_tag(beacon_keys[0]),
    )


def next_boot(state_dir: Path, now_ms: int) -> int:
    """The number of this start, a u64 that only grows: the time in milliseconds, or one more than the last one.

    It is stored before it is returned. Raises PraxisError("invalid") when that cannot be done.
    """
    path = state_dir / "boot"
    last = 0
    if os.path.exists(path):
        text = _read(path, "number of the last start", private=False).strip()
        if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < MAX_BOOT:
            last = int(text)
        else:
            log.warning("%s does not hold the number of the last start; going on from the clock", path)
    boot = max(now_ms, last + 1)
    _replace(path, f"{boot}\n")
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


def _unusable(path: Path, what: str, error: OSError) -> PraxisError:
    return PraxisError(
        "invalid",
        f"the {what} cannot be used: {error.strerror or type(error).__name__}",
        hint="the file and its folder must belong to the user that the agent runs as",
        where=str(path),
    )


def _read(path: Path, what: str, *, private: bool) -> str:
    """The text of a small file, or the start of a bigger one. `private`: refuse one that is open to other users."""
    try:
        # Not blocking, so that a pipe in place of the file is refused below instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            content = os.read(descriptor, MAX_FILE) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unusable(path, what, error) from None
    if content is None:
        raise PraxisError("invalid", f"the {what} must be a plain file", where=str(path))
    if private and (mode := stat.S_IMODE(status.st_mode)) & 0o077:
        raise PraxisError(
            "invalid",
            f"the {what} is open to other users (mode {mode:04o})",
            hint="chmod 600 it, and replace it if others may have read it",
            where=str(path),
        )
    return content.decode("latin-1")  # any bytes are some text, and the reader of it says what is wrong


def _create_private(path: Path, text: str) -> bool:
    """Write a new file that is ours alone. A file that is there already is left as it is, and False comes back."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unusable(path, "file", error) from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key would stop every later start
        raise _unusable(path, "file", error) from None
    return True


def _replace(path: Path, text: str) -> None:
    """Put `text` there in one step: after a power cut there is the old file or the new one."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(fresh, flags, 0o600), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise _unusable(path, "file", error) from None
