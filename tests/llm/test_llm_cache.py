"""Plans are kept for a while, and not too many."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from praxis.llm.cache import PlanCache, digest


async def test_a_plan_is_kept_for_its_time(mock_clock: MockClock) -> None:
    cache = PlanCache(10, 5)
    cache.put("a", {"say": "a"})
    mock_clock.jump(9.9)
    assert cache.get("a") == {"say": "a"}
    mock_clock.jump(0.2)
    assert cache.get("a") is None
    assert cache.get("b") is None
    await trio.lowlevel.checkpoint()


async def test_the_one_used_longest_ago_goes_first() -> None:
    cache = PlanCache(10, 2)
    cache.put("a", {})
    cache.put("b", {})
    assert cache.get("a") == {}
    cache.put("c", {})
    assert [cache.get(key) for key in "abc"] == [{}, None, {}]
    cache.forget("a")
    cache.forget("a")
    assert cache.get("a") is None


def test_a_key_is_of_everything_that_was_asked() -> None:
    asked = [("m", [{"content": "x"}], {"type": "object"})]
    asked += [("n", *asked[0][1:]), ("m", [{"content": "y"}], {"type": "object"}), ("m", [{"content": "x"}], {})]
    keys = {digest(*what) for what in asked}
    assert len(keys) == 4
    assert digest("m", [{"content": "x"}], {"type": "object"}) in keys
