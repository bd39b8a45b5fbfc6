"""A2A 1.0 and 0.3 over JSON-RPC: requests to values, and errors (https://a2a-protocol.org, sections 3, 5.4 and 9).

The version that a request names decides which methods there are and how an answer looks; `a2a_tasks` makes the answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import attrs

from praxis.model.tool import JSON
from praxis.wire.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Id, Request, error_response

Version = Literal["0.3", "1.0"]
VERSIONS: tuple[Version, ...] = get_args(Version)

TASK_NOT_FOUND, TASK_NOT_CANCELABLE, PUSH_NOT_SUPPORTED, UNSUPPORTED, CONTENT_TYPE = (
    -32001,
    -32002,
    -32003,
    -32004,
    -32005,
)
VERSION_NOT_SUPPORTED = -32009
NOT_NOW = -32000
"""JSON-RPC's own range for servers: too much is under way, or something that is needed cannot be reached."""
REASONS = {
    TASK_NOT_FOUND: "TASK_NOT_FOUND",
    TASK_NOT_CANCELABLE: "TASK_NOT_CANCELABLE",
    PUSH_NOT_SUPPORTED: "PUSH_NOTIFICATION_NOT_SUPPORTED",
    UNSUPPORTED: "UNSUPPORTED_OPERATION",
    CONTENT_TYPE: "CONTENT_TYPE_NOT_SUPPORTED",
    VERSION_NOT_SUPPORTED: "VERSION_NOT_SUPPORTED",
}

NO_PUSH = "push notifications are not supported: subscribe to the task instead"
MAX_ID = 256
"""Characters of an id that somebody else gives: it is kept with each run."""
MAX_PAGE, PAGE = 100, 50
"""Tasks of one page, as section 3.1.4 has them: at most, and unless told."""
MAX_PARTS = 100
"""Parts of a message: one program and what goes with it need two or three."""

STATES = (
    *("submitted", "working", "completed", "failed", "canceled"),
    *("input-required", "rejected", "auth-required"),
)
"""As 0.3 writes them."""


class A2aError(Exception):
    """What a caller is told: a code of section 5.4 or of JSON-RPC, a sentence, and the field that was wrong."""

    def __init__(self, code: int, message: str, *, field: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.metadata = metadata or {}

    def line(self, id: Id | None) -> bytes:
        """The JSON-RPC answer; `data` is a list of typed objects, section 9.5."""
        return error_response(id, self.code, self.message, self._details() or None)

    def _details(self) -> list[JSON]:
        details: list[JSON] = []
        if self.field:
            violation = {"field": self.field, "description": self.message}
            details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
        if self.code in REASONS or self.metadata:
            about = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "a2a-protocol.org"}
            reason = REASONS.get(self.code, "INVALID_PARAMS" if self.code == INVALID_PARAMS else "NOT_NOW")
            details.append({**about, "reason": reason, "metadata": dict(self.metadata)})
        return details


@attrs.frozen
class Message:
    """What a user says: the words of all text parts, and the values of all data parts."""

    id: str
    words: str
    values: tuple[Mapping[str, JSON], ...] = ()
    task: str = ""
    context: str = ""


@attrs.frozen
class Send:
    """`streams` answers with events, else with the task: when it has ended if `waits`."""

    message: Message
    streams: bool
    waits: bool = True
    history: int | None = None


@attrs.frozen
class Get:
    task: str
    history: int | None = None


@attrs.frozen
class ListTasks:
    """`since` is in seconds since the epoch; `state` is written as 0.3 does, "" for all."""

    size: int = PAGE
    cursor: str = ""
    context: str = ""
    state: str = ""
    since: float = 0.0
    history: int | None = None
    artifacts: bool = False


@attrs.frozen
class Cancel:
    task: str


@attrs.frozen
class Subscribe:
    task: str


@attrs.frozen
class ExtendedCard:
    pass


Asked = Send | Get | ListTasks | Cancel | Subscribe | ExtendedCard


def version_of(said: str | None) -> Version:
    """The version that a request names; without one it is 0.3, section 3.6.2. A patch number does not count.

    Raises A2aError.
    """
    if not said:
        return "0.3"
    found = re.fullmatch(r"([0-9]{1,4}\.[0-9]{1,4})(\.[0-9]{1,4})?", said.strip())
    for version in VERSIONS:
        if found is not None and found[1] == version:
            return version
    known = ", ".join(VERSIONS)
    told = f"A2A {said[:20]!r} is not spoken here, but {known}"
    raise A2aError(VERSION_NOT_SUPPORTED, told, metadata={"supportedVersions": known})


def request_of(value: JSON) -> Request:
    """The request that a JSON value is. Raises A2aError; a batch is no request in A2A."""
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or not isinstance(value.get("method"), str):
        raise A2aError(INVALID_REQUEST, 'expected {"jsonrpc": "2.0", "id": ..., "method": ..., "params": {...}}')
    if id_of(value) is None:
        raise A2aError(INVALID_REQUEST, "expected an id: a number or a text")
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise A2aError(INVALID_PARAMS, "expected an object", field="params")
    return Request(value["id"], value["method"], params)


def id_of(value: JSON) -> Id | None:
    """The id of a request, however wrong the rest of it is; None if it has none."""
    id = value.get("id") if isinstance(value, dict) else None
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


def asked(version: Version, method: str, params: Mapping[str, JSON]) -> Asked:
    """What a request asks for. Raises A2aError."""
    read = METHODS[version].get(method)
    if read is not None:
        return read(version, params)
    if "ushNotificationConfig" in method:
        raise A2aError(PUSH_NOT_SUPPORTED, NO_PUSH)
    others = [other for other in VERSIONS if method in METHODS[other]]
    hint = f"; it is one of A2A {others[0]}, which the header A2A-Version chooses" if others else ""
    raise A2aError(METHOD_NOT_FOUND, f"A2A {version} has no method {method[:60]!r}{hint}")


# -- parameters -------------------------------------------------------------------------------------


def _send(version: Version, params: Mapping[str, JSON]) -> Send:
    configuration = _object(params, "configuration")
    push = "taskPushNotificationConfig" if version == "1.0" else "pushNotificationConfig"
    if configuration.get(push) is not None:
        raise A2aError(PUSH_NOT_SUPPORTED, NO_PUSH)
    now = _flag(configuration, "returnImmediately") if version == "1.0" else not _flag(configuration, "blocking", True)
    message = _message(version, _object(params, "message", needed=True))
    return Send(message, False, not now, _history(version, configuration, "configuration."))


def _stream(version: Version, params: Mapping[str, JSON]) -> Send:
    return attrs.evolve(_send(version, params), streams=True)


def _get(version: Version, params: Mapping[str, JSON]) -> Get:
    return Get(_text(params, "id", needed=True), _history(version, params))


def _list(version: Version, params: Mapping[str, JSON]) -> ListTasks:
    size = _count(params, "pageSize")
    if size is not None and not 1 <= size <= MAX_PAGE:
        raise _wrong("pageSize", f"a number from 1 to {MAX_PAGE}")
    return ListTasks(
        PAGE if size is None else size,
        _text(params, "pageToken"),
        _text(params, "contextId"),
        _state(version, _text(params, "status")),
        _time(_text(params, "statusTimestampAfter")),
        _history(version, params),
        _flag(params, "includeArtifacts"),
    )


def _cancel(version: Version, params: Mapping[str, JSON]) -> Cancel:
    return Cancel(_text(params, "id", needed=True))


def _subscribe(version: Version, params: Mapping[str, JSON]) -> Subscribe:
    return Subscribe(_text(params, "id", needed=True))


def _card(version: Version, params: Mapping[str, JSON]) -> ExtendedCard:
    return ExtendedCard()


METHODS: Mapping[Version, Mapping[str, Callable[[Version, Mapping[str, JSON]], Asked]]] = {
    "1.0": {
        "SendMessage": _send,
        "SendStreamingMessage": _stream,
        "GetTask": _get,
        "ListTasks": _list,
        "CancelTask": _cancel,
        "SubscribeToTask": _subscribe,
        "GetExtendedAgentCard": _card,
    },
    "0.3": {
        "message/send": _send,
        "message/stream": _stream,
        "tasks/get": _get,
        "tasks/cancel": _cancel,
        "tasks/resubscribe": _subscribe,
        "agent/getAuthenticatedExtendedCard": _card,
    },
}


def _message(version: Version, message: Mapping[str, JSON]) -> Message:
    role = "ROLE_USER" if version == "1.0" else "user"
    if message.get("role") != role:
        raise _wrong("message.role", role)
    parts = message.get("parts")
    if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_PARTS:
        raise _wrong("message.parts", f"a list of 1 to {MAX_PARTS} parts")
    words, values = _parts(parts)
    return Message(
        _text(message, "messageId", "message.", needed=True),
        "\n".join(words),
        tuple(values),
        _text(message, "taskId", "message."),
        _text(message, "contextId", "message."),
    )


def _parts(parts: Sequence[JSON]) -> tuple[list[str], list[Mapping[str, JSON]]]:
    """In both versions a part has its content under the name of its kind; 0.3 says the kind as well."""
    words: list[str] = []
    values: list[Mapping[str, JSON]] = []
    for at, part in enumerate(parts):
        match part:
            case {"text": str(text)}:
                words.append(text)
            case {"data": dict(value)}:
                values.append(value)
            case {"file": _} | {"raw": _} | {"url": _}:
                told = "this agent takes text and data, and no files"
                raise A2aError(CONTENT_TYPE, told, field=f"message.parts[{at}]")
            case _:
                raise _wrong(f"message.parts[{at}]", "a text, or data that is an object")
    return words, values


def _wrong(field: str, expected: str) -> A2aError:
    return A2aError(INVALID_PARAMS, f"{field}: expected {expected}", field=field)


def _object(params: Mapping[str, JSON], name: str, *, needed: bool = False) -> Mapping[str, JSON]:
    value = params.get(name)
    if value is None and not needed:
        return {}
    if not isinstance(value, dict):
        raise _wrong(name, "an object")
    return value


def _text(params: Mapping[str, JSON], name: str, where: str = "", *, needed: bool = False) -> str:
    value: Any = params.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or len(value) > MAX_ID or not value.isprintable() or (needed and not value):
        raise _wrong(where + name, f"a text of at most {MAX_ID} visible characters")
    return value


def _flag(params: Mapping[str, JSON], name: str, default: bool = False) -> bool:
    value = params.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _count(params: Mapping[str, JSON], name: str, where: str = "") -> int | None:
    value = params.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(where + name, "a number from 0 on")
    return value


def _history(version: Version, params: Mapping[str, JSON], where: str = "") -> int | None:
    count = _count(params, "historyLength", where)
    return None if version == "0.3" and count == 0 else count  # there 0 is what many clients send for "not set"


def _state(version: Version, said: str) -> str:
    """A state as 0.3 writes it; "" for all."""
    if said in ("", "TASK_STATE_UNSPECIFIED"):
        return ""
    state = said.removeprefix("TASK_STATE_").lower().replace("_", "-")
    if not said.startswith("TASK_STATE_") or state not in STATES:
        raise _wrong("status", "a state such as TASK_STATE_WORKING")
    return state


def _time(said: str) -> float:
    if not said:
        return 0.0
    try:
        time = datetime.fromisoformat(said)
        seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _wrong("statusTimestampAfter", "a time such as 2026-05-26T10:00:00.000Z") from None
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
