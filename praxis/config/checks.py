"""What no single key can be blamed for: keys that contradict each other, and text with a form of its own."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import attrs

from praxis.config.checks_a2a import check_agents
from praxis.config.checks_tools import URL, check_tools
from praxis.config.schema import P2P, PEER_ID, Config, Http, McpServer, Sse, WebSocket
from praxis.config.strict import SHOWN, PathTo, Problem, dotted
from praxis.wire.beacon import MAX_ADDRESSES_SIZE, is_address

_Listener = Http | WebSocket | Sse | P2P
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  # compared with, never bound
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")
_NAME = re.compile(r"(?!-)[\w-]{1,63}(?<!-)(\.(?!-)[\w-]{1,63}(?<!-))*\.?")
MAX_NAME = 253
"""Characters of a name of a host (RFC 1035)."""
MAX_ADVERTISED = 8
"""Addresses to advertise: what an agent tells of itself holds 16, and half of them are for where it is seen to be."""
MAX_ADVERTISED_LENGTH = 128
"""Characters of one of them, as much as peers take."""


def check(config: Config, state_dir: Path) -> Iterator[Problem]:
    """Everything wrong with a configuration whose every key is right by itself."""
    yield from _listeners(config)
    yield from check_servers(config)
    yield from check_tools(config)
    yield from check_agents(config)
    yield from _network(config)
    yield from _folders(config, state_dir)
    if config.websocket.pong_timeout <= config.websocket.ping_interval:
        what = (
            f"expected more than ping_interval, which is {config.websocket.ping_interval:g}, "
            f"got {config.websocket.pong_timeout:g}: every client would be cut off before it is asked"
        )
        yield Problem(("websocket", "pong_timeout"), what, beside=(("websocket", "ping_interval"),))
    for index, origin in enumerate(config.access.allowed_origins):
        if not _ORIGIN.fullmatch(origin):
            what = f"expected an origin such as https://console.example, got {origin!r}"
            yield Problem(("access", "allowed_origins", index), what)
    if config.llm.base_url and (not URL.fullmatch(config.llm.base_url) or "?" in config.llm.base_url):
        what = f"expected http://HOST/PATH or https://HOST/PATH, got {config.llm.base_url[:SHOWN]!r}"
        yield Problem(("llm", "base_url"), what)
    if config.agent.url and not re.fullmatch(r"https?://[^/\s]+\S*", config.agent.url):
        yield Problem(("agent", "url"), f"expected an http or https address, got {config.agent.url!r}")


def _listeners(config: Config) -> Iterator[Problem]:
    listeners: dict[str, _Listener] = {
        "http": config.http,
        "websocket": config.websocket,
        "sse": config.sse,
        "p2p": config.p2p,
    }
    for name, section in listeners.items():
        if not _is_host(section.host):
            got = repr(section.host[:SHOWN]) if section.host.strip() else "nothing"
            what = f"expected a host, got {got} (127.0.0.1 for this machine only, 0.0.0.0 for everybody)"
            yield Problem((name, "host"), what)
    for (first, one), (second, other) in combinations(listeners.items(), 2):
        overlap = one.host == other.host or {one.host, other.host} & _EVERYWHERE
        if one.enabled and other.enabled and overlap and one.port == other.port != 0:
            usual = attrs.fields_dict(type(other))["port"].default
            guilty, taken = (first, second) if other.port == usual else (second, first)  # a default is never to blame
            what = f"port {other.port} is already taken by {taken}.port"
            beside = tuple((name, key) for name in (first, second) for key in ("enabled", "host", "port"))
            yield Problem((guilty, "port"), what, beside=beside)


def check_servers(config: Config) -> Iterator[Problem]:
    """What is wrong with the MCP servers beside each other, and with the keys of each."""
    first: dict[str, PathTo] = {}
    given = len(config.mcp.servers)
    for index, server in enumerate(config.mcp_servers):
        path: PathTo = ("mcp", "servers", index)
        if index >= given:
            path = ("agent", "external_mcp_endpoints", index - given)
        if server.name in first:
            other = first[server.name]
            what = f"{server.name!r} is already the name of {dotted(other)}"
            yield Problem((*path, "name"), what, beside=((*other, "name"),))
        first.setdefault(server.name, path)
        yield from (_program if server.transport == "stdio" else _remote)(server, path)
        if server.roots and "roots" in server.ask:
            yield Problem((*path, "ask"), "roots are given too; only one can be meant")
    most = config.mcp.limits.max_servers_per_node
    if len(first) > most:
        what = f"{len(config.mcp_servers)} servers are more than mcp.limits.max_servers_per_node, which is {most}"
        yield Problem(("mcp", "servers"), what, beside=(("mcp", "limits", "max_servers_per_node"),))


def _program(server: McpServer, path: PathTo) -> Iterator[Problem]:
    if not server.command and server.url:
        yield Problem((*path, "transport"), "expected 'http' or 'sse' for a server with a url, got 'stdio'")
    elif not server.command:
        yield Problem((*path, "command"), "is missing: a server with transport stdio is a program")
    yield from _meaningless(server, path, "url" if server.command else "", "headers", "message_url")


def _remote(server: McpServer, path: PathTo) -> Iterator[Problem]:
    if not server.url:
        yield Problem((*path, "url"), f"is missing: a server with transport {server.transport} has one")
    for key, url in (("url", server.url), ("message_url", server.message_url)):
        if url and not URL.fullmatch(url):
            yield Problem((*path, key), f"expected http://HOST/PATH or https://HOST/PATH, got {url[:80]!r}")
    other = "" if server.transport == "sse" else "message_url"
    if server.message_url and not other and _origin(server.url) != _origin(server.message_url):
        yield Problem((*path, "message_url"), "expected the scheme, host and port of the url")
    yield from _meaningless(server, path, "command", "args", "env", "workdir", other)


def _meaningless(server: McpServer, path: PathTo, *keys: str) -> Iterator[Problem]:
    for key in keys:
        if key and getattr(server, key):
            yield Problem((*path, key), f"means nothing for a server with transport {server.transport}")


def _origin(url: str) -> str:
    return "/".join(url.lower().split("/")[:3])


def _network(config: Config) -> Iterator[Problem]:
    security = config.p2p.security
    section: PathTo = ("p2p", "security")
    if security.network_keys and security.network_key_file:
        what = "network_keys are given too; only one can be meant"
        yield Problem((*section, "network_key_file"), what, beside=((*section, "network_keys"),))
    mode: tuple[PathTo, ...] = ((*section, "mode"), ("p2p", "secure"))
    if config.p2p.trust.mode != "ca":
        if security.ca_files:
            what = f"the mode {config.p2p.trust.mode} has no CAs, only ca has"
            yield Problem((*section, "ca_files"), what, beside=mode)
        for index, peer in enumerate(security.allow):
            if not PEER_ID.fullmatch(peer):
                what = (
                    f"expected a peer id, got {peer!r}: names count in the mode ca alone, where a CA vouches for them"
                )
                yield Problem((*section, "allow", index), what, beside=mode)
    for index, node in enumerate(config.p2p.bootstrap_nodes):
        peer, _, address = node.rpartition("@")
        host, _, port = address.rpartition(":")
        named = not peer or PEER_ID.fullmatch(peer)
        if not named or not _is_dialed(host) or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            what = f"expected HOST:PORT or PEER_ID@HOST:PORT, got {node!r}"
            yield Problem(("p2p", "bootstrap_nodes", index), what)
    yield from _advertised(config.p2p)


def _advertised(config: P2P) -> Iterator[Problem]:
    """Other agents are told of these in beacons and records, which have no room for more, or for anything else."""
    path: PathTo = ("p2p", "advertise_addrs")
    for index, address in enumerate(config.advertise_addrs):
        host = address.rpartition(":")[0]
        known = is_address(address) and _is_dialed(host) and host.strip("[]") not in _EVERYWHERE
        if not known or len(address) > MAX_ADVERTISED_LENGTH:
            yield Problem((*path, index), f"expected HOST:PORT or [V6]:PORT, got {address[:SHOWN]!r}")
    if len(config.advertise_addrs) > MAX_ADVERTISED:
        yield Problem(path, f"expected at most {MAX_ADVERTISED} addresses, got {len(config.advertise_addrs)}")
    # The address that the listener is bound to is told too; its port may be any.
    bound = f"[{config.host}]:65535"
    size = len("\n".join((*config.advertise_addrs, bound)))
    if config.advertise_addrs and size > MAX_ADDRESSES_SIZE:
        what = f"{size} characters with p2p.host, more than the {MAX_ADDRESSES_SIZE} that a beacon has room for"
        yield Problem(path, what, beside=(("p2p", "host"),))


def _folders(config: Config, state_dir: Path) -> Iterator[Problem]:
    """File tools read everything in the shared folder, so nothing that is secret may lie there."""
    shared = config.agent.shared_dir
    if shared is None:
        return
    told = ("agent", "shared_dir")
    state: tuple[PathTo, ...] = (("state_dir",), ("agent", "name"))
    if _within(state_dir, shared):
        what = f"the state directory {state_dir} would be in it, readable by file tools"
        yield Problem(told, what, beside=state)
    elif _within(shared, state_dir):
        yield Problem(told, f"expected a folder outside of the state directory {state_dir}", beside=state)
    secret: tuple[tuple[PathTo, Path | None], ...] = (
        (("p2p", "security", "network_key_file"), config.p2p.security.network_key_file),
        (("access", "tokens_file"), config.access.tokens_file),
    )
    for path, file in secret:
        if file is not None and _within(file, shared):
            what = f"expected a file outside of the shared folder {shared}, where file tools can read it"
            yield Problem(path, what, beside=(told,))


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _is_host(text: str) -> bool:
    """Whether this could be a name or an address of a host; whether there is one of that name, nobody knows yet."""
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        pass
    numeric = ":" in text or re.fullmatch(r"[0-9.]+", text)  # an address that is none, such as 127.0.0
    return not numeric and len(text) <= MAX_NAME and bool(_NAME.fullmatch(text))


def _is_dialed(text: str) -> bool:
    """The same of a host that a port follows: addresses of IPv6, and only those, stand in brackets."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return _is_host(inner) and (":" in inner) == (inner != text)
