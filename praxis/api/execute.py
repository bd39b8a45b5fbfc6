"""Running programs and calling tools."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from praxis.api.records import run_json
from praxis.api.route import Answer, Call, Route, object_schema
from praxis.api.services import Services
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, ToolRef
from praxis.workflow.order import Order

Rpc = Callable[[Call, JSON], Awaitable[Answer]]
MAX_KEY = 200
"""Characters of an Idempotency-Key."""

PROGRAM = {"type": "string", "description": "A program, see docs/dsl.md", "minLength": 1}
_REQUEST = {"type": "string", "description": "Plain words that a model plans, see docs/planner.md", "minLength": 1}
TIMEOUT = {"type": "number", "exclusiveMinimum": 0, "description": "Seconds, at most runs.timeout"}
GRAPH: dict[str, Any] = {
    "nodes": {"type": "array", "description": "Nodes of a graph in place of a program, see docs/graphs.md"},
    "edges": {"type": "array", "description": "Its edges"},
    "on_failure": {"enum": ["stop", "continue"], "description": "Whether what does not wait for a failed node goes on"},
}
GIVEN: dict[str, Any] = {
    "params": {"type": "object", "description": "What ${params.x} stands for"},
    "secrets": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "What ${secrets.x} stands for; kept nowhere",
    },
}

_RPC: dict[str, Any] = {
    "jsonrpc": {"description": "A request of A2A in place of a program, see docs/a2a.md"},
    "id": {"description": "Its id"},
    "method": {"description": "Its method"},
}


FORMS = ("dsl", "nodes", "request")
"""What a body says its work in."""


def check_form(body: dict[str, JSON]) -> None:
    """Raises PraxisError("invalid") for more than one form, or none."""
    if sum(form in body for form in FORMS) != 1:
        hint = '"dsl", "nodes" or "request"'
        raise PraxisError("invalid", "expected either a program, nodes or a request", where="body", hint=hint)


def program_of(body: dict[str, JSON]) -> str:
    """The program in a body, or its graph as JSON."""
    graph = {key: body[key] for key in ("nodes", "edges", "on_failure") if key in body}
    return str(body["dsl"]) if "dsl" in body else json.dumps(graph, ensure_ascii=False)


def key_of(call: Call) -> str | None:
    """The Idempotency-Key. Raises PraxisError("invalid")."""
    key = call.header("Idempotency-Key")
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isprintable()):
        raise PraxisError("invalid", f"expected 1 to {MAX_KEY} visible characters", where="Idempotency-Key")
    return key


def routes(services: Services, rpc: Rpc | None) -> list[Route]:
    """`rpc` answers a body that is a request of JSON-RPC; None: such a body is refused."""
    executor, asking = services.executor, services.asking

    async def execute(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        if "jsonrpc" in body:
            if rpc is None:
                raise PraxisError("not_found", "this agent takes no requests of A2A", where="body.jsonrpc")
            return await rpc(call, body)
        check_form(body)
        order = Order(
            body.get("params", {}),
            body.get("secrets", {}),
            timeout=body.get("timeout"),
            key=key_of(call),
        )
        if "request" in body:
            return Answer.of(run_json(await asking.run(body["request"], call.caller, order)))
        program = program_of(body)
        if order.key is None:
            return Answer.of(run_json(await executor.execute(program, call.caller, order=order)))
        # Who gives a key may lose the connection and ask again: the run is the agent's, not the connection's.
        begun = await services.background.start(program, call.caller, order)
        return Answer.of(run_json(await services.history.wait(begun)))

    async def plan(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        check_form(body)
        if "request" not in body:
            return Answer.of(await preview(program_of(body)))
        services.policy.authorize(call.caller, "run")  # a model costs money
        names = {key: body.get(key, {}) for key in ("params", "secrets")}
        planned = await asking.plan(body["request"], **names, timeout=body.get("timeout"))
        return Answer.of({**await preview(planned.program), "say": planned.say, "program": planned.program})

    async def preview(program: str) -> dict[str, JSON]:
        return {"steps": await executor.preview(program), "graph": await executor.preview_graph(program)}

    async def call_tool(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        result = await executor.call(ToolRef.parse(body["tool"]), body.get("arguments", {}), call.caller)
        return Answer.of(result.value)

    async def call_peer(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        ref = ToolRef.parse(body["tool_name"])
        result = await executor.call(ref, body.get("args", {}), call.caller, peer_id=body["peer_id"])
        return Answer.of(result.value)

    work: dict[str, Any] = {"dsl": PROGRAM, "request": _REQUEST, "timeout": TIMEOUT, **GRAPH, **GIVEN}
    return [
        Route(
            "POST",
            "/execute",
            "Run a program, or what a model plans of a request; answers when it has ended. A program that could not "
            "begin is a problem; a run in which a step failed answers 200 with the status failed. Closing the "
            "connection cancels the run. The same request with the same Idempotency-Key header is run once. A "
            "request of A2A is answered as at /a2a/v1.",
            execute,
            action="run",
            schema=object_schema(**work, **_RPC),
            statuses={429: "runs.max_concurrent runs are under way, and runs.queue wait"},
        ),
        Route(
            "POST",
            "/plan",
            "What a program would do, and where, as steps and as a graph; nothing is run. Of a request also the "
            "program that a model has made of it, and what it says; that needs a role that may run.",
            plan,
            schema=object_schema(**work),
        ),
        Route(
            "POST",
            "/call",
            "Call one tool; answers with its result, unchanged.",
            call_tool,
            action="run",
            schema=object_schema(("tool",), tool={"type": "string"}, arguments={"type": "object"}),
        ),
        Route(
            "POST",
            "/p2p/tool",
            "Call a tool of one peer; answers with its result, unchanged.",
            call_peer,
            action="run",
            schema=object_schema(
                ("peer_id", "tool_name"),
                peer_id={"type": "string"},
                tool_name={"type": "string"},
                args={"type": "object"},
            ),
        ),
    ]
