"""Running programs and calling tools."""

from __future__ import annotations

from typing import Any

from praxis.api.records import run_json
from praxis.api.route import Answer, Call, Route, object_schema
from praxis.api.services import Services
from praxis.model.tool import ToolRef

_PROGRAM = {"type": "string", "description": "A program, see docs/dsl.md", "minLength": 1}
_TIMEOUT = {"type": "number", "exclusiveMinimum": 0, "description": "Seconds, at most runs.timeout"}


def routes(services: Services) -> list[Route]:
    executor = services.executor

    async def execute(call: Call) -> Answer:
        run = await executor.execute(call.body["dsl"], call.caller, timeout=call.body.get("timeout"))
        return Answer.of(run_json(run))

    async def plan(call: Call) -> Answer:
        return Answer.of({"steps": await executor.preview(call.body["dsl"])})

    async def call_tool(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        result = await executor.call(ToolRef.parse(body["tool"]), body.get("arguments", {}), call.caller)
        return Answer.of(result.value)

    async def call_peer(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        ref = ToolRef.parse(body["tool_name"])
        result = await executor.call(ref, body.get("args", {}), call.caller, peer_id=body["peer_id"])
        return Answer.of(result.value)

    return [
        Route(
            "POST",
            "/execute",
            "Run a program; answers when it has ended. A program that could not begin is a problem; a run in which a "
            "step failed answers 200 with the status failed. Closing the connection cancels the run.",
            execute,
            action="run",
            schema=object_schema(("dsl",), dsl=_PROGRAM, timeout=_TIMEOUT),
            statuses={429: "runs.max_concurrent runs are under way"},
        ),
        Route(
            "POST",
            "/plan",
            "What a program would do, and where; nothing is run.",
            plan,
            schema=object_schema(("dsl",), dsl=_PROGRAM),
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
