"""The two sides of a request on a line: what a peer asks of us, and what we wait for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.tool import Ask

Emit = Callable[[str, Mapping[str, Any]], None]
"""Takes what an EVENT says: the method of an MCP notification, and its params."""


@attrs.frozen
class PeerRequest:
    """What a peer asks of us."""

    peer: PeerId
    peer_name: str
    method: str
    params: Any
    trace: str | None
    emit: Emit
    """Tells the caller how it goes; never blocks."""
    ask: Ask
    """Asks the caller, who answers as part of this request (``mcp.ask``). Raises PraxisError."""
    asker: Callable[[Any], Ask | None]
    """What answers questions about a request of ours on this line, by the number of its stream."""


Handler = Callable[[PeerRequest], Awaitable[Any]]
"""Answers a request with a JSON value or raises PraxisError; is cancelled with the request."""


@attrs.define
class Serving:
    """A request of the peer that is being served."""

    method: str
    scope: trio.CancelScope
    cancelled: bool = False


def hear(on_event: Emit, value: Any) -> None:
    """Pass an EVENT on, unless it is none: peers of later versions may say more."""
    match value:
        case {"m": str(method), "p": dict(params)}:
            on_event(method, params)


class Pending:
    """An answer to come: set by the reader, awaited by the caller, in whichever order. Lighter than an event."""

    __slots__ = ("_task", "done", "error", "mark", "on_ask", "on_event", "value")

    def __init__(self, mark: int = 0, on_event: Emit | None = None, on_ask: Ask | None = None) -> None:
        self.mark = mark
        """How much had been queued on the line before the request."""
        self.on_event = on_event
        self.on_ask = on_ask
        self.done = False
        self.value: Any = None
        self.error: PraxisError | None = None
        self._task: trio.lowlevel.Task | None = None

    def finish(self, value: Any, error: PraxisError | None = None) -> None:
        """The first call counts."""
        if self.done:
            return
        self.value, self.error, self.done = value, error, True
        if self._task is not None:
            reschedule(self._task)
            self._task = None

    async def wait(self) -> None:
        """For one task only."""
        if not self.done:
            self._task = current_task()
            await wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
