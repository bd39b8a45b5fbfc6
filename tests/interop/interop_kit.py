"""Servers of other people, installed once from the registries, in pinned versions, into the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from praxis.config.schema import McpLimits, McpServer
from praxis.model.tool import CallContext
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_source import McpSource
from praxis.tools.source import SourceState

PYTHON_PACKAGES = ("mcp==2.3.0", "mcp-server-time==2026.10.19", "mcp-server-git==2026.10.19")
NODE_PACKAGES = (
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
)
START_LIMIT = 60.0
"""Seconds until a server must be ready: Python's import a lot, on a machine that others use too."""

full = pytest.mark.skipif(
    not os.environ.get("PRAXIS_FULL"), reason="needs package registries: run scripts/test.sh --full"
)


def python_servers() -> Path:
    """The folder with the programs of PYTHON_PACKAGES."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PYTHON_PACKAGES], check=True)

    return installed("python", PYTHON_PACKAGES, install) / "venv/bin"


def node_servers() -> Path:
    """The folder with the programs of NODE_PACKAGES."""
    return installed("node", NODE_PACKAGES, lambda folder: npm(folder, NODE_PACKAGES)) / "node_modules/.bin"


def npm(folder: Path, packages: Sequence[str]) -> None:
    """Install packages into a folder; skips the test where there is no npm."""
    program = shutil.which("npm")
    if program is None:
        pytest.skip("needs npm")
    (folder / "package.json").write_text('{"private": true}')
    subprocess.run(
        [program, "install", "--no-audit", "--no-fund", "--loglevel=error", *packages], cwd=folder, check=True
    )


def installed(kind: str, packages: Sequence[str], install: Callable[[Path], None]) -> Path:
    """The folder for these packages, installed now if it was not before, by one process at a time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "praxis-interop"
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = cache / name
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / "installed").touch()
    return folder


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Answers:
    """Whoever is asked: says yes to everything and remembers what it was."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.progress: list[Mapping[str, Any]] = []

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(method)
        if method == "sampling/createMessage":
            return {"role": "assistant", "model": "none", "content": {"type": "text", "text": "sampled"}}
        return {"action": "accept", "content": {}}

    @property
    def context(self) -> CallContext:
        return CallContext(
            "interop",
            ask=self.ask,
            capabilities={"sampling": {}, "elicitation": {"form": {}}},
            on_progress=self.progress.append,
        )


@asynccontextmanager
async def source_of(server: McpServer) -> AsyncIterator[McpSource]:
    """A source of the server, once it is ready."""
    states: list[SourceState] = []
    ready = trio.Event()

    def look(state: SourceState) -> None:
        states.append(state)
        if state.state == "ready":
            ready.set()

    source = McpSource(
        server,
        McpLimits(retry_backoff_ms=200, retry_attempts=100),
        "agent-1",
        base_dir=Path.cwd(),
        on_change=lambda: None,
        metrics=Metrics(),
        on_state=look,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        with trio.move_on_after(START_LIMIT):
            await ready.wait()
        assert ready.is_set(), states[-1]
        yield source
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running(program: Path, *args: str, env: Mapping[str, str]) -> AsyncIterator[None]:
    """A server that is reached by HTTP, as a process of its own."""
    whole = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env}
    process = await trio.lowlevel.open_process(
        [str(program), *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=whole
    )
    try:
        yield
    finally:
        process.terminate()
        with trio.move_on_after(5) as scope:
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
            await process.wait()
