"""Pieces of an answer, errors of servers and ways to ask again, by plain calls."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Llm
from praxis.llm.dialect import Dialect, ServerError
from praxis.llm.failures import refused, retry_after
from praxis.llm.reply import MAX_TEXT, BrokenReplyError, Reply, TooLongError, Usage, read_error
from tests.support.fake_llm import NOW, called, delta


def reply(*pieces: Any) -> Reply:
    found = Reply()
    for piece in pieces:
        found.take(piece if isinstance(piece, bytes) else json.dumps(piece).encode())
    return found


def test_pieces_are_joined() -> None:
    found = reply(delta(role="assistant", content=""), delta(content="a"), delta(content=None), delta(content="b"))
    assert (found.text, found.whole, found.usage) == ("ab", False, None)
    found = reply(delta(content="a"), delta("stop"))
    assert (found.text, found.finish, found.whole, found.ended) == ("a", "stop", True, False)
    found = reply(delta(content="a"), b" [DONE]")
    assert (found.whole, found.ended) == (True, True)


def test_arguments_of_a_function_come_before_what_was_written() -> None:
    found = reply(
        delta(content="Well."), delta(tool_calls=called("", name="make_plan")), delta(tool_calls=called("{}"))
    )
    assert found.text == "{}"
    assert reply(delta(content="Well."), delta(tool_calls=called(" "))).text == "Well."


def test_odd_calls() -> None:
    """Without an index, with an object instead of its text, and what is none at all."""
    assert reply(delta(tool_calls=[{"function": {"arguments": {"a": 1}}}])).text == '{"a": 1}'
    odd = [5, {}, {"function": 5}, {"function": {"arguments": 5}}, {"function": {"arguments": "x"}, "index": True}]
    assert reply(delta(tool_calls=odd)).text == "x"
    assert reply(delta(tool_calls=5), {"choices": [{"delta": 5}]}, {"choices": [{}]}).text == ""


def test_usage() -> None:
    assert reply({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).usage == Usage(3, 4)
    assert reply({"choices": [], "usage": {"prompt_tokens": -3, "completion_tokens": "x"}}).usage == Usage(0, 0)
    assert reply({"choices": [], "usage": None}).usage is None


def test_a_text_has_an_end() -> None:
    found = reply(delta(content="x" * (MAX_TEXT - 1)))
    with pytest.raises(TooLongError):
        found.take(json.dumps(delta(tool_calls=called(""))).encode())


@given(
    st.binary()
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "delta", "message", "tool_calls", "function", "arguments", "usage", "error", "content"]
                ),
                inner,
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_garbage_is_a_broken_reply(data: bytes) -> None:
    found = Reply()
    try:
        found.take(data)
    except BrokenReplyError as error:
        assert len(str(error)) < 300
    assert isinstance(found.text, str)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error": {"message": "a\\n b", "code": "c", "param": "p"}}', ServerError(400, "a b", "c", "p")),
        (b'{"error": {"message": "a", "code": 7, "param": null}}', ServerError(400, "a")),
        (b'{"error": "a"}', ServerError(400, "a")),
        (b'{"detail": "a"}', ServerError(400, "a")),
        (b'{"detail": [{"loc": 1}]}', ServerError(400)),
        (b'"a"', ServerError(400, "a")),
        (b"[1]", ServerError(400)),
        (b"plain\x00 words", ServerError(400, "plain words")),
        (b" <html>", ServerError(400)),
        (b"\xff", ServerError(400, "\ufffd")),
        (b"", ServerError(400)),
    ],
)
def test_what_a_server_says(body: bytes, error: ServerError) -> None:
    assert read_error(400, body) == error


def test_retry_after() -> None:
    for value, seconds in (
        ("0", 0.0),
        (" 12 ", 12.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("1.5", None),
        ("tomorrow", None),
        ("Fri, 31 Feb 2025 00:00:00 GMT", None),
    ):
        assert retry_after({"retry-after": value}, NOW) == seconds, value
    assert retry_after({}, NOW) is None


def test_a_way_to_ask_again_ends() -> None:
    """Whatever a server refuses, there are at most five other ways, and none twice."""
    for message in ("no", "tools", "max_completion_tokens, temperature, stream_options: no"):
        dialect: Dialect | None = Dialect("function")
        seen = []
        while dialect is not None:
            assert dialect not in seen
            seen.append(dialect)
            dialect = dialect.after(ServerError(400, message))
        assert len(seen) <= 6
        assert seen[-1].mode == "plain"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServerError(429), "busy"),
        (ServerError(429, code="insufficient_quota"), "unavailable"),
        (ServerError(413), "too_large"),
        (ServerError(400, code="context_length_exceeded"), "too_large"),
        (ServerError(401), "unavailable"),
        (ServerError(500), "unavailable"),
    ],
)
def test_codes(error: ServerError, code: str) -> None:
    assert refused(Llm(), error).code == code
