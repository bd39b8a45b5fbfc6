"""MCP over streamable HTTP, both eras at one address: a plain ASGI application, to stand in front of the others.

A request of 2026-07-28 stands for itself, and its call ends when its connection does. In the handshake era there are
sessions; a caller whose stream breaks may come back for the rest for a while, after which its call ends too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from praxis.access.principal import Principal
from praxis.gateway.caller import JSON_TYPE, Caller, Lookout, Receive, Scope, Send
from praxis.gateway.modern import ModernEra
from praxis.gateway.resume import Resumption
from praxis.gateway.session import Session
from praxis.gateway.sessions import Sessions
from praxis.gateway.stream import EventStream
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService, SchemaOf
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import ErrorResponse, Message, MessageError, Notification, Request, Response
from praxis.wire.mcp_header_check import VERSION, Headers, Mirrored, mirrored
from praxis.wire.mcp_legacy import BATCHES, POLLING, hello_result, read_hello
from praxis.wire.mcp_modern import LISTEN, read_request, stated_version
from praxis.wire.mcp_server import era_of, error_of, http_status, refusal

logger = logging.getLogger(__name__)

SESSION_HEADER = b"mcp-session-id"
MAX_SCHEMAS = 1024
"""Tools whose headers are remembered: all of a large network; each entry is some hundred bytes."""

Choose = Callable[[str, Principal], Awaitable[McpService | None]]
"""The service at a path without its last slash, for this principal; None where there is none. Raises PraxisError."""


@attrs.frozen
class _Asked:
    """One HTTP request: who asks whom, and what its head says."""

    caller: Caller
    service: McpService
    principal: Principal
    place: str
    headers: Headers
    session_id: str
    accept: str
    last_event_id: str

    @property
    def reads_streams(self) -> bool:
        """Whether it takes events. Many callers name one type only, so that none of the two means both."""
        return "text/event-stream" in self.accept or "application/json" not in self.accept

    @property
    def reads_json(self) -> bool:
        return "text/event-stream" not in self.accept or "json" in self.accept or "*/*" in self.accept


class StreamableHttp:
    """The application. `run` must run while it is asked; `key` seals what callers bring back."""

    def __init__(
        self,
        choose: Choose,
        *,
        principal_of: Callable[[Scope], Principal],
        key: bytes,
        metrics: Metrics,
    ) -> None:
        self.sessions = Sessions(metrics)
        self.modern = ModernEra(key=key, metrics=metrics)
        self._choose = choose
        self._principal_of = principal_of
        self._resumption = Resumption()
        self._lookout = Lookout()
        self._nursery: trio.Nursery | None = None
        self._mirrored: dict[int, tuple[Mapping[str, JSON], tuple[Mirrored, ...]]] = {}
        self._requests = metrics.counter("praxis_mcp_http_requests_total", "MCP messages over HTTP, by era.", ("era",))
        self._refused = metrics.counter("praxis_mcp_http_refused_total", "MCP messages refused, by code.", ("code",))

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold what outlives its connection, until cancelled. With `stopping` every stream without an end ends."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._lookout.run)
            task_status.started()
            await stopping.wait()
            self.modern.stopping.set()
            self.sessions.end_general()
            await trio.sleep_forever()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = Caller(receive, send)
        try:
            asked = await self._read_head(caller, scope)
            if asked is None:
                await caller.respond(404, _error(None, refusal(jsonrpc.INVALID_REQUEST, "no MCP server is here")))
            elif scope["method"] == "POST":
                await self._post(asked)
            elif scope["method"] == "GET" and era_of(asked.headers.get(VERSION), {}) == "legacy":
                await self._get(asked)
            elif scope["method"] == "DELETE" and era_of(asked.headers.get(VERSION), {}) == "legacy":
                await self._delete(asked)
            else:
                await caller.respond(405, headers=[(b"allow", b"POST")])
        except PraxisError as error:
            await self._refuse(caller, 403 if error.code == "denied" else 400, None, error)

    async def _read_head(self, caller: Caller, scope: Scope) -> _Asked | None:
        principal = self._principal_of(scope)
        place = scope["path"].rstrip("/")
        service = await self._choose(place, principal)
        if service is None:
            return None
        found = {SESSION_HEADER: b"", b"accept": b"", b"last-event-id": b"", b"content-type": b""}
        for name, value in scope["headers"]:
            if name in found:
                found[name] = found[name] + b"," + value if found[name] else value
        if scope["method"] == "POST" and not found[b"content-type"].lower().startswith(b"application/json"):
            raise refusal(jsonrpc.INVALID_REQUEST, "a message is sent as application/json")
        session_id, accept, last, _ = (value.decode("latin-1") for value in found.values())
        return _Asked(caller, service, principal, place, Headers(scope["headers"]), session_id, accept, last)

    async def _post(self, asked: _Asked) -> None:
        body = await asked.caller.read()
        if asked.caller.gone:
            return
        try:
            messages = jsonrpc.parse(body)
        except MessageError as error:
            code = jsonrpc.PARSE_ERROR if str(error).startswith("not JSON") else jsonrpc.INVALID_REQUEST
            raise refusal(code, str(error)[:200]) from None
        first = messages[0]
        params = first.params if isinstance(first, Request) else {}
        if era_of(asked.headers.get(VERSION), params) == "modern":
            self._requests.inc(1, "modern")
            await self._post_modern(asked, messages)
        else:
            self._requests.inc(1, "legacy")
            await self._post_legacy(asked, messages)

    # -- 2026-07-28 ---------------------------------------------------------------------------------

    async def _post_modern(self, asked: _Asked, messages: Sequence[Message]) -> None:
        if len(messages) > 1:
            raise refusal(jsonrpc.INVALID_REQUEST, "one message a request: there are no batches in this version")
        message = messages[0]
        if not isinstance(message, Request):
            await asked.caller.respond(202)
            return
        try:
            self._check(asked, message)
            request = read_request(message)
        except PraxisError as error:
            await self._refuse(asked.caller, 0, message, error)
            return
        if request.method == LISTEN and not asked.reads_streams:
            await asked.caller.respond(406)
            return
        stream = EventStream(readable=asked.reads_streams)

        async def answer(nursery: trio.Nursery) -> None:
            try:
                with stream.scope:
                    result = await self.modern.answer(
                        asked.service, asked.principal, asked.place, request, stream.tell, nursery
                    )
                    stream.answer(jsonrpc.response(request.id, result))
            except PraxisError as error:
                status.append(http_status(error_of(error)))
                stream.answer(_error(message, error))
            except Exception:  # one call: it must not take others with it
                logger.exception("%s failed with a bug", request.method)
                stream.answer(_error(message, PraxisError("internal", "the server failed; its log says why")))
            finally:
                stream.end()

        status: list[int] = []
        nursery = self._started()
        nursery.start_soon(answer, nursery)
        try:
            if await asked.caller.first(stream, self._lookout) and asked.reads_json:
                await asked.caller.respond(status[0] if status else 200, _only(stream), [JSON_TYPE])
            elif not asked.caller.gone:
                await asked.caller.pour(stream)
        finally:
            if not stream.ended:
                stream.scope.cancel()

    def _check(self, asked: _Asked, request: Request) -> None:
        """That the headers say what the body says."""
        asked.headers.check_request(stated_version(request.params), request.method, request.params)
        if request.method != "tools/call":
            return
        schema_of: SchemaOf | None = getattr(asked.service, "tool_schema", None)
        schema = schema_of(str(request.params.get("name"))) if schema_of is not None else None
        if schema is not None:
            asked.headers.check_arguments(self._mirrored_of(schema), request.params.get("arguments"))

    def _mirrored_of(self, schema: Mapping[str, JSON]) -> tuple[Mirrored, ...]:
        known = self._mirrored.get(id(schema))
        if known is None or known[0] is not schema:
            if len(self._mirrored) >= MAX_SCHEMAS:
                self._mirrored.clear()
            known = self._mirrored[id(schema)] = (schema, mirrored(schema))
        return known[1]

    # -- sessions -----------------------------------------------------------------------------------

    async def _post_legacy(self, asked: _Asked, messages: Sequence[Message]) -> None:
        first = messages[0]
        if isinstance(first, Request) and first.method == "initialize":
            await self._initialize(asked, first)
            return
        session = await self._session(asked, first)
        if session is None:
            return
        if len(messages) > 1 and session.hello.version != BATCHES:
            raise refusal(jsonrpc.INVALID_REQUEST, f"there are no batches in {session.hello.version}")
        for message in messages:
            if isinstance(message, (Notification, Response, ErrorResponse)):
                session.take(message)
        requests = [message for message in messages if isinstance(message, Request)]
        if not requests:
            await asked.caller.respond(202)
            return
        stream = self._resumption.stream(session, len(requests), readable=asked.reads_streams)
        self._started().start_soon(self._resumption.work, session, requests, stream)
        caller, polling = asked.caller, session.hello.version == POLLING
        try:
            if await caller.first(stream, self._lookout) and asked.reads_json:
                await caller.respond(200, _only(stream), [JSON_TYPE])
            elif not caller.gone:
                self._resumption.keep(session, stream)
                await caller.pour(stream, polling=polling)
        finally:
            self._resumption.let_go(session, stream)

    async def _initialize(self, asked: _Asked, request: Request) -> None:
        hello = read_hello(request.params)
        description = asked.service.describe()
        try:
            session = self.sessions.open(asked.service, asked.principal, asked.place, hello)
        except PraxisError as error:
            await self._refuse(asked.caller, 503, request, error)
            return
        result = hello_result(hello, description.info, description.capabilities, description.instructions)
        logger.info("MCP session of %s: %r, %s", asked.principal.name, hello.client, hello.version)
        line = jsonrpc.response(request.id, result)
        headers = [(SESSION_HEADER, session.id.encode())]
        if asked.reads_json:
            await asked.caller.respond(200, line, [JSON_TYPE, *headers])
        else:
            stream = EventStream()
            stream.answer(line)
            await asked.caller.pour(stream, headers=headers)

    async def _session(self, asked: _Asked, message: Message | None) -> Session | None:
        """The session that is meant; None when the answer has been given that there is none."""
        if not asked.session_id:
            error = refusal(jsonrpc.INVALID_REQUEST, "Mcp-Session-Id is missing: initialize gives one")
            await self._refuse(asked.caller, 400, message, error)
            return None
        session = self.sessions.get(asked.session_id, asked.principal, asked.place)
        if session is None:
            error = refusal(jsonrpc.INVALID_REQUEST, "there is no such session (any more); initialize anew")
            await self._refuse(asked.caller, 404, message, error)
        return session

    async def _get(self, asked: _Asked) -> None:
        session = await self._session(asked, None)
        if session is None:
            return
        stream, after = self._resumption.find(session, asked.last_event_id)
        polling = session.hello.version == POLLING
        if stream is not session.general:
            stream.detached = False
            self._resumption.hold(stream)
            try:
                await asked.caller.pour(stream, after=after)
            finally:
                self._resumption.let_go(session, stream)
            return
        relay = trio.CancelScope()
        self._started().start_soon(_relay, session, relay)
        try:
            await asked.caller.pour(stream, after=after, polling=polling)
        finally:
            relay.cancel()
            session.used = trio.current_time()

    async def _delete(self, asked: _Asked) -> None:
        session = await self._session(asked, None)
        if session is not None:
            self.sessions.close(session, asked.principal, asked.place)
            await asked.caller.respond(204)

    # -- answers ------------------------------------------------------------------------------------

    def _started(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("StreamableHttp.run is not running")
        return self._nursery

    async def _refuse(self, caller: Caller, status: int, message: Message | None, error: PraxisError) -> None:
        """One error as the whole answer; `status` 0 is the one that belongs to its code."""
        told = error_of(error)
        self._refused.inc(1, str(told["code"]))
        await caller.respond(status or http_status(told), _error(message, error), [JSON_TYPE])


async def _relay(session: Session, scope: trio.CancelScope) -> None:
    with scope:
        try:
            await session.relay()
        except Exception:  # one stream: it must not take others with it
            logger.exception("a session can be told of no changes")


def _only(stream: EventStream) -> bytes:
    """The one message of a stream."""
    return b"".join(event.line for event in stream.after(0)).rstrip(b"\n")


def _error(message: Any, error: PraxisError) -> bytes:
    told = error_of(error)
    id = message.id if isinstance(message, Request) else None
    return jsonrpc.error_response(id, told["code"], told["message"], told.get("data"))
