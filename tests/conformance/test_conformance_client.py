"""The official conformance suite against our client: every required scenario that needs no authorization server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.interop_kit import full, installed, npm

pytestmark = full

CLIENT = Path(__file__).with_name("client.py")
SUITE = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22.23.3")
SCENARIOS = {
    "2025-11-25": ("initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"),
    "2026-07-28": (
        "tools_call",
        "request-metadata",
        "sep-2322-client-request-state",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
        "json-schema-2020-12-preservation",  # not required
    ),
}


@pytest.mark.parametrize(
    ("revision", "scenario"), [(revision, name) for revision, names in SCENARIOS.items() for name in names]
)
def test_a_scenario(revision: str, scenario: str, tmp_path: Path) -> None:
    folder = installed("conformance", SUITE, lambda folder: npm(folder, SUITE)) / "node_modules"
    done = subprocess.run(
        [
            str(folder / ".bin/node"),
            str(folder / "@modelcontextprotocol/conformance/dist/index.js"),
            "client",
            *("--command", f"{sys.executable} {CLIENT}"),
            *("--scenario", scenario),
            *("--spec-version", revision),
            *("-o", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
    )
    output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert "OVERALL: PASSED" in output, output
    assert re.search(r"Passed: (\d+)/\1, 0 failed, 0 warnings", output), output
