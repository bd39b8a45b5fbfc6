"""What clients and the gateway say to each other, as values and as bytes. No sockets here."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import attrs

from praxis.model.errors import PraxisError
from praxis.model.event import Event
from praxis.model.run import Problem, RunRecord, StepRecord
from praxis.model.tool import JSON

_GRAPH = ("nodes", "edges", "on_failure", "onFailure")
RUN_EVENTS = frozenset({"run", "step"})
"""What a client that has not subscribed to anything sees: the events of all runs."""

MAX_BROADCAST = 256 * 1024
"""Characters of one event's message. It goes to every client, whether it asked for this run or not."""

MAX_ANSWER = 16 * 1024 * 1024
"""Characters of one answer, to the client that asked: one tool result at the size limit of MCP servers."""

MAX_SUBSCRIBED_TYPES = 32
"""More than there are families of events."""

_RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,4}")


@attrs.frozen
class DslCommand:
    command: str
    workflow_id: str | None


@attrs.frozen
class ExecuteWorkflow:
    """`graph` is ``{"nodes", "edges"}``, unread; see `praxis.workflow.graph`."""

    graph: Mapping[str, JSON]
    workflow_id: str | None
    params: Mapping[str, JSON]
    secrets: Mapping[str, str] = attrs.field(repr=False)


@attrs.frozen
class Cancel:
    run_id: str


@attrs.frozen
class Subscribe:
    run_id: str | None
    types: frozenset[str]


@attrs.frozen
class ChatMessage:
    """`content` is a request in plain language."""

    content: str


Request = DslCommand | ExecuteWorkflow | Cancel | Subscribe | ChatMessage


class RequestError(PraxisError):
    """What was wrong with a message; `request` is its type, when that much could be read."""

    def __init__(self, detail: str, *, request: str | None = None, hint: str = "", where: str = "") -> None:
        super().__init__("invalid", detail, hint=hint, where=where)
        self.request = request


def parse(text: str) -> Request:
    """Read a message of a client; raises RequestError."""
    try:
        message = json.loads(text)
    except ValueError as error:
        raise RequestError(f"not JSON: {error}") from None
    except RecursionError:
        raise RequestError("not JSON that can be taken: nested too deeply") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise RequestError('expected an object such as {"type": "DSL_COMMAND", "payload": {"command": "..."}}')
    type = message["type"]
    read = _READERS.get(type)
    if read is None:
        near = get_close_matches(type.upper()[:64], _READERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known types: {', '.join(_READERS)}"
        raise RequestError(f"unknown type {_short(type)}", hint=hint, where="type")
    payload = message.get("payload", {})
    if not isinstance(payload, dict):
        raise RequestError("expected an object", request=type, where="payload")
    return read(_Payload(type, payload))


class _Payload:
    """Takes fields out of a payload; what is left over in the end was a mistake."""

    def __init__(self, type: str, fields: dict[str, JSON]) -> None:
        self.type = type
        self.fields = dict(fields)
        self.names: list[str] = []

    def take(self, name: str) -> JSON:
        self.names.append(name)
        return self.fields.pop(name, None)

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "expected a text that is not empty")
        return value

    def run_id(self, name: str, *, required: bool) -> str | None:
        value = self.take(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or not _RUN_ID.fullmatch(value):
            raise self.wrong(name, "expected 1 to 128 of the characters a-z A-Z 0-9 . _ : -")
        return value

    def types(self, name: str) -> frozenset[str]:
        value = self.take(name)
        if value is None:
            return frozenset()
        if not isinstance(value, list) or not all(isinstance(t, str) and _EVENT_TYPE.fullmatch(t) for t in value):
            raise self.wrong(name, "expected a list of event types such as run, step.finished or peer")
        if len(value) > MAX_SUBSCRIBED_TYPES:
            raise self.wrong(name, f"expected at most {MAX_SUBSCRIBED_TYPES} event types, got {len(value)}")
        return frozenset(value)

    def mapping(self, name: str) -> dict[str, JSON]:
        value = self.take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(name, "expected an object")
        return value

    def finish(self) -> None:
        for name in self.fields:
            raise self.wrong(name, "unknown field", hint=f"known fields: {', '.join(self.names)}")

    def wrong(self, name: str, detail: str, *, hint: str = "") -> RequestError:
        return RequestError(detail, request=self.type, hint=hint, where=f"payload.{name[:64]}")


def _dsl_command(payload: _Payload) -> DslCommand:
    request = DslCommand(payload.text("command"), payload.run_id("workflowId", required=False))
    payload.finish()
    return request


def _execute_workflow(payload: _Payload) -> ExecuteWorkflow:
    """Its nodes and edges stand in it, or in its ``workflow``."""
    workflow_id = payload.run_id("workflowId", required=False)
    inner = payload.mapping("workflow")
    graph = {key: inner[key] for key in _GRAPH if key in inner}
    for key in _GRAPH:
        value = payload.take(key)
        if value is not None:
            graph[key] = value
    params, secrets = payload.mapping("params"), payload.mapping("secrets")
    if not all(isinstance(secret, str) for secret in secrets.values()):
        raise payload.wrong("secrets", "expected texts by name")
    if not isinstance(graph.get("nodes"), list):
        raise payload.wrong("nodes", "expected a list of nodes")
    payload.finish()
    return ExecuteWorkflow(graph, workflow_id, params, secrets)


def _cancel(payload: _Payload) -> Cancel:
    request = Cancel(str(payload.run_id("runId", required=True)))
    payload.finish()
    return request


def _subscribe(payload: _Payload) -> Subscribe:
    request = Subscribe(payload.run_id("runId", required=False), payload.types("types"))
    payload.finish()
    return request


def _chat_message(payload: _Payload) -> ChatMessage:
    request = ChatMessage(payload.text("content"))
    sender = payload.take("sender")  # consoles say who types; what may be done hangs on the connection alone
    if not isinstance(sender, str | None):
        raise payload.wrong("sender", "expected a text")
    payload.finish()
    return request


_READERS: dict[str, Callable[[_Payload], Request]] = {
    "DSL_COMMAND": _dsl_command,
    "EXECUTE_WORKFLOW": _execute_workflow,
    "CANCEL": _cancel,
    "SUBSCRIBE": _subscribe,
    "CHAT_MESSAGE": _chat_message,
}


def text_frame(type: str, seq: int, payload: Mapping[str, JSON]) -> bytes:
    """A whole message as the bytes that go to a client.

    One unmasked, unfragmented text frame (RFC 6455 section 5.2). Only clients mask, so the bytes are the same for
    every client. Raises TypeError for what is not JSON; numbers that JSON cannot write become null, as in browsers.
    """
    message = {"type": type, "seq": seq, "payload": payload}
    try:
        text = _dumps(message)
    except ValueError:
        text = _dumps(_finite(message))
    body = text.encode()
    size = len(body)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + body
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + body
    return struct.pack("!BBQ", 0x81, 127, size) + body


def event_message(event: Event, find_run: Callable[[str], RunRecord | None]) -> tuple[str, dict[str, JSON]]:
    """The type and payload that show an event. `find_run` gives the record of a run, if it is still known."""
    fields = event.fields
    payload: dict[str, JSON] = {"workflowId": event.run_id}
    match event.type:
        case "run.started":
            return "workflowStart", payload | dict(fields)
        case "step.started":
            node = {"nodeId": fields.get("step"), "status": "running"}
            return "nodeStatusUpdate", payload | node | {key: fields.get(key) for key in ("tool", "agent")}
        case "step.finished":
            payload |= {"nodeId": fields.get("step"), "status": fields.get("state")}
            payload |= {key: fields.get(key) for key in ("tool", "agent", "error")}
            return "nodeStatusUpdate", payload | {"durationMs": fields.get("duration_ms")}
        case "step.progress":
            progress = fields.get("progress")
            progress = progress if isinstance(progress, Mapping) else {}
            payload |= {"level": "info", "message": str(progress.get("message") or "progress"), "source": "step"}
            payload |= {key: progress[key] for key in ("progress", "total") if key in progress}
            return "workflowLog", payload | {"nodeId": fields.get("step")}
        case "run.cancelling":
            return "workflowLog", payload | {"level": "info", "message": "the run is being cancelled", "source": "run"}
        case "run.finished":
            record = find_run(event.run_id) if event.run_id is not None else None
            return _finished(event, record)
        case _:
            run = {} if event.run_id is None else {"runId": event.run_id}
            return "event", {"type": event.type, "time": event.time, **run, "fields": dict(fields)}


def _finished(event: Event, record: RunRecord | None) -> tuple[str, dict[str, JSON]]:
    status = str(event.fields.get("state"))
    payload: dict[str, JSON] = {"workflowId": event.run_id, "durationMs": event.fields.get("duration_ms")}
    if status == "succeeded":
        payload |= {"message": "the run succeeded", "result": None, "toolResults": []}
        if record is None:
            return "workflowComplete", payload | {"truncated": True}
        results = [step for step in record.steps if step.result is not None]
        full = {"result": record.result, "toolResults": [_tool_result(step) for step in results]}
        if _size(full, MAX_BROADCAST) > MAX_BROADCAST:
            return "workflowComplete", payload | {"truncated": True}
        return "workflowComplete", payload | full
    problem = record.error if record is not None else None
    payload |= {"status": status, "message": problem.detail if problem else f"the run was {status}"}
    payload["code"] = problem.code if problem else status
    failed = next((step.id for step in record.steps if step.state == "failed"), None) if record is not None else None
    return "workflowError", payload if failed is None else payload | {"nodeId": failed}


def result_payload(command: str, record: RunRecord) -> dict[str, JSON]:
    """The payload of a dslResult: how a run ended."""
    payload: dict[str, JSON] = {
        "workflowId": record.id,
        "command": command,
        "success": record.state == "succeeded",
        "status": record.state,
        "error": None if record.error is None else _problem(record.error),
        "durationMs": _milliseconds(record.created_at, record.ended_at),
    }
    full = {"result": record.result, "steps": [_step(step) for step in record.steps]}
    if _size(full, MAX_ANSWER) > MAX_ANSWER:
        steps = [_step(step) | {"result": None} for step in record.steps]
        return payload | {"result": None, "steps": steps, "truncated": True}
    return payload | full


def error_payload(error: PraxisError, *, request: str | None = None, run_id: str | None = None) -> dict[str, JSON]:
    """The payload of an error message for whoever caused it."""
    payload: dict[str, JSON] = {"message": error.detail, "code": error.code}
    extra = {"request": request, "workflowId": run_id, "hint": error.hint, "where": error.where, "details": error.data}
    return payload | {key: value for key, value in extra.items() if value}


def _tool_result(step: StepRecord) -> dict[str, JSON]:
    return {"nodeId": step.id, "tool": step.tool, "agent": _agent(step), "result": step.result}


def _step(step: StepRecord) -> dict[str, JSON]:
    return {
        "nodeId": step.id,
        "tool": step.tool,
        "agent": _agent(step),
        "status": step.state,
        "result": step.result,
        "error": None if step.error is None else _problem(step.error),
        "durationMs": _milliseconds(step.started_at, step.ended_at),
    }


def _agent(step: StepRecord) -> str | None:
    return step.route.agent if step.route is not None else None


def _problem(problem: Problem) -> dict[str, JSON]:
    return {**attrs.asdict(problem, recurse=False), "data": dict(problem.data)}


def _milliseconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 3)


def _dumps(value: JSON) -> str:
    # ASCII only: a lone surrogate, which JSON may hold and UTF-8 may not, stays the escape that it came as.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _finite(value: JSON) -> JSON:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _size(value: Any, limit: int) -> int:
    """About how many characters a value takes as JSON; stops counting past `limit`."""
    size = 0
    waiting = [value]
    while waiting and size <= limit:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item) + 2
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
            size += 2 * len(item) + 2
        elif isinstance(item, list | tuple):
            waiting.extend(item)
            size += len(item) + 2
        else:
            size += 8
    return size


def _short(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "...")
