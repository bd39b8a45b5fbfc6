"""Files inside one folder, and nothing outside it, whatever a path says and whoever swaps links meanwhile.

Each part of a path is opened below the one before it without following links, so there is no moment between a check
and its use. Everything here blocks; call it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

MAX_PATH = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Not blocking, so that opening a pipe does not wait for its other end."""


class RefusedError(Exception):
    """A path that leaves the folder, or is not what was asked for. The text names the path as it was given."""


@attrs.frozen
class Listed:
    """One entry of a folder; `size` is in bytes, 0 for folders."""

    name: str
    kind: str
    size: int


class ConfinedFolder:
    """All file work below `root`. Methods raise RefusedError, or OSError as the system says it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, content: bytes) -> None:
        """Replace or make a file, all or nothing; folders on the way to it are made."""
        *folders, name = self._parts(path)
        with self._folder(path, folders, make=True) as folder:
            self._refuse_odd(path, name, folder)
            scratch = f".{secrets.token_hex(8)}.tmp"
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o644, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(scratch, dir_fd=folder)
                raise

    def read(self, path: str, most: int) -> bytes:
        """A file of at most `most` bytes."""
        *folders, name = self._parts(path)
        with self._folder(path, folders) as folder:
            try:
                descriptor = os.open(name, os.O_RDONLY | _FILE, dir_fd=folder)
            except OSError as error:
                raise _plain(error, path) from None
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise RefusedError(f"{path!r} is no file")
                if status.st_size > most:
                    raise RefusedError(f"{path!r} has {status.st_size} bytes; {most} can be read")
                return file.read(most)

    def entries(self, path: str, most: int) -> list[Listed]:
        """At most `most` entries of a folder, by name. Links and devices are shown as what they are."""
        with self._folder(path, self._parts(path, empty=True)) as folder:
            listed: list[Listed] = []
            with os.scandir(folder) as found:
                for entry in found:
                    if len(listed) == most:
                        break
                    status = entry.stat(follow_symlinks=False)
                    kind = _kind(status.st_mode)
                    listed.append(Listed(entry.name, kind, status.st_size if kind == "file" else 0))
        return sorted(listed, key=lambda entry: entry.name)

    def delete(self, path: str) -> None:
        """Remove one file; a link is removed itself."""
        *folders, name = self._parts(path)
        with self._folder(path, folders) as folder:
            try:
                os.unlink(name, dir_fd=folder)
            except OSError as error:
                raise _plain(error, path) from None

    def _parts(self, path: str, *, empty: bool = False) -> list[str]:
        """The parts of a relative path. Raises RefusedError for one that cannot be inside."""
        if "\0" in path or len(path) > MAX_PATH:
            raise RefusedError(f"{path[:60]!r} is not a path")
        if path.startswith("/"):
            raise RefusedError(f"{path!r} is absolute; paths are relative to the shared folder")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise RefusedError(f"{path!r} leaves the shared folder")
        if not parts and not empty:
            raise RefusedError(f"{path!r} names no file")
        return parts

    @contextlib.contextmanager
    def _folder(self, path: str, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder at `parts`."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                try:
                    if make:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, 0o755, dir_fd=descriptor)
                    inner = os.open(part, _FOLDER, dir_fd=descriptor)
                except OSError as error:
                    raise _plain(error, path) from None
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _refuse_odd(self, path: str, name: str, folder: int) -> None:
        """Only a file may be replaced."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _plain(error, path) from None
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError(f"{path!r} is a {_kind(status.st_mode)}, not a file")


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "device"


def _plain(error: OSError, path: str) -> Exception:
    """What went wrong, with the path as it was given instead of the real one."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return RefusedError(f"{path!r} leads through a link or a file")
    if error.errno == errno.ENXIO:
        return RefusedError(f"{path!r} is no file")
    return OSError(error.errno, f"{path!r}: {error.strerror}")
