"""One call of an agent somewhere else: a message, and its task until that has ended, or is cancelled there."""

from __future__ import annotations

import secrets

import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, ToolResult
from praxis.tools.a2a_http import AgentHttp
from praxis.wire.a2a_answer import result_of
from praxis.wire.a2a_foreign_card import ForeignCard, plain
from praxis.wire.a2a_task_view import TaskError, TaskTooLargeError, TaskView, send_params

FIRST_PAUSE, MAX_PAUSE, GROWTH = 0.25, 10.0, 1.5
"""Seconds between two looks at a task, and how they grow: short tasks are seen soon, long ones cost little."""
MISSES = 5
"""Looks in a row that may fail: an agent that is started again keeps its tasks, and needs some seconds."""
CANCEL_LIMIT = 3.0
"""Seconds for cancelling a task that nobody waits for any more, with learning which it is."""
MAX_PROGRESS = 500
"""Characters of an agent's words about its progress."""


class AgentCall:
    """`what` is the full name of the tool, for errors; `timeout` are the seconds that the task may take."""

    def __init__(self, http: AgentHttp, card: ForeignCard, what: str, context: CallContext, timeout: float) -> None:
        self._http = http
        self._card = card
        self._what = what
        self._context = context
        self._timeout = timeout
        self._task = TaskView()
        self._begun = trio.Event()
        self._done = trio.Event()
        self._error: PraxisError | None = None
        self._told = 0

    async def run(self, words: str, values: JSON, skill: str) -> ToolResult:
        """Send the message and wait for the end of its task.

        Raises PraxisError: ``timeout``, ``too_large``, ``unavailable``, and what the agent refuses with. Whenever this
        ends before the task does, the task is cancelled where it is.
        """
        params = send_params(self._card.version, secrets.token_hex(16), words, values, skill)
        async with trio.open_nursery() as nursery:
            scope = await nursery.start(self._converse, params)
            try:
                with trio.move_on_after(self._timeout):
                    await self._done.wait()
            finally:
                with trio.move_on_after(CANCEL_LIMIT, shield=True):
                    if not self._done.is_set():
                        # A message that has been sent begins a task, and only the answer says which.
                        await self._begun.wait()
                    scope.cancel()
                    await self._cancel()
                scope.cancel()
        if self._error is not None:
            raise self._error
        if not self._done.is_set():
            told = f"{self._what}: the task has not ended within {self._timeout:g} s"
            raise PraxisError("timeout", told, delivered=True)
        return result_of(self._task)

    async def _converse(
        self, params: dict[str, JSON], *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Shielded, so that a call that is cancelled can still learn which task it has begun; `run` ends it."""
        with trio.move_on_after(self._timeout + CANCEL_LIMIT, shield=True) as scope:
            task_status.started(scope)
            try:
                await self._follow(params)
            except PraxisError as error:
                self._error = error
            except TaskError as error:
                code = "too_large" if isinstance(error, TaskTooLargeError) else "unavailable"
                self._error = PraxisError(code, f"{self._what}: {error}", delivered=True)  # type: ignore[arg-type]
            self._begun.set()
            self._done.set()

    async def _follow(self, params: dict[str, JSON]) -> None:
        if not self._card.streaming:
            self._take(await self._http.ask(self._card, "send", params))
        else:
            try:
                await self._http.stream(self._card, params, self._take)
            except PraxisError as error:
                # A stream that breaks has not broken its task (section 3.5.2).
                if error.code != "unavailable" or not self._task.id:
                    raise
        if not self._task.id and not self._task.over:
            raise TaskError("it has answered without a task")
        await self._poll()

    async def _poll(self) -> None:
        pause, misses = FIRST_PAUSE, 0
        while not self._task.over:
            await trio.sleep(pause)
            pause = min(pause * GROWTH, MAX_PAUSE)
            # 1.0 leaves the history out for 0; 0.3 has it be what is not set, so one message is asked for.
            length = 0 if self._card.version == "1.0" else 1
            try:
                task = await self._http.ask(self._card, "get", {"id": self._task.id, "historyLength": length})
            except PraxisError as error:
                misses += 1
                if error.code not in ("unavailable", "busy", "timeout") or misses >= MISSES:
                    error.delivered = True
                    raise
                continue
            misses = 0
            before = (self._task.state, self._task.words)
            self._task.take_task(task)
            if (self._task.state, self._task.words) != before:
                self._tell()

    def _take(self, result: JSON) -> bool:
        """Whether the task needs nothing more."""
        says_state = self._task.take(result)
        self._begun.set()
        if says_state:
            self._tell()
        return self._task.over

    def _tell(self) -> None:
        """Progress is counted, since MCP wants a number that grows, and A2A has none."""
        if self._context.on_progress is None or self._task.over:
            return
        self._told += 1
        words = plain(self._task.words, MAX_PROGRESS) or self._task.state
        self._context.on_progress({"progress": self._told, "message": words})

    async def _cancel(self) -> None:
        """Cancel the task, if there is one that goes on and nobody waits for."""
        waits = self._done.is_set() and self._error is None
        if waits or not self._task.cancellable:
            return
        try:
            await self._http.ask(self._card, "cancel", {"id": self._task.id})
        except PraxisError:
            return  # it has ended meanwhile, or cannot be reached: nothing more can be done from here
