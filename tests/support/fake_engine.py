"""A container engine on a unix socket, inside the test's own process, that answers as it is told to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import h11
import trio

from praxis.net.serve import open_unix_listener


def frame(stream: int, content: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


@attrs.frozen
class Asked:
    method: str
    path: str
    """Without the version of the API."""
    query: dict[str, str]
    body: bytes

    @property
    def verb(self) -> str:
        """Such as ``create``, ``start``, ``kill``, ``DELETE``, ``pull``; ``_ping``."""
        if self.path.startswith("/images"):
            return "pull"
        return "DELETE" if self.method == "DELETE" else self.path.rpartition("/")[2]


Answer = tuple[int, Any]
Script = Callable[[Asked], Answer | None]


@attrs.define(eq=False)
class FakeEngine:
    """`answers` by verb stand over the usual ones; bytes are sent as they are, all else as JSON.

    A container writes `output`, which is what comes on its connection, and ends with `status` once `ended` is set and
    its input is over.
    """

    socket: Path
    answers: dict[str, Answer] = attrs.field(factory=dict)
    output: bytes = b""
    status: int = 0
    silent: set[str] = attrs.field(factory=set)
    """Verbs that are never answered."""
    asked: list[Asked] = attrs.field(factory=list)
    versions: set[str] = attrs.field(factory=set)
    stdin: bytearray = attrs.field(factory=bytearray)
    containers: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """By name: what they were made of."""
    ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def verbs(self) -> list[str]:
        return [asked.verb for asked in self.asked]

    def count(self, verb: str) -> int:
        return Counter(self.verbs)[verb]

    async def until(self, verb: str) -> None:
        """Until that has been asked for."""
        with trio.fail_after(5):
            while verb not in self.verbs:  # noqa: ASYNC110 - nothing tells it
                await trio.sleep(0.002)

    async def serve(self, stream: trio.SocketStream) -> None:
        state = h11.Connection(h11.SERVER)
        with suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            async with stream:
                while await self._exchange(stream, state):
                    state.start_next_cycle()

    async def _exchange(self, stream: trio.SocketStream, state: h11.Connection) -> bool:
        request, body = None, bytearray()
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert request is not None
        parts = urlsplit(request.target.decode())
        version, _, path = parts.path[1:].partition("/")
        if version.startswith("v"):
            self.versions.add(version)
        else:
            path = parts.path[1:]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(request.method.decode(), f"/{path}", query, bytes(body))
        self.asked.append(asked)
        if asked.verb in self.silent:
            await trio.sleep_forever()
        if asked.verb == "attach" and "attach" not in self.answers:
            await self._attach(stream, state, stdin="stdin" in asked.query)
            return False
        status, answer = self.answers.get(asked.verb) or await self._usual(asked)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        content = b"" if status in (204, 304) else content
        headers = [("Content-Length", str(len(content))), ("Api-Version", "1.41")]
        if status in (204, 304):
            headers = headers[1:]
        response = h11.Response(status_code=status, headers=headers)
        parts_sent = [state.send(response), state.send(h11.Data(data=content)), state.send(h11.EndOfMessage())]
        await stream.send_all(b"".join(part for part in parts_sent if part))
        return state.our_state is h11.DONE and state.their_state is h11.DONE

    async def _usual(self, asked: Asked) -> Answer:
        name = asked.path.split("/")[2] if asked.path.count("/") > 1 else ""
        match asked.verb:
            case "_ping":
                return 200, b"OK"
            case "create":
                self.containers[asked.query["name"]] = json.loads(asked.body)
                return 201, {"Id": "0123"}
            case "json":
                listed = [{"Id": name, "Names": [f"/{name}"]} for name in self.containers]
                return 200, listed
            case "wait":
                await self.ended.wait()
                return 200, {"StatusCode": self.status}
            case "kill":
                return 409, {"message": "it is not running"}
            case "DELETE":
                self.containers.pop(name, None)
                return 204, b""
            case "start":
                return 204, b""
        return 200, {}

    async def _attach(self, stream: trio.SocketStream, state: h11.Connection, *, stdin: bool) -> None:
        headers = [("Connection", "Upgrade"), ("Upgrade", "tcp")]
        answer = state.send(h11.InformationalResponse(status_code=101, headers=headers)) or b""
        # In one piece: a client must not lose what comes with the answer.
        await stream.send_all(answer + self.output)
        if stdin:
            while piece := await stream.receive_some(65536):
                self.stdin += piece
            self.ended.set()
        else:
            await self.ended.wait()


@asynccontextmanager
async def fake_engine(socket: Path) -> AsyncIterator[FakeEngine]:
    engine = FakeEngine(socket)
    listener = await open_unix_listener(socket)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, engine.serve, [listener])
        yield engine
        nursery.cancel_scope.cancel()
    await trio.Path(socket).unlink(missing_ok=True)
