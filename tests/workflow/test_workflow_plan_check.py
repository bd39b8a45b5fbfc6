"""What a model is told about a plan that cannot be run: all of it, in words that it can mend it by."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.llm.answer import read_plan
from praxis.model.errors import PraxisError
from praxis.model.tool import Tool
from praxis.workflow.order import Order, given_params, plan_of
from praxis.workflow.plan_check import plan_problems
from praxis.workflow.router import Snapshot
from tests.llm.llm_kit import MAIL, READ, WRITE, tool
from tests.workflow.executor_kit import Setting, setting

SHUT = Tool(
    "a",
    "pay",
    {
        "name": "pay",
        "inputSchema": {
            "type": "object",
            "properties": {
                "amount": {"$ref": "#/$defs/amount"},
                "to": {"type": "object", "properties": {"iban": {"type": "string"}}, "required": ["iban"]},
            },
            "required": ["amount", "to"],
            "additionalProperties": False,
            "minProperties": 2,
            "$defs": {"amount": {"type": "integer", "minimum": 1}},
        },
    },
)
EITHER = Tool(
    "a",
    "pay",
    {
        "name": "either",
        "inputSchema": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
        },
    },
)
AGAIN = tool("read_file", agent="b")
TOOLS = {"a": [READ, WRITE, SHUT, EITHER], "b": [MAIL, AGAIN]}


def node(id: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"id": id, "tool": tool, "arguments": arguments}


def plan(*nodes: dict[str, Any], edges: str = "") -> dict[str, Any]:
    """`edges` such as ``n1>n2 n2>n3``."""
    pairs = [edge.split(">") for edge in edges.split()]
    return {"nodes": [*nodes], "edges": [{"source": a, "target": b} for a, b in pairs], "say": "It does."}


def reachable() -> Setting:
    at = setting()
    at.network.view = Snapshot([], [(f"px-{agent}", tools) for agent, tools in TOOLS.items()], ())
    return at


async def problems(graph: dict[str, Any], params: tuple[str, ...] = (), secrets: tuple[str, ...] = ()) -> list[str]:
    return await plan_problems(graph, reachable().network, params=params, secrets=secrets)


GOOD = plan(
    node("n1", "a:fs/read_file", filename="a.txt"),
    node("n2", "b:mail/send", to="${params.boss}", body="It says: ${n1} and $${this}"),
    node("n3", "a:pay/pay", amount="${n2.cost}", to={"iban": "${secrets.iban}"}),
    edges="n1>n2",
)


async def test_a_plan_that_can_be_run_has_none() -> None:
    assert await problems(GOOD, ("boss", "other"), ("iban",)) == []
    assert await problems(plan(node("n1", "a:pay/either", y=1))) == []
    assert await problems(plan(node("n1", "a:fs/read_file", filename="a"), node("n2", "a:pay/either", y="${n1}"))) == []
    assert await problems(plan(node("n1", "write_file", filename="a", content="b"))) == [], "the router knows the owner"


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (
            plan(node("n1", "a:fs/raed_file", filename="a")),
            ["n1: no tool 'a:fs/raed_file' can be reached (did you mean read_file or "],
        ),
        (
            plan(node("n1", "c:fs/read_file", filename="a")),
            ["n1: no tool 'c:fs/read_file' can be reached (read_file is there as a:fs/read_file, b:fs/read_file)"],
        ),
        (plan(node("n1", "a:b:c/d/e f")), ["nodes[0].tool: 'a:b:c/d/e f' is not the name of a tool"]),
        (plan(node("n1", "read_file", filename="a")), ["n1: 'read_file' has 2 owners: a:fs/read_file, b:fs/read_file"]),
        (plan(node("n1", "a:fs/read_file")), ["n1: arguments.filename: it is required and missing (string: Which)"]),
        (
            plan(node("n1", "a:fs/read_file", filename="a", path="b")),
            ["n1: arguments.path: the tool has no argument 'path' (it takes filename)"],
        ),
        (plan(node("n1", "a:pay/pay", amount=0, to={"iban": "x"})), ["n1: arguments.amount: "]),
        (
            plan(node("n1", "a:pay/pay", amount=1, to={})),
            ["n1: arguments.to.iban: it is required and missing (string)"],
        ),
        (plan(node("n1", "a:pay/either")), ["n1: arguments"]),
        (
            plan(node("n1", "a:fs/read_file", filename="x"), node("n2", "a:pay/pay", amount="${n1}", too="y")),
            [
                "n2: arguments.too: the tool has no argument 'too'",
                "n2: arguments.to: it is required and missing (object)",
            ],
        ),
        (
            plan(node("n1", "a:fs/read_file", filename="x"), node("n2", "a:pay/pay", amount="much", to="${n1}")),
            ["n2: arguments.amount: expected integer, got 'much'"],
        ),
        (
            plan(node("n1", "a:fs/read_file", filename="${n2}")),
            ["n1: ${n2}: there is no such node; there are no others"],
        ),
        (plan(node("n1", "a:fs/read_file", filename="${n1}")), ["n1: ${n1} is the result of the node itself"]),
        (
            plan(node("n1", "a:fs/read_file", filename="a"), node("n2", "b:mail/send", to="a", body="${n1.items[*]}")),
            ["n2: arguments.body: a ${...} in it is no reference; write ${n1}"],
        ),
        (
            plan(node("n1", "a:fs/read_file", filename="${params.city}/${params}")),
            [
                "n1: ${params.city} is not given; there are ${params.boss}",
                "n1: ${params} is not given; there are ${params.boss}",
            ],
        ),
        (
            plan(node("n1", "a:fs/read_file", filename="${secrets.x}")),
            ["n1: ${secrets.x} is not given; no secrets are"],
        ),
        (
            plan(
                node("n1", "a:fs/read_file", filename="a"),
                node("n2", "a:fs/read_file", filename="${n1}"),
                edges="n2>n1",
            ),
            ["edges: the nodes wait for each other: "],
        ),
    ],
)
async def test_what_cannot_be_is_told(graph: dict[str, Any], told: list[str]) -> None:
    found = await problems(graph, ("boss",))
    assert [one[: len(other)] for one, other in zip(found, told, strict=True)] == told


async def test_all_of_it_is_told_at_once() -> None:
    graph = plan(
        node("n1", "a:fs/ghost"),
        node("n2", "a:fs/read_file"),
        node("n3", "b:mail/send", to="${n9}", body="${secrets.x}"),
        edges="n1>n2 n2>n1",
    )
    found = await problems(graph)
    assert [each.partition(": ")[0] for each in found] == ["n1", "n2", "n3", "n3"], "a cycle may come of a mistake"


NAMES = st.sampled_from(["filename", "content", "amount", "to", "x", "y", "iban"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["a", "1", "${n0}", "${n1.a[0]}", "${n2} b", "${params.boss}", "${params.no}", "${secrets.x}"])
    | st.sampled_from(["${secrets}", "$${a}", "${", "${n0.*}", "$${n1}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
NODES = st.lists(
    st.tuples(
        st.sampled_from(["a:fs/read_file", "read_file", "write_file", "a:pay/pay", "either", "ghost", "::"]),
        st.dictionaries(NAMES, VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


@given(NODES, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=3))
@example([("a:fs/read_file", {"filename": "a"}), ("a:pay/either", {"x": "${n0}"})], [(0, 1)])
def test_what_has_no_problem_is_taken_and_nothing_else_is_raised(nodes: Any, pairs: list[tuple[int, int]]) -> None:
    edges = [{"source": f"n{a}", "target": f"n{b}"} for a, b in pairs if a != b and max(a, b) < len(nodes)]
    graph = {"nodes": [node(f"n{i}", name, **given) for i, (name, given) in enumerate(nodes)], "edges": edges}

    async def main() -> None:
        at, program = reachable(), json.dumps(graph)
        found = await plan_problems(read_plan(program), at.network, params=["boss"], secrets=["x"])
        try:
            steps = await at.executor.preview(program)
            given_params(plan_of(program), Order({"boss": 1}, {"x": "yyyy"}))
        except PraxisError:
            assert found
        else:
            refused = [step for step in steps if "problem" in step]
            assert found or not refused

    trio.run(main)


def test_a_plan_is_read_as_a_model_gives_it_and_planned_with_what_else_stands_in_it() -> None:
    program = json.dumps({"request": "do ${this}", "say": "It ${does}.", **read_plan(json.dumps(GOOD))})
    assert plan_of(program) == plan_of(json.dumps(GOOD))
