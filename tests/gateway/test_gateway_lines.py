"""Connections on which all messages follow one another: stdio and HTTP+SSE, in both eras."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from praxis.access.principal import Principal
from praxis.gateway import session as conversation
from praxis.gateway import stdio
from praxis.gateway.modern import ModernEra
from praxis.gateway.sse import ROOM, HttpSse
from praxis.gateway.stdio import LAST_WORDS, serve_stdio
from praxis.gateway.stream import MAX_EVENTS
from praxis.observe.metrics import Metrics
from praxis.wire.mcp_eras import META_CAPABILITIES, META_SUBSCRIPTION, META_VERSION
from tests.gateway.http_asgi import LOCAL, Asking, Browser, Puppet, request, settled

HELLO: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}}
WHO = {"action": "accept", "content": {"name": "Ann"}}


def modern(method: str, id: Any = 1, can: Mapping[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    return request(method, id, **params, _meta={META_VERSION: "2026-07-28", META_CAPABILITIES: can or {}})


@attrs.define(eq=False)
class Line:
    """A client of one connection: what it sends, and all that it has been told."""

    puppet: Puppet
    stream: trio.StapledStream[Any, Any]
    ended: trio.Event = attrs.field(factory=trio.Event)
    stopping: trio.Event = attrs.field(factory=trio.Event)
    told: bytes = b""

    @property
    def messages(self) -> list[Any]:
        return [json.loads(line) for line in self.told.splitlines()]

    async def say(self, *messages: Any) -> list[Any]:
        """Send, and tell all new messages once nothing more happens."""
        had = len(self.messages)
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        await self.stream.send_all(b"".join(line + b"\n" for line in lines))
        await settled()
        return self.messages[had:]


@asynccontextmanager
async def connected() -> AsyncIterator[Line]:
    near, far = trio.testing.memory_stream_pair()
    line = Line(Puppet(), near)

    async def serve() -> None:
        era = ModernEra(key=b"k", metrics=Metrics())
        await serve_stdio(line.puppet, LOCAL, far, far, modern=era, stopping=line.stopping)
        await far.aclose()
        line.ended.set()

    async def read() -> None:
        with suppress(trio.ClosedResourceError):
            while data := await near.receive_some():
                line.told += bytes(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        nursery.start_soon(read)
        yield line
        nursery.cancel_scope.cancel()


# -- stdio ------------------------------------------------------------------------------------------


async def test_the_handshake_era_on_a_line() -> None:
    async with connected() as line:
        (answer,) = await line.say(request("initialize", 0, **HELLO))
        assert answer["result"]["protocolVersion"] == "2025-11-25"
        assert await line.say({"jsonrpc": "2.0", "method": "notifications/initialized"}) == []
        call = request("tools/call", "c", name="tell", _meta={"progressToken": 0})
        told = await line.say(call)
        assert [message.get("method") for message in told] == ["notifications/progress"] * 2 + [
            "notifications/message",
            "notifications/message",
            None,
        ]
        assert told[-1]["id"] == "c"
        (question,) = await line.say(request("tools/call", 2, name="ask"))
        (answer,) = await line.say({"jsonrpc": "2.0", "id": question["id"], "result": WHO})
        assert '"Ann"' in answer["result"]["content"][0]["text"]
        line.puppet.change()
        await settled()
        assert line.messages[-1]["method"] == "notifications/tools/list_changed"


async def test_the_later_era_on_a_line() -> None:
    async with connected() as line:
        (answer,) = await line.say(modern("server/discover"))
        assert answer["result"]["supportedVersions"] == ["2026-07-28"]
        (asked,) = await line.say(modern("tools/call", 2, {"elicitation": {}}, name="ask"))
        given = {"requestState": asked["result"]["requestState"], "inputResponses": {"input-1": WHO}}
        (answer,) = await line.say(modern("tools/call", 3, {"elicitation": {}}, name="ask", **given))
        assert answer["result"]["resultType"] == "complete"
        (acknowledged,) = await line.say(modern("subscriptions/listen", "l", notifications={"toolsListChanged": True}))
        assert acknowledged["params"]["_meta"][META_SUBSCRIPTION] == "l"
        line.puppet.change()
        await settled()
        assert line.messages[-1]["params"]["_meta"][META_SUBSCRIPTION] == "l"
        await line.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "l"}})
        assert line.puppet.notices == []
        (error,) = await line.say(modern("ping"))
        assert error["error"]["code"] == -32601


async def test_calls_run_side_by_side_and_are_cancelled_one_by_one() -> None:
    async with connected() as line:
        await line.say(request("initialize", 0, **HELLO))
        calls = [request("tools/call", 1, name="hold"), modern("tools/call", 2, name="hold")]
        (answer,) = await line.say(*calls, request("ping", 3))
        assert answer["id"] == 3
        (again,) = await line.say(modern("tools/call", 2, name="x"))
        assert again["error"]["code"] == -32600
        for id in (1, 2, 99):
            await line.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
        assert (line.puppet.running, line.puppet.cancelled) == (0, 2)


async def test_what_is_no_message_is_answered_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "MAX_LINE", 1000)
    async with connected() as line:
        told = await line.say(b"{", b"", b"[]", b'"' + b"x" * 2000 + b'"', request("ping", 1), request("tools/list", 2))
        assert [(m.get("id"), m.get("error", {}).get("code")) for m in told] == [
            (None, -32700),
            (None, -32600),
            (None, -32600),
            (1, None),
            (2, -32600),
        ]
        (probe,) = await line.say(request("server/discover", 3))
        assert probe["error"]["code"] == -32601, "which a client takes for the handshake era"


async def test_a_bug_is_told_and_the_connection_stays(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as line:
        await line.say(request("initialize", 0, **HELLO))
        told = await line.say(request("tools/call", 1, name="bug"), modern("tools/call", 2, name="bug"))
        assert {message["error"]["code"] for message in told} == {-32603}
        assert caplog.text.count("RuntimeError: secret thoughts") == 2
        assert (await line.say(request("ping", 3)))[0]["result"] == {}


async def test_the_end_of_the_input_leaves_a_moment_for_answers(autojump_clock: MockClock) -> None:
    async with connected() as line:
        await line.say(request("initialize", 0, **HELLO), request("tools/call", 1, name="hold"))
        await line.stream.send_stream.aclose()
        await trio.sleep(LAST_WORDS / 2)
        assert not line.ended.is_set()
        await trio.sleep(LAST_WORDS)
        assert (line.ended.is_set(), line.puppet.cancelled) == (True, 1)
    async with connected() as line:
        began = trio.current_time()
        await line.stream.send_all(json.dumps(modern("tools/call", 1, name="x")).encode() + b"\n")
        await line.stream.send_stream.aclose()
        await line.ended.wait()
        await settled()
        assert (len(line.messages), trio.current_time()) == (1, began)


async def test_a_client_that_has_gone_ends_the_connection(autojump_clock: MockClock) -> None:
    async with connected() as line:
        await line.say(request("initialize", 0, **HELLO), request("tools/call", 1, name="hold"))
        await line.stream.aclose()
        await line.ended.wait()
        assert line.puppet.running == 0


async def test_stopping_ends_a_connection_that_says_nothing(autojump_clock: MockClock) -> None:
    async with connected() as line:
        await line.say(request("initialize", 0, **HELLO))
        line.stopping.set()
        await line.ended.wait()


async def test_a_client_that_reads_nothing_is_not_read_either(autojump_clock: MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    puppet = Puppet()
    sent = 0

    async def send() -> None:
        nonlocal sent
        for id in range(10 * MAX_EVENTS):
            await near.send_all(json.dumps(modern("tools/call", id, name="x")).encode() + b"\n")
            sent += 1

    async with trio.open_nursery() as nursery:
        era = ModernEra(key=b"k", metrics=Metrics())
        nursery.start_soon(lambda: serve_stdio(puppet, LOCAL, far, far, modern=era))
        nursery.start_soon(send)
        await trio.sleep(10)
        assert MAX_EVENTS <= sent <= 2 * MAX_EVENTS
        nursery.cancel_scope.cancel()


# -- HTTP+SSE ---------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Feed:
    """A client of HTTP+SSE: its stream, and where it posts."""

    puppet: Puppet
    browser: Browser
    app: HttpSse
    asking: Asking
    query: str

    @property
    def messages(self) -> list[Any]:
        return [json.loads(event["data"]) for event in self.asking.answer.events[1:]]

    async def post(self, message: Any, query: str | None = None) -> int:
        answer = await self.browser.ask("POST", message, "/message", query=self.query if query is None else query)
        await settled()
        return answer.status


@asynccontextmanager
async def feed() -> AsyncIterator[Feed]:
    puppet, metrics = Puppet(), Metrics()

    async def choose(path: str, principal: Principal) -> Puppet:
        return puppet

    app = HttpSse(
        choose,
        principal_of=lambda scope: scope["who"],
        modern=ModernEra(key=b"k", metrics=metrics),
        metrics=metrics,
    )
    async with trio.open_nursery() as nursery:
        browser = Browser(app, nursery)
        asking = browser.start("GET", path="/sse")
        await settled()
        first = asking.answer.events[0]
        assert first["event"] == "endpoint"
        path, _, query = first["data"].partition("?")
        assert path == "/message"
        yield Feed(puppet, browser, app, asking, query)
        nursery.cancel_scope.cancel()


async def test_a_client_of_the_first_revision_talks_over_sse() -> None:
    async with feed() as client:
        hello = {"protocolVersion": "2024-11-05", "capabilities": {"elicitation": {}}}
        assert await client.post(request("initialize", 0, **hello)) == 202
        assert client.messages[0]["result"]["protocolVersion"] == "2024-11-05"
        assert await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"}) == 202
        await client.post(request("tools/call", 1, name="ask"))
        await client.post({"jsonrpc": "2.0", "id": client.messages[1]["id"], "result": WHO})
        assert '"Ann"' in client.messages[2]["result"]["content"][0]["text"]
        client.puppet.change()
        await settled()
        assert client.messages[3]["method"] == "notifications/tools/list_changed"


async def test_closing_the_stream_cancels_what_was_asked_on_it() -> None:
    async with feed() as client:
        await client.post(request("initialize", 0, **HELLO))
        await client.post(request("tools/call", 1, name="hold"))
        assert client.puppet.running == 1
        client.asking.hang_up()
        await settled()
        assert (client.puppet.running, client.puppet.cancelled) == (0, 1)
        assert await client.post(request("ping")) == 404


async def test_messages_that_belong_to_no_stream_are_refused() -> None:
    async with feed() as client:
        assert await client.post(request("ping"), "sessionId=made-up") == 404
        assert await client.post(request("ping"), "") == 404
        assert await client.post(b"{") == 400
        client.browser.principal = Principal("token", "other")
        assert await client.post(request("ping")) == 404
        for method, path in (("POST", "/sse"), ("GET", "/message")):
            assert (await client.browser.ask(method, path=path)).status == 405


async def test_stopping_ends_every_stream() -> None:
    async with feed() as client:
        client.app.end()
        await client.asking.answer.over.wait()


async def test_a_client_that_reads_nothing_is_told_to_wait(autojump_clock: MockClock) -> None:
    async with feed() as client:
        await client.post(request("initialize", 0, **HELLO))
        conversation_of = client.app._conversations[client.query.removeprefix("sessionId=")]
        conversation_of.stream.reader = None  # a connection that takes nothing more
        for number in range(MAX_EVENTS):
            conversation_of.stream.put(b"%d\n" % number, keep=True)
        began = trio.current_time()
        assert await client.post(request("ping")) == 503
        assert trio.current_time() - began == pytest.approx(ROOM)


async def test_only_so_many_requests_of_one_connection_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_CALLS", 1)
    async with connected() as line:
        await line.say(request("initialize", 0, **HELLO), request("tools/call", 1, name="hold"))
        (refused,) = await line.say(request("ping", 2))
        assert refused["error"]["code"] == -32600
