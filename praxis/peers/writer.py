"""The writing side of a line: one task that writes, and the queue in which senders wait for their turn."""

from __future__ import annotations

from typing import Protocol

import trio
from trio.lowlevel import Abort, ParkingLot, current_task, reschedule, wait_task_rescheduled

from praxis.wire.session import Session

EAGER = 16
"""Messages that are written at once when so many have been queued since the last write. Without it two busy peers take
turns: each handles all that is in flight while the other one waits."""
HIGH_MARK = 256 * 1024
"""Queued bytes above which senders wait: a few writes' worth, so that what is queued is soon gone."""


class Pipe(Protocol):
    """What a line runs over; `praxis.net.tls.TlsPipe` is one."""

    @property
    def remote(self) -> str: ...
    @property
    def wants_to_write(self) -> bool: ...
    @property
    def claims(self) -> tuple[str, float]: ...
    async def receive(self) -> bytes: ...
    async def send(self, plain: bytes) -> None: ...
    def send_nowait(self, plain: bytes) -> None: ...
    def close(self) -> None: ...


class Writer:
    """Writes what the session has, in one task; everything else only queues and wakes it.

    Senders get their turn first come, first served, and the next one only after the one before has queued its message:
    this keeps the slowest caller within a small multiple of the median.

    Attributes:
        writing_since: Trio's time at which the write under way began, None between writes.
    """

    def __init__(self, session: Session, pipe: Pipe) -> None:
        self.writing_since: float | None = None
        self._session = session
        self._pipe = pipe
        self._turns = ParkingLot()
        self._watchers = ParkingLot()
        self._task: trio.lowlevel.Task | None = None
        self._queued = 0

    async def run(self) -> None:
        """Write until cancelled. Raises `praxis.net.tls.Broken`."""
        session, pipe = self._session, self._pipe
        while True:
            while not (session.wants_to_write or pipe.wants_to_write):
                self._task = current_task()
                await wait_task_rescheduled(self._stop_waiting)
            batch = session.take()
            self._queued = 0
            self.writing_since = trio.current_time()
            await pipe.send(batch)
            self.writing_since = None
            session.written(len(batch))
            self.pass_turn()
            self.changed()

    def _stop_waiting(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def wake(self) -> None:
        """There may be something to write; called once per message."""
        if self._task is not None:
            reschedule(self._task)
            self._task = None
        self._queued += 1
        if self._queued >= EAGER and self.writing_since is None and not self._pipe.wants_to_write:
            batch = self._session.take()
            self._queued = 0
            self._pipe.send_nowait(batch)
            self._session.written(len(batch))

    async def turn(self) -> None:
        """Wait, in order, until there is room in the queue; then queue one message and call `pass_turn`."""
        if self._session.queued > HIGH_MARK or self._turns:
            await self._turns.park()

    def pass_turn(self) -> None:
        """Let the next sender go on, if there is room."""
        if self._turns and self._session.queued <= HIGH_MARK:
            self._turns.unpark()

    def release(self) -> None:
        """The line has ended: nobody needs to wait for a turn any more."""
        self._turns.unpark_all()
        self.changed()

    def changed(self) -> None:
        """Something was written or answered: let those who wait for the line to be quiet look again."""
        self._watchers.unpark_all()

    async def wait_change(self) -> None:
        """Wait until something is written or answered next."""
        await self._watchers.park()
