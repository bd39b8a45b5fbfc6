"""JSON-RPC 2.0, one message a line: bytes to messages and back (https://www.jsonrpc.org/specification).

Lines end with ``\\n`` and with nothing else: JSON text may hold U+2028, U+2029 and U+0085, at which
``str.splitlines`` would cut. Bytes are split first and decoded afterwards.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping

import attrs

from praxis.model.tool import JSON

Id = int | str

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603

EDGE = 256
"""Bytes kept of both ends of a line that is too long. The id stands within the first or last 60 in what the MCP SDKs
write."""
MAX_DEPTH = 128
"""Levels of nesting. Real results and schemas stay below 30; past some hundreds Python's own encoder gives up, and a
value that cannot be passed on must not come in."""


class MessageError(ValueError):
    """A line that is no JSON-RPC message; says what is wrong with it."""


@attrs.frozen
class Request:
    id: Id
    method: str
    params: Mapping[str, JSON]


@attrs.frozen
class Notification:
    method: str
    params: Mapping[str, JSON]


@attrs.frozen
class Response:
    id: Id
    result: JSON


@attrs.frozen
class ErrorResponse:
    """`id` is None when the other side could not read the id of what it refuses."""

    id: Id | None
    code: int
    message: str
    data: JSON = None


Message = Request | Notification | Response | ErrorResponse

_ID = rb'(-?(?:0|[1-9]\d{0,14})|"[^"\\\x00-\x1f]{0,128}")'
_ID_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*' + _ID + rb"\s*,")
_ID_LAST = re.compile(rb'[,{]\s*"id"\s*:\s*' + _ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_METHOD_FIRST = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?(?:"id"\s*:\s*' + _ID + rb'\s*,\s*)?"method"\s*:'
)


@attrs.frozen
class LongLine:
    """A line over the limit, of which only both ends were kept. `size` is its length in bytes."""

    size: int
    head: bytes
    tail: bytes

    @property
    def asks(self) -> bool:
        """True when it surely is a request or a notification, so that nobody waits for it."""
        return _METHOD_FIRST.match(self.head) is not None

    @property
    def id(self) -> Id | None:
        """The message's id where it stands first or last among the members, else None. Never one from further in."""
        found = _ID_FIRST.match(self.head) or _ID_LAST.search(self.tail)
        value: Id | None = json.loads(found[1].decode(errors="replace")) if found else None
        return value


class LineReader:
    """Bytes in, lines out, without their ``\\n``. Holds at most one incomplete line of at most `limit` bytes."""

    __slots__ = ("_head", "_limit", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()  # of the line under way: all of it, or its last bytes once it is too long
        self._size = 0
        self._head: bytes | None = None  # set once the line is too long

    def receive(self, data: bytes) -> list[bytes | LongLine]:
        """The lines that `data` completes, in order; a line over the limit comes as a `LongLine`."""
        lines: list[bytes | LongLine] = []
        start = 0
        while (stop := data.find(b"\n", start)) >= 0:
            if self._size or stop - start > self._limit:
                self._add(data[start:stop])
                lines.append(self._finish())
            else:
                lines.append(data[start:stop])
            start = stop + 1
        if start < len(data):
            self._add(data[start:])
        return lines

    def unfinished(self) -> bytes:
        """Take out what has come of the line under way, or the end of it when it is too long."""
        rest, self._size, self._head = bytes(self._rest), 0, None
        self._rest.clear()
        return rest

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._rest += piece
        if self._size > self._limit:
            if self._head is None:
                self._head = bytes(self._rest[:EDGE])
            elif len(self._head) < EDGE:
                self._head += piece[: EDGE - len(self._head)]
            del self._rest[:-EDGE]

    def _finish(self) -> bytes | LongLine:
        rest, size, head = bytes(self._rest), self._size, self._head
        self._rest.clear()
        self._size, self._head = 0, None
        return rest if head is None else LongLine(size, head, rest)


def parse(line: bytes) -> list[Message]:
    """The message of one line, or the messages of a batch (MCP 2025-03-26 has those).

    Bytes that are no UTF-8 and surrogates without a partner become replacement characters, so that whatever this
    returns can be encoded again. Raises MessageError for anything else, an empty line and nesting beyond `MAX_DEPTH`
    included.
    """
    try:
        # The codec "utf-8-sig" would do, but is written in Python: it takes a third as long as reading the JSON.
        value = _DECODER.decode(line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"))
        if _SURROGATE.search(line):
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except MessageError:
        raise
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from None
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if isinstance(value, list):
        if not value:
            raise MessageError("an empty batch")
        return [classify(item) for item in value]
    return [classify(value)]


def _check_depth(value: JSON) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for children in inner for child in children if isinstance(child, (dict, list))]
        if not level:
            return
    raise MessageError(f"nested more than {MAX_DEPTH} deep")


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _refuse_constant(name: str) -> JSON:
    raise MessageError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
"""Made once: json.loads and json.dumps make a new one for every call with arguments such as these."""


def classify(value: JSON) -> Message:
    """The message that a JSON value is. Raises MessageError when it is none.

    Lenient where servers are known to err and nothing is guessed: ``jsonrpc`` may be missing, and params that are
    no object (PHP writes ``[]`` for ``{}``) count as empty.
    """
    if not isinstance(value, dict):
        raise MessageError("a message is an object")
    given = value.get("id")
    id: Id | None = given if isinstance(given, (int, str)) and not isinstance(given, bool) else None
    method = value.get("method")
    if isinstance(method, str):
        params = value.get("params")
        params = params if isinstance(params, dict) else {}
        if id is not None:
            return Request(id, method, params)
        if "id" in value:
            raise MessageError("the id of a request is a number or a string")
        return Notification(method, params)
    if "method" in value:
        raise MessageError("a method is a string")
    error = value.get("error")
    if error is not None:
        if id is None and given is not None:
            raise MessageError("the id of an error is a number, a string or null")
        return _error(id, error)
    if "result" not in value or id is None:
        raise MessageError("neither a request, a notification nor a response")
    return Response(id, value["result"])


def _error(id: Id | None, error: JSON) -> ErrorResponse:
    if not isinstance(error, dict):
        return ErrorResponse(id, INTERNAL_ERROR, str(error))
    code = error.get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else INTERNAL_ERROR
    return ErrorResponse(id, code, str(error.get("message") or ""), error.get("data"))


def request(id: Id, method: str, params: Mapping[str, JSON]) -> bytes:
    """A request's line. Raises ValueError or TypeError for params that are no JSON."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def notification(method: str, params: Mapping[str, JSON] | None = None) -> bytes:
    """A notification's line; without params the member is left out."""
    return _line({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})})


def response(id: Id, result: JSON) -> bytes:
    """A successful response's line."""
    return _line({"jsonrpc": "2.0", "id": id, "result": result})


def error_response(id: Id | None, code: int, message: str, data: JSON = None) -> bytes:
    """A refusal's line."""
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return _line({"jsonrpc": "2.0", "id": id, "error": error})


def _line(value: dict[str, JSON]) -> bytes:
    # ASCII alone: readers on the other side that use splitlines() or another encoding still get it right.
    return _ENCODER.encode(value).encode("ascii") + b"\n"
