"""What the tools of MCP servers were when they were first seen: a definition that changes later is announced.

A server that is trusted once can change what its tools say about themselves, and that text goes to models.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from praxis.config.schema import McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON

logger = logging.getLogger(__name__)

PINNED = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""Members of a definition that decide what a caller believes of the tool."""
MAX_PINS = 20_000
"""Tools that are remembered: ten servers with as many as a server may have. The file stays below 3 MB."""
MAX_FILE = 8_000_000
"""Bytes of the file that are read."""


def pin(definition: Mapping[str, JSON]) -> str:
    """SHA-256, in hex, of what is pinned of a tool's definition."""
    pinned = {name: definition[name] for name in PINNED if name in definition}
    text = json.dumps(pinned, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class Pins:
    """Pins by source and tool, in a file; without a path, in memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._pins: dict[str, dict[str, str]] = {}
        self._changed = False
        if path is not None:
            self._load(path)

    def get(self, server: McpServer, tool: str) -> str | None:
        """The pin of a tool that was seen before. Another program or another place under the same name is another
        server."""
        return self._pins.get(_key(server), {}).get(tool)

    def put(self, server: McpServer, tool: str, value: str) -> None:
        """Remember it, until `save` in memory alone."""
        pins = self._pins.setdefault(_key(server), {})
        if pins.get(tool) != value:
            pins[tool] = value
            self._changed = True

    def save(self) -> None:
        """Write what is new. A full disk costs what would have been remembered, and a line in the log."""
        if not self._changed or self._path is None:
            return
        self._changed = False
        while sum(map(len, self._pins.values())) > MAX_PINS and len(self._pins) > 1:
            del self._pins[next(iter(self._pins))]
        scratch = self._path.with_suffix(".tmp")
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump({"pins": self._pins}, file, indent=1)
            scratch.replace(self._path)
        except OSError as error:
            logger.warning("definitions of tools cannot be remembered: %s", error)

    def _load(self, path: Path) -> None:
        """Raises PraxisError for a file that is there and cannot be used: without it a change would go unseen."""
        try:
            with path.open("rb") as file:
                value = json.loads(file.read(MAX_FILE))["pins"]
            self._pins = {str(key): _strings(pins) for key, pins in value.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise PraxisError(
                "invalid",
                f"the pins of tools cannot be read: {error}",
                hint="remove the file to trust the tools as they are now",
                where=str(path),
            ) from None


def _strings(value: Any) -> dict[str, str]:
    return {str(name): str(digest) for name, digest in value.items()}


def _key(server: McpServer) -> str:
    parts = "\0".join([server.transport, server.command, *server.args, server.url])
    return f"{server.name} {hashlib.sha256(parts.encode('utf-8', 'replace')).hexdigest()[:16]}"
