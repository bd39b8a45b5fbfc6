"""The official Python SDK as the client. It checks structured content against the outputSchema of each tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from mcp_servers import context_server, filesystem_server

pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(
        not os.environ.get("PRAXIS_FULL"), reason="needs a package registry: run scripts/test.sh --full"
    ),
]
SDK = "mcp==2.3.0"
CLIENT = """
import json, sys
import anyio
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client

async def main(mode, command, calls):
    server = StdioServerParameters(command=command[0], args=command[1:])
    async with Client(stdio_client(server), mode=mode) as client:
        said = {"version": client.protocol_version, "tools": len((await client.list_tools()).tools), "calls": []}
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            said["calls"].append([result.is_error, result.content[0].text, result.structured_content])
        said["resources"] = [str(found.uri) for found in (await client.list_resources()).resources]
        print(json.dumps(said))

anyio.run(main, *map(json.loads, sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def sdk() -> Path:
    """A Python that has the SDK. Kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "praxis-tests" / f"{SDK.replace('==', '-')}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", SDK], check=True, stdout=subprocess.DEVNULL)
        (folder / "ready").touch()
    return python


def converse(sdk: Path, mode: str, command: list[str], *calls: tuple[str, Any]) -> Any:
    given = [json.dumps(value) for value in (mode, [sys.executable, "-I", *command], calls)]
    done = subprocess.run([sdk, "-I", "-c", CLIENT, *given], stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(done.stdout)


MODES = pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])


@MODES
def test_the_context_server(sdk: Path, mode: str, version: str) -> None:
    calls = ("calculate", {"operation": "add", "a": 1, "b": 2}), ("calculate", {"operation": "divide", "a": 1, "b": 0})
    said = converse(sdk, mode, [context_server.__file__], *calls, ("context_search", {"query": "agent", "limit": 1}))
    assert (said["version"], said["tools"], len(said["resources"])) == (version, 4, 2)
    assert said["calls"][:2] == [[False, "3", {"result": 3}], [True, "division by zero", None]]
    assert len(said["calls"][2][2]["matches"]) == 1


@MODES
def test_the_filesystem_server(sdk: Path, mode: str, version: str, tmp_path: Path) -> None:
    calls = [
        ("write_file", {"path": "a/b.txt", "content": "hello"}),
        ("search_files", {"text": "ell"}),
        ("list_directory", {"path": "a"}),
        ("list_allowed_directories", {}),
        ("read_file", {"path": "../b.txt"}),
    ]
    said = converse(sdk, mode, [filesystem_server.__file__, str(tmp_path)], *calls)
    assert (said["version"], said["tools"], said["resources"]) == (version, 7, [])
    assert [failed for failed, _, _ in said["calls"]] == [False, False, False, False, True]
    assert said["calls"][1][2]["matches"] == [{"path": "a/b.txt", "line": 1, "text": "hello"}]
    assert said["calls"][2][2]["entries"] == [{"name": "b.txt", "type": "file", "size": 5}]
    assert (tmp_path / "a" / "b.txt").read_text() == "hello"
