"""Keeps services running without hiding bugs.

An outage is something the world does to us: an OSError, because the network is down or descriptors have run out. A
service that suffers one is started again after a growing pause. Anything else is a bug: it is not caught here, so it
ends the process with its traceback.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import trio

logger = logging.getLogger(__name__)

Service = Callable[..., Awaitable[None]]
"""Serves until it is stopped or cancelled; calls ``task_status.started(value)`` once it can be reached."""


class ServiceState(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    ENDED = "ended"


@attrs.frozen
class RestartPolicy:
    """Pauses in seconds: the first, doubled up to the longest; more than `max_outages` in `period` are not endured."""

    first_pause: float = 0.5
    max_pause: float = 30.0
    max_outages: int = 10
    period: float = 300.0


@attrs.define(eq=False)
class SupervisedService:
    """One service and what is known of its health."""

    name: str
    serve: Service
    policy: RestartPolicy = RestartPolicy()
    state: ServiceState = ServiceState.STARTING
    restarts: int = 0
    last_outage: str | None = None
    _outages: deque[float] = attrs.field(factory=deque, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until the service returns, is cancelled, or fails in a way that is not to be endured.

        The first start is not endured: a port that is taken when the agent starts is an error of the configuration,
        and the caller's ``nursery.start`` raises it.
        """
        readiness = _Readiness(self, task_status)
        try:
            while True:
                self.state = ServiceState.STARTING
                try:
                    await self.serve(task_status=readiness)
                    return
                except* OSError as outage:
                    if not readiness.reached or self._is_too_frequent():
                        raise
                    self.last_outage = describe(outage)
                await self._back_off()
        finally:
            self.state = ServiceState.ENDED
            self._ended.set()

    async def wait_ended(self) -> None:
        await self._ended.wait()

    def _is_too_frequent(self) -> bool:
        now = trio.current_time()
        self._outages.append(now)
        while self._outages[0] < now - self.policy.period:
            self._outages.popleft()
        return len(self._outages) > self.policy.max_outages

    async def _back_off(self) -> None:
        pause = min(self.policy.first_pause * 2 ** (len(self._outages) - 1), self.policy.max_pause)
        self.state = ServiceState.BACKING_OFF
        self.restarts += 1
        logger.warning("%s: %s; next start in %.1f s", self.name, self.last_outage, pause)
        await trio.sleep(pause)


class _Readiness:
    """A task status that may be reported again after every restart."""

    def __init__(self, service: SupervisedService, first: trio.TaskStatus[Any]) -> None:
        self.reached = False
        self._service = service
        self._first = first

    def started(self, value: Any = None) -> None:
        self._service.state = ServiceState.RUNNING
        if not self.reached:
            self.reached = True
            self._first.started(value)


def describe(error: BaseException) -> str:
    """The leaves of an exception, each once, on one line."""
    return "; ".join(dict.fromkeys(_leaves(error)))


def _leaves(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
