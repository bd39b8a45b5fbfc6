"""The event bus: what happens in the agent, handed to whoever wants to watch.

Publishing is synchronous and never waits for anybody: an event is appended to one bounded queue per subscriber, and a
subscriber that does not keep up loses its oldest events and is told how many. A Trio memory channel would hand over
one item per pass of the scheduler, so that a burst overruns even a fast reader; here a reader takes all that waits at
once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import attrs
import trio

from praxis.model.event import Event
from praxis.model.tool import JSON

HISTORY = 1000
"""Events kept for a subscriber that comes back: a minute of a busy agent, about half a megabyte."""

LIMIT = 1024
"""Events that may wait for one subscriber: a burst of a few hundred steps between two turns of its task."""

_MAX_ROUTES = 512
"""Event types whose subscribers are remembered. The house has a few dozen; over it the table starts anew."""


@attrs.frozen
class Batch:
    """What had been waiting: `missed` events are gone, and all of them came before the first of `events`.

    After a replay from the history `missed` counts every event of the hole, also those that the subscription would
    not have wanted: what they were is no longer known.
    """

    events: tuple[Event, ...]
    missed: int


@attrs.define(eq=False)
class Subscription:
    """One subscriber's queue; made by :meth:`EventBus.subscribe`."""

    limit: int
    types: frozenset[str]
    run_id: str | None
    _queue: deque[Event]
    _missed: int = 0
    _reader: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def receive(self) -> Batch:
        """Wait until something has happened, then take all of it. A checkpoint; cancelling it loses nothing."""
        await trio.lowlevel.checkpoint()
        while not self._queue and not self._missed:
            await self._reader.park()
        return self.receive_nowait()

    def receive_nowait(self) -> Batch:
        """Take all that has happened up to now, which may be nothing."""
        batch = Batch(tuple(self._queue), self._missed)
        self._queue.clear()
        self._missed = 0
        return batch


def matches(types: Collection[str], type: str) -> bool:
    """Whether `types` names this type: whole, or by what stands before one of its dots. No types name all."""
    if not types or type in types:
        return True
    end = type.find(".")
    while end >= 0:
        if type[:end] in types:
            return True
        end = type.find(".", end + 1)
    return False


class EventBus:
    """Hands events to subscribers, numbers them, and keeps the last ones.

    To be used from the Trio thread only.

    Args:
        clock: seconds since the epoch.
        history: how many past events `subscribe(after=...)` can replay.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, history: int = HISTORY) -> None:
        self.published = 0
        """Events so far, which is also the number of the last one."""
        self.dropped = 0
        """Deliveries that were lost because a subscriber's queue was full."""
        self._clock = clock
        self._history: deque[Event] = deque(maxlen=history)
        self._subscriptions: list[Subscription] = []
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        self._by_run: dict[str, list[Subscription]] = {}

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def publish(self, type: str, /, *, run_id: str | None = None, **fields: JSON) -> Event:
        """Tell everybody; returns the event. Never blocks. `fields` must be JSON-ready and stay unchanged."""
        self.published += 1
        event = Event(self.published, self._clock(), type, fields, run_id)
        self._history.append(event)
        routes = self._routes.get(type)
        for subscription in self._find_routes(type) if routes is None else routes:
            self._deliver(subscription, event)
        if self._by_run and run_id is not None:
            for subscription in self._by_run.get(run_id, ()):
                if matches(subscription.types, type):
                    self._deliver(subscription, event)
        return event

    @contextmanager
    def subscribe(
        self,
        *,
        limit: int = LIMIT,
        types: Collection[str] = (),
        run_id: str | None = None,
        after: int | None = None,
    ) -> Iterator[Subscription]:
        """Watch until the block is left.

        Args:
            limit: events that may wait; the oldest go first.
            types: whole names, or what stands before a dot: ``run`` means ``run.started`` and all its sisters.
            run_id: only the events of this run.
            after: first replay from the history what came after this number, and say what is no longer there. A
                number that has not been reached yet is from an earlier process: everything is new to its owner.
        """
        if limit < 1:
            raise ValueError(f"expected a limit of 1 or more, got {limit}")
        if isinstance(types, str):
            raise TypeError("types is a collection of names, not one")
        subscription = Subscription(limit, frozenset(types), run_id, deque(maxlen=limit))
        if after is not None:
            self._replay(subscription, after if 0 <= after <= self.published else 0)
        self._subscriptions.append(subscription)
        self._routes.clear()
        if run_id is not None:
            self._by_run.setdefault(run_id, []).append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
            self._routes.clear()
            if run_id is not None:
                self._by_run[run_id].remove(subscription)
                if not self._by_run[run_id]:
                    del self._by_run[run_id]

    def _find_routes(self, type: str) -> tuple[Subscription, ...]:
        """Who wants this type whatever the run; remembered, so that a filter costs nothing per event."""
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        routes = tuple(each for each in self._subscriptions if each.run_id is None and matches(each.types, type))
        self._routes[type] = routes
        return routes

    def _deliver(self, subscription: Subscription, event: Event) -> None:
        queue = subscription._queue
        if queue:
            if len(queue) == subscription.limit:
                subscription._missed += 1
                self.dropped += 1
            queue.append(event)
        else:
            # A queue that holds something has woken its reader already.
            queue.append(event)
            if subscription._reader:
                subscription._reader.unpark_all()

    def _replay(self, subscription: Subscription, after: int) -> None:
        oldest = self._history[0].seq if self._history else self.published + 1
        subscription._missed = max(0, oldest - 1 - after)
        for event in self._history:
            if event.seq <= after or subscription.run_id not in (None, event.run_id):
                continue
            if matches(subscription.types, event.type):
                self._deliver(subscription, event)
