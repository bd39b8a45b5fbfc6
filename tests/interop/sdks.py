"""The official SDKs, installed from their registries, once, each where no other is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = {"1": ("mcp==1.30.0",), "2": ("mcp==2.3.0", "trio")}
A2A = ("a2a-sdk==1.3.0",)
TYPESCRIPT = {"1": "@modelcontextprotocol/sdk@1.32.2", "2": "@modelcontextprotocol/client@2.4.0"}
INSTALL_TIMEOUT = 300.0


def python_sdk(major: str) -> Path:
    """An interpreter that has the Python SDK of this major version."""
    return _interpreter(f"python-{major}", PYTHON[major])


def a2a_sdk() -> Path:
    """An interpreter that has the Python SDK of A2A."""
    return _interpreter("a2a", A2A)


def _interpreter(name: str, packages: tuple[str, ...]) -> Path:
    folder = _home() / name
    if not _has(folder, " ".join(packages)):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *packages])
        (folder / "installed").write_text(" ".join(packages))
    return folder / "bin/python"


def typescript_sdk(major: str) -> Path:
    """A folder in which node finds the TypeScript SDK of this major version."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = _home() / f"typescript-{major}"
    if not _has(folder, TYPESCRIPT[major]):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", TYPESCRIPT[major]], cwd=folder)
        (folder / "installed").write_text(TYPESCRIPT[major])
    return folder


def _home() -> Path:
    if not os.environ.get("PRAXIS_FULL"):
        pytest.skip("installs the official SDKs from their registries: run scripts/test.sh --full")
    return Path(os.environ.get("PRAXIS_INTEROP_HOME") or Path.home() / ".cache" / "praxis-interop")


def _has(folder: Path, packages: str) -> bool:
    stamp = folder / "installed"
    return stamp.exists() and stamp.read_text() == packages


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
