"""The keys about A2A. They belong to `praxis.config.schema`, which is where they are imported from."""

from __future__ import annotations

import attrs

from praxis.config.schema_mcp import check_headers, check_source_name
from praxis.config.validators import positive


@attrs.frozen
class A2aAgent:
    """An agent somewhere else that speaks A2A."""

    name: str = attrs.field(validator=check_source_name)
    """What it is called here: its skills are the tools ``NAME/SKILL``."""
    url: str
    """The address of the agent, or of its card."""
    headers: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True}, validator=check_headers)
    """Sent with every request, such as Authorization."""
    timeout: float = attrs.field(default=300.0, validator=positive)
    """Seconds that a task may take; it is cancelled there then."""
    enabled: bool = True


@attrs.frozen
class A2a:
    enabled: bool = True
    """Whether this agent can be reached by A2A itself."""
    agents: tuple[A2aAgent, ...] = ()
    """Agents that this one can hand tasks to."""
