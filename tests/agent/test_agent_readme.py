"""Every command and program that README.md shows is run, against two agents started from the shipped configurations."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from praxis.dev import free_discovery_port
from praxis.peers.keyring import NetworkKey
from tests.agent.test_agent_daemon import PORTS, ROOT, until

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for kind, block in BLOCKS
    if not kind
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]
PROGRAMS = [block for kind, block in BLOCKS if kind == "praxis"]
ELSEWHERE = ("./scripts/demo.sh", "./scripts/test.sh", "praxis run --config agent.yaml")
"""Run by tests of their own: the demo's, this suite itself, and the daemon's."""


@attrs.frozen
class Network:
    """Two agents; `environment` leads the commands to the first."""

    environment: dict[str, str]
    http: int


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("readme")
    key, port = NetworkKey.generate().text, str(free_discovery_port())
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    processes = []
    ready = []
    for number in (1, 2):
        state = folder / f"state{number}"
        command = [sys.executable, "-m", "praxis", "run", "--config", f"configs/agent{number}.yaml"]
        command += [f"--set={port}=0" for port in PORTS]
        if number == 2:
            command.append(f"--set=agent.shared_dir={folder}/shared")
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**kept, "PRAXIS_NETWORK_KEY": key, "PRAXIS_STATE_DIR": str(state), "DISCOVERY_PORT": port},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        ready.append(json.loads(process.stdout.readline())["ready"])
    network = Network({**kept, "PRAXIS_STATE_DIR": str(folder / "state1")}, ready[0]["http"][1])
    until(lambda: {"write_file", "greet"} <= set(re.findall(r"/(\w+)", run(network, "praxis tools").stdout)))
    yield network
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=20)


def run(network: Network, command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("localhost:8000", f"localhost:{network.http}"))
    if words[0] == "praxis":
        words[:1] = [sys.executable, "-m", "praxis"]
    return subprocess.run(words, cwd=ROOT, env=network.environment, capture_output=True, text=True, timeout=30)


def test_the_readme_shows_something() -> None:
    assert len(COMMANDS) >= 8
    assert len(PROGRAMS) >= 1
    assert set(ELSEWHERE) <= set(COMMANDS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(agents: Network, program: str) -> None:
    done = run(agents, shlex.join(["praxis", "exec", program]))
    assert done.returncode == 0, done.stderr
    assert "Hello from Praxis!" in done.stdout


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ELSEWHERE])
def test_commands(agents: Network, command: str) -> None:
    run(agents, "praxis call write_file filename=hello.txt content=Hello")
    done = run(agents, command)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if command.startswith("curl"):
        assert json.loads(done.stdout)["status"] == "succeeded"


def test_inline_commands_exist() -> None:
    """What the text names in passing is a verb with these options."""
    inline = {text for text in re.findall(r"`(praxis [^`]+)`", README) if "NAME" not in text}
    assert inline
    for text in inline:
        words = shlex.split(text)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "praxis", *[w for w in words if not w.startswith("-")], "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, text
        for option in (w for w in words if w.startswith("-")):
            assert option in done.stdout, text


def test_the_ports_are_the_defaults() -> None:
    from praxis.config.schema import Config

    config = Config()
    shown = dict(re.findall(r"^\| (\w+) \| (\d+)", README, re.MULTILINE))
    assert shown["HTTP"] == str(config.http.port)
    assert shown["WebSocket"] == str(config.websocket.port)
    assert shown["SSE"] == str(config.sse.port)
    assert shown["P2P"] == str(config.p2p.port)
    assert shown["discovery"] == str(config.p2p.discovery.port)


def test_files_that_it_links_to_exist() -> None:
    for link in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / link).exists(), link
