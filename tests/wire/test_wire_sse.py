"""Server-sent events, read back as WHATWG HTML 9.2.6 tells a browser to."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire.sse import COMMENT, MAX_RETRY, Event, EventReader, encode_event

LINE_END = re.compile("\r\n|\r|\n")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))


@attrs.frozen
class Message:
    type: str
    data: str
    last_id: str


def read(stream: bytes) -> list[Message]:
    """What an EventSource would dispatch."""
    messages, type, data, last_id = [], "", list[str](), ""
    for line in LINE_END.split(stream.decode()):
        if not line:
            if data:
                messages.append(Message(type or "message", "\n".join(data), last_id))
            type, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            type = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value
    return messages


def test_an_event_has_its_bytes_in_the_order_of_type_id_and_data() -> None:
    assert encode_event("one", event="run.started", id="7") == b"event: run.started\nid: 7\ndata: one\n\n"


def test_a_field_that_is_not_given_is_not_sent() -> None:
    assert encode_event("one") == b"data: one\n\n"


def test_empty_data_is_an_event_all_the_same() -> None:
    assert read(encode_event("", event="ping")) == [Message("ping", "", "")]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_every_kind_of_line_end_in_data_begins_a_new_data_line(end: str) -> None:
    assert encode_event(f"a{end}b{end}") == b"data: a\ndata: b\ndata: \n\n"


def test_what_only_python_takes_for_a_line_end_stays_in_its_line() -> None:
    text = "a\x0bb\x0c\x1cc\x85d\u2028e\u2029f"
    assert encode_event(text) == f"data: {text}\n\n".encode()


def test_data_cannot_pretend_to_be_another_field_or_event() -> None:
    (message,) = read(encode_event("x\n\nevent: admin\nid: 9\ndata: y", event="log", id="1"))
    assert message == Message("log", "x\n\nevent: admin\nid: 9\ndata: y", "1")


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "\r\n", "a\0"])
def test_a_line_end_or_nul_in_a_field_is_refused_by_name(field: str, bad: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(bad))):
        encode_event("x", **{field: bad})


def test_half_of_a_surrogate_pair_does_not_break_the_stream() -> None:
    assert encode_event("a\ud800b") == b"data: a?b\n\n"


def test_a_comment_is_no_event_and_leaves_its_neighbours_alone() -> None:
    one, two = encode_event("1", id="1"), encode_event("2")
    assert COMMENT.startswith(b":")
    assert read(COMMENT + one + COMMENT + two + COMMENT) == [Message("message", "1", "1"), Message("message", "2", "1")]


@given(st.lists(st.tuples(TEXT, FIELD, FIELD), max_size=5))
def test_a_reader_gets_every_event_as_it_was_sent(events: list[tuple[str, str, str]]) -> None:
    stream = b"".join(encode_event(data, event=event, id=id) for data, event, id in events)
    expected, last_id = [], ""
    for data, event, id in events:
        last_id = id or last_id
        expected.append(Message(event or "message", LINE_END.sub("\n", data), last_id))
    assert read(stream) == expected


# -- the reading side ---------------------------------------------------------------------------------


def events(*pieces: bytes, limit: int = 1000) -> list[Event]:
    reader = EventReader(limit)
    return [event for piece in pieces for event in reader.receive(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_kind_of_line_end_and_any_split(end: bytes) -> None:
    stream = end.join([b"event: x", b"data: one", b"data:two", b"", b": comment", b"", b"data", b"data: 3", b"", b""])
    expected = [Event(b"one\ntwo", "x"), Event(b"\n3")]
    assert events(stream) == expected
    assert events(*(stream[at : at + 1] for at in range(len(stream)))) == expected


def test_lines_end_nowhere_else() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf".encode()
    assert events(b"data: " + text + b"\n\n") == [Event(text)]


def test_what_has_no_data_is_no_event_but_leaves_its_traces() -> None:
    reader = EventReader(100)
    assert reader.receive(b"\xef\xbb\xbfid: 5\nretry: 200\ndata:\n\nevent: ping\n\n: x\n\n") == []
    assert (reader.last_id, reader.retry) == ("5", 200)
    assert reader.receive(b"data: x\n\n") == [Event(b"x")]
    assert reader.last_id == "5"
    assert reader.receive(b"id\ndata: y\n\n") == [Event(b"y")]
    assert reader.last_id == ""


@pytest.mark.parametrize("id", [b"a\0b", b"x" * 2000, "\u00fc".encode(), b"a\x07"])
def test_ids_that_cannot_be_sent_back_are_not_kept(id: bytes) -> None:
    reader = EventReader(5000)
    reader.receive(b"id: " + id + b"\ndata: x\n\n")
    assert reader.last_id == ""


@pytest.mark.parametrize(("text", "retry"), [(b"1.5", None), (b"-1", None), (b"", None), (b"999999999", MAX_RETRY)])
def test_times_that_are_none_or_too_long(text: bytes, retry: int | None) -> None:
    reader = EventReader(100)
    reader.receive(b"retry: " + text + b"\ndata: x\n\n")
    assert reader.retry == retry


def test_an_event_over_the_limit_is_cut_and_the_next_one_whole() -> None:
    (long, many, next) = events(b"data: " + b"x" * 5000, b"y\n\n", b"data: 1234\n" * 50 + b"\ndata: ok\n\n", limit=99)
    assert (long.data, many.data[:9], next) == (b"x" * 99, b"1234\n1234", Event(b"ok"))
    assert long.size > 99
    assert many.size == 249


def test_what_is_kept_of_a_line_is_bounded() -> None:
    reader = EventReader(1000)
    for _ in range(100):
        reader.receive(b"data: " + b"x" * 1000)
    assert len(reader._rest) < 1100


@given(st.lists(st.tuples(TEXT, FIELD), max_size=5), st.integers(1, 20))
def test_what_is_written_is_read(sent: list[tuple[str, str]], size: int) -> None:
    stream = b"".join(encode_event(data, event=event) + COMMENT for data, event in sent)
    got = events(*(stream[at : at + size] for at in range(0, len(stream), size)), limit=100_000)
    expected = [(LINE_END.sub("\n", data).encode(), event or "message") for data, event in sent if data]
    assert [(event.data, event.name) for event in got] == expected


@given(st.binary(max_size=200), st.integers(1, 9))
def test_garbage_never_raises_and_its_split_does_not_matter(data: bytes, size: int) -> None:
    assert events(*(data[at : at + size] for at in range(0, len(data), size)), limit=20) == events(data, limit=20)
