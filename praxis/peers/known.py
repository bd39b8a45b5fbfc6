"""Peers that are remembered from one start to the next, so that an agent finds its network again without any hint."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from praxis.peers.directory import Directory
from praxis.peers.entry import PeerEntry
from praxis.peers.registry import PeerRegistry

logger = logging.getLogger(__name__)

PAUSE = 30.0
"""Seconds between two writes at least: what is lost by a crash is soon learned again."""
KEEP = 7 * 24 * 3600.0
"""Seconds since a peer was last seen after which it is forgotten."""
MAX_KNOWN = 1024
"""Peers in the file; those seen last stay."""


class KnownPeers:
    """The file and what goes in and out of it."""

    def __init__(self, path: Path, registry: PeerRegistry, directory: Directory, *, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._path = path
        self._registry = registry
        self._directory = directory
        self._clock = clock
        self._saved = ""

    def load(self) -> list[PeerEntry]:
        """The peers of the last time that were seen lately, taken into the registry. A damaged file is none."""
        try:
            entries = json.loads(self._path.read_text())["peers"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            logger.warning("%s cannot be read (%s); peers are found anew", self._path, error)
            return []
        known = (self._restore(value) for value in entries[:MAX_KNOWN]) if isinstance(entries, list) else ()
        return [entry for entry in known if entry is not None]

    def _restore(self, value: Any) -> PeerEntry | None:
        match value:
            case {"id": str(peer_id), "name": str(name), "addresses": list(addresses), "last_seen": int() | float()}:
                pass
            case _:
                return None
        if self._clock() - value["last_seen"] > KEEP or not all(isinstance(address, str) for address in addresses):
            return None
        owns_name = value.get("owns_name") is True
        entry = self._registry.restore(peer_id, name, owns_name=owns_name, last_seen=value["last_seen"])
        if entry is not None:
            entry.learn(addresses)
        return entry

    async def run(self) -> None:
        """Write what is new now and then, and forget who was not seen for long, until cancelled; then once more."""
        try:
            while True:
                await trio.sleep(PAUSE)
                self._forget_old()
                self._write(self._text())
        finally:
            self._write(self._text())

    def _forget_old(self) -> None:
        now = self._clock()
        for entry in self._registry.entries():
            if not entry.connected and now - max(entry.last_seen, entry.found_at) > KEEP:
                logger.info("forgetting peer %s (%s), not seen for %.0f days", entry.name, entry.id, KEEP / 86400)
                self._registry.forget(entry)
                self._directory.forget(entry.id, now)

    def _text(self) -> str:
        now = self._clock()
        entries = [entry for entry in self._registry.entries() if entry.boot or entry.last_seen]
        # Of connected ones the hour is enough, so that the file is not written for nothing.
        seen = {entry.id: now // 3600 * 3600 if entry.connected else entry.last_seen for entry in entries}
        latest = sorted(entries, key=lambda entry: (-seen[entry.id], entry.id))[:MAX_KNOWN]
        peers = [
            {
                "id": entry.id,
                "name": entry.name,
                "owns_name": self._registry.owns_name(entry),
                "addresses": list(entry.candidates),
                "last_seen": seen[entry.id],
            }
            for entry in latest
        ]
        return json.dumps({"peers": peers}, indent=1) + "\n"

    def _write(self, text: str) -> None:
        """Replace the file. A full disk costs what would have been remembered, and a line in the log.

        It is small and not synced, so writing it takes no longer than handing it to a thread would.
        """
        if text == self._saved:
            return
        scratch = self._path.with_suffix(".tmp")
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            scratch.replace(self._path)
            self._saved = text
        except OSError as error:
            logger.warning("peers cannot be remembered: %s", error)
