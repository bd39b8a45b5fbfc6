"""The official MCP conformance suite: installed from the npm registry, once, and run against a server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
"""The release that has the frozen requirement sets of both revisions."""
NODE = "node@22.23.3"
"""The suite needs a newer Node than Debian has."""
REVISIONS = ("2025-11-25", "2026-07-28")
INSTALL_TIMEOUT = 300.0
RUN_TIMEOUT = 90.0
_LINE = re.compile(r"^([✓✗]) ([\w-]+): (\d+) passed, (\d+) failed", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@attrs.frozen
class Suite:
    """`node` runs it, `root` is where it is."""

    node: Path
    root: Path

    def required(self, side: str, revision: str) -> list[str]:
        """The scenarios that a server or a client (`side`) of a revision must pass."""
        names, inside = [], False
        for line in (self.root / "requirements" / f"{revision}.yaml").read_text().splitlines():
            if re.match(r"\w+:", line):
                inside = line.startswith(f"{side}:")
            elif inside and line.startswith("  - "):
                names.append(line[4:].split()[0])
        return names

    def test_server(self, url: str, revision: str, results: Path) -> dict[str, bool]:
        """Which scenarios a server passes, required ones and others."""
        command = [str(self.node), str(self.root / "dist/index.js"), "server", "--url", url]
        command += ["--requirements", revision, "--timeout", "30000", "-o", str(results)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)
        shown = _COLOUR.sub("", done.stdout)
        (results.parent / f"{revision}.log").write_text(shown + done.stderr)
        return {name: mark == "✓" and int(failed) == 0 for mark, name, _, failed in _LINE.findall(shown)}


def installed_suite() -> Suite:
    """The suite, installed if it is not there yet; skips the test where that is not wanted or not possible."""
    if not os.environ.get("PRAXIS_FULL"):
        pytest.skip("installs the conformance suite from the npm registry: run scripts/test.sh --full")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    home = Path(os.environ.get("PRAXIS_CONFORMANCE_HOME") or Path.home() / ".cache" / "praxis-conformance")
    _install(home / "node22", NODE)
    _install(home / "suite", SUITE)
    return Suite(home / "node22/node_modules/.bin/node", home / "suite/node_modules/@modelcontextprotocol/conformance")


def _install(folder: Path, package: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == package:
        return
    if not (folder / "package.json").exists():
        (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", package]
    subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_TIMEOUT, capture_output=True, text=True)
    stamp.write_text(package)
