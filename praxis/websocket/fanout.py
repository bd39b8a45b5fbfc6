"""From the event bus to the outboxes: each event is encoded once, and joined once for all who see the same events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from praxis.model.event import Event
from praxis.observe.events import Batch, Subscription, matches
from praxis.websocket.messages import RUN_EVENTS
from praxis.websocket.outbox import Outbox

logger = logging.getLogger(__name__)

BUS_LIMIT = 16_384
"""Events that may wait for the fan-out. It never waits for a client, so only a burst within one step of another task
can reach this."""

PIECE_BYTES = 64 * 1024
"""Bytes that are joined for all clients of a view; small beside an outbox, so that a full one loses little at once."""


@attrs.frozen
class View:
    """Which events a client sees: those of one run or of all, of some types (see `matches`)."""

    run_id: str | None = None
    types: frozenset[str] = RUN_EVENTS

    def shows(self, event: Event) -> bool:
        return (self.run_id is None or self.run_id == event.run_id) and matches(self.types, event.type)


class Fanout:
    """Hands what comes out of `subscription` to everybody who watches, as `encode` makes it of an event and its number.

    Messages are numbered here, answers to one client among them, so that the numbers of each client grow and an event
    has one number for all: its frame is the same for everybody.
    """

    def __init__(self, subscription: Subscription, encode: Callable[[Event, int], bytes]) -> None:
        self.seq = 0
        """The number of the last message, to whomever it was."""
        self._subscription = subscription
        self._encode = encode
        self._views: dict[View, list[Outbox]] = {}

    async def run(self) -> None:
        """Hand out events as they come; does not return."""
        while True:
            self._spread(await self._subscription.receive())

    def catch_up(self) -> None:
        """Hand out now what has been published up to now, so that what is queued next comes after it."""
        self._spread(self._subscription.receive_nowait())

    def next_seq(self) -> int:
        """The number of a message to one client, which comes after all that has been handed out."""
        self.seq += 1
        return self.seq

    @contextmanager
    def watching(self, outbox: Outbox) -> Iterator[Watcher]:
        """Hand events to `outbox` until the block is left; at first those of all runs."""
        watcher = Watcher(self, outbox, View())
        self._enter(watcher.view, outbox)
        try:
            yield watcher
        finally:
            self._leave(watcher.view, outbox)

    def _enter(self, view: View, outbox: Outbox) -> None:
        self._views.setdefault(view, []).append(outbox)

    def _leave(self, view: View, outbox: Outbox) -> None:
        outboxes = self._views[view]
        outboxes.remove(outbox)
        if not outboxes:
            del self._views[view]

    def _spread(self, batch: Batch) -> None:
        if batch.missed:
            self.seq += batch.missed
            for outboxes in self._views.values():
                for outbox in outboxes:
                    outbox.skip(batch.missed, self.seq)
        frames: dict[int, bytes | None] = {}
        for view, outboxes in self._views.items():
            self._spread_view(view, outboxes, batch, frames)
        self.seq += len(batch.events)

    def _spread_view(self, view: View, outboxes: list[Outbox], batch: Batch, frames: dict[int, bytes | None]) -> None:
        parts: list[bytes] = []
        size = last = 0
        for seq, event in enumerate(batch.events, self.seq + 1):
            if not view.shows(event):
                continue
            if seq not in frames:
                frames[seq] = self._frame(event, seq)
            frame = frames[seq]
            if frame is None:
                continue
            if parts and size + len(frame) > PIECE_BYTES:
                _offer(outboxes, parts, last)
                parts, size = [], 0
            parts.append(frame)
            size += len(frame)
            last = seq
        if parts:
            _offer(outboxes, parts, last)

    def _frame(self, event: Event, seq: int) -> bytes | None:
        try:
            return self._encode(event, seq)
        except Exception:  # a fault in one event must not end the delivery of all the others
            logger.exception("event %d (%s) cannot be shown to WebSocket clients", event.seq, event.type)
            return None


@attrs.define(eq=False)
class Watcher:
    """One client's place in the fan-out."""

    _fanout: Fanout
    _outbox: Outbox
    view: View

    def change(self, view: View) -> None:
        """See other events from now on; those published before are still handed out by the old view."""
        self._fanout.catch_up()
        self._fanout._leave(self.view, self._outbox)
        self.view = view
        self._fanout._enter(view, self._outbox)


def _offer(outboxes: list[Outbox], parts: list[bytes], seq: int) -> None:
    piece = parts[0] if len(parts) == 1 else b"".join(parts)
    count = len(parts)
    for outbox in outboxes:
        outbox.offer(piece, count, seq)
