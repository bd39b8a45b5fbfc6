"""Events as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import trio

from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services
from praxis.model.errors import PraxisError
from praxis.model.event import Event
from praxis.observe.events import Batch, EventBus, matches
from praxis.wire.sse import COMMENT, encode_event

KEEP_ALIVE = 15.0
"""Seconds of silence before a comment, so that nothing on the way takes the stream for dead."""
MAX_TYPES = 20
START, END = "run.started", "run.finished"
TYPES = {"types": "types or prefixes of them, separated by commas, such as run,step.finished"}
"""What a stream of events takes in its query."""


def routes(services: Services) -> list[Route]:
    async def events(call: Call) -> Answer:
        return event_stream(services.bus, call)

    return [
        Route(
            "GET",
            "/events",
            "What happens on this agent, as it happens. Last-Event-ID takes up where a client was cut; `gap` says how "
            "many events a slow client missed.",
            events,
            query=TYPES,
            produces="text/event-stream",
        )
    ]


def event_stream(
    bus: EventBus, call: Call, *, run_id: str | None = None, is_over: Callable[[], bool] | None = None
) -> Answer:
    """A stream of events; of one run from its start, which ends with it. Raises PraxisError for a bad parameter."""
    types = tuple(part.strip() for part in call.query.get("types", "").split(",") if part.strip())
    if len(types) > MAX_TYPES:
        raise PraxisError("invalid", f"more than {MAX_TYPES} types", where="query.types")
    after = _last_event_id(call)
    if after is None and run_id is not None:
        after = 0
    return Answer(
        _stream(bus, types, run_id, after, is_over),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _last_event_id(call: Call) -> int | None:
    text = call.header("last-event-id")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise PraxisError("invalid", f"{text[:20]!r} is no id of an event", where="Last-Event-ID")
    return int(text)


async def _stream(
    bus: EventBus, types: tuple[str, ...], run_id: str | None, after: int | None, is_over: Callable[[], bool] | None
) -> AsyncIterator[bytes]:
    of_run = run_id is not None
    # The end of a run ends its stream, and its start says that nothing is missing: both are heard also unasked.
    heard = (*types, START, END) if types and of_run else types
    with bus.subscribe(types=heard, run_id=run_id, after=after) as subscription:
        yield COMMENT  # the answer's head leaves at once
        while True:
            if is_over is not None and is_over():
                yield _encode(subscription.receive_nowait(), types, of_run)
                return
            with trio.move_on_after(KEEP_ALIVE) as patience:
                batch = await subscription.receive()
            if patience.cancelled_caught:
                yield COMMENT
                continue
            yield _encode(batch, types, of_run)
            if of_run and any(event.type == END for event in batch.events):
                return


def _encode(batch: Batch, types: tuple[str, ...], of_run: bool) -> bytes:
    """All that waited, in one write."""
    whole = of_run and bool(batch.events) and batch.events[0].type == START  # what is gone was of other runs
    missed = 0 if whole else batch.missed
    parts = [encode_event(json.dumps({"missed": missed}), event="gap")] if missed else []
    parts += [
        encode_event(event_json(event), event=event.type, id=str(event.seq))
        for event in batch.events
        if matches(types, event.type)
    ]
    return b"".join(parts)


def event_json(event: Event) -> str:
    """``{"seq", "time", "type", "run_id", "fields"}``."""
    value = {"seq": event.seq, "time": event.time, "type": event.type, "run_id": event.run_id, "fields": event.fields}
    return json.dumps(value, ensure_ascii=False)
