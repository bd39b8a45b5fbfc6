"""Which era a server is of, from its answer to ``server/discover``.

A server of 2026-07-28 answers with what it speaks, or refuses the version with the ones that it does speak. Whatever
else a server does, refuse with any code, answer nonsense, stay silent or end, it is of the handshake era: all of that
was seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.wire.mcp import ServerHello, show
from praxis.wire.mcp_eras import HEADER_MISMATCH, MISSING_CAPABILITY, MODERN_VERSIONS, UNSUPPORTED_VERSION

Era = Literal["legacy", "modern"]

PROBE_LIMIT = 10.0
"""Seconds to wait for the answer (the MCP SDKs' figure)."""
MAX_VERSIONS = 32
"""Versions that are looked at; a year brings one to three."""


@attrs.frozen
class Again:
    """The server is modern and wants to be asked in this version."""

    version: str


@attrs.frozen
class Legacy:
    """The server is of the handshake era; `reason` says what it did."""

    reason: str


Verdict = ServerHello | Again | Legacy


def judge_answer(result: JSON, asked: str) -> Verdict:
    """What a successful answer to ``server/discover``, asked in the version `asked`, says.

    Raises PraxisError("unavailable") for a modern server without a version in common.
    """
    if not isinstance(result, dict) or not isinstance(result.get("supportedVersions"), list):
        return Legacy(f"it answers server/discover with {show(result, 60)}")
    offered = result["supportedVersions"][:MAX_VERSIONS]
    if asked in offered:
        return ServerHello.of(asked, result)
    common = _common(offered)
    return ServerHello.of(common, result) if common else _foreign(offered)


def judge_refusal(code: int, data: JSON, asked: str) -> Verdict:
    """What an error in answer to ``server/discover`` says. Raises PraxisError("unavailable") as `judge_answer` does."""
    if code != UNSUPPORTED_VERSION:
        return Legacy(f"it refuses server/discover ({code})")
    offered = data.get("supported") if isinstance(data, dict) else None
    if not isinstance(offered, list):
        return Legacy("it refuses the version of server/discover and names no other")
    common = _common(offered[:MAX_VERSIONS])
    return Again(common) if common else _foreign(offered)


def is_modern_error(code: int) -> bool:
    """Whether only a server of 2026-07-28 refuses with this code."""
    return code in (HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION)


def _common(offered: Iterable[JSON]) -> str:
    """The latest version that both sides speak, or ""."""
    return max((version for version in MODERN_VERSIONS if version in offered), default="")


def _foreign(offered: list[JSON]) -> Verdict:
    """Without a modern version in common: the handshake, unless only modern ones are offered."""
    if not offered or any(isinstance(version, str) and version < MODERN_VERSIONS[0] for version in offered):
        return Legacy(f"it speaks {show(', '.join(map(str, offered)), 100) or 'no version'}")
    raise PraxisError(
        "unavailable",
        f"it speaks MCP {show(', '.join(map(str, offered)), 100)}",
        hint=f"it must speak one of {', '.join(MODERN_VERSIONS)} or begin with a handshake",
    )
