#!/usr/bin/env python3
"""An MCP server for the files of some folders, and of no other: the standard library and the file stdio.py beside it.

    python3 mcp_servers/filesystem_server.py FOLDER [FOLDER ...]

Tools: read_file, write_file, edit_file, delete_file, list_directory, search_files, list_allowed_directories.

Each part of a path is opened below the one before it without following links (openat(2), O_NOFOLLOW), beginning at the
folder as it was when the server started. So there is no moment between a check and its use, whoever swaps links
meanwhile. What is written appears whole, in place of the old file, or not at all.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import fnmatch
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING or __package__:
    from mcp_servers import stdio
    from mcp_servers.stdio import Result, Server, Tool, ToolError, Work, object_schema
else:  # started as a program, from whatever folder the files were copied to
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import stdio
    from stdio import Result, Server, Tool, ToolError, Work, object_schema

NAME, VERSION = "filesystem-server", "1.0.0"
MAX_READ = 1024 * 1024
"""Bytes of a file that one call gives or edits: a quarter million words, more than a model reads."""
MAX_PATH = 1024
"""Characters of a path: far more than people write, and a quarter of what Linux takes."""
MAX_LISTED = 2000
"""Entries of a folder that are shown: about 200 KB of answer."""
MAX_FOLDER = 100_000
"""Entries of one folder that are looked at: that takes 0.2 s, in which nothing else is answered."""
MAX_SEARCHED = 1_000_000
"""Entries that one search looks at: about a minute's work, and it can be cancelled."""
EXCERPT = 200
"""Bytes of a line that a match shows."""

JSON = Any
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Not blocking, so that opening a pipe that was swapped in does not wait for its other end."""
_SCRATCH = re.compile(r"\.fs-[0-9a-f]{16}\.tmp")
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


class Root(NamedTuple):
    """An allowed folder: the name and parts that it was given with, those without links, and a descriptor of it."""

    name: str
    spellings: tuple[list[str], ...]
    descriptor: int


class Folders:
    """The tools' work. `names` are the allowed folders; raises OSError if one cannot be opened."""

    def __init__(self, names: list[str]) -> None:
        self._roots = []
        for name in map(os.path.abspath, names):
            spellings = tuple(_parts(spelling) for spelling in (name, os.path.realpath(name)))
            self._roots.append(Root(name, spellings, os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))

    def read_file(self, path: str, offset: int = 0, length: int = MAX_READ) -> Result:
        with self._folder_of(path) as (folder, name), _opened(path, folder, name) as descriptor:
            size = os.fstat(descriptor).st_size
            content = os.pread(descriptor, length, offset)
            more = len(content) == length and os.pread(descriptor, 1, offset + length) != b""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            text = decoder.decode(content, final=not more)
        except UnicodeDecodeError as error:
            raise ToolError(f"{_shown(path)} is not UTF-8 text: see byte {offset + error.start}") from None
        if not more:
            return Result(text)
        end = offset + len(content) - len(decoder.getstate()[0])  # without a character that is cut in two
        return Result((text, f"[bytes {offset} to {end} of {size}; go on with offset {end}]"))

    def write_file(self, path: str, content: str) -> Result:
        encoded = content.encode()
        with self._folder_of(path, make=True) as (folder, name):
            made = _write(path, folder, name, encoded)
        return Result(f"{'made' if made else 'replaced'} {path}: {len(encoded)} bytes")

    def edit_file(self, path: str, old: str, new: str) -> Result:
        with self._folder_of(path) as (folder, name):
            with _opened(path, folder, name) as descriptor:
                content = os.pread(descriptor, MAX_READ + 1, 0)
            if len(content) > MAX_READ:
                raise ToolError(f"{_shown(path)} has more than {MAX_READ} bytes; it can only be replaced whole")
            count = content.count(old.encode()) if old else 0
            if count != 1:
                raise ToolError(f"the old text must stand in {_shown(path)} once; it stands there {count} times")
            _write(path, folder, name, content.replace(old.encode(), new.encode()))
        return Result(f"edited {path}")

    def delete_file(self, path: str) -> Result:
        with self._folder_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)
        return Result(f"deleted {path}")

    def list_directory(self, path: str = ".") -> Result:
        root, parts = self._locate(path)
        with _told(path):
            found = _entries(root, parts)
        truncated = len(found) > MAX_LISTED
        entries = [{"name": _text(name), "type": kind, "size": size} for name, kind, size in found[:MAX_LISTED]]
        lines = [_text(name) + "/" * (kind == "directory") for name, kind, _ in found[:MAX_LISTED]]
        lines += [f"... and more; {MAX_LISTED} are shown"] * truncated
        return Result("\n".join(lines) or "the directory is empty", {"entries": entries, "truncated": truncated})

    def list_allowed_directories(self) -> Result:
        names = [_text(root.name) for root in self._roots]
        return Result("\n".join(names), {"directories": names})

    def search_files(self, path: str = ".", name: str = "*", text: str = "", limit: int = 100) -> Work:
        """Yields the number of entries that it has looked at; between two steps it holds nothing open."""
        root, start = self._locate(path)
        with _told(path), _folder(root, start):
            pass  # a folder that is not there is worth an error, unlike one that goes while we search
        pattern, wanted = re.compile(fnmatch.translate(name)), text.encode()
        prefix = "" if not start and not path.startswith("/") else f"{path.rstrip('/')}/"
        matches: list[dict[str, JSON]] = []
        looked, waiting, cut = 0, [start], False
        while waiting and len(matches) <= limit and looked < MAX_SEARCHED:
            parts, inner = waiting.pop(), []
            entries: list[tuple[str, str, int]] = []
            with suppress(OSError):  # gone or not readable; one of many
                entries = _entries(root, parts)
            cut = cut or len(entries) >= MAX_FOLDER
            for entry, kind, _ in entries:
                looked += 1
                yield float(looked)
                if kind == "directory":
                    inner.append([*parts, entry])
                if len(matches) <= limit and pattern.match(entry):
                    found = {"path": _text(prefix + "/".join([*parts[len(start) :], entry]))}
                    if not text:
                        matches.append(found)
                    elif kind == "file":
                        matches += ({**found, **line} for line in _lines(root, [*parts, entry], wanted, limit))
            waiting += reversed(inner)
        truncated = cut or bool(waiting) or len(matches) > limit
        shown = matches[:limit]
        lines = [f"{match['path']}:{match['line']}: {match['text']}" if text else match["path"] for match in shown]
        lines += [f"... and more; {limit} are shown"] * (len(matches) > limit)
        structured = {"matches": shown, "looked_at": looked, "truncated": truncated}
        return Result("\n".join(lines) or f"nothing found among {looked} entries", structured)

    def _locate(self, path: str) -> tuple[Root, list[str]]:
        """The folder that a path lies in and its parts below that. Raises ToolError."""
        if "\0" in path:
            raise ToolError(f"{_shown(path)} holds characters that no file name has")
        parts = _parts(path)
        if ".." in parts:
            raise ToolError(f"{_shown(path)} leads upwards by '..'")
        if not path.startswith("/"):
            return self._roots[0], parts
        fits = [(len(s), root) for root in self._roots for s in root.spellings if parts[: len(s)] == s]
        if not fits:
            raise ToolError(f"{_shown(path)} is outside of the allowed directories")
        length, root = max(fits, key=lambda fit: fit[0])  # of two, one in the other, the inner
        return root, parts[length:]

    @contextmanager
    def _folder_of(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that a file is in, and the file's name."""
        root, parts = self._locate(path)
        if not parts or path.endswith(("/", "/.")):
            raise ToolError(f"{_shown(path)} does not name a file")
        with _told(path), _folder(root, parts[:-1], make=make) as folder:
            yield folder, parts[-1]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


@contextmanager
def _folder(root: Root, parts: list[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder at `parts`; with `make`, folders on the way are made."""
    descriptor = os.dup(root.descriptor)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
            inner = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(path: str, folder: int, name: str) -> Iterator[int]:
    """A descriptor of a file, to read. Raises OSError, and ToolError for what is no file."""
    _mode(path, folder, name)  # opening a device can do things, so it is not even tried
    descriptor = os.open(name, os.O_RDONLY | _FILE, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ToolError(f"{_shown(path)} is no file any more")
        yield descriptor
    finally:
        os.close(descriptor)


def _write(path: str, folder: int, name: str, content: bytes) -> bool:
    """Whether the file is a new one."""
    mode = _mode(path, folder, name)
    scratch = f".fs-{os.urandom(8).hex()}.tmp"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode) & 0o777)
            file.write(content)
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(scratch, dir_fd=folder)
        raise
    return mode is None


def _mode(path: str, folder: int, name: str) -> int | None:
    """The mode of a file; None if there is none. Raises ToolError for anything else that bears the name."""
    try:
        mode = os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise ToolError(f"{_shown(path)} is a {_kind(mode)}, not a file")
    return mode


def _entries(root: Root, parts: list[str]) -> list[tuple[str, str, int]]:
    """Name, kind and size of what is in a folder, by name. Raises OSError."""
    entries = []
    with _folder(root, parts) as folder, os.scandir(folder) as found:
        for entry in islice((entry for entry in found if not _SCRATCH.fullmatch(entry.name)), MAX_FOLDER):
            with suppress(FileNotFoundError):  # gone since
                status = entry.stat(follow_symlinks=False)
                entries.append((entry.name, _kind(status.st_mode), status.st_size))
    return sorted(entries)


def _lines(root: Root, parts: list[str], wanted: bytes, limit: int) -> list[dict[str, JSON]]:
    """The first lines of a text file that hold `wanted`, one more than `limit` at most."""
    content = b""
    # One that has gone or cannot be read is one of many.
    with suppress(OSError, ToolError), _folder(root, parts[:-1]) as folder, _opened("", folder, parts[-1]) as file:
        content = os.pread(file, MAX_READ, 0)
    found: list[dict[str, JSON]] = []
    if wanted in content and b"\0" not in content:
        for number, line in enumerate(content.split(b"\n"), 1):
            if (at := line.find(wanted)) >= 0 and len(found) <= limit:
                start = max(0, min(at - EXCERPT // 4, len(line) - EXCERPT))
                text = line[start : start + EXCERPT].decode(errors="replace").strip()
                found.append({"line": number, "text": text})
    return found


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What the system says, with the path as it was given."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ToolError(f"{_shown(path)} leads through a link or through something that is no directory") from None
        raise ToolError(f"{_shown(path)}: {error.strerror or 'the file system failed'}") from None


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "device or pipe")


def _shown(path: str) -> str:
    return repr(path[:200])


def _text(name: str) -> str:
    """A name for people; what is not UTF-8 in it is shown with replacement characters."""
    return os.fsencode(name).decode(errors="replace")


def make_tools(folders: Folders) -> list[Tool]:
    path = {
        "type": "string",
        "maxLength": MAX_PATH,
        "description": "Relative to the first allowed directory, or absolute in any of them",
    }
    in_first = {**path, "default": "."}
    string, whole, truth = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    offset = {**whole, "minimum": 0, "maximum": 2**63 - 1, "default": 0, "description": "Bytes to leave out"}
    length = {**whole, "minimum": 4, "maximum": MAX_READ, "default": MAX_READ, "description": "Bytes at most"}
    read_only = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
    writes = {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": False}

    def tool(run: Any, description: str, takes: JSON, annotations: JSON, gives: JSON = None) -> Tool:
        more = {} if gives is None else {"outputSchema": gives}
        name, about = run.__name__, {"description": description, "inputSchema": takes, "annotations": annotations}
        return Tool(run, {"name": name, **about, **more})

    def many(**properties: JSON) -> JSON:
        return {"type": "array", "items": object_schema("", **properties)}

    return [
        tool(
            folders.read_file,
            f"Read a UTF-8 text file, at most {MAX_READ} bytes at once.",
            object_schema("path", path=path, offset=offset, length=length),
            read_only,
        ),
        tool(
            folders.write_file,
            "Write a text file, in place of the old one if it is there. Makes directories on the way.",
            object_schema("path content", path=path, content=string),
            {**writes, "idempotentHint": True},
        ),
        tool(
            folders.edit_file,
            "Replace a text in a file, which must stand in it exactly once.",
            object_schema("path old new", path=path, old=string, new=string),
            {**writes, "idempotentHint": False},
        ),
        tool(
            folders.delete_file,
            "Delete a file. Directories are not deleted, and of links only the link.",
            object_schema("path", path=path),
            {**writes, "idempotentHint": False},
        ),
        tool(
            folders.list_directory,
            f"List a directory, at most {MAX_LISTED} entries. Names of directories end in a slash.",
            object_schema("", path=in_first),
            read_only,
            object_schema("entries truncated", entries=many(name=string, type=string, size=whole), truncated=truth),
        ),
        tool(
            folders.search_files,
            "Find files by name, and lines in them by text, in a directory and all below it. Only the first "
            f"{MAX_READ} bytes of a file are searched, and links are not followed.",
            object_schema(
                "",
                path=in_first,
                name={
                    **string,
                    "maxLength": 200,
                    "default": "*",
                    "description": "Pattern such as *.py, of the name alone",
                },
                text={**string, "maxLength": 1000, "default": "", "description": "What a line must hold, case and all"},
                limit={**whole, "minimum": 1, "maximum": 1000, "default": 100},
            ),
            read_only,
            object_schema(
                "matches looked_at truncated",
                matches=many(path=string, line=whole, text=string),
                looked_at=whole,
                truncated=truth,
            ),
        ),
        tool(
            folders.list_allowed_directories,
            "Tell which directories can be read and written; all else is refused.",
            object_schema(),
            read_only,
            object_schema("directories", directories={"type": "array", "items": string}),
        ),
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="An MCP server over stdio for the files of some folders.")
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder that may be read and written")
    try:
        folders = Folders(parser.parse_args(arguments).folders)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    return stdio.serve(Server(NAME, VERSION, make_tools(folders)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
