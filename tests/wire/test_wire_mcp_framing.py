"""Messages on a stream, one a line or framed with their length."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.wire.jsonrpc import LongLine
from praxis.wire.mcp_framing import MessageReader


def framed(body: bytes, end: bytes = b"\r\n") -> bytes:
    return b"Content-Length: %d" % len(body) + end + end + body


def read(*pieces: bytes, limit: int = 1000) -> list[bytes | LongLine]:
    reader = MessageReader(limit)
    return [message for piece in pieces for message in reader.receive(piece)]


def test_lines() -> None:
    assert read(b'{"a":1}\n{"b"', b":2}\nContent of the day\n") == [b'{"a":1}', b'{"b":2}', b"Content of the day"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_frames_from_the_first_header_on(end: bytes) -> None:
    stream = b"Welcome!\n" + framed(b'{"a":1}', end) + framed(b'{"b":\n2}', end) + b"noise\n" + framed(b"{}", end)
    expected = [b"Welcome!", b'{"a":1}', b'{"b":\n2}', b"noise", b"{}"]
    assert read(stream) == expected
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == expected


def test_more_headers_and_any_case() -> None:
    header = b"content-length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n"
    assert read(header + b"{}" + header + b"[]") == [b"{}", b"[]"]


def test_a_frame_over_the_limit_is_thrown_away() -> None:
    body = b'{"id":7,"result":"' + b"x" * 2000 + b'"}'
    big, small = read(framed(body)[:50], framed(body)[50:900], framed(body)[900:] + framed(b"{}"))
    assert isinstance(big, LongLine)
    assert (big.size, big.id) == (len(body), 7)
    assert small == b"{}"


def test_a_header_without_an_end_is_bounded() -> None:
    reader = MessageReader(1000)
    reader.receive(framed(b"{}"))
    for _ in range(100):
        assert reader.receive(b"x" * 1000) == []
    assert reader._frames is not None
    assert len(reader._frames._buffer) <= 2048


bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@settings(deadline=None)
@given(bodies, st.integers(1, 30))
def test_any_split_gives_the_same_messages(given: list[bytes], size: int) -> None:
    stream = b"".join(map(framed, given))
    assert read(*(stream[at : at + size] for at in range(0, len(stream), size))) == given
