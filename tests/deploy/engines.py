"""Container engines of the tests' own, each in a network namespace of its own, and gone when the tests are over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

ROOT = Path(__file__).parents[2]
needed = [
    pytest.mark.engine,
    pytest.mark.skipif(
        not os.environ.get("PRAXIS_FULL") or os.geteuid() != 0,
        reason="needs a container engine: run scripts/test.sh --full as root",
    ),
]
"""The marks of tests that use one."""
HELD = """
import json, os, sys
names = ("DOCKER_HOST", "DOCKER_CONFIG", "PATH", "HOME")
env = {name: os.environ[name] for name in names if name in os.environ}
print(json.dumps({"pid": os.getpid(), "env": env}), flush=True)
sys.stdin.read()
"""
"""The command beside the engine: says where it is, and ends with our end of its standard input."""


@attrs.frozen
class Engine:
    pid: int
    """A process in the engine's network namespace."""
    env: dict[str, str]

    def try_run(self, *command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the engine's host: with its network and its settings."""
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command],
            env={**self.env, **environ},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def run(self, *command: str | Path, **environ: str) -> str:
        done = self.try_run(*command, **environ)
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def inspect(self, container: str) -> Any:
        return json.loads(self.run("docker", "inspect", f"praxis-{container}-1"))[0]


@contextmanager
def started(script: str) -> Iterator[Engine]:
    """An engine that this script in this folder starts, beside the command that it runs."""
    command = [str(ROOT / "tests" / "deploy" / script), sys.executable, "-c", HELD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the engine did not come up; its words are on standard error"
        place = json.loads(line)
        yield Engine(place["pid"], place["env"])
        process.stdin.close()
        assert process.wait(60) == 0
    scratch = Path(place["env"]["DOCKER_HOST"].removeprefix("unix://")).parent
    assert not scratch.exists()
