"""One client's queue, and the fan-out that fills it: bounds, gaps, order, being cut off."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from praxis.model.event import Event
from praxis.observe.events import EventBus
from praxis.websocket.fanout import PIECE_BYTES, Fanout, View
from praxis.websocket.outbox import QUEUE_BYTES, SEND_BYTES, STALL, Outbox


def make_outbox(
    dropped: list[int] | None = None,
    sent: list[int] | None = None,
    send_now: Callable[[bytes], int | None] = lambda frames: None,
) -> Outbox:
    def gap(missed: int, seq: int) -> bytes:
        return b"<gap %d at %d>" % (missed, seq)

    return Outbox(gap, send_now, ([] if dropped is None else dropped).append, ([] if sent is None else sent).append)


async def take_all(outbox: Outbox) -> bytes:
    """All that waits, as a client that reads would get it."""
    outbox.close()
    data = b""
    while (taken := await outbox.take()) is not None:
        data += taken[0]
        outbox.sent(taken[1])
    return data


async def test_what_waits_is_joined_into_one_send() -> None:
    outbox = make_outbox()
    outbox.offer(b"ab", 2, 2)
    outbox.put(b"c")
    outbox.offer(b"d", 1, 3)
    assert await outbox.take() == (b"abcd", 4)


async def test_a_send_is_bounded_and_a_large_piece_goes_alone() -> None:
    outbox = make_outbox()
    half = b"x" * (SEND_BYTES // 2)
    for piece in (half, half, b"y", b"z" * (2 * SEND_BYTES), b"w"):
        outbox.put(piece)
    sizes = [len(taken[0]) for taken in [await outbox.take() for _ in range(4)] if taken is not None]
    assert sizes == [SEND_BYTES, 1, 2 * SEND_BYTES, 1]


async def test_events_that_do_not_fit_are_counted_and_told_in_their_place() -> None:
    dropped: list[int] = []
    outbox = make_outbox(dropped)
    big = b"x" * QUEUE_BYTES
    outbox.offer(big, 1, 1)
    outbox.offer(b"lost", 2, 3)
    outbox.offer(b"lost", 1, 4)
    assert await outbox.take() == (big, 1)
    outbox.offer(b"next", 1, 5)
    assert await take_all(outbox) == b"<gap 3 at 4>next"
    assert dropped == [2, 1]


async def test_a_gap_is_told_even_when_nothing_follows() -> None:
    outbox = make_outbox()
    async with trio.open_nursery() as nursery:
        taken: list[Any] = []

        async def read() -> None:
            taken.append(await outbox.take())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        outbox.skip(4, 9)
    assert taken == [(b"<gap 4 at 9>", 1)]


async def test_a_piece_larger_than_the_queue_passes_an_empty_one() -> None:
    outbox = make_outbox()
    huge = b"x" * (QUEUE_BYTES + 1)
    outbox.offer(huge, 1, 1)
    assert await outbox.take() == (huge, 1)


async def test_answers_wait_for_room_and_are_never_lost() -> None:
    outbox = make_outbox()
    outbox.put(b"x" * QUEUE_BYTES)
    put: list[int] = []

    async def answer(number: int) -> None:
        await outbox.wait_room()
        outbox.put(b"%d" % number)
        put.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, 1)
        nursery.start_soon(answer, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert put == []
        await outbox.take()
        outbox.sent(1)
    taken = await outbox.take()
    assert taken is not None
    assert sorted(taken[0]) == sorted(b"12")


async def test_a_queue_that_stays_full_cuts_its_client_off(autojump_clock: trio.testing.MockClock) -> None:
    outbox = make_outbox()
    start = trio.current_time()
    with outbox.cut as cut:
        outbox.offer(b"x" * QUEUE_BYTES, 1, 1)
        await trio.sleep(100)  # full, but nothing is lost yet
        outbox.offer(b"lost", 1, 2)
        await trio.sleep(STALL - 1)
        outbox.offer(b"lost", 1, 3)  # does not begin the time anew
        await trio.sleep_forever()
    assert cut.cancelled_caught
    assert trio.current_time() - start == pytest.approx(100 + STALL)


async def test_a_client_that_waits_for_answers_without_reading_is_cut_off_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outbox = make_outbox()
    with outbox.cut as cut:
        outbox.put(b"x" * QUEUE_BYTES)
        await outbox.wait_room()
    assert cut.cancelled_caught


async def test_a_client_that_catches_up_in_time_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    outbox = make_outbox()
    with outbox.cut as cut:
        outbox.offer(b"x" * QUEUE_BYTES, 1, 1)
        outbox.offer(b"lost", 1, 2)
        assert outbox.cut.deadline < math.inf
        await trio.sleep(STALL - 1)
        await outbox.take()
        assert outbox.cut.deadline < math.inf, "only what has been sent shows that the client reads"
        outbox.sent(1)
        await trio.sleep(2 * STALL)
    assert not cut.cancelled_caught


async def test_events_overtake_a_writer_that_waits_and_only_such_a_one() -> None:
    direct: list[bytes] = []
    sent: list[int] = []
    left: list[int | None] = [0, 3, None]

    def send_now(frames: bytes) -> int | None:
        direct.append(frames)
        return left.pop(0)

    outbox = make_outbox(sent=sent, send_now=send_now)
    taken: list[tuple[bytes, int] | None] = []

    async def read() -> None:
        taken.append(await outbox.take())

    outbox.offer(b"a", 1, 1)
    assert direct == [], "the writer is busy: it would be overtaken by what follows"
    await read()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        outbox.offer(b"bb", 2, 3)
        assert (direct, sent) == ([b"bb"], [2])
        outbox.offer(b"cccc", 1, 4)  # of which three bytes are left
        assert (direct, sent) == ([b"bb", b"cccc"], [2])
        outbox.offer(b"d", 1, 5)
        assert direct == [b"bb", b"cccc"]
    assert taken == [(b"a", 1), (b"d", 2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        outbox.offer(b"e", 1, 6)  # which cannot be sent now
        assert direct[-1] == b"e"
    assert taken[-1] == (b"e", 1)


async def test_a_closed_outbox_gives_what_is_left_and_ends() -> None:
    outbox = make_outbox()
    outbox.put(b"last")
    outbox.close()
    outbox.put(b"too late")
    assert await outbox.take() == (b"last", 1)
    assert await outbox.take() is None
    await outbox.wait_room()


# -- the fan-out --------------------------------------------------------------------------------------


class Encoder:
    def __init__(self) -> None:
        self.encoded: list[int] = []

    def __call__(self, event: Event, seq: int) -> bytes:
        if event.type == "run.bad":
            raise TypeError("not JSON")
        self.encoded.append(seq)
        return json.dumps([seq]).encode()


async def test_every_event_is_encoded_once_for_all_and_only_when_somebody_sees_it() -> None:
    bus, encoder = EventBus(), Encoder()
    bus.publish("run.before")
    outboxes = [make_outbox() for _ in range(3)]
    with bus.subscribe() as subscription:
        fanout = Fanout(subscription, encoder)
        with fanout.watching(outboxes[0]), fanout.watching(outboxes[1]), fanout.watching(outboxes[2]) as third:
            third.change(View(types=frozenset({"log", "run.started"})))
            for type in ("run.started", "peer.found", "log", "run.finished"):
                bus.publish(type)
            fanout.catch_up()
    assert encoder.encoded == [1, 4, 3]
    assert fanout.seq == 4
    pieces = [await outbox.take() for outbox in outboxes]
    assert pieces == [(b"[1][4]", 2), (b"[1][4]", 2), (b"[1][3]", 2)]
    assert pieces[0] is not None
    assert pieces[1] is not None
    assert pieces[0][0] is pieces[1][0], "the bytes are shared"


async def test_another_view_holds_from_the_moment_it_was_asked_for() -> None:
    bus = EventBus()
    outbox = make_outbox()
    with bus.subscribe() as subscription:
        fanout = Fanout(subscription, Encoder())
        with fanout.watching(outbox) as watcher:
            bus.publish("run.started", run_id="a")
            watcher.change(View(run_id="b"))
            bus.publish("run.started", run_id="a")
            bus.publish("run.started", run_id="b")
            bus.publish("log", run_id="b")
            fanout.catch_up()
        bus.publish("run.started", run_id="b")
        fanout.catch_up()
    assert await take_all(outbox) == b"[1][3]"


async def test_an_event_that_cannot_be_shown_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    outbox = make_outbox()
    with bus.subscribe() as subscription:
        fanout = Fanout(subscription, Encoder())
        with fanout.watching(outbox):
            for type in ("run.a", "run.bad", "run.b"):
                bus.publish(type)
            fanout.catch_up()
    assert await take_all(outbox) == b"[1][3]"
    assert "event 2 (run.bad)" in caplog.text


async def test_what_the_fan_out_itself_missed_is_told_to_everybody() -> None:
    bus = EventBus()
    outbox = make_outbox()
    with bus.subscribe(limit=2) as subscription:
        fanout = Fanout(subscription, Encoder())
        with fanout.watching(outbox):
            for _ in range(5):
                bus.publish("run.a")
            fanout.catch_up()
    assert await take_all(outbox) == b"<gap 3 at 3>[4][5]"


async def test_a_burst_is_cut_into_pieces_so_that_a_lagging_client_loses_little() -> None:
    bus = EventBus()
    outbox = make_outbox()
    size = 1000
    with bus.subscribe(limit=5000) as subscription:
        fanout = Fanout(subscription, lambda event, seq: b"x" * size)
        with fanout.watching(outbox):
            for _ in range(2000):
                bus.publish("run.a")
            fanout.catch_up()
    data = await take_all(outbox)
    received = data.count(b"x") // size
    assert QUEUE_BYTES - PIECE_BYTES <= received * size <= QUEUE_BYTES
    assert data.endswith(b"<gap %d at 2000>" % (2000 - received))


async def test_run_hands_out_events_as_they_come() -> None:
    bus = EventBus()
    outbox = make_outbox()
    with bus.subscribe() as subscription:
        fanout = Fanout(subscription, Encoder())
        with fanout.watching(outbox):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fanout.run)
                bus.publish("run.a")
                bus.publish("run.b")
                assert await outbox.take() == (b"[1][2]", 2)
                bus.publish("run.c")
                assert await outbox.take() == (b"[3]", 1)
                nursery.cancel_scope.cancel()
