"""Bodies on their way: whose turn it is, what credit is granted, and what memory they take."""

from __future__ import annotations

from collections import deque

from praxis.wire.bodies import BULK, INITIAL_CREDIT, MAX_BODIES, IncomingBodies, Outgoing, OutgoingBodies
from praxis.wire.frames import DATA, END, MAX_PAYLOAD


class Sender:
    """Bodies being sent, and the frames that `take` gave: stream, payload, flags."""

    def __init__(self) -> None:
        self.bodies = OutgoingBodies()
        self.announced: list[int] = []
        self.sent: list[tuple[int, bytes, int]] = []

    def add(self, stream: int, *parts: bytes | str) -> None:
        size = sum(len(part) for part in parts)
        self.bodies.add(stream, Outgoing(lambda: self.announced.append(stream), deque(parts), size))

    def take(self) -> list[int]:
        """The streams whose body went whole."""
        return self.bodies.put_chunks(self._put)

    def _put(self, type: int, stream: int, payload: bytes | memoryview, flags: int) -> None:
        assert type == DATA and 0 < len(payload) <= MAX_PAYLOAD
        self.sent.append((stream, bytes(payload), flags))


def test_bodies_take_turns_and_a_small_one_does_not_wait_for_the_end_of_a_large_one() -> None:
    sender = Sender()
    for stream in range(1, MAX_BODIES):
        sender.add(stream, bytes(INITIAL_CREDIT))
    sender.add(MAX_BODIES, b"small")
    for stream in range(1, MAX_BODIES):
        sender.sent.clear()
        assert sender.take() == []
        assert {sent for sent, _, _ in sender.sent} == {stream}
        assert sum(len(payload) for _, payload, _ in sender.sent) == BULK
    sender.sent.clear()
    assert sender.take() == [MAX_BODIES]
    assert sender.sent[0] == (MAX_BODIES, b"small", END)
    assert {stream for stream, _, _ in sender.sent} == {MAX_BODIES, 1}


def test_who_has_no_credit_loses_its_turn_and_gets_one_with_new_credit() -> None:
    sender = Sender()
    sender.add(1, bytes(INITIAL_CREDIT + 10))
    sender.add(3, bytes(3 * BULK))
    while sender.bodies.ready:
        sender.take()
    assert sum(len(payload) for stream, payload, _ in sender.sent if stream == 1) == INITIAL_CREDIT
    assert sum(len(payload) for stream, payload, _ in sender.sent if stream == 3) == 3 * BULK
    assert sender.take() == []
    sender.bodies.credit(1, 4)
    assert sender.take() == []
    sender.bodies.credit(1, 100)
    assert sender.take() == [1]
    assert [(len(payload), flags) for stream, payload, flags in sender.sent if stream == 1][-2:] == [(4, 0), (6, END)]


def test_the_parts_of_a_body_follow_each_other_texts_encoded() -> None:
    sender = Sender()
    text, raw = "abc" * 50_000, "é€".encode() * 30_000
    sender.add(1, b"{}", text, raw, "end")
    assert sender.take() == [] and sender.take() == [1]
    assert b"".join(payload for _, payload, _ in sender.sent) == b"{}" + text.encode() + raw + b"end"
    assert [flags for _, _, flags in sender.sent if flags] == [END]


def test_one_more_body_is_announced_when_one_has_left() -> None:
    sender = Sender()
    for stream in range(MAX_BODIES + 1):
        sender.add(stream, b"x")
    assert len(sender.announced) == MAX_BODIES
    assert sender.take() == sender.announced == list(range(MAX_BODIES + 1))


def test_no_credit_is_granted_that_the_body_does_not_need() -> None:
    step = INITIAL_CREDIT // 2
    incoming = IncomingBodies().begin({"b": 4 * step})
    piece = memoryview(bytes(step))
    assert [incoming.receive(piece) for _ in range(4)] == [step, step, 0, 0]


def test_the_memory_of_a_body_serves_the_next_while_others_are_under_way() -> None:
    bodies = IncomingBodies()
    other, first = bodies.begin({"b": 10}), bodies.begin({"b": 8})
    first.receive(memoryview(b"12345678"))
    memory = bodies.end(first)
    second = bodies.begin({"b": 5})
    assert second.content.obj is memory.obj
    second.receive(memoryview(b"abcde"))
    assert bytes(bodies.end(second)) == b"abcde"
    larger = bodies.begin({"b": 9})
    assert larger.content.obj is not memory.obj
    bodies.give_up(larger)
    bodies.give_up(other)
    alone = bodies.begin({"b": 5})
    assert all(alone.content.obj is not earlier.content.obj for earlier in (other, first, second, larger))
