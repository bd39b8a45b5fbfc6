"""Large texts beside the JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire import texts
from praxis.wire.frames import ProtocolError
from praxis.wire.texts import LEAST, MAX_DEPTH, MAX_LOOKS, MAX_TEXTS, pack, unpack

LARGE = "é€" * LEAST
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([LARGE, LARGE + "x", "x" * LEAST, "\ud800" * LEAST])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def sent(value: Any) -> tuple[bytes, list[list[Any]]]:
    """Body and places as they go over the wire."""
    packed, placed = pack(value)
    parts = [packed, *(text.encode() if isinstance(text, str) else text for _, text in placed)]
    return b"".join(parts), [[list(path), len(text)] for path, text in placed]


@given(VALUES)
def test_a_value_arrives_as_it_was_and_stays_as_it_is(value: Any) -> None:
    before = repr(value)
    body, places = sent(value)
    assert unpack(bytearray(body), places) == value
    assert repr(value) == before


def test_a_large_text_is_not_in_the_json() -> None:
    value = {"content": [{"type": "text", "text": LARGE}, {"type": "text", "text": "small"}], "isError": False}
    packed, ((path, text),) = pack(value)
    assert len(packed) < 200
    assert (path, text) == (("content", 0, "text"), LARGE.encode())
    assert pack({"text": "x" * (LEAST - 1)})[1] == []


def test_an_ascii_text_is_not_copied_before_it_leaves() -> None:
    text = "x" * LEAST
    _, ((_, placed),) = pack([text])
    assert placed is text


def test_what_is_looked_at_is_bounded() -> None:
    many = [LARGE] * (MAX_TEXTS + 5)
    assert len(pack(many)[1]) == MAX_TEXTS
    assert unpack(*sent(many)) == many
    deep: Any = LARGE
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert pack(deep)[1] == []
    assert pack([*range(2 * MAX_LOOKS), LARGE])[1] == []


@pytest.mark.parametrize(
    "places",
    [
        None,
        {},
        [[]],
        [[["a"]]],
        [["a", 1]],
        [[["a"], -1]],
        [[["a"], 1.5]],
        [[["a"], True]],
        [[["a"], 10**9]],
        [[["b"], 1]],
        [[["a", "a"], 1]],
        [[["n", 1], 1]],
        [[["n", -1], 1]],
        [[["n", "0"], 1]],
        [[["n", True], 1]],
        [[[["a"]], 1]],
        [[["full"], 1]],
        [[[], 1]],
        [[["a"], 1]] * (MAX_TEXTS + 1),
        [[["a"] * (MAX_DEPTH + 1), 1]],
        [[["a"], 1], [["a"], 1]],
    ],
)
def test_places_that_nobody_can_have_made_end_the_line(places: Any) -> None:
    body = b'{"a":"","n":[""],"full":"x"}' + b"yz"
    size = sum(place[1] for place in places) if isinstance(places, list) and places == [[["a"], 1], [["a"], 1]] else 1
    with pytest.raises(ProtocolError):
        unpack(bytearray(body[: len(body) - 2 + size]), places)


def test_a_text_that_is_not_utf_8_ends_the_line() -> None:
    with pytest.raises(ProtocolError, match="UTF-8"):
        unpack(bytearray(b'{"a":""}\xff'), [[["a"], 1]])


def test_a_text_can_be_the_whole_value() -> None:
    assert unpack(*sent(LARGE)) == LARGE
    assert texts.pack(LARGE)[0] == b'""'
