"""The demo as a user starts it, and as a user stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.test_agent_daemon import ROOT
from tests.support.processes import alive

PATIENCE = 30.0
"""Seconds until something that does not happen is a failure; the whole demo takes one."""
CONFIGS = ("agent1.yaml", "agent2.yaml")

IMPATIENT = "import sys; from praxis.cli import demo_steps, main; demo_steps.MEETING = 1.5; sys.exit(main())"
"""The demo, but with less time for the agents to find each other."""

Demo = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    started = []

    def go(*arguments: str, program: str = "") -> subprocess.Popen[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, *(["-c", program] if program else ["-m", "praxis"]), "demo", *arguments],
            cwd=ROOT,
            env={**kept, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield go
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What it prints up to the line with `text`."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended without {text!r}: {said}")


def processes(said: str) -> list[int]:
    pids = [int(pid) for pid in re.findall(r"process (\d+)", said)]
    assert len(set(pids)) >= 2, said
    return pids


def wait_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.005)


def test_the_script_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "demo.sh", "--once", "--ports", "auto"],
        env={**os.environ, "TMPDIR": str(tmp_path), "PRAXIS_NETWORK_KEY": "rubbish", "HTTP_PORT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert re.search(r"praxis-agent-1 +praxis-agent-2 +connected", said)
    assert re.search(r"praxis-agent-2 +praxis-agent-1 +connected", said)
    assert "praxis-agent-2: wrote 18 bytes to hello.txt" in said
    assert "praxis-agent-2: Hello from Praxis!" in said
    assert re.search(r"praxis-agent-1: .*Praxis", said), "greet"
    assert re.search(r"process \d+ on praxis-agent-2 was gone [\d.]+ ms later", said)
    assert "\x1b" not in said
    wait_gone(processes(said))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_a_signal_and_what_it_advises_works(demo: Demo, tmp_path: Path, number: int) -> None:
    process = demo("--ports", "auto")
    said = read_until(process, "mcpServers")
    [curl] = re.findall(r"^  (curl .*)$", said, re.MULTILINE)
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=20)
    assert json.loads(done.stdout)["steps"][0]["route"]["agent"] == "praxis-agent-2"
    [command] = re.findall(r"^  (\S.* tools --url .*)$", said, re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20)
    assert "write_file" in done.stdout
    entry = json.loads(said.splitlines()[-1])["mcpServers"]["context"]
    assert Path(entry["args"][0]).is_file()

    process.send_signal(number)
    rest, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "Stopping both agents" in rest
    wait_gone(processes(said))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_demo_leaves_no_agent(demo: Demo) -> None:
    process = demo("--ports", "auto")
    pids = processes(read_until(process, "They find each other"))
    process.kill()
    wait_gone(pids)


def test_a_busy_port_is_named_with_what_helps(demo: Demo, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        configs = changed_configs(tmp_path, {"port: 8091": f"port: {port}"})
        process = demo("--once", "--configs", str(configs))
        said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert said == ""
    assert f"port {port} on 127.0.0.1 (websocket of praxis-agent-2): in use" in errors
    assert "--ports auto" in errors
    assert errors.count("in use") == 1 + sum(f"port {known}" in errors for known in DEFAULTS)


DEFAULTS = (8000, 8001, 8090, 9000, 9001, 4001, 4002)
"""Whatever else runs on this machine may have them."""


def changed_configs(folder: Path, changes: dict[str, str]) -> Path:
    configs = folder / "configs"
    configs.mkdir()
    (folder / "mcp_servers").symlink_to(ROOT / "mcp_servers")
    for name in CONFIGS:
        text = (ROOT / "configs" / name).read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        (configs / name).write_text(text)
    return configs


def test_a_mistake_in_a_configuration_is_said_before_anything_starts(demo: Demo, tmp_path: Path) -> None:
    configs = changed_configs(tmp_path, {"http:": "htpt:"})
    process = demo("--once", "--ports", "auto", "--configs", str(configs))
    said, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (2, "")
    assert "did you mean" in errors


@pytest.mark.parametrize(
    ("changes", "code", "step", "what"),
    [
        ({"http:\n  port": "http:\n  host: 0.0.0.0\n  port"}, 1, "starting", "ended with status 2 before it was ready"),
        ({"context_server.py": "gone.py"}, 5, "finding each other", "cannot reach greet"),
        ({"  tools: [": "  tools: [] # ["}, 5, "finding each other", "cannot reach long_task, read_file, write_file"),
    ],
)
def test_what_goes_wrong_is_said_with_the_step_and_the_logs(
    demo: Demo, tmp_path: Path, changes: dict[str, str], code: int, step: str, what: str
) -> None:
    configs = changed_configs(tmp_path, changes)
    process = demo("--once", "--ports", "auto", "--configs", str(configs), program=IMPATIENT)
    said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert f"the demo failed at the step '{step}'" in errors
    assert what in errors
    assert "the end of the log of praxis-agent-2" in errors
    assert "Traceback" not in errors
    wait_gone([int(pid) for pid in re.findall(r"process (\d+)", said)])
    assert not list(tmp_path.glob("praxis-demo-*"))


def test_no_configurations(demo: Demo, tmp_path: Path) -> None:
    process = demo("--configs", str(tmp_path / "nowhere"))
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "no agent1.yaml and agent2.yaml in" in errors
    assert "--configs" in errors
