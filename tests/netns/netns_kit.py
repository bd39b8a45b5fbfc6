"""Real agents on the hosts of a test, asked over their local sockets, which no network reaches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from praxis.cli.client import Client
from praxis.peers.keyring import NetworkKey
from tests.support.namespaces import Host, Place

ROOT = Path(__file__).parents[2]
KEY = NetworkKey(bytes(range(32))).text
PATIENCE = 20.0
"""Seconds until something that does not happen is a failure."""
LOCAL_ONLY = ("http.enabled=false", "websocket.enabled=false", "sse.enabled=false")
QUICK = ("p2p.keepalive.interval=1", "p2p.keepalive.timeout=1")
"""For tests that need not wait as long as users may."""
ANSWERS = f"""
export: {{tools: ["answers/*", "fs/*"]}}
mcp:
  servers:
    - {{name: answers, command: {sys.executable}, args: [{Path(__file__).with_name("answer_server.py")}]}}
"""


@attrs.frozen
class Problem:
    """How a call failed, and after how many seconds."""

    code: str
    detail: str
    seconds: float


@attrs.define(eq=False)
class Agent:
    """A running `praxis run`."""

    name: str
    host: Host
    folder: Path
    settings: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    peer_id: str = ""
    ready_at: float = 0.0
    """Seconds since the epoch when it was ready, and so had announced itself."""

    def begin(self) -> None:
        """Start it; `wait_ready` comes next, so that several start at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "agent.yaml").write_text(ANSWERS)
        settings = (f"agent.name={self.name}", "agent.stop_grace=0", "p2p.host=0.0.0.0", *LOCAL_ONLY, *self.settings)
        command = [sys.executable, "-m", "praxis", "run", "--config", str(self.folder / "agent.yaml")]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.host.command(*command, *(f"--set={setting}" for setting in settings)),
                cwd=ROOT,
                env={**kept, "PRAXIS_STATE_DIR": str(self.folder), "PRAXIS_NETWORK_KEY": KEY},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def wait_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.name} did not start"
        self.ready_at = time.time()
        self.peer_id = json.loads(line)["ready"]["peer_id"]

    def kill(self) -> None:
        """As a crash does: nobody is told."""
        if self.process is not None and self.running:
            self.process.kill()
            self.process.communicate()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def stop(self) -> None:
        """As an operator does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def client(self, timeout: float = 60.0) -> Client:
        return Client(f"unix:{self.folder}/api.sock", timeout=timeout)

    def peers(self) -> Mapping[str, Mapping[str, Any]]:
        """What it knows of the others, by name."""
        return {peer["name"]: peer for peer in self.client().request("GET", "/peers")["peers"]}

    def connected(self) -> set[str]:
        """The peers that it has a line to and whose tools it knows, those of their server too."""
        return {name for name, peer in self.peers().items() if peer["connected"] and "answers/echo" in peer["tools"]}

    def call(self, tool: str, timeout: float = 60.0, **arguments: Any) -> str | Problem:
        """The text that the tool answers, or how the call failed."""
        began = time.monotonic()
        status, _, raw = self.client(timeout).exchange("POST", "/call", {"tool": tool, "arguments": arguments})
        answer = json.loads(raw)
        if status != 200:
            return Problem(answer["code"], answer["detail"], time.monotonic() - began)
        assert not answer.get("isError"), answer
        return str(answer["content"][0]["text"])

    def problem_of(self, tool: str, **arguments: Any) -> Problem:
        """How the call failed, as it has to."""
        answer = self.call(tool, **arguments)
        assert isinstance(answer, Problem), answer
        return answer


class Call:
    """A call under way, in a thread of its own."""

    def __init__(self, agent: Agent, tool: str, **arguments: Any) -> None:
        self._answer: str | Problem | None = None
        self.ended_at = 0.0

        def work() -> None:
            self._answer = agent.call(tool, **arguments)
            self.ended_at = time.monotonic()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        # It is there when the caller counts it as load of the peer.
        until(lambda: any(peer["load"] for peer in agent.peers().values()))

    def problem(self, timeout: float) -> Problem:
        """How it failed, within so many seconds from now."""
        self._thread.join(timeout)
        assert isinstance(self._answer, Problem), f"after {timeout:g} s: {self._answer}"
        return self._answer


@contextmanager
def agents(place: Place, folder: Path, *settings: str, **hosts: Host) -> Iterator[Sequence[Agent]]:
    """One agent for each name, on its host, all with these settings. They are killed at the end; pytest shows
    what they logged when a test fails."""
    started = [Agent(name, host, folder / name, settings) for name, host in hosts.items()]
    try:
        for agent in started:
            agent.begin()
        for agent in started:
            agent.wait_ready()
        yield started
    finally:
        for agent in started:
            agent.kill()
            print(f"--- the log of {agent.name}\n{agent.log}")


def until(holds: Callable[[], object], patience: float = PATIENCE) -> float:
    """Wait for what other processes do; the seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - began


def until_all_connected(*together: Agent, patience: float = PATIENCE) -> None:
    """Wait until each has a line to each other one."""
    names = {agent.name for agent in together}
    for agent in together:
        until(lambda agent=agent: agent.connected() >= names - {agent.name}, patience)  # type: ignore[misc]
