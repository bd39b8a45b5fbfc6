"""Containerfile, compose.yaml and what they name: consistent with each other and with the code, without an engine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from praxis.access.tokens import TokenStore
from praxis.config.load import load
from praxis.config.schema import Config
from praxis.peers.keyring import NetworkKey

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
AGENTS = ("agent1", "agent2")
PORTS = {
    "agent1": {"http": 8000, "websocket": 8090, "p2p": 4001, "sse": 9000},
    "agent2": {"http": 8001, "websocket": 8091, "p2p": 4002, "sse": 9001},
}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction of the Containerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(index for index, (name, _) in enumerate(found) if name == "FROM") :]


def in_tree(path: str) -> Path:
    """The file of this tree that the image has at `path`."""
    assert path.startswith("/app/")
    source = path.removeprefix("/app/")
    copied = [arguments.split() for name, arguments in last_stage() if name == "COPY" and "--from" not in arguments]
    assert any(source == copy[0] or source.startswith(f"{copy[0]}/") for copy in copied), f"{path} is not in the image"
    return ROOT / source


# -- the image --------------------------------------------------------------------------------------


def test_the_image_is_built_in_stages_from_one_base() -> None:
    bases = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]
    assert len(bases) >= 2
    assert set(bases) == {"python:3.12-slim"}


def test_the_image_runs_as_a_numeric_user_and_stops_by_a_signal() -> None:
    stage = dict(last_stage())
    uid, gid = stage["USER"].split(":")
    assert uid.isdigit()
    assert gid.isdigit()
    assert int(uid) >= 10000
    assert stage["WORKDIR"] == "/app"
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(stage["ENTRYPOINT"]) == ["praxis"], "exec form: a shell in between would keep the signal"
    assert json.loads(stage["CMD"]) == ["run", "--config", "/app/configs/agent.yaml"]
    assert in_tree("/app/configs/agent.yaml").is_file()


def test_state_has_a_volume_and_only_its_user_reads_it() -> None:
    stage = dict(last_stage())
    folder = json.loads(stage["VOLUME"])[0]
    assert f"PRAXIS_STATE_DIR={folder}" in stage["ENV"]
    made = re.search(r"install --directory --mode (\d+) --owner (\d+) --group (\d+) ([^&]*)", CONTAINERFILE)
    assert made is not None
    assert (made[1], f"{made[2]}:{made[3]}") == ("0700", stage["USER"])
    assert folder in made[4].split()


def test_the_image_says_how_it_is() -> None:
    options, _, command = dict(last_stage())["HEALTHCHECK"].partition(" CMD ")
    assert options.split() == ["--interval=10s", "--timeout=5s", "--retries=3", "--start-period=30s"]
    program, *flags = json.loads(command)
    assert "-d" in flags, "a health check may exit with 0 and 1 only"
    assert in_tree(program).stat().st_mode & 0o111


def test_the_image_brings_no_secret_and_names_no_index() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert patterns[0] == "*"
    let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    sources = set()
    for name, arguments in instructions():
        if name == "COPY" and "--from" not in arguments:
            sources |= {source.removesuffix("/__init__.py") for source in arguments.split()[:-1]}
    assert let_in == sources, "what is sent to the engine is what is copied"
    assert not re.search(r"index-url|trusted-host|https?://", CONTAINERFILE)


# -- the two agents ---------------------------------------------------------------------------------


def config_of(service: Any) -> Config:
    """The configuration that a service of compose.yaml runs with."""
    verb, flag, path = service["command"]
    assert (verb, flag) == ("run", "--config")
    environ = {"HOME": "/var/lib/praxis", "PRAXIS_STATE_DIR": "/var/lib/praxis"}
    loaded = load(in_tree(path), environ=environ)
    for server in loaded.config.mcp.servers:
        assert (loaded.base_dir / server.args[0]).is_file()
    return loaded.config


def test_the_ports_are_those_of_the_contract_on_loopback(compose: Any) -> None:
    assert set(compose["services"]) == set(AGENTS)
    for name in AGENTS:
        config = config_of(compose["services"][name])
        sections = {section: getattr(config, section) for section in PORTS[name]}
        assert {section: value.port for section, value in sections.items()} == PORTS[name]
        assert {value.host for value in sections.values()} == {"0.0.0.0"}
        published = sorted(compose["services"][name]["ports"])
        assert published == sorted(f"127.0.0.1:{port}:{port}" for port in PORTS[name].values())


def test_the_agents_find_each_other_by_name_and_need_no_order(compose: Any) -> None:
    one, two = (config_of(compose["services"][name]) for name in AGENTS)
    assert (one.agent.name, two.agent.name) == ("praxis-agent-1", "praxis-agent-2")
    assert one.p2p.bootstrap_nodes == ("agent2:4002",)
    assert two.p2p.bootstrap_nodes == ("agent1:4001",)
    assert one.p2p.discovery.port == two.p2p.discovery.port
    assert not any("depends_on" in service for service in compose["services"].values())
    for name, config in zip(AGENTS, (one, two), strict=True):
        assert name in config.access.allowed_hosts
        assert config.agent.url == f"http://{name}:{config.http.port}"


def test_who_calls_shows_a_token(compose: Any) -> None:
    for name in AGENTS:
        service = compose["services"][name]
        config = config_of(service)
        assert not config.access.insecure
        assert sorted(service["secrets"]) == ["network_key", "tokens"]
        assert str(config.access.tokens_file) == "/run/secrets/tokens"
        assert service["environment"]["PRAXIS_NETWORK_KEY_FILE"] == "/run/secrets/network_key"
    assert compose["secrets"] == {
        "network_key": {"file": "${PRAXIS_SECRETS:-./secrets}/network.key"},
        "tokens": {"file": "${PRAXIS_SECRETS:-./secrets}/tokens.json"},
    }


def test_the_containers_are_closed(compose: Any) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "network_mode", "pid", "user", "devices"} & set(service)
        assert service["mem_limit"]
        assert service["cpus"]
        assert service["pids_limit"]
        assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert service["logging"]["options"]["max-size"]
        for mount in service["volumes"]:
            assert mount.split(":")[0] in compose["volumes"], "named volumes alone: no socket, no folder of the host"


def test_state_is_never_shared_and_files_lie_beside_it(compose: Any) -> None:
    mounts = {
        name: {target: volume for volume, target in (m.split(":") for m in compose["services"][name]["volumes"])}
        for name in AGENTS
    }
    states = [mounts[name]["/var/lib/praxis"] for name in AGENTS]
    assert len(set(states)) == len(AGENTS)
    shared = config_of(compose["services"]["agent2"]).agent.shared_dir
    assert str(shared) in mounts["agent2"]
    assert config_of(compose["services"]["agent1"]).agent.shared_dir is None


def test_health_is_asked_at_the_agents_own_port_and_stopping_has_time(compose: Any) -> None:
    for name in AGENTS:
        service = compose["services"][name]
        check = service["healthcheck"]
        assert [check[key] for key in ("interval", "timeout", "retries", "start_period")] == ["10s", "5s", 3, "30s"]
        kind, program, *flags = check["test"]
        assert kind == "CMD"
        assert in_tree(program).is_file()
        assert f"http://127.0.0.1:{PORTS[name]['http']}" in flags
        assert "-d" in flags
        assert int(service["stop_grace_period"].removesuffix("s")) > config_of(service).agent.stop_grace + 4


def test_everything_in_configs_compose_is_used(compose: Any) -> None:
    used = {in_tree(service["command"][2]) for service in compose["services"].values()}
    assert used == set((ROOT / "configs" / "compose").iterdir())


# -- the secrets ------------------------------------------------------------------------------------


def make_secrets(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "compose-secrets.sh", *arguments],
        env={"PATH": "/usr/bin:/bin", "PRAXIS_SECRETS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_secrets_are_made_once_and_a_token_more_on_demand(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    done = make_secrets(folder)
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    store = TokenStore(folder / "tokens.json")
    principal = store.verify(token)
    assert principal is not None
    assert principal.role == "operator"
    key = (folder / "network.key").read_text()
    NetworkKey.parse(key)
    assert token not in (folder / "tokens.json").read_text()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    for name in ("network.key", "tokens.json"):
        assert (folder / name).stat().st_mode & 0o444 == 0o444, "the container's user is another one"

    again = make_secrets(folder)
    assert (again.returncode, again.stdout) == (0, "")
    assert (folder / "network.key").read_text() == key

    inode = (folder / "tokens.json").stat().st_ino
    more = make_secrets(folder, "token", "viewer", "somebody")
    assert more.returncode == 0, more.stderr
    assert [(entry.role, entry.name) for entry in store.list()] == [("operator", "compose"), ("viewer", "somebody")]
    assert store.verify(token) is not None
    assert store.verify(more.stdout.strip()) is not None
    assert (folder / "tokens.json").stat().st_ino == inode, "a running container sees the file that it has mounted"
    assert (folder / "network.key").read_text() == key


@pytest.mark.parametrize(
    ("arguments", "content", "what"),
    [(["tokens"], None, "unknown argument"), (["token", "root"], None, "not root"), ([], "{", "it is damaged")],
)
def test_secrets_that_cannot_be_made(tmp_path: Path, arguments: list[str], content: str | None, what: str) -> None:
    folder = tmp_path / "secrets"
    if content is not None:
        folder.mkdir()
        (folder / "tokens.json").write_text(content)
    done = make_secrets(folder, *arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert what in done.stderr
    assert not (folder / "network.key").exists()
    if content is not None:
        assert (folder / "tokens.json").read_text() == content
