"""The client's side of MCP in both eras, without a socket.

`ClientSession` numbers requests, takes messages in and tells what they mean. It never raises for what a server sends:
servers print banners, answer twice, answer what was cancelled and notify what nobody asked for; all of that is
counted, as a `Fault`, and skipped.

A session of the handshake era begins with ``request("initialize", initialize_params())`` and ``initialized(result)``.
From 2026-07-28 on there is none: after ``speak(version)`` every request says by itself what it needs to say. How to
find out which era a server is of: `praxis.wire.mcp_probe`.

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
from praxis.wire.jsonrpc import ErrorResponse, LongLine, Message, MessageError, Notification, Request, Response
from praxis.wire.mcp_eras import (
    ASKS,
    HANDSHAKE_VERSIONS,
    LATEST_HANDSHAKE,
    LISTED,
    META_CAPABILITIES,
    META_CLIENT,
    META_SERVER,
    META_VERSION,
)
from praxis.wire.mcp_framing import MessageReader

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
    """`params` as the server sent them, without the token, which is the request's id."""

    id: int
    params: Mapping[str, JSON]


@attrs.frozen
class Notified:
    """Any other notification, such as ``notifications/tools/list_changed``."""

    method: str
    params: Mapping[str, JSON]


@attrs.frozen
class Logged:
    """The params of a notifications/message, as the server sent them."""

    params: Mapping[str, JSON]

    @property
    def level(self) -> str:
        """One of syslog's eight words, or whatever the server says."""
        return str(self.params.get("level"))

    @property
    def text(self) -> str:
        return _text(self.params.get("data"))


@attrs.frozen
class Asked:
    """The server asks for something that a client may have (`ASKS`): an answer must be sent, of whatever kind."""

    id: jsonrpc.Id
    method: str
    params: Mapping[str, JSON]


@attrs.frozen
class Reply:
    """A line that must be sent, because the server asked something that needs no thought."""

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


Happening = Answered | Refused | TooLong | Garbled | Progressed | Notified | Logged | Asked | Reply | Noise | Broken


Fault = Literal[
    "noise",  # a line that was no message: a banner, a blank line, garbage
    "late",  # an answer to a request that had been answered or given up
    "unknown",  # an answer or progress for a request that never was
    "too_long",  # a line over the limit
    "refused",  # the server's own request, answered with an error
    "unstructured",  # a result without the structured content that the tool's definition promises
    "cancelled",  # no fault of the server alone: a request that was given up while it worked on it
]
"""What goes wrong without ending a session: short stable words for metrics."""


@attrs.frozen
class ServerHello:
    """What a server says of itself in answer to ``initialize`` or ``server/discover``."""

    protocol: str
    info: Mapping[str, JSON] = attrs.field(factory=dict)
    capabilities: Mapping[str, JSON] = attrs.field(factory=dict)
    instructions: str = ""

    @property
    def modern(self) -> bool:
        return self.protocol not in HANDSHAKE_VERSIONS

    @property
    def name(self) -> str:
        return f"{self.info.get('name') or ''} {self.info.get('version') or ''}".strip()

    @classmethod
    def of(cls, protocol: str, result: Mapping[str, JSON]) -> ServerHello:
        """The same members in both answers; what has a wrong type counts as absent."""
        meta = _object(result.get("_meta"))
        info = _object(result.get("serverInfo")) or _object(meta.get(META_SERVER))
        return cls(protocol, info, _object(result.get("capabilities")), str(result.get("instructions") or ""))


class ClientSession:
    """One session with one server. `max_line` bounds what a single line may take; `count` hears of each fault.

    `capabilities` are what the client declares: in the handshake, or with every request that says nothing else.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        max_line: int,
        count: Callable[[Fault], None],
        capabilities: Mapping[str, JSON] | None = None,
    ) -> None:
        self._count = count
        self._client = {"name": name, "version": version}
        self._capabilities = dict(capabilities or {})
        self._reader = MessageReader(max_line)
        self._pending: dict[int, bool] = {}  # id -> whether progress was asked for
        self._last_id = 0
        self._meta: dict[str, JSON] = {}
        self.version = ""
        """The revision that requests are made in; "" before the handshake."""

    @property
    def modern(self) -> bool:
        """Whether requests stand for themselves."""
        return bool(self._meta)

    def speak(self, version: str) -> None:
        """Make requests of this revision from now on."""
        self.version = version
        modern = bool(version) and version not in HANDSHAKE_VERSIONS
        self._meta = (
            {META_VERSION: version, META_CLIENT: self._client, META_CAPABILITIES: self._capabilities} if modern else {}
        )

    def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        progress: bool = False,
        meta: Mapping[str, JSON] | None = None,
    ) -> tuple[int, bytes]:
        """A new request's id and line; `meta` are further members of its ``_meta``.

        Raises ValueError or TypeError for params that are no JSON.
        """
        id = self._last_id + 1
        if progress or meta or self._meta:
            members = {**self._meta, **meta} if meta else dict(self._meta)
            if progress:
                members["progressToken"] = id
            params = {**params, "_meta": members}
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

    def refuse(self, asked: Asked, code: int, reason: str) -> bytes:
        """The line that tells a server that it gets no answer."""
        self._count("refused")
        return jsonrpc.error_response(asked.id, code, reason)

    def initialize_params(self) -> dict[str, JSON]:
        """The params of ``initialize``, which must be the first request and may not be cancelled."""
        return {
            "protocolVersion": LATEST_HANDSHAKE,
            "capabilities": self._capabilities,
            "clientInfo": self._client,
        }

    def initialized(self, result: JSON) -> tuple[ServerHello, bytes]:
        """Check the answer to ``initialize``: who answered, and the line that ends the handshake.

        Raises PraxisError("unavailable") when there is no version that both sides speak.
        """
        result = result if isinstance(result, dict) else {}
        protocol = result.get("protocolVersion")
        if not isinstance(protocol, str) or protocol not in HANDSHAKE_VERSIONS:
            raise PraxisError(
                "unavailable",
                f"it answers initialize with protocol version {show(protocol)}",
                hint=f"it must speak one of {', '.join(HANDSHAKE_VERSIONS)}",
            )
        self.speak(protocol)
        return ServerHello.of(protocol, result), jsonrpc.notification("notifications/initialized")

    def receive(self, data: bytes) -> list[Happening]:
        """What these bytes mean, in order."""
        happenings: list[Happening] = []
        for line in self._reader.receive(data):
            if isinstance(line, LongLine):
                happenings += self._long(line)
                continue
            happenings += self.take(line)
        return happenings

    def take(self, text: bytes) -> list[Happening]:
        """What one message, or a batch of them, means."""
        try:
            messages = jsonrpc.parse(text)
        except MessageError as error:
            return self._skip(text, str(error)[:SHOWN])
        if len(messages) == 1:
            return self._take(messages[0])
        return [happening for message in messages for happening in self._take(message)]

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
            case Request(id, method, params) if method in ASKS and not self.modern:
                return [Asked(id, method, params)]
            case Request(id, method, _):
                self._count("refused")
                return [Reply(jsonrpc.error_response(id, jsonrpc.METHOD_NOT_FOUND, f"not supported: {method[:SHOWN]}"))]
            case Notification("notifications/progress", params):
                token = params.get("progressToken")
                if type(token) is int and self._pending.get(token):
                    told = {name: value for name, value in params.items() if name != "progressToken"}
                    return [Progressed(token, told)]
                if type(token) is not int or not 0 < token <= self._last_id:
                    self._count("unknown")
                return []
            case Notification("notifications/message", params):
                return [Logged(params)]
            case Notification(method, params):
                return [Notified(method, params)]

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


def page(method: str, result: JSON) -> tuple[list[Mapping[str, JSON]], str | None]:
    """The items of one answer to a list request (`LISTED`) and the cursor of the next page, None at the end.

    Raises PraxisError("unavailable") when it is no such answer.
    """
    items = result.get(LISTED[method]) if isinstance(result, dict) else None
    if not isinstance(items, list):
        raise PraxisError("unavailable", f"it answers {method} without a list of {LISTED[method]}")
    cursor = result.get("nextCursor")
    # "" is a cursor like any other; only a missing one and null end the list.
    return [item for item in items if isinstance(item, dict)], cursor if isinstance(cursor, str) else None


def show(value: JSON, limit: int = SHOWN) -> str:
    """A server's own words on one line, cut to about `limit` characters, with control characters escaped."""
    text = _text(value)
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:limit])
    return shown + "…" * (len(text) > limit)


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else "none" if value is None else repr(value)


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, dict) else {}
