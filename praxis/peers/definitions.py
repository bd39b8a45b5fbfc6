"""Tool definitions by digest: asked for once, whichever peers have the same tool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from praxis.model.tool import Tool
from praxis.peers.record import PeerRecord, decode_definitions

MAX_DEFINITIONS = 16384
"""Definitions that are remembered, about 1 KiB each; the least recently used go first."""
DESCRIBE = 256
"""Definitions asked for at once, so that an answer stays well below the message limit."""


class Line(Protocol):
    """What is needed of a `PeerLink`."""

    async def call(self, method: str, params: Any) -> Any: ...


class Definitions:
    """What is known by digest of all peers' tools."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, Any]] = {}

    async def tools(self, record: PeerRecord, label: str, line: Line) -> tuple[Tool, ...]:
        """The tools of a record that its owner lets us know, under the name `label`.

        Raises PraxisError for an answer that is none, and when the line is lost.
        """
        definitions = await self._resolve({tool.digest for tool in record.tools}, line)
        return tuple(
            Tool(label, tool.source, dict(definitions[tool.digest]))
            for tool in record.tools
            if tool.digest in definitions and definitions[tool.digest].get("name") == tool.name
        )

    async def _resolve(self, digests: Iterable[str], line: Line) -> dict[str, Mapping[str, Any]]:
        wanted = sorted(digests)
        found = {digest: self._known[digest] for digest in wanted if digest in self._known}
        missing = [digest for digest in wanted if digest not in found]
        for at in range(0, len(missing), DESCRIBE):
            answer = await line.call("tools.describe", {"digests": missing[at : at + DESCRIBE]})
            for digest, definition in decode_definitions(answer).items():
                if Tool("", "", dict(definition)).digest == digest:  # nobody changes what a digest means for others
                    found[digest] = definition
        for digest, definition in found.items():
            self._known.pop(digest, None)
            self._known[digest] = definition
        while len(self._known) > MAX_DEFINITIONS:
            del self._known[next(iter(self._known))]
        return found
