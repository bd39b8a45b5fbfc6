"""Answers as bytes: whatever parts an application gives, a client reads what it meant, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.net.http_answer import Answer, Header, WrongAnswer

DATE = b"Tue, 24 Nov 2026 12:00:00 GMT"


def asked(method: bytes = b"GET", version: bytes = b"1.1", *headers: Header) -> h11.Request:
    return h11.Request(method=method, target=b"/", headers=[(b"host", b"x"), *headers], http_version=version)


def written(answer: Answer, status: int, headers: Sequence[Header], parts: Sequence[bytes]) -> bytes:
    said = answer.head(status, headers, DATE)
    return said + b"".join(answer.part(part, number < len(parts)) for number, part in enumerate(parts, 1))


def understood(said: bytes, method: bytes = b"GET") -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Status, headers, body, and whether the connection goes on, as h11 reads it; it must be one answer and no more."""
    client = h11.Connection(h11.CLIENT)
    client.send(asked(method))
    client.send(h11.EndOfMessage())
    client.receive_data(said)
    client.receive_data(b"")
    head, body = client.next_event(), b""
    assert isinstance(head, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return head.status_code, dict(head.headers), body, client.our_state is h11.DONE


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.sampled_from([b"1.0", b"1.1"]),
    st.sampled_from([200, 204, 304, 404, 500]),
)
def test_a_client_reads_what_was_meant(
    parts: list[bytes], announced: bool, method: bytes, version: bytes, status: int
) -> None:
    whole = b"".join(parts)
    headers = [(b"content-type", b"a/b")] + ([(b"content-length", b"%d" % len(whole))] if announced else [])
    answer = Answer(asked(method, version))
    said = written(answer, status, headers, parts)
    got_status, got, body, goes_on = understood(said, method)
    assert (got_status, got[b"content-type"], got[b"date"]) == (status, b"a/b", DATE)
    assert body == (b"" if method == b"HEAD" or status in (204, 304) else whole)
    assert goes_on == answer.keeps
    assert answer.over and answer.started
    assert answer.keeps == (version == b"1.1")


@pytest.mark.parametrize(
    "headers", [[(b"content-length", b"3"), (b"connection", b"close")], [(b"Connection", b"Close")]]
)
def test_an_answer_that_says_close_is_the_last(headers: list[Header]) -> None:
    answer = Answer(asked())
    *_, body, goes_on = understood(written(answer, 200, headers, [b"abc"]))
    assert (body, goes_on, answer.keeps) == (b"abc", False, False)


def test_a_client_that_says_close_gets_its_way_and_so_does_whoever_asked_nothing() -> None:
    for answer in (Answer(asked(b"GET", b"1.1", (b"connection", b"x, Close"))), Answer()):
        *_, body, goes_on = understood(written(answer, 200, [(b"content-length", b"1")], [b"a"]))
        assert (body, goes_on, answer.keeps) == (b"a", False, False)


def test_the_last_answer_says_so() -> None:
    answer = Answer(asked())
    assert b"connection: close\r\n" in answer.head(200, [(b"content-length", b"0")], DATE, last=True)
    assert not answer.keeps


@pytest.mark.parametrize(
    "header",
    [(b"a b", b"x"), (b"", b"x"), (b"a\r\nb", b"x"), (b"a", b"x\r\nset-cookie: y"), (b"a", b"x\ny"), (b"a", b"\0")]
    + [(b"content-length", value) for value in (b"-1", b"x", b"", b"1, 1")],
)
def test_no_header_breaks_out_of_its_line(header: Header) -> None:
    with pytest.raises(WrongAnswer):
        Answer(asked()).head(200, [header], DATE)


def test_what_is_out_of_place_is_refused() -> None:
    with pytest.raises(WrongAnswer):
        Answer(asked()).part(b"x", False)
    for status in (100, 199, 1000):
        with pytest.raises(WrongAnswer):
            Answer(asked()).head(status, [], DATE)
    with pytest.raises(WrongAnswer):
        Answer(asked()).head(200, [(b"content-length", b"1"), (b"content-length", b"1")], DATE)
    answer = Answer(asked())
    written(answer, 200, [], [b"x"])
    with pytest.raises(WrongAnswer):
        answer.part(b"x", False)
    with pytest.raises(WrongAnswer):
        answer.head(200, [], DATE)


@pytest.mark.parametrize(
    ("parts", "length"), [([b"abc"], b"2"), ([b"abc"], b"4"), ([b"a", b"bcd"], b"3"), ([b""], b"1")]
)
def test_a_body_has_the_length_that_was_announced(parts: list[bytes], length: bytes) -> None:
    with pytest.raises(WrongAnswer):
        written(Answer(asked()), 200, [(b"content-length", length)], parts)


def test_an_application_does_not_choose_how_its_answer_is_cut() -> None:
    said = written(Answer(asked()), 200, [(b"transfer-encoding", b"gzip"), (b"content-length", b"3")], [b"abc"])
    assert understood(said)[2] == b"abc"
    assert b"transfer-encoding" not in said
