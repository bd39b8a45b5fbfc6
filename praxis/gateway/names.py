"""Names under which tools are exported over MCP, where a slash is not allowed and 64 characters are the limit.

A name depends on the tool alone, so it never changes because of other tools; what it means is looked up, never parsed.
"""

from __future__ import annotations

import hashlib
import re

from praxis.model.tool import Tool

MAX_NAME = 64
"""Characters: the least that a common client takes."""
HASH = 8
"""Hex digits of the hash that tells names apart that had to be changed."""
JOINT = "__"
_PLAIN = re.compile(r"[a-zA-Z0-9-]+(_[a-zA-Z0-9-]+)*")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]+")


def exported_name(tool: Tool, agent: str) -> str:
    """``AGENT__SOURCE__NAME``, and ``SOURCE__NAME`` for a tool of the serving `agent`.

    Where that would be too long, hold other characters or be read in two ways, what is left of it ends in a hash of
    the tool's full name.
    """
    return exported(agent, tool.agent, tool.source, tool.name)


def exported(serving: str, agent: str | None, source: str, name: str) -> str:
    """The same for anything that a source of an agent has under a name; an `agent` of None is the serving one."""
    own = agent in (None, serving)
    parts = [source, name] if own else [str(agent), source, name]
    full = f"{serving if own else agent}:{source}/{name}"
    name = JOINT.join(parts)
    if len(name) <= MAX_NAME and all(_PLAIN.fullmatch(part) for part in parts):
        return name
    digest = hashlib.sha256(full.encode()).hexdigest()[:HASH]
    return f"{_OTHER.sub('_', name)[: MAX_NAME - HASH - 1]}_{digest}"
