"""One client's conversation, from the accepted handshake to the closing one."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from typing import Protocol

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.config.schema import WebSocket
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import JSON
from praxis.observe.metrics import Counter
from praxis.websocket.fanout import Fanout, View, Watcher
from praxis.websocket.line import Line
from praxis.websocket.messages import (
    RUN_EVENTS,
    Cancel,
    ChatMessage,
    DslCommand,
    ExecuteWorkflow,
    RequestError,
    Subscribe,
    error_payload,
    parse,
    result_payload,
    text_frame,
)
from praxis.websocket.outbox import Outbox
from praxis.workflow.asking import Planned
from praxis.workflow.order import Order

logger = logging.getLogger(__name__)

COMMANDS_AT_ONCE = 8
"""Programs of one client that run at once. A program runs its steps in parallel itself; more is a script gone wild."""

CANCELS_AT_ONCE = 8
"""Cancellations of one client that are waited for at once: one for each of its programs."""

CLOSE_TIMEOUT = 1.0
"""Seconds for what is queued to go out, and again for the client to answer the closing frame."""

GOING_AWAY, TOO_LARGE, FAULT = 1001, 1009, 1011


class Executor(Protocol):
    """What the gateway needs of `praxis.workflow.executor.Executor`."""

    async def execute(self, text: str, principal: Principal, *, order: Order) -> RunRecord: ...

    async def cancel(self, run_id: str) -> RunRecord: ...

    def get(self, run_id: str) -> RunRecord: ...


class Asking(Protocol):
    """What the gateway needs of `praxis.workflow.asking.Asking`."""

    async def plan(self, request: str) -> Planned: ...


@attrs.frozen
class Counters:
    messages: Counter
    """By direction: in, out."""
    cut: Counter
    dropped: Counter
    refused: Counter
    """Handshakes, by status."""
    faults: Counter


@attrs.frozen
class Shared:
    """What all clients of a gateway have in common."""

    config: WebSocket
    agent: str
    executor: Executor
    asking: Asking
    policy: Policy
    fanout: Fanout
    counters: Counters
    stopping: trio.Event
    grace: float


@attrs.define(eq=False)
class Client:
    shared: Shared
    principal: Principal
    connection: WebSocketConnection
    line: Line
    outbox: Outbox
    _commands: int = 0
    _cancels: int = 0
    _idle: trio.Event = attrs.field(factory=trio.Event)
    _close_with: tuple[int, str] = (1000, "")
    _conversation: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Until one side closes. Runs that the client started and that are under way then are cancelled."""
        with self.outbox.cut as cut:
            async with trio.open_nursery() as sending:
                sending.start_soon(self._write)
                await self._converse()
                self.outbox.close()
                sending.cancel_scope.deadline = trio.current_time() + CLOSE_TIMEOUT
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self.connection.aclose(*self._close_with)
        if cut.cancelled_caught:
            self.shared.counters.cut.inc()
            logger.warning("a WebSocket client of %s was cut off: it has stopped reading", self.principal.name)

    async def _converse(self) -> None:
        """Everything but sending. Sets what the connection is to be closed with."""
        try:
            with self.shared.fanout.watching(self.outbox) as watcher, self._conversation:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_alive)
                    nursery.start_soon(self._leave_on_stop)
                    await self._read(nursery, watcher)
                    nursery.cancel_scope.cancel()
        except Exception:  # the one wide net around a connection: a fault here must not reach the other clients
            self.shared.counters.faults.inc()
            logger.exception("a WebSocket client of %s met a fault of the gateway", self.principal.name)
            self._close_with = FAULT, "a fault of the agent; its log says more"

    # -- in -----------------------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery, watcher: Watcher) -> None:
        limit = self.shared.config.max_message
        while True:
            try:
                message = await self.connection.get_message()
            except ConnectionClosed:
                return
            self.shared.counters.messages.inc(1, "in")
            if isinstance(message, bytes):
                await self._answer_error(PraxisError("invalid", "a binary message", hint="messages are JSON texts"))
                continue
            # trio-websocket's own limit counts characters.
            if len(message) > limit // 4 and len(message.encode()) > limit:
                await self._answer("error", too_large(limit))
                self._close_with = TOO_LARGE, "message too large"
                return
            try:
                await self._handle(message, nursery, watcher)
            except PraxisError as error:
                await self._answer_error(error, request=error.request if isinstance(error, RequestError) else None)

    async def _handle(self, message: str, nursery: trio.Nursery, watcher: Watcher) -> None:
        """Carry out one message, or start to. Raises PraxisError for what the client got wrong."""
        match parse(message):
            case DslCommand(command, workflow_id):
                await self._start(nursery, "DSL_COMMAND", command, Order(run_id=workflow_id))
            case ExecuteWorkflow(graph, workflow_id, params, given):
                program = json.dumps(graph, ensure_ascii=False)
                await self._start(nursery, "EXECUTE_WORKFLOW", program, Order(params, given, run_id=workflow_id))
            case Cancel(run_id):
                self._check_may_run("CANCEL")
                if self._cancels >= CANCELS_AT_ONCE:
                    error = PraxisError("busy", f"{self._cancels} of your cancellations are under way")
                    await self._answer_error(error, request="CANCEL", run_id=run_id)
                    return
                self._cancels += 1
                nursery.start_soon(self._cancel, run_id)
            case Subscribe(run_id, types):
                watcher.change(View(run_id, types or RUN_EVENTS))
                shown: list[JSON] = sorted(watcher.view.types)
                await self._answer("subscribed", {"runId": run_id, "types": shown})
            case ChatMessage(content):
                await self._start(nursery, "CHAT_MESSAGE", content, Order())

    async def _start(self, nursery: trio.Nursery, request: str, program: str, order: Order) -> None:
        """Begin to run a program, or a request in plain language. Raises PraxisError for what the client got wrong."""
        self._check_may_run(request)
        if order.run_id is not None:
            self._check_free(order.run_id)
        if self._commands >= COMMANDS_AT_ONCE:
            hint = "wait for one of them to end"
            error = PraxisError("busy", f"{self._commands} of your commands are under way", hint=hint)
            await self._answer_error(error, request=request, run_id=order.run_id)
            return
        self._commands += 1
        order = attrs.evolve(order, run_id=order.run_id or f"ws-{secrets.token_hex(8)}")
        nursery.start_soon(self._execute, request, program, order)

    def _check_may_run(self, request: str) -> None:
        if self.shared.stopping.is_set():
            raise PraxisError("unavailable", f"{request}: the agent is stopping")
        self.shared.policy.authorize(self.principal, "run")

    def _check_free(self, run_id: str) -> None:
        try:
            self.shared.executor.get(run_id)
        except PraxisError:
            return
        raise PraxisError("conflict", f"there is a run {run_id!r} already", hint="choose another workflowId, or none")

    async def _execute(self, request: str, program: str, order: Order) -> None:
        run_id = order.run_id
        command = request if request == "EXECUTE_WORKFLOW" else program
        try:
            if request == "CHAT_MESSAGE":
                planned = await self.shared.asking.plan(program)
                await self._answer("chatMessage", {"content": planned.say, "sender": self.shared.agent})
                program = planned.program
            message = "the program is being planned"
            planning = {"workflowId": run_id, "command": command, "stage": "planning", "message": message}
            await self._answer("dslProgress", planning)
            record = await self.shared.executor.execute(program, self.principal, order=order)
            await self._answer("dslResult", result_payload(command, record))
        except PraxisError as error:
            await self._answer_error(error, request=request, run_id=run_id)
        except Exception:  # the one wide net around a call
            await self._answer_fault(request, run_id)
        finally:
            self._commands -= 1
            if not self._commands and self.shared.stopping.is_set():
                self._idle.set()

    async def _cancel(self, run_id: str) -> None:
        try:
            record = await self.shared.executor.cancel(run_id)
            stage = record.state
            payload = {"workflowId": run_id, "stage": stage, "message": f"the run was {stage}"}
            await self._answer("dslProgress", payload)
        except PraxisError as error:
            await self._answer_error(error, request="CANCEL", run_id=run_id)
        except Exception:  # the one wide net around a call
            await self._answer_fault("CANCEL", run_id)
        finally:
            self._cancels -= 1

    # -- out ----------------------------------------------------------------------------------------

    async def _answer(self, type: str, payload: Mapping[str, JSON]) -> None:
        """Queue a message to this client alone, behind all events that were published before."""
        await self.outbox.wait_room()
        fanout = self.shared.fanout
        fanout.catch_up()
        self.outbox.put(text_frame(type, fanout.next_seq(), payload))

    async def _answer_error(self, error: PraxisError, *, request: str | None = None, run_id: str | None = None) -> None:
        await self._answer("error", error_payload(error, request=request, run_id=run_id))

    async def _answer_fault(self, request: str, run_id: str | None) -> None:
        self.shared.counters.faults.inc()
        logger.exception("%s of run %s met a fault", request, run_id)
        error = PraxisError("internal", "a fault of the agent; its log says more")
        await self._answer_error(error, request=request, run_id=run_id)

    async def _write(self) -> None:
        """Send what is queued, joined; ends with the queue, or the conversation when nothing can be sent."""
        try:
            while (taken := await self.outbox.take()) is not None:
                data, count = taken
                await self.line.send_frames(data)
                self.outbox.sent(count)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._conversation.cancel()

    # -- time ---------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        config = self.shared.config
        try:
            while True:
                await trio.sleep(config.ping_interval)
                with trio.move_on_after(config.pong_timeout) as patience:
                    await self.connection.ping()
                if patience.cancelled_caught:
                    self._close(FAULT, "no answer to a ping")
        except ConnectionClosed:
            self._conversation.cancel()

    async def _leave_on_stop(self) -> None:
        await self.shared.stopping.wait()
        if self._commands:
            with trio.move_on_after(self.shared.grace):
                await self._idle.wait()
        self._close(GOING_AWAY, "the agent is stopping")

    def _close(self, code: int, reason: str) -> None:
        self._close_with = code, reason
        self._conversation.cancel()


def too_large(limit: int) -> dict[str, JSON]:
    """The payload of the error that goes before closing with 1009."""
    return {"message": f"a message of more than {limit} bytes; the connection is closed", "code": "too_large"}
