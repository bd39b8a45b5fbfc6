"""MCP over stdio for small servers: both eras of the protocol, the standard library alone.

Copy this file beside your server, which is then nothing but its tools:

    def add(a: float, b: float) -> Result:
        return Result(str(a + b))

    numbers = object_schema("a b", a={"type": "number"}, b={"type": "number"})
    sys.exit(serve(Server("adder", "1.0.0", [Tool(add, {"name": "add", "inputSchema": numbers})])))

A client of 2024-11-05 to 2025-11-25 begins with the handshake; one of 2026-07-28 says in the ``_meta`` of each request
what it speaks, and needs none. It is decided for each request, so that one process serves either.

There is one thread and no lock. A tool that may take long is a generator: it yields how far it is, between its steps
other requests are answered and ``notifications/cancelled`` closes it, and what it returns is its result.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # the first is the one we prefer
MODERN_VERSIONS = ("2026-07-28",)
MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message; what is longer is refused, and its rest is not kept."""
MAX_OPEN = 256
"""Calls under way, and subscriptions: four times what one client asks at once, and each is small."""
CHUNK = 256 * 1024
"""Bytes that are read at once, and bytes of answers that wait to be written together. Many small answers are cheap
then, and large ones do not pile up."""
PROGRESS_PAUSE = 0.5
"""Seconds between two progress notifications of a call."""
LAST_SECONDS = 1.0
"""Seconds that calls may go on after the end of the input. Clients wait two before they send a signal."""
LIST_TTL = 3_600_000
"""Milliseconds for which lists may be kept: they never change while the server runs."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
RESOURCE_NOT_FOUND, UNSUPPORTED_VERSION = -32002, -32022
META = "io.modelcontextprotocol/"
META_REQUIRED = (META + "protocolVersion", META + "clientCapabilities")
LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")

JSON = Any
Id = int | str


class Result(NamedTuple):
    """What a tool answers: texts, each a content block of its own, and what its outputSchema promises."""

    text: str | tuple[str, ...]
    structured: JSON = None


Work = Generator[float, None, Result]


class Tool(NamedTuple):
    """`run` takes the checked arguments by name; `definition` is the tool as tools/list shows it."""

    run: Callable[..., Result | Work]
    definition: dict[str, JSON]


class Resource(NamedTuple):
    """`read` gives its content as text; `definition` is the resource as resources/list shows it."""

    read: Callable[[], str]
    definition: dict[str, JSON]


class ToolError(Exception):
    """What a tool could not do; becomes a result with isError, which the caller's model can read."""


class RpcError(Exception):
    """What the protocol does not allow: code, message and perhaps data of a JSON-RPC error."""


class _Call(NamedTuple):
    """A call under way. Its progress is told to whoever gave a token, and not before `due`."""

    work: Work
    modern: bool
    token: JSON
    due: float


def object_schema(required: str = "", /, **properties: JSON) -> dict[str, JSON]:
    """A closed object; `required` are names with spaces between them."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def check_arguments(schema: dict[str, JSON], arguments: dict[str, JSON]) -> dict[str, JSON]:
    """The arguments, with 3.0 as 3 where an integer is wanted. Raises ToolError.

    Knows the keywords that servers like these need: required, type (one of four), enum, minimum, maximum, maxLength.
    """
    types: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "integer": (int,), "boolean": ()}
    checked = {}
    for name in schema["required"]:
        if name not in arguments:
            raise ToolError(f"argument {name} is missing")
    for name, value in arguments.items():
        rule = schema["properties"].get(name)
        if rule is None:
            raise ToolError(f"unknown argument {name[:100]}; there are {', '.join(schema['properties']) or 'none'}")
        if rule["type"] == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not (rule["type"] == "boolean" if isinstance(value, bool) else isinstance(value, types[rule["type"]])):
            raise ToolError(f"argument {name} must be of type {rule['type']}")
        if "enum" in rule and value not in rule["enum"]:
            raise ToolError(f"argument {name} must be one of {', '.join(rule['enum'])}")
        if "minimum" in rule and not rule["minimum"] <= value <= rule["maximum"]:
            raise ToolError(f"argument {name} must be from {rule['minimum']} to {rule['maximum']}")
        if "maxLength" in rule and len(value) > rule["maxLength"]:
            raise ToolError(f"argument {name} has {len(value)} characters; it may have {rule['maxLength']}")
        checked[name] = value
    return checked


class Server:
    """Takes bytes in and gives bytes out through `write`, which `serve` sets; does no input or output itself."""

    def __init__(self, name: str, version: str, tools: Iterable[Tool], resources: Iterable[Resource] = ()) -> None:
        self.write: Callable[[bytes], None] = lambda _: None
        self._about = {"name": name, "version": version}
        self._tools = {tool.definition["name"]: tool for tool in tools}
        self._resources = {resource.definition["uri"]: resource for resource in resources}
        self._capabilities: JSON = {"tools": {}, **({"resources": {}} if self._resources else {})}
        self._protocol = HANDSHAKE_VERSIONS[0]
        self._calls: dict[Id, _Call] = {}
        self._subscriptions: set[Id] = set()
        self._line = bytearray()
        self._waiting = bytearray()

    def receive(self, data: bytes) -> None:
        """Lines end with \\n alone: JSON may hold other line separators."""
        for number, piece in enumerate(data.split(b"\n")):
            if number:
                self._end_line()
            self._line += piece[: MAX_LINE + 1 - len(self._line)]

    def end_of_input(self) -> None:
        """The last line may lack its end; subscriptions are told that nothing more will come."""
        self._end_line()
        for id in self._subscriptions:
            result = self._stamped({}, "subscriptions/listen")
            result["_meta"][META + "subscriptionId"] = id
            self._send({"jsonrpc": "2.0", "id": id, "result": result})
        self._subscriptions.clear()

    def step(self) -> bool:
        """One step of every call under way. False once there are none."""
        for id, call in list(self._calls.items()):
            done = self._attempt(call.work.__next__, call.modern)
            if not isinstance(done, float):
                del self._calls[id]
                self._send({"jsonrpc": "2.0", "id": id, **done})
            elif call.token is not None and (now := time.monotonic()) >= call.due:
                self._calls[id] = call._replace(due=now + PROGRESS_PAUSE)
                params = {"progressToken": call.token, "progress": done}
                self._send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        return bool(self._calls)

    def flush(self) -> None:
        """Write the answers that wait."""
        if self._waiting:
            data, self._waiting = self._waiting, bytearray()
            self.write(bytes(data))

    def _end_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if len(line) > MAX_LINE:
            self._send(_refusal(None, INVALID_REQUEST, f"a message may have {MAX_LINE} bytes"))
        elif line.strip():
            self._take(line)

    def _send(self, message: JSON) -> None:
        self._waiting += _ENCODER.encode(message).encode() + b"\n"
        if len(self._waiting) >= CHUNK:
            self.flush()

    def _take(self, line: bytes) -> None:
        try:
            message = _DECODER.decode(line.decode())
            if _SURROGATE.search(line):  # half a pair cannot be written again
                message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            self._send(_refusal(None, PARSE_ERROR, f"not JSON: {error}"))
            return
        if isinstance(message, list) and message and self._protocol == "2025-03-26":  # the only version with batches
            # What takes longer is answered on its own later.
            answer = [answer for item in message if (answer := self._answer(item)) is not None] or None
        else:
            answer = self._answer(message)
        if answer is not None:
            self._send(answer)

    def _answer(self, message: JSON) -> JSON:
        """What is to be sent back for one message; None for nothing, or for nothing yet."""
        message = message if isinstance(message, dict) else {}
        id, method, params = message.get("id"), message.get("method"), message.get("params", {})
        usable = isinstance(id, (int, str)) and not isinstance(id, bool)
        if not isinstance(method, str) or ("id" in message and not usable):
            if "result" in message or "error" in message:
                return None  # an answer to a question that we never asked
            return _refusal(id if usable else None, INVALID_REQUEST, "not a JSON-RPC request")
        if "id" not in message:
            if method == "notifications/cancelled" and isinstance(params, dict):
                self._cancel(params.get("requestId"))
            return None
        try:
            if not isinstance(params, dict):
                raise RpcError(INVALID_PARAMS, "params must be an object")
            if id in self._calls or id in self._subscriptions:
                raise RpcError(INVALID_REQUEST, "a request with this id is under way")
            answer = self._request(id, method, params)
        except RpcError as error:
            return _refusal(id, *error.args)
        return None if answer is None else {"jsonrpc": "2.0", "id": id, **answer}

    def _request(self, id: Id, method: str, params: dict[str, JSON]) -> dict[str, JSON] | None:
        meta = params.get("_meta")
        meta = meta if isinstance(meta, dict) else {}
        modern = not meta.keys().isdisjoint(META_REQUIRED) or method in ("server/discover", "subscriptions/listen")
        if modern:
            _check_meta(meta)
        if method == "tools/call":
            return self._call(id, params, meta.get("progressToken"), modern)
        if method == "subscriptions/listen":
            self._listen(id, params)
            return None
        result = self._result(method, params, modern)
        return {"result": self._stamped(result, method) if modern else result}

    def _cancel(self, id: JSON) -> None:
        """What is given up gets no answer. What is unknown was answered already."""
        if isinstance(id, (int, str)):
            self._subscriptions.discard(id)
            if call := self._calls.pop(id, None):
                call.work.close()

    def _stamped(self, result: dict[str, JSON], method: str) -> dict[str, JSON]:
        """A result as 2026-07-28 wants it."""
        if method in LISTS or method == "server/discover":
            result = {**result, "ttlMs": LIST_TTL, "cacheScope": "public"}
        elif method == "resources/read":
            result = {**result, "ttlMs": 0, "cacheScope": "private"}
        return {**result, "resultType": "complete", "_meta": {META + "serverInfo": self._about}}

    def _result(self, method: str, params: dict[str, JSON], modern: bool) -> dict[str, JSON]:
        match method:
            case "initialize" if not modern:
                wanted = params.get("protocolVersion")
                if not isinstance(wanted, str):
                    raise RpcError(INVALID_PARAMS, "protocolVersion is missing")
                self._protocol = wanted if wanted in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]
                return {
                    "protocolVersion": self._protocol,
                    "serverInfo": self._about,
                    "capabilities": self._capabilities,
                }
            case "ping" if not modern:
                return {}
            case "server/discover":
                return {"supportedVersions": list(MODERN_VERSIONS), "capabilities": self._capabilities}
            case "resources/read":
                uri = params.get("uri")
                resource = self._resources.get(uri) if isinstance(uri, str) else None
                if resource is None:
                    code = INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
                    raise RpcError(code, f"resource not found: {str(uri)[:100]}", {"uri": uri})
                about = {"uri": uri, "mimeType": resource.definition["mimeType"]}
                return {"contents": [{**about, "text": resource.read()}]}
        if method not in LISTS:
            raise RpcError(METHOD_NOT_FOUND, f"method not found: {method[:100]}")
        if params.get("cursor") is not None:
            raise RpcError(INVALID_PARAMS, "there is one page only, so there is no cursor")
        # Some clients ask for every list and take a refusal for a failure; an empty list is as true.
        items: Iterable[Tool | Resource] = ()
        if method in ("tools/list", "resources/list"):
            items = (self._tools if method == "tools/list" else self._resources).values()
        name = "resourceTemplates" if method == "resources/templates/list" else method.split("/")[0]
        return {name: [item.definition for item in items]}

    def _listen(self, id: Id, params: dict[str, JSON]) -> None:
        """A subscription that stays open. Nothing here ever changes, so nothing of what is asked for is promised."""
        if not isinstance(params.get("notifications"), dict):
            raise RpcError(INVALID_PARAMS, "notifications must be an object")
        if len(self._subscriptions) >= MAX_OPEN:
            raise RpcError(INTERNAL_ERROR, f"there are {MAX_OPEN} subscriptions already")
        self._subscriptions.add(id)
        about = {"notifications": {}, "_meta": {META + "subscriptionId": id}}
        self._send({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": about})

    def _call(self, id: Id, params: dict[str, JSON], token: JSON, modern: bool) -> dict[str, JSON] | None:
        name, arguments = params.get("name"), params.get("arguments")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"unknown tool: {str(name)[:100]}")
        given = {} if arguments is None else arguments
        if not isinstance(given, dict):
            raise RpcError(INVALID_PARAMS, "arguments must be an object")

        def start() -> Result | float:
            outcome = tool.run(**check_arguments(tool.definition["inputSchema"], given))
            if isinstance(outcome, Result):
                return outcome
            if len(self._calls) >= MAX_OPEN:
                raise ToolError(f"{MAX_OPEN} calls are under way; try again later")
            self._calls[id] = _Call(outcome, modern, token, time.monotonic() + PROGRESS_PAUSE)
            return 0.0

        answer = self._attempt(start, modern)
        return None if isinstance(answer, float) else answer

    def _attempt(self, work: Callable[[], Result | float], modern: bool) -> dict[str, JSON] | float:
        """Begin a call or go on with it: how far it is, or what is to be answered."""
        failed = False
        try:
            result = work()
        except StopIteration as end:
            result = end.value
        except ToolError as error:
            result, failed = Result(str(error)), True
        except Exception:
            import traceback  # rare, and it would slow every start

            traceback.print_exc()
            return {"error": {"code": INTERNAL_ERROR, "message": "the tool broke; standard error says how"}}
        if isinstance(result, float):
            return result
        texts = (result.text,) if isinstance(result.text, str) else result.text
        answer: dict[str, JSON] = {"content": [{"type": "text", "text": text} for text in texts], "isError": failed}
        if result.structured is not None:
            answer["structuredContent"] = result.structured
        return {"result": self._stamped(answer, "tools/call") if modern else answer}


def _check_meta(meta: dict[str, JSON]) -> None:
    """What every request of 2026-07-28 must say of its sender. Raises RpcError."""
    version, capabilities = map(meta.get, META_REQUIRED)
    if not isinstance(version, str) or not isinstance(capabilities, dict):
        raise RpcError(INVALID_PARAMS, f"_meta needs {META_REQUIRED[0]}, a string, and {META_REQUIRED[1]}, an object")
    if version not in MODERN_VERSIONS:
        supported = {"supported": list(MODERN_VERSIONS), "requested": version}
        raise RpcError(UNSUPPORTED_VERSION, f"unsupported protocol version: {version[:100]}", supported)


def _refusal(id: JSON, code: int, message: str, data: JSON = None) -> dict[str, JSON]:
    error = {"code": code, "message": message, **({} if data is None else {"data": data})}
    return {"jsonrpc": "2.0", "id": id, "error": error}


def _refuse_constant(name: str) -> JSON:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def serve(server: Server, source: int = 0, sink: int = 1) -> int:
    """Serve until the input ends or nobody reads the output any more. Returns the status to exit with."""

    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(sink, left) :]

    for number in (signal.SIGTERM, signal.SIGINT):  # through every finally, so that no half-written file stays
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.set_blocking(source, True)  # whoever shares it with us may have wanted otherwise
    server.write = write
    busy, ends_at = False, None
    try:
        while ends_at is None or (busy and time.monotonic() < ends_at):
            if ends_at is None and (not busy or select.select([source], [], [], 0)[0]):
                if data := os.read(source, CHUNK):
                    server.receive(data)
                else:
                    server.end_of_input()
                    ends_at = time.monotonic() + LAST_SECONDS
            busy = server.step()
            server.flush()
    except ConnectionError:
        pass  # whoever started us has gone
    return 0
