"""The official A2A SDK, as a client of an agent: in 1.0, and in 0.3 as its compatibility has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from praxis.config.schema import Config, Mcp, McpServer
from tests.api.api_kit import Served, serving
from tests.interop.sdks import a2a_sdk

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds for one client and all its calls, on a machine that does much else."""
SEEN = {
    "skills": 1,
    "sent": ["COMPLETED", "hello"],
    "same": True,
    "graph": ["COMPLETED", "talk", "read"],
    "failed": "FAILED",
    "working": ["WORKING", True],
    "cancelled": ["CANCELED", True],
    "watched": ["task WORKING", "status_update WORKING", "status_update CANCELED"],
    "left": ["WORKING", True],
    "refused": [
        "TaskNotFoundError",
        "TaskNotCancelableError",
        "UnsupportedOperationError",
        "UnsupportedOperationError",
        "InvalidParamsError",
        "PushNotificationNotSupportedError",
    ],
    "tools": True,
    "again": [304, True],
}

pytestmark = pytest.mark.registry


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Served]:
    server = McpServer("napping", command=sys.executable, args=(str(HERE / "napping_server.py"), str(tmp_path / "pid")))

    def change(config: Config) -> Config:
        return attrs.evolve(config, mcp=Mcp(servers=(server,)))

    with serving(tmp_path, change=change) as served:
        yield served


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_python(version: str, agent: Served, tmp_path: Path) -> None:
    words = [str(a2a_sdk()), str(HERE / "callers/a2a_python.py"), f"http://127.0.0.1:{agent.port}", version]
    words.append(str(tmp_path / "pid"))
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    streamed = seen.pop("streamed")
    assert (streamed[0], streamed[-1]) in (
        ("task SUBMITTED", "status_update COMPLETED"),
        ("task WORKING", "status_update COMPLETED"),
    )
    assert "artifact_update" in streamed
    listed = {"listed": [True, 1, ""]} if version == "1.0" else {}
    assert seen == {**SEEN, "version": version, **listed}
