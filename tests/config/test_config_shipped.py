"""The files in configs/: each one loads, and agent.yaml holds every key with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from praxis.config.environment import API_KEY, LISTS, VARIABLES
from praxis.config.load import load
from praxis.config.schema import Config
from praxis.config.strict import dotted_keys

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


def test_there_are_files() -> None:
    assert {"agent.yaml", "agent1.yaml", "agent2.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_loads(path: Path, tmp_path: Path) -> None:
    loaded = load(path, environ={"HOME": str(tmp_path)})
    assert loaded.base_dir == CONFIGS
    for server in loaded.config.mcp.servers:
        assert [arg for arg in server.args if arg.startswith("../mcp_servers/")]


def test_agent_yaml_has_every_key_with_its_default(tmp_path: Path) -> None:
    loaded = load(CONFIGS / "agent.yaml", environ={"HOME": str(tmp_path)})
    assert loaded.config == Config()
    from_file = {key for key, source in loaded.sources.items() if source.startswith("agent.yaml:")}
    assert from_file == {key for key in dotted_keys(Config) if "[]" not in key and "{}" not in key}


def _generic(key: str) -> str:
    """A key of the examples as the schema names it."""
    named = key.replace("peers.praxis-agent-1", "peers{}").replace("views.notes", "views{}")
    return re.sub(r"\.(Authorization|MODE|key|type)$(?<!params\[\d\]\.type)", "", named)


def test_the_examples_in_its_comments_have_every_other_key(tmp_path: Path) -> None:
    text = (CONFIGS / "agent.yaml").read_text()
    defaults: tuple[str, ...] = (
        "  servers: []\n",
        "  peers: {}\n",
        "  external_mcp_endpoints: []\n",
        "  views: {}\n",
        "  agents: []\n",
    )
    defaults += ("\ntools: []\n",)
    for default in defaults:
        assert default in text
        text = text.replace(default, "\n" if default.startswith("\n") else "")
    text = re.sub(r"^  #   ", "  ", text, flags=re.MULTILINE)
    text = re.sub(r"^#   ", "", text, flags=re.MULTILINE)
    path = tmp_path / "configs" / "agent.yaml"
    path.parent.mkdir()
    path.write_text(text)
    tokens = dict.fromkeys(("OLD_TOKEN", "REMOTE_TOKEN", "TRANSLATE_TOKEN", "ANALYZER_SECRET", "TRAVEL_TOKEN"), "t")
    loaded = load(path, environ={"HOME": str(tmp_path), **tokens})
    assert [server.url for server in loaded.config.mcp_servers][1:3] == ["https://tools.example/mcp"] * 2
    assert loaded.config.export.peers["praxis-agent-1"].deny == ("fs/delete_file",)
    written = {
        re.sub(r"\[\d\]", "[]", _generic(key))
        for key, source in loaded.sources.items()
        if source.startswith("agent.yaml:")
    }
    # What is in the lists stands for them; agent.tools has the keys of tools.
    lists = {"mcp.servers", "export.peers", "mcp.views", "a2a.agents", "agent.external_mcp_endpoints"}
    lists |= {"tools", "tools[].params", "tools[].mounts"}
    assert written == {key for key in dotted_keys(Config) if not key.startswith("agent.tools[]")} - lists


def test_agent_yaml_names_every_variable() -> None:
    text = (CONFIGS / "agent.yaml").read_text()
    for name in [*VARIABLES, *LISTS, "PRAXIS_NETWORK_KEY", "PRAXIS_NETWORK_KEY_FILE", API_KEY, f"{API_KEY}_FILE"]:
        assert re.search(rf"# .*\b{name}\b", text), name


def test_the_two_agents(tmp_path: Path) -> None:
    one, two = (load(CONFIGS / f"agent{n}.yaml", environ={"HOME": str(tmp_path)}).config for n in (1, 2))
    assert [(c.agent.name, c.http.port, c.websocket.port, c.p2p.port, c.sse.port) for c in (one, two)] == [
        ("praxis-agent-1", 8000, 8090, 4001, 9000),
        ("praxis-agent-2", 8001, 8091, 4002, 9001),
    ]
    assert one.p2p.discovery.port == two.p2p.discovery.port == 4001
    assert one.agent.shared_dir is None
    assert two.agent.shared_dir == CONFIGS.parent / "shared"
    assert [server.name for server in (*one.mcp.servers, *two.mcp.servers)] == ["context", "demo"]
    assert two.export.tools == ("fs/*", "demo/*")
