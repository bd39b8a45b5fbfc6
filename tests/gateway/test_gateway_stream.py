"""What is kept for a reader, and how little a call costs."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from praxis.gateway import stream as streams
from praxis.gateway.stream import MAX_BYTES, MAX_EVENTS, EventStream
from tests.gateway.http_asgi import endpoint


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=2 * 8))
def test_questions_stay_the_newest_progress_stays_and_all_is_in_order(sent: list[tuple[bool, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MAX_EVENTS", 8)
        patch.setattr(streams, "MAX_BYTES", 10)
        stream = EventStream()
        for number, (keep, size) in enumerate(sent, 1):
            stream.put(b"%d\n" % number + b"x" * size, keep=keep)
        kept = stream.after(0)
    numbers = [event.number for event in kept]
    assert numbers == sorted(set(numbers))
    must = [number for number, (keep, _) in enumerate(sent, 1) if keep]
    assert [event.number for event in kept if event.keep] == must
    loose = [event for event in kept if not event.keep]
    assert sum(len(event.line) for event in loose) <= 10
    assert len(kept) <= max(8, len(must))
    all_loose = [number for number, (keep, _) in enumerate(sent, 1) if not keep]
    assert [event.number for event in loose] == all_loose[len(all_loose) - len(loose) :]
    assert stream.dropped == len(sent) - len(kept)


def test_large_messages_are_bounded_by_their_bytes() -> None:
    stream = EventStream()
    for _ in range(20):
        stream.put(b"x" * (MAX_BYTES // 4))
    assert stream.waiting == 4
    stream.forget(20)
    for _ in range(MAX_EVENTS + 5):
        stream.put(b"y")
    assert stream.waiting == MAX_EVENTS


def test_events_are_written_as_they_are_read() -> None:
    stream = EventStream("s")
    stream.put(b'{"a":1}\n')
    stream.put(b'{"b":2}\n')
    assert stream.encode(stream.after(0)) == b'id: s-1\ndata: {"a":1}\n\nid: s-2\ndata: {"b":2}\n\n'
    assert [event.number for event in stream.after(1)] == [2]
    assert stream.after(2) == []


class Spawned(trio.abc.Instrument):
    """Counts tasks and their steps."""

    def __init__(self) -> None:
        self.tasks = self.steps = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_call_costs_one_task_and_few_steps(era: str) -> None:
    async with endpoint() as at:
        client = await at.connect()
        counted = Spawned()
        trio.lowlevel.add_instrument(counted)
        try:
            if era == "modern":
                await at.browser.call("x")
            else:
                await client.ask("tools/call", name="x")
        finally:
            trio.lowlevel.remove_instrument(counted)
        assert counted.tasks == 2, "one of them is the connection's own"
        assert counted.steps <= 7
