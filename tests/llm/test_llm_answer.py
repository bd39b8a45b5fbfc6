"""A model's answer as a plan: found in whatever stands around it, and refused for what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.llm.answer import MAX_PROBLEMS, BadPlanError, read_plan

NODE = {"id": "n1", "tool": "a:b/c", "arguments": {"x": ["${n0.y[0]}", 1.5, None]}}
PLAN = {"nodes": [NODE, {**NODE, "id": "n2"}], "edges": [{"source": "n1", "target": "n2"}], "say": "Two calls."}
TEXT = json.dumps(PLAN)


def wrong(plan: Any) -> tuple[str, ...]:
    with pytest.raises(BadPlanError) as caught:
        read_plan(plan if isinstance(plan, str) else json.dumps(plan))
    return caught.value.problems


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"\n {json.dumps(PLAN, indent=2)}\n",
        f"Here is the plan:\n```json\n{TEXT}\n```\nIt calls {{two}} tools.",
        f"```\n{TEXT}\n```",
        f"Sure {{thing}}! {TEXT} Anything else?",
        f"<think>I could answer {{}} or {TEXT[:-5]}</think>\n{TEXT}",
    ],
)
def test_a_plan_is_found(text: str) -> None:
    assert read_plan(text) == PLAN


def test_what_may_be_left_out() -> None:
    plan = read_plan('{"nodes": [{"id": "a", "tool": "b:c/d"}]}')
    assert plan == {"nodes": [{"id": "a", "tool": "b:c/d", "arguments": {}}], "edges": [], "say": ""}
    assert read_plan('{"nodes": [], "say": "No\\u202e tool\\n fits."}')["say"] == "No tool fits."


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        ("", "the answer is empty"),
        ("I cannot do that.", "the answer is not one JSON object: Expecting value: line 1 column 1 (char 0)"),
        ("[1]", "the answer is not one JSON object: it is a list"),
        ('{"nodes": [', "the answer is not one JSON object: Expecting value: line 1 column 12 (char 11)"),
        ("[" * 100_000, "the answer is not one JSON object: it is nested too deeply"),
        ('{"nodes": [], "nodes": []}', "the answer is not one JSON object: an object has the same key twice"),
        ('{"nodes": NaN}', "the answer is not one JSON object: NaN is not a JSON number"),
        ('{"nodes": 1e999}', "the answer is not one JSON object: the number 1e999 is too large"),
        ("{}", "nodes is missing"),
        ({"nodes": {}}, "nodes: expected a list, got an object"),
        ({"nodes": []}, "nodes and say are both empty: say what is missing"),
        ({"nodes": [5]}, "nodes[0]: expected an object, got a number"),
        ({"nodes": [{"tool": "t"}]}, "nodes[0].id: expected a name such as n1, got nothing"),
        ({"nodes": [{**NODE, "id": "n 1"}]}, "nodes[0].id: expected a name such as n1, got 'n 1'"),
        ({"nodes": [{**NODE, "id": "params"}]}, "nodes[0].id: expected a name such as n1, got 'params'"),
        ({"nodes": [NODE, NODE]}, "nodes[1].id: n1 is there twice"),
        ({"nodes": [{**NODE, "tool": 5}]}, "nodes[0].tool: expected the name of a tool, got a number"),
        ({"nodes": [{**NODE, "tool": "x" * 401}]}, f"nodes[0].tool: expected the name of a tool, got '{'x' * 59}…'"),
        ({"nodes": [{**NODE, "arguments": "{}"}]}, "nodes[0].arguments: expected an object, got a text"),
        ({"nodes": [{**NODE, "after": []}]}, "nodes[0]: unknown key after; there are id, tool, arguments"),
        ({"nodes": [NODE], "edges": {}}, "edges: expected a list, got an object"),
        ({"nodes": [NODE], "edges": [True]}, "edges[0]: expected an object, got true or false"),
        (
            {"nodes": [NODE], "edges": [{"source": "n1", "target": "n\x1b7"}]},
            "edges[0].target: expected the id of a node, got 'n 7'",
        ),
        ({"nodes": [NODE], "edges": [{"source": "n1", "target": "n1"}]}, "edges[0]: a node cannot wait for itself"),
        ({"nodes": [NODE], "say": 5}, "say: expected a text, got a number"),
        ({**PLAN, "steps": []}, "the plan: unknown key steps; there are nodes, edges, say"),
        ({"nodes": [{**NODE, "id": f"n{n}"} for n in range(65)]}, "nodes: expected at most 64, got 65"),
        ({"nodes": [NODE], "edges": [{}] * 513}, "edges: expected at most 512, got 513"),
        (
            '{"nodes": [{"id": "a", "tool": "t", "arguments": {"x": "\\ud83d"}}]}',
            "a text holds half of a character, such as \\ud83d alone",
        ),
    ],
)
def test_what_is_no_plan(plan: Any, problem: str) -> None:
    assert wrong(plan) == (problem,)


def test_deep_arguments() -> None:
    deep: Any = 1
    for _ in range(31):
        deep = [deep]
    assert read_plan(json.dumps({"nodes": [{**NODE, "arguments": {"x": deep}}]}))
    assert wrong({"nodes": [{**NODE, "arguments": {"x": [deep]}}]}) == ("nodes[0].arguments: more than 32 levels",)


def test_everything_wrong_is_told_at_once_up_to_a_limit() -> None:
    assert len(wrong({"nodes": [5, 5], "edges": 5, "say": 5})) == 4
    assert len(wrong({"nodes": [5] * 60})) == MAX_PROBLEMS


@given(st.text() | st.text(alphabet='{}[]",:nodes`\n ').map(lambda text: '{"nodes":' + text))
def test_garbage_is_no_plan(text: str) -> None:
    try:
        assert set(read_plan(text)) == {"nodes", "edges", "say"}
    except BadPlanError as error:
        assert error.problems
        assert len(str(error)) < 5000
