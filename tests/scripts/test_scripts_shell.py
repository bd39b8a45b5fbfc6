"""Every shell script of the project, as shellcheck reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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


# -- the environment ------------------------------------------------------------------------------


def in_environment(folder: Path, command: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Runs a function of environment.sh in a folder of its own."""
    script = f"set -euo pipefail; . {ROOT}/scripts/environment.sh; {command}"
    environ = {"PATH": os.environ["PATH"], "PYTHON": python}
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.skipif(not find_spec("ensurepip"), reason="needs the package python3-venv")
def test_an_environment_that_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    (tmp_path / ".venv" / "installed").touch()
    done = in_environment(tmp_path, "make_venv")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / ".venv" / "installed").exists()
    assert (
        subprocess.run([tmp_path / ".venv/bin/python", "-m", "pip", "--version"], capture_output=True).returncode == 0
    )
    (tmp_path / ".venv" / "mine").touch()
    assert in_environment(tmp_path, "make_venv").returncode == 0
    assert (tmp_path / ".venv" / "mine").exists()


def test_an_environment_that_does_not_hold_the_package_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "setup.cfg").touch()
    (tmp_path / ".venv" / "installed").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    calls = tmp_path / "calls"
    python.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n[ "$1" != -I ]\n')  # all works but to import the package
    python.chmod(0o755)
    assert in_environment(tmp_path, "make_environment ''").returncode == 0
    assert [line.split()[:3] for line in calls.read_text().splitlines()] == [
        ["-I", "-c", "import"],
        ["-m", "pip", "--version"],
        ["-m", "pip", "install"],
    ]
    python.write_text("#!/bin/sh\n")
    assert in_environment(tmp_path, "make_environment ''").stderr == ""


def test_a_python_without_venv_is_told_in_one_line(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = in_environment(tmp_path, "make_venv", str(python))
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    said = f"{python} cannot make virtual environments; on Debian and Ubuntu: apt install {package}\n"
    assert (done.returncode, done.stderr) == (2, said)
    assert not (tmp_path / ".venv").exists()
