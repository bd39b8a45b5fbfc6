"""Graphs as they are drawn: to plans, and plans to graphs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.dsl.parser import parse
from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Plan, Reference, Step
from praxis.workflow.graph import graph_of, plan_of_graph
from praxis.workflow.layout import layout
from praxis.workflow.planner import plan

DOCS = Path(__file__).parents[2] / "docs" / "graphs.md"


def node(id: str, tool: str | None = "t", **data: Any) -> dict[str, Any]:
    return {"id": id, "data": {**({"tool": tool} if tool else {}), **data}, "position": {"x": 1, "y": 2}}


def edge(source: str, target: str) -> dict[str, str]:
    return {"id": f"{source}{target}", "source": source, "target": target}


def waits(planned: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.after for step in planned.steps}


def refused(graph: object) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        plan_of_graph(graph)  # type: ignore[arg-type]
    return caught.value


def test_a_node_with_everything() -> None:
    graph = {
        "nodes": [
            node("b", "write", agent="ann", args={"x": "a ${a.list[0].k} $${x}", "n": 5, "deep": [{"y": "${a}"}]}),
            node("a", "src/read", timeout=2.5, retry=3, backoff=1, ifFailed="continue"),
        ],
        "edges": [],
        "onFailure": "continue",
    }
    planned = plan_of_graph(graph)
    first, second = planned.steps
    assert isinstance(first, Step)
    assert isinstance(second, Step)
    assert (first.id, first.tool, first.timeout, first.retry, first.backoff) == ("a", "src/read", 2.5, 3, 1.0)
    assert (first.if_failed, first.position, first.bind, first.after) == ("continue", (1.0, 2.0), "a", ())
    assert (second.id, second.tool, second.after) == ("b", "ann:write", ("a",))
    assert second.arguments == (
        Argument("x", ("a ", Reference("a", ("list", 0, "k")), " ${x}")),
        Argument("n", (), tree=5),
        Argument("deep", (), tree=[{"y": (Reference("a"),)}]),
    )
    assert planned.goes_on


def test_a_join_waits_for_all_and_nodes_without_tools_pass_that_on() -> None:
    nodes = [node("start", None), node("a"), node("b"), node("note", None), node("c"), node("d")]
    edges = [
        edge("start", "a"),
        edge("start", "b"),
        edge("a", "note"),
        edge("b", "note"),
        edge("note", "c"),
        edge("a", "d"),
    ]
    assert waits(plan_of_graph({"nodes": nodes, "edges": edges})) == {"a": (), "b": (), "c": ("a", "b"), "d": ("a",)}


@pytest.mark.parametrize(
    ("nodes", "edges", "detail", "where"),
    [
        ([], [], "a list of nodes", "nodes"),
        (["x"], [], "an object", "nodes[0]"),
        ([node("a b")], [], "the id of a node", "nodes[0].id"),
        ([node("params")], [], "the id of a node", "nodes[0].id"),
        ([node("a"), node("a")], [], "a second node 'a'", "nodes[1].id"),
        ([node("a", None)], [], "no node has a tool", "nodes"),
        ([node("a", "x y")], [], "not the name of a tool", "nodes[0].tool"),
        ([node("a", "b:x", agent="c")], [], "another agent", "nodes[0].tool"),
        ([node("a", arguments=[1])], [], "an object", "nodes[0].arguments"),
        ([node("a", timeout="5s")], [], "a number", "nodes[0].timeout"),
        ([node("a", timeout=True)], [], "a number", "nodes[0].timeout"),
        ([node("a", retry=1.5)], [], "a whole number", "nodes[0].retry"),
        ([node("a", if_failed="no")], [], "stop or continue", "nodes[0].if_failed"),
        ([node("a", args={"x": "${b}"}), node("bb")], [], "no such node", "nodes[0].arguments"),
        ([node("a", args={"x": "${a}"})], [], "the node itself", "nodes[0].arguments"),
        ([node("a", args={"x": "${secrets}"})], [], "not one of it", "nodes[0].arguments"),
        ([node("a", args={"x": ["${secrets[0]}"]})], [], "not one of it", "nodes[0].arguments"),
        ([node("a")], [{"source": "a", "target": "z"}], "the id of a node", "edges[0].target"),
        ([node("a")], {}, "a list of edges", "edges"),
        ([node("a"), node("b")], [edge("a", "b"), edge("b", "a")], "wait for each other: ", "edges"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(nodes: Any, edges: Any, detail: str, where: str) -> None:
    error = refused({"nodes": nodes, "edges": edges})
    assert error.code == "invalid"
    assert detail in error.detail
    assert error.where == where


def test_a_cycle_is_named() -> None:
    nodes = [node(id) for id in "abcd"] + [node("e", args={"x": "${d}"})]
    edges = [edge("a", "b"), edge("b", "c"), edge("c", "d"), edge("e", "b")]
    assert refused({"nodes": nodes, "edges": edges}).detail in (
        "the nodes wait for each other: b -> c -> d -> e -> b",
        "the nodes wait for each other: c -> d -> e -> b -> c",
        "the nodes wait for each other: d -> e -> b -> c -> d",
        "the nodes wait for each other: e -> b -> c -> d -> e",
    )


def test_text_is_a_graph_if_it_begins_as_json_does() -> None:
    assert graph_of("CALL a") is None
    assert graph_of(' {"nodes": []}') == {"nodes": []}
    with pytest.raises(PraxisError, match="not the JSON of a graph"):
        graph_of("{ CALL a }")


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20), st.text(max_size=8))
def test_a_plan_becomes_a_graph_and_the_same_plan_again(size: int, pairs: list[tuple[int, int]], text: str) -> None:
    nodes = [node(f"n{i}", args={"x": text.replace("${", "$${"), "n": {"deep": [i]}}) for i in range(size)]
    edges = [edge(f"n{a}", f"n{b}") for a, b in pairs if a < b < size]
    planned = plan_of_graph({"nodes": nodes, "edges": edges})
    drawn = json.loads(json.dumps(layout(planned)))
    assert plan_of_graph(drawn) == planned


def test_a_program_is_drawn_column_by_column_with_its_blocks() -> None:
    drawn = layout(
        plan(
            parse(
                "CALL a -> x\nPARALLEL { CALL b; CALL c }\nFOREACH f IN ${x} MAX 2 { CALL d ${f} }\nIF ${x} { CALL e }"
            )
        )
    )
    shown = {n["id"]: n for n in drawn["nodes"]}
    xs = [shown[id]["position"]["x"] for id in ("s1", "s2", "s3", "s4", "s6")]
    assert xs[1] == xs[2]
    assert xs[0] < xs[1] < xs[3] < xs[4]
    assert shown["s2"]["position"]["y"] != shown["s3"]["position"]["y"]
    assert (shown["s5"]["parentId"], shown["s7"]["parentId"]) == ("s4", "s6")
    assert shown["s4"]["data"]["label"] == "FOREACH f IN ${x} MAX 2"
    assert {(e["source"], e["target"]) for e in drawn["edges"]} == {
        ("s1", "s2"), ("s1", "s3"), ("s2", "s4"), ("s3", "s4"), ("s1", "s4"), ("s4", "s6"), ("s1", "s6"),
    }  # fmt: skip


def test_the_documented_graph_is_one() -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    planned = plan_of_graph(json.loads(text))
    assert waits(planned) == {"hello": (), "keep": ("hello",), "list": ("keep",)}
    assert [step.tool for step in planned.calls()] == ["greet", "praxis-agent-2:write_file", "list_files"]
