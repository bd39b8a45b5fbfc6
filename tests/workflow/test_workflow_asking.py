"""Requests in plain language as orders: their time, and what tells them apart."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from praxis.config.schema import Llm
from praxis.model.errors import PraxisError
from praxis.workflow.order import Order, digest_of
from tests.support.fake_http import Exchange
from tests.support.fake_llm import calls, fake_llm
from tests.workflow.executor_kit import ANN, fine, forever, setting

PLAN = {"nodes": [{"id": "n1", "tool": "a:fs/y", "arguments": {"n": 1}}], "edges": [], "say": "It does y."}
SLOW = 20.0


async def slow(exchange: Exchange) -> None:
    await trio.sleep(SLOW)
    await calls(PLAN)(exchange)


async def test_a_request_is_planned_and_run() -> None:
    at = setting(me_x=fine, a_y=fine)
    async with fake_llm(calls(PLAN)) as model:
        asking = at.asking(model.config)
        run = await asking.run("do y", ANN, Order(run_id="mine"))
        await asking.aclose()
    assert (run.id, run.state, run.caller, at.network.asked) == ("mine", "succeeded", "ann", ["a:fs/y"])


async def test_the_timeout_is_for_the_plan_and_the_run(autojump_clock: MockClock) -> None:
    at = setting(a_y=forever)
    async with fake_llm(slow, slow) as model:
        asking = at.asking(model.config)
        with pytest.raises(PraxisError) as caught:
            await asking.run("do y", ANN, Order(timeout=SLOW / 2))
        assert (caught.value.code, caught.value.detail) == ("timeout", "no plan within 10 s")
        began = trio.current_time()
        run = await asking.run("do y", ANN, Order(timeout=SLOW * 2))
        assert trio.current_time() - began == pytest.approx(SLOW * 2, abs=0.5)
        assert run.error is not None and run.error.code == "timeout"
        await asking.aclose()


async def test_without_a_model_nothing_is_run() -> None:
    at = setting(a_y=fine)
    with pytest.raises(PraxisError) as caught:
        await at.asking(Llm()).run("do y", ANN, Order())
    assert (caught.value.code, at.network.asked) == ("unavailable", [])


def test_words_are_told_apart_and_are_no_program() -> None:
    words = Order(request="CALL x")
    assert digest_of("{one plan}", words) == digest_of("{another}", words)
    assert digest_of("CALL x", words) != digest_of("CALL x", Order())
    assert digest_of("", words) != digest_of("", Order(request="CALL y"))
