"""The transport HTTP+SSE of MCP 2024-11-05, as a pair of streams: events come in as lines, lines go out as POSTs.

The first event says where messages go. That must be on the origin of the stream itself: a server cannot send our
messages, and the credentials with them, to somewhere else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import trio
from trio.abc import ReceiveStream, SendStream

from praxis.model.errors import PraxisError
from praxis.net.http_client import HttpClient, HttpResponse
from praxis.tools.mcp_http_errors import read_error
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import MessageError, Request
from praxis.wire.sse import EventReader

logger = logging.getLogger(__name__)

ENDPOINT_LIMIT = 30.0
"""Seconds until the server has said where messages go; it does so at once."""
POST_LIMIT = 60.0
"""Seconds that a server may take to accept a message. Some answer the POST only after the call itself."""
GONE = frozenset({404, 410})
"""What a server answers that no longer knows the session: the stream is of no use then."""


@asynccontextmanager
async def open_sse(
    client: HttpClient, server: str, url: str, *, message_url: str, limit: int
) -> AsyncIterator[tuple[SendStream, ReceiveStream]]:
    """Open the stream and learn where messages go, unless `message_url` says so. `server` is its name in errors.

    Raises OSError, also for a server that answers with something else than such a stream.
    """
    # One byte more than the limit is let through, so that the reader of lines sees that it is too long.
    reader = EventReader(limit + 1)
    async with client.request("GET", url, headers=[("Accept", "text/event-stream")]) as response:
        if response.status >= 300 or response.content_type != "text/event-stream":
            raise OSError(str(await read_error(server, "GET", response)))
        events = _Events(response, reader, limit)
        with trio.move_on_after(ENDPOINT_LIMIT) as scope:
            endpoint = await events.receive_endpoint()
        if scope.cancelled_caught:
            raise OSError(f"no endpoint event within {ENDPOINT_LIMIT:g} s")
        target = message_url or _resolve(url, endpoint)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(events.pump)
            yield _Posts(client, target, nursery, events, limit), events
            nursery.cancel_scope.cancel()


def _resolve(url: str, endpoint: str) -> str:
    """Where messages go. Raises OSError for another origin."""
    target = urljoin(url, endpoint)
    ours, theirs = urlsplit(url), urlsplit(target)
    if (ours.scheme, ours.netloc.lower()) != (theirs.scheme, theirs.netloc.lower()):
        raise OSError("its endpoint event leads to another origin (mcp.servers[].message_url corrects a wrong one)")
    return target


class _Events(ReceiveStream):
    """The events as lines. What the server says waits here until it is read, up to about the size of a message."""

    def __init__(self, response: HttpResponse, reader: EventReader, limit: int) -> None:
        self._response = response
        self._reader = reader
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._endpoint: str | None = None

    async def receive_endpoint(self) -> str:
        """Read up to the event that says where messages go. Raises OSError when there is none."""
        while self._endpoint is None:
            if not (data := await self._response.receive()):
                raise OSError("the stream ended before the endpoint event")
            self._take(data)
        return self._endpoint

    def _take(self, data: bytes) -> None:
        for event in self._reader.receive(data):
            if event.name == "endpoint" and self._endpoint is None:
                self._endpoint = event.data.decode(errors="replace").strip()
            elif event.name == "message":
                # Between the lines of data stood line ends, which in JSON are blanks.
                self.put(event.data.replace(b"\n", b" "))

    def put(self, line: bytes) -> None:
        self._lines.append(line + b"\n")
        self._size += len(line)
        self._news.unpark()

    def end(self) -> None:
        self._ended = True
        self._news.unpark_all()

    async def pump(self) -> None:
        """Read the stream to its end."""
        try:
            while data := await self._response.receive():
                self._take(data)
                while self._size > self._limit:
                    await self._room.park()
        except OSError as error:
            logger.info("the stream broke: %s", error)
        self.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while not self._lines and not self._ended:
            await self._news.park()
        data = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        self._room.unpark_all()
        return data

    async def aclose(self) -> None:
        self.end()
        await trio.lowlevel.checkpoint()


class _Posts(SendStream):
    """Lines as POSTs, each by itself: a server that takes long with one does not hold up the others."""

    def __init__(self, client: HttpClient, url: str, nursery: trio.Nursery, events: _Events, limit: int) -> None:
        self._client = client
        self._url = url
        self._nursery = nursery
        self._events = events
        self._limit = limit

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        for line in bytes(data).split(b"\n"):
            if line:
                self._nursery.start_soon(self._post, line)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _post(self, line: bytes) -> None:
        """A message that is not taken ends the wait for its answer; a session that is gone ends the stream."""
        headers = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
        problem = f"the message was not accepted within {POST_LIMIT:g} s"
        with trio.move_on_after(POST_LIMIT):
            try:
                async with self._client.request("POST", self._url, headers=headers, body=line) as response:
                    if response.status < 300:
                        if response.content_type == "application/json":
                            self._take_answer(await response.read(self._limit))
                        return
                    if response.status in GONE:
                        self._events.end()
                    problem = str(await read_error(self._url, "a message", response))
            except OSError as error:
                problem = str(error)
                self._events.end()
            except PraxisError as error:
                problem = str(error)
        for id in _ids(line):
            self._events.put(jsonrpc.error_response(id, jsonrpc.INTERNAL_ERROR, problem).rstrip())

    def _take_answer(self, body: bytes) -> None:
        """Some servers put the answer into the response as well, or only there."""
        try:
            messages = jsonrpc.parse(body)
        except MessageError:
            return
        if not any(isinstance(message, Request) for message in messages):
            self._events.put(body.replace(b"\r", b" ").replace(b"\n", b" "))


def _ids(line: bytes) -> list[jsonrpc.Id]:
    return [message.id for message in jsonrpc.parse(line) if isinstance(message, Request)]
