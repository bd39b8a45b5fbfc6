"""What no single key can be blamed for: keys that contradict each other, and text with a form of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import attrs

from praxis.config.schema import P2P, Config, Http, McpServer, Sse, WebSocket
from praxis.config.strict import PathTo, Problem, dotted

_Listener = Http | WebSocket | Sse | P2P
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  # compared with, never bound
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?([/?][\x21-\x7e]*)?")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^\s:@\[\]/]+")


def check(config: Config, state_dir: Path) -> Iterator[Problem]:
    """Everything wrong with a configuration whose every key is right by itself."""
    yield from _listeners(config)
    yield from _servers(config)
    yield from _network(config)
    yield from _folders(config, state_dir)
    if config.websocket.pong_timeout <= config.websocket.ping_interval:
        what = (
            f"expected more than ping_interval, which is {config.websocket.ping_interval:g}, "
            f"got {config.websocket.pong_timeout:g}: every client would be cut off before it is asked"
        )
        yield Problem(("websocket", "pong_timeout"), what)
    for index, origin in enumerate(config.access.allowed_origins):
        if not _ORIGIN.fullmatch(origin):
            what = f"expected an origin such as https://console.example, got {origin!r}"
            yield Problem(("access", "allowed_origins", index), what)
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
        if not section.host.strip():
            what = "expected a host, got nothing (127.0.0.1 for this machine only, 0.0.0.0 for everybody)"
            yield Problem((name, "host"), what)
    for (first, one), (second, other) in combinations(listeners.items(), 2):
        overlap = one.host == other.host or {one.host, other.host} & _EVERYWHERE
        if one.enabled and other.enabled and overlap and one.port == other.port != 0:
            usual = attrs.fields_dict(type(other))["port"].default
            guilty, taken = (first, second) if other.port == usual else (second, first)  # a default is never to blame
            yield Problem((guilty, "port"), f"port {other.port} is already taken by {taken}.port")


def _servers(config: Config) -> Iterator[Problem]:
    first: dict[str, PathTo] = {}
    given = len(config.mcp.servers)
    for index, server in enumerate(config.mcp_servers):
        path: PathTo = ("mcp", "servers", index)
        if index >= given:
            path = ("agent", "external_mcp_endpoints", index - given)
        if server.name in first:
            yield Problem((*path, "name"), f"{server.name!r} is already the name of {dotted(first[server.name])}")
        first.setdefault(server.name, path)
        yield from (_program if server.transport == "stdio" else _remote)(server, path)
        if server.roots and "roots" in server.ask:
            yield Problem((*path, "ask"), "roots are given too; only one can be meant")
    most = config.mcp.limits.max_servers_per_node
    if len(first) > most:
        what = f"{len(config.mcp_servers)} servers are more than mcp.limits.max_servers_per_node, which is {most}"
        yield Problem(("mcp", "servers"), what)


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
        if url and not _URL.fullmatch(url):
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
    if config.p2p.security.network_keys and config.p2p.security.network_key_file:
        what = "network_keys are given too; only one can be meant"
        yield Problem(("p2p", "security", "network_key_file"), what)
    for index, node in enumerate(config.p2p.bootstrap_nodes):
        peer, _, address = node.rpartition("@")
        host, _, port = address.rpartition(":")
        named = not peer or re.fullmatch(r"px[a-z2-7]{52}", peer)
        if (
            not named
            or not _HOST.fullmatch(host)
            or not re.fullmatch(r"[0-9]{1,5}", port)
            or not 1 <= int(port) <= 65535
        ):
            what = f"expected HOST:PORT or PEER_ID@HOST:PORT, got {node!r}"
            yield Problem(("p2p", "bootstrap_nodes", index), what)


def _folders(config: Config, state_dir: Path) -> Iterator[Problem]:
    """File tools read everything in the shared folder, so nothing that is secret may lie there."""
    shared = config.agent.shared_dir
    if shared is None:
        return
    if _within(state_dir, shared):
        yield Problem(
            ("agent", "shared_dir"), f"the state directory {state_dir} would be in it, readable by file tools"
        )
    elif _within(shared, state_dir):
        yield Problem(("agent", "shared_dir"), f"expected a folder outside of the state directory {state_dir}")
    secret: tuple[tuple[PathTo, Path | None], ...] = (
        (("p2p", "security", "network_key_file"), config.p2p.security.network_key_file),
        (("access", "tokens_file"), config.access.tokens_file),
    )
    for path, file in secret:
        if file is not None and _within(file, shared):
            yield Problem(path, f"expected a file outside of the shared folder {shared}, where file tools can read it")


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
