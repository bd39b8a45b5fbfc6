"""One client of MCP's handshake era, by whatever way its messages come and go: what it has under way here, and what
it has been asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import attrs
import trio

from praxis.access.principal import Principal
from praxis.gateway.stream import EventStream
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Listener
from praxis.tools.service import McpService
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import ErrorResponse, Id, Message, Notification, Request, Response
from praxis.wire.mcp_eras import RESUMABLE
from praxis.wire.mcp_legacy import POLLING, Hello, is_loud_enough, read_level, read_uri
from praxis.wire.mcp_modern import KINDS, MAX_SUBSCRIPTIONS, UPDATED, foreign_meta, own_params, progress_token
from praxis.wire.mcp_server import (
    ASKABLE,
    CAPABILITY,
    EMPTY_LISTS,
    SERVED,
    asks_for_input,
    check_questions,
    error_of,
    missing_capability,
    reduce,
    refusal,
)

logger = logging.getLogger(__name__)

MAX_CALLS = 256
"""Requests of one client under way at once: more than any client keeps in flight, and it must not be without end."""
MAX_ROUNDS = 10
"""Times that one request may ask for input before it is given up, as the SDKs have it."""


@attrs.define(eq=False)
class _Question:
    answered: trio.Event = attrs.field(factory=trio.Event)
    result: JSON = None
    error: Mapping[str, JSON] | None = None


class Session:
    """One client.

    Attributes:
        hello: what was agreed on.
        general: the stream for what belongs to no request.
        level: the least level of log messages that it wants; None: it has not said.
        uris: the resources that it watches.
        used: when it was last heard of.
    """

    def __init__(
        self,
        service: McpService,
        principal: Principal,
        hello: Hello,
        id: str,
        general: EventStream | None = None,
    ) -> None:
        self.id = id
        self.service = service
        self.principal = principal
        self.hello = hello
        self.general = general if general is not None else EventStream("0")
        self.level: str | None = None
        self.uris: dict[str, None] = {}
        self.used = 0.0
        self.streams: dict[str, EventStream] = {}
        self._uris_changed = trio.Event()
        self._calls: dict[Id, trio.CancelScope] = {}
        self._questions: dict[Id, _Question] = {}
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether somebody waits for something, or reads."""
        return bool(self._calls) or self.general.reader is not None

    def close(self) -> None:
        """Cancel what is under way and end every stream."""
        for scope in list(self._calls.values()):
            scope.cancel()
        for stream in [self.general, *self.streams.values()]:
            stream.end()
            stream.scope.cancel()

    # -- what the client says -----------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """A notification, or an answer to something that we asked. What nobody waits for is left aside."""
        match message:
            case Notification("notifications/cancelled", params):
                id = params.get("requestId")
                scope = self._calls.get(id) if isinstance(id, (int, str)) else None
                if scope is not None:
                    scope.cancel()
            case Response(id, result):
                self._settle(id, result, None)
            case ErrorResponse(id, code, text, data) if id is not None:
                error = {"code": code, "message": text} | ({} if data is None else {"data": data})
                self._settle(id, None, error)

    def _settle(self, id: Id, result: JSON, error: Mapping[str, JSON] | None) -> None:
        question = self._questions.get(id)
        if question is not None and not question.answered.is_set():
            question.result, question.error = result, error
            question.answered.set()

    async def answer(self, request: Request, stream: EventStream, scope: trio.CancelScope | None = None) -> None:
        """Work on a request, in `scope` if one is given, and put the answer on its stream; nothing but its end when it
        has been cancelled."""
        id = request.id
        if id in self._calls or len(self._calls) >= MAX_CALLS:
            why = f"{id!r} is under way already" if id in self._calls else f"{MAX_CALLS} requests are under way"
            stream.answer(jsonrpc.error_response(id, jsonrpc.INVALID_REQUEST, why[:200]))
            return
        scope = self._calls[id] = scope or trio.CancelScope()
        line = None
        try:
            with scope:
                line = jsonrpc.response(id, reduce(await self._result(request, stream)))
        except PraxisError as error:
            told = error_of(error)
            line = jsonrpc.error_response(id, told["code"], told["message"], told.get("data"))
        except Exception:  # one call: it must not take others with it
            logger.exception("%s failed with a bug", request.method[:80])
            line = jsonrpc.error_response(id, jsonrpc.INTERNAL_ERROR, "the server failed; its log says why")
        finally:
            del self._calls[id]
        stream.answer(line)

    async def _result(self, request: Request, stream: EventStream) -> Mapping[str, JSON]:
        method, params = request.method, request.params
        if method in SERVED:
            if method in EMPTY_LISTS and CAPABILITY[method] not in self.service.describe().capabilities:
                return {EMPTY_LISTS[method]: []}
            return await self._serve(method, params, stream)
        match method:
            case "ping":
                return {}
            case "logging/setLevel":
                self.level = read_level(params)
                return {}
            case "resources/subscribe" | "resources/unsubscribe":
                self._watch(read_uri(params), method == "resources/subscribe")
                return {}
            case "initialize":
                raise refusal(jsonrpc.INVALID_REQUEST, "this session is initialized already")
        raise refusal(jsonrpc.METHOD_NOT_FOUND, f"there is no method {method[:80]!r}")

    async def _serve(self, method: str, params: Mapping[str, JSON], stream: EventStream) -> Mapping[str, JSON]:
        """The service's answer; what it asks for in results is asked here, and the request made again."""
        meta = params.get("_meta")
        context = self._context(stream, progress_token(meta), foreign_meta(meta), method in RESUMABLE)
        own = own_params(params)
        for _ in range(MAX_ROUNDS):
            result = await self.service.request(method, own, context)
            if not asks_for_input(result):
                return result
            questions: Mapping[str, JSON] = result.get("inputRequests") or {}
            check_questions(questions, self.hello.capabilities)
            responses = {
                key: await self._ask(stream, question["method"], question.get("params") or {})
                for key, question in questions.items()
            }
            given: dict[str, JSON] = {"inputResponses": responses}
            if "requestState" in result:
                given["requestState"] = result["requestState"]
            context = attrs.evolve(context, input=given)
        raise PraxisError("unavailable", f"the server asked for input {MAX_ROUNDS} times and gave no answer")

    def _context(self, stream: EventStream, token: JSON, meta: Mapping[str, JSON], may_ask: bool) -> CallContext:
        on_progress: Listener | None = None
        if token is not None:

            def on_progress(params: Mapping[str, JSON]) -> None:
                stream.tell("notifications/progress", {**params, "progressToken": token})

        def on_log(params: Mapping[str, JSON]) -> None:
            if is_loud_enough(params.get("level"), self.level):
                stream.tell("notifications/message", params)

        async def ask(method: str, params: Mapping[str, JSON]) -> Mapping[str, JSON]:
            return await self._ask(stream, method, params)

        return CallContext(
            self.principal.name,
            on_progress=on_progress,
            on_log=on_log,
            log_level=self.level,
            ask=ask if may_ask and self.hello.capabilities else None,
            capabilities=self.hello.capabilities,
            takes_input_requests=may_ask,
            meta=meta,
            session=self.id,
            detach=stream.detach if stream.name and self.hello.version == POLLING else None,
        )

    # -- what the client is asked -------------------------------------------------------------------

    async def _ask(self, stream: EventStream, method: str, params: Mapping[str, JSON]) -> Mapping[str, JSON]:
        capability = ASKABLE.get(method)
        if capability is None:
            raise PraxisError("invalid", f"a client cannot be asked for {method[:80]!r}")
        if capability not in self.hello.capabilities:
            raise missing_capability(capability)
        way = stream if stream.readable else self.general
        if way is self.general and way.reader is None:
            raise PraxisError("unavailable", "the client reads no stream on which it could be asked")
        self._asked += 1
        id = f"ask-{self._asked}"
        question = self._questions[id] = _Question()
        way.put(jsonrpc.request(id, method, params), keep=True)
        try:
            await question.answered.wait()
        finally:
            del self._questions[id]
            if not question.answered.is_set():
                way.tell("notifications/cancelled", {"requestId": id, "reason": "the call has ended"})
        if question.error is not None:
            raise PraxisError("unavailable", str(question.error["message"]), data={"jsonrpc": dict(question.error)})
        return question.result if isinstance(question.result, Mapping) else {}

    # -- what it hears of ---------------------------------------------------------------------------

    def _watch(self, uri: str, on: bool) -> None:
        if on and uri not in self.uris:
            if len(self.uris) >= MAX_SUBSCRIPTIONS:
                raise refusal(jsonrpc.INVALID_PARAMS, f"{MAX_SUBSCRIPTIONS} resources are watched already")
            self.uris[uri] = None
        elif not on:
            self.uris.pop(uri, None)
        self._uris_changed.set()
        self._uris_changed = trio.Event()

    async def relay(self) -> None:
        """Put what the service tells of changes on the general stream, until cancelled. In this era a client need not
        ask for changes of lists."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._relay_updates)
                async with self.service.subscribe(dict.fromkeys(KINDS.values(), True), self._note):
                    await trio.sleep_forever()
        except* PraxisError as group:
            logger.warning("an MCP session hears of no changes: %s", group.exceptions[0])

    async def _relay_updates(self) -> None:
        while True:
            changed = self._uris_changed
            if self.uris:
                async with self.service.subscribe({"resourceSubscriptions": list(self.uris)}, self._note):
                    await changed.wait()
            else:
                await changed.wait()

    def _note(self, method: str, params: Mapping[str, JSON]) -> None:
        if method in KINDS:
            self.general.tell(method, {})
        elif method == UPDATED and params.get("uri") in self.uris:
            self.general.tell(method, params)
