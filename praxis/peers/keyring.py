"""The keys of a network: one, or while they are being replaced several. The first signs, all are believed.

A keyring file holds one key a line; empty lines and what follows ``#`` are skipped.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import attrs

from praxis.config.schema import Security
from praxis.model.errors import PraxisError
from praxis.peers.private_files import create_private, read_small, replace

log = logging.getLogger(__name__)

KEY_SIZE = 32
MAX_KEYS = 8
"""Keys of a keyring. A rotation needs two; each costs some milliseconds at every start."""

_KEY_PREFIX = "pxk1-"
_KEY_LETTERS = 55  # base32 of 32 bytes of key and 2 of check
_BASE32 = re.compile(r"[a-z2-7]*")


def base32_text(value: bytes) -> str:
    """Small letters, without padding."""
    return base64.b32encode(value).decode().lower().rstrip("=")


def base32_bytes(text: str) -> bytes | None:
    """None for text that has other letters."""
    if not _BASE32.fullmatch(text) or len(text) % 8 in (1, 3, 6):
        return None
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


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
        secret = base32_bytes(letters)
        if secret is None:
            raise wrong("has a character that is not one of a-z and 2-7")
        key = cls(secret[:KEY_SIZE])
        if not hmac.compare_digest(key.text, _KEY_PREFIX + letters):
            raise wrong("is mistyped: its check does not fit")
        return key

    @property
    def text(self) -> str:
        """The text form: secret."""
        return _KEY_PREFIX + base32_text(self.secret + hashlib.sha256(b"praxis network key" + self.secret).digest()[:2])

    def derive(self, rendezvous: str, label: str) -> bytes:
        """32 bytes for one purpose in the network of that name."""
        return hmac.digest(self.secret, f"praxis/1 {label}\0{rendezvous}".encode(), "sha256")

    @property
    def fingerprint(self) -> str:
        """Tells keys apart and says nothing about them: 8 hexadecimal digits."""
        return hashlib.sha256(self.secret).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"NetworkKey(fingerprint={self.fingerprint})"


OPEN_KEY = NetworkKey(hashlib.sha256(b"praxis open network").digest())
"""Of `open` mode: everybody has it. TLS hides what is said from those who only listen; anybody may join."""


def keyring_file(security: Security, state_dir: Path) -> Path | None:
    """The file that holds the keyring; None when the keys stand in the configuration, or there are none of ours."""
    if security.mode != "shared" or security.network_keys:
        return None
    return security.network_key_file or state_dir / "network.key"


def load_network_keys(security: Security, state_dir: Path) -> tuple[NetworkKey, ...]:
    """The keyring: the configured keys, else those in the configured file, else those of the state directory.

    The latter is made when there is none yet, and how to share it is logged. Raises PraxisError("invalid").
    """
    if security.mode == "open":
        return (OPEN_KEY,)
    if security.network_keys:
        where = "p2p.security.network_keys"
        _check_count(len(security.network_keys), where)
        keys = (NetworkKey.parse(text, where=f"{where}[{i}]") for i, text in enumerate(security.network_keys))
        return tuple(dict.fromkeys(keys))
    if security.network_key_file is not None:
        # Mounted secrets belong to others and are open to them (0444); their permissions are the operator's matter.
        return read_keyring(security.network_key_file, private=False)
    path = state_dir / "network.key"
    if create_private(path, NetworkKey.generate().text + "\n"):
        log.info(
            "made a new network key in %s; to let other agents join, give them a copy as PRAXIS_NETWORK_KEY_FILE", path
        )
    return read_keyring(path, private=True)


def read_keyring(path: Path, *, private: bool) -> tuple[NetworkKey, ...]:
    """The keys of a file, at least one. Raises PraxisError("invalid") that names the file and the line."""
    text = read_small(path, "network key", private=private)
    lines = [(n, line.partition("#")[0].strip()) for n, line in enumerate(text.split("\n"), 1)]
    given = [(n, line) for n, line in lines if line]
    if len(given) <= 1:
        return (NetworkKey.parse(given[0][1] if given else "", where=str(path)),)
    _check_count(len(given), str(path))
    return tuple(dict.fromkeys(NetworkKey.parse(line, where=f"{path}:{n}") for n, line in given))


def write_keyring(path: Path, keys: Iterable[NetworkKey]) -> None:
    """Replace the keys of a file in one step. Raises PraxisError("invalid")."""
    replace(path, "".join(key.text + "\n" for key in keys))


def _check_count(count: int, where: str) -> None:
    if count > MAX_KEYS:
        raise PraxisError("invalid", f"{count} network keys; {MAX_KEYS} may be", where=where)
