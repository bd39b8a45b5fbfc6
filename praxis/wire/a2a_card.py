"""The agent card of A2A (sections 4.4 and 8): what anybody may know, and what whoever may use the agent is shown.

The public card says that the agent runs programs. Which tools it has is for callers that it knows: their names and
descriptions tell about the machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from praxis.model.card import AgentCard
from praxis.model.tool import JSON, Tool
from praxis.wire.a2a import Version

PATH = "/a2a/v1"
"""Where JSON-RPC is served."""
MODES = ("text/plain", "application/json")
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
RUNS_PROGRAMS: dict[str, JSON] = {
    "id": "run-program",
    "name": "Run a program",
    "description": "Runs a program of tool calls, as text, or a graph of them, as data with nodes and edges.",
    "tags": ["workflow", "tools"],
    "examples": ["CALL list_files"],
}


def address_of(url: str, host: str | None) -> str:
    """Where a caller reaches this agent: what the agent knows of itself, or the Host that this caller has used; "" for
    an agent that does not listen for HTTP.

    An agent that listens on all addresses does not know which of them a caller can use, but the caller has used one.
    """
    if host and urlsplit(url).hostname in _UNSPECIFIED:
        return f"http://{host}"
    return url.rstrip("/")


def card_of(card: AgentCard, address: str, version: Version, tools: Iterable[Tool] = ()) -> dict[str, JSON]:
    """The card for callers of this version. 0.3 has its fields beside those of 1.0, which read over what they do not
    know; a strict reader of 1.0 says its version and gets nothing else."""
    url = address and address + PATH
    versions = ("1.0", "0.3") if url else ()
    known: dict[str, JSON] = {
        "name": card.name,
        "description": card.description or f"The Praxis agent {card.name}.",
        "version": card.version,
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": spoken} for spoken in versions
        ],
        "capabilities": {"streaming": True, "pushNotifications": False, "extendedAgentCard": True},
        "defaultInputModes": list(MODES),
        "defaultOutputModes": list(MODES),
        "skills": [RUNS_PROGRAMS, *(_skill(tool) for tool in tools)],
    }
    scheme: dict[str, JSON] = {"scheme": "bearer"}
    if version == "1.0":
        # The empty one says that it also goes without: callers on the agent's own machine need no token.
        required: list[JSON] = [{"schemes": {}}, {"schemes": {"token": {"list": []}}}]
        return known | {
            "securitySchemes": {"token": {"httpAuthSecurityScheme": scheme}},
            "securityRequirements": required,
        }
    return known | {
        "url": url,
        "preferredTransport": "JSONRPC",
        "protocolVersion": "0.3.0",
        "supportsAuthenticatedExtendedCard": True,
        "securitySchemes": {"token": {"type": "http", **scheme}},
        "security": [{}, {"token": []}],
    }


def _skill(tool: Tool) -> dict[str, JSON]:
    name = str(tool.ref)
    return {
        "id": name,
        "name": tool.name,
        "description": tool.description or f"The tool {name}.",
        "tags": [tool.agent, tool.source],
    }
