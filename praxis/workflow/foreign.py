"""How a program names an A2A agent somewhere else: its skills are tools of this agent, of the source of its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from praxis.config.schema import A2aAgent
from praxis.model.errors import PraxisError
from praxis.model.tool import ToolRef, is_address
from praxis.wire.a2a_foreign_card import same_address


class ForeignAgents:
    """The A2A agents of the configuration, as they are called in tools' names. `agent` is this agent's own name."""

    def __init__(self, agent: str, agents: Sequence[A2aAgent]) -> None:
        self._agent = agent
        self._names = frozenset(each.name for each in agents)
        self._by_address = {same_address(each.url): each.name for each in agents}

    def resolve(self, ref: ToolRef, is_peer: Callable[[str], bool]) -> ToolRef:
        """The tool of this agent that is meant, or `ref` itself where it names nobody of the configuration.

        An address leads only where the configuration allows: a program may come from a stranger or a model, and must
        not choose which hosts this agent talks to.

        Raises PraxisError: ``not_found`` for an address that is not configured, ``ambiguous`` for a name that an
        agent of the network has, too, ``invalid`` for a source that is another.
        """
        if ref.agent is None:
            return ref
        if is_address(ref.agent):
            source = self._find(ref.agent)
        elif ref.agent in self._names:
            source = ref.agent
            if is_peer(source):
                here = str(ToolRef(ref.name, source, self._agent))
                told = f"{source} is the name of an A2A agent and of an agent of the network"
                raise PraxisError("ambiguous", told, hint=f"write {here} for the A2A agent, or rename it in a2a.agents")
        else:
            return ref
        if ref.source not in (None, source):
            told = f"the A2A agent {source} has no source {ref.source}"
            raise PraxisError("invalid", told, hint=f"its skills are {source}/SKILL")
        return attrs.evolve(ref, source=source, agent=self._agent)

    def _find(self, address: str) -> str:
        try:
            found = self._by_address.get(same_address(address))
        except ValueError:
            found = None
        if found is None:
            hint = "give it a name: `a2a: {agents: [{name: NAME, url: ADDRESS}]}`; a program alone cannot choose hosts"
            raise PraxisError("not_found", f"no A2A agent with the address {address[:200]} is configured", hint=hint)
        return found
