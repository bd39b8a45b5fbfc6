"""Every key of the schema: one value other than its default arrives from YAML, and a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

import attrs
import pytest

from praxis.config.load import ConfigError, load
from praxis.config.schema import (
    A2aAgent,
    Config,
    DeclaredTool,
    McpEndpoint,
    McpServer,
    McpView,
    PeerExport,
    ToolMount,
    ToolParam,
)
from praxis.config.strict import dotted_keys

SERVER = "mcp.servers[]."
ENDPOINT = "agent.external_mcp_endpoints[]."
FOREIGN = "a2a.agents[]."
PEER = "export.peers{}."
VIEW = "mcp.views{}."

TOOL = "tools[]."
TOOL_VALUES: dict[str, tuple[str, object]] = {
    "name": ("count", "count"),
    "engine": ("dagger", "dagger"),
    "description": ("counts", "counts"),
    "params": ("[{name: x}]", (ToolParam("x"),)),
    "params[].name": ("y", "y"),
    "params[].type": ("array", "array"),
    "params[].description": ("a word", "a word"),
    "params[].required": ("true", True),
    "params[].default": ("word", "word"),
    "inputSchema": ("{type: object, properties: {x: {}}}", {"type": "object", "properties": {"x": {}}}),
    "group": ("counters", "counters"),
    "idempotent": ("true", True),
    "read_only": ("true", True),
    "timeout": ("1.5", 1.5),
    "command": ("[wc, -c]", ("wc", "-c")),
    "env": ("{A: b}", {"A": "b"}),
    "env_passthrough": ("[A]", ("A",)),
    "workdir": ("/srv", Path("/srv")),
    "image": ('"busybox:1"', "busybox:1"),
    "pull": ("missing", "missing"),
    "user": ('"1:1"', "1:1"),
    "mounts": ("[{source: /a, target: /b}]", (ToolMount(Path("/a"), "/b"),)),
    "mounts[].source": ("/c", Path("/c")),
    "mounts[].target": ("/d", "/d"),
    "mounts[].read_only": ("true", True),
    "secrets": ("{key: abc}", {"key": "abc"}),
    "artifacts": ("/work", "/work"),
    "cpu": ("0.5", 0.5),
    "memory": ("64m", "64m"),
    "pids": ("10", 10),
    "network": ("bridge", "bridge"),
    "address": ("http://a/mcp", "http://a/mcp"),
    "tool": ("wc", "wc"),
    "headers": ("{X-Key: abc}", {"X-Key": "abc"}),
}
REMOTE = ("address", "tool", "headers")

VALUES: dict[str, tuple[str, object]] = {
    "agent.name": ("bob", "bob"),
    "agent.version": ('"2.0"', "2.0"),
    "agent.description": ("does things", "does things"),
    "agent.url": ("https://bob.example:8443", "https://bob.example:8443"),
    "agent.tags": ("[gpu, image editing]", ("gpu", "image editing")),
    "agent.shared_dir": ("/srv/shared", Path("/srv/shared")),
    "agent.stop_grace": ("0", 0.0),
    "agent.external_mcp_endpoints": ("[http://a/mcp]", (McpEndpoint("http://a/mcp"),)),
    ENDPOINT + "url": ("http://b/mcp", "http://b/mcp"),
    ENDPOINT + "name": ("b", "b"),
    ENDPOINT + "transport": ("sse", "sse"),
    ENDPOINT + "headers": ("{Authorization: Bearer x}", {"Authorization": "Bearer x"}),
    ENDPOINT + "protocol": ("modern", "modern"),
    ENDPOINT + "timeout": ("1.5", 1.5),
    ENDPOINT + "enabled": ("false", False),
    "p2p.enabled": ("false", False),
    "p2p.host": ("0.0.0.0", "0.0.0.0"),
    "p2p.port": ("0", 0),
    "p2p.secure": ("false", False),
    "p2p.rendezvous": ("lab", "lab"),
    "p2p.enable_mdns": ("false", False),
    "p2p.bootstrap_nodes": ('["10.0.0.1:4001", "[::1]:4002"]', ("10.0.0.1:4001", "[::1]:4002")),
    "p2p.advertise_addrs": ('["agent.example:4001"]', ("agent.example:4001",)),
    "p2p.max_peers": ("20", 20),
    "p2p.enable_dht": ("false", False),
    "p2p.security.network_key_file": ("/run/key", Path("/run/key")),
    "p2p.security.mode": ("open", "open"),
    "p2p.security.network_keys": ("[one, two]", ("one", "two")),
    "p2p.security.blocklist": ("[px" + "a" * 52 + "]", ("px" + "a" * 52,)),
    "p2p.security.allow": ("[px" + "b" * 52 + "]", ("px" + "b" * 52,)),
    "p2p.security.ca_files": ("[/etc/ca.pem]", (Path("/etc/ca.pem"),)),
    "p2p.discovery.enabled": ("false", False),
    "p2p.discovery.port": ("4999", 4999),
    "p2p.discovery.targets": ('["10.1.0.7", agents.example, "fd00::7"]', ("10.1.0.7", "agents.example", "fd00::7")),
    "p2p.discovery.multicast": ("false", False),
    "p2p.discovery.broadcast": ("false", False),
    "p2p.discovery.ipv6": ("false", False),
    "p2p.discovery.interval": ("1.5", 1.5),
    "p2p.discovery.interfaces": ("[eth0]", ("eth0",)),
    "p2p.limits.message": ("1000", 1000),
    "p2p.limits.inflight": ("2", 2),
    "p2p.limits.handshakes": ("3", 3),
    "p2p.keepalive.interval": ("5", 5.0),
    "p2p.keepalive.timeout": ("4.5", 4.5),
    "http.enabled": ("false", False),
    "http.host": ('"::1"', "::1"),
    "http.port": ("8001", 8001),
    "http.max_body": ("10", 10),
    "websocket.enabled": ("false", False),
    "websocket.host": ("localhost", "localhost"),
    "websocket.port": ("8091", 8091),
    "websocket.max_message": ("11", 11),
    "websocket.max_clients": ("12", 12),
    "websocket.ping_interval": ("13", 13.0),
    "websocket.pong_timeout": ("90", 90.0),
    "sse.enabled": ("false", False),
    "sse.host": ("localhost", "localhost"),
    "sse.port": ("9001", 9001),
    "access.tokens_file": ("/etc/tokens.json", Path("/etc/tokens.json")),
    "access.allowed_hosts": ("[console.example]", ("console.example",)),
    "access.allowed_origins": ("[https://console.example]", ("https://console.example",)),
    "access.insecure": ("true", True),
    "export.tools": ('["fs/*"]', ("fs/*",)),
    "export.resources": ("[docs]", ("docs",)),
    "mcp.views": ("{bob: {}}", {"bob": McpView()}),
    VIEW + "allow": ('["x/*"]', ("x/*",)),
    VIEW + "deny": ('["y/*"]', ("y/*",)),
    VIEW + "compact": ("true", True),
    "export.peers": ("{bob: {}}", {"bob": PeerExport()}),
    PEER + "allow": ('["x/*"]', ("x/*",)),
    PEER + "deny": ('["y/*"]', ("y/*",)),
    "routing.interchangeable": ("[search]", ("search",)),
    "routing.weights.availability": ("0", 0.0),
    "routing.weights.specialization": ("2", 2.0),
    "routing.weights.load": ("0.5", 0.5),
    "routing.weights.locality": ("10", 10.0),
    "routing.breaker.failures": ("3", 3),
    "routing.breaker.pause": ("0.2", 0.2),
    "runs.max_concurrent": ("1", 1),
    "runs.timeout": ("60", 60.0),
    "runs.queue": ("0", 0),
    "runs.on_restart": ("resume", "resume"),
    "runs.retention.count": ("5", 5),
    "runs.retention.age": ("60", 60.0),
    "runs.cache.enabled": ("true", True),
    "runs.cache.ttl": ("5", 5.0),
    "runs.cache.max_entries": ("5", 5),
    "runs.cache.max_bytes": ("5", 5),
    "mcp.enabled": ("false", False),
    "mcp.servers": ("[{name: a, command: b}]", (McpServer(name="a", command="b"),)),
    SERVER + "name": ("context", "context"),
    SERVER + "command": ("/usr/bin/python3", "/usr/bin/python3"),
    SERVER + "transport": ("http", "http"),
    SERVER + "url": ("http://a/mcp", "http://a/mcp"),
    SERVER + "message_url": ("http://a/message", "http://a/message"),
    SERVER + "headers": ("{X-Key: abc}", {"X-Key": "abc"}),
    SERVER + "protocol": ("legacy", "legacy"),
    SERVER + "roots": ("[/srv/one]", (Path("/srv/one"),)),
    SERVER + "ask": ("[sampling, roots]", ("sampling", "roots")),
    SERVER + "include": ('["read_*"]', ("read_*",)),
    SERVER + "exclude": ('["write_*"]', ("write_*",)),
    SERVER + "args": ('["-m", "x"]', ("-m", "x")),
    SERVER + "env": ("{TOKEN: abc}", {"TOKEN": "abc"}),
    SERVER + "workdir": ("/srv", Path("/srv")),
    SERVER + "timeout": ("2.5", 2.5),
    SERVER + "enabled": ("false", False),
    "mcp.limits.max_concurrent_requests": ("7", 7),
    "mcp.limits.request_timeout_ms": ("8", 8),
    "mcp.limits.max_response_size_bytes": ("9", 9),
    "mcp.limits.connection_pool_size": ("0", 0),
    "mcp.quarantine_changes": ("true", True),
    "mcp.limits.max_servers_per_node": ("10", 10),
    "mcp.limits.retry_attempts": ("0", 0),
    "mcp.limits.retry_backoff_ms": ("1", 1),
    "a2a.enabled": ("false", False),
    "a2a.agents": ("[{name: a, url: 'http://a/'}]", (A2aAgent("a", "http://a/"),)),
    FOREIGN + "name": ("travel", "travel"),
    FOREIGN + "url": ("https://b/card.json", "https://b/card.json"),
    FOREIGN + "headers": ("{X-Key: abc}", {"X-Key": "abc"}),
    FOREIGN + "timeout": ("2.5", 2.5),
    FOREIGN + "enabled": ("false", False),
    "llm.enabled": ("true", True),
    "llm.provider": ("ollama", "ollama"),
    "llm.base_url": ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
    "llm.api_key": ("sk-1", "sk-1"),
    "llm.model": ("small", "small"),
    "llm.max_tokens": ("100", 100),
    "llm.temperature": ("0.7", 0.7),
    "llm.timeout": ("5", 5.0),
    "llm.function_calling": ("false", False),
    "llm.caching.enabled": ("false", False),
    "llm.caching.ttl": ("1", 1.0),
    "llm.caching.max_entries": ("2", 2),
    "llm.rate_limiting.requests_per_minute": ("3", 3),
    "llm.rate_limiting.tokens_per_minute": ("0", 0),
    "logging.level": ("debug", "debug"),
    "logging.format": ("json", "json"),
    "logging.file": ("/var/log/praxis.log", Path("/var/log/praxis.log")),
    "prometheus.enabled": ("false", False),
    "tools": ("[{name: x, engine: process, command: [y]}]", (DeclaredTool("x", "process", command=("y",)),)),
    "agent.tools": ("[{name: x, engine: process, command: [y]}]", (DeclaredTool("x", "process", command=("y",)),)),
    **{place + name: value for place in (TOOL, "agent." + TOOL) for name, value in TOOL_VALUES.items()},
    "containers.socket": ("/run/engine.sock", Path("/run/engine.sock")),
    "state_dir": ("/var/lib/praxis", Path("/var/lib/praxis")),
}
NEEDED = {"p2p.security.ca_files": "mode: ca, "}
"""What stands beside a key that is refused without it."""
NEEDS = {"url": "transport: http, url: 'http://a/', ", "headers": "transport: http, url: 'http://a/', "} | {
    "transport": "url: 'http://a/', ",
    "message_url": "transport: sse, url: 'http://a/', ",
}
"""What a key of a server cannot do without; for all others it is a command."""


_NEEDED = {"name": "x", "url": "'http://a/'"}
"""Of an A2A agent."""


def tool_document(name: str, value: str) -> str:
    """A list of one tool with just this key, and what it cannot do without."""
    remote = name in REMOTE
    needed = {"name": "x", "engine": "remote-mcp" if remote else "container"}
    needed |= {"address": "'http://a/'"} if remote else {"image": "x"}
    if name.startswith(("params[].", "mounts[].")):
        outer, _, name = name.partition("[].")
        inner = {"name": "x"} if outer == "params" else {"source": "/a", "target": "/b"}
        name, value = outer, "[{" + ", ".join(f"{k}: {v}" for k, v in (inner | {name: value}).items()) + "}]"
    return "[{" + ", ".join(f"{k}: {v}" for k, v in (needed | {name: value}).items()) + "}]"


def document(key: str, value: str) -> str:
    """YAML with just this key, and what the section around it cannot do without."""
    if key.startswith(TOOL):
        return f"tools: {tool_document(key.removeprefix(TOOL), value)}"
    if key.startswith("agent." + TOOL):
        return f"agent: {{tools: {tool_document(key.removeprefix('agent.' + TOOL), value)}}}"
    for prefix, around in (
        (SERVER, "mcp: {{servers: [{{{needed}{name}: {value}}}]}}"),
        (ENDPOINT, "agent: {{external_mcp_endpoints: [{{{needed}{name}: {value}}}]}}"),
        (FOREIGN, "a2a: {{agents: [{{{needed}{name}: {value}}}]}}"),
        (PEER, "export: {{peers: {{bob: {{{name}: {value}}}}}}}"),
        (VIEW, "mcp: {{views: {{bob: {{{name}: {value}}}}}}}"),
    ):
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            needed = ""
            if prefix == SERVER:
                needed = NEEDS.get(name, "command: x, ").replace(f"{name}: 'http://a/', ", "")
                needed = needed.replace("command: x, ", "" if name == "command" else "command: x, ")
                needed += "" if name == "name" else "name: x, "
            elif prefix == ENDPOINT and name != "url":
                needed = "url: 'http://a/', "
            elif prefix == FOREIGN:
                needed = "".join(f"{key}: {given}, " for key, given in _NEEDED.items() if key != name)
            return around.format(name=name, value=value, needed=needed)
    parts = key.split(".")
    beside = NEEDED.get(key, "")
    return (
        "{" + ": {".join(parts[:-1]) + (": {" if parts[1:] else "") + f"{beside}{parts[-1]}: {value}" + "}" * len(parts)
    )


def arrived(config: object, key: str) -> object:
    for part in key.replace("[]", ".0").replace("{}", ".bob").split("."):
        config = (
            config[0]
            if isinstance(config, tuple)
            else config[part]
            if isinstance(config, dict)
            else getattr(config, part)
        )
    return config


def defaults() -> dict[str, object]:
    found = dict(walk(Config, ""))
    assert set(found) == set(dotted_keys(Config))
    return found


def walk(kind: Any, path: str) -> list[tuple[str, object]]:
    """Every key with its default; `dotted_keys` has its own way of walking, and the two are compared."""
    found: list[tuple[str, object]] = []
    for field in attrs.fields(attrs.resolve_types(kind)):
        factory = getattr(field.default, "factory", None)
        default = field.default if factory is None else factory()
        inner = next((t for t in (field.type, *get_args(field.type)) if attrs.has(t)), None)
        if inner is None or inner is not field.type:
            found.append((path + field.name, default))
        if inner is not None:
            mark = {tuple: "[]", dict: "{}"}.get(get_origin(field.type), "")
            found += walk(inner, f"{path}{field.name}{mark}.")
    return found


def test_no_key_is_forgotten_here() -> None:
    assert set(VALUES) == set(defaults())


@pytest.mark.parametrize("key", VALUES)
def test_value_arrives(key: str, tmp_path: Path) -> None:
    text, expected = VALUES[key]
    assert expected != defaults()[key]
    file = tmp_path / "agent.yaml"
    file.write_text(document(key, text))
    loaded = load(file, environ={"HOME": "/home/x"})
    got = arrived(loaded.config, key)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize("key", VALUES)
def test_value_of_a_wrong_type_is_refused_with_its_place(key: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    wrong = "3" if get_origin(kind_of(key)) in (tuple, dict) else "[{}]"
    file.write_text("# a comment\n\n" + document(key, wrong))
    with pytest.raises(ConfigError) as error:
        load(file, environ={"HOME": "/home/x"})
    where = key.replace("[]", "[0]").replace("{}", ".bob")
    assert [p.split(": expected ")[0] for p in error.value.problems] == [f"{file}:3: {where}"]


def kind_of(key: str) -> Any:
    kind: Any = Config
    for part in key.replace("[]", "").replace("{}", "").split("."):
        kind = next((t for t in get_args(kind) if attrs.has(t)), kind)
        kind = attrs.fields_dict(attrs.resolve_types(kind))[part].type
    return kind
