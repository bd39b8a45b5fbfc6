"""One agent of `praxis demo`: a process of its own, which ends with the demo whatever happens to that."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from praxis.cli.client import FAILED, CommandError
from praxis.cli.demo_steps import Side

if TYPE_CHECKING:
    from praxis.config.load import Loaded

START = 30.0
"""Seconds until an agent serves. It takes one; a cold disk or a busy machine some more."""
TAIL_LINES, TAIL_BYTES, TAIL_WIDTH = 12, 16 * 1024, 300
"""What a failure shows of each log."""


class DemoAgent:
    """One agent as a process, under a guard that kills it when this process is gone."""

    def __init__(self, path: Path, loaded: Loaded, flags: Mapping[str, str], folder: Path) -> None:
        self.name: str = loaded.config.agent.name
        self.loaded = loaded
        self.side = Side(self.name, "", 0)
        self.pid = 0
        self.status: int | None = None
        self._arguments = ["--config", str(path)]
        for key, value in flags.items():
            self._arguments += ["--set", f"{key}={value}"]
        self._out, self._log = folder / "stdout", folder / "log"
        self._line: socket.socket | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        """Start the process; it is not ready yet."""
        from praxis.net import guard

        self._line, far = socket.socketpair()
        command = [sys.executable, "-I", "-S", guard.__file__, str(far.fileno()), environ.get("LC_CTYPE", "")]
        command += [sys.executable, "-m", "praxis", "run", *self._arguments]
        with far, self._out.open("wb") as out, self._log.open("wb") as log:
            self._guard = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=dict(environ),
                pass_fds=[far.fileno()],
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the agents in order
            )
        self._line.settimeout(START)
        answer = b""
        while not answer.endswith(b"\n") and (piece := self._line.recv(32)):
            answer += piece
        if not answer.strip().isdigit():
            raise CommandError(FAILED, f"cannot start {sys.executable} for {self.name}")
        self.pid = int(answer)

    def ended(self) -> bool:
        if self.status is None and self._guard is not None:
            self.status = self._guard.poll()
        return self.status is not None

    def is_ready(self) -> bool:
        """Whether it has said that it serves, and where."""
        if self.ended():
            raise CommandError(FAILED, f"{self.name} {self._end()} before it was ready")
        said, newline, _ = self._out.read_bytes().partition(b"\n")
        if not newline:
            return False
        host, port = json.loads(said)["ready"]["http"]
        self.side = Side(self.name, host, port)
        return True

    def _end(self) -> str:
        status = self.status or 0
        return f"was ended by signal {status - 128}" if status > 128 else f"ended with status {status}"

    def order(self, letter: bytes) -> None:
        """``T``: SIGTERM to the agent; ``K``: SIGKILL."""
        if self._line is not None:
            with suppress(OSError):  # it has ended already
                self._line.send(letter)

    def wait(self, seconds: float) -> None:
        """Until it has ended. Raises subprocess.TimeoutExpired."""
        if self._guard is not None:
            self.status = self._guard.wait(max(seconds, 0))

    def tail(self) -> str:
        """The end of its log, and whether it still runs."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        if self.ended():
            lines.append(f"({self.name} {self._end()})")
        return "\n".join(f"    {text[:TAIL_WIDTH]}" for text in lines)
