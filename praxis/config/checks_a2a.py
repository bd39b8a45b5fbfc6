"""What is wrong with A2A agents beside each other and beside other sources of tools, and with the keys of each."""

from __future__ import annotations

from collections.abc import Iterator

from praxis.config.checks_tools import URL
from praxis.config.schema import Config
from praxis.config.strict import PathTo, Problem, dotted
from praxis.wire.a2a_foreign_card import same_address

MAX_AGENTS = 64
"""A2A agents of one agent, as many as MCP servers."""


def check_agents(config: Config) -> Iterator[Problem]:
    """Names are those of sources, so nothing else may have them; a program names an agent by its address, too."""
    agents = config.a2a.agents
    taken: dict[str, PathTo] = {}
    servers = len(config.mcp.servers)
    for index, server in enumerate(config.mcp_servers):
        there: PathTo = ("mcp", "servers", index)
        taken.setdefault(
            server.name, there if index < servers else ("agent", "external_mcp_endpoints", index - servers)
        )
    kinds = {tool.kind for tool in config.declared_tools}
    addresses: dict[str, PathTo] = {}
    for index, agent in enumerate(agents):
        path: PathTo = ("a2a", "agents", index)
        if agent.name in taken:
            other = taken[agent.name]
            what = f"{agent.name!r} is already the name of {dotted(other)}"
            yield Problem((*path, "name"), what, beside=((*other, "name"),))
        elif agent.name in kinds:
            what = f"{agent.name!r} is the name of the source of tools that are declared; choose another"
            yield Problem((*path, "name"), what, beside=(("tools",), ("agent", "tools")))
        elif agent.name == config.agent.name:
            yield Problem((*path, "name"), "is the name of this agent", beside=(("agent", "name"),))
        taken.setdefault(agent.name, path)
        if not is_address(agent.url):
            yield Problem((*path, "url"), f"expected http://HOST/PATH or https://HOST/PATH, got {agent.url[:80]!r}")
            continue
        address = same_address(agent.url)
        if address in addresses:
            other = addresses[address]
            yield Problem((*path, "url"), f"is already the address of {dotted(other)}", beside=((*other, "url"),))
        addresses.setdefault(address, path)
    if len(agents) > MAX_AGENTS:
        yield Problem(("a2a", "agents"), f"expected at most {MAX_AGENTS} agents, got {len(agents)}")


def is_address(text: str) -> bool:
    """Whether this is an address whose port, if it has one, is one."""
    if not URL.fullmatch(text):
        return False
    try:
        same_address(text)
    except ValueError:
        return False
    return True
