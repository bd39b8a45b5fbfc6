"""Files inside one folder, and nothing outside it, whatever a path says and whoever swaps links meanwhile.

Each part of a path is opened below the one before it without following links (openat(2), O_NOFOLLOW), so there is no
moment between a check and its use. Everything here blocks; call it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from praxis.tools.show import quoted

MAX_PATH = 1024
"""Characters of a path: far more than people write, and a quarter of what Linux takes."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Not blocking, so that opening a pipe that was swapped in does not wait for its other end."""
_SCRATCH = re.compile(r"\.praxis-[0-9a-f]{16}\.tmp")


class RefusedError(Exception):
    """A path that leaves the folder, or is not what was asked for. The text names the path as it was given."""


@attrs.frozen
class Listed:
    """One entry of a folder; `size` is in bytes, 0 for all but files."""

    name: str
    kind: str
    size: int


class ConfinedFolder:
    """All file work below `root`. Methods raise RefusedError, which is all that a caller may be told."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, content: bytes) -> None:
        """Replace or make a file: whoever reads it sees the old content or the new. Folders on the way are made.

        The file keeps its permissions. A link or device in its place is refused, or replaced itself if it comes
        later; it is never written through.
        """
        *folders, name = self._parts(path)
        with _told(path), self._folder(folders, make=True) as folder:
            mode = _mode(path, name, folder)
            scratch = f".praxis-{secrets.token_hex(8)}.tmp"
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o644, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    if mode is not None:
                        os.fchmod(descriptor, stat.S_IMODE(mode) & 0o777)
                    file.write(content)
                os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(scratch, dir_fd=folder)
                raise

    def read(self, path: str, most: int) -> bytes:
        """The content of a file; refused if it has more than `most` bytes."""
        *folders, name = self._parts(path)
        with _told(path), self._folder(folders) as folder:
            _mode(path, name, folder)  # opening a device can do things, so it is not even tried
            descriptor = os.open(name, os.O_RDONLY | _FILE, dir_fd=folder)
            with os.fdopen(descriptor, "rb") as file:
                mode = os.fstat(descriptor).st_mode
                if not stat.S_ISREG(mode):
                    raise RefusedError(f"{quoted(path)} is {_kind(mode)}, not a file")
                content = file.read(most + 1)
                if len(content) > most:
                    size = max(os.fstat(descriptor).st_size, len(content))
                    raise RefusedError(f"{quoted(path)} has {size} bytes; no more than {most} can be read")
                return content

    def entries(self, path: str, most: int) -> tuple[list[Listed], bool]:
        """At most `most` entries of a folder, by name, and whether there are more.

        Links and devices are shown as what they are. A name that is not UTF-8 is shown with replacement characters.
        """
        listed: list[Listed] = []
        with _told(path), self._folder(self._parts(path, empty=True)) as folder, os.scandir(folder) as found:
            for entry in found:
                if _SCRATCH.fullmatch(entry.name):
                    continue
                if len(listed) == most:
                    return sorted(listed, key=_name), True
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # gone since
                    continue
                name = os.fsencode(entry.name).decode(errors="replace")
                kind = _KINDS.get(stat.S_IFMT(status.st_mode), "device")
                listed.append(Listed(name, kind, status.st_size if kind == "file" else 0))
        return sorted(listed, key=_name), False

    def delete(self, path: str) -> None:
        """Remove one file; a link is removed itself, a folder is refused."""
        *folders, name = self._parts(path)
        with _told(path), self._folder(folders) as folder:
            os.unlink(name, dir_fd=folder)

    def _parts(self, path: str, *, empty: bool = False) -> list[str]:
        """The parts of a relative path. Raises RefusedError for one that cannot be inside."""
        if len(path) > MAX_PATH:
            raise RefusedError(f"{quoted(path)} has {len(path)} characters; a path has at most {MAX_PATH}")
        if "\0" in path or any("\ud800" <= character <= "\udfff" for character in path):
            raise RefusedError(f"{quoted(path)} holds characters that no file name has")
        if path.startswith("/"):
            raise RefusedError(f"{quoted(path)} is absolute; paths are relative to the shared folder")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise RefusedError(f"{quoted(path)} leads out of the shared folder by '..'")
        if not empty and (not parts or path.endswith(("/", "/."))):
            raise RefusedError(f"{quoted(path)} does not name a file")
        return parts

    @contextlib.contextmanager
    def _folder(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder at `parts`."""
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RefusedError(f"the shared folder cannot be opened: {error.strerror}") from None
        try:
            for part in parts:
                try:
                    inner = os.open(part, _FOLDER, dir_fd=descriptor)
                except FileNotFoundError:
                    if not make:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=descriptor)
                    inner = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """What the system says, with the path as it was given instead of the real one."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise RefusedError(f"{quoted(path)} leads through a link or through something that is no folder") from None
        raise RefusedError(f"{quoted(path)}: {error.strerror or 'the file system failed'}") from None


def _mode(path: str, name: str, folder: int) -> int | None:
    """The mode of a file; None if there is none. Raises RefusedError for anything else that bears the name."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{quoted(path)} is {_kind(mode)}, not a file")
    return mode


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


def _kind(mode: int) -> str:
    return f"a {_KINDS.get(stat.S_IFMT(mode), 'device or pipe')}"


def _name(entry: Listed) -> str:
    return entry.name
