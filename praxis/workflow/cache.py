"""Results of tools that only read, for steps that ask the same again. In memory, bounded, off unless configured."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable

import attrs

from praxis.model.tool import JSON, Tool, ToolResult
from praxis.observe.metrics import Metrics

Key = tuple[str, str, str]


@attrs.frozen
class _Kept:
    result: ToolResult
    size: int
    until: float


class ResultCache:
    """Keeps results of tools that say they are read-only and idempotent; never an error, and nothing of a run with
    secrets. A tool whose definition has changed is another tool.

    `ttl` is in seconds, `max_bytes` about the size of all results; `clock` only grows.
    """

    def __init__(
        self, *, ttl: float, max_entries: int, max_bytes: int, clock: Callable[[], float], metrics: Metrics
    ) -> None:
        self._ttl, self._max_entries, self._max_bytes = ttl, max_entries, max_bytes
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._looked = metrics.counter("praxis_cache_lookups_total", "Looks into the result cache.", ("outcome",))
        metrics.gauge("praxis_cache_entries", "Results in the cache.", lambda: float(len(self._kept)))
        metrics.gauge("praxis_cache_bytes", "About their size.", lambda: float(self._bytes))

    def key(self, tool: Tool, arguments: dict[str, JSON]) -> Key | None:
        """What a call is known by; None if its result may not be kept."""
        annotations = tool.definition.get("annotations")
        if not isinstance(annotations, dict):
            return None
        if annotations.get("readOnlyHint") is not True or annotations.get("idempotentHint") is not True:
            return None
        return str(tool.ref), tool.digest, json.dumps(arguments, sort_keys=True, separators=(",", ":"))

    def find(self, key: Key) -> ToolResult | None:
        """A result that is not too old, marked as cached."""
        kept = self._kept.get(key)
        if kept is not None and kept.until <= self._clock():
            self._drop(key)
            kept = None
        self._looked.inc(1, "hit" if kept is not None else "miss")
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return attrs.evolve(kept.result, cached=True)

    def keep(self, key: Key, result: ToolResult) -> None:
        """Keep a result; what was not asked for longest makes room."""
        size = len(json.dumps(result.value)) + sum(map(len, key))
        if result.is_error or size > self._max_bytes:
            return
        self._drop(key)
        self._kept[key] = _Kept(result, size, self._clock() + self._ttl)
        self._bytes += size
        while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size

    def clear(self) -> int:
        """Let go of everything; how many results that were."""
        count = len(self._kept)
        self._kept.clear()
        self._bytes = 0
        return count

    def stats(self) -> dict[str, JSON]:
        """``{"entries", "bytes", "hits", "misses", "ttl_s", "max_entries", "max_bytes"}``."""
        return {
            "entries": len(self._kept),
            "bytes": self._bytes,
            "hits": int(self._looked.value("hit")),
            "misses": int(self._looked.value("miss")),
            "ttl_s": self._ttl,
            "max_entries": self._max_entries,
            "max_bytes": self._max_bytes,
        }
