"""Requests to a connected MCP server in its own era: what a caller's context becomes, and who answers questions."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.tools.mcp_asking import Asking
from praxis.tools.mcp_connection import Connection
from praxis.wire import jsonrpc, mcp
from praxis.wire.mcp import ServerHello, show
from praxis.wire.mcp_eras import LISTED, LOG_LEVELS, META_CAPABILITIES, META_LOG_LEVEL, RESUMABLE

logger = logging.getLogger(__name__)

MAX_ROUNDS = 10
"""Times that one request is made again with input (the MCP SDKs' figure)."""
MAX_PAGES = 100
"""Pages of a list; a server that goes on is taken to be running in circles."""
MAX_ITEMS = 2000
"""Items of one list. Thirty popular servers have 386 tools between them."""


class Upstream:
    """One server, once the session with it has begun.

    Attributes:
        hello: what the server says of itself.
    """

    def __init__(
        self, name: str, connection: Connection, hello: ServerHello, asking: Asking, *, timeout: float
    ) -> None:
        self.hello = hello
        self.connection = connection
        self._name = name
        self._asking = asking
        self._timeout = timeout
        self._log_level: str | None = None

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext, *, what: str) -> JSON:
        """The result, unchanged. Raises PraxisError as `Connection.request` does."""
        connection = self.connection
        if not self.hello.modern:
            if context.log_level is not None:
                await self._want_log(context.log_level)
            meta = context.meta or None
            return await connection.request(
                method, params, what=what, timeout=self._timeout, context=context, meta=meta
            )
        meta = self._meta(context)
        again = context.input or {}
        for _ in range(MAX_ROUNDS + 1):
            result = await connection.request(
                method,
                {**params, **again} if again else params,
                what=what,
                timeout=self._timeout,
                context=context,
                meta=meta,
            )
            # A result that does not say what it is, is a result.
            kind = result.get("resultType", "complete") if isinstance(result, dict) else "complete"
            if kind == "complete":
                return result
            if kind != "input_required" or method not in RESUMABLE:
                detail = f"{what}: the server answers with a result of type {show(kind, 60)}"
                raise PraxisError("internal", detail, delivered=True)
            if context.takes_input_requests and self._asking.pass_on(result, context):
                return result
            again = await self._asking.answer_all(result, context)
        raise PraxisError("internal", f"{what}: the server asked more than {MAX_ROUNDS} times", delivered=True)

    def _meta(self, context: CallContext) -> Mapping[str, JSON]:
        meta = {**context.meta, META_CAPABILITIES: self._asking.declared_for(context)}
        if context.log_level is not None:
            meta[META_LOG_LEVEL] = context.log_level
        return meta

    async def _want_log(self, level: str) -> None:
        """Have the server send what this caller wants. The level is the session's; it only ever becomes more."""
        if "logging" not in self.hello.capabilities or level not in LOG_LEVELS:
            return
        known = self._log_level
        if known is not None and LOG_LEVELS.index(known) <= LOG_LEVELS.index(level):
            return
        self._log_level = level
        try:
            await self.connection.request(
                "logging/setLevel", {"level": level}, what="logging/setLevel", timeout=self._timeout
            )
        except PraxisError as error:
            logger.debug("MCP server %s: %s", self._name, error)

    def renewed(self) -> None:
        """The session is a new one, in which nothing has been set yet."""
        self._log_level = None

    async def list_all(self, method: str, *, timeout: float) -> list[Mapping[str, JSON]]:
        """All items of a list (`LISTED`), page after page, as the server gave them. Raises PraxisError.

        A server that does not know the request has none, whatever it advertised.
        """
        items: list[Mapping[str, JSON]] = []
        cursors: set[str] = set()
        params: dict[str, JSON] = {}
        while True:
            try:
                result = await self.connection.request(method, params, what=method, timeout=timeout)
            except PraxisError as error:
                if not is_unknown(error):
                    raise
                return items
            page, cursor = mcp.page(method, result)
            items += page
            if cursor is None:
                return items
            if cursor in cursors or len(cursors) + 1 == MAX_PAGES or len(items) > MAX_ITEMS:
                logger.warning(
                    "MCP server %s: its list of %s does not end; the first %d are used",
                    self._name,
                    LISTED[method],
                    min(len(items), MAX_ITEMS),
                )
                return items[:MAX_ITEMS]
            cursors.add(cursor)
            params = {"cursor": cursor}


def is_unknown(error: PraxisError) -> bool:
    """Whether the server does not know the request at all."""
    given = error.data.get("jsonrpc")
    return isinstance(given, dict) and given.get("code") == jsonrpc.METHOD_NOT_FOUND
