"""Server-sent events, read back as WHATWG HTML 9.2.6 tells a browser to."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire.sse import COMMENT, encode_event

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
