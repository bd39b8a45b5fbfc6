"""Which tool a name means, and who may serve it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Weights
from praxis.model.errors import PraxisError
from praxis.model.tool import GROUP, Tool, ToolRef
from praxis.workflow import router
from praxis.workflow.router import DRAWN, MAX_COMPARED, MAX_SHOWN, MAX_WEIGHED, Home, Route, Snapshot
from praxis.workflow.scores import Measure, score


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


def grouped(**groups: str) -> Snapshot:
    """A network where agents have ``x/job``, each of a group; "" is none."""
    tools = {
        agent: Tool(agent, "x", {"name": "job", "_meta": {GROUP: group} if group else {}})
        for agent, group in groups.items()
    }
    local = [tools.pop("me")] if "me" in tools else []
    return Snapshot(local, [(f"px{agent}", [tool]) for agent, tool in tools.items()], ())


def test_tools_of_one_name_and_one_group_are_interchangeable() -> None:
    assert routed(grouped(a="workers", me="workers", b="workers"), "job") == ["me:x/job", "a:x/job", "b:x/job"]
    choice = grouped(a="workers", b="workers").route(ToolRef.parse("x/job")).choice
    assert (choice.tool, choice.reason) == ("a:x/job", "interchangeable")


@pytest.mark.parametrize("other", ["", "others"])
def test_another_group_or_none_makes_them_as_different_as_ever(other: str) -> None:
    assert refusal(grouped(a="workers", b=other), "job").code == "ambiguous"
    assert routed(grouped(a="workers", me=other), "job") == ["me:x/job"]


@pytest.mark.parametrize("meta", [None, 5, [], {GROUP: 5}, {GROUP: ["workers"]}, {"group": "workers"}])
def test_what_a_stranger_says_of_its_group_has_to_be_text(meta: object) -> None:
    assert Tool("a", "x", {"name": "job", "_meta": meta}).group == ""


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


# -- what candidates are compared by ---------------------------------------------------------------


def crowd(size: int, *special: Home) -> Route:
    """So many owners alike, and one for each special home."""
    homes: dict[str | None, Home] = {f"px{i}": Home(("cpu",), ("10.0.0.1:1", "10.0.1.1:1")) for i in range(size)}
    homes |= {f"special{i}": home for i, home in enumerate(special)}
    remote = [(str(id), [Tool(str(id), "fs", {"name": "paint_gpu"})]) for id in homes]
    return Snapshot([], remote, ["*"], homes).route(ToolRef("paint_gpu"))


def test_a_name_is_looked_up_once_and_what_is_not_there_each_time() -> None:
    snapshot = network("me:fs/read", "a:fs/read")
    assert snapshot.route(ToolRef.parse("read")) is snapshot.route(ToolRef.parse("read"))
    assert routed(snapshot, "a:read") == routed(snapshot, "read", "pxa") == ["a:fs/read"]
    assert [refusal(snapshot, "raed").code for _ in range(2)] == ["not_found"] * 2


def test_the_needs_of_a_step_are_the_same_for_all_candidates() -> None:
    definitions = [{"name": "paint"}, {"name": "paint", "description": "Best on a GPU"}]
    homes: dict[str | None, Home] = {"px0": Home(("gpu", "paint")), "px1": Home(("cpu",))}
    remote = [(f"px{i}", [Tool(f"a{i}", "fs", definition)]) for i, definition in enumerate(definitions)]
    route = Snapshot([Tool("me", "fs", {"name": "paint"})], remote, ["*"], homes).route(ToolRef("paint"))
    assert route.needed_tags == [(), ("gpu", "paint"), ()]


def test_of_very_many_candidates_some_of_each_kind_are_compared() -> None:
    route = crowd(500, Home(("gpu",), ("10.0.0.1:1", "10.0.1.1:1")), Home((), ("127.0.0.1:1", "127.0.0.1:2")))
    chance = Random(7).random
    rounds = [set(route.compared(chance)) for _ in range(200)]
    assert all({500, 501} <= each and len(each) <= DRAWN + 2 for each in rounds)
    assert len(set().union(*rounds)) > 480, "each has its turn"
    few = crowd(MAX_WEIGHED)
    assert list(few.compared(chance)) == list(range(MAX_WEIGHED))


def test_a_choice_shows_the_best_of_many_and_what_they_were_worth() -> None:
    route = crowd(20)
    assert route.choice.scores == ()
    measures = [Measure(in_flight=i, place="host", rtt=0.001) for i in range(20)]
    weighed = Route(route.candidates, "the best", tuple(zip(measures, score(measures, Weights()), strict=True)))
    choice = weighed.choice
    assert (len(choice.scores), len(choice.others)) == (MAX_SHOWN, MAX_SHOWN)
    first, second = choice.scores[:2]
    assert (first.tool, first.agent, first.peer) == ("px0:fs/paint_gpu", "px0", "px0")
    assert (first.score, first.availability, first.specialization, first.load) == (0.686, 1, 0, 1)
    assert (first.locality, first.reason, second.load) == (0.743, "idle; this host, 1 ms away", 0.889)
    left = weighed.after(2)
    assert (left.choice.tool, left.choice.scores[0].agent) == ("px2:fs/paint_gpu", "px2")
    assert left.reason == "the best; 2 before it failed"


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
