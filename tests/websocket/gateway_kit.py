"""A gateway on a real socket, with an executor that does as it is told, and clients that can misbehave."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from praxis.access.authorize import Policy
from praxis.access.entrance import Entrance
from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.config.schema import Export, WebSocket
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord, StepRecord
from praxis.net.serve import open_listeners
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.websocket.gateway import serve_gateway
from praxis.websocket.opening import PATH
from praxis.workflow.asking import Planned
from praxis.workflow.order import Order

HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@attrs.define(eq=False)
class FakeExecutor:
    """``ok`` succeeds at once, ``wait`` waits for `go`, ``bug`` is one, anything else is a syntax error."""

    bus: EventBus
    go: trio.Event = attrs.field(factory=trio.Event)
    runs: dict[str, RunRecord] = attrs.field(factory=dict)
    scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)
    over: dict[str, trio.Event] = attrs.field(factory=dict)
    callers: list[Principal] = attrs.field(factory=list)

    async def execute(self, text: str, principal: Principal, *, order: Order) -> RunRecord:
        run_id = order.run_id
        self.callers.append(principal)
        if text == "bug":
            raise RuntimeError("a fault in the executor")
        if text not in ("ok", "wait"):
            raise PraxisError("syntax", "expected CALL", where="line 1, column 1", hint="write CALL")
        assert run_id is not None
        self.bus.publish("run.started", run_id=run_id, caller=principal.name, steps=1)
        over = self.over[run_id] = trio.Event()
        state: Any = "cancelled"
        result: Mapping[str, Any] | None = None
        try:
            with self.scopes.setdefault(run_id, trio.CancelScope()):
                self.bus.publish("step.started", run_id=run_id, step="s1", tool="a:fs/x", agent="a")
                if text == "wait":
                    await self.go.wait()
                state, result = "succeeded", {"content": [{"type": "text", "text": "done"}]}
        finally:
            step = StepRecord("s1", "x", state, None, result)
            self.runs[run_id] = RunRecord(run_id, state, principal.name, text, (step,), 1.0, 2.0)
            self.bus.publish("run.finished", run_id=run_id, state=state, duration_ms=1.0)
            over.set()
        return self.runs[run_id]

    async def cancel(self, run_id: str) -> RunRecord:
        self.get(run_id)
        self.scopes[run_id].cancel()
        await self.over[run_id].wait()
        return self.runs[run_id]

    def get(self, run_id: str) -> RunRecord:
        if run_id in self.runs:
            return self.runs[run_id]
        if run_id in self.scopes:
            return RunRecord(run_id, "running", "local", "wait", (), 1.0)
        raise PraxisError("not_found", f"no run {run_id!r}")


class FakeAsking:
    """Plans the program ``ok`` of the words ``say ok``; of others, nothing."""

    async def plan(self, request: str) -> Planned:
        await trio.lowlevel.checkpoint()
        if request != "say ok":
            raise PraxisError("unavailable", "there is no model", hint="set llm.enabled")
        return Planned("ok", "It says ok.")


@attrs.define(eq=False)
class RawClient:
    """A client that does nothing by itself: it answers no ping and reads only when told to."""

    stream: trio.SocketStream
    buffer: bytes = b""
    seq: int = 0
    """The number of the last message."""

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Raises EOFError at the end."""
        head = await self._exactly(2)
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
        return head[0] & 15, await self._exactly(size)

    async def message(self) -> dict[str, Any]:
        opcode, payload = await self.frame()
        assert opcode == 1, (opcode, payload)
        message = json.loads(payload)
        assert isinstance(message, dict)
        assert message["seq"] > self.seq, "numbers grow with every message"
        self.seq = message["seq"]
        return message

    async def close_code(self) -> int:
        """Read on until the closing frame, and answer it."""
        while (frame := await self.frame())[0] != 8:
            pass
        await self.send_frame(frame[1], 0x88)
        return int.from_bytes(frame[1][:2], "big")

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        data = self.buffer
        try:
            while chunk := await self.stream.receive_some():
                data += bytes(chunk)
        except trio.BrokenResourceError:
            pass
        return data

    async def send_frame(self, payload: bytes, first: int = 0x81, *, masked: bool = True) -> None:
        size = len(payload)
        mask = 128 if masked else 0
        if size < 126:
            head = bytes((first, mask | size))
        elif size < 1 << 16:
            head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
        await self.stream.send_all(head + (bytes(4) if masked else b"") + payload)

    async def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            chunk = await self.stream.receive_some()
            if not chunk:
                raise EOFError
            self.buffer += bytes(chunk)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data


@attrs.define(eq=False)
class Running:
    port: int
    bus: EventBus
    executor: FakeExecutor
    metrics: Metrics
    tokens: TokenStore
    stopping: trio.Event
    served: trio.Event

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[WebSocketConnection]:
        """A well-behaved client, by trio-websocket."""
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        # Not open_websocket_url: it leaves its socket open when the server closes first.
        async with self.connect() as raw, trio.open_nursery() as nursery:
            host = f"127.0.0.1:{self.port}"
            connection = await wrap_client_stream(nursery, raw.stream, host, PATH, extra_headers=extra)
            await self.wait_clients_settled(connection)
            yield connection
            await connection.aclose()
            nursery.cancel_scope.cancel()

    async def wait_clients_settled(self, connection: WebSocketConnection) -> None:
        """Until the gateway counts this client among those who watch: an answer proves it."""
        await say(connection, "SUBSCRIBE")
        assert (await hear(connection))["type"] == "subscribed"

    @asynccontextmanager
    async def raw(self, *, receive_buffer: int = 0) -> AsyncIterator[RawClient]:
        """A client whose handshake is over and that watches."""
        async with self.connect(receive_buffer=receive_buffer) as client:
            await client.stream.send_all(HANDSHAKE.encode())
            while b"\r\n\r\n" not in client.buffer:
                chunk = await client.stream.receive_some()
                assert chunk, client.buffer
                client.buffer += bytes(chunk)
            head, client.buffer = client.buffer.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 101 "), head
            await client.send_frame(b'{"type": "SUBSCRIBE"}')
            assert (await client.message())["type"] == "subscribed"
            yield client

    @asynccontextmanager
    async def connect(self, *, receive_buffer: int = 0) -> AsyncIterator[RawClient]:
        """A bare TCP connection, with a small receive buffer if asked."""
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(("127.0.0.1", self.port))
        async with trio.SocketStream(sock) as stream:
            yield RawClient(stream)

    def metric(self, line: str) -> float:
        """The value on the metrics page of the series that is written like this."""
        for each in self.metrics.render().splitlines():
            if each.startswith(f"{line} "):
                return float(each.rpartition(" ")[2])
        raise KeyError(line)

    async def wait_metric(self, line: str, value: float) -> None:
        while self.metric(line) != value:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_gateway(
    tmp_path: Path, config: WebSocket | None = None, *, network: bool = False, policy: Policy | None = None
) -> AsyncIterator[Running]:
    bus, metrics, stopping, served = EventBus(), Metrics(), trio.Event(), trio.Event()
    executor = FakeExecutor(bus)
    tokens = TokenStore(tmp_path / "tokens.json")
    entrance = Entrance(
        "network" if network else "loopback", (), ("https://console.example",), "127.0.0.1", False, tokens
    )
    listeners = await open_listeners("127.0.0.1", 0)

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        await serve_gateway(
            config or WebSocket(),
            agent="agent-1",
            executor=executor,
            asking=FakeAsking(),
            bus=bus,
            policy=policy or Policy(Export()),
            entrance=entrance,
            metrics=metrics,
            listeners=listeners,
            stopping=stopping,
            grace=30.0,
            task_status=task_status,
        )
        served.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        yield Running(port, bus, executor, metrics, tokens, stopping, served)
        nursery.cancel_scope.cancel()


async def say(connection: WebSocketConnection, type: str, **payload: Any) -> None:
    await connection.send_message(json.dumps({"type": type, "payload": payload}))


LAST_SEQ: WeakKeyDictionary[WebSocketConnection, int] = WeakKeyDictionary()


async def hear(connection: WebSocketConnection) -> dict[str, Any]:
    """The next message; its number is larger than that of the one before, whatever they are."""
    message = json.loads(await connection.get_message())
    assert isinstance(message, dict)
    assert message["seq"] > LAST_SEQ.get(connection, 0)
    LAST_SEQ[connection] = message["seq"]
    return message


async def hear_until(connection: WebSocketConnection, type: str) -> list[dict[str, Any]]:
    """All messages up to one of this type."""
    heard = [await hear(connection)]
    while heard[-1]["type"] != type:
        heard.append(await hear(connection))
    return heard
