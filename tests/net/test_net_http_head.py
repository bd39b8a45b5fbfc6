"""Requests that are read without h11, and h11 as the judge of what is one."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.net.http_head import read_ordinary

MAX_BODY = 100
HOST = b"Host: a"


def head(*fields: bytes, line: bytes = b"POST /a?b=c HTTP/1.1") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, *fields, b""))


def by_h11(data: bytes) -> tuple[Any, bytes, bytes]:
    """The same by h11. Raises h11.RemoteProtocolError for what is no request."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request, body = connection.next_event(), b""
    assert isinstance(request, h11.Request)
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return request, body, connection.trailing_data[0]


def agree(data: bytes) -> bool:
    """Whether it is read as ordinary; if so, h11 must read the same."""
    found = read_ordinary(data, MAX_BODY)
    if found is None:
        return False
    ordinary, size, come = found
    come += b"x" * (size - len(come))  # what of the body is still to come
    request, body, rest = by_h11(data + come[len(found[2]) :])
    assert list(ordinary) == [request.method, request.target, list(request.headers), request.http_version]
    assert (come[:size], come[size:]) == (body, rest)
    return True


def test_a_head_is_read_and_the_rest_is_left() -> None:
    data = head(HOST, b"Accept:  a, b\t", b"Content-Length: 03", b"Accept: c", b"X-Y: \xe4")
    found = read_ordinary(data + b"abcGET", MAX_BODY)
    assert found is not None
    request, size, rest = found
    assert (request.method, request.target, request.http_version) == (b"POST", b"/a?b=c", b"1.1")
    assert request.headers[:2] == [(b"host", b"a"), (b"accept", b"a, b")]
    assert request.headers[2:] == [(b"content-length", b"03"), (b"accept", b"c"), (b"x-y", b"\xe4")]
    assert (size, rest) == (3, b"abcGET")
    assert agree(data + b"abcGET")
    assert agree(data + b"a"), "the rest of the body may come later"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(HOST)[:-1],
        head(HOST, b"Content-Length: 101") + b"a" * 101,
        head(HOST, b"Content-Length: 0000000000000000000000001") + b"a",
        head(HOST, b"Content-Length: 1", b"Content-Length: 1") + b"a",
        head(HOST, b"Content-Length: 1, 1") + b"a",
        head(HOST, b"Content-Length: +1") + b"a",
        head(HOST, b"Content-Length: \xb2"),
        head(HOST, b"Content-Length:") + b"a",
        head(HOST, b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(HOST, b"Transfer-Encoding: identity", b"Content-Length: 1") + b"a",
        head(HOST, b"Expect: 100-continue"),
        head(HOST, b"Upgrade: h2c"),
        head(HOST, HOST),
        head(b"X: a"),
        head(),
        head(HOST, line=b"CONNECT a:1 HTTP/1.1"),
        head(HOST, line=b"GET / HTTP/1.0"),
        head(HOST, line=b"GET / HTTP/2.0"),
        head(HOST, line=b"GET  / HTTP/1.1"),
        head(HOST, line=b"GET /\xe4 HTTP/1.1"),
        head(HOST, line=b"G(T / HTTP/1.1"),
        head(b" " + HOST),
        head(HOST, b" folded"),
        head(HOST, b"X : a"),
        head(HOST, b": a"),
        head(HOST, b"X"),
        head(HOST, b"X: a\0"),
        head(HOST, b"X: a\rb"),
        head(HOST, b"X: a\nY: b"),
        b"\r\n" + head(HOST),
        head(HOST).replace(b"\r\n", b"\n"),
        head(HOST, b"X: a\x7f"),
    ],
)
def test_what_is_wrong_or_rare_or_not_whole_is_left_to_h11(data: bytes) -> None:
    assert read_ordinary(data, MAX_BODY) is None


def test_a_head_that_is_made_to_take_long_does_not() -> None:
    """Were a value's spaces looked at by two parts of the pattern, it would take a second."""
    for made in (b"X:" + b" " * 65536 + b"\0", b"X" * 65536, b"X:\r\n" * 16384 + b"\0"):
        assert read_ordinary(head(HOST, made), MAX_BODY) is None


LINES = st.sampled_from([b"GET / HTTP/1.1", b"POST /%20?x HTTP/1.1", b"get * HTTP/1.1", b"GET http://a/ HTTP/1.1"])
NAMES = st.sampled_from(
    [b"Content-Length", b"content-LENGTH", b"Host", b"Connection", b"Expect", b"Transfer-Encoding", b"X-1", b"!#~", b""]
)
VALUES = st.sampled_from([b"0", b"1", b"3", b"007", b"a", b"close", b"chunked", b"a b", b"\xe4", b"", b"1,1", b"\x01"])
SPACE = st.sampled_from([b"", b" ", b"\t", b"  ", b"\r\n ", b"\x0b"])
FIELDS = st.tuples(NAMES, st.just(b":"), SPACE, VALUES, SPACE).map(b"".join)
BODIES = st.binary(max_size=8)
REQUESTS = st.builds(lambda line, fields, body: head(*fields, line=line) + body, LINES, st.lists(FIELDS), BODIES)


@given(REQUESTS, st.data())
@example(head(HOST, b"X:" + b"a" * 20_000), None)
def test_h11_reads_the_same(data: bytes, draw: Any) -> None:
    """As it is, and with a few bytes changed, left out or put in anywhere."""
    agree(data)
    if draw is not None:
        start = draw.draw(st.integers(0, len(data)))
        stop = start + draw.draw(st.integers(0, 3))
        agree(data[:start] + draw.draw(st.binary(max_size=3)) + data[stop:])


@given(
    LINES, st.lists(st.tuples(st.sampled_from([b"X-1:", b"Accept: "]), st.sampled_from([b"a", b"a b", b""]))), BODIES
)
def test_every_ordinary_request_is_read_here(line: bytes, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    lines = [HOST, *map(b"".join, fields), b"Content-Length: %d" % len(body)]
    assert agree(head(*lines, line=line) + body)
    assert agree(head(*reversed(lines), line=line) + body + head(HOST))
