from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import (
    ErrorResponse,
    LineReader,
    LongLine,
    MessageError,
    Notification,
    Request,
    Response,
    parse,
)

LIMIT = 40
ODD = "\u2028\u2029\x85\x0b\x0c\x1c\r"


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


lines = st.lists(st.one_of(st.binary(max_size=2 * LIMIT), st.text("ab" + ODD, max_size=30).map(str.encode))).map(
    b"\n".join
)


@settings(deadline=None)
@given(lines.flatmap(lambda data: st.tuples(st.just(data), st.lists(st.integers(0, len(data))))))
def test_any_split_of_the_bytes_gives_the_same_lines(case: tuple[bytes, list[int]]) -> None:
    data, at = case
    reader = LineReader(LIMIT)
    got = [line for piece in cut(data, at) for line in reader.receive(piece)]
    *whole, _unfinished = data.split(b"\n")
    assert got == [
        line if len(line) <= LIMIT else LongLine(len(line), line[: jsonrpc.EDGE], line[-jsonrpc.EDGE :])
        for line in whole
    ]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=900), max_size=8))
def test_a_long_line_keeps_its_ends_and_nothing_else(pieces: list[bytes]) -> None:
    line = b"".join(pieces).replace(b"\n", b"-") + b"x" * (LIMIT + 1)
    reader = LineReader(LIMIT)
    assert [found for piece in pieces for found in reader.receive(piece.replace(b"\n", b"-"))] == []
    [found] = reader.receive(b"x" * (LIMIT + 1) + b"\n")
    assert found == LongLine(len(line), line[: jsonrpc.EDGE], line[-jsonrpc.EDGE :])
    assert reader.receive(b"next\n") == [b"next"]


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "method", "params", "error", "result", "a"]), inner)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.one_of(st.binary(), values.map(lambda value: json.dumps(value).encode())))
def test_any_garbage_raises_only_message_error(line: bytes) -> None:
    with suppress(MessageError):
        parse(line)


@pytest.mark.parametrize(
    "line", [b"[" * 200_000, b'{"id":' + b"9" * 5000 + b',"result":1}', b'{"id":1,"result":NaN}', b"\xff\xfe"]
)
def test_what_breaks_json_parsers_is_a_message_error(line: bytes) -> None:
    with pytest.raises(MessageError):
        parse(line)


@settings(deadline=None)
@given(st.integers() | st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers()))
def test_what_is_written_is_read_again(id: int | str, text: str, params: dict[str, Any]) -> None:
    for line, message in (
        (jsonrpc.request(id, text, params), Request(id, text, params)),
        (jsonrpc.notification(text, params), Notification(text, params)),
        (jsonrpc.response(id, params), Response(id, params)),
        (jsonrpc.error_response(id, 7, text), ErrorResponse(id, 7, text)),
    ):
        assert line.isascii()
        assert line.index(b"\n") == len(line) - 1
        assert parse(line) == [message]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id":0,"result":null}\r', Response(0, None)),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":"a","result":[]}', Response("a", [])),
        (b'{"jsonrpc":"2.0","method":"m","params":[]}', Notification("m", {})),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', Request(1, "ping", {})),
        (b'{"id":1,"result":{},"error":null}', Response(1, {})),
        (b'{"id":null,"error":{"code":-32700,"message":"bad"}}', ErrorResponse(None, -32700, "bad")),
        (b'{"id":1,"error":"out of paper"}', ErrorResponse(1, -32603, "out of paper")),
        (b'{"id":1,"error":{"code":"E1","message":null,"data":3}}', ErrorResponse(1, -32603, "", 3)),
        (b'{"id":1,"result":"caf\xe9"}', Response(1, "caf\N{REPLACEMENT CHARACTER}")),
        (b'{"id":1,"result":"\\ud83d\\ude00 \\uD800"}', Response(1, "\N{GRINNING FACE} ?")),
    ],
)
def test_lenient_reading(line: bytes, message: object) -> None:
    assert parse(line) == [message]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  ",
        b"Server listening",
        b"42",
        b"[]",
        b"[1]",
        b"{}",
        b'{"id":true,"result":1}',
        b'{"id":1.5,"result":1}',
        b'{"result":1}',
        b'{"id":[],"error":{}}',
        b'{"id":1,"method":7}',
        b'{"id":null,"method":"m"}',
    ],
)
def test_what_is_no_message(line: bytes) -> None:
    with pytest.raises(MessageError):
        parse(line)


def test_nesting_is_bounded() -> None:
    deep = b'{"id":1,"result":%s%s}'
    room = jsonrpc.MAX_DEPTH - 1
    assert parse(deep % (b"[" * room, b"]" * room))
    with pytest.raises(MessageError, match="deep"):
        parse(deep % (b"[" * (room + 1), b"]" * (room + 1)))
    assert parse(deep % (b"[" + b"[]," * 500, b"[]]"))


def test_a_batch_is_its_messages() -> None:
    assert parse(b'[{"id":1,"result":1},{"method":"m"}]') == [Response(1, 1), Notification("m", {})]


@pytest.mark.parametrize(
    ("head", "tail", "id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"id":3,', b"}", 7),
        (b' { "id" : "x1" , "result"', b"}", "x1"),
        (b'{"result":{"a":"', b'"},"jsonrpc":"2.0","id":12}', 12),
        (b'{"result":{"a":"', b'"},"id":12,"jsonrpc":"2.0"} \r', 12),
        (b'{"result":{"id":5,', b'"x":{"id":9}}}', None),
        (b'{"result":{"id":5,', b'"text":"\\"id\\":9}"}', None),
        (b'{"jsonrpc":"2.0","id":007,', b"}", None),
    ],
)
def test_the_id_of_a_long_line(head: bytes, tail: bytes, id: int | str | None) -> None:
    line = LongLine(10**6, head, tail)
    assert line.id == id
    assert not line.asks


@pytest.mark.parametrize(
    "head", [b'{"jsonrpc":"2.0","method":"notifications/message"', b'{"jsonrpc":"2.0","id":1,"method":"x"']
)
def test_a_long_line_that_asks(head: bytes) -> None:
    assert LongLine(10**6, head, b"}").asks
