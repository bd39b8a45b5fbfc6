"""The client's side of MCP over a stream of lines, in the handshake era (2024-11-05 to 2025-11-25), without a socket.

`ClientSession` numbers requests, takes bytes in and tells what they mean. It never raises for what a server sends:
servers print banners, answer twice, answer what was cancelled and notify what nobody asked for; all of that is
counted, as a `Fault`, and skipped.

A session begins with ``request("initialize", initialize_params())`` and ``initialized(result)``.

Only a request that is pending can be answered. Numbers are never used twice, so an answer to an old one is late or a
duplicate (`late`), and any other unknown id is the server's invention (`unknown`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import (
    ErrorResponse,
    LineReader,
    LongLine,
    Message,
    MessageError,
    Notification,
    Request,
    Response,
)

LATEST = "2025-11-25"
PROTOCOL_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", LATEST})
SHOWN = 200
"""Characters of a server's own text that go into an error or a log line."""


@attrs.frozen
class Answered:
    id: int
    result: JSON


@attrs.frozen
class Refused:
    """The server answered with an error."""

    id: int
    code: int
    message: str
    data: JSON = None


@attrs.frozen
class TooLong:
    """The answer to this request was over the limit and was thrown away."""

    id: int
    size: int


@attrs.frozen
class Garbled:
    """The answer to this request was no JSON, such as one with NaN in it, and was thrown away."""

    id: int
    problem: str


@attrs.frozen
class Progressed:
    """`params` as the server sent them; `id` is the request's, which is its progress token too."""

    id: int
    params: Mapping[str, JSON]


@attrs.frozen
class ToolsChanged:
    pass


@attrs.frozen
class Logged:
    """A notifications/message: `level` is one of syslog's eight words, or whatever the server says, as is `text`."""

    level: str
    text: str


@attrs.frozen
class Reply:
    """A line that must be sent, because the server asked something."""

    line: bytes


@attrs.frozen
class Noise:
    """A line that was no message and was skipped: its start as it is, and what is wrong with it."""

    text: str
    problem: str


@attrs.frozen
class Broken:
    """A line was thrown away that answers one of several requests, and nobody knows which: the session is over."""

    size: int


Happening = Answered | Refused | TooLong | Garbled | Progressed | ToolsChanged | Logged | Reply | Noise | Broken


Fault = Literal[
    "noise",  # a line that was no message: a banner, a blank line, garbage
    "late",  # an answer to a request that had been answered or given up
    "unknown",  # an answer or progress for a request that never was
    "too_long",  # a line over the limit
    "refused",  # the server's own request, answered with -32601
    "cancelled",  # no fault of the server alone: a request that was given up while it worked on it
]
"""What goes wrong without ending a session: short stable words for metrics."""


@attrs.frozen
class ServerHello:
    """What a server says of itself in answer to ``initialize``."""

    protocol: str
    name: str
    version: str


class ClientSession:
    """One session with one server. `max_line` bounds what a single line may take; `count` hears of each fault."""

    def __init__(self, *, name: str, version: str, max_line: int, count: Callable[[Fault], None]) -> None:
        self._count = count
        self._client = {"name": name, "version": version}
        self._reader = LineReader(max_line)
        self._pending: dict[int, bool] = {}  # id -> whether progress was asked for
        self._last_id = 0

    def request(self, method: str, params: Mapping[str, JSON], *, progress: bool = False) -> tuple[int, bytes]:
        """A new request's id and line. Raises ValueError or TypeError for params that are no JSON."""
        id = self._last_id + 1
        if progress:
            params = {**params, "_meta": {"progressToken": id}}
        line = jsonrpc.request(id, method, params)
        self._last_id = id
        self._pending[id] = progress
        return id, line

    def forget(self, id: int) -> None:
        """Give a request up; an answer that comes all the same is late."""
        self._pending.pop(id, None)

    def cancel(self, id: int, reason: str) -> bytes:
        """Give a request up that the server may be working on: the notification that tells it."""
        self.forget(id)
        self._count("cancelled")
        return jsonrpc.notification("notifications/cancelled", {"requestId": id, "reason": reason})

    def initialize_params(self) -> dict[str, JSON]:
        """The params of ``initialize``, which must be the first request and may not be cancelled."""
        return {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": self._client}

    def initialized(self, result: JSON) -> tuple[ServerHello, bytes]:
        """Check the answer to ``initialize``: who answered, and the line that ends the handshake.

        Raises PraxisError("unavailable") when there is no version that both sides speak.
        """
        result = result if isinstance(result, dict) else {}
        protocol = result.get("protocolVersion")
        if not isinstance(protocol, str) or protocol not in PROTOCOL_VERSIONS:
            raise PraxisError(
                "unavailable",
                f"it answers initialize with protocol version {show(protocol)}",
                hint=f"it must speak one of {', '.join(sorted(PROTOCOL_VERSIONS))}",
            )
        given = result.get("serverInfo")
        given = given if isinstance(given, dict) else {}
        hello = ServerHello(protocol, str(given.get("name") or ""), str(given.get("version") or ""))
        return hello, jsonrpc.notification("notifications/initialized")

    def receive(self, data: bytes) -> list[Happening]:
        """What these bytes mean, in order."""
        happenings: list[Happening] = []
        for line in self._reader.receive(data):
            if isinstance(line, LongLine):
                happenings += self._long(line)
                continue
            try:
                messages = jsonrpc.parse(line)
            except MessageError as error:
                happenings += self._skip(line, str(error)[:SHOWN])
                continue
            for message in messages:
                happenings += self._take(message)
        return happenings

    def _skip(self, line: bytes, problem: str) -> list[Happening]:
        """A line that is no message. Where it still shows which request it was to answer, nobody need wait longer."""
        self._count("noise")
        ends = LongLine(len(line), line[: jsonrpc.EDGE], line[-jsonrpc.EDGE :])
        if isinstance(ends.id, int) and ends.id in self._pending and not ends.asks:
            del self._pending[ends.id]
            return [Garbled(ends.id, problem)]
        return [Noise(line[: 4 * SHOWN].decode(errors="replace"), problem)] if line.strip() else []

    def _take(self, message: Message) -> list[Happening]:
        match message:
            case Response(id, result):
                return [Answered(known, result)] if (known := self._settle(id)) else []
            case ErrorResponse(id, code, text, data):
                return [Refused(known, code, text, data)] if (known := self._settle(id)) else []
            case Request(id, "ping", _):
                return [Reply(jsonrpc.response(id, {}))]
            case Request(id, method, _):
                self._count("refused")
                return [Reply(jsonrpc.error_response(id, jsonrpc.METHOD_NOT_FOUND, f"not supported: {method[:SHOWN]}"))]
            case Notification("notifications/progress", params):
                token = params.get("progressToken")
                if type(token) is int and self._pending.get(token):
                    return [Progressed(token, params)]
                if type(token) is not int or not 0 < token <= self._last_id:
                    self._count("unknown")
                return []
            case Notification("notifications/tools/list_changed", _):
                return [ToolsChanged()]
            case Notification("notifications/message", params):
                return [Logged(str(params.get("level")), _text(params.get("data")))]
        return []  # other notifications are about things that were not asked for

    def _settle(self, id: jsonrpc.Id | None) -> int:
        """The request that this answers, which is pending no more; 0 for none."""
        if isinstance(id, int) and id in self._pending:
            del self._pending[id]
            return id
        if isinstance(id, int) and 0 < id <= self._last_id:
            self._count("late")
        else:
            self._count("unknown")
        return 0

    def _long(self, line: LongLine) -> list[Happening]:
        """Whose answer was it? Its ends say so for all common servers; otherwise it is clear with one pending."""
        self._count("too_long")
        if line.asks or not self._pending:
            return []
        if (id := line.id) is not None:
            return [TooLong(known, line.size)] if (known := self._settle(id)) else []
        if len(self._pending) == 1:
            return [TooLong(self._settle(next(iter(self._pending))), line.size)]
        return [Broken(line.size)]


def tools_page(result: JSON) -> tuple[list[Mapping[str, JSON]], str | None]:
    """The definitions of one answer to ``tools/list`` and the cursor of the next page, None at the end.

    Raises PraxisError("unavailable") when it is no such answer.
    """
    tools = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(tools, list):
        raise PraxisError("unavailable", "it answers tools/list without a list of tools")
    cursor = result.get("nextCursor")
    # "" is a cursor like any other; only a missing one and null end the list.
    return [tool for tool in tools if isinstance(tool, dict)], cursor if isinstance(cursor, str) else None


def show(value: JSON, limit: int = SHOWN) -> str:
    """A server's own words on one line, cut to about `limit` characters, with control characters escaped."""
    text = _text(value)
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:limit])
    return shown + "…" * (len(text) > limit)


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else "none" if value is None else repr(value)
