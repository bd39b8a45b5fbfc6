"""Answers A2A's requests: a message begins a run, and every task is a run."""

from __future__ import annotations

import attrs

from praxis.api.a2a_program import program_of_message, values_of
from praxis.api.a2a_stream import Streams
from praxis.api.body import read_json
from praxis.api.route import Answer, Call
from praxis.api.services import Services
from praxis.journal.selection import Selection
from praxis.model.errors import Code, PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import JSON
from praxis.wire import a2a
from praxis.wire.a2a import A2aError, Asked, Message, Send, Version
from praxis.wire.a2a_card import address_of, card_of
from praxis.wire.a2a_tasks import ENDED, TASK_STATES, context_of, runs_in, task_of
from praxis.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, PARSE_ERROR, Id, response
from praxis.workflow.history import RESUMABLE

CODES: dict[Code, int] = {
    "busy": a2a.NOT_NOW,
    "unavailable": a2a.NOT_NOW,
    "timeout": a2a.NOT_NOW,
    "cancelled": a2a.NOT_NOW,
    "internal": INTERNAL_ERROR,
}
"""What goes wrong before a run has begun; all else is wrong with the message."""
MAX_WHOLE = 10
"""Tasks of a page with artifacts: each may hold many results, and each of these megabytes."""


class A2aEndpoint:
    """JSON-RPC of A2A over one agent's runs.

    Whoever may read sees the tasks of all callers, as everywhere in the agent; whoever may run may begin and cancel.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._history = services.history
        self._streams = Streams(services.bus, services.history)

    async def rpc_bytes(self, call: Call) -> Answer:
        """A body that is no JSON yet. Raises PraxisError as `rpc` does, and for a body of another type."""
        try:
            value = read_json(call.header("content-type") or "", call.body)
        except PraxisError as error:
            if error.data.get("status") == 415:
                raise
            return _answer(A2aError(PARSE_ERROR, str(error)).line(None))
        return await self.rpc(call, value)

    async def rpc(self, call: Call, value: JSON) -> Answer:
        """One request; what is wrong with it is a JSON-RPC error. Raises PraxisError("denied")."""
        try:
            version = version_of(call)
            request = a2a.request_of(value)
            asked = a2a.asked(version, request.method, request.params)
            if isinstance(asked, a2a.Subscribe) or (isinstance(asked, Send) and asked.streams):
                return await self._stream(asked, version, call, request.id)
            return _answer(response(request.id, await self.result(asked, version, call)))
        except A2aError as error:
            return _answer(error.line(a2a.id_of(value)))

    async def result(self, asked: Asked, version: Version, call: Call) -> JSON:
        """What a request that is answered once is answered with. Raises A2aError, and PraxisError("denied")."""
        match asked:
            case Send(message, _, waits, history):
                run_id = await self._begin(message, call)
                run = await (self._history.wait(run_id) if waits else self._history.find(run_id))
                task = task_of(run, version, history=history)
                return {"task": task} if version == "1.0" else task
            case a2a.Get(task_id, history):
                return task_of(await self._find(task_id), version, history=history)
            case a2a.ListTasks():
                return await self._list(asked, version)
            case a2a.Cancel(task_id):
                return task_of(await self._cancel(task_id, call), version)
            case a2a.Subscribe():
                raise A2aError(a2a.UNSUPPORTED, "a stream is asked for over JSON-RPC")
            case a2a.ExtendedCard():
                services = self._services
                card = services.card()
                return card_of(card, address_of(card.url, call.header("host")), version, services.executor.catalog())

    async def _stream(self, asked: Send | a2a.Subscribe, version: Version, call: Call, id: Id) -> Answer:
        self._streams.check_room()
        if isinstance(asked, Send):
            run_id = await self._begin(asked.message, call)
        else:
            run = await self._find(asked.task)
            if TASK_STATES[run.state] in ENDED:
                told = f"task {run.id[:60]} has ended ({run.state}): there is nothing to come"
                raise A2aError(a2a.UNSUPPORTED, told, metadata={"taskId": run.id})
            run_id = run.id
        return Answer(
            self._streams.stream(run_id, version, id),
            content_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _find(self, task_id: str) -> RunRecord:
        try:
            return await self._history.find(task_id)
        except PraxisError as error:
            if error.code != "not_found":
                raise _told(error) from None
            told = f"there is no task {task_id[:60]!r}; ended ones are kept for a while, see runs.retention"
            raise A2aError(a2a.TASK_NOT_FOUND, told, metadata={"taskId": task_id}) from None

    async def _begin(self, message: Message, call: Call) -> str:
        """Begin the run that a message wants, or go on with the one that it names; its id."""
        self._services.policy.authorize(call.caller, "run")
        try:
            if message.task:
                return await self._go_on(message, call)
            wanted = await program_of_message(message, self._services.asking)
            order = attrs.evolve(wanted.order, context=message.context)
            return await self._services.background.start(wanted.program, call.caller, order)
        except PraxisError as error:
            raise _told(error) from None

    async def _go_on(self, message: Message, call: Call) -> str:
        run = await self._find(message.task)
        if message.context not in ("", context_of(run)):
            where = "message.contextId"
            raise A2aError(INVALID_PARAMS, f"task {run.id} is of the context {context_of(run)}", field=where)
        if run.state not in RESUMABLE:
            told = f"task {run.id} takes no messages: it is {run.state}"
            raise A2aError(a2a.UNSUPPORTED, told, metadata={"taskId": run.id})
        values = values_of(message)
        if message.words.strip() or values.keys() != {"secrets"}:
            raise A2aError(INVALID_PARAMS, 'expected data {"secrets": {...}} alone', field="message.parts")
        try:
            run, order = await self._history.order_to_resume(run.id, secrets=values["secrets"])
        except PraxisError as error:
            raise A2aError(a2a.UNSUPPORTED, str(error), metadata={"taskId": run.id}) from None
        return await self._services.background.start(run.program, call.caller, order)

    async def _cancel(self, task_id: str, call: Call) -> RunRecord:
        """Returns when everything of it is gone."""
        self._services.policy.authorize(call.caller, "run")
        await self._find(task_id)
        try:
            return await self._history.cancel(task_id)
        except PraxisError as error:
            if error.code != "conflict":
                raise _told(error) from None
            raise A2aError(a2a.TASK_NOT_CANCELABLE, str(error), metadata={"taskId": task_id}) from None

    async def _list(self, asked: a2a.ListTasks, version: Version) -> JSON:
        states = runs_in(asked.state) if asked.state else None
        size = min(asked.size, MAX_WHOLE) if asked.artifacts else asked.size
        selection = Selection(size, states, asked.context, asked.since, asked.cursor, steps=asked.artifacts)
        try:
            found = await self._history.select(selection)
        except PraxisError as error:
            field = "pageToken" if error.where == "cursor" else ""
            raise A2aError(CODES.get(error.code, INVALID_PARAMS), error.detail, field=field) from None
        show = {"history": asked.history, "artifacts": asked.artifacts}
        tasks = [task_of(run, version, **show) for run in found.runs]  # type: ignore[arg-type]
        return {"tasks": tasks, "nextPageToken": found.cursor, "pageSize": size, "totalSize": found.total}


def version_of(call: Call) -> Version:
    """The version that a request names, section 3.6.1. Raises A2aError."""
    return a2a.version_of(call.header("A2A-Version") or call.query.get("A2A-Version"))


def _told(error: PraxisError) -> Exception:
    """A refusal by the agent in A2A's words; what is a matter of rights stays what it is."""
    if error.code in ("denied", "unauthenticated"):
        return error
    code = CODES.get(error.code, INVALID_PARAMS)
    return A2aError(code, str(error), field="message.parts" if code == INVALID_PARAMS else "")


def _answer(line: bytes) -> Answer:
    return Answer(line, headers={"Cache-Control": "no-store"})
