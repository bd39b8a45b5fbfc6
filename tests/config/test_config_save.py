"""What is saved loads again to the same value; references stay references; secrets do not show."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.config.load import ConfigError, Loaded, load
from praxis.config.save import dump, save, save_overlay, secret_values
from praxis.config.schema import (
    P2P,
    Access,
    Agent,
    Config,
    DeclaredTool,
    Export,
    Http,
    Mcp,
    McpServer,
    PeerExport,
    Runs,
    Security,
    ToolMount,
    WebSocket,
)

ENVIRON = {"HOME": "/home/x"}
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
tricky = st.sampled_from(
    [
        "$",
        "${A}",
        "$$",
        "on",
        "010",
        "1e3",
        "8:30",
        "null",
        "~",
        "- a",
        "a: b",
        "#",
        "''",
        '"',
        " x ",
        "\n",
        "\x85",
        "\ufeff",
    ]
)
words = text | tricky
seconds = st.floats(min_value=1e-9, max_value=1e9)
servers = st.builds(
    McpServer,
    name=st.from_regex(r"[a-zA-Z0-9._-]{1,64}", fullmatch=True).filter(lambda name: name != "fs"),
    command=words.filter(bool),
    args=st.lists(words, max_size=3).map(tuple),
    env=st.dictionaries(words, words, max_size=3),
    workdir=st.none() | st.just(Path("/srv/a b")),
    timeout=st.none() | seconds,
    enabled=st.booleans(),
)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words, lambda x: st.lists(x, max_size=2), max_leaves=3
)
tools = st.builds(
    DeclaredTool,
    name=st.from_regex(r"[a-zA-Z0-9._-]{1,64}", fullmatch=True),
    engine=st.just("container"),
    image=words.filter(bool),
    command=st.lists(words.filter(bool), max_size=3).map(tuple),
    description=words,
    inputSchema=st.dictionaries(words.filter(lambda key: key not in ("type", "properties")), json, max_size=2),
    mounts=st.lists(st.just(ToolMount(Path("/srv/$x"), "/work")), max_size=1).map(tuple),
    secrets=st.dictionaries(st.just("key"), words, max_size=1),
    cpu=st.none() | seconds,
)
configs = st.builds(
    Config,
    tools=st.lists(tools, max_size=2, unique_by=lambda tool: tool.name).map(tuple),
    agent=st.builds(
        Agent, description=words, version=words, stop_grace=seconds, shared_dir=st.none() | st.just(Path("/srv/$x"))
    ),
    p2p=st.builds(
        P2P, rendezvous=words, port=st.just(0), security=st.builds(Security, network_keys=st.lists(words).map(tuple))
    ),
    export=st.builds(
        Export,
        tools=st.lists(words, max_size=3).map(tuple),
        peers=st.dictionaries(words, st.builds(PeerExport, deny=st.lists(words, max_size=2).map(tuple)), max_size=2),
    ),
    access=st.builds(Access, insecure=st.booleans(), allowed_hosts=st.lists(words, max_size=2).map(tuple)),
    mcp=st.builds(Mcp, servers=st.lists(servers, max_size=3, unique_by=lambda server: server.name).map(tuple)),
)


def read(path: Path, **environ: str) -> Loaded:
    return load(path, environ=ENVIRON | environ)


@given(configs)
@settings(max_examples=100, deadline=None)
def test_what_is_saved_loads_to_the_same_value(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.yaml"
    save(config, path)
    assert read(path).config == config


def test_a_relative_path_survives_another_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "agent.yaml").write_text("agent: {shared_dir: ../shared}")
    loaded = read(tmp_path / "a" / "agent.yaml")
    save(loaded, tmp_path / "saved.yaml")
    assert read(tmp_path / "saved.yaml").config == loaded.config
    assert loaded.config.agent.shared_dir == tmp_path / "shared"


def test_mode_and_what_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("old")
    path.chmod(0o644)
    os.symlink(path, tmp_path / "link.yaml")
    save(Config(), tmp_path / "link.yaml")
    assert (tmp_path / "link.yaml").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(path).config == Config()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["agent.yaml", "link.yaml"]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("old")

    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        save(Config(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


REFERENCES = """
agent: {name: "${NAME}", shared_dir: "${ROOT}/x"}
http: {port: "${PORT:-8000}", enabled: "${ON}"}
logging: {level: "${LEVEL}"}
p2p: {security: {network_keys: ["${KEY}", "liter$$al"]}}
mcp: {servers: [{name: a, command: b, args: ["--token=${TOKEN}"], env: {A: "${TOKEN}"}}]}
"""
VARIABLES = {"NAME": "bob", "ROOT": "/r", "ON": "no", "LEVEL": "debug", "KEY": "k3y-k3y", "TOKEN": "t0ken"}


def test_references_stay_references(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(REFERENCES)
    loaded = read(path, **VARIABLES)
    save(loaded, path)
    written = path.read_text()
    for name in ("KEY", "TOKEN"):
        assert VARIABLES[name] not in written
    for reference in ("${NAME}", "${ROOT}/x", "${PORT:-8000}", "${ON}", "${LEVEL}", "${KEY}", "--token=${TOKEN}"):
        assert reference in written
    again = read(path, **VARIABLES)
    assert again.config == loaded.config
    assert read(path, **VARIABLES | {"PORT": "1"}).config.http.port == 1


def test_secrets_stay_references_also_without_what_load_knows(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(REFERENCES)
    config = attrs.evolve(read(path, **VARIABLES).config, http=Http(port=5))
    save(config, path)
    assert "t0ken" not in path.read_text()
    assert "k3y-k3y" not in path.read_text()
    assert "liter$$al" in path.read_text()
    assert read(path, **VARIABLES).config == config


def test_a_key_of_the_environment_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    loaded = load(None, environ=ENVIRON | {"PRAXIS_NETWORK_KEY": "k3y-k3y", "HTTP_PORT": "77"})
    save(loaded, path)
    assert "${PRAXIS_NETWORK_KEY}" in path.read_text()
    assert "k3y-k3y" not in path.read_text()
    config = read(path, PRAXIS_NETWORK_KEY="other").config
    assert (config.http.port, config.p2p.security.network_keys) == (77, ("other",))


def test_a_key_in_a_file_is_written_as_the_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k3y-k3y")
    path = tmp_path / "agent.yaml"
    save(load(None, environ=ENVIRON | {"PRAXIS_NETWORK_KEY_FILE": str(key)}), path)
    assert "k3y-k3y" not in path.read_text()
    assert read(path).config.p2p.security.network_key_file == key


def test_a_changed_value_is_not_written_as_its_old_reference(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("http: {port: '${PORT}'}")
    loaded = read(path, PORT="5")
    save(attrs.evolve(loaded, config=Config(http=Http(port=6))), path)
    assert read(path).config.http.port == 6


SECRET = Config(
    p2p=P2P(security=Security(network_keys=("s3cret-1",))),
    mcp=Mcp(servers=(McpServer(name="a", command="b", args=("x",), env={"A": "s3cret-2"}),)),
)


def test_dump_masks_secrets_and_nothing_else(tmp_path: Path) -> None:
    masked = dump(SECRET, mask_secrets=True)
    assert "s3cret" not in masked
    assert "network_keys:\n    - '***'" in masked
    assert "A: '***'" in masked
    assert dump(SECRET, mask_secrets=False).replace("s3cret-1", "'***'").replace("s3cret-2", "'***'") == masked


def test_dump_shows_references_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(REFERENCES)
    shown = dump(read(path, **VARIABLES).config, mask_secrets=True)
    assert "- ${KEY}\n" in shown
    assert "- '***'\n" in shown
    assert "t0ken" not in shown


def test_secret_values() -> None:
    assert list(secret_values(SECRET)) == ["s3cret-1", "s3cret-2"]
    assert list(secret_values(Config(websocket=WebSocket(port=1), runs=Runs()))) == []


def test_the_overlay_keeps_what_is_in_it(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    save_overlay(overlay, {"http.port": 1, "export.tools": ["a", "$b"], "agent.description": "${A} 1e3"})
    save_overlay(overlay, {"http.port": 2, "p2p.enabled": False, "logging.file": Path("x.log")})
    assert stat.S_IMODE(overlay.stat().st_mode) == 0o600
    config = load(None, environ=ENVIRON, overlay=overlay).config
    assert (config.http.port, config.p2p.enabled, config.export.tools) == (2, False, ("a", "$b"))
    assert config.agent.description == "${A} 1e3"
    assert config.logging.file == tmp_path / "x.log"


def test_the_overlay_keeps_references(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("agent: {description: '${A} $$'}")
    save_overlay(overlay, {"http.port": 2})
    assert load(None, environ=ENVIRON | {"A": "a"}, overlay=overlay).config.agent.description == "a $"


def test_an_overlay_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("a: 1\na: 2\n")
    with pytest.raises(ConfigError, match="duplicate"):
        save_overlay(overlay, {"http.port": 2})
    assert overlay.read_text() == "a: 1\na: 2\n"
