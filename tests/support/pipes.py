"""Two ends of a line in memory, with bounds like a socket's, for tests under the virtual clock."""

from __future__ import annotations

import trio

from praxis.net.tls import Broken


class MemoryPipe:
    """One end; what is sent here arrives at `other`. `room` bytes may be under way, then `send` waits."""

    remote = "memory"
    claims = ("", 0.0)

    def __init__(self, room: int = 20_000) -> None:
        self.other: MemoryPipe = self
        self.room = room
        self.closed = False
        self.silent = False
        """True: what is sent here is lost, as when a cable is cut."""
        self.sent = bytearray()
        self._unsent = bytearray()
        self._incoming = bytearray()
        self._changed = trio.Condition()

    async def receive(self) -> bytes:
        async with self._changed:
            while not self._incoming:
                if self.closed:
                    raise Broken("closed", "the connection was closed")
                if self.other.closed:
                    return b""
                await self._changed.wait()
            data = bytes(self._incoming)
            self._incoming.clear()
            self._changed.notify_all()
            return data

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def send_nowait(self, plain: bytes) -> None:
        self._unsent += plain

    async def send(self, plain: bytes) -> None:
        plain = bytes(self._unsent) + plain
        self._unsent.clear()
        self.sent += plain
        if self.silent:
            return
        view = memoryview(plain)
        while view:
            async with self.other._changed:
                while len(self.other._incoming) >= self.room and not self.other.closed:
                    await self.other._changed.wait()
                if self.other.closed or self.closed:
                    raise Broken("cut", "the connection was cut")
                part = view[: self.room - len(self.other._incoming)]
                self.other._incoming += part
                view = view[len(part) :]
                self.other._changed.notify_all()

    def close(self) -> None:
        self.closed = True
        for pipe in (self, self.other):
            try:
                pipe._changed.acquire_nowait()
            except trio.WouldBlock:
                continue
            pipe._changed.notify_all()
            pipe._changed.release()


def pipe_pair(room: int = 20_000) -> tuple[MemoryPipe, MemoryPipe]:
    one, two = MemoryPipe(room), MemoryPipe(room)
    one.other, two.other = two, one
    return one, two
