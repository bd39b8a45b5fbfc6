"""What was found out about MCP servers, from one start of the agent to the next: their era, and how to reach them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import attrs

from praxis.config.schema import McpServer

logger = logging.getLogger(__name__)

MAX_VERDICTS = 256
"""Servers in the file: four times as many as an agent may have, so that some changes of their configuration fit."""


@attrs.frozen
class Verdict:
    """`era` is "legacy" or "modern"; `transport` differs from the configured one when that did not answer; `name` is
    what the server called itself, so that another version of it is asked again."""

    era: str
    transport: str
    name: str


class Verdicts:
    """Verdicts by server configuration, in a small file; without a path, in memory alone.

    What is wrong with the file costs a question more to each server, and a line in the log.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._verdicts: dict[str, Verdict] = {}
        if path is not None:
            self._load(path)

    def get(self, server: McpServer) -> Verdict | None:
        return self._verdicts.get(_key(server))

    def put(self, server: McpServer, verdict: Verdict | None) -> None:
        """Remember a verdict, or forget it."""
        key = _key(server)
        if self._verdicts.get(key) == verdict:
            return
        self._verdicts.pop(key, None)
        if verdict is not None:
            self._verdicts[key] = verdict
        while len(self._verdicts) > MAX_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]
        if self._path is not None:
            self._save(self._path)

    def _load(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                entries = json.loads(file.read(MAX_VERDICTS * 512))["servers"]
            for key, entry in entries.items():
                self._verdicts[str(key)[:64]] = _restore(entry)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            self._verdicts.clear()
            logger.warning("%s cannot be read (%s); MCP servers are asked anew", path, error)

    def _save(self, path: Path) -> None:
        scratch = path.with_suffix(".tmp")
        text = json.dumps({"servers": {key: attrs.asdict(one) for key, one in self._verdicts.items()}}, indent=1)
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(text + "\n")
            scratch.replace(path)
        except OSError as error:
            logger.warning("what MCP servers speak cannot be remembered: %s", error)


def _restore(entry: Any) -> Verdict:
    if entry["era"] not in ("legacy", "modern") or entry["transport"] not in ("stdio", "http", "sse"):
        raise ValueError(f"no verdict: {str(entry)[:80]}")
    return Verdict(entry["era"], entry["transport"], str(entry["name"])[:200])


def _key(server: McpServer) -> str:
    """A digest of what decides which server answers. Of the environment only the names: its values are secret."""
    parts = [server.transport, server.command, *server.args, "", *sorted(server.env), "", server.url, server.protocol]
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()[:32]
