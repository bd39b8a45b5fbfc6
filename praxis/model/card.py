"""The agent card: what an agent says of itself (A2A's words)."""

from __future__ import annotations

import attrs


@attrs.frozen
class Skill:
    """One thing an agent can do; for now each exported tool is one."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...] = ()


@attrs.frozen
class AgentCard:
    """`url` is where the agent's HTTP API can be reached, as far as it knows."""

    name: str
    version: str
    description: str
    url: str
    peer_id: str
    skills: tuple[Skill, ...] = ()
