"""`praxis dev` as a user starts it: what it advises works, and nothing is left."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from praxis.cli.client import OK
from tests.cli.test_cli_exit_codes import ENVIRON, ROOT
from tests.support.network import PATIENCE

PRAXIS = [sys.executable, "-m", "praxis"]


def test_what_it_advises_works_and_nothing_is_left(tmp_path: Path) -> None:
    environ = {**ENVIRON, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*PRAXIS, "dev"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as dev:
        try:
            assert dev.stderr is not None
            said = []
            for line in dev.stderr:
                said.append(line.removeprefix("praxis: ").strip())
                if "Ctrl-C ends" in line:
                    break
            start = said.index("next, in another terminal:")
            commands = [shlex.split(line) for line in said[start + 1 : -1]]
            assert [command[0] for command in commands] == ["praxis", "praxis", "praxis", "curl"]
            for command in commands[:3]:
                done = subprocess.run([*PRAXIS, *command[1:]], cwd=ROOT, env=environ, capture_output=True, text=True)
                assert done.returncode == OK, (command, done.stderr)
            url, body = commands[3][3], commands[3][7]
            with urlopen(Request(url, body.encode(), {"content-type": "application/json"})) as answer:
                run = json.load(answer)
            assert run["status"] == "succeeded"
            assert "hello.txt" in run["steps"][0]["result"]["content"][0]["text"]
        finally:
            dev.send_signal(signal.SIGTERM)
            dev.communicate(timeout=PATIENCE)
    assert dev.returncode == OK
    assert list(tmp_path.iterdir()) == []
