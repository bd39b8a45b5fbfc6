"""Which tool a name means; and, with the catalog, how a call gets there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Keepalive
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, Tool, ToolRef, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.link import PeerLink
from praxis.peers.record import PeerRecord
from praxis.peers.registry import PeerEntry, PeerRegistry
from praxis.peers.request import PeerRequest
from praxis.tools.registry import ToolRegistry
from praxis.tools.source import SourceState
from praxis.wire.messages import Hello
from praxis.wire.session import Session
from praxis.workflow import router
from praxis.workflow.catalog import Catalog
from praxis.workflow.router import MAX_COMPARED, Route, Snapshot
from tests.support.pipes import MemoryPipe, pipe_pair


def tool(full: str) -> Tool:
    ref = ToolRef.parse(full)
    return Tool(ref.agent or "", ref.source or "", {"name": ref.name})


def network(*tools: str, interchangeable: Sequence[str] = ()) -> Snapshot:
    """A network as agent `me` sees it; the peer id of agent `x` is `pxx`."""
    by_agent: dict[str, list[Tool]] = {"me": []}
    for each in map(tool, tools):
        by_agent.setdefault(each.agent, []).append(each)
    local = by_agent.pop("me")
    return Snapshot(local, [(f"px{agent}", found) for agent, found in by_agent.items()], interchangeable)


def names(route: Route) -> list[str]:
    return [str(candidate.tool.ref) for candidate in route.candidates]


def routed(snapshot: Snapshot, ref: str, peer_id: str | None = None) -> list[str]:
    return names(snapshot.route(ToolRef.parse(ref), peer_id=peer_id))


def refusal(snapshot: Snapshot, ref: str, peer_id: str | None = None) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        snapshot.route(ToolRef.parse(ref), peer_id=peer_id)
    return caught.value


# -- choosing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["read", "fs/read", "a:read", "a:fs/read"])
def test_each_form_of_a_name_finds_the_only_owner(ref: str) -> None:
    route = network("me:fs/write", "a:fs/read").route(ToolRef.parse(ref))
    assert names(route) == ["a:fs/read"]
    assert (route.choice.agent, route.choice.peer, route.choice.reason) == ("a", "pxa", "the only owner")
    assert route.choice.others == ()


def test_a_short_name_means_the_local_tool_and_no_other_may_take_over() -> None:
    route = network("a:fs/read", "me:fs/read", "b:fs/read").route(ToolRef.parse("read"))
    assert names(route) == ["me:fs/read"]
    assert (route.choice.agent, route.choice.peer, route.choice.reason) == ("me", None, "local first")


def test_a_named_agent_comes_before_local_first() -> None:
    assert routed(network("me:fs/read", "a:fs/read"), "a:read") == ["a:fs/read"]


def test_a_peer_id_narrows_to_that_peer_even_where_there_is_a_local_tool() -> None:
    snapshot = network("me:fs/read", "a:fs/read", "b:fs/read")
    assert routed(snapshot, "read", "pxb") == ["b:fs/read"]
    error = refusal(snapshot, "read", "pxc")
    assert error.code == "not_found"
    assert error.detail == "no tool 'read' can be reached on peer pxc"


def test_several_owners_among_the_peers_are_an_error_that_lists_them() -> None:
    error = refusal(network("me:fs/write", "a:fs/read", "b:fs/read"), "read")
    assert error.code == "ambiguous"
    assert error.detail == "'read' has 2 owners: a:fs/read, b:fs/read"
    assert error.data == {"candidates": ["a:fs/read", "b:fs/read"]}
    assert "interchangeable" in error.hint


def test_two_local_sources_are_ambiguous_and_peers_are_not_named_for_them() -> None:
    snapshot = network("me:fs/read", "me:mcp/read", "a:fs/read")
    assert refusal(snapshot, "read").data == {"candidates": ["me:fs/read", "me:mcp/read"]}
    assert routed(snapshot, "fs/read") == ["me:fs/read"]


def test_two_sources_of_one_agent_are_told_apart_by_the_source() -> None:
    snapshot = network("a:fs/read", "a:mcp/read")
    assert refusal(snapshot, "a:read").code == "ambiguous"
    assert routed(snapshot, "mcp/read") == ["a:mcp/read"]


def test_many_owners_are_counted_and_only_some_are_listed() -> None:
    error = refusal(network(*(f"a{i}:fs/read" for i in range(100))), "read")
    assert error.detail.startswith("'read' has 100 owners: a0:fs/read, ")
    assert error.detail.endswith(" a7:fs/read ...")
    assert len(error.data["candidates"]) == 64


# -- interchangeable -------------------------------------------------------------------------------


@pytest.mark.parametrize("glob", ["read", "fs/read", "fs/*", "r*"])
def test_interchangeable_tools_may_take_over_local_ones_first(glob: str) -> None:
    snapshot = network("a:fs/read", "me:fs/read", "b:fs/read", interchangeable=["x", glob])
    choice = snapshot.route(ToolRef.parse("read")).choice
    assert (choice.tool, choice.others) == ("me:fs/read", ("a:fs/read", "b:fs/read"))
    assert choice.reason == "interchangeable: local first"


def test_interchangeable_peers_need_no_local_tool() -> None:
    choice = network("a:fs/read", "b:fs/read", interchangeable=["read"]).route(ToolRef.parse("read")).choice
    assert (choice.tool, choice.peer, choice.reason) == ("a:fs/read", "pxa", "interchangeable")
    assert choice.others == ("b:fs/read",)


def test_a_named_owner_is_not_interchanged() -> None:
    snapshot = network("me:fs/read", "a:fs/read", interchangeable=["*"])
    assert routed(snapshot, "a:read") == ["a:fs/read"]
    assert routed(snapshot, "read", "pxa") == ["a:fs/read"]


def test_all_candidates_must_be_declared_interchangeable() -> None:
    assert refusal(network("a:fs/read", "b:mcp/read", interchangeable=["fs/*"]), "read").code == "ambiguous"
    assert refusal(network("a:fs/read", "b:fs/read", interchangeable=["READ", "a:*"]), "read").code == "ambiguous"


@given(st.lists(st.sampled_from(["me:s/t", "me:z/t", "a:s/t", "a:z/t", "b:s/t"]), min_size=1, unique=True))
def test_a_full_name_means_one_tool_whoever_else_is_there(tools: list[str]) -> None:
    for globs in ((), ("*",)):
        snapshot = network(*tools, interchangeable=globs)
        assert [routed(snapshot, each) for each in tools] == [[each] for each in tools]


# -- not found -------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_those_that_look_alike() -> None:
    error = refusal(network("me:fs/read_file", "a:fs/write_file"), "raed_file")
    assert (error.code, error.hint) == ("not_found", "did you mean read_file or write_file?")
    assert error.data == {"alike": ["read_file", "write_file"]}


def test_a_right_name_at_the_wrong_place_is_answered_with_where_it_is() -> None:
    error = refusal(network("me:fs/read", "a:fs/read"), "b:read")
    assert (error.code, error.hint) == ("not_found", "read is there as me:fs/read, a:fs/read")
    assert error.detail == "no tool 'b:read' can be reached"


def test_nothing_alike_points_to_the_list() -> None:
    assert refusal(network("me:fs/read"), "zzz").hint == "`praxis tools` lists what can be reached"
    assert refusal(network(), "zzz").data == {"alike": []}


def test_an_unknown_name_is_compared_with_a_bounded_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def close(word: str, possibilities: Sequence[str], n: int) -> list[str]:
        compared.append(len(possibilities))
        return []

    snapshot = network(*(f"a:fs/t{i}" for i in range(MAX_COMPARED + 5)))
    monkeypatch.setattr(router.difflib, "get_close_matches", close)  # type: ignore[attr-defined]
    refusal(snapshot, "zzz")
    assert compared == [MAX_COMPARED]


# -- the catalog -----------------------------------------------------------------------------------

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

    async def call_other(self, context: CallContext = CONTEXT) -> ToolResult:
        (candidate,) = self.catalog.snapshot().route(ToolRef.parse("other:echo")).candidates
        return await self.catalog.call(candidate, {"x": 1}, context)


def make_link(pipe: MemoryPipe, name: str, peer_id: str, answer: Callable[[PeerRequest], Any]) -> PeerLink:
    async def handle(request: PeerRequest) -> Any:
        return answer(request)

    session = Session(Hello(id=f"px-{name}", name=name, boot=1, agent="praxis/test"), dialer=name == "me")
    return PeerLink(pipe, session, peer_id=peer_id, address="test", handler=handle, keepalive=Keepalive())


@asynccontextmanager
async def connected(answer: Callable[[PeerRequest], Any]) -> AsyncIterator[Setting]:
    bus, (one, two) = EventBus(clock=lambda: 0.0), pipe_pair()
    registry, peers = ToolRegistry("me", bus=bus, metrics=Metrics()), PeerRegistry("me", bus=bus, clock=lambda: 0.0)
    registry.add(Echo())
    link, other = make_link(one, "me", "px-other", answer), make_link(two, "other", "px-me", answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        nursery.start_soon(other.run)
        assert await link.wait_greeted()
        entry = peers.know("px-other")
        assert entry is not None
        peers.adopt(entry, link)
        peers.introduce(entry, PeerRecord("px-other", "other", 1, 1), [tool("other:fs/echo")])
        yield Setting(registry, peers, Catalog(registry, peers, ()), entry, link)
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


async def test_progress_of_a_peer_that_is_no_object_is_not_passed_on_and_harms_nobody() -> None:
    def answer(request: PeerRequest) -> Any:
        for value in ("rubbish", 5, None, [1], {"progress": 1}):
            request.progress(value)
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
