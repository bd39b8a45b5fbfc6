"""Bearer tokens for callers from elsewhere: 256 random bits, stored as their SHA-256.

A slow hash protects secrets that can be guessed; these cannot.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from praxis.access.principal import ROLES, Principal, Role
from praxis.model.errors import PraxisError

PREFIX = "pxt1-"
MAX_TOKENS = 1000
"""Tokens in one file: each call is compared with all of them."""
MAX_NAME = 64
"""Characters of a token's name: a thousand of them, escaped, are less than MAX_FILE."""
MAX_FILE = 1024 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")


@attrs.frozen
class Token:
    """What is stored of a token. `id` names it in lists and logs."""

    id: str
    role: Role
    name: str
    sha256: str = attrs.field(repr=False)


class TokenStore:
    """Tokens in one file, which is read again when it has changed, so that a new one works while the agent runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def new(self, role: Role, name: str = "") -> str:
        """Make a token and return it; it cannot be shown again. Raises PraxisError when the file cannot be used."""
        if len(name) > MAX_NAME or not name.isprintable():
            raise PraxisError("invalid", f"a token's name has at most {MAX_NAME} characters, all of them printable")
        text = PREFIX + base64.b32encode(secrets.token_bytes(32)).decode().lower().rstrip("=")
        token = Token(secrets.token_hex(4), role, name or "token", _hash(text))
        with self._locked():
            tokens = self.list()
            if len(tokens) >= MAX_TOKENS:
                raise PraxisError("conflict", f"there are {MAX_TOKENS} tokens already", where=str(self._path))
            self._write((*tokens, token))
        return text

    def verify(self, text: str) -> Principal | None:
        """Who bears this token; None when it is none of ours. Raises PraxisError when the file cannot be used."""
        given = _hash(text)
        found = None
        for token in self.list():
            if hmac.compare_digest(token.sha256, given):
                found = Principal("token", f"{token.name} ({token.id})", token.role)
        return found

    def any(self) -> bool:
        return bool(self.list())

    def list(self) -> tuple[Token, ...]:
        """Every token, the oldest first. Raises PraxisError when the file cannot be used."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen, self._tokens = None, ()
            return ()
        except OSError as error:
            raise self._unusable(str(error.strerror)) from None
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._tokens = self._read()
            self._seen = seen
        return self._tokens

    def revoke(self, id: str) -> None:
        """Raises PraxisError("not_found")."""
        with self._locked():
            tokens = self.list()
            left = tuple(token for token in tokens if token.id != id)
            if len(left) == len(tokens):
                raise PraxisError("not_found", f"no token {id!r}", hint="`praxis token ls` lists them")
            self._write(left)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change after the other, also by several commands: none undoes what another one has just done."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(str(error.strerror)) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _read(self) -> tuple[Token, ...]:
        try:
            with self._path.open("rb") as file:
                value = json.loads(file.read(MAX_FILE))
            return tuple(self._token(entry) for entry in value["tokens"])
        except OSError as error:
            raise self._unusable(str(error.strerror)) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._unusable("it is damaged") from None

    def _token(self, entry: dict[str, Any]) -> Token:
        token = Token(**entry)
        texts = (token.id, token.role, token.name, token.sha256)
        if (
            not all(isinstance(text, str) for text in texts)
            or token.role not in ROLES
            or not _SHA256.fullmatch(token.sha256)
        ):
            raise ValueError("not a token")
        return token

    def _write(self, tokens: tuple[Token, ...]) -> None:
        text = json.dumps({"version": 1, "tokens": [attrs.asdict(token) for token in tokens]}, indent=1)
        scratch = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(text + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                scratch.replace(self._path)
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._unusable(str(error.strerror)) from None

    def _unusable(self, what: str) -> PraxisError:
        return PraxisError(
            "invalid",
            f"the tokens cannot be used: {what}",
            hint="restore the file from a backup, or remove it and make new tokens; until then nobody is let in",
            where=str(self._path),
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
