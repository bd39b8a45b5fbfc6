"""The end of a task somewhere else, as the result of a tool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from praxis.model.tool import JSON, ToolResult
from praxis.wire.a2a_task_view import TaskView

MAX_URL = 2048
"""Characters of the address of a file."""
_ENDS: Mapping[str, str] = {
    "failed": "the task failed",
    "rejected": "the agent rejects the task",
    "canceled": "the task was cancelled there",
    "input-required": "the task needs more input, which a call cannot give",
    "auth-required": "the task needs an authentication, which a call cannot give",
}
"""What is said about a state that is no success."""


def result_of(task: TaskView) -> ToolResult:
    """Text and addresses of files as content, data as structured content: the object of one part, or the list of
    all, as ``results``. A task that has not been completed is an error, with the agent's own words."""
    parts = task.all_parts()
    content = [block for part in parts if (block := _block(part)) is not None]
    values = [part["data"] for part in parts if "data" in part]
    structured = values[0] if len(values) == 1 and isinstance(values[0], dict) else {"results": values}
    failed = task.state in _ENDS
    if failed:
        where = f" (task {task.id})" if task.state.endswith("-required") else ""
        words = f": {task.words}" if task.words else ""
        content.insert(0, _text(f"{_ENDS[task.state]}{where}{words}"))
    elif not content and not values and task.words:
        content.append(_text(task.words))  # some agents say in the last status what they have found
    if values and not content:  # readers that do not know structured content read text (MCP, "Structured Content")
        content.append(_text(json.dumps(structured, ensure_ascii=False)))
    value: dict[str, JSON] = {"content": content, "isError": failed}
    if values:
        value["structuredContent"] = structured
    return ToolResult(value)


def _text(text: str) -> dict[str, JSON]:
    return {"type": "text", "text": text}


def _block(part: Mapping[str, JSON]) -> dict[str, JSON] | None:
    """None for data, and for what is no part."""
    match part:
        case {"text": str(text)}:
            return _text(text)
        case {"url": str(url)}:
            return _file(url, part.get("filename"), part.get("mediaType"))
        case {"file": {"uri": str(url), **file}}:
            return _file(url, file.get("name"), file.get("mimeType"))
        case {"raw": str(content)}:
            return _left_out(part.get("filename"), content)
        case {"file": {"bytes": str(content), **file}}:
            return _left_out(file.get("name"), content)
    return None


def _file(url: str, name: JSON, media: JSON) -> dict[str, JSON]:
    """A link. Only the web's addresses are passed on: others, such as ``file:``, mean something on this machine."""
    try:
        parts = urlsplit(url)
        linked = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        linked = False
    if not linked or len(url) > MAX_URL or not url.isprintable():
        return _text("[a file is left out: its address is none of the web]")
    # The name is required (MCP, "Resource Links").
    link = {"type": "resource_link", "uri": url, "name": _named(name) or parts.path.rpartition("/")[2] or url}
    return link | ({"mimeType": media} if isinstance(media, str) else {})


def _left_out(name: JSON, content: Sequence[str]) -> dict[str, JSON]:
    size = len(content) * 3 // 4
    shown = f" {_named(name)}" if _named(name) else ""
    return _text(f"[the file{shown} of about {size} bytes is left out: files are taken by their address alone]")


def _named(name: JSON) -> str:
    return name[:200] if isinstance(name, str) and name.isprintable() else ""
