"""Which era a server is of."""

from __future__ import annotations

from typing import Any

import pytest

from praxis.model.errors import PraxisError
from praxis.wire.mcp import ServerHello
from praxis.wire.mcp_probe import Again, Legacy, judge_answer, judge_refusal

MODERN = "2026-07-28"


def test_a_modern_answer() -> None:
    result: Any = {
        "supportedVersions": ["2030-01-01", MODERN, 7],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s"},
        "instructions": None,
    }
    assert judge_answer(result, MODERN) == ServerHello(MODERN, {"name": "s"}, {"tools": {}}, "")
    # PHP writes [] for {}.
    empty = judge_answer({"supportedVersions": [MODERN], "capabilities": [], "serverInfo": []}, MODERN)
    assert empty == ServerHello(MODERN)
    assert isinstance(empty, ServerHello)
    assert empty.modern


@pytest.mark.parametrize(
    "result",
    [None, [], "hi", {}, *({"supportedVersions": versions} for versions in (None, "2026-07-28", [], ["2025-11-25"]))],
)
def test_answers_of_the_handshake_era(result: Any) -> None:
    assert isinstance(judge_answer(result, MODERN), Legacy)


@pytest.mark.parametrize("code", [-32601, -32602, -32600, -32603, -32000, -1, 0])
def test_every_other_refusal_is_of_the_handshake_era(code: int) -> None:
    assert isinstance(judge_refusal(code, {"supported": [MODERN]}, MODERN), Legacy)


def test_a_refusal_of_the_version() -> None:
    assert judge_refusal(-32022, {"supported": [MODERN, "2030-01-01"]}, MODERN) == Again(MODERN)
    assert isinstance(judge_refusal(-32022, {"supported": ["2025-11-25", "2030-01-01"]}, MODERN), Legacy)
    assert isinstance(judge_refusal(-32022, {"supported": []}, MODERN), Legacy)
    assert isinstance(judge_refusal(-32022, "no", MODERN), Legacy)


def test_a_server_that_only_speaks_what_is_to_come() -> None:
    with pytest.raises(PraxisError, match="it speaks MCP 2030-01-01") as caught:
        judge_refusal(-32022, {"supported": ["2030-01-01"]}, MODERN)
    assert caught.value.code == "unavailable"
    with pytest.raises(PraxisError, match="it speaks MCP 2030-01-01"):
        judge_answer({"supportedVersions": ["2030-01-01"]}, MODERN)
