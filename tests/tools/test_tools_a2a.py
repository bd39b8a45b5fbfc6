"""A2A agents somewhere else as sources of tools, against servers that do as a test wants. Whole agents are in
tests/agent/test_agent_a2a.py."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from praxis.config.schema import A2aAgent
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, ToolResult
from praxis.tools import a2a_call, a2a_http, a2a_source
from praxis.tools.a2a_source import A2aSource, tools_of
from praxis.tools.source import SourceState
from praxis.wire.a2a_foreign_card import ForeignCard, Skill
from tests.support.fake_http import Exchange, FakeHttp, fake_http

PATIENCE = 10.0
Behaviour = Callable[[Exchange], Any]


@attrs.define(eq=False)
class Agent:
    """A foreign agent: what it does with each method is up to the test."""

    streaming: bool = False
    version: str = "1.0"
    card: Callable[[Exchange], Any] | None = None
    does: dict[str, Behaviour] = attrs.field(factory=dict)
    shown: int = 0
    news: int = 0

    def members(self, exchange: Exchange) -> dict[str, Any]:
        url = f"http://{exchange.headers['host']}/rpc"
        interfaces = [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": self.version}]
        skills = [{"id": "book", "name": "Book", "description": f"Books a seat, {self.news}"}]
        capabilities = {"streaming": self.streaming}
        return {"name": "far", "supportedInterfaces": interfaces, "skills": skills, "capabilities": capabilities}

    async def answer(self, exchange: Exchange) -> None:
        if exchange.method == "GET":
            self.shown += 1
            if self.card is not None:
                await self.card(exchange)
            elif exchange.headers.get("if-none-match") == f'"{self.news}"':
                await exchange.reply(304)
            else:
                body = json.dumps(self.members(exchange)).encode()
                await exchange.reply(200, body, {"ETag": f'"{self.news}"'})
        else:
            await self.does[exchange.called](exchange)


@attrs.define
class Place:
    far: Agent
    server: FakeHttp
    source: A2aSource
    states: list[SourceState]

    async def wait(self, state: str) -> SourceState:
        with trio.fail_after(PATIENCE):
            while self.source.state().state != state:  # noqa: ASYNC110 - nothing tells it
                await trio.sleep(0.002)
        return self.source.state()

    async def call(self, message: str = "go", name: str = "book", **more: Any) -> ToolResult:
        context = more.pop("context", CallContext("tester"))
        with trio.fail_after(PATIENCE):
            return await self.source.call(name, {"message": message, **more}, context)

    async def refused(self, code: str) -> PraxisError:
        with pytest.raises(PraxisError) as refused:
            await self.call()
        assert refused.value.code == code, refused.value
        return refused.value


@asynccontextmanager
async def running(far: Agent, **keys: Any) -> AsyncIterator[Place]:
    states: list[SourceState] = []
    async with fake_http(far.answer) as server, trio.open_nursery() as nursery:
        url = server.url.removesuffix("/mcp")
        source = A2aSource(A2aAgent("far", url, **keys), "agent", on_change=lambda: None, on_state=states.append)
        await nursery.start(source.run)
        yield Place(far, server, source, states)
        nursery.cancel_scope.cancel()


def task(state: str, text: str = "", words: str = "") -> dict[str, Any]:
    status: dict[str, Any] = {"state": f"TASK_STATE_{state}"}
    if words:
        status["message"] = {"parts": [{"text": words}]}
    artifacts = [{"artifactId": "a", "parts": [{"text": text}]}] if text else []
    return {"id": "t1", "contextId": "c1", "status": status, "artifacts": artifacts}


def begins(exchange: Exchange) -> Any:
    return exchange.result({"task": task("WORKING")})


def answers(result: Any) -> Behaviour:
    return lambda exchange: exchange.result(result)


def in_turn(*results: Any) -> Behaviour:
    left = [*results]
    return lambda exchange: exchange.result(left.pop(0) if len(left) > 1 else left[0])


# -- cards ------------------------------------------------------------------------------------------


def test_skills_become_tools_whose_names_are_fit_and_unlike() -> None:
    skills = tuple(Skill(id, "does it") for id in ("fs/read it", "fs_read_it", "ok", "x" * 300))
    card = ForeignCard("far", "", "http://a/", "1.0", skills=skills)
    found = dict(tools_of(card, "agent", "far"))
    assert [tool.name for tool in found.values()] == ["fs_read_it", "fs_read_it_2", "ok", "x" * 128, "ask"]
    assert found[""].description == "The A2A agent far"
    assert found["ok"].input_schema["required"] == ["message"]
    own = attrs.evolve(card, skills=(Skill("ask", "its own"),))
    assert [(id, tool.description) for id, tool in tools_of(own, "agent", "far")] == [("ask", "its own")]


async def test_the_card_is_looked_at_again_and_a_tool_stays_the_same_while_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(a2a_source, "REFRESH", 0.01)
    async with running(Agent()) as at:
        state = await at.wait("ready")
        assert (state.kind, state.tools, state.protocol) == ("a2a", 2, "1.0")
        before = at.source.tools()
        with trio.fail_after(PATIENCE):
            while at.far.shown < 4:  # noqa: ASYNC110
                await trio.sleep(0.002)
            assert at.source.tools() is before
            at.far.news = 1
            while at.source.tools() is before:  # noqa: ASYNC110
                await trio.sleep(0.002)
        assert [tool.description for tool in at.source.tools()] == ["Books a seat, 1", "The A2A agent far"]
        assert at.source.tools()[1] is before[1]


async def huge(exchange: Exchange) -> None:
    await exchange.reply(200, b" " * (a2a_http.MAX_CARD + 1))


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (lambda exchange: exchange.reply(200, b"<html>"), "its card is no JSON"),
        (lambda exchange: exchange.reply(404), "/.well-known/agent-card.json answers with HTTP status 404"),
        (lambda exchange: exchange.reply(200, b'{"name": "x", "url": "http://evil.example/"}'), "another origin"),
        (
            lambda exchange: exchange.reply(302, b"", {"Location": "http://evil.example/"}),
            "redirects to another origin",
        ),
        (huge, "larger than"),
        (lambda exchange: exchange.cut(), "ends too soon"),
    ],
)
async def test_an_agent_without_a_good_card_is_told_with_the_reason(card: Behaviour, reason: str) -> None:
    async with running(Agent(card=card)) as at:
        state = await at.wait("backing off")
        assert reason in state.reason
        assert "far is backing off" in str(await at.refused("unavailable"))
        at.far.card = None
        await at.wait("ready")
        assert [state.state for state in at.states] == ["backing off", "ready"]


async def test_calls_that_wait_for_a_look_share_it() -> None:
    go = trio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        await exchange.reply(404)

    async with running(Agent(card=slow)) as at, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(at.refused, "unavailable")
        await trio.testing.wait_all_tasks_blocked(0.01)
        go.set()
        await at.wait("backing off")
    assert at.far.shown == 1


async def test_an_etag_that_cannot_be_sent_back_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a2a_source, "REFRESH", 0.01)

    seen: list[str | None] = []

    async def odd(exchange: Exchange) -> None:
        seen.append(exchange.headers.get("if-none-match"))
        tag: Any = b'"\xe9"' if len(seen) % 2 else "x" * 300
        await exchange.reply(200, json.dumps(far.members(exchange)).encode(), {"ETag": tag})

    far = Agent(card=odd)
    async with running(far) as at:
        with trio.fail_after(PATIENCE):
            while len(seen) < 4:  # noqa: ASYNC110
                await trio.sleep(0.002)
        assert [state.state for state in at.states] == ["ready"]
    assert set(seen) == {None}


async def test_one_that_cannot_be_reached_and_one_that_is_off() -> None:
    source = A2aSource(A2aAgent("far", "http://127.0.0.1:1"), "agent", on_change=lambda: None)
    with pytest.raises(PraxisError, match=r"cannot connect to 127\.0\.0\.1:1") as refused:
        await source.call("ask", {"message": "x"}, CallContext("tester"))
    assert (refused.value.code, refused.value.delivered) == ("unavailable", False)
    source = A2aSource(A2aAgent("far", "http://127.0.0.1:1", enabled=False), "agent", on_change=lambda: None)
    with trio.fail_after(PATIENCE):
        await source.run()
    assert source.state().state == "disabled"


# -- calls ------------------------------------------------------------------------------------------


async def test_a_task_is_asked_for_until_it_has_ended(autojump_clock: trio.testing.MockClock) -> None:
    looks = in_turn(task("WORKING", words="half way"), task("WORKING", words="half way"), task("COMPLETED", "seat 4"))
    said: list[Any] = []
    far = Agent(does={"SendMessage": begins, "GetTask": looks})
    async with running(far, headers={"Authorization": "Bearer t"}) as at:
        await at.wait("ready")
        result = await at.call("a seat", data={"n": 1}, context=CallContext("tester", on_progress=said.append))
        assert result.value == {"content": [{"type": "text", "text": "seat 4"}], "isError": False}
        assert said == [{"progress": 1, "message": "working"}, {"progress": 2, "message": "half way"}]
        (sent,) = at.server.called("SendMessage")
        assert (sent.headers["a2a-version"], sent.headers["authorization"]) == ("1.0", "Bearer t")
        message = sent.message["params"]["message"]
        assert message["parts"] == [{"text": "a seat"}, {"data": {"n": 1}, "mediaType": "application/json"}]
        assert message["metadata"] == {"skillId": "book"}


async def test_an_agent_of_0_3(autojump_clock: trio.testing.MockClock) -> None:
    ended = {"kind": "task", "id": "t1", "status": {"state": "completed"}, "artifacts": task("X", "done")["artifacts"]}
    begun = {**ended, "status": {"state": "submitted"}}
    far = Agent(version="0.3.0", does={"message/send": answers(begun), "tasks/get": answers(ended)})
    async with running(far) as at:
        await at.wait("ready")
        assert (await at.call(name="ask")).text == "done"
        (sent,) = at.server.called("message/send")
        assert "a2a-version" not in sent.headers
        assert "metadata" not in sent.message["params"]["message"]


async def test_a_stream_and_one_that_breaks() -> None:
    async def whole(exchange: Exchange) -> None:
        update = {"taskId": "t1", "artifact": {"artifactId": "a", "parts": [{"text": "seat 5"}]}}
        events = [{"task": task("WORKING")}, {"artifactUpdate": update}]
        events.append({"statusUpdate": {"taskId": "t1", "status": {"state": "TASK_STATE_COMPLETED"}}})
        await exchange.stream(*map(exchange.response, events), end=False)
        await exchange.wait_gone()  # the client has enough

    async def broken(exchange: Exchange) -> None:
        await exchange.stream(exchange.response({"task": task("WORKING")}), end=False)
        await exchange.cut()

    far = Agent(streaming=True, does={"GetTask": answers(task("COMPLETED", "seat 6"))})
    async with running(far) as at:
        await at.wait("ready")
        for behaviour, text in (
            (whole, "seat 5"),
            (broken, "seat 6"),
            (answers({"task": task("COMPLETED", "at once")}), "at once"),
        ):
            far.does["SendStreamingMessage"] = behaviour
            assert (await at.call()).text == text


async def test_a_failed_task_is_a_result_with_its_words() -> None:
    async with running(Agent(does={"SendMessage": answers({"task": task("FAILED", words="no seats")})})) as at:
        await at.wait("ready")
        result = await at.call()
        assert (result.is_error, result.text) == (True, "the task failed: no seats")


@pytest.mark.parametrize(
    ("behaviour", "code", "told"),
    [
        (lambda exchange: exchange.error(-32602, "no\x1b such\nprogram"), "invalid", "code -32602: no such program"),
        (lambda exchange: exchange.error(-32000, "too much", 429), "busy", "too much"),
        (lambda exchange: exchange.error(-32601, "what?"), "unavailable", "code -32601"),
        (lambda exchange: exchange.reply(401), "unauthenticated", "a2a.agents[].headers"),
        (lambda exchange: exchange.reply(500, b"<html>"), "unavailable", "HTTP status 500"),
        (lambda exchange: exchange.reply(200, b"<html>"), "unavailable", "no JSON-RPC"),
        (
            lambda exchange: exchange.reply(200, b'{"jsonrpc": "2.0", "id": 99, "result": {}}'),
            "unavailable",
            "none to this",
        ),
        (lambda exchange: exchange.result({}), "unavailable", "neither a task nor a message"),
        (lambda exchange: exchange.reply(200, b" " * (a2a_http.MAX_ANSWER + 1)), "too_large", "larger than"),
        (lambda exchange: exchange.cut(), "unavailable", "ends too soon"),
    ],
)
async def test_what_an_agent_does_instead_of_answering(behaviour: Behaviour, code: str, told: str) -> None:
    async with running(Agent(does={"SendMessage": behaviour})) as at:
        await at.wait("ready")
        assert told in str(await at.refused(code))


async def test_a_call_that_takes_too_long_is_cancelled_there() -> None:
    far = Agent(does={"SendMessage": begins, "GetTask": answers(task("WORKING"))})
    far.does["CancelTask"] = answers(task("CANCELED"))
    async with running(far, timeout=0.05) as at:
        await at.wait("ready")
        error = await at.refused("timeout")
        assert error.delivered
        (cancel,) = at.server.called("CancelTask")
        assert cancel.message["params"] == {"id": "t1"}


async def test_a_message_that_is_not_answered_yet_is_cancelled_once_its_task_is_known() -> None:
    sent, go = trio.Event(), trio.Event()

    async def slow(exchange: Exchange) -> None:
        sent.set()
        await go.wait()
        await begins(exchange)

    far = Agent(does={"SendMessage": slow, "CancelTask": answers(task("CANCELED"))})
    async with running(far) as at, trio.open_nursery() as nursery:
        await at.wait("ready")
        nursery.start_soon(at.call)
        await sent.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.02)
            assert not at.server.called("CancelTask")
            go.set()
    assert at.server.called("CancelTask")


async def test_an_agent_that_answers_nothing_holds_no_call_up(autojump_clock: trio.testing.MockClock) -> None:
    async def never(exchange: Exchange) -> None:
        await trio.sleep_forever()

    far = Agent(does={"SendMessage": never})
    async with running(far) as at:
        await at.wait("ready")
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await at.source.call("book", {"message": "x"}, CallContext("tester"))
        assert scope.cancelled_caught
        assert trio.current_time() - began <= 1 + a2a_call.CANCEL_LIMIT + 0.1


async def test_an_agent_that_forgets_its_task_or_is_away_for_long(autojump_clock: trio.testing.MockClock) -> None:
    far = Agent(does={"SendMessage": begins, "CancelTask": lambda exchange: exchange.error(-32001, "none")})
    async with running(far) as at:
        await at.wait("ready")
        far.does["GetTask"] = lambda exchange: exchange.error(-32001, "no such task")
        assert (await at.refused("not_found")).delivered
        far.does["GetTask"] = lambda exchange: exchange.reply(502)
        await at.wait("ready")
        assert (await at.refused("unavailable")).delivered
        assert len(at.server.called("GetTask")) == 1 + a2a_call.MISSES
