"""The session as a conversation between two ends, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.wire import frames
from praxis.wire.bodies import BULK, INITIAL_CREDIT, MAX_BODIES
from praxis.wire.frames import ACK, END, ERROR, FrameReader, ProtocolError, encode
from praxis.wire.messages import Hello, dumps
from praxis.wire.received import (
    CancelReceived,
    EventReceived,
    GoawayReceived,
    HelloReceived,
    PongReceived,
    RequestReceived,
    ResponseReceived,
    SessionEvent,
)
from praxis.wire.session import MAX_EVENTS, Session

BIG = "x" * 300_000


def hello(name: str, **changes: Any) -> Hello:
    return Hello(**{"id": f"px{name}", "name": name, "boot": 1, "agent": "praxis/test", **changes})


class Conversation:
    """Two greeted sessions; `a` dialed."""

    def __init__(self, **changes: Any) -> None:
        self.a = Session(hello("a", **changes), dialer=True)
        self.b = Session(hello("b", **changes), dialer=False)
        assert isinstance(self.pass_on(self.a, self.b)[0], HelloReceived)
        assert isinstance(self.pass_on(self.b, self.a)[0], HelloReceived)

    def pass_on(self, source: Session, target: Session) -> list[SessionEvent]:
        events: list[SessionEvent] = []
        while source.wants_to_write:
            batch = source.take()
            source.written(len(batch))
            events += target.receive(batch)
        return events

    def settle(self) -> tuple[list[SessionEvent], list[SessionEvent]]:
        """Pass on until both are silent: what reached a, and what reached b."""
        at_a: list[SessionEvent] = []
        at_b: list[SessionEvent] = []
        while self.a.wants_to_write or self.b.wants_to_write:
            at_b += self.pass_on(self.a, self.b)
            at_a += self.pass_on(self.b, self.a)
        return at_a, at_b


def request_of(events: list[SessionEvent]) -> RequestReceived:
    (event,) = events
    assert isinstance(event, RequestReceived)
    return event


def test_a_request_and_its_answer() -> None:
    talk = Conversation()
    stream = talk.a.request("tool.call", {"name": "écho"}, remaining=1.5, trace="t-1")
    assert stream == 1
    request = request_of(talk.pass_on(talk.a, talk.b))
    assert request == RequestReceived(1, "tool.call", {"name": "écho"}, 1.5, "t-1")
    talk.b.respond(1, {"content": []})
    assert talk.pass_on(talk.b, talk.a) == [ResponseReceived(1, {"content": []}, None)]
    assert talk.a.asking == talk.b.serving == talk.a.queued == talk.b.queued == 0


def test_streams_are_odd_for_the_dialer_and_even_for_the_listener() -> None:
    talk = Conversation()
    assert [talk.a.request("m", None) for _ in range(3)] == [1, 3, 5]
    assert [talk.b.request("m", None) for _ in range(3)] == [2, 4, 6]


def test_an_error_keeps_its_code_place_and_advice() -> None:
    talk = Conversation()
    talk.a.request("m", {})
    talk.pass_on(talk.a, talk.b)
    talk.b.refuse(1, PraxisError("invalid", "expected a text", where="arguments.x", hint="quote it", data={"n": 1}))
    (answer,) = talk.pass_on(talk.b, talk.a)
    assert isinstance(answer, ResponseReceived)
    error = answer.error
    assert error is not None
    assert (error.code, error.detail, error.where, error.hint, error.data, error.delivered) == (
        "invalid",
        "expected a text",
        "arguments.x",
        "quote it",
        {"n": 1},
        False,
    )


def test_big_params_and_results_travel_as_bodies_and_arrive_whole() -> None:
    talk = Conversation()
    talk.a.request("m", {"text": BIG})
    assert talk.a.unsent(1)
    at_a, at_b = talk.settle()
    assert request_of(at_b).params == {"text": BIG}
    assert at_a == [] and not talk.a.unsent(1)
    talk.b.respond(1, [BIG, BIG])
    at_a, _ = talk.settle()
    assert at_a == [ResponseReceived(1, [BIG, BIG], None)]
    assert talk.b.serving == 0


def test_a_body_waits_for_credit_and_small_frames_pass_it() -> None:
    talk = Conversation()
    talk.a.request("m", {"text": BIG * 4})
    sent = b""
    while talk.a.wants_to_write:
        batch = talk.a.take()
        assert len(batch) <= BULK + 1000
        sent += batch
    assert len(sent) < INITIAL_CREDIT + 1000  # no more without CREDIT
    talk.a.request("small", 1)
    kinds = [frame.type for frame in FrameReader().receive(talk.a.take())]
    assert kinds == [frames.REQUEST]
    events = talk.b.receive(sent)
    assert events == []
    assert frames.CREDIT in [frame.type for frame in FrameReader().receive(talk.b.take())]


def test_only_eight_bodies_are_under_way_and_the_others_follow() -> None:
    talk = Conversation()
    for _ in range(MAX_BODIES + 4):
        talk.a.request("m", {"text": BIG})
    announced = [f for f in FrameReader().receive(talk.a.take()) if f.type == frames.REQUEST]
    assert len(announced) == MAX_BODIES
    talk = Conversation()
    for _ in range(MAX_BODIES + 4):
        talk.a.request("m", {"text": BIG})
    _, at_b = talk.settle()
    assert len(at_b) == MAX_BODIES + 4


def test_too_large_is_told_before_anything_leaves_and_for_results_to_the_caller() -> None:
    talk = Conversation(message=100_000)
    with pytest.raises(PraxisError, match=r"the arguments have \d+ bytes, the peer takes 100000") as refused:
        talk.a.request("m", BIG)
    assert refused.value.code == "too_large"
    assert not talk.a.wants_to_write and talk.a.asking == 0
    talk.a.request("m", 1)
    talk.settle()
    talk.b.respond(1, BIG)
    at_a, _ = talk.settle()
    (answer,) = at_a
    assert isinstance(answer, ResponseReceived) and answer.error is not None
    assert answer.error.code == "too_large" and answer.error.delivered


def test_cancel_reaches_the_server_and_its_answer_the_caller() -> None:
    talk = Conversation()
    talk.a.request("m", 1)
    talk.settle()
    assert talk.a.cancel(1)
    assert talk.pass_on(talk.a, talk.b) == [CancelReceived(1)]
    talk.b.refuse(1, PraxisError("cancelled", "cancelled"))
    (answer,) = talk.pass_on(talk.b, talk.a)
    assert isinstance(answer, ResponseReceived) and answer.error is not None and answer.error.code == "cancelled"


def test_cancel_while_the_request_is_still_being_sent() -> None:
    talk = Conversation()
    talk.a.request("m", BIG)
    talk.b.receive(talk.a.take())
    assert talk.a.cancel(1)
    at_a, at_b = talk.settle()
    assert at_b == []
    assert isinstance(at_a[0], ResponseReceived)
    talk.a.request("m", BIG)  # and the line goes on
    assert request_of(talk.settle()[1]).params == BIG


def test_cancel_while_the_answer_is_being_sent() -> None:
    talk = Conversation()
    talk.a.request("m", 1)
    talk.settle()
    talk.b.respond(1, BIG * 3)
    talk.a.receive(talk.b.take())
    talk.a.cancel(1)
    at_a, at_b = talk.settle()
    assert at_b == []
    assert isinstance(at_a[0], ResponseReceived) and at_a[0].error is not None
    assert talk.b.serving == 0


def test_a_request_whose_body_waits_for_its_turn_is_cancelled_without_a_word() -> None:
    talk = Conversation()
    for _ in range(MAX_BODIES + 1):
        last = talk.a.request("m", BIG)
    assert not talk.a.cancel(last)
    _, at_b = talk.settle()
    assert len(at_b) == MAX_BODIES


def test_an_answer_that_nobody_waits_for_any_more_is_ignored() -> None:
    talk = Conversation()
    talk.a.request("m", 1)
    talk.settle()
    talk.b.respond(1, BIG)
    talk.a.receive(talk.b.take())
    talk.a.forget(1)
    at_a, _ = talk.settle()
    assert at_a == []


def test_more_requests_than_allowed_are_answered_busy() -> None:
    talk = Conversation(inflight=2)
    for _ in range(3):
        talk.a.request("m", 1)
    events = talk.pass_on(talk.a, talk.b)
    assert [e.stream for e in events if isinstance(e, RequestReceived)] == [1, 3]
    (answer,) = talk.pass_on(talk.b, talk.a)
    assert isinstance(answer, ResponseReceived) and answer.error is not None
    assert answer.stream == 5 and answer.error.code == "busy"


def test_progress_reaches_the_caller_until_too_much_is_waiting() -> None:
    talk = Conversation()
    talk.a.request("m", 1)
    talk.settle()
    talk.b.progress(1, {"progress": 1})
    assert talk.pass_on(talk.b, talk.a) == [EventReceived(1, {"progress": 1})]
    note = "y" * 50_000
    for _ in range(MAX_EVENTS // 50_000 + 10):
        talk.b.progress(1, note)
    assert talk.b.dropped_events > 0
    assert talk.b.queued <= MAX_EVENTS + 100_000


def test_a_notice_belongs_to_no_request_and_is_dropped_as_progress_is() -> None:
    talk = Conversation()
    talk.a.notify({"load": 1})
    talk.b.notify(["é"])
    assert talk.settle() == ([EventReceived(0, ["é"])], [EventReceived(0, {"load": 1})])
    for _ in range(MAX_EVENTS // 50_000 + 10):
        talk.b.notify("y" * 50_000)
    assert talk.b.dropped_events > 0
    talk.b.notify("y" * 70_000)
    assert talk.pass_on(talk.b, talk.a)[-1] == EventReceived(0, "y" * 50_000), "what fits no frame is dropped too"


def test_ping_and_goaway() -> None:
    talk = Conversation()
    talk.a.ping(b"12345678")
    talk.a.goaway("bye", redial=False)
    at_a, at_b = talk.settle()
    assert at_a == [PongReceived(b"12345678")]
    assert at_b == [GoawayReceived("bye", False)]


def test_unknown_frames_from_0x80_up_are_skipped() -> None:
    talk = Conversation()
    assert talk.b.receive(encode(0x80, 5, b"?")) == []


def test_versions() -> None:
    newer = Session(hello("n", versions=(1, 9)), dialer=True)
    ours = Session(hello("o"), dialer=False)
    (event,) = ours.receive(newer.take())
    assert isinstance(event, HelloReceived) and event.version == 1
    far = Session(hello("f", versions=(7, 9)), dialer=True)
    with pytest.raises(ProtocolError, match="it speaks 7 to 9, we 1 to 1"):
        Session(hello("o"), dialer=False).receive(far.take())


HELLO_BYTES = encode(frames.HELLO, 0, hello("evil").encode())


def offence(*parts: bytes, **changes: Any) -> ProtocolError:
    """What a listener says of a dialer that sends these bytes."""
    session = Session(hello("victim", **changes), dialer=False)
    with pytest.raises(ProtocolError) as raised:
        for part in parts:
            session.receive(part)
            session.take()
    return raised.value


@pytest.mark.parametrize(
    ("parts", "counter"),
    [
        ([encode(frames.REQUEST, 1, b'{"m":"x"}')], "before_hello"),
        ([HELLO_BYTES, HELLO_BYTES], "hello"),
        ([encode(frames.HELLO, 0, b"[]")], "message"),
        ([encode(frames.HELLO, 0, b"{}")], "hello"),
        ([encode(frames.HELLO, 0, b"\xff\xfe")], "json"),
        ([HELLO_BYTES, encode(99, 1)], "frame_type"),
        ([HELLO_BYTES, encode(0, 1)], "frame_type"),
        ([HELLO_BYTES, encode(frames.REQUEST, 2, b'{"m":"x"}')], "stream"),
        ([HELLO_BYTES, encode(frames.REQUEST, 0, b'{"m":"x"}')], "stream"),
        ([HELLO_BYTES, encode(frames.REQUEST, 1, b'{"m":"x"}'), encode(frames.REQUEST, 1, b'{"m":"x"}')], "stream"),
        ([HELLO_BYTES, encode(frames.REQUEST, 1, b'{"p":1}')], "message"),
        ([HELLO_BYTES, encode(frames.REQUEST, 1, b'{"m":"x"')], "json"),
        ([HELLO_BYTES, encode(frames.REQUEST, 1, b"[" * 60_000)], "json"),
        ([HELLO_BYTES, encode(frames.REQUEST, 1, b'{"m":"x","b":-1}')], "body"),
        ([HELLO_BYTES, encode(frames.REQUEST, 1, b'{"m":"x","b":true}')], "body"),
        ([HELLO_BYTES, encode(frames.RESPONSE, 1, b"1")], "stream"),
        ([HELLO_BYTES, encode(frames.EVENT, 1, b"1")], "stream"),
        ([HELLO_BYTES, encode(frames.EVENT, 0, b"{")], "json"),
        ([HELLO_BYTES, encode(frames.DATA, 1, b"stray")], "credit"),
        ([HELLO_BYTES, encode(frames.CREDIT, 1, b"12")], "credit"),
        ([HELLO_BYTES, encode(frames.CANCEL, 2)], "stream"),
        ([HELLO_BYTES, encode(frames.GOAWAY, 0, b"1")], "message"),
    ],
)
def test_offences_have_names(parts: list[bytes], counter: str) -> None:
    assert offence(*parts).counter == counter


def test_a_body_longer_than_announced_or_credited_is_an_offence() -> None:
    start = [HELLO_BYTES, encode(frames.REQUEST, 1, b'{"m":"x","b":100000}')]
    chunk = encode(frames.DATA, 1, bytes(65536))
    assert offence(*start, chunk, chunk).counter == "credit"
    assert offence(*start, encode(frames.DATA, 1, b"short", END)).counter == "body"
    session = Session(hello("victim"), dialer=False)
    session.receive(b"".join(start) + chunk + encode(frames.DATA, 1, b"null".rjust(100_000 - 65536), END)[:20])


def test_endless_data_for_refused_bodies_ends_the_line() -> None:
    huge = encode(frames.REQUEST, 1, dumps({"m": "x", "b": 10**9}))
    flood = [encode(frames.DATA, 1, bytes(65536))] * (INITIAL_CREDIT // 65536 + 1)
    assert offence(HELLO_BYTES, huge, *flood).counter == "credit"


def test_too_many_bodies_is_an_offence() -> None:
    announced = [encode(frames.REQUEST, 2 * i + 1, b'{"m":"x","b":70000}') for i in range(MAX_BODIES + 1)]
    assert offence(HELLO_BYTES, *announced).counter == "bodies"


def test_a_flood_of_pings_that_are_never_read_ends_the_line() -> None:
    session = Session(hello("victim"), dialer=False)
    session.receive(HELLO_BYTES)
    with pytest.raises(ProtocolError) as raised:
        for _ in range(20_000):
            session.receive(encode(frames.PING, 0, b"12345678"))
    assert raised.value.counter == "flood"


CHUNKS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda type, stream, payload, flags: encode(type, stream, payload, flags),
        st.integers(1, 10),
        st.integers(0, 6),
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from([b"{}", b'{"m":"x"}', b'{"m":"x","b":9}', b"null", b"\0\0\0\7", b'{"b":70000}']),
        ),
        st.sampled_from([0, END, ERROR, ACK, END | ERROR]),
    ),
)


@settings(max_examples=300)
@given(st.lists(CHUNKS, max_size=25), st.booleans())
def test_whatever_comes_only_the_protocol_error_is_raised(chunks: list[bytes], dialer: bool) -> None:
    session = Session(hello("victim"), dialer=dialer)
    session.receive(HELLO_BYTES)
    session.request("m", {})
    session.request("m", BIG)
    try:
        for chunk in chunks:
            for event in session.receive(chunk):
                if isinstance(event, RequestReceived):
                    session.respond(event.stream, "ok")
            session.take()
    except ProtocolError as error:
        assert error.counter and str(error)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_two_ends_with_any_timing_lose_nothing(data: st.DataObject) -> None:
    """Requests both ways, large and small, some cancelled, in batches of any size: each ends, with the right answer."""
    talk = Conversation()
    waiting: dict[tuple[str, int], Any] = {}
    ended: dict[tuple[str, int], ResponseReceived] = {}
    pipes: dict[str, bytearray] = {"a": bytearray(), "b": bytearray()}
    ends = {"a": talk.a, "b": talk.b}
    others = {"a": "b", "b": "a"}

    def deliver(to: str, size: int) -> None:
        chunk = bytes(pipes[to][:size])
        del pipes[to][:size]
        for event in ends[to].receive(chunk):
            if isinstance(event, RequestReceived):
                ends[to].respond(event.stream, event.params)
            elif isinstance(event, ResponseReceived):
                ended[to, event.stream] = event

    for _ in range(data.draw(st.integers(1, 30))):
        who = data.draw(st.sampled_from("ab"))
        match data.draw(st.sampled_from(["ask", "ask big", "cancel", "write", "deliver"])):
            case "ask" | "ask big" as how:
                value = json.dumps(len(waiting)) + (BIG if how == "ask big" else "")
                waiting[who, ends[who].request("m", value)] = value
            case "cancel":
                mine = [stream for w, stream in waiting if w == who and (w, stream) not in ended]
                if mine:
                    stream = data.draw(st.sampled_from(mine))
                    if not ends[who].cancel(stream):
                        del waiting[who, stream]
            case "write":
                pipes[others[who]] += ends[who].take()
            case "deliver":
                deliver(who, data.draw(st.integers(0, 200_000)))
    while any(pipes.values()) or talk.a.wants_to_write or talk.b.wants_to_write:
        for who in "ab":
            pipes[others[who]] += ends[who].take()
            deliver(who, len(pipes[who]))
    assert ended.keys() == waiting.keys()
    for key, event in ended.items():
        if event.error is None:
            assert event.value == waiting[key]
        else:
            assert event.error.code == "cancelled"
    assert talk.a.asking == talk.b.asking == talk.a.serving == talk.b.serving == 0


def test_half_a_surrogate_pair_arrives_as_it_is_and_costs_nobody_the_line() -> None:
    talk = Conversation()
    stream = talk.a.request("m", {"text": "cut \ud83d"})
    _, (asked,) = talk.settle()
    assert isinstance(asked, RequestReceived)
    assert asked.params == {"text": "cut \ud83d"}
    talk.b.respond(stream, ["\udc00 and é"])
    (answered,), _ = talk.settle()
    assert isinstance(answered, ResponseReceived)
    assert answered.value == ["\udc00 and é"]


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_number_that_json_lacks_is_refused_before_anything_is_sent(number: float) -> None:
    talk = Conversation()
    with pytest.raises(PraxisError) as caught:
        talk.a.request("m", {"x": number})
    assert caught.value.code == "invalid"
    assert not talk.a.wants_to_write
    talk.a.request("m", {})
    assert len(talk.settle()[1]) == 1
