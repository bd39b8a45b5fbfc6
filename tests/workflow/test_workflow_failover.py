"""Who takes over when a call fails, and when nobody may."""

from __future__ import annotations

from typing import Any

import pytest

from praxis.model.errors import Code, PraxisError
from praxis.model.tool import ToolRef, ToolResult
from tests.workflow.executor_kit import ANN, fine, setting


@pytest.mark.parametrize("code", ["unavailable", "busy", "not_found"])
async def test_a_call_that_was_not_delivered_goes_to_the_next_candidate(code: Code) -> None:
    error = PraxisError(code, "not now")
    here = setting(("x",), me_x=error, a_x=error, b_x=fine, c_x=fine)
    record = await here.run("CALL x")
    assert here.network.asked == ["me:fs/x", "a:fs/x", "b:fs/x"]
    assert record.state == "succeeded"
    route = record.steps[0].route
    assert route is not None
    assert (route.agent, route.peer, route.others) == ("b", "px-b", ("c:fs/x",))
    assert here.count("failovers") == 2


LOST = [PraxisError("unavailable", "lost", delivered=True), PraxisError("busy", "full", delivered=True)]
REFUSED = [PraxisError(code, "no") for code in ("invalid", "denied", "timeout", "internal")]


@pytest.mark.parametrize("error", LOST + REFUSED, ids=lambda error: error.code)
async def test_a_call_that_may_have_run_or_was_refused_goes_nowhere_else(error: PraxisError) -> None:
    here = setting(("x",), a_x=error, b_x=fine)
    record = await here.run("CALL x")
    assert here.network.asked == ["a:fs/x"]
    assert (record.state, record.error and record.error.code) == ("failed", error.code)


AGAIN = [PraxisError(code, "no", delivered=True) for code in ("unavailable", "busy", "timeout", "internal")]


@pytest.mark.parametrize("error", AGAIN, ids=lambda error: error.code)
@pytest.mark.parametrize("annotations", [{"idempotentHint": True}, {"readOnlyHint": True}], ids=str)
async def test_a_call_that_may_have_run_goes_on_when_twice_is_the_same_as_once(
    annotations: dict[str, bool], error: PraxisError
) -> None:
    here = setting(("x",), annotations, a_x=error, b_x=fine)
    assert (await here.run("CALL x")).state == "succeeded"
    assert here.network.asked == ["a:fs/x", "b:fs/x"]
    assert (await here.executor.call(ToolRef("x"), {}, ANN)).is_error is False
    assert here.count("failovers") == 2


@pytest.mark.parametrize("error", AGAIN, ids=lambda error: error.code)
@pytest.mark.parametrize("annotations", [{"idempotentHint": False}, {"destructiveHint": False}], ids=str)
async def test_a_call_that_may_have_run_is_not_made_again_otherwise(
    annotations: dict[str, bool], error: PraxisError
) -> None:
    here = setting(("x",), annotations, a_x=error, b_x=fine)
    assert (await here.run("CALL x")).state == "failed"
    with pytest.raises(PraxisError):
        await here.executor.call(ToolRef("x"), {}, ANN)
    assert here.network.asked == ["a:fs/x", "a:fs/x"]
    assert here.count("failovers") == 0


REFUSALS = [PraxisError(code, "no", delivered=sent) for code in ("invalid", "denied") for sent in (False, True)]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
async def test_a_refusal_is_an_answer_even_of_an_idempotent_tool(error: PraxisError) -> None:
    here = setting(("x",), {"idempotentHint": True}, a_x=error, b_x=fine)
    assert (await here.run("CALL x")).state == "failed"
    assert here.network.asked == ["a:fs/x"]


async def test_a_result_that_says_it_failed_goes_nowhere_else() -> None:
    async def bad(arguments: dict[str, Any]) -> ToolResult:
        return ToolResult.of_text("bad", is_error=True)

    here = setting(("x",), a_x=bad, b_x=fine)
    assert (await here.run("CALL x")).state == "failed"
    assert here.network.asked == ["a:fs/x"]


async def test_tools_that_are_not_declared_interchangeable_never_take_over() -> None:
    here = setting(me_x=PraxisError("unavailable", "not now"), a_x=fine)
    assert (await here.run("CALL x")).state == "failed"
    assert here.network.asked == ["me:fs/x"]


async def test_when_no_candidate_takes_the_call_the_last_one_is_told_of() -> None:
    here = setting(("x",), a_x=PraxisError("busy", "first"), b_x=PraxisError("unavailable", "second"))
    record = await here.run("CALL x")
    step = record.steps[0]
    assert step.error is not None and step.route is not None
    assert (record.state, step.error.detail, step.route.agent) == ("failed", "second", "b")
