"""Every shell script of the project, as shellcheck reads it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.agent.test_agent_daemon import ROOT

SCRIPTS = [*ROOT.glob("scripts/*.sh"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci" / "run"]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck: run scripts/test.sh --full")
def test_shellcheck_finds_nothing() -> None:
    assert len(SCRIPTS) >= 6
    done = subprocess.run(["shellcheck", "--external-sources", *SCRIPTS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_script_can_be_run_and_stops_at_errors() -> None:
    for script in SCRIPTS:
        text = script.read_text()
        if script.name == "environment.sh":  # sourced by the others
            continue
        assert script.stat().st_mode & 0o111 == 0o111, script
        assert text.startswith("#!/usr/bin/env bash\n"), script
        assert "\nset -euo pipefail\n" in text or script.name == "healthcheck.sh", script
