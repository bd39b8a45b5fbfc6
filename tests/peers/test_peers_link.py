"""Two links over a pair of pipes, under the virtual clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis.config.schema import Keepalive
from praxis.model.errors import PraxisError
from praxis.peers.keepalive import LATE, SEND_STALL
from praxis.peers.link import CANCEL_GRACE, PeerLink
from praxis.peers.request import PeerRequest
from praxis.wire import frames
from praxis.wire.frames import HEAD, encode
from praxis.wire.messages import Hello
from praxis.wire.session import Session
from tests.support.pipes import MemoryPipe, pipe_pair

Answer = Callable[[PeerRequest], Awaitable[Any]]


async def echo(request: PeerRequest) -> Any:
    return request.params


def make_link(pipe: MemoryPipe, name: str, other: str, handler: Answer, **changes: Any) -> PeerLink:
    hello = Hello(**{"id": f"px{name}", "name": name, "boot": 1, "agent": "praxis/test", **changes})
    return PeerLink(
        pipe,
        Session(hello, dialer=name == "a"),
        peer_id=f"px{other}",
        address="test",
        handler=handler,
        keepalive=Keepalive(),
    )


@asynccontextmanager
async def line(handler: Answer = echo, room: int = 20_000, **changes: Any) -> AsyncIterator[tuple[PeerLink, PeerLink]]:
    """Two greeted links; `handler` answers at both ends."""
    one, two = pipe_pair(room)
    async with trio.open_nursery() as nursery:
        a, b = make_link(one, "a", "b", handler, **changes), make_link(two, "b", "a", handler, **changes)
        nursery.start_soon(a.run)
        nursery.start_soon(b.run)
        assert await a.wait_greeted()
        assert await b.wait_greeted()
        yield a, b
        nursery.cancel_scope.cancel()


async def test_calls_both_ways() -> None:
    async with line() as (a, b):
        assert a.hello.name == "b"
        assert await a.call("m", {"text": "é"}) == {"text": "é"}
        assert await b.call("m", [1, 2]) == [1, 2]


async def test_both_ends_flood_each_other_through_small_buffers(autojump_clock: MockClock) -> None:
    big, done = "y" * 300_000, 0

    async def caller(link: PeerLink) -> None:
        nonlocal done
        for _ in range(3):
            assert await link.call("m", big) == big
            done += 1

    async with line() as (a, b):
        with trio.fail_after(60):
            async with trio.open_nursery() as callers:
                for _ in range(16):
                    callers.start_soon(caller, a)
                    callers.start_soon(caller, b)
        assert done == 2 * 16 * 3
        assert a.session.queued == b.session.queued == 0


async def test_a_waiting_sender_gets_its_turn_in_order(autojump_clock: MockClock) -> None:
    order: list[int] = []

    async def note(request: PeerRequest) -> Any:
        order.append(request.params[0])
        return None

    async with line(note) as (a, _):
        async with trio.open_nursery() as callers:
            for number in range(40):
                callers.start_soon(a.call, "m", [number, "z" * 60_000])
                await trio.testing.wait_all_tasks_blocked()
        assert order == sorted(order)


async def test_the_deadline_of_the_caller_reaches_the_handler(autojump_clock: MockClock) -> None:
    deadlines: list[float] = []

    async def handler(request: PeerRequest) -> Any:
        deadlines.append(trio.current_effective_deadline() - trio.current_time())
        await trio.sleep_forever()

    async with line(handler) as (a, b):
        with trio.move_on_after(5) as scope:
            await a.call("m", None)
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert b.session.serving == 0
    assert deadlines == [pytest.approx(5, abs=0.01)]


async def test_cancelling_the_caller_ends_the_handler_before_the_call_returns(autojump_clock: MockClock) -> None:
    ended: list[float] = []

    async def handler(request: PeerRequest) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)  # such as a child process that takes its time to end
            ended.append(trio.current_time())

    async with line(handler) as (a, b):
        began = trio.current_time()
        with trio.move_on_after(2):
            await a.call("m", None)
        assert ended == [pytest.approx(began + 3, abs=0.1)]
        assert trio.current_time() >= ended[0]
        assert a.load == b.session.serving == a.abandoned == 0


async def test_a_peer_that_does_not_confirm_a_cancel_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    async def handler(request: PeerRequest) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(CANCEL_GRACE * 3)

    async with line(handler) as (a, _):
        began = trio.current_time()
        with trio.move_on_after(1):
            await a.call("m", None)
        assert trio.current_time() - began == pytest.approx(1 + CANCEL_GRACE, abs=0.1)
        assert a.abandoned == 1
        await trio.sleep(CANCEL_GRACE * 3)
        assert not a.closed  # its late answer does no harm


async def test_progress_reaches_the_caller(autojump_clock: MockClock) -> None:
    async def handler(request: PeerRequest) -> Any:
        for part in range(3):
            request.emit("notifications/progress", {"progress": part})
            await trio.sleep(1)
        return "done"

    seen: list[Any] = []
    async with line(handler) as (a, _):
        assert await a.call("m", None, on_event=lambda *event: seen.append(event)) == "done"
    assert seen == [("notifications/progress", {"progress": part}) for part in range(3)]


async def test_whoever_works_on_a_call_asks_the_caller_and_nobody_else() -> None:
    async def handler(request: PeerRequest) -> Any:
        if request.method == "mcp.ask":
            ask = request.asker(request.params["call"])
            return {"asked": None} if ask is None else await ask(request.params["method"], request.params["params"])
        return [await request.ask("color", {"of": "sky"}), request.asker(1), request.asker("x"), request.asker(None)]

    async def answer(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {method: "blue", **params}

    async with line(handler) as (a, _):
        assert await a.call("paint", None, on_ask=answer) == [{"color": "blue", "of": "sky"}, None, None, None]
        assert (await a.call("paint", None))[0] == {"asked": None}


async def test_an_event_that_is_none_is_passed_over() -> None:
    async def handler(request: PeerRequest) -> Any:
        for value in ("rubbish", 5, None, [1], {"m": 1, "p": {}}, {"m": "x", "p": 1}, {"m": "x", "p": {"a": 1}}):
            links[1].session.progress(1, value)
        return "done"

    seen: list[Any] = []
    async with line(handler) as links:
        assert await links[0].call("m", None, on_event=lambda *event: seen.append(event)) == "done"
    assert seen == [("x", {"a": 1})]


async def test_what_a_handler_raises_is_told_but_not_the_text_of_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: PeerRequest) -> Any:
        if request.method == "bug":
            raise RuntimeError("secret detail")
        raise PraxisError("denied", "not you", hint="ask")

    async with line(handler) as (a, _):
        with pytest.raises(PraxisError, match="not you") as refused:
            await a.call("m", None)
        assert (refused.value.code, refused.value.hint) == ("denied", "ask")
        with pytest.raises(PraxisError) as failed:
            await a.call("bug", None)
        assert failed.value.code == "internal"
        assert failed.value.delivered
        assert "secret" not in str(failed.value)
    assert "secret detail" in caplog.text


async def test_a_line_that_is_lost_fails_its_calls_and_says_whether_they_may_have_run(
    autojump_clock: MockClock,
) -> None:
    async def handler(request: PeerRequest) -> Any:
        await trio.sleep_forever()

    async with line(handler) as (a, b):
        errors: list[PraxisError] = []

        async def caller() -> None:
            with pytest.raises(PraxisError) as lost:
                await a.call("m", None)
            errors.append(lost.value)

        async with trio.open_nursery() as callers:
            callers.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
            b.close("test", "pulled")
        assert errors[0].code == "unavailable"
        assert errors[0].delivered
        assert "whether the call ran there is not known" in str(errors[0])
        with pytest.raises(PraxisError) as lost:
            await a.call("m", None)
        assert not lost.value.delivered


async def test_a_silent_peer_is_given_up_after_a_ping(autojump_clock: MockClock) -> None:
    async with line() as (a, b):
        began = trio.current_time()
        b._pipe.silent = True  # type: ignore[attr-defined]
        await a.wait_ended()
        assert 15 * 0.8 + 10 <= trio.current_time() - began <= 15 * 1.2 + 10.1
        assert a.reason_code == "silent"


async def test_an_agent_that_was_slow_itself_does_not_blame_the_peer(mock_clock: MockClock) -> None:
    async def pass_(seconds: float) -> None:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()

    async with line() as (a, b):
        timeout, longest_pause = Keepalive().timeout, Keepalive().interval * 1.2
        b._pipe.silent = True  # type: ignore[attr-defined]
        await pass_(longest_pause)  # the ping
        await pass_(timeout + LATE + 0.1)  # as when the machine was asleep: the answer may lie there unread
        assert not a.closed
        await pass_(longest_pause)  # the next ping
        await pass_(timeout - 0.1)
        assert not a.closed
        await pass_(0.6)  # half a second late is not counted
        assert a.reason_code == "silent"


async def test_an_idle_line_stays(autojump_clock: MockClock) -> None:
    async with line() as (a, b):
        await trio.sleep(3600)
        assert not a.closed
        assert not b.closed
        assert a.rtt is not None


async def test_ping_measures(autojump_clock: MockClock) -> None:
    async with line() as (a, b):
        assert 0 <= await a.ping() < 1
        b.close("test", "gone")
        with pytest.raises(PraxisError):
            await a.ping()


async def test_a_peer_that_stops_reading_is_given_up(autojump_clock: MockClock) -> None:
    one, _stuck = pipe_pair(room=1000)
    link = make_link(one, "a", "b", echo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        hello = Hello(id="pxb", name="b", boot=1, agent="t").encode()
        await one.other.send(encode(frames.HELLO, 0, hello))
        assert await link.wait_greeted()
        began = trio.current_time()

        async def ask() -> None:
            with pytest.raises(PraxisError):
                await link.call("m", "x" * 50_000)

        async def chatter() -> None:  # it still talks, so only the stalled write tells
            while not link.closed:
                await trio.sleep(5)
                await one.other.send(encode(frames.PING, 0, b"12345678"))

        nursery.start_soon(ask)
        with trio.move_on_after(200):
            async with trio.open_nursery() as talking:
                talking.start_soon(chatter)
                await link.wait_ended()
                talking.cancel_scope.cancel()
        assert link.reason_code == "stalled"
        assert trio.current_time() - began < SEND_STALL + 40
        nursery.cancel_scope.cancel()


async def test_leaving_lets_running_calls_finish_and_takes_no_new_ones(autojump_clock: MockClock) -> None:
    async def handler(request: PeerRequest) -> Any:
        await trio.sleep(3)
        return "finished"

    async with line(handler) as (a, b):
        answers: list[Any] = []

        async def caller() -> None:
            answers.append(await a.call("m", None))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lambda: b.leave("bye", redial=True, grace=10))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(PraxisError, match="bye"):
                await a.call("m", None)
        assert answers == ["finished"]
        await a.wait_ended()
        assert "bye" in a.reason


async def test_leaving_ends_at_the_grace(autojump_clock: MockClock) -> None:
    async def handler(request: PeerRequest) -> Any:
        await trio.sleep_forever()

    async with line(handler) as (a, b):

        async def caller() -> None:
            with pytest.raises(PraxisError):
                await a.call("m", None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await b.leave("bye", redial=True, grace=4)
            assert trio.current_time() - began == pytest.approx(4)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (HEAD.pack(1 << 30, 2, 0, 0, 1), "frame_size"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame_size"),
        (encode(frames.REQUEST, 1, b'{"m":"x"}'), "before_hello"),
        (encode(frames.HELLO, 0, Hello(id="pxother", name="b", boot=1, agent="t").encode()), "identity"),
        (encode(frames.HELLO, 0, Hello(id="pxb", name="b", boot=1, agent="t", versions=(7, 9)).encode()), "version"),
    ],
)
async def test_an_offence_ends_the_line_with_its_name_and_is_told(
    sent: bytes, code: str, autojump_clock: MockClock
) -> None:
    one, two = pipe_pair()
    link = make_link(one, "a", "b", echo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await two.send(sent)
        assert not await link.wait_greeted() or link.reason_code == code
        await link.wait_ended()
    assert link.reason_code == code
    farewell = frames.FrameReader().receive(bytes(one.sent))[-1]
    assert farewell.type == frames.GOAWAY
    assert "protocol error" in json.loads(farewell.payload)["reason"]


async def test_a_stop_of_the_agent_ends_the_line(autojump_clock: MockClock) -> None:
    async with line() as (a, _):
        pass
    assert a.closed
    assert a.reason_code == "cancelled"
