"""Where the peers of the MCP benchmark live: each in an environment of its own, made once, in a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = {
    "sdk": ("mcp==2.3.0",),
    "fastmcp": ("fastmcp==4.2.3",),
    "mcp-proxy": ("mcp-proxy==0.13.0", "mcp<2"),
}
EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"


def interpreter(name: str) -> Path:
    """The interpreter of an environment with a peer, made if it is not there."""
    folder = _home() / name
    wanted = " ".join(PYTHON[name])
    if not _has(folder, wanted):
        print(f"installing {wanted} into {folder} ...", file=sys.stderr)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *PYTHON[name]])
        (folder / "installed").write_text(wanted)
    return folder / "bin/python"


def everything() -> list[str] | None:
    """The command of the TypeScript SDK's server; None without npm."""
    if shutil.which("npm") is None:
        return None
    folder = _home() / "typescript"
    if not _has(folder, EVERYTHING):
        print(f"installing {EVERYTHING} into {folder} ...", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", EVERYTHING], cwd=folder)
        (folder / "installed").write_text(EVERYTHING)
    return [str(folder / "node_modules/.bin/mcp-server-everything"), "stdio"]


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "praxis-bench"


def _has(folder: Path, wanted: str) -> bool:
    stamp = folder / "installed"
    return stamp.exists() and stamp.read_text() == wanted


def _run(command: list[str], cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, stdout=sys.stderr, check=True)
