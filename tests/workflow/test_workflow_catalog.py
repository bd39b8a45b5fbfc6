"""What can be called, how a call gets there, and what is remembered of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from praxis.config.schema import Breaker, Keepalive, Routing
from praxis.model.errors import CODES, PraxisError
from praxis.model.load import IDLE, Load
from praxis.model.peer import PeerState
from praxis.model.tool import CallContext, Tool, ToolRef, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.entry import PeerEntry
from praxis.peers.link import PeerLink
from praxis.peers.load import FADES, FORGOTTEN, HELD, Word
from praxis.peers.record import PeerRecord
from praxis.peers.registry import PeerRegistry
from praxis.peers.request import PeerRequest
from praxis.tools.registry import ToolRegistry
from praxis.tools.source import SourceState
from praxis.wire.messages import Hello
from praxis.wire.session import Session
from praxis.workflow.catalog import FAULTS, Catalog
from praxis.workflow.scores import Measure
from tests.support.pipes import MemoryPipe, pipe_pair


def tool(full: str) -> Tool:
    ref = ToolRef.parse(full)
    return Tool(ref.agent or "", ref.source or "", {"name": ref.name})


CONTEXT = CallContext("ann", run_id="r1")


@attrs.define(eq=False)
class Echo:
    """A local source with one tool."""

    name: str = "fs"

    def tools(self) -> Sequence[Tool]:
        return [Tool("me", self.name, {"name": "echo"})]

    async def call(self, name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        return ToolResult.of_text(f"me {arguments}")

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready")


@attrs.define
class Setting:
    """An agent with one local tool and a line to `other`, which has one."""

    registry: ToolRegistry
    peers: PeerRegistry
    catalog: Catalog
    entry: PeerEntry
    link: PeerLink
    bus: EventBus

    def weighed(self) -> dict[str, Measure]:
        """What is known of each owner of ``echo``, by the name of the agent."""
        route = self.catalog.weighed(self.catalog.snapshot().route(ToolRef("echo")))
        found = zip(route.candidates, route.weighed, strict=True)
        return {candidate.tool.agent: measure for candidate, (measure, _) in found}

    async def call_other(self, context: CallContext = CONTEXT) -> ToolResult:
        (candidate,) = self.catalog.snapshot().route(ToolRef.parse("other:echo")).candidates
        return await self.catalog.call(candidate, {"x": 1}, context)


def make_link(pipe: MemoryPipe, name: str, peer_id: str, answer: Callable[[PeerRequest], Any]) -> PeerLink:
    async def handle(request: PeerRequest) -> Any:
        return answer(request)

    session = Session(Hello(id=f"px-{name}", name=name, boot=1, agent="praxis/test"), dialer=name == "me")
    return PeerLink(pipe, session, peer_id=peer_id, address="test", handler=handle, keepalive=Keepalive())


@asynccontextmanager
async def connected(
    answer: Callable[[PeerRequest], Any], *, address: str = "test", cpu: float = 0.0
) -> AsyncIterator[Setting]:
    bus, (one, two) = EventBus(clock=lambda: 0.0), pipe_pair()
    registry, peers = ToolRegistry("me", bus=bus, metrics=Metrics()), PeerRegistry("me", bus=bus, clock=lambda: 0.0)
    registry.add(Echo())
    link, other = make_link(one, "me", "px-other", answer), make_link(two, "other", "px-me", answer)
    link.address = address
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        nursery.start_soon(other.run)
        assert await link.wait_greeted()
        entry = peers.know("px-other")
        assert entry is not None
        peers.adopt(entry, link)
        peers.introduce(entry, PeerRecord("px-other", "other", 1, 1, tags=("echo", "x")), [tool("other:fs/echo")])
        routing = Routing(("echo",), breaker=Breaker(1))
        catalog = Catalog(registry, peers, routing, bus=bus, draw=lambda: 0.0, tags=("ECHO", "fs"), cpu=lambda: cpu)
        yield Setting(registry, peers, catalog, entry, link, bus)
        nursery.cancel_scope.cancel()


async def test_a_call_reaches_the_owner_whole_and_the_result_comes_back_unchanged() -> None:
    seen: list[tuple[str, Any]] = []
    result = {"content": [{"type": "text", "text": "é"}], "isError": True, "structuredContent": [1], "_meta": {"a": 1}}

    def answer(request: PeerRequest) -> Any:
        seen.append((request.method, request.params))
        return result

    async with connected(answer) as setting:
        assert (await setting.call_other()).value == result
        await setting.call_other(CallContext("ann"))
    params = {"source": "fs", "name": "echo", "arguments": {"x": 1}}
    assert seen == [("tool.call", {**params, "meta": {"run": "r1"}}), ("tool.call", params)]


@pytest.mark.parametrize("answer", [None, [], "text", 5, {"content": "text"}, {"content": {}}])
async def test_what_is_no_result_is_an_error_after_which_the_call_is_not_repeated(answer: Any) -> None:
    async with connected(lambda _: answer) as setting:
        with pytest.raises(PraxisError, match="agent other answered with something else") as caught:
            await setting.call_other()
        assert (caught.value.code, caught.value.delivered) == ("unavailable", True)


async def test_a_peer_that_has_gone_is_unavailable_and_got_nothing() -> None:
    async with connected(lambda _: {}) as setting:
        (candidate,) = setting.catalog.snapshot().route(ToolRef.parse("other:echo")).candidates
        setting.peers.drop(setting.entry, setting.link)
        with pytest.raises(PraxisError, match="agent other is not connected any more") as caught:
            await setting.catalog.call(candidate, {}, CONTEXT)
        assert (caught.value.code, caught.value.delivered) == ("unavailable", False)


async def test_progress_of_a_peer_goes_to_the_caller() -> None:
    def answer(request: PeerRequest) -> Any:
        request.emit("notifications/progress", {"progress": 1})
        request.emit("notifications/message", {"level": "info", "data": "nobody wants this"})
        request.emit("something/else", {})
        return {"content": []}

    got: list[Any] = []
    async with connected(answer) as setting:
        result = await setting.call_other(CallContext("ann", on_progress=lambda value: got.append(dict(value))))
        assert result.value == {"content": []}
        assert not setting.link.closed
    assert got == [{"progress": 1}]


async def test_the_view_is_the_same_until_a_tool_or_a_peer_comes_or_goes() -> None:
    async with connected(lambda _: {}) as setting:
        first = setting.catalog.snapshot()
        assert setting.catalog.snapshot() is first
        assert [str(each.ref) for each in setting.catalog.tools()] == ["me:fs/echo", "other:fs/echo"]
        setting.registry.add(Echo("mcp"))
        second = setting.catalog.snapshot()
        assert [str(each.ref) for each in setting.catalog.tools()] == ["me:fs/echo", "me:mcp/echo", "other:fs/echo"]
        setting.peers.drop(setting.entry, setting.link)
        assert [str(each.ref) for each in setting.catalog.tools()] == ["me:fs/echo", "me:mcp/echo"]
        assert len({id(first), id(second), id(setting.catalog.snapshot())}) == 3
        assert len(first.tools) == 2, "a view that somebody holds does not change"


# -- owners that are away --------------------------------------------------------------------------


def away(state: PeerState, *, name: str = "far", seen: float = 1_700_000_000.0, reason: str = "") -> PeerEntry:
    return PeerEntry("px-far", 0.0, name=name, state=state, reason=reason, last_seen=seen)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([away("down", reason="reset")], "its owner far is down since 2023-11-14T22:13:20+00:00: reset"),
        ([away("left")], "its owner far has left since 2023-11-14T22:13:20+00:00"),
        ([away("blocked", reason="it is on the blocklist")], "its owner far is blocked here since 2023-11-14T22:13"),
        ([away("indirect", seen=0.0, reason="b hears it")], "its owner far cannot be reached from here: b hears it"),
        ([away("idle", seen=0.0, name="")], "its owner px-far is not connected"),
        ([away("down", seen=0.0)] * 5, "; its owner far is down; its owner far is down; and 1 more"),
    ],
)
def test_a_tool_whose_owners_are_away_is_unavailable_and_says_where_they_are(
    entries: Sequence[PeerEntry], told: str
) -> None:
    bus = EventBus(clock=lambda: 0.0)
    registry, peers = ToolRegistry("me", bus=bus, metrics=Metrics()), PeerRegistry("me", bus=bus, clock=lambda: 0.0)
    for entry in entries:
        peers.know(entry.id)

    def absent(ref: ToolRef) -> Sequence[PeerEntry]:
        return entries if ref.name == "echo" else []

    catalog = Catalog(registry, peers, Routing(), None, absent, bus=bus, draw=lambda: 0.0)
    for peer_id in (None, "px-far"):
        with pytest.raises(PraxisError) as caught:
            catalog.route(ToolRef("echo"), peer_id=peer_id)
        assert caught.value.code == "unavailable"
        assert told in caught.value.detail
    for ref, peer_id in ((ToolRef("nope"), None), (ToolRef("echo"), "px-other")):
        with pytest.raises(PraxisError) as caught:
            catalog.route(ref, peer_id=peer_id)
        assert caught.value.code == "not_found"
        assert "owner" not in caught.value.detail
    assert caught.value.detail == "no peer with the id 'px-other' is known"
    registry.add(Echo())
    assert catalog.route(ToolRef("echo")).choice.agent == "me"


# -- what is known of the owners -------------------------------------------------------------------


async def test_owners_are_measured_by_what_they_say_and_where_they_are() -> None:
    async with connected(lambda _: {}) as setting:
        setting.link.rtt = 0.02
        assert setting.weighed() == {
            "me": Measure(tags=("ECHO",)),
            "other": Measure(tags=("echo",), place="elsewhere", rtt=0.02),
        }
        setting.registry.in_flight = 3
        assert setting.weighed()["me"].in_flight == 3, "calls of peers are load too"


async def test_what_an_owner_says_of_its_load_counts_until_it_fades(autojump_clock: MockClock) -> None:
    async with connected(lambda _: {}) as setting:
        setting.link.told = Word(Load(12, 4, 0.03, 0.9), trio.current_time())
        assert setting.weighed()["other"].told == Load(12, 4, 0.03, 0.9)
        assert setting.weighed()["me"].told == IDLE
        route = setting.catalog.weighed(setting.catalog.snapshot().route(ToolRef("echo")))
        words = "busy with 12 calls of others, 4 of them wait, loop 30 ms late, CPU 90%"
        assert [words in score.reason for score in route.choice.scores] == [False, True]
        (view,) = setting.peers.views()
        assert (view.load, view.told) == (0, Load(12, 4, 0.03, 0.9))
        await trio.sleep(HELD + FADES)
        assert setting.weighed()["other"].told.calls == pytest.approx(6)
        await trio.sleep(FORGOTTEN)
        assert setting.weighed()["other"].told == IDLE


async def test_the_cpu_of_this_machine_is_the_same_for_every_agent_on_it() -> None:
    async with connected(lambda _: {}, address="127.0.0.1:4001", cpu=0.8) as setting:
        setting.link.told = Word(Load(12, cpu=1.0), trio.current_time())
        assert [measure.told.cpu for measure in setting.weighed().values()] == [0.8, 0.8]
        assert setting.weighed()["other"].told.calls == 12


async def test_a_route_whose_owner_has_gone_asks_it_last() -> None:
    async with connected(lambda _: {}) as setting:
        route = setting.catalog.snapshot().route(ToolRef("echo"))
        setting.peers.drop(setting.entry, setting.link)
        left = setting.catalog.ranked(route)
        assert [candidate.tool.agent for candidate in left.candidates] == ["me", "other"]
        assert [measure.state for measure, _ in left.weighed] == ["ready", "gone"]
        assert left.choice.scores[1].reason.startswith("no line to it")


async def test_a_route_of_one_is_weighed_for_those_who_want_to_see_it_only() -> None:
    async with connected(lambda _: {}) as setting:
        route = setting.catalog.snapshot().route(ToolRef.parse("other:echo"))
        assert setting.catalog.ranked(route) is route
        weighed = setting.catalog.weighed(route)
        assert (weighed.choice.reason, weighed.choice.others) == ("the only owner", ())
        assert [score.agent for score in weighed.choice.scores] == ["other"]


async def test_a_call_is_counted_while_it_runs_and_timed_when_it_has_ended() -> None:
    seen: list[Measure] = []

    def answer(request: PeerRequest) -> Any:
        seen.append(setting.weighed()["other"])
        now[0] += 0.003
        return {"content": []}

    now = [100.0]
    async with connected(answer) as setting:
        setting.link.rtt = 0.02
        setting.catalog.clock = lambda: now[0]
        await setting.call_other()
        (during,), after = seen, setting.weighed()["other"]
        assert (during.in_flight, during.seconds) == (1, None)
        assert after.in_flight == 0
        assert after.seconds == pytest.approx(0.003)
        assert after.rtt == after.seconds, "an old ping says less: no call is quicker than the way"


@pytest.mark.parametrize("code", sorted(CODES))
async def test_only_errors_that_are_the_owners_open_its_breaker(code: Any) -> None:
    def answer(request: PeerRequest) -> Any:
        raise PraxisError(code, "no")

    async with connected(answer) as setting:
        with pytest.raises(PraxisError):
            await setting.call_other()
        assert (setting.weighed()["other"].state == "open") == (code in FAULTS)
        assert (setting.weighed()["other"].trouble > 0) == (code in FAULTS)
        assert setting.catalog.health.broken() == (code in FAULTS)


async def test_a_tool_that_says_it_failed_counts_against_its_owner_but_opens_no_breaker() -> None:
    async with connected(lambda _: {"content": [], "isError": True}) as setting:
        for _ in range(10):
            await setting.call_other()
        measure = setting.weighed()["other"]
        assert (measure.state, measure.seconds) == ("ready", None)
        assert measure.trouble > 0.9


async def test_a_breaker_tells_when_it_opens_and_closes() -> None:
    answers: list[Any] = [PraxisError("busy", "full"), {"content": []}]

    def answer(request: PeerRequest) -> Any:
        found = answers.pop(0)
        if isinstance(found, PraxisError):
            raise found
        return found

    async with connected(answer) as setting:
        with setting.bus.subscribe(types=["tool.breaker"]) as events:
            with pytest.raises(PraxisError):
                await setting.call_other()
            await setting.call_other()
            told = [dict(event.fields) for event in events.receive_nowait().events]
    known = {"tool": "other:fs/echo", "agent": "other", "peer": "px-other"}
    assert told == [{**known, "state": "open"}, {**known, "state": "closed"}]


async def test_a_call_that_is_cancelled_is_under_way_no_more_and_nobodys_fault() -> None:
    async with connected(lambda _: {}) as setting:
        with trio.CancelScope() as scope:
            scope.cancel()
            await setting.call_other()
        measure = setting.weighed()["other"]
        assert (measure.in_flight, measure.state, measure.trouble) == (0, "ready", 0)
