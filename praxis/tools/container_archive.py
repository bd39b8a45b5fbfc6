"""Files into a container and out of it, as the tars that engines take and give."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

import attrs

from praxis.model.tool import JSON
from praxis.tools.show import quoted

MAX_FILES = 64
"""Files that come back: what a person looks at; a tool with more of them packs them into one."""
MAX_BYTES = 1024 * 1024
"""Bytes of all of them; with the text of the result, and both escaped, they fit into one message between agents."""
MAX_ARCHIVE = 4 * MAX_BYTES
"""Bytes of the tar that are read: small files take more room there than they have content."""
MAX_PATH = 1024
"""Characters of the path of a file."""
MAX_MEMBERS = 4096
"""Entries of the tar that are looked at, folders and links too."""
SECRETS = "run/secrets"


SHOWN = 8
"""Names of files that are left out and told."""


@attrs.frozen
class Artifacts:
    """Files as MCP content blocks, and what did not come along: names of files, and whether there was more."""

    blocks: Sequence[JSON]
    left_out: Sequence[str]
    whole: bool

    def content(self) -> list[JSON]:
        """The blocks, and in words what is missing."""
        if not self.left_out and self.whole:
            return [*self.blocks]
        names = ", ".join([quoted(name) for name in self.left_out[:SHOWN]] or ["the rest"])
        more = " and more" if self.left_out[SHOWN:] or (self.left_out and not self.whole) else ""
        bounds = f"{MAX_FILES} files of {MAX_BYTES} bytes in all come back, and no links or devices"
        return [*self.blocks, {"type": "text", "text": f"left out of the artifacts: {names}{more}; {bounds}"}]


def pack(secrets: Mapping[str, str], folders: Sequence[str]) -> bytes:
    """A tar with secrets, and with folders that every user of the container can write to; b"" for nothing."""
    if not secrets and not folders:
        return b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder.strip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
        for name, value in secrets.items():
            content = value.encode()
            entry = tarfile.TarInfo(f"{SECRETS}/{name}")
            # Whoever runs in the container is the one that it is for, and has a number that only the image knows.
            entry.size, entry.mode = len(content), 0o444
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def unpack(archive: bytes, *, whole: bool) -> Artifacts:
    """The files of a folder's tar; `whole` is false when the archive ends early. What it holds is a stranger's."""
    blocks: list[JSON] = []
    left_out: list[str] = []
    members, room = 0, MAX_BYTES
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r|") as tar:
            for member in tar:
                members += 1
                if members > MAX_MEMBERS:
                    whole = False
                    break
                if member.isdir():
                    continue
                path = _inside(member.name)
                fits = path and member.isreg() and not member.issparse() and member.size <= room
                file = tar.extractfile(member) if fits and len(blocks) < MAX_FILES else None
                if file is None or path is None:
                    left_out.append(path or member.name)
                    continue
                content = file.read()
                room -= len(content)
                blocks.append(_block(path, content))
    except (tarfile.TarError, EOFError, ValueError, OverflowError):
        whole = False
    return Artifacts(blocks, left_out, whole)


def _inside(name: str) -> str | None:
    """A path below the folder that was asked for, which is the first part of every name; None for any other."""
    folder, *parts = PurePosixPath(name).parts or ("",)
    path = "/".join(parts)
    if name.startswith("/") or not parts or ".." in (folder, *parts) or len(path) > MAX_PATH or not path.isprintable():
        return None
    return path


def _block(path: str, content: bytes) -> JSON:
    resource: dict[str, JSON] = {"uri": f"artifact:///{quote(path)}"}
    try:
        resource |= {"mimeType": "text/plain", "text": content.decode()}
    except UnicodeDecodeError:
        resource |= {"mimeType": "application/octet-stream", "blob": base64.b64encode(content).decode()}
    return {"type": "resource", "resource": resource}
