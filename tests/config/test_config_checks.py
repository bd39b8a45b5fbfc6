"""What no key can be blamed for alone: keys that contradict each other, text with a form of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.config.reading import Write, problems, read


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "mcp:\n  servers:\n    - {name: a, command: x}\n    - {name: b, command: x}\n    - {name: a, command: x}\n",
            "agent.yaml:5: mcp.servers[2].name: 'a' is already the name of mcp.servers[0]",
        ),
        (
            "mcp:\n  limits: {max_servers_per_node: 1}\n  servers: [{name: a, command: x}, {name: b, command: x}]\n",
            "agent.yaml:3: mcp.servers: 2 servers are more than mcp.limits.max_servers_per_node, which is 1",
        ),
        (
            "mcp:\n  servers:\n    - name: a\n",
            "agent.yaml:3: mcp.servers[0].command: is missing: a server with transport stdio is a program",
        ),
        (
            "mcp: {servers: [{name: a, url: 'http://b/'}]}",
            "agent.yaml:1: mcp.servers[0].transport: expected 'http' or 'sse' for a server with a url, got 'stdio'",
        ),
        (
            "mcp: {servers: [{name: a, command: x, url: 'http://b/'}]}",
            "agent.yaml:1: mcp.servers[0].url: means nothing for a server with transport stdio",
        ),
        (
            "mcp: {servers: [{name: a, transport: http}]}",
            "agent.yaml:1: mcp.servers[0].url: is missing: a server with transport http has one",
        ),
        (
            "mcp: {servers: [{name: a, transport: sse, url: 'http://b/', command: x}]}",
            "agent.yaml:1: mcp.servers[0].command: means nothing for a server with transport sse",
        ),
        (
            "mcp: {servers: [{name: a, transport: http, url: 'ftp://b/'}]}",
            "agent.yaml:1: mcp.servers[0].url: expected http://HOST/PATH or https://HOST/PATH, got 'ftp://b/'",
        ),
        (
            "mcp: {servers: [{name: a, transport: sse, url: 'http://b/', message_url: 'http://c/'}]}",
            "agent.yaml:1: mcp.servers[0].message_url: expected the scheme, host and port of the url",
        ),
        (
            "mcp: {servers: [{name: a, command: x, roots: [/srv], ask: [roots]}]}",
            "agent.yaml:1: mcp.servers[0].ask: roots are given too; only one can be meant",
        ),
        (
            "mcp: {servers: [{name: a, transport: http, url: 'http://b/', headers: {Host: x}}]}",
            "agent.yaml:1: mcp.servers[0].headers: is not accepted",
        ),
        (
            "agent: {external_mcp_endpoints: [b]}",
            "agent.yaml:1: agent.external_mcp_endpoints[0].url: "
            "expected http://HOST/PATH or https://HOST/PATH, got 'b'",
        ),
        (
            "agent: {external_mcp_endpoints: ['http://b:1/x', {url: 'http://b:1/y'}]}",
            "agent.yaml:1: agent.external_mcp_endpoints[1].name: 'b-1' is already the name of "
            "agent.external_mcp_endpoints[0]",
        ),
        ("mcp:\n  servers:\n    - command: a\n", "agent.yaml:3: mcp.servers[0].name: is missing"),
        (
            "mcp: {servers: [{name: a, command: x, timeout: 0}]}",
            "agent.yaml:1: mcp.servers[0].timeout: expected a number above 0, got 0.0",
        ),
        (
            "websocket:\n  ping_interval: 60\n",
            "agent.yaml:1: websocket.pong_timeout: expected more than ping_interval, which is 60, got 60: "
            "every client would be cut off before it is asked",
        ),
        ("http: {port: 8090}", "agent.yaml:1: http.port: port 8090 is already taken by websocket.port"),
        ("sse: {host: 0.0.0.0, port: 8000}", "agent.yaml:1: sse.port: port 8000 is already taken by http.port"),
        (
            "http:\n  host: ''\n",
            "agent.yaml:2: http.host: expected a host, got nothing "
            "(127.0.0.1 for this machine only, 0.0.0.0 for everybody)",
        ),
        (
            "p2p:\n  security:\n    network_keys: [s3cret]\n    network_key_file: x\n",
            "agent.yaml:4: p2p.security.network_key_file: network_keys are given too; only one can be meant",
        ),
        (
            "access: {allowed_origins: ['https://a.b/c']}",
            "agent.yaml:1: access.allowed_origins[0]: expected an origin such as https://console.example, got 'https://a.b/c'",
        ),
        ("agent: {url: 'bob:80'}", "agent.yaml:1: agent.url: expected an http or https address, got 'bob:80'"),
        (
            "agent: {shared_dir: /srv}\nstate_dir: /srv/state\n",
            "agent.yaml:1: agent.shared_dir: the state directory /srv/state would be in it, readable by file tools",
        ),
        (
            "agent: {shared_dir: /home/x}\n",
            "agent.yaml:1: agent.shared_dir: the state directory /home/x/.local/state/praxis/praxis-agent would be "
            "in it, readable by file tools",
        ),
        (
            "agent: {shared_dir: /state/x}\nstate_dir: /state\n",
            "agent.yaml:1: agent.shared_dir: expected a folder outside of the state directory /state",
        ),
        (
            "agent: {shared_dir: /srv}\naccess: {tokens_file: /srv/../srv/t}\n",
            "agent.yaml:2: access.tokens_file: expected a file outside of the shared folder /srv, "
            "where file tools can read it",
        ),
    ],
)
def test_keys_that_contradict_each_other(text: str, problem: str, write: Write) -> None:
    assert problems(write(text)) == [problem]


def test_ports_that_do_not_clash(write: Write) -> None:
    for text in (
        "http: {port: 0}\nwebsocket: {port: 0}\n",
        "http: {port: 8090}\nwebsocket: {enabled: false}\n",
        "http: {port: 8090, host: 127.0.0.2}\n",
    ):
        assert read(write(text))


@pytest.mark.parametrize("node", ["a", "a:", ":1", "a:0", "a:70000", "a:x", "x@a:1", "::1:4001", "a b:1", "http://a:1"])
def test_wrong_bootstrap_nodes(node: str) -> None:
    assert len(problems(None, p2p__bootstrap_nodes=[node])) == 1


def test_right_bootstrap_nodes() -> None:
    nodes = ["a.example:1", "10.0.0.1:65535", "[fe80::1%eth0]:4001", "px" + "a" * 52 + "@host:4001"]
    assert read(None, p2p__bootstrap_nodes=nodes).config.p2p.bootstrap_nodes == tuple(nodes)


def test_a_state_directory_behind_a_link(write: Write, tmp_path: Path) -> None:
    os.symlink(tmp_path, tmp_path / "link")
    (found,) = problems(write("agent: {shared_dir: .}\nstate_dir: link/state\n"))
    assert "would be in it" in found
