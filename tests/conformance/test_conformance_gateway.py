"""The official conformance suite through agents: in front of the fixture on stdio, and with it on another agent, which
the first one reaches over a line between peers alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from praxis.dev import free_discovery_port
from praxis.peers.keyring import NetworkKey
from tests.conformance.suite import REVISIONS, Suite, installed_suite

FIXTURE = Path(__file__).with_name("fixture_server.py")
SERVER = {
    "name": "fixture",
    "command": sys.executable,
    "args": [str(FIXTURE), "--stdio"],
    "ask": ["sampling", "elicitation", "roots"],
}
PLACES = {"here": ("/mcp/servers/fixture", 1), "elsewhere": ("/mcp/servers/agent-2/fixture", 2)}


def settings(folder: Path, number: int, key: str, port: int) -> dict[str, Any]:
    """A configuration: agent 2 has the fixture, and so has agent 1 where it is alone."""
    name = f"agent-{number}"
    return {
        "agent": {"name": name, "stop_grace": 1.0},
        "state_dir": str(folder / name),
        "p2p": {"port": 0, "security": {"network_keys": [key]}, "discovery": {"port": port}},
        "http": {"port": 0},
        "sse": {"enabled": False},
        "websocket": {"enabled": False},
    }


@contextmanager
def agent(folder: Path, settings: dict[str, Any]) -> Iterator[str]:
    """`praxis run`, ready; gives the address of its HTTP API."""
    config = folder / f"{settings['agent']['name']}.yaml"
    config.write_text(json.dumps(settings))  # which is YAML too
    command = [sys.executable, "-m", "praxis", "run", "--config", str(config)]
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        try:
            host, port = json.loads(process.stdout.readline())["ready"]["http"]
            yield f"http://{host}:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def suite() -> Suite:
    return installed_suite()


@pytest.fixture(scope="module", params=sorted(PLACES))
def url(suite: Suite, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gateway")
    path, count = PLACES[request.param]
    key, port = NetworkKey.generate().text, free_discovery_port()
    configs = [settings(folder, number, key, port) for number in range(1, count + 1)]
    configs[-1] |= {"mcp": {"servers": [SERVER]}, "export": {"tools": ["fixture/*"], "resources": ["fixture"]}}
    with ExitStack() as stack:
        addresses = [stack.enter_context(agent(folder, config)) for config in configs]
        wait_for_tools(addresses[0])
        yield addresses[0] + path


def wait_for_tools(address: str) -> None:
    """Until the fixture's tools can be reached from there."""
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"{address}/tools") as answer:
            if any(tool["source"] == "fixture" for tool in json.load(answer)["tools"]):
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.registry
@pytest.mark.parametrize("revision", REVISIONS)
def test_every_required_scenario_is_passed(suite: Suite, url: str, revision: str, tmp_path: Path) -> None:
    required = suite.required("server", revision)
    passed = suite.test_server(url, revision, tmp_path / "results")
    failed = [name for name in required if not passed.get(name)]
    assert failed == [], (tmp_path / f"{revision}.log").read_text()[-6000:]
