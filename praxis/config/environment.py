"""The variables that stand above the file, and what each of them sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from praxis.config.expand import read_secret
from praxis.config.hooks import MismatchError, Text, structure_bool
from praxis.config.tree import Node, Place, plant

LAYER = 2
VARIABLES: Mapping[str, str] = {
    "AGENT_NAME": "agent.name",
    "AGENT_VERSION": "agent.version",
    "AGENT_DESCRIPTION": "agent.description",
    "AGENT_URL": "agent.url",
    "HTTP_ENABLED": "http.enabled",
    "HTTP_HOST": "http.host",
    "HTTP_PORT": "http.port",
    "WEBSOCKET_HOST": "websocket.host",
    "WEBSOCKET_PORT": "websocket.port",
    "SSE_HOST": "sse.host",
    "SSE_PORT": "sse.port",
    "P2P_ENABLED": "p2p.enabled",
    "P2P_HOST": "p2p.host",
    "P2P_PORT": "p2p.port",
    "MDNS_ENABLED": "p2p.enable_mdns",
    "DISCOVERY_PORT": "p2p.discovery.port",
    "MCP_ENABLED": "mcp.enabled",
    "LLM_ENABLED": "llm.enabled",
    "LLM_BASE_URL": "llm.base_url",
    "OPENAI_MODEL": "llm.model",
    "LLM_MODEL": "llm.model",
    "LOG_LEVEL": "logging.level",
    "LOG_FORMAT": "logging.format",
    "PROMETHEUS_ENABLED": "prometheus.enabled",
    "PRAXIS_STATE_DIR": "state_dir",
}
"""Variables with one value. An empty one counts as not set: compose files pass those on for what nobody gave. Of two
for one key the later one counts."""

LISTS: Mapping[str, str] = {"BOOTSTRAP_PEERS": "p2p.bootstrap_nodes"}
"""Variables with values between commas."""

INSECURE = "INSECURE_P2P"
"""True means `p2p.secure: false`: the one variable that says the opposite of its key."""
NETWORK_KEY = "PRAXIS_NETWORK_KEY"
"""The network key itself; with ``_FILE`` behind it, the path of a file that holds it."""
API_KEY = "OPENAI_API_KEY"
"""The key of the model's provider; with ``_FILE`` behind it, the path of a file that holds it."""


@attrs.frozen
class Environment:
    layers: tuple[Node, ...]
    problems: tuple[str, ...]


def read_environment(environ: Mapping[str, str]) -> Environment:
    """What the environment sets, each variable a tree of its own, and what is wrong with the key's file."""
    layers = [
        plant(tuple(path.split(".")), Node(Text(value), _place(name)))
        for name, path, value in _given(VARIABLES, environ)
    ]
    for name, path, value in _given(LISTS, environ):
        items = [Node(Text(item.strip()), _place(name)) for item in value.split(",") if item.strip()]
        layers.append(plant(tuple(path.split(".")), Node(list(items), _place(name))))
    problems: list[str] = []
    if insecure := environ.get(INSECURE):
        try:
            secure = not structure_bool(Text(insecure), bool)
            layers.append(plant(("p2p", "secure"), Node(secure, _place(INSECURE))))
        except MismatchError as error:
            problems.append(f"environment {INSECURE}: expected {error.expected}, got {insecure!r}")
    key, file = environ.get(NETWORK_KEY), environ.get(f"{NETWORK_KEY}_FILE")
    if key and file:
        problems.append(f"environment: {NETWORK_KEY} and {NETWORK_KEY}_FILE are both set; only one can be meant")
    elif key:
        place = _place(NETWORK_KEY)
        secret = Node(Text(key, reference=f"${{{NETWORK_KEY}}}"), place)
        layers.append(plant(("p2p", "security", "network_keys"), Node([secret], place)))
    elif file:
        try:
            read_secret(Path(file), f"{NETWORK_KEY}_FILE")
        except ValueError as error:
            problems.append(f"environment {error}")
        else:
            place = _place(f"{NETWORK_KEY}_FILE")
            layers.append(plant(("p2p", "security", "network_key_file"), Node(Text(file), place)))
    try:
        if api_key := _read_api_key(environ):
            layers.append(plant(("llm", "api_key"), api_key))
    except ValueError as error:
        problems.append(f"environment{error}")
    return Environment(tuple(layers), tuple(problems))


def _read_api_key(environ: Mapping[str, str]) -> Node | None:
    """Raises ValueError that never repeats the key. Its reference is the same for both ways, as a file would say it."""
    key, file = environ.get(API_KEY), environ.get(f"{API_KEY}_FILE")
    if key and file:
        raise ValueError(f": {API_KEY} and {API_KEY}_FILE are both set; only one can be meant")
    name = API_KEY
    if file:
        name = f"{API_KEY}_FILE"
        try:
            key = read_secret(Path(file), name)
        except ValueError as error:
            raise ValueError(f" {error}") from None
    return Node(Text(key.strip(), reference=f"${{{API_KEY}}}"), _place(name)) if key else None


def _given(table: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, path in table.items():
        if value := environ.get(name):
            yield name, path, value


def _place(name: str) -> Place:
    label = f"environment {name}"
    return Place(label, label, Path.cwd(), (LAYER, 0))
