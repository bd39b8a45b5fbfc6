"""The opening handshake, as far as it is HTTP: read and judged here, before trio-websocket sees the connection.

trio-websocket takes the Host header away, gives no answer to a request that is no handshake and none of our problem
documents to one that is refused. So the request's head is read with h11 and checked (RFC 6455 section 4.2.1), and
what the library then gets is a head of our own with nothing in it but what it needs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from http import HTTPStatus

import attrs
import h11
import trio

from praxis.model.errors import PraxisError
from praxis.model.problem import CONTENT_TYPE, problem_body

PATH = "/ws/workflow"

MAX_HEAD = 16 * 1024
"""Bytes of a request's head: h11's own bound, twice what browsers send with many cookies."""

_STATUS: Mapping[str, int] = {
    "invalid": 400,
    "unauthenticated": 401,
    "denied": 403,
    "not_found": 404,
    "too_large": 413,
    "busy": 503,
    "unavailable": 503,
}


class Refused(Exception):
    """The handshake is refused with this status; `extra` are headers that go with it."""

    def __init__(self, status: int, error: PraxisError, extra: Mapping[str, str] | None = None) -> None:
        super().__init__(status, str(error))
        self.status = status
        self.error = error
        self.extra = extra or {}

    @classmethod
    def of(cls, error: PraxisError) -> Refused:
        """With the status that the error asks for (``data["status"]``) or that goes with its code."""
        asked = error.data.get("status")
        status = asked if isinstance(asked, int) else _STATUS.get(error.code, 500)
        return cls(status, error, {"WWW-Authenticate": "Bearer"} if status == 401 else None)

    def response(self) -> bytes:
        """The whole HTTP response, with a problem document (RFC 9457); the connection ends with it."""
        phrase = HTTPStatus(self.status).phrase
        body = problem_body(self.error, self.status)
        headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in {**headers, **self.extra}.items()]
        return "\r\n".join([f"HTTP/1.1 {self.status} {phrase}", *lines, "", ""]).encode() + body


@attrs.frozen
class Opening:
    """A handshake that is in order. Names of headers are in lower case; `rest` is what came behind the head."""

    headers: tuple[tuple[str, str], ...]
    key: str
    rest: bytes

    @property
    def head(self) -> bytes:
        """The same handshake with nothing in it that could trouble anybody."""
        lines = (
            f"GET {PATH} HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {self.key}",
        )
        return "\r\n".join([*lines, "", ""]).encode()


async def read_opening(stream: trio.abc.ReceiveStream) -> Opening | None:
    """Read a request's head and check that it is a handshake for `PATH`.

    None when the client went away before it was complete. Raises Refused.
    """
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            chunk = await stream.receive_some(MAX_HEAD)
            if not chunk:
                return None
            http.receive_data(bytes(chunk))
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint, PraxisError("invalid", f"not a request of HTTP/1.1: {error}")) from None
    if not isinstance(event, h11.Request):
        return None
    return judge(event, http.trailing_data[0])


def judge(request: h11.Request, rest: bytes = b"") -> Opening:
    """The handshake in a request, by RFC 6455 section 4.2.1. Raises Refused."""
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers)
    path = request.target.decode("latin-1").partition("?")[0]
    if path != PATH:
        raise Refused.of(
            PraxisError("not_found", f"there is nothing at {path[:200]!r} here", hint=f"connect to {PATH}")
        )
    if request.method != b"GET" or request.http_version < b"1.1":
        error = PraxisError("invalid", "a WebSocket handshake is a GET of HTTP/1.1")
        raise Refused(405 if request.method != b"GET" else 400, error, {"Allow": "GET"})
    tokens = {token.strip().lower() for name, value in headers if name == "connection" for token in value.split(",")}
    upgrades = {token.strip().lower() for name, value in headers if name == "upgrade" for token in value.split(",")}
    if "upgrade" not in tokens or "websocket" not in upgrades:
        error = PraxisError("invalid", "only WebSocket is spoken here", hint="connect with a WebSocket client")
        raise Refused(426, error, {"Upgrade": "websocket"})
    if [value for name, value in headers if name == "sec-websocket-version"] != ["13"]:
        error = PraxisError("invalid", "expected Sec-WebSocket-Version: 13")
        raise Refused(426, error, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"})
    keys = [value for name, value in headers if name == "sec-websocket-key"]
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refused.of(PraxisError("invalid", "expected one Sec-WebSocket-Key of 16 bytes in base64"))
    if any(name == "transfer-encoding" or (name == "content-length" and value != "0") for name, value in headers):
        raise Refused.of(PraxisError("invalid", "a WebSocket handshake has no body"))
    return Opening(headers, keys[0], rest)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
