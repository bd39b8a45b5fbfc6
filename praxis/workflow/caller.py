"""Makes one call by its route: at the best candidate, at the next one where that may be, or not at all where the result
is at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, ToolResult
from praxis.observe.metrics import Metrics
from praxis.workflow.cache import ResultCache
from praxis.workflow.catalog import Catalog
from praxis.workflow.router import Candidate, Route

logger = logging.getLogger(__name__)

GOES_ON = frozenset({"unavailable", "busy", "not_found"})
"""Errors after which the next candidate is tried when the call was not delivered. A refusal is an answer."""
TRIED_AGAIN = frozenset({"unavailable", "busy", "timeout", "internal"})
"""Errors after which the next one is tried although the tool may have run, if twice is the same as once."""


class Caller:
    def __init__(self, catalog: Catalog, metrics: Metrics) -> None:
        self._catalog = catalog
        self._failovers = metrics.counter("praxis_failovers_total", "Calls that went on to the next candidate.")

    async def call(
        self,
        route: Route,
        arguments: dict[str, JSON],
        context: CallContext,
        on_ask: Callable[[Candidate], None] = lambda candidate: None,
        *,
        cache: ResultCache | None = None,
    ) -> ToolResult:
        """The result, from the `cache` if it has one; `on_ask` hears who is about to be asked. Raises PraxisError."""
        key = cache.key(route.candidates[0].tool, arguments) if cache is not None else None
        if cache is None or key is None:
            return await self._ask(route, arguments, context, on_ask)
        result = cache.find(key)
        if result is None:
            result = await self._ask(route, arguments, context, on_ask)
            cache.keep(key, result)
        return result

    async def _ask(
        self,
        route: Route,
        arguments: dict[str, JSON],
        context: CallContext,
        on_ask: Callable[[Candidate], None],
    ) -> ToolResult:
        """Call the best candidate; the next one when the call did not get there, or may be made twice."""
        for candidate in route.candidates[:-1]:
            on_ask(candidate)
            try:
                return await self._catalog.call(candidate, arguments, context)
            except PraxisError as error:
                again = candidate.tool.idempotent and error.code in TRIED_AGAIN
                if not (again if error.delivered else error.code in GOES_ON):
                    raise
                self._failovers.inc()
                logger.warning("%s: %s; trying the next candidate", candidate.tool.ref, error)
        last = route.candidates[-1]
        on_ask(last)
        return await self._catalog.call(last, arguments, context)
