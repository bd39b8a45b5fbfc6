"""Layers: file, overlay, environment, flags; where values are from; and every problem with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxis.config.environment import LISTS, VARIABLES
from praxis.config.load import ConfigError, load, state_dir
from praxis.config.schema import Agent, Config, Http
from praxis.model.errors import PraxisError
from tests.config.reading import ENVIRON, Write, problems, read


def test_nothing_at_all_is_the_default() -> None:
    loaded = read(None)
    assert loaded.config == Config()
    assert loaded.base_dir == Path.cwd()
    assert set(loaded.sources.values()) == {"default"}


def test_layers_stand_above_each_other_key_by_key(write: Write) -> None:
    path = write("http:\n  port: 1\n  host: a\n  max_body: 1\n  enabled: false\n")
    overlay = write("http:\n  port: 2\n  host: b\n  max_body: 2\n", "overlay.yaml")
    environ = {"HTTP_PORT": "3", "HTTP_HOST": "c"}
    loaded = load(path, environ=ENVIRON | environ, flags={"http.port": 4, "http.host": None}, overlay=overlay)
    assert loaded.config.http == Http(enabled=False, host="c", port=4, max_body=2)
    assert {key: source for key, source in loaded.sources.items() if key.startswith("http.")} == {
        "http.port": "--set http.port",
        "http.host": "environment HTTP_HOST",
        "http.max_body": "overlay overlay.yaml:4",
        "http.enabled": "agent.yaml:5",
    }
    assert loaded.sources["sse.port"] == "default"
    assert loaded.base_dir == path.parent


def test_lists_are_replaced_as_a_whole(write: Write) -> None:
    path = write("export: {tools: [a, b]}\nmcp: {servers: [{name: x, command: x}, {name: y, command: y}]}\n")
    overlay = write("export: {tools: [c]}\nmcp: {servers: [{name: z, command: z}]}\n", "overlay.yaml")
    config = load(path, environ=ENVIRON, overlay=overlay).config
    assert config.export.tools == ("c",)
    assert [server.name for server in config.mcp.servers] == ["z"]


def test_sources_of_lists_and_mappings(write: Write) -> None:
    path = write(
        "mcp:\n  servers:\n    - name: x\n      command: y\n      env:\n        A: b\n"
        "export:\n  tools:\n    - a\n  peers:\n    b.c:\n      deny: [x]\n"
    )
    sources = read(path).sources
    assert sources["mcp.servers[0].name"] == "agent.yaml:3"
    assert sources["mcp.servers[0].timeout"] == "default"
    assert sources["mcp.servers[0].env.A"] == "agent.yaml:6"
    assert sources["export.tools"] == "agent.yaml:8"
    assert sources["export.peers['b.c'].deny"] == "agent.yaml:12"
    assert sources["export.peers['b.c'].allow"] == "default"


def test_an_overlay_that_does_not_exist_changes_nothing(write: Write, tmp_path: Path) -> None:
    assert load(write(""), environ=ENVIRON, overlay=tmp_path / "none.yaml").config == Config()


def test_an_overlay_cannot_move_itself(write: Write) -> None:
    overlay = write("agent: {name: bob}\nstate_dir: /x\n", "overlay.yaml")
    what = "cannot be changed at run time: it says where this file is"
    found = [p.replace(f"{overlay.parent}/", "") for p in problems(None, overlay=overlay)]
    assert found == [f"overlay.yaml:1: agent.name: {what}", f"overlay.yaml:2: state_dir: {what}"]


VALUES = {
    "AGENT_NAME": "bob",
    "AGENT_VERSION": "7",
    "AGENT_DESCRIPTION": "x y",
    "AGENT_URL": "http://bob:1",
    "HTTP_ENABLED": "no",
    "HTTP_HOST": "::1",
    "HTTP_PORT": "1",
    "WEBSOCKET_HOST": "::1",
    "WEBSOCKET_PORT": "2",
    "SSE_HOST": "::1",
    "SSE_PORT": "3",
    "P2P_ENABLED": "0",
    "P2P_HOST": "::1",
    "P2P_PORT": "4",
    "MDNS_ENABLED": "off",
    "DISCOVERY_PORT": "5",
    "BOOTSTRAP_PEERS": " a:1, [::1]:2 ,,",
    "MCP_ENABLED": "FALSE",
    "LLM_ENABLED": "yes",
    "LLM_BASE_URL": "http://127.0.0.1:8080/v1",
    "OPENAI_MODEL": "one",
    "LLM_MODEL": "other",
    "LOG_LEVEL": "DEBUG",
    "LOG_FORMAT": "JSON",
    "PROMETHEUS_ENABLED": "false",
    "PRAXIS_STATE_DIR": "/s",
}
EXPECTED = {
    **VALUES,
    "HTTP_ENABLED": False,
    "HTTP_PORT": 1,
    "WEBSOCKET_PORT": 2,
    "SSE_PORT": 3,
    "P2P_ENABLED": False,
    "P2P_PORT": 4,
    "MDNS_ENABLED": False,
    "DISCOVERY_PORT": 5,
    "BOOTSTRAP_PEERS": ("a:1", "[::1]:2"),
    "MCP_ENABLED": False,
    "LLM_ENABLED": True,
    "LOG_LEVEL": "debug",
    "LOG_FORMAT": "json",
    "PROMETHEUS_ENABLED": False,
    "PRAXIS_STATE_DIR": Path("/s"),
}


KEYS = ("PRAXIS_NETWORK_KEY", "PRAXIS_NETWORK_KEY_FILE", "OPENAI_API_KEY", "OPENAI_API_KEY_FILE")


def key_of(config: object, key: str) -> object:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def test_the_environment_has_a_value_for_each_variable_here() -> None:
    assert set(VALUES) == set(VARIABLES) | set(LISTS)


@pytest.mark.parametrize("name", VALUES)
def test_each_variable_stands_above_the_file(name: str, write: Write) -> None:
    key = {**VARIABLES, **LISTS}[name]
    assert EXPECTED[name] != key_of(Config(), key)
    loaded = read(write("http: {port: 77}\n"), {name: VALUES[name]})
    assert key_of(loaded.config, key) == EXPECTED[name]
    assert loaded.sources[key] == f"environment {name}"


def test_a_flag_gives_a_list_with_commas(write: Write) -> None:
    path = write('p2p: {bootstrap_nodes: ["a:1"]}\n')
    for given, wanted in (("b:1, c:2", ("b:1", "c:2")), ("b:1", ("b:1",)), ("", ())):
        assert read(path, p2p__bootstrap_nodes=given).config.p2p.bootstrap_nodes == wanted
    assert "got 'x'" in problems(path, p2p__bootstrap_nodes="b:1,x")[0]


def test_one_variable_says_the_opposite_of_its_key(write: Write) -> None:
    path = write("http: {port: 77}\n")
    loaded = read(path, {"INSECURE_P2P": "yes"})
    assert (loaded.config.p2p.secure, loaded.config.p2p.trust.mode) == (False, "open")
    assert loaded.sources["p2p.secure"] == "environment INSECURE_P2P"
    assert read(path, {"INSECURE_P2P": "false"}).config.p2p.secure
    assert problems(path, {"INSECURE_P2P": "perhaps"}) == [
        "environment INSECURE_P2P: expected true or false, got 'perhaps'"
    ]


def test_an_empty_variable_is_not_set(write: Write) -> None:
    loaded = read(write("http: {port: 77}\n"), dict.fromkeys([*VALUES, *KEYS], ""))
    assert loaded.config == Config(http=Http(port=77))


def test_bad_variables_are_named_all_at_once() -> None:
    environ = {
        "HTTP_PORT": "eighty",
        "SSE_PORT": "70000",
        "P2P_ENABLED": "maybe",
        "LOG_LEVEL": "loud",
        "BOOTSTRAP_PEERS": "x",
    }
    assert problems(None, environ) == [
        "environment P2P_ENABLED: p2p.enabled: expected true or false, got 'maybe'",
        "environment HTTP_PORT: http.port: expected a whole number, got 'eighty'",
        "environment SSE_PORT: sse.port: expected a port from 0 to 65535, got 70000",
        "environment LOG_LEVEL: logging.level: expected one of 'debug', 'info', 'warning', 'error', got 'loud'",
        "environment BOOTSTRAP_PEERS: p2p.bootstrap_nodes[0]: expected HOST:PORT or PEER_ID@HOST:PORT, got 'x'",
    ]
    assert problems(None, {"BOOTSTRAP_PEERS": "a:1,b"}) == [
        "environment BOOTSTRAP_PEERS: p2p.bootstrap_nodes[1]: expected HOST:PORT or PEER_ID@HOST:PORT, got 'b'"
    ]


def test_validation_runs_after_the_environment_has_been_applied(write: Write) -> None:
    path = write("http: {port: wrong}\nsse: {port: '${NOBODY_SET_THIS}'}\n")
    assert len(problems(path)) == 2
    assert read(path, {"HTTP_PORT": "5", "SSE_PORT": "6"}).config.sse.port == 6


def test_flags_are_text_or_values() -> None:
    config = read(
        None, http__port="8123", p2p__enabled=False, p2p__bootstrap_nodes=["a:1"], agent__shared_dir=Path("s")
    ).config
    assert (config.http.port, config.p2p.enabled, config.p2p.bootstrap_nodes) == (8123, False, ("a:1",))
    assert config.agent.shared_dir == Path.cwd() / "s"
    assert problems(None, http__max_body="x", p2p__discovery__prot=1) == [
        "--set p2p.discovery.prot: p2p.discovery.prot: unknown key 'prot' (did you mean 'port'?)",
        "--set http.max_body: http.max_body: expected a whole number, got 'x'",
    ]


def test_problems_come_in_the_order_of_the_file(write: Write) -> None:
    path = write("sse:\n  prot: 1\nhttp:\n  port: '80'\n  port: 2\nwebsocket: 5\nagent:\n  name: a b\nlmm: {}\n")
    assert problems(path) == [
        "agent.yaml:2: sse.prot: unknown key 'prot' (did you mean 'port'?)",
        "agent.yaml:4: http.port: expected a whole number, got '80'",
        "agent.yaml:5: http.port: duplicate key, first on line 4",
        "agent.yaml:6: websocket: expected a mapping, got 5",
        "agent.yaml:8: agent.name: expected 1 to 64 of the characters a-z A-Z 0-9 - _ . in a name, got 'a b'",
        "agent.yaml:9: lmm: unknown key 'lmm' (did you mean 'llm'?)",
    ]


@pytest.mark.parametrize(
    "text", ["llm: {stream: true}", "a2a: {push: true}", "prometheus: {path: /x}", "p2p: {relay: true}"]
)
def test_keys_without_an_effect_are_unknown(text: str, write: Write) -> None:
    (found,) = problems(write(text))
    assert "unknown key" in found


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(write: Write) -> None:
    assert problems(write("shared_dir: x\n")) == [
        "agent.yaml:1: shared_dir: unknown key 'shared_dir' (did you mean 'agent.shared_dir'?)"
    ]


def test_a_file_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == ["none.yaml: No such file or directory"]
    (found,) = problems(write("a: [\n"), {"HTTP_PORT": "x"})
    assert found.startswith("agent.yaml:2: ")


def test_the_error_is_one_that_is_told(write: Write) -> None:
    with pytest.raises(PraxisError) as error:
        read(write("a: 1\nb: 2\n"))
    assert error.value.code == "invalid"
    assert str(error.value).count("unknown key") == 2


# Paths


def test_paths_are_relative_to_where_they_are_written(write: Write) -> None:
    path = write(
        "agent: {shared_dir: ../shared}\naccess: {tokens_file: ~/t.json}\nlogging: {file: x.log}\n",
        "configs/agent.yaml",
    )
    overlay = write("logging: {file: y.log}", "state/overlay.yaml")
    top = path.parent.parent
    loaded = load(path, environ=ENVIRON | {"PRAXIS_STATE_DIR": "s"}, overlay=overlay)
    assert loaded.base_dir == path.parent
    assert loaded.config.agent.shared_dir == top / "shared"
    assert loaded.config.access.tokens_file == Path("/home/x/t.json")
    assert loaded.config.logging.file == top / "state" / "y.log"
    assert loaded.config.state_dir == Path.cwd() / "s"


def test_a_relative_path_to_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("agent: {shared_dir: shared}\nzzz: 1", "configs/agent.yaml")
    monkeypatch.chdir(path.parent.parent)
    relative = Path("configs/agent.yaml")
    with pytest.raises(ConfigError) as error:
        read(relative)
    assert error.value.problems == ("configs/agent.yaml:2: zzz: unknown key 'zzz'",)
    path.write_text("agent: {shared_dir: shared}")
    assert read(relative).base_dir == path.parent
    assert read(relative).config.agent.shared_dir == path.parent / "shared"


def test_the_state_directory() -> None:
    assert state_dir(Config(), {"HOME": "/h"}) == Path("/h/.local/state/praxis/praxis-agent")
    assert state_dir(Config(agent=Agent(name="bob")), {}) == Path.home() / ".local/state/praxis/bob"
    assert state_dir(Config(), {"HOME": "/h", "STATE_DIRECTORY": "/var/lib/praxis:/x"}) == Path("/var/lib/praxis")
    assert state_dir(Config(state_dir=Path("/mine")), {"STATE_DIRECTORY": "/var/lib/praxis"}) == Path("/mine")
