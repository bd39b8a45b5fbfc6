"""``praxis mcp-stdio``: what a desktop client starts, joined to a real agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from praxis.cli.client import OK, UNREACHABLE, USAGE
from tests.cli.cli_kit import Network
from tests.support.network import PATIENCE

ROOT = Path(__file__).parents[2]
HELLO: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desktop"}}


def message(method: str, id: int, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRAXIS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "praxis", "mcp-stdio", *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def failing(*arguments: str, **environment: str) -> tuple[int, str]:
    with start(*arguments, **environment) as verb:
        out, error = verb.communicate(timeout=PATIENCE)
    assert out == b"", "standard output belongs to the protocol"
    assert error.count(b"\n") == 1
    return verb.returncode, error.decode()


def test_a_desktop_client_reaches_the_whole_network_by_the_running_agent(network: Network) -> None:
    with start("--url", f"unix:{network.state(1) / 'api.sock'}") as verb:
        assert verb.stdin is not None and verb.stdout is not None
        verb.stdin.write(message("initialize", 0, **HELLO))
        verb.stdin.flush()
        hello = json.loads(verb.stdout.readline())
        assert hello["result"]["serverInfo"]["name"] == "agent-1"
        text = "größe " * 100_000
        asked = {"name": "agent-2__odd__say", "arguments": {"text": text}}
        verb.stdin.write(message("tools/call", 1, **asked))
        verb.stdin.flush()
        assert json.loads(verb.stdout.readline())["result"]["content"][0]["text"] == text
        verb.stdin.write(message("tools/call", 2, name="agent-2__odd__wait", arguments={}))
        verb.stdin.flush()
        assert network.odd.started.wait(PATIENCE)
        verb.stdin.close()
        assert verb.wait(PATIENCE) == OK
        assert network.odd.ended.wait(PATIENCE), "leaving cancels what was asked"


def test_all_that_was_asked_before_the_end_is_answered(network: Network) -> None:
    asked = message("initialize", 0, **HELLO) + message("ping", 1) + message("tools/list", 2)
    with start(PRAXIS_STATE_DIR=str(network.state(1))) as verb:
        out, error = verb.communicate(asked, timeout=PATIENCE)
    assert (verb.returncode, error) == (OK, b"")
    answers = [json.loads(line) for line in out.splitlines()]
    assert sorted(answer["id"] for answer in answers if "id" in answer) == [0, 1, 2]


def test_it_says_how_to_start_an_agent_where_there_is_none(tmp_path: Path) -> None:
    for arguments in ([], ["--agent", "nobody"], ["--url", f"unix:{tmp_path}/api.sock"]):
        code, error = failing(*arguments, HOME=str(tmp_path))
        assert code == UNREACHABLE
        assert "praxis run --config FILE" in error or "there is neither" in error


@pytest.mark.parametrize("address", ["http://10.0.0.1:8000", "nonsense"])
def test_an_agent_elsewhere_is_for_clients_that_speak_http(address: str, tmp_path: Path) -> None:
    code, error = failing("--url", address, HOME=str(tmp_path))
    assert (code, f"{address}/mcp" in error) == (USAGE, True)
