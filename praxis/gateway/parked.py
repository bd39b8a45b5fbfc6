"""A tool that asks its caller, for a caller of 2026-07-28, who is never asked but told in the result what is needed.

The call is parked while the caller finds the answers: it goes on when the same request comes again with them. It may
be left for some minutes, and there may be only so many.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping

import attrs
import trio

from praxis.gateway.stream import Tell
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService
from praxis.wire.mcp_server import ASKABLE, missing_capability, refusal

logger = logging.getLogger(__name__)

MAX_PARKED = 256
"""Calls that wait for their callers at once: each may hold a tool, a run and a connection to another machine."""
PARKED_FOR = 600.0
"""Seconds that a caller has for its answers: a person who reads and fills in a form."""


@attrs.define(eq=False)
class _Question:
    method: str
    params: Mapping[str, JSON]
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: Mapping[str, JSON] | None = None


class AskingCall:
    """One call whose tool may ask.

    Attributes:
        tell: sends what the tool tells meanwhile to whoever waits for it now.
        waited_for: whether somebody waits for it now.
    """

    def __init__(self, capabilities: Mapping[str, JSON], tell: Tell) -> None:
        self.id = secrets.token_urlsafe(16)
        self.tell = tell
        self.waited_for = True
        self.scope = trio.CancelScope()
        self._capabilities = capabilities
        self._questions: dict[str, _Question] = {}
        self._asked = 0
        self._result: Mapping[str, JSON] | None = None
        self._error: PraxisError | None = None
        self._news = trio.Event()

    @property
    def over(self) -> bool:
        return self._result is not None or self._error is not None

    async def run(self, service: McpService, method: str, params: Mapping[str, JSON], context: CallContext) -> None:
        """Make the call. What it comes to is for :meth:`wait`."""
        try:
            with self.scope:
                self._result = await service.request(method, params, context)
        except PraxisError as error:
            self._error = error
        except Exception:  # one call: it must not take others with it
            logger.exception("%s failed with a bug", method)
            self._error = PraxisError("internal", "the server failed; its log says why")
        finally:
            if not self.over:
                self._error = PraxisError("cancelled", "it was cancelled")
            self._news.set()

    async def ask(self, method: str, params: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """Ask the caller; for the tool. Raises PraxisError for what the caller has not said that it can."""
        capability = ASKABLE.get(method)
        if capability is None:
            raise PraxisError("invalid", f"a client cannot be asked for {method[:80]!r}")
        if capability not in self._capabilities:
            raise missing_capability(capability)
        self._asked += 1
        key = f"input-{self._asked}"
        question = self._questions[key] = _Question(method, params)
        self._news.set()
        try:
            await question.answered.wait()
        finally:
            del self._questions[key]
        assert question.answer is not None  # noqa: S101 - answered
        return question.answer

    async def wait(self) -> Mapping[str, JSON] | None:
        """The result of the call, None when it asks for something first. Raises PraxisError."""
        await self._news.wait()
        await trio.lowlevel.checkpoint()  # questions that are asked side by side come together
        if self._error is not None:
            raise self._error
        return self._result

    def questions(self) -> dict[str, JSON]:
        """What is asked, as ``inputRequests``."""
        open_ones = {key: q for key, q in self._questions.items() if not q.answered.is_set()}
        return {key: {"method": q.method, "params": dict(q.params)} for key, q in open_ones.items()}

    def supply(self, responses: Mapping[str, JSON]) -> None:
        """Answers from the caller, as ``inputResponses``; what nobody has asked for is left aside."""
        for key, question in self._questions.items():
            if key in responses and not question.answered.is_set():
                question.answer = responses[key]
                question.answered.set()
        if not self.over and all(question.answered.is_set() for question in self._questions.values()):
            self._news = trio.Event()


class ParkedCalls:
    """The calls that wait for their callers."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls: dict[str, AskingCall] = {}
        self._refused = metrics.counter("praxis_mcp_parked_refused_total", "Calls that asked when too many waited.")
        metrics.gauge(
            "praxis_mcp_parked_calls", "Calls that wait for their callers' answers.", lambda: float(len(self._calls))
        )

    def park(self, call: AskingCall) -> None:
        """Let a call wait; it is cancelled when nobody comes. Raises PraxisError("busy"), and cancels it, over the
        bound."""
        for id in [id for id, parked in self._calls.items() if parked.over]:
            del self._calls[id]
        if call.id not in self._calls and len(self._calls) >= MAX_PARKED:
            self._refused.inc()
            call.scope.cancel()
            raise PraxisError("busy", f"{MAX_PARKED} calls wait for their callers' answers", hint="try again later")
        self._calls[call.id] = call
        call.waited_for = False
        call.scope.deadline = trio.current_time() + PARKED_FOR

    def resume(self, id: str, tell: Tell) -> AskingCall:
        """The call that waits under this id. Raises PraxisError when there is none, or somebody else waits for it."""
        call = self._calls.get(id)
        if call is None:
            raise refusal(-32602, "the call that asked has ended meanwhile; make the request anew")
        if call.waited_for:
            raise refusal(-32602, "this requestState is in use by another request")
        call.waited_for = True
        call.tell = tell
        call.scope.deadline = float("inf")
        return call

    def forget(self, call: AskingCall) -> None:
        """A call that has ended."""
        self._calls.pop(call.id, None)
