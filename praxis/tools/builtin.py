"""The file tools that every agent with a shared folder has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.tools.confined import ConfinedFolder, RefusedError
from praxis.tools.show import quoted
from praxis.tools.source import SourceState

MAX_READ = 1024 * 1024
"""Bytes of a file that read_file gives: a quarter of what one message between agents holds, so that it fits even with
many of its characters escaped."""
MAX_WRITE = 16 * 1024 * 1024
"""Bytes that write_file takes: what one answer of an MCP server may bring into a program."""
MAX_LISTED = 2000
"""Entries that list_files shows: with the longest names twice in the answer about 2 MiB, half of one message."""
AT_ONCE = 8
"""File operations at once; a slow disk must not take every thread of the agent."""


class FileTools:
    """The source ``fs``: write_file, read_file, list_files and delete_file below one folder.

    What goes wrong with a file is a result with isError that names the path as it was given.
    """

    name = "fs"

    def __init__(self, shared_dir: Path, *, agent: str) -> None:
        self._folder = ConfinedFolder(shared_dir)
        self._root = shared_dir
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._tools = tuple(Tool(agent, self.name, definition) for definition in DEFINITIONS)
        self._work: Mapping[str, Callable[[dict[str, Any]], ToolResult]] = {
            "write_file": self._write,
            "read_file": self._read,
            "list_files": self._list,
            "delete_file": self._delete,
        }

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def state(self) -> SourceState:
        if not self._root.is_dir():
            reason = f"agent.shared_dir {self._root} is no folder; make it, or name another"
            return SourceState(self.name, "builtin", "failed", reason, len(self._tools))
        return SourceState(self.name, "builtin", "ready", tools=len(self._tools))

    @property
    def waiting(self) -> int:
        return self._limiter.statistics().tasks_waiting

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Do it in a thread; `arguments` fit the tool's schema. Raises PraxisError("not_found") for another name.

        A call that is cancelled while its thread is at work ends when that has ended: half a write is none.
        """
        work = self._work.get(name)
        if work is None:
            raise PraxisError("not_found", f"there is no tool {quoted(name)} in {self.name}")
        try:
            return await trio.to_thread.run_sync(work, arguments, limiter=self._limiter)
        except RefusedError as refused:
            return ToolResult.of_text(str(refused), is_error=True)

    def _write(self, arguments: dict[str, Any]) -> ToolResult:
        path: str = arguments["filename"]
        try:
            content = arguments["content"].encode()
        except UnicodeEncodeError:
            raise RefusedError(f"the content for {quoted(path)} has half a surrogate pair, which no text has") from None
        if len(content) > MAX_WRITE:
            raise RefusedError(f"the content for {quoted(path)} has {len(content)} bytes; {MAX_WRITE} can be written")
        self._folder.write(path, content)
        return ToolResult.of_text(f"wrote {len(content)} bytes to {path}")

    def _read(self, arguments: dict[str, Any]) -> ToolResult:
        path: str = arguments["filename"]
        content = self._folder.read(path, MAX_READ)
        try:
            return ToolResult.of_text(content.decode())
        except UnicodeDecodeError as error:
            raise RefusedError(f"{quoted(path)} is not UTF-8 text: see byte {error.start}") from None

    def _list(self, arguments: dict[str, Any]) -> ToolResult:
        entries, more = self._folder.entries(arguments.get("directory", "."), MAX_LISTED)
        files = [{"name": entry.name, "type": entry.kind, "size": entry.size} for entry in entries]
        lines = [entry.name + ("/" if entry.kind == "folder" else "") for entry in entries]
        if more:
            lines.append(f"... and more; {MAX_LISTED} are shown")
        return ToolResult.of_text(
            "\n".join(lines) or "the folder is empty", structured={"files": files, "truncated": more}
        )

    def _delete(self, arguments: dict[str, Any]) -> ToolResult:
        path: str = arguments["filename"]
        self._folder.delete(path)
        return ToolResult.of_text(f"deleted {path}")


def _object(required: Sequence[str], **properties: Mapping[str, JSON]) -> dict[str, JSON]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_FILENAME: dict[str, JSON] = {
    "type": "string",
    "minLength": 1,
    "description": "Path of the file, relative to the shared folder, such as notes/today.txt",
}

DEFINITIONS: tuple[dict[str, JSON], ...] = (
    {
        "name": "write_file",
        "title": "Write a file",
        "description": "Write text to a file in the agent's shared folder, as UTF-8. Replaces the file if it is there "
        "and makes the folders on the way to it.",
        "inputSchema": _object(
            ("filename", "content"),
            filename=_FILENAME,
            content={"type": "string", "description": "The whole text of the file"},
        ),
        "annotations": {
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": True,
            "openWorldHint": False,
        },
    },
    {
        "name": "read_file",
        "title": "Read a file",
        "description": f"Read a UTF-8 text file of at most {MAX_READ} bytes in the agent's shared folder.",
        "inputSchema": _object(("filename",), filename=_FILENAME),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "list_files",
        "title": "List a folder",
        "description": "List the files and folders in a folder of the agent's shared folder, one per line; the names "
        f"of folders end in a slash. Shows at most {MAX_LISTED} of them.",
        "inputSchema": _object(
            (),
            directory={
                "type": "string",
                "default": ".",
                "description": "Path of the folder, relative to the shared folder",
            },
        ),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "delete_file",
        "title": "Delete a file",
        "description": "Delete one file in the agent's shared folder. Folders are not deleted.",
        "inputSchema": _object(("filename",), filename=_FILENAME),
        "annotations": {
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": False,
            "openWorldHint": False,
        },
    },
)
"""MCP tool objects."""
