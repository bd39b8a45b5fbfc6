"""Tools of Praxis itself, for those who come by MCP: running and looking at programs, and who is there."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import trio

from praxis.access.principal import Principal
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId, PeerView
from praxis.model.run import RunRecord
from praxis.model.tool import JSON, CallContext, Listener, ToolResult
from praxis.observe.events import EventBus
from praxis.tools.schema import Validator, compile_schema
from praxis.workflow.asking import Asking
from praxis.workflow.executor import Executor
from praxis.workflow.order import Order, plan_of
from praxis.workflow.runs import problem_of

_DSL = {"type": "string", "minLength": 1, "description": "A program, such as: CALL fs/list_files"}
_REQUEST = {
    "type": "string",
    "minLength": 1,
    "description": "In place of dsl: plain words, which the agent's own model plans",
}


def _tool(name: str, description: str, required: tuple[str, ...], properties: JSON, **hints: bool) -> dict[str, JSON]:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


DEFINITIONS = (
    _tool(
        "execute_workflow",
        "Run a program of tool calls in the network, given as dsl or as a request, and wait for its end. Answers with "
        "each step's state and the last result.",
        (),
        {
            "dsl": _DSL,
            "request": _REQUEST,
            "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds"},
        },
    ),
    _tool(
        "analyze_dsl",
        "Check a program and tell its steps, and for each which agent would run it and why. Nothing is run. With "
        "validate_only the text alone is checked.",
        ("dsl",),
        {"dsl": _DSL, "validate_only": {"type": "boolean", "default": False}},
        readOnlyHint=True,
    ),
    _tool(
        "list_p2p_peers",
        "The agents of the network that this agent knows, with their state and tools.",
        (),
        {},
        readOnlyHint=True,
    ),
    _tool(
        "send_p2p_message",
        "Send a text to another agent, by its name or id. Whoever watches its events gets it; nobody has to answer.",
        ("peer", "message"),
        {
            "peer": {"type": "string", "minLength": 1, "description": "Name or id; list_p2p_peers tells them"},
            "message": {"type": "string", "minLength": 1, "maxLength": 16384},
        },
    ),
)
"""As ``tools/list`` shows them."""


class Peers(Protocol):
    """What is asked of the peer registry."""

    def views(self) -> list[PeerView]: ...


Send = Callable[[str, str], Awaitable[PeerId]]
"""Sends a text to a peer, by name or id; its id when it has got it. Raises PraxisError."""
Call = Callable[[dict[str, JSON], Principal, CallContext], Awaitable[ToolResult]]


class OwnTools:
    """The tools by name; `validators` check their arguments."""

    def __init__(self, executor: Executor, asking: Asking, peers: Peers, bus: EventBus, send: Send) -> None:
        self._send = send
        self._executor = executor
        self._asking = asking
        self._peers = peers
        self._bus = bus
        self._calls: Mapping[str, Call] = {
            "execute_workflow": self._execute,
            "analyze_dsl": self._analyze,
            "list_p2p_peers": self._list_peers,
            "send_p2p_message": self._message,
        }
        self._validators: Mapping[str, Validator] = {
            tool["name"]: compile_schema(tool["inputSchema"]) for tool in DEFINITIONS
        }

    def has(self, name: str) -> bool:
        return name in self._calls

    async def call(
        self, name: str, arguments: dict[str, JSON], principal: Principal, context: CallContext
    ) -> ToolResult:
        """Call one. Raises PraxisError."""
        self._validators[name].check(arguments)
        return await self._calls[name](arguments, principal, context)

    async def _execute(self, arguments: dict[str, JSON], principal: Principal, context: CallContext) -> ToolResult:
        if ("dsl" in arguments) == ("request" in arguments):
            # Not in the schema: many clients know no alternatives at its top.
            raise PraxisError("invalid", "expected either dsl or request", where="arguments")
        run_id = secrets.token_hex(8)
        async with trio.open_nursery() as nursery:
            if context.on_progress is not None:
                await nursery.start(self._watch, run_id, context.on_progress)
            run = await self._run(arguments, principal, run_id)
            nursery.cancel_scope.cancel()
        if isinstance(run, PraxisError):
            raise run
        return _answer(_shown(run), is_error=run.state != "succeeded")

    async def _run(self, arguments: dict[str, JSON], principal: Principal, run_id: str) -> RunRecord | PraxisError:
        """The run, or why there was none: an error that is raised in a nursery comes out of it in a group."""
        order = Order(run_id=run_id, timeout=arguments.get("timeout"))
        try:
            if "request" in arguments:
                return await self._asking.run(arguments["request"], principal, order)
            return await self._executor.execute(arguments["dsl"], principal, order=order)
        except PraxisError as error:
            return error

    async def _watch(self, run_id: str, on_progress: Listener, *, task_status: trio.TaskStatus[None]) -> None:
        """Tell how many steps have ended."""
        ended = total = 0
        with self._bus.subscribe(types=["run.started", "step.finished"], run_id=run_id) as events:
            task_status.started()
            while True:
                for event in (await events.receive()).events:
                    if event.type == "run.started":
                        total = event.fields["steps"]
                    else:
                        ended += 1
                        on_progress({"progress": ended, "total": total, "message": f"step {event.fields['step']}"})

    async def _analyze(self, arguments: dict[str, JSON], principal: Principal, context: CallContext) -> ToolResult:
        try:
            if arguments.get("validate_only"):
                steps: list[Any] = [{"id": step.id, "tool": step.tool} for step in plan_of(arguments["dsl"]).calls()]
            else:
                steps = await self._executor.preview(arguments["dsl"])
        except PraxisError as error:
            return _answer({"valid": False, "problem": attrs.asdict(problem_of(error), recurse=False), "steps": []})
        return _answer({"valid": all("problem" not in step for step in steps), "steps": steps})

    async def _list_peers(self, arguments: dict[str, JSON], principal: Principal, context: CallContext) -> ToolResult:
        return _answer({"peers": [attrs.asdict(view) | {"connected": view.connected} for view in self._peers.views()]})

    async def _message(self, arguments: dict[str, JSON], principal: Principal, context: CallContext) -> ToolResult:
        peer_id = await self._send(arguments["peer"], arguments["message"])
        return _answer({"delivered": True, "peer_id": peer_id})


def _answer(value: dict[str, JSON], *, is_error: bool = False) -> ToolResult:
    """A result for programs, and the same as text for those that read text alone."""
    return ToolResult.of_text(json.dumps(value, ensure_ascii=False), is_error=is_error, structured=value)


def _shown(run: RunRecord) -> dict[str, JSON]:
    steps = []
    for step in run.steps:
        shown: dict[str, JSON] = {"id": step.id, "tool": step.tool, "state": step.state}
        if step.error is not None:
            shown["error"] = attrs.asdict(step.error, recurse=False)
        steps.append(shown)
    value: dict[str, JSON] = {"run_id": run.id, "status": run.state, "steps": steps, "result": run.result}
    if run.error is not None:
        value["error"] = attrs.asdict(run.error, recurse=False)
    return value
