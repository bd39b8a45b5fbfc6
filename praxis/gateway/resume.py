"""Coming back to a stream that broke: of a session's requests, those whose answers have become streams are kept, and
their calls go on for a while although nobody reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import trio

from praxis.gateway.session import Session
from praxis.gateway.stream import EventStream
from praxis.wire.jsonrpc import Request

RESUME_WITHIN = 30.0
"""Seconds that a caller has to come back before its call is cancelled: a network that changes, a lid that opens.
Closing a stream is how programs give calls up, too, so it is not longer."""


class Resumption:
    """Streams that can be come back to."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def stream(self, session: Session, answers: int, *, readable: bool) -> EventStream:
        """A new stream for so many requests of a session."""
        return EventStream(str(next(self._numbers)), answers=answers, readable=readable)

    async def work(self, session: Session, requests: Sequence[Request], stream: EventStream) -> None:
        """Answer the requests; then keep the answers for a caller that is on its way back."""
        try:
            if len(requests) == 1:
                await session.answer(requests[0], stream, stream.scope)
            else:
                with stream.scope:
                    async with trio.open_nursery() as nursery:
                        for request in requests:
                            nursery.start_soon(session.answer, request, stream)
            stream.end()
            if stream.reader is None and stream.name in session.streams and not stream.scope.cancel_called:
                with trio.move_on_after(RESUME_WITHIN):
                    await stream.wait_reader()
        finally:
            stream.end()
            session.streams.pop(stream.name, None)

    def keep(self, session: Session, stream: EventStream) -> None:
        """From now on the stream can be come back to. A session has so many of them at most as it has calls."""
        session.streams[stream.name] = stream

    def let_go(self, session: Session, stream: EventStream) -> None:
        """A reader reads no more. What nobody can come back to ends; all else may wait for a while."""
        if stream.ended:
            return
        if stream.name not in session.streams:
            stream.scope.cancel()
        elif stream.reader is None:
            stream.scope.deadline = trio.current_time() + RESUME_WITHIN

    def hold(self, stream: EventStream) -> None:
        """Somebody has come back."""
        stream.scope.deadline = float("inf")

    def find(self, session: Session, last_event_id: str) -> tuple[EventStream, int]:
        """The stream of an event, and the event's number; the session's own stream for one that is over."""
        name, _, number = last_event_id.partition("-")
        after = int(number) if number.isascii() and number.isdecimal() and len(number) < 18 else 0
        if name in session.streams:
            return session.streams[name], after
        return session.general, after if name == session.general.name else 0
