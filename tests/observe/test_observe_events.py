"""The event bus: order, filters, gaps, replay, and that nobody can hold up a publisher."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.event import Event
from praxis.observe.events import Batch, EventBus, Subscription, matches


def numbers(events: Iterable[Event]) -> list[int]:
    return [event.seq for event in events]


def types(batch: Batch) -> list[str]:
    return [event.type for event in batch.events]


async def test_an_event_carries_number_time_type_run_and_fields() -> None:
    bus = EventBus(clock=lambda: 12.5)
    with bus.subscribe() as subscription:
        event = bus.publish("step.started", run_id="r1", step="s1", type="a field may have any name")
        batch = await subscription.receive()
    assert batch == Batch((event,), 0)
    assert (event.seq, event.time, event.type, event.run_id) == (1, 12.5, "step.started", "r1")
    assert event.fields == {"step": "s1", "type": "a field may have any name"}
    assert bus.published == 1


async def test_a_waiting_subscriber_is_woken_and_gets_a_whole_burst_at_once() -> None:
    bus = EventBus()
    batches: list[Batch] = []

    async def read(subscription: Subscription) -> None:
        batches.append(await subscription.receive())
        batches.append(await subscription.receive())

    with bus.subscribe() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, subscription)
            await trio.testing.wait_all_tasks_blocked()
            assert batches == []
            for _ in range(500):
                bus.publish("log")
            await trio.testing.wait_all_tasks_blocked()
            assert [numbers(batch.events) for batch in batches] == [list(range(1, 501))]
            bus.publish("log")
    assert numbers(batches[1].events) == [501]


async def test_a_laggard_loses_its_oldest_events_and_is_told_how_many_while_others_lose_none() -> None:
    bus = EventBus()
    with bus.subscribe(limit=3) as slow, bus.subscribe(limit=100) as fast:
        for _ in range(10):
            bus.publish("log")
        batch = await slow.receive()
        assert (numbers(batch.events), batch.missed) == ([8, 9, 10], 7)
        assert numbers((await fast.receive()).events) == list(range(1, 11))
        bus.publish("log")
        batch = await slow.receive()
        assert (numbers(batch.events), batch.missed) == ([11], 0)
    assert bus.dropped == 7


async def test_receive_nowait_takes_what_is_there() -> None:
    bus = EventBus()
    with bus.subscribe() as subscription:
        assert subscription.receive_nowait() == Batch((), 0)
        bus.publish("log")
        assert types(subscription.receive_nowait()) == ["log"]
        assert subscription.receive_nowait() == Batch((), 0)


async def test_cancelling_a_receive_loses_nothing() -> None:
    bus = EventBus()
    with bus.subscribe() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscription.receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        bus.publish("log")
        assert numbers((await subscription.receive()).events) == [1]


async def test_receive_is_a_checkpoint_even_when_something_waits() -> None:
    bus = EventBus()
    with bus.subscribe() as subscription:
        bus.publish("log")
        with trio.testing.assert_checkpoints():
            await subscription.receive()
        with trio.CancelScope() as scope:
            bus.publish("log")
            scope.cancel()
            await subscription.receive()
        assert scope.cancelled_caught
        assert numbers(subscription.receive_nowait().events) == [2]


async def test_types_filter_by_whole_name_or_by_what_stands_before_a_dot() -> None:
    bus = EventBus()
    with (
        bus.subscribe(types={"run"}) as runs,
        bus.subscribe(types=["run.finished", "log"]) as some,
        bus.subscribe() as everything,
    ):
        for type in ("run.started", "runner.x", "log", "log.line", "run.finished"):
            bus.publish(type)
        assert types(await runs.receive()) == ["run.started", "run.finished"]
        assert types(await some.receive()) == ["log", "log.line", "run.finished"]
        assert len((await everything.receive()).events) == 5


def test_matches_looks_at_every_dot() -> None:
    assert matches((), "anything.at.all")
    assert matches({"tool.source"}, "tool.source.failed")
    assert not matches({"tool.sour"}, "tool.source.failed")
    assert not matches({"tool.source.failed"}, "tool.source")


async def test_a_subscription_to_one_run_sees_only_that_run() -> None:
    bus = EventBus()
    with bus.subscribe(run_id="r1") as all_of_r1, bus.subscribe(run_id="r1", types=("step",)) as steps_of_r1:
        bus.publish("run.started", run_id="r1")
        bus.publish("step.started", run_id="r2")
        bus.publish("step.started", run_id="r1")
        bus.publish("step.started")
        assert numbers((await all_of_r1.receive()).events) == [1, 3]
        assert numbers((await steps_of_r1.receive()).events) == [3]


async def test_leaving_ends_the_delivery_and_a_later_subscriber_counts_from_then() -> None:
    bus = EventBus()
    with bus.subscribe() as gone, bus.subscribe(run_id="r") as gone_too:
        bus.publish("log", run_id="r")
        assert bus.subscribers == 2
    assert bus.subscribers == 0
    bus.publish("log", run_id="r")
    assert numbers(gone.receive_nowait().events) == [1]
    assert numbers(gone_too.receive_nowait().events) == [1]
    with bus.subscribe() as late:
        bus.publish("log")
        assert numbers(late.receive_nowait().events) == [3]


async def test_a_subscriber_that_comes_back_gets_what_it_missed_from_the_history() -> None:
    bus = EventBus(history=5)
    for _ in range(4):
        bus.publish("run.started", run_id="r")
    with bus.subscribe(after=2) as back:
        bus.publish("log")
        batch = await back.receive()
    assert (numbers(batch.events), batch.missed) == ([3, 4, 5], 0)
    with bus.subscribe(after=2, types={"run"}) as filtered, bus.subscribe(after=2, run_id="other") as other:
        assert numbers(filtered.receive_nowait().events) == [3, 4]
        assert filtered.receive_nowait() == other.receive_nowait() == Batch((), 0)


async def test_a_hole_between_after_and_the_history_is_reported() -> None:
    bus = EventBus(history=3)
    for _ in range(10):
        bus.publish("log")
    with bus.subscribe(after=4) as back:
        batch = await back.receive()
    assert (numbers(batch.events), batch.missed) == ([8, 9, 10], 3)


async def test_a_hole_alone_wakes_the_subscriber() -> None:
    bus = EventBus(history=1)
    bus.publish("log")
    bus.publish("log")
    with bus.subscribe(after=0, types={"run"}) as back:
        assert await back.receive() == Batch((), 1)


async def test_a_replay_longer_than_the_limit_keeps_the_newest_and_says_so() -> None:
    bus = EventBus()
    for _ in range(10):
        bus.publish("log")
    with bus.subscribe(after=0, limit=4) as back:
        batch = await back.receive()
    assert (numbers(batch.events), batch.missed) == ([7, 8, 9, 10], 6)


@pytest.mark.parametrize("after", [-1, 100])
async def test_a_number_of_another_life_of_the_agent_replays_all_there_is(after: int) -> None:
    bus = EventBus()
    bus.publish("log")
    bus.publish("log")
    with bus.subscribe(after=after) as back:
        assert numbers(back.receive_nowait().events) == [1, 2]


def test_wrong_arguments_are_refused() -> None:
    bus = EventBus()
    with pytest.raises(ValueError, match="limit of 1 or more"), bus.subscribe(limit=0):
        pass
    with pytest.raises(TypeError, match="collection"), bus.subscribe(types="run"):
        pass
    assert bus.subscribers == 0


def test_more_types_than_are_remembered_still_arrive() -> None:
    bus = EventBus()
    with bus.subscribe(limit=5000) as subscription:
        for number in range(3000):
            bus.publish(f"type{number}")
        assert len(subscription.receive_nowait().events) == 3000
    assert len(bus._routes) <= 512


@given(st.lists(st.one_of(st.integers(1, 40), st.just(0)), max_size=20), st.integers(1, 30))
def test_what_arrives_and_what_is_missed_is_always_all(script: list[int], limit: int) -> None:
    """A number publishes that many events, 0 lets the subscriber read."""
    bus = EventBus(history=10)
    seen: list[int] = []
    missed = 0
    with bus.subscribe(limit=limit) as subscription:
        for burst in [*script, 0]:
            for _ in range(burst):
                bus.publish("log")
            if not burst:
                batch = subscription.receive_nowait()
                missed += batch.missed
                seen += numbers(batch.events)
    assert seen == sorted(set(seen))
    assert len(seen) + missed == bus.published
    assert missed == bus.dropped
