"""The cache of results."""

from __future__ import annotations

from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services


def routes(services: Services) -> list[Route]:
    cache = services.cache

    async def stats(call: Call) -> Answer:
        return Answer.of({"enabled": cache is not None, **(cache.stats() if cache is not None else {})})

    async def clear(call: Call) -> Answer:
        return Answer.of({"cleared": cache.clear() if cache is not None else 0})

    return [
        Route("GET", "/cache/stats", "What the cache of results holds, and how often it helped.", stats),
        Route("DELETE", "/cache", "Empty the cache of results.", clear, action="run"),
    ]
