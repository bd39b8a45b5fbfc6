"""The one question that every entrance asks: may this principal do that?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from praxis.access.principal import Principal, Role
from praxis.config.schema import Export, PeerExport
from praxis.model.errors import PraxisError
from praxis.model.tool import Tool

Action = Literal["read", "run", "admin", "call"]
"""`read` looks, `run` makes tools run, `admin` changes the agent, `call` is a peer calling one exported tool."""

_ALLOWED: dict[Role, frozenset[Action]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "run"}),
    "admin": frozenset({"read", "run", "admin"}),
}


class Policy:
    """What roles may do, and what the configuration exports to peers."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def authorize(self, principal: Principal, action: Action, object: Tool | None = None) -> None:
        """Raises PraxisError("denied") with the reason."""
        if principal.kind == "peer":
            if action != "call" or object is None:
                raise PraxisError("denied", f"a peer may not {action} here")
            if not self._exports(object, principal):
                raise PraxisError(
                    "denied",
                    f"{object.source}/{object.name} is not exported to {principal.name}",
                    hint="export.tools in that agent's configuration says what peers may call",
                )
            return
        if action not in _ALLOWED[principal.role]:
            raise PraxisError(
                "denied",
                f"the role {principal.role} may not {action}",
                hint="`praxis token new --role ...` makes a token with another role",
            )

    def exported(self, tools: Iterable[Tool], peer: Principal) -> list[Tool]:
        """Those of `tools` that this peer may see and call."""
        return [tool for tool in tools if self._exports(tool, peer)]

    def offered(self, tools: Iterable[Tool]) -> list[Tool]:
        """Those of `tools` that peers in general may see and call."""
        return [tool for tool in tools if _matches(tool, self._export.tools)]

    def exports_resources(self, peer: Principal, source: str) -> bool:
        """Whether a peer may use what a source has besides tools."""
        if not any(fnmatchcase(source, glob) for glob in self._export.resources):
            return False
        whole = f"{source}/*"
        return all(_any(rule.allow, whole) and not _any(rule.deny, whole) for rule in self._rules(peer))

    def authorize_resources(self, peer: Principal, source: str) -> None:
        """Raises PraxisError("denied") with the reason."""
        if not self.exports_resources(peer, source):
            raise PraxisError(
                "denied",
                f"the resources and prompts of {source} are not exported to {peer.name}",
                hint="export.resources in that agent's configuration names sources whose resources peers may use",
            )

    def _rules(self, peer: Principal) -> list[PeerExport]:
        rules = (self._export.peers.get(name) for name in (peer.name, peer.peer_id or ""))
        return [rule for rule in rules if rule is not None]

    def _exports(self, tool: Tool, peer: Principal) -> bool:
        if not _matches(tool, self._export.tools):
            return False
        return all(_matches(tool, rule.allow) and not _matches(tool, rule.deny) for rule in self._rules(peer))


def _any(globs: Sequence[str], text: str) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _matches(tool: Tool, globs: Sequence[str]) -> bool:
    names = (tool.name, f"{tool.source}/{tool.name}")
    return any(fnmatchcase(name, glob) for glob in globs for name in names)
