"""The server's side of MCP's handshake era (2024-11-05 to 2025-11-25): what is agreed on in ``initialize``."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from praxis.model.tool import JSON
from praxis.wire import jsonrpc
from praxis.wire.mcp_eras import HANDSHAKE_VERSIONS, LATEST_HANDSHAKE, LOG_LEVELS
from praxis.wire.mcp_server import refusal

BATCHES = "2025-03-26"
"""The one revision with several messages in one."""
POLLING = "2025-11-25"
"""From this revision on a client knows that an empty first event and ``retry`` mean: come back for the rest."""


@attrs.frozen
class Hello:
    """What a client has said in ``initialize``, and the version that holds from then on."""

    version: str
    capabilities: Mapping[str, JSON] = attrs.field(factory=dict)
    client: str = ""
    """Its name and version, for people."""


def read_hello(params: Mapping[str, JSON]) -> Hello:
    """What the params of ``initialize`` say. A version that is not known here is answered with our latest."""
    asked = params.get("protocolVersion")
    version = asked if isinstance(asked, str) and asked in HANDSHAKE_VERSIONS else LATEST_HANDSHAKE
    capabilities = params.get("capabilities")
    client = params.get("clientInfo")
    name = (
        " ".join(str(client.get(key) or "")[:80] for key in ("name", "version")) if isinstance(client, Mapping) else ""
    )
    return Hello(version, capabilities if isinstance(capabilities, Mapping) else {}, name.strip())


def hello_result(
    hello: Hello, info: Mapping[str, JSON], capabilities: Mapping[str, JSON], instructions: str
) -> dict[str, JSON]:
    """The answer to ``initialize``. Extensions are a word of the later era and are left out."""
    result: dict[str, JSON] = {
        "protocolVersion": hello.version,
        "capabilities": {key: value for key, value in capabilities.items() if key != "extensions"},
        "serverInfo": dict(info),
    }
    if instructions:
        result["instructions"] = instructions
    return result


def read_level(params: Mapping[str, JSON]) -> str:
    """The level that ``logging/setLevel`` asks for. Raises PraxisError."""
    level = params.get("level")
    if not isinstance(level, str) or level not in LOG_LEVELS:
        raise refusal(jsonrpc.INVALID_PARAMS, f"{str(level)[:40]!r} is no log level; they are {', '.join(LOG_LEVELS)}")
    return level


def read_uri(params: Mapping[str, JSON]) -> str:
    """The resource that subscribing is about. Raises PraxisError."""
    uri = params.get("uri")
    if not isinstance(uri, str) or not uri:
        raise refusal(jsonrpc.INVALID_PARAMS, "uri is missing")
    return uri


def is_loud_enough(level: JSON, least: str | None) -> bool:
    """Whether a log message of this level goes to a caller who wants `least` and above; None: all."""
    if least is None or level not in LOG_LEVELS:
        return True
    return LOG_LEVELS.index(level) >= LOG_LEVELS.index(least)
