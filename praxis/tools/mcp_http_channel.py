"""What is the same for every HTTP request to one MCP server: address, headers, session id."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from praxis.model.tool import JSON
from praxis.net.http_client import HttpClient, HttpResponse
from praxis.tools.mcp_http_errors import read_error
from praxis.wire.mcp import ClientSession
from praxis.wire.mcp_headers import ParamHeader, request_headers

logger = logging.getLogger(__name__)

SIDE_LIMIT = 30.0
"""Seconds for a POST that brings an answer of ours or a notification."""
MAX_SESSION_ID = 1024
"""Characters of a session id; SDKs make 32."""
STREAM, JSON_TYPE = "text/event-stream", "application/json"


class HttpChannel:
    """Requests to one server. `session_id` is "" while there is none, and always from 2026-07-28 on."""

    def __init__(self, server: str, url: str, client: HttpClient, session: ClientSession) -> None:
        self.session_id = ""
        self._server = server
        self._url = url
        self._client = client
        self._session = session

    def post(
        self, line: bytes, method: str, params: Mapping[str, JSON], named: Sequence[ParamHeader]
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """POST a request. `named` are the headers that the arguments of a tool go into."""
        headers = self._headers()
        if self._session.modern:
            headers += request_headers(self._session.version, method, params, tuple(named))
        return self._client.request("POST", self._url, headers=headers, body=line)

    async def post_aside(self, line: bytes) -> None:
        """POST a notification or an answer. Servers confirm it in every way there is; none of them matters."""
        headers = self._headers()
        if self._session.modern:
            headers.append(("MCP-Protocol-Version", self._session.version))
        with trio.move_on_after(SIDE_LIMIT):
            try:
                async with self._client.request("POST", self._url, headers=headers, body=line) as response:
                    if response.status >= 400:
                        error = await read_error(self._server, "a message", response)
                        logger.debug("MCP server %s: %s", self._server, error)
            except OSError as error:
                logger.debug("MCP server %s: a message could not be sent: %s", self._server, error)

    @asynccontextmanager
    async def stream(self, last_id: str) -> AsyncIterator[HttpResponse]:
        """Ask for the stream beside, or the rest of one after its event `last_id`."""
        headers = [header for header in self._headers() if header[0] != "Content-Type"]
        headers += [("Last-Event-ID", last_id)] if last_id else []
        async with self._client.request("GET", self._url, headers=headers) as response:
            yield response

    def adopt(self, session_id: str) -> None:
        """Keep the id that a server gives to a new session, if it can go into a header."""
        usable = session_id.isascii() and session_id.isprintable() and " " not in session_id
        self.session_id = session_id if usable and len(session_id) <= MAX_SESSION_ID else ""

    async def end_session(self) -> None:
        """Tell the server that the session is over, if there is one."""
        if not self.session_id:
            return
        try:
            async with self._client.request("DELETE", self._url, headers=self._headers()):
                pass
        except OSError as error:
            logger.debug("MCP server %s: the session could not be ended: %s", self._server, error)

    def _headers(self) -> list[tuple[str, str]]:
        headers = [("Accept", f"{JSON_TYPE}, {STREAM}"), ("Content-Type", JSON_TYPE)]
        if self._session.version and not self._session.modern:
            headers.append(("MCP-Protocol-Version", self._session.version))
        if self.session_id:
            headers.append(("Mcp-Session-Id", self.session_id))
        return headers
