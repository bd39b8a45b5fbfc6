from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire.frames import DATA, END, HEAD, MAX_PAYLOAD, Frame, FrameReader, ProtocolError, encode


def frame(type: int, flags: int, stream: int, payload: bytes) -> Frame:
    if type == DATA:
        return Frame(type, flags, stream, b"", memoryview(payload))
    return Frame(type, flags, stream, payload)


FRAMES = st.builds(
    frame,
    type=st.just(DATA) | st.integers(0, 255),
    flags=st.integers(0, 255),
    stream=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=300),
)


@given(st.lists(FRAMES, max_size=8), st.data())
def test_any_split_of_the_bytes_gives_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    raw = b"".join(encode(f.type, f.stream, f.payload + f.body, f.flags) for f in frames)
    reader, at = FrameReader(), 0
    got: list[Frame] = []
    cut = False
    while at < len(raw):
        size = data.draw(st.integers(1, 40))
        for piece in reader.receive(raw[at : at + size]):
            if cut:
                before = got.pop()
                assert (piece.type, piece.stream, before.flags) == (DATA, before.stream, 0)
                piece = piece._replace(body=memoryview(bytes(before.body) + piece.body))
            got.append(piece)
            cut = piece.type == DATA and len(piece.body) < len(frames[len(got) - 1].body)
        at += size
    assert got == frames


def test_data_is_handed_on_as_it_comes_and_its_flags_with_the_last_of_it() -> None:
    reader = FrameReader()
    raw = encode(DATA, 7, b"abcdef", END) + encode(8, 0, b"12345678")
    assert reader.receive(raw[:5]) == []
    assert reader.receive(raw[5:14]) == [frame(DATA, 0, 7, b"ab")]
    assert reader.receive(raw[14:16]) == [frame(DATA, 0, 7, b"cd")]
    assert reader.receive(raw[16:]) == [frame(DATA, END, 7, b"ef"), frame(8, 0, 0, b"12345678")]
    empty = encode(DATA, 7, b"", END)
    assert reader.receive(empty[:11]) == []
    assert reader.receive(empty[11:]) == [frame(DATA, END, 7, b"")]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_raises_only_the_protocol_error(chunks: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for chunk in chunks:
            reader.receive(chunk)
    except ProtocolError as error:
        assert error.counter == "frame_size"


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    assert len(FrameReader().receive(encode(5, 1, bytes(MAX_PAYLOAD)))[0].body) == MAX_PAYLOAD
    with pytest.raises(ProtocolError, match="65537 bytes"):
        FrameReader().receive(HEAD.pack(MAX_PAYLOAD + 1, 5, 0, 0, 1))


def test_the_head_is_as_the_specification_says() -> None:
    assert encode(2, 7, b"{}", 4).hex() == "000000020204000000000007" + b"{}".hex()
