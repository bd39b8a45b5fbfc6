from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire.frames import DATA, HEAD, MAX_PAYLOAD, Frame, FrameReader, ProtocolError, encode


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
    reader, got, at = FrameReader(), [], 0
    while at < len(raw):
        size = data.draw(st.integers(1, 40))
        got += reader.receive(raw[at : at + size])
        at += size
    assert got == frames


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
