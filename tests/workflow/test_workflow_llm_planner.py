"""Plain language to plans: by a model that is right, wrong once, wrong always, or not there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from praxis.config.schema import Caching, Llm
from praxis.model.errors import PraxisError
from praxis.model.tool import Tool
from praxis.observe.metrics import Metrics
from praxis.workflow.llm_planner import LlmPlanner
from tests.llm.llm_kit import MAIL, READ, TOOLS, tool
from tests.support.fake_http import Handler
from tests.support.fake_llm import KEY, NOW, FakeLlm, calls, cut, fake_llm, refuses, says, whole

PLAN = {"nodes": [{"id": "n1", "tool": "a:fs/read_file", "arguments": {"filename": "a"}}], "edges": [], "say": "Reads."}
GHOST = {**PLAN, "nodes": [{"id": "n1", "tool": "a:fs/ghost", "arguments": {}}]}
NOTHING = {"nodes": [], "edges": [], "say": "There is no tool for coffee."}


class Known:
    """Checks that the tools are there."""

    def __init__(self, tools: Sequence[Tool] = TOOLS) -> None:
        self.names = {str(tool.ref) for tool in tools}
        self.asked: list[Mapping[str, Any]] = []

    async def __call__(self, plan: Mapping[str, Any]) -> Sequence[str]:
        self.asked.append(plan)
        return [f"{n['id']}: there is no tool {n['tool']}" for n in plan["nodes"] if n["tool"] not in self.names]


@attrs.define
class Planning:
    planner: LlmPlanner
    server: FakeLlm
    check: Known = attrs.field(factory=Known)

    async def plan(self, text: str = "read the file a", tools: Sequence[Tool] = TOOLS, **names: Any) -> Any:
        return await self.planner.plan(text, tools, self.check, **names)


@asynccontextmanager
async def planning(*turns: Handler, **config: Any) -> AsyncIterator[Planning]:
    async with fake_llm(*turns, **config) as server:
        planner = LlmPlanner(server.config, metrics=server.metrics, clock=lambda: NOW, chance=Random(1))
        try:
            yield Planning(planner, server)
        finally:
            await planner.aclose()


async def test_a_plan() -> None:
    async with planning(calls(PLAN)) as it:
        assert await it.plan(params=("city",), secrets=("TOKEN",)) == PLAN
        assert it.check.asked == [PLAN]
        (body,) = it.server.asked
        assert "${params.city}" in body["messages"][0]["content"]
        assert "${secrets.TOKEN}" in body["messages"][0]["content"]
        assert "read the file a" in body["messages"][1]["content"]
        assert 'praxis_llm_plans_total{outcome="planned"} 1' in it.server.metrics.render()


async def test_a_plan_in_a_fence_by_a_server_that_takes_no_schema() -> None:
    fenced = whole(f"Here you are:\n```json\n{json.dumps(PLAN)}\n```")
    async with planning(refuses(400, "response_format?"), fenced, function_calling=False) as it:
        assert await it.plan() == PLAN


async def test_no_tool_fits() -> None:
    async with planning(calls(NOTHING)) as it:
        assert await it.plan("make coffee") == NOTHING
        assert it.check.asked == []


async def test_without_any_tool_nobody_is_asked() -> None:
    async with planning() as it:
        plan = await it.plan(tools=[])
        assert (plan["nodes"], plan["say"]) == ([], "There is no tool here that a plan could call.")


async def test_a_tool_that_is_not_there_is_mended() -> None:
    async with planning(calls(GHOST), calls(PLAN)) as it:
        assert await it.plan() == PLAN
        first, second = it.server.asked
        assert second["messages"][:2] == first["messages"]
        assert json.loads(second["messages"][2]["content"]) == GHOST
        assert "\n- n1: there is no tool a:fs/ghost\n" in second["messages"][3]["content"]
        assert 'praxis_llm_plans_total{outcome="repaired"} 1' in it.server.metrics.render()


async def test_what_is_no_plan_is_mended() -> None:
    async with planning(says("I would read the file."), calls(PLAN)) as it:
        assert await it.plan() == PLAN
        assert "- the answer is not one JSON object" in it.server.asked[1]["messages"][3]["content"]


async def test_a_model_that_does_not_learn() -> None:
    async with planning(says("No."), calls(GHOST)) as it:
        with pytest.raises(PraxisError) as caught:
            await it.plan()
        error = caught.value
        assert error.code == "invalid"
        assert error.detail == "the model small gave no usable plan: n1: there is no tool a:fs/ghost"
        assert error.data == {"problems": ["n1: there is no tool a:fs/ghost"]}
        assert "CALL" in error.hint
        assert 'praxis_llm_plans_total{outcome="unusable"} 1' in it.server.metrics.render()


async def test_problems_are_bounded() -> None:
    async def everything_is_wrong(plan: Mapping[str, Any]) -> Sequence[str]:
        return ["x\x1b[31m" * 1000] * 1000

    async with planning(calls(PLAN), calls(PLAN)) as it:
        with pytest.raises(PraxisError) as caught:
            await it.planner.plan("x", TOOLS, everything_is_wrong)
        assert len(str(caught.value)) < 3000
        assert "\x1b" not in str(caught.value)
        assert len(json.dumps(it.server.asked[1])) < len(json.dumps(it.server.asked[0])) + 4000


async def test_what_the_client_cannot_do_is_told(autojump_clock: MockClock) -> None:
    async with planning(refuses(401, f"wrong: {KEY}")) as it:
        with pytest.raises(PraxisError, match="does not accept the API key") as caught:
            await it.plan()
        assert KEY not in str(caught.value)
    async with planning(calls(GHOST), cut, cut, cut, cut) as it:
        with pytest.raises(PraxisError) as caught:
            await it.plan()
        assert caught.value.code == "unavailable"


# -- many tools -------------------------------------------------------------------------------------


async def test_of_many_tools_those_that_the_request_is_about_are_shown() -> None:
    many = [tool(f"t{number}", "Does something.") for number in range(500)]
    async with planning(calls(PLAN)) as it:
        await it.plan("Send an e-mail with the text of the file a", [*many, READ, MAIL])
        names = it.server.asked[0]["tools"][0]["function"]["parameters"]["properties"]["nodes"]["items"]["properties"]
        assert len(names["tool"]["enum"]) == 40
        assert {"b:mail/send", "a:fs/read_file"} < set(names["tool"]["enum"])


# -- plans that are kept ----------------------------------------------------------------------------


async def test_the_same_request_is_planned_once(autojump_clock: MockClock) -> None:
    async with planning(calls(GHOST), calls(PLAN), calls(PLAN), calls(PLAN), calls(PLAN)) as it:
        assert [await it.plan(), await it.plan(tools=TOOLS[::-1])] == [PLAN, PLAN]
        assert len(it.server.asked) == 2
        assert len(it.check.asked) == 3, "also a plan that was kept is checked"
        await it.plan("read the file b")
        await it.plan(tools=TOOLS[:2])
        assert len(it.server.asked) == 4
        assert 'praxis_llm_plans_total{outcome="cached"} 1' in it.server.metrics.render()
        autojump_clock.jump(301)
        await it.plan()
        assert len(it.server.asked) == 5


async def test_a_kept_plan_that_does_not_fit_any_more_is_made_again() -> None:
    other = {**PLAN, "say": "Again."}
    async with planning(calls(PLAN), calls(other)) as it:
        await it.plan()
        verdicts = [["gone"], []]

        async def check(plan: Mapping[str, Any]) -> Sequence[str]:
            return verdicts.pop(0)

        assert await it.planner.plan("read the file a", TOOLS, check) == other


async def test_nothing_is_kept_when_nothing_is_to_be() -> None:
    async with planning(calls(PLAN), calls(PLAN), caching=Caching(enabled=False)) as it:
        assert [await it.plan(), await it.plan()] == [PLAN, PLAN]
    async with planning(calls(PLAN), calls(PLAN), calls(PLAN), caching=Caching(max_entries=1)) as it:
        for text in ("one", "two", "one"):
            await it.plan(text)


# -- no model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "lacks"),
    [
        (Llm(), "llm.enabled is false"),
        (Llm(enabled=True), "llm.api_key is not set"),
        (Llm(enabled=True, provider="ollama"), "llm.model is not set"),
    ],
)
async def test_without_a_model_the_closest_tools_are_named(config: Llm, lacks: str) -> None:
    planner = LlmPlanner(config, metrics=Metrics(), clock=lambda: NOW, chance=Random(1))
    more = [*TOOLS, *(tool(f"file_{n}") for n in range(9)), tool("a b", "file a")]
    with pytest.raises(PraxisError) as caught:
        await planner.plan("write the file a", more, Known())
    error = caught.value
    assert error.code == "unavailable"
    assert error.detail.startswith(f"plain language needs a model, and there is none: {lacks}; the closest tools are ")
    assert len(error.data["tools"]) == 3
    assert error.data["tools"][0] == "a:fs/write_file"
    assert all(name in error.detail for name in error.data["tools"])
    assert "OPENAI_API_KEY" in error.hint


async def test_without_a_model_and_without_a_tool_that_is_close() -> None:
    planner = LlmPlanner(Llm(), metrics=Metrics(), clock=lambda: NOW, chance=Random(1))
    with pytest.raises(PraxisError) as caught:
        await planner.plan("qwertz", TOOLS, Known())
    assert caught.value.detail.endswith("llm.enabled is false")


async def test_a_request_that_is_none() -> None:
    async with planning() as it:
        for text, code in (("  ", "invalid"), ("x" * 9000, "too_large")):
            with pytest.raises(PraxisError) as caught:
                await it.plan(text)
            assert caught.value.code == code
