"""The stream under a WebSocket: whole frames, one after the other, and nothing after the last.

The first tests hold what we rely on in trio-websocket; they fail when the library changes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio_websocket import wrap_server_stream

from praxis.websocket.line import LINGER, Line
from praxis.websocket.messages import text_frame
from praxis.websocket.opening import PATH, Opening

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FAREWELL = text_frame("error", 0, {"code": "invalid"})


class Recorder(trio.abc.HalfCloseableStream):
    """Passes everything on and keeps what each call of send_all was given."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.sent: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


def would_block(data: bytes) -> int:
    raise BlockingIOError


def make_line(
    stream: trio.abc.HalfCloseableStream,
    *,
    rest: bytes = b"",
    violation: int | None = None,
    write_now: Callable[[bytes], int] = would_block,
) -> Line:
    opening = Opening((), KEY, rest)
    return Line(stream, opening, write_now=write_now, farewell=lambda code: FAREWELL, violation=lambda: violation)


def split_frames(data: bytes) -> list[bytes]:
    """Unmasked frames one by one; fails when the last is not whole."""
    frames = []
    while data:
        size, head = data[1], 2
        assert size < 128, "a server does not mask"
        if size > 125:
            head = 4 if size == 126 else 10
            size = int.from_bytes(data[2:head], "big")
        assert len(data) >= head + size
        frames.append(data[: head + size])
        data = data[head + size :]
    return frames


async def test_the_library_sends_each_frame_whole_and_in_one_piece() -> None:
    near, _ = trio.testing.memory_stream_pair()
    recorder = Recorder(near)
    line = make_line(recorder)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, line)
        connection = await request.accept()
        line.accepted()
        head = recorder.sent.pop(0)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower(), "an extension would give frames another form"
        await connection.send_message("x" * 70_000)
        await connection.pong(b"y")
        nursery.start_soon(connection.ping, b"z")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(connection.aclose, 1001, "bye")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [len(split_frames(sent)) for sent in recorder.sent] == [1, 1, 1, 1]
    assert [sent[0] for sent in recorder.sent] == [0x81, 0x8A, 0x89, 0x88]
    assert recorder.sent[0] == b"\x81\x7f" + (70_000).to_bytes(8, "big") + b"x" * 70_000
    assert recorder.sent[3][2:4] == (1001).to_bytes(2, "big")
    assert line.closing


async def test_the_library_reads_a_clean_handshake_first_and_the_rest_after_accepting() -> None:
    near, far = trio.testing.memory_stream_pair()
    hello = bytes((0x81, 0x85)) + bytes(4) + b"early"
    line = make_line(near, rest=hello)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, line)
        assert request.path == PATH
        connection = await request.accept()
        line.accepted()
        assert await connection.get_message() == "early"
        await far.send_all(bytes((0x81, 0x84)) + bytes(4) + b"late")
        assert await connection.get_message() == "late"
        nursery.cancel_scope.cancel()


async def test_frames_of_both_go_out_one_after_the_other() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    line = make_line(near)
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.send_frames, b"aaaa")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(line.send_all, b"bbbb")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(line.send_frames, b"cccc")
        while len(received) < 12:
            received += bytes(await far.receive_some(3))
    assert received == b"aaaabbbbcccc"


async def test_what_the_kernel_does_not_take_at_once_goes_out_before_anything_else() -> None:
    near, far = trio.testing.memory_stream_pair()
    room = [4, 2]
    written: list[bytes] = []

    def write_now(data: bytes) -> int:
        size = min(room.pop(0), len(data))
        written.append(data[:size])
        return size

    line = make_line(near, write_now=write_now)
    assert line.send_frames_nowait(b"aaaa") == 0
    assert line.send_frames_nowait(b"bbbb") == 2
    assert line.send_frames_nowait(b"cccc") is None
    assert b"".join(written) == b"aaaabb"
    await line.send_all(b"pong")
    await line.send_frames(b"")
    assert await far.receive_some() == b"bbpong"


async def test_nothing_is_sent_now_while_a_send_is_under_way_or_fails() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    written: list[bytes] = []

    def write_now(data: bytes) -> int:
        written.append(data)
        return len(data)

    line = make_line(near, write_now=write_now)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.send_frames, b"aaaa")
        await trio.testing.wait_all_tasks_blocked()
        assert line.send_frames_nowait(b"bbbb") is None
        assert await far.receive_some() == b"aaaa"
    assert line.send_frames_nowait(b"bbbb") == 0
    other, _ = trio.testing.memory_stream_pair()
    line = make_line(other, write_now=write_now)
    await line.send_all(b"\x88\x02\x03\xe8")
    assert line.send_frames_nowait(b"cccc") is None
    assert written == [b"bbbb"]

    def broken(data: bytes) -> int:
        raise BrokenPipeError

    assert make_line(other, write_now=broken).send_frames_nowait(b"x") is None


async def test_nothing_follows_a_closing_frame() -> None:
    near, far = trio.testing.memory_stream_pair()
    line = make_line(near)
    await line.send_all(b"\x88\x02\x03\xe8")
    assert line.closing
    for send in (line.send_frames, line.send_all):
        with pytest.raises(trio.BrokenResourceError):
            await send(b"\x81\x00")
    assert await far.receive_some() == b"\x88\x02\x03\xe8"
    await line.aclose()
    assert await far.receive_some() == b""


async def test_nothing_follows_a_frame_that_was_broken_off() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    line = make_line(near, violation=1002)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.send_frames, b"a long frame")
            assert await far.receive_some(3) == b"a l"
            scope.cancel()
    with pytest.raises(trio.BrokenResourceError):
        await line.send_frames(b"\x81\x00")
    await line.aclose()
    assert b"".join([bytes(chunk) async for chunk in far]) in (b"", b"ong frame")


@pytest.mark.parametrize("code", [1002, 1007, 1009])
async def test_a_violation_is_explained_before_the_closing_frame(code: int) -> None:
    near, far = trio.testing.memory_stream_pair()
    await make_line(near).send_all(b"\x88\x02" + code.to_bytes(2, "big"))
    frames = split_frames(bytes(await far.receive_some()))
    assert frames == [FAREWELL, b"\x88\x02" + code.to_bytes(2, "big")]


async def test_closing_without_a_word_names_the_violation_and_waits_for_the_other_side(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, far = trio.testing.memory_stream_pair()
    line = make_line(near, violation=1007)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.aclose)
        frames = split_frames(b"".join([bytes(chunk) async for chunk in far]))
        assert frames == [FAREWELL, b"\x88\x02\x03\xef"]
    assert trio.current_time() - start == pytest.approx(LINGER)
    near, far = trio.testing.memory_stream_pair()
    await make_line(near, violation=1006).aclose()
    assert b"".join([bytes(chunk) async for chunk in far]) == b""
