"""MCP over a connection of one's own, where all messages of both sides follow one another: stdio, and HTTP+SSE.

Either era may be spoken on it. Requests run side by side, and end with the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from praxis.access.principal import Principal
from praxis.gateway.modern import ModernEra
from praxis.gateway.session import MAX_CALLS, Session
from praxis.gateway.stream import SharedStream
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.service import McpService
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import Id, Message, Notification, Request
from praxis.wire.mcp_legacy import hello_result, read_hello
from praxis.wire.mcp_modern import ModernRequest, read_request
from praxis.wire.mcp_server import era_of, error_of, refusal

logger = logging.getLogger(__name__)


class Conversation:
    """One connection. What is said to the other side is put on `stream`; `id` names it for tools that ask."""

    def __init__(
        self, service: McpService, principal: Principal, *, modern: ModernEra, id: str, nursery: trio.Nursery
    ) -> None:
        self.stream = SharedStream()
        self.principal = principal
        self._service = service
        self._modern = modern
        self._id = id
        self._nursery = nursery
        self._session: Session | None = None
        self._calls: dict[Id, trio.CancelScope] = {}
        self._under_way = 0
        self._idle = trio.lowlevel.ParkingLot()

    def refuse(self, error: jsonrpc.MessageError) -> None:
        """Something came that is no message."""
        code = jsonrpc.PARSE_ERROR if str(error).startswith("not JSON") else jsonrpc.INVALID_REQUEST
        self.stream.put(jsonrpc.error_response(None, code, str(error)[:200]), keep=True)

    def take(self, message: Message) -> None:
        """What the other side says. Requests begin to be worked on."""
        if not isinstance(message, Request):
            if isinstance(message, Notification) and message.method == "notifications/cancelled":
                id = message.params.get("requestId")
                scope = self._calls.get(id) if isinstance(id, (int, str)) else None
                if scope is not None:
                    scope.cancel()
            if self._session is not None:
                self._session.take(message)
        elif era_of(None, message.params) == "modern":
            self._take_modern(message)
        elif self._session is not None:
            self._start(self._session.answer, message, self.stream)
        elif message.method == "initialize":
            self._initialize(message)
        elif message.method == "ping":
            self.stream.answer(jsonrpc.response(message.id, {}))
        else:
            code = jsonrpc.METHOD_NOT_FOUND if message.method == "server/discover" else jsonrpc.INVALID_REQUEST
            self._tell_error(message.id, refusal(code, "initialize comes first"))

    def _initialize(self, request: Request) -> None:
        hello = read_hello(request.params)
        description = self._service.describe()
        self._session = Session(self._service, self.principal, hello, self._id, self.stream)
        logger.info("MCP connection of %s: %r, %s", self.principal.name, hello.client, hello.version)
        result = hello_result(hello, description.info, description.capabilities, description.instructions)
        self.stream.answer(jsonrpc.response(request.id, result))
        self._nursery.start_soon(self._session.relay)

    def _take_modern(self, message: Request) -> None:
        try:
            request = read_request(message)
            if request.id in self._calls or len(self._calls) >= MAX_CALLS:
                raise refusal(jsonrpc.INVALID_REQUEST, f"the id is in use, or {MAX_CALLS} requests are under way")
        except PraxisError as error:
            self._tell_error(message.id, error)
            return
        self._calls[request.id] = trio.CancelScope()
        self._start(self._answer, request)

    def _start(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._under_way += 1
        self._nursery.start_soon(self._count, work, *args)

    async def _count(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await work(*args)
        finally:
            self._under_way -= 1
            self._idle.unpark_all()

    async def wait_idle(self) -> None:
        """Wait until no request is under way."""
        while self._under_way:
            await self._idle.park()

    async def _answer(self, request: ModernRequest) -> None:
        def tell(method: str, params: Mapping[str, JSON]) -> None:
            self.stream.tell(method, params)

        try:
            with self._calls[request.id]:
                result = await self._modern.answer(
                    self._service, self.principal, self._id, request, tell, self._nursery
                )
                self.stream.answer(jsonrpc.response(request.id, result))
        except PraxisError as error:
            self._tell_error(request.id, error)
        except Exception:  # one call: it must not take others with it
            logger.exception("%s failed with a bug", request.method)
            self._tell_error(request.id, PraxisError("internal", "the server failed; its log says why"))
        finally:
            del self._calls[request.id]

    def _tell_error(self, id: Id, error: PraxisError) -> None:
        told = error_of(error)
        self.stream.answer(jsonrpc.error_response(id, told["code"], told["message"], told.get("data")))
