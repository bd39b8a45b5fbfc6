"""The file tools that every agent with a shared folder has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.tools.confined import ConfinedFolder, RefusedError
from praxis.tools.source import SourceState

MAX_READ = 1024 * 1024
"""Bytes of a file that read_file gives: a quarter of what one answer may have, escapes included."""
MAX_LISTED = 10_000
AT_ONCE = 8
"""File operations at once; a slow disk must not take every thread of the agent."""


class FileTools:
    """The source `fs`: write_file, read_file, list_files and delete_file below one folder."""

    name = "fs"

    def __init__(self, shared_dir: Path, *, agent: str) -> None:
        self._folder = ConfinedFolder(shared_dir)
        self._root = shared_dir
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._tools = tuple(Tool(agent, self.name, definition) for definition in _DEFINITIONS)
        self._work: dict[str, Callable[[dict[str, Any]], ToolResult]] = {
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

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """A file that is missing or may not be touched is a result with isError."""
        work = self._work.get(name)
        if work is None:
            raise PraxisError("not_found", f"no tool {name!r} in {self.name}")
        try:
            return await trio.to_thread.run_sync(work, arguments, limiter=self._limiter)
        except RefusedError as refused:
            return ToolResult.of_text(str(refused), is_error=True)
        except OSError as error:
            return ToolResult.of_text(error.strerror or "the file system failed", is_error=True)

    def _write(self, arguments: dict[str, Any]) -> ToolResult:
        content = arguments["content"].encode("utf-8", "surrogatepass")
        self._folder.write(arguments["filename"], content)
        return ToolResult.of_text(f"wrote {len(content)} bytes to {arguments['filename']}")

    def _read(self, arguments: dict[str, Any]) -> ToolResult:
        content = self._folder.read(arguments["filename"], MAX_READ)
        try:
            return ToolResult.of_text(content.decode())
        except UnicodeDecodeError:
            return ToolResult.of_text(f"{arguments['filename']!r} is not UTF-8 text", is_error=True)

    def _list(self, arguments: dict[str, Any]) -> ToolResult:
        entries = self._folder.entries(arguments.get("directory", "."), MAX_LISTED)
        files = [{"name": entry.name, "type": entry.kind, "size": entry.size} for entry in entries]
        names = "\n".join(entry.name + ("/" if entry.kind == "folder" else "") for entry in entries)
        return ToolResult.of_text(names, structured={"files": files})

    def _delete(self, arguments: dict[str, Any]) -> ToolResult:
        self._folder.delete(arguments["filename"])
        return ToolResult.of_text(f"deleted {arguments['filename']}")


def _definition(
    name: str, description: str, properties: dict[str, Any], required: Sequence[str], hints: dict[str, bool]
) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


_FILENAME = {"type": "string", "description": "Path relative to the shared folder", "minLength": 1}
_DEFINITIONS = (
    _definition(
        "write_file",
        "Write a text file in the agent's shared folder, replacing what was there.",
        {"filename": _FILENAME, "content": {"type": "string", "description": "The whole text"}},
        ("filename", "content"),
        {"readOnlyHint": False, "idempotentHint": True, "openWorldHint": False},
    ),
    _definition(
        "read_file",
        "Read a text file of the agent's shared folder.",
        {"filename": _FILENAME},
        ("filename",),
        {"readOnlyHint": True, "openWorldHint": False},
    ),
    _definition(
        "list_files",
        "List a folder of the agent's shared folder.",
        {"directory": {"type": "string", "description": "Path relative to the shared folder", "default": "."}},
        (),
        {"readOnlyHint": True, "openWorldHint": False},
    ),
    _definition(
        "delete_file",
        "Delete a file of the agent's shared folder.",
        {"filename": _FILENAME},
        ("filename",),
        {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": False},
    ),
)
