"""The TCP connection under one WebSocket, shared by trio-websocket and by our writer of ready-made frames.

trio-websocket 0.12 can only send what it has encoded itself, once per client. Its connection is therefore given this
stream instead of the socket: each of its calls of `send_all` holds whole frames, our frames go out between them under
one lock, and none of the library's private parts is touched. What must stay true of the library for this, and is
tested: one `send_all` per frame, and no extension that would give frames another form.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from praxis.websocket.opening import Opening

LINGER = 1.0
"""Seconds for the other side to take our last words. Closing a socket with unread input resets the connection, and
the reason for closing it would be lost."""

LINGER_BYTES = 4 * 1024 * 1024
"""Bytes that are thrown away meanwhile."""

VIOLATIONS = frozenset({1002, 1007, 1009})
"""Codes of closing that the client has brought upon itself."""

_CLOSE = 0x88
"""The first byte of a closing frame (RFC 6455 section 5.2)."""


class Line(trio.abc.Stream):
    """A byte stream that first reads as `opening`.

    `write_now` writes what the kernel takes at once and returns how much that was, as os.write does. `farewell` gives
    frames to send before a closing frame with one of the codes in `VIOLATIONS`, which trio-websocket sends by itself;
    `violation` tells with which code it is closing without having said so, as it does for what violates the protocol.
    """

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        opening: Opening,
        *,
        write_now: Callable[[bytes], int],
        farewell: Callable[[int], bytes],
        violation: Callable[[], int | None],
    ) -> None:
        self.closing = False
        """Whether a closing frame has been sent."""
        self._amid_frame = False
        self._owed = b""
        self._stream = stream
        self._write_now = write_now
        self._unread = [opening.head]
        self._rest = opening.rest
        self._accepted = trio.Event()
        self._farewell = farewell
        self._violation = violation
        self._lock = trio.StrictFIFOLock()

    def accepted(self) -> None:
        """The handshake is over: what comes from now on are frames."""
        if self._rest:
            self._unread.append(self._rest)
        self._accepted.set()

    async def send_frames(self, frames: bytes) -> None:
        """Send whole frames of our own. Raises trio.BrokenResourceError, also once the line is closing."""
        await self._send(frames)

    def send_frames_nowait(self, frames: bytes) -> int | None:
        """Give whole frames to the kernel without waiting; returns how many bytes are left to `send_frames`.

        None when nothing can be sent now. This saves a turn of the scheduler per client and event, which is half of
        what a delivery costs; the bytes that are left go out with the next `send_frames`, be it an empty one.
        """
        if self.closing or self._amid_frame or self._owed:
            return None
        try:
            written = self._write_now(frames)
        except OSError:
            return None  # The buffer is full, or `send_frames` will meet the same error and can tell it.
        self._owed = frames[written:]
        return len(self._owed)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send what trio-websocket has to say."""
        if data and data[0] == _CLOSE:
            code = int.from_bytes(data[2:4], "big")
            if code in VIOLATIONS:
                data = self._farewell(code) + bytes(data)
            await self._send(data, last=True)
        else:
            await self._send(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._unread:
            await trio.lowlevel.checkpoint()
            return self._unread.pop(0)
        if not self._accepted.is_set():
            await self._accepted.wait()
            if self._unread:
                return self._unread.pop(0)
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close; where trio-websocket closes without a word because of a violation, say which one first."""
        code = None if self.closing else self._violation()
        if code in VIOLATIONS:
            with trio.move_on_after(LINGER):
                try:
                    frame = bytes((_CLOSE, 2)) + code.to_bytes(2, "big")
                    await self.send_all(frame)
                    await linger(self._stream)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # The other side is gone already, and nobody is left to be told.
        await self._stream.aclose()

    async def _send(self, data: bytes | bytearray | memoryview, *, last: bool = False) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            if self.closing or self._amid_frame:
                raise trio.BrokenResourceError("the WebSocket is being closed, or ended in the middle of a frame")
            self._amid_frame = True  # and it stays so when the send is cancelled
            if self._owed:
                data, self._owed = self._owed + bytes(data), b""
            await self._stream.send_all(data)
            self._amid_frame = False
            self.closing = last
        finally:
            self._lock.release()


async def linger(stream: trio.abc.HalfCloseableStream) -> None:
    """End our half, then read until the other side does the same, for a bounded time."""
    taken = 0
    with trio.move_on_after(LINGER):
        try:
            await stream.send_eof()
            while taken < LINGER_BYTES and (chunk := await stream.receive_some()):
                taken += len(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # It is gone already.
