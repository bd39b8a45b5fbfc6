"""The routes of A2A: JSON-RPC, the card, and requests without an envelope."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from praxis.api.a2a import A2aEndpoint, version_of
from praxis.api.guard import CARD
from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.wire import a2a
from praxis.wire.a2a import A2aError
from praxis.wire.a2a_card import PATH, address_of, card_of

CARD_AGE = 60
"""Seconds for which a card may be taken for true: it changes with the configuration, at a restart."""
_ENVELOPE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["integer", "string"]},
        "method": {"type": "string", "description": "A method of the version that the header A2A-Version names"},
        "params": {"type": "object"},
    },
}
_VERSION = {"A2A-Version": "1.0 or 0.3, if there is no header of that name; 0.3 without both"}


def routes(services: Services, endpoint: A2aEndpoint) -> list[Route]:
    async def card(call: Call) -> Answer:
        try:
            version = version_of(call)
        except A2aError as error:
            raise _problem(error) from None
        known = services.card()
        value = card_of(known, address_of(known.url, call.header("host")), version)
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": f"public, max-age={CARD_AGE}", "Vary": "A2A-Version"}
        if _is_known(call.header("if-none-match"), tag):
            return Answer(b"", 304, headers=headers)
        return Answer(body, headers=headers)

    async def bare(call: Call, method: str) -> Answer:
        if "jsonrpc" in call.body:
            return await endpoint.rpc(call, call.body)
        try:
            return Answer.of(await endpoint.result(a2a.asked("0.3", method, call.body), "0.3", call))
        except A2aError as error:
            raise _problem(error) from None

    async def send(call: Call) -> Answer:
        return await bare(call, "message/send")

    async def get(call: Call) -> Answer:
        return await bare(call, "tasks/get")

    async def tasks(call: Call) -> Answer:
        asked = a2a.ListTasks(call.number("limit", a2a.PAGE, a2a.MAX_PAGE), call.query.get("cursor", ""))
        try:
            return Answer.of(await endpoint.result(asked, "0.3", call))
        except A2aError as error:
            raise _problem(error) from None

    rpc = (
        "A2A 1.0 and 0.3 over JSON-RPC, see docs/a2a.md. What is wrong with a request is a JSON-RPC error; methods "
        "that stream answer with text/event-stream."
    )
    envelope = {"action": "read", "schema": _ENVELOPE, "query": _VERSION, "reads_itself": True}
    page = {"limit": f"Tasks per page, {a2a.PAGE} unless told, {a2a.MAX_PAGE} at most"}
    return [
        Route("GET", CARD, "What this agent says of itself to anybody: the card of A2A.", card, None, query=_VERSION),
        *(Route("POST", path, rpc, endpoint.rpc_bytes, **envelope) for path in ("/", PATH, f"{PATH}/")),  # type: ignore[arg-type]
        Route(
            "GET",
            "/a2a/tasks",
            "Runs as tasks of A2A 0.3 without their artifacts, those that changed last first.",
            tasks,
            query={**page, "cursor": "nextPageToken of the page before"},
        ),
        Route(
            "POST",
            "/a2a/message/send",
            "The params of message/send of A2A 0.3, without an envelope: begins a run, and answers with its task.",
            send,
            action="run",
            schema={"type": "object"},
        ),
        Route(
            "POST",
            "/a2a/tasks/get",
            "The params of tasks/get of A2A 0.3, without an envelope: answers with the task.",
            get,
            schema={"type": "object"},
        ),
    ]


def _is_known(said: str | None, tag: str) -> bool:
    """Whether If-None-Match (RFC 9110, section 13.1.2) names this ETag."""
    return said is not None and any(each.strip().removeprefix("W/") in (tag, "*") for each in said.split(","))


def _problem(error: A2aError) -> PraxisError:
    """An error of A2A where there is no envelope for it."""
    data: dict[str, JSON] = {"a2a_code": error.code}
    if error.code == a2a.TASK_NOT_FOUND:
        return PraxisError("not_found", error.message, data=data)
    if error.code == a2a.NOT_NOW:
        return PraxisError("unavailable", error.message, data=data)
    return PraxisError("invalid", error.message, where=error.field, data=data)
