"""Streams of A2A: a task as it is, then what happens to it, until it has ended (sections 3.1.2, 3.1.6 and 3.5.2).

A stream only watches. The run is a child of the agent, so closing a stream changes nothing for it or for other streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import trio

from praxis.api.events import KEEP_ALIVE
from praxis.model.run import RunRecord
from praxis.model.tool import JSON
from praxis.observe.events import EventBus
from praxis.wire.a2a import NOT_NOW, A2aError, Version
from praxis.wire.a2a_tasks import ENDED, TASK_STATES, TOLD, caught_up, end_of_stream, first_of_stream, updates_of
from praxis.wire.jsonrpc import Id, response
from praxis.wire.sse import COMMENT, encode_event
from praxis.workflow.history import History

MAX_STREAMS = 256
"""Streams at once: each holds a connection and up to a thousand events, and a few clients watch a handful of tasks."""


class Streams:
    """The streams of one agent."""

    def __init__(self, bus: EventBus, history: History) -> None:
        self._bus = bus
        self._history = history
        self._open = 0

    def check_room(self) -> None:
        """Raises A2aError when there are as many as there may be."""
        if self._open >= MAX_STREAMS:
            raise A2aError(NOT_NOW, f"{MAX_STREAMS} streams are open; ask for the task from time to time instead")

    async def stream(self, run_id: str, version: Version, id: Id) -> AsyncIterator[bytes]:
        """Server-sent events, each a JSON-RPC response to the request `id`. Raises PraxisError("not_found")."""
        self._open += 1
        try:
            # Between a look at a run under way and the next wait nobody else gets a turn: no event is told twice.
            with self._bus.subscribe(types=TOLD, run_id=run_id) as subscription:
                run = await self._history.find(run_id)
                over = _is_over(run)
                yield _encode([first_of_stream(run, version)], id)
                while not over:
                    with trio.move_on_after(KEEP_ALIVE) as patience:
                        batch = await subscription.receive()
                    run = await self._history.find(run_id)
                    if patience.cancelled_caught:
                        # An interrupted run is cancelled in the journal alone, without an event.
                        over = _is_over(run)
                        yield _encode([end_of_stream(run, version)], id) if over else COMMENT
                        continue
                    over = any(event.type == "run.finished" for event in batch.events)
                    missed = caught_up(run, version) if batch.missed else []
                    updates = [*missed, *updates_of(batch.events, run, version)]
                    if updates:
                        yield _encode(updates, id)
        finally:
            self._open -= 1


def _is_over(run: RunRecord) -> bool:
    return TASK_STATES[run.state] in ENDED


def _encode(updates: Iterable[JSON], id: Id) -> bytes:
    """All that waited, in one write."""
    return b"".join(encode_event(response(id, update).decode().rstrip("\n")) for update in updates)
