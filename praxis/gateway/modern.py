"""Requests of MCP 2026-07-28, whatever they came by: each stands for itself and is answered by a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from praxis.access.principal import Principal
from praxis.gateway.parked import PARKED_FOR, AskingCall, ParkedCalls
from praxis.gateway.stream import Tell
from praxis.model.tool import JSON, Ask, CallContext, Listener
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService
from praxis.wire.mcp_eras import MODERN_VERSIONS, RESUMABLE
from praxis.wire.mcp_legacy import is_loud_enough
from praxis.wire.mcp_modern import (
    DISCOVER,
    LISTEN,
    ModernRequest,
    acknowledgement,
    is_wanted,
    tagged,
    wanted_notices,
)
from praxis.wire.mcp_server import (
    ASKABLE,
    CAPABILITY,
    EMPTY_LISTS,
    asks_for_input,
    check_questions,
    complete,
)
from praxis.wire.mcp_state import binding, seal, unseal

MAX_WAITING_NOTICES = 256
"""Notices that may come before a listener has been told that it is heard: they are a few, in a few microseconds."""


class ModernEra:
    """Answers requests. `key` seals what callers bring back; calls that may ask run in the nursery given to each."""

    def __init__(self, *, key: bytes, metrics: Metrics, clock: Callable[[], float] = trio.current_time) -> None:
        self.stopping = trio.Event()
        self._key = key
        self._clock = clock
        self._parked = ParkedCalls(metrics)

    async def answer(
        self,
        service: McpService,
        principal: Principal,
        place: str,
        request: ModernRequest,
        tell: Tell,
        nursery: trio.Nursery,
    ) -> dict[str, JSON]:
        """The complete result. A ``requestState`` is good for this principal and `place`. Raises PraxisError."""
        description = service.describe()
        method = request.method
        if method == DISCOVER:
            result: Mapping[str, JSON] = discovered(description.capabilities, description.instructions)
        elif method == LISTEN:
            result = await self._listen(service, request, tell)
        elif method in EMPTY_LISTS and CAPABILITY[method] not in description.capabilities:
            result = {EMPTY_LISTS[method]: []}
        elif method in RESUMABLE:
            result = await self._resumable(service, principal, place, request, tell, nursery)
        else:
            result = await service.request(method, request.params, self._context(request, principal.name, lambda: tell))
        return complete(method, result, description.info)

    def _context(
        self,
        request: ModernRequest,
        caller: str,
        tell: Callable[[], Tell],
        given: Mapping[str, JSON] | None = None,
        ask: Ask | None = None,
    ) -> CallContext:
        on_progress: Listener | None = None
        on_log: Listener | None = None
        token, level = request.progress_token, request.log_level
        if token is not None:

            def on_progress(params: Mapping[str, JSON]) -> None:
                tell()("notifications/progress", {**params, "progressToken": token})

        if level is not None:

            def on_log(params: Mapping[str, JSON]) -> None:
                if is_loud_enough(params.get("level"), level):
                    tell()("notifications/message", params)

        return CallContext(
            caller,
            on_progress=on_progress,
            on_log=on_log,
            log_level=level,
            ask=ask,
            input=given,
            capabilities=request.capabilities,
            takes_input_requests=request.method in RESUMABLE,
            meta=request.meta,
        )

    async def _resumable(
        self,
        service: McpService,
        principal: Principal,
        place: str,
        request: ModernRequest,
        tell: Tell,
        nursery: trio.Nursery,
    ) -> Mapping[str, JSON]:
        bound = b""
        state: Mapping[str, JSON] = {}
        if request.state is not None:
            bound = binding(principal.kind, principal.name, place, request.method, params=request.params)
            state = unseal(request.state, key=self._key, bound=bound, now=self._clock())
        responses = request.responses or {}
        if "p" in state:
            call = self._parked.resume(state["p"], tell)
            call.supply(responses)
            result = await self._wait(call)
        else:
            given: dict[str, JSON] | None = None
            if request.responses is not None or request.state is not None:
                given = {"inputResponses": responses} | ({"requestState": state["s"]} if "s" in state else {})
            call = AskingCall(request.capabilities, tell)
            asks = any(capability in request.capabilities for capability in ASKABLE.values())
            context = self._context(request, principal.name, lambda: call.tell, given, call.ask if asks else None)
            if asks:
                nursery.start_soon(call.run, service, request.method, request.params, context)
                result = await self._wait(call)
            else:
                result = await service.request(request.method, request.params, context)
        if result is not None and not asks_for_input(result):
            return result
        bound = bound or binding(principal.kind, principal.name, place, request.method, params=request.params)
        if result is None:
            asked: dict[str, JSON] = {"resultType": "input_required", "inputRequests": call.questions()}
            state = {"p": call.id}
        else:
            check_questions(result.get("inputRequests") or {}, request.capabilities)
            asked = dict(result)
            if not isinstance(asked.get("requestState"), str):
                asked.pop("requestState", None)
                return asked
            state = {"s": asked["requestState"]}
        asked["requestState"] = seal(state, key=self._key, bound=bound, until=self._clock() + PARKED_FOR)
        if result is None:
            self._parked.park(call)
        return asked

    async def _wait(self, call: AskingCall) -> Mapping[str, JSON] | None:
        """Wait for a call; it is given up when whoever waits is."""
        done = False
        try:
            result = await call.wait()
            done = True
        finally:
            if not done:
                call.scope.cancel()
            if call.over or not done:
                self._parked.forget(call)
        return result

    async def _listen(self, service: McpService, request: ModernRequest, tell: Tell) -> Mapping[str, JSON]:
        """Tell of changes until the listener goes, or we stop."""
        wanted = wanted_notices(request.params)
        early: list[tuple[str, Mapping[str, JSON]]] = []
        told = False

        def on_notice(method: str, params: Mapping[str, JSON]) -> None:
            if not is_wanted(method, params, wanted):
                return
            if told:
                tell(method, tagged(request.id, params))
            elif len(early) < MAX_WAITING_NOTICES:
                early.append((method, params))

        async with service.subscribe(wanted, on_notice) as honoured:
            tell("notifications/subscriptions/acknowledged", acknowledgement(request.id, honoured))
            told = True
            for method, params in early:
                on_notice(method, params)
            await self.stopping.wait()
        return {}


def discovered(capabilities: Mapping[str, JSON], instructions: str) -> dict[str, JSON]:
    """The result of ``server/discover``."""
    result: dict[str, JSON] = {"supportedVersions": list(MODERN_VERSIONS), "capabilities": dict(capabilities)}
    if instructions:
        result["instructions"] = instructions
    return result
