"""Small files that are this agent's own: keys, certificates, numbers. Wrong content or permissions name the file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from praxis.model.errors import PraxisError

MAX_FILE = 4096
"""Bytes read of a file that holds a few keys or a number: many times what is in it."""


def unusable(path: Path, what: str, error: OSError) -> PraxisError:
    """The error for a file that the system does not let us use."""
    return PraxisError(
        "invalid",
        f"the {what} cannot be used: {error.strerror or type(error).__name__}",
        hint="the file and its folder must belong to the user that the agent runs as",
        where=str(path),
    )


def read_small(path: Path, what: str, *, private: bool, limit: int = MAX_FILE) -> str:
    """The text of a small file, or the start of a bigger one. `private`: refuse one that is open to other users."""
    try:
        # Not blocking, so that a pipe in place of the file is refused below instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            content = os.read(descriptor, limit) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unusable(path, what, error) from None
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


def create_private(path: Path, text: str) -> bool:
    """Write a new file that is ours alone. A file that is there already is left as it is, and False comes back."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise unusable(path, "file", error) from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key would stop every later start
        raise unusable(path, "file", error) from None
    return True


def replace(path: Path, text: str) -> None:
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
        raise unusable(path, "file", error) from None
