"""MCP over a pair of streams, one message a line: stdio, and the local socket that ``praxis mcp-stdio`` connects to."""

from __future__ import annotations

import secrets

import trio

from praxis.access.principal import Principal
from praxis.gateway.conversation import Conversation
from praxis.gateway.modern import ModernEra
from praxis.gateway.stream import SharedStream
from praxis.tools.service import McpService
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import LineReader, LongLine, MessageError

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message: as much as a server's results may have, so that arguments can hold one."""
READ_SIZE = 65536
LAST_WORDS = 1.0
"""Seconds after the end of the input for answers that are under way: for a script that has asked all it wants."""


async def serve_stdio(
    service: McpService,
    principal: Principal,
    incoming: trio.abc.ReceiveStream,
    outgoing: trio.abc.SendStream,
    *,
    modern: ModernEra,
    stopping: trio.Event | None = None,
) -> None:
    """Serve one client until it closes its side or takes nothing any more, or until `stopping` and it has been told
    what it had asked for."""
    async with trio.open_nursery() as nursery:
        conversation = Conversation(service, principal, modern=modern, id=secrets.token_urlsafe(16), nursery=nursery)
        writer = _Writer(conversation.stream, outgoing)
        nursery.start_soon(writer.run, nursery.cancel_scope)
        reading = trio.CancelScope()
        if stopping is not None:
            nursery.start_soon(_stop, stopping, reading)
        with reading:
            await _read(incoming, conversation)
        with trio.move_on_after(LAST_WORDS):
            await conversation.wait_idle()
            await writer.wait_written()
        nursery.cancel_scope.cancel()


async def _stop(stopping: trio.Event, reading: trio.CancelScope) -> None:
    await stopping.wait()
    reading.cancel()


async def _read(incoming: trio.abc.ReceiveStream, conversation: Conversation) -> None:
    reader = LineReader(MAX_LINE)
    while True:
        try:
            data = await incoming.receive_some(READ_SIZE)
        except (trio.BrokenResourceError, OSError):
            return
        if not data:
            return
        for line in reader.receive(bytes(data)):
            await conversation.stream.wait_room()
            _take(line, conversation)


def _take(line: bytes | LongLine, conversation: Conversation) -> None:
    if isinstance(line, LongLine):
        conversation.refuse(MessageError(f"a line of {line.size} bytes; {MAX_LINE} are read"))
        return
    if not line.strip():
        return
    try:
        for message in jsonrpc.parse(line):
            conversation.take(message)
    except MessageError as error:
        conversation.refuse(error)


class _Writer:
    """Writes what waits on a stream, all of it at once."""

    def __init__(self, stream: SharedStream, outgoing: trio.abc.SendStream) -> None:
        self._stream = stream
        self._outgoing = outgoing
        self._news = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self._writing = False

    def wake(self) -> None:
        self._news.unpark_all()

    async def run(self, connection: trio.CancelScope) -> None:
        """Write until the stream ends; when nobody takes it any more, end the connection."""
        self._stream.attach(self)
        try:
            while not self._stream.ended:
                events = self._stream.after(0)
                if not events:
                    self._idle.unpark_all()
                    await self._news.park()
                    continue
                self._writing = True
                await self._outgoing.send_all(b"".join([event.line for event in events]))
                self._writing = False
                self._stream.forget(events[-1].number)
        except (trio.BrokenResourceError, OSError):
            connection.cancel()

    async def wait_written(self) -> None:
        """Wait until nothing waits to be written."""
        while self._writing or self._stream.waiting:
            await self._idle.park()
