"""An agent as a process of its own: how it starts, stops, and fails to start."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from praxis.dev import free_discovery_port
from tests.support.processes import alive, parent_of

ROOT = Path(__file__).parents[2]
AT_ONCE = 10.0
"""Seconds that tell ending from waiting, on a busy machine too: what would be waited for takes 20 or more."""
PORTS = ("http.port", "websocket.port", "sse.port", "p2p.port")


@attrs.frozen
class Daemon:
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    def post(self, path: str, body: object) -> tuple[int, Any]:
        host, port = self.ready["http"]
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Exit code, and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(20), time.monotonic() - began


Start = Callable[..., Daemon]


def command(*settings: str) -> list[str]:
    return [sys.executable, "-m", "praxis", "run", *(f"--set={s}" for s in (*(f"{p}=0" for p in PORTS), *settings))]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PRAXIS_STATE_DIR": str(folder / "state"), "DISCOVERY_PORT": str(free_discovery_port())}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def go(*settings: str, config: str = "") -> Daemon:
        arguments = command(*settings)
        if config:
            (tmp_path / "agent.yaml").write_text(config)
            arguments += ["--config", str(tmp_path / "agent.yaml")]
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return Daemon(process, json.loads(process.stdout.readline())["ready"])

    yield go
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def config_with_sleeper(folder: Path, grace: int) -> str:
    return f"""
agent: {{shared_dir: {folder}/shared, stop_grace: {grace}}}
mcp:
  servers:
    - name: demo
      command: {sys.executable}
      args: [{ROOT}/mcp_servers/sleep_server.py]
"""


def test_sigterm_ends_an_idle_agent_at_once_with_0(start: Start) -> None:
    code, took = start("agent.stop_grace=20").stop()
    assert code == 0
    assert took < AT_ONCE


def test_what_runs_may_finish_within_the_grace(start: Start, tmp_path: Path) -> None:
    daemon = start(config=config_with_sleeper(tmp_path, grace=20))
    until_tool(daemon, "long_task")
    with subprocess.Popen(
        [sys.executable, "-c", ASK, str(daemon.ready["http"][1]), "CALL long_task 1"], stdout=subprocess.PIPE, text=True
    ) as asking:
        until(lambda: get(daemon, "/runs")["runs"])
        code, took = daemon.stop()
        said, _ = asking.communicate(timeout=20)
    assert json.loads(said)["status"] == "succeeded"
    assert code == 0
    assert took < AT_ONCE


def test_what_does_not_finish_is_cancelled_and_its_caller_told(start: Start, tmp_path: Path) -> None:
    daemon = start(config=config_with_sleeper(tmp_path, grace=3))
    until_tool(daemon, "long_task")
    pid_file = tmp_path / "pid"
    program = f"CALL long_task 60 {pid_file}"
    with subprocess.Popen(
        [sys.executable, "-c", ASK, str(daemon.ready["http"][1]), program], stdout=subprocess.PIPE, text=True
    ) as asking:
        until(lambda: pid_file.exists() and pid_file.read_text().strip())
        child = int(pid_file.read_text())
        code, took = daemon.stop()
        said, _ = asking.communicate(timeout=20)
    assert json.loads(said)["status"] == "cancelled"
    assert code == 0
    assert 3 <= took < 3 + AT_ONCE
    until(lambda: not alive(child))


def test_a_second_signal_ends_at_once(start: Start, tmp_path: Path) -> None:
    daemon = start(config=config_with_sleeper(tmp_path, grace=20))
    until_tool(daemon, "long_task")
    pid_file = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", ASK, str(daemon.ready["http"][1]), f"CALL long_task 60 {pid_file}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ):
        until(lambda: pid_file.exists() and pid_file.read_text().strip())
        child = int(pid_file.read_text())
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # real time: the signals must not fall together
        code, took = daemon.stop()
    assert code == -signal.SIGTERM
    assert took < AT_ONCE
    until(lambda: not alive(child))


def test_sigkill_leaves_no_child(start: Start, tmp_path: Path) -> None:
    daemon = start(config=config_with_sleeper(tmp_path, grace=3))
    until_tool(daemon, "long_task")
    children = descendants(daemon.process.pid)
    assert len(children) >= 2  # the guard and the server
    daemon.stop(signal.SIGKILL)
    until(lambda: all(not alive(child) for child in children))


def test_a_taken_port_is_one_line_and_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*command(), f"--set=http.port={port}"], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True
        )
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("http.prot=1", "did you mean"),
        ("http.port=99999", "expected a port from 0 to 65535"),
        ("http.host=0.0.0.0", "there is no token"),
    ],
)
def test_a_bad_configuration_is_told_and_2(tmp_path: Path, setting: str, said: str) -> None:
    done = subprocess.run(
        [*command(), f"--set={setting}"], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_two_agents_cannot_share_a_state_directory(start: Start, tmp_path: Path) -> None:
    start()
    done = subprocess.run(command(), cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2
    assert "another agent runs with this state directory" in done.stderr


def test_a_full_disk_for_the_log_costs_log_lines_which_show_and_nothing_else(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.symlink_to("/dev/full")
    daemon = start(f"logging.file={log}", f"agent.shared_dir={tmp_path}/shared")
    until(lambda: "log file" in troubles(daemon))
    assert "No space left on device" in troubles(daemon)["log file"]["reason"]
    lost = lost_lines(daemon)
    assert lost > 0
    for number in range(20):
        daemon.process.send_signal(signal.SIGHUP)  # which is logged
        status, run = daemon.post("/execute", {"dsl": f"CALL write_file {number}.txt good"})
        assert (status, run["status"]) == (200, "succeeded")
    until(lambda: lost_lines(daemon) > lost)
    assert len(list((tmp_path / "shared").glob("*.txt"))) == 20
    log.unlink()
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: "log file" not in troubles(daemon))
    assert "log records were lost here" in log.read_text()
    assert daemon.stop()[0] == 0


def troubles(daemon: Daemon) -> dict[str, Any]:
    """The checks of the agent's health that are not well."""
    checks: dict[str, dict[str, Any]] = get(daemon, "/health")["checks"]
    return {name: check for name, check in checks.items() if check["status"] != "healthy"}


def lost_lines(daemon: Daemon) -> int:
    (line,) = (line for line in read(daemon, "/metrics").splitlines() if line.startswith(LOST))
    return int(line.removeprefix(LOST))


LOST = 'praxis_log_lines_lost_total{output="file"} '


def descendants(pid: int) -> list[int]:
    """The processes below this one."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    children = [child for child in pids if is_child(child, pid)]
    return children + [below for child in children for below in descendants(child)]


def is_child(pid: int, parent: int) -> bool:
    try:
        return alive(pid) and parent_of(pid) == parent
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended between the two looks


ASK = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("POST", "/execute", json.dumps({"dsl": sys.argv[2]}), {"Content-Type": "application/json"})
print(connection.getresponse().read().decode())
"""


def get(daemon: Daemon, path: str) -> Any:
    return json.loads(read(daemon, path))


def read(daemon: Daemon, path: str) -> str:
    host, port = daemon.ready["http"]
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def until_tool(daemon: Daemon, name: str) -> None:
    until(lambda: any(tool["name"] == name for tool in get(daemon, "/tools")["tools"]))


def until(holds: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
