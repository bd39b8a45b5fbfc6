"""What no key can be blamed for alone: keys that contradict each other, text with a form of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from praxis.config.load import ConfigError, load
from praxis.config.schema import Config
from praxis.config.strict import Problem
from praxis.wire.beacon import ANNOUNCE, Beacon, network_tag
from tests.config.reading import ENVIRON, Write, problems, read


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a2a: {agents: [{name: a, url: 'ftp://b/'}]}",
            "agent.yaml:1: a2a.agents[0].url: expected http://HOST/PATH or https://HOST/PATH, got 'ftp://b/'",
        ),
        (
            "a2a: {agents: [{name: a, url: 'http://b:99999/'}]}",
            "agent.yaml:1: a2a.agents[0].url: expected http://HOST/PATH or https://HOST/PATH, got 'http://b:99999/'",
        ),
        (
            "a2a: {agents: [{name: a, url: 'http://b/'}, {name: a, url: 'http://c/'}]}",
            "agent.yaml:1: a2a.agents[1].name: 'a' is already the name of a2a.agents[0]",
        ),
        (
            "a2a: {agents: [{name: a, url: 'http://b/'}, {name: c, url: 'http://B:80'}]}",
            "agent.yaml:1: a2a.agents[1].url: is already the address of a2a.agents[0]",
        ),
        (
            "agent: {name: me}\na2a: {agents: [{name: me, url: 'http://b/'}]}",
            "agent.yaml:2: a2a.agents[0].name: is the name of this agent",
        ),
        (
            "a2a: {agents: [{name: x.example, url: 'http://b/'}]}\n"
            "agent: {external_mcp_endpoints: ['http://x.example/mcp']}",
            "agent.yaml:1: a2a.agents[0].name: 'x.example' is already the name of agent.external_mcp_endpoints[0]",
        ),
        (
            "a2a: {agents: [{name: process, url: 'http://b/'}]}\ntools: [{name: x, engine: process, command: [y]}]",
            "agent.yaml:1: a2a.agents[0].name: 'process' is the name of the source of tools that are declared; "
            "choose another",
        ),
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
        *(
            (
                f"llm: {{base_url: '{url}'}}",
                f"agent.yaml:1: llm.base_url: expected http://HOST/PATH or https://HOST/PATH, got '{url}'",
            )
            for url in ("localhost:11434", "http://me:secret@a/v1", "http://a/v1?key=b")
        ),
        ("llm: {temperature: 3}", "agent.yaml:1: llm.temperature: expected a number from 0 to 2, got 3.0"),
        ("llm: {api_key: 'a b'}", "agent.yaml:1: llm.api_key: is not accepted"),
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


@pytest.mark.parametrize(
    "host", ["", " ", "no host", "http://a", "a:80", "[::1]", "127.0.0", "1.2.3.4.5", "::g", "-a", "a..b", "a" * 254]
)
def test_what_is_no_host(host: str) -> None:
    (found,) = problems(None, p2p__host=host)
    assert "p2p.host: expected a host, got " in found


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::", "fe80::1%eth0", "a_b.example.", "münchen.example"])
def test_what_may_be_a_host(host: str) -> None:
    assert read(None, sse__host=host).config.sse.host == host


ODD = ["1.2.3:1", "[a]:1", "a\nb:1", ".".join(["a" * 60] * 3) + ":1"]


@pytest.mark.parametrize(
    "address",
    [
        "x",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "::1:4001",
        "px" + "a" * 52 + "@a:1",
        "a b:1",
        "0.0.0.0:1",
        "[::]:1",
        "ä:1",
        *ODD,
    ],
)
def test_what_cannot_be_advertised(address: str) -> None:
    (found,) = problems(None, p2p__advertise_addrs=[address])
    assert "p2p.advertise_addrs[0]: expected HOST:PORT or [V6]:PORT, got " in found


def test_what_is_advertised_fits_a_beacon_beside_the_address_of_the_listener() -> None:
    long = [f"{number}{'a' * 62}.{'b' * 45}.example:{number}0000" for number in (1, 2, 3)]
    assert len("\n".join(long)) == 3 * 123 + 2
    config = read(None, p2p__advertise_addrs=long).config.p2p
    addresses = (*config.advertise_addrs, "127.0.0.1:65535")
    assert Beacon(ANNOUNCE, 1, network_tag(b"k"), bytes(32), 1, 1, 1, addresses).pack(b"k")
    (found,) = problems(None, p2p__advertise_addrs=long, p2p__host="a-host-with-a-long-name.example")
    assert "p2p.advertise_addrs: 411 characters with p2p.host, more than the 400 that a beacon has room for" in found
    (found,) = problems(None, p2p__advertise_addrs=["a:1"] * 9)
    assert "p2p.advertise_addrs: expected at most 8 addresses, got 9" in found


# Together with values that are wrong by themselves


def test_keys_are_compared_also_beside_keys_that_are_wrong(write: Write) -> None:
    text = (
        "lmm: {}\n"
        "p2p:\n"
        "  bootstrap_nodes: ['a:1', 5, x]\n"
        "http: {port: 8090, max_body: none, host: '${NOBODY_SET_THIS}', nmae: x}\n"
        "mcp:\n"
        "  servers:\n"
        "    - {name: a, command: x}\n"
        "    - 7\n"
        "    - {name: a, comand: x}\n"
        "    - {command: x}\n"
        "    - {name: b}\n"
        "sse: {port: 4001}\n"
    )
    assert problems(write(text)) == [
        "agent.yaml:1: lmm: unknown key 'lmm' (did you mean 'llm'?)",
        "agent.yaml:3: p2p.bootstrap_nodes[1]: expected text, got 5 (put it in quotes)",
        "agent.yaml:3: p2p.bootstrap_nodes[2]: expected HOST:PORT or PEER_ID@HOST:PORT, got 'x'",
        "agent.yaml:4: http.host: NOBODY_SET_THIS is not set; ${NOBODY_SET_THIS:-default} does without",
        "agent.yaml:4: http.nmae: unknown key 'nmae'",
        "agent.yaml:4: http.max_body: expected a whole number, got 'none'",
        "agent.yaml:8: mcp.servers[1]: expected a mapping, got 7",
        "agent.yaml:9: mcp.servers[2].comand: unknown key 'comand' (did you mean 'command'?)",
        "agent.yaml:9: mcp.servers[2].name: 'a' is already the name of mcp.servers[0]",
        "agent.yaml:10: mcp.servers[3].name: is missing",
        "agent.yaml:11: mcp.servers[4].command: is missing: a server with transport stdio is a program",
        "agent.yaml:12: sse.port: port 4001 is already taken by p2p.port",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "http: {port: 99999}\nsse: {port: 8000}\n",
        "http: {port: 8090}\nwebsocket: {prot: 8091}\n",
        "http: {port: 8090}\nwebsocket: {enabled: flase}\n",
        "http: {port: 8090}\nwebsokcet: {port: 8091}\n",
        "websocket: {ping_interval: 70, pong_timeuot: 90}\n",
        "agent: {shared_dir: /srv, nmae: x}\nstate-dir: /srv/x\n".replace("nmae: x", "name: x"),
        "p2p: {security: {mdoe: ca, allow: [agent-1]}}\n",
        "agent: {name: a b, shared_dir: /home/x/.local/state/praxis}\n",
        "mcp: {servers: [{name: 5, command: x}, {name: a b, command: x}]}\n",
        "mcp: {limits: {max_servers_per_node: 0}}\n",
    ],
)
def test_what_follows_from_a_wrong_key_is_not_told(text: str, write: Write) -> None:
    wrong = 2 if "servers: [" in text else 1
    assert len(problems(write(text))) == wrong


def test_a_list_is_looked_at_as_a_whole_beside_its_wrong_items(write: Write) -> None:
    assert problems(write("agent:\n  tags:\n    - 5\n    - ''\n")) == [
        "agent.yaml:2: agent.tags: expected tags of 1 to 128 characters, got ''",
        "agent.yaml:3: agent.tags[0]: expected text, got 5 (put it in quotes)",
    ]


def test_a_look_finds_more(write: Write) -> None:
    seen = []

    def look(config: Config, state_dir: Path) -> list[Problem]:
        seen.append((config.http.port, state_dir))
        path = ("mcp", "servers", 0, "command")
        return [Problem(path, "is not there"), Problem(("sse", "port"), "is bad"), Problem(("http", "port"), "follows")]

    path = write("mcp:\n  servers:\n    - 5\n    - {name: a, command: x}\nhttp: {port: x}\nagent: {name: ann}\n")
    with pytest.raises(ConfigError) as error:
        load(path, environ=ENVIRON, look=look)
    assert [text.partition(": ")[2] for text in error.value.problems] == [
        "sse.port: is bad",
        "mcp.servers[0]: expected a mapping, got 5",
        "mcp.servers[1].command: is not there",
        "http.port: expected a whole number, got 'x'",
    ]
    assert seen == [(8000, Path("/home/x/.local/state/praxis/ann"))]
    assert error.value.state_dir == seen[0][1]
    with pytest.raises(ConfigError) as error:
        load(write("agent: {name: 5}\n"), environ=ENVIRON)
    assert error.value.state_dir is None
