"""The official SDKs, as clients of our server stack: over streamable HTTP, HTTP+SSE and stdio, in both eras."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.fixture_service import CATALOG
from tests.interop.sdks import python_sdk, typescript_sdk

HERE = Path(__file__).parent
SERVER = HERE.parents[0] / "conformance" / "fixture_server.py"
STDIO = (sys.executable, str(SERVER), "--stdio")
PATIENCE = 60.0
"""Seconds for one client and all its calls, on a machine that does much else."""
SEEN = {
    "simple": "This is a simple text response for testing.",
    "failed": True,
    "logging": "logged three times",
    "progress": "made progress three times",
    "elicitation": 'User response: action=accept, content={"username": "Ann", "email": "a@b"}',
    "sampling": "LLM response: Paris",
    "input": "both rounds are done",
    "header": "region=größe",
    "prompts": 5,
    "resource": "This is the content of the static text resource.",
}
LOGS = ["Tool execution started", "Tool processing data", "Tool execution completed"]
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Where the fixture server is served over HTTP."""
    with subprocess.Popen([sys.executable, str(SERVER), "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().removesuffix("/mcp")
        finally:
            server.terminate()


def target(kind: str, base: str) -> list[str]:
    return [kind, *STDIO] if kind == "stdio" else [kind, f"{base}/{'sse' if kind == 'sse' else 'mcp'}"]


def seen_by(*command: str | Path, cwd: Path | None = None) -> dict[str, Any]:
    """What a caller saw, without what the server lists, which must be its whole catalogue."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("tools") == [tool["name"] for tool in json.loads(CATALOG.read_text())["tools"]]
    return seen


@pytest.mark.parametrize("kind", ["http", "sse", "stdio"])
def test_python_1(kind: str, base: str) -> None:
    seen = seen_by(python_sdk("1"), HERE / "callers/python_1.py", *target(kind, base), "asyncio")
    assert seen == {**SEEN, "version": "2025-11-25", "logs": LOGS, "steps": [0, 50, 100]}


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("kind", "backend"), [("http", "asyncio"), ("http", "trio"), ("stdio", "asyncio")])
def test_python_2(kind: str, backend: str, mode: str, base: str) -> None:
    seen = seen_by(python_sdk("2"), HERE / "callers/python_2.py", *target(kind, base), mode, backend)
    assert seen == {**SEEN, "version": ERAS[mode], "logs": LOGS, "steps": [0, 50, 100]}


@pytest.mark.parametrize("kind", ["http", "sse", "stdio"])
def test_typescript_1(kind: str, base: str) -> None:
    folder = typescript_sdk("1")
    shutil.copy(HERE / "callers/typescript.mjs", folder)
    seen = seen_by("node", "typescript.mjs", "1", *target(kind, base), "legacy", cwd=folder)
    assert seen.pop("version") in ("2025-11-25", None)  # it does not always tell
    assert seen == {**SEEN, "logs": LOGS, "steps": [0, 50, 100]}


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("kind", ["http", "stdio"])
def test_typescript_2(kind: str, mode: str, base: str) -> None:
    folder = typescript_sdk("2")
    shutil.copy(HERE / "callers/typescript.mjs", folder)
    seen = seen_by("node", "typescript.mjs", "2", *target(kind, base), mode, cwd=folder)
    assert seen.pop("steps")[:3] == [0, 50, 100]  # in the later era it counts its own rounds of input as well
    assert seen == {**SEEN, "version": ERAS[mode], "logs": LOGS if mode == "legacy" else []}
