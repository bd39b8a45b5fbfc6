"""The examples of docs/mcp.md, against a real agent."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from praxis.cli.command import make_parser
from praxis.gateway import parked, session, sessions, stdio, stream
from praxis.gateway.names import exported_name
from praxis.gateway.own_tools import DEFINITIONS
from praxis.gateway.resume import RESUME_WITHIN
from praxis.model.tool import Tool, ToolRef
from tests.api.api_kit import Reply, Served, serving

TEXT = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()
COMMANDS = re.findall(r"^```\n(curl .*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("docs")) as served:
        yield served


def run(command: str, agent: Served) -> Reply:
    """What curl would do."""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    path, headers, body = "", dict[str, str](), b""
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word.startswith("http://127.0.0.1:8000"):
            path = word.removeprefix("http://127.0.0.1:8000")
        else:
            assert word in ("-s", "-si")
    return agent.ask("POST", path, body, headers)


def test_requests_by_hand_are_answered(agent: Served) -> None:
    later, handshake = (run(command, agent) for command in COMMANDS)
    assert later.json["result"]["structuredContent"]["steps"][0]["tool"] == "list_files"
    assert handshake.json["result"]["protocolVersion"] == "2025-11-25"
    assert handshake.headers["Mcp-Session-Id"]


def test_the_entry_for_clients_starts_a_verb_that_is_there() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    entry = json.loads(block)["mcpServers"]["praxis"]
    assert entry["command"] == "praxis"
    for arguments in (entry["args"], *map(json.loads, re.findall(r'"args": (\[[^\]]*--agent[^\]]*\])', TEXT))):
        assert make_parser().parse_args(arguments).verb.__module__ == "praxis.cli.mcp_verbs"


def test_names_are_as_the_table_says() -> None:
    rows = re.findall(r"^\| `([\w:/-]+)`[^|]*\| `(\w[\w-]*__\w+)` \|$", TEXT, re.MULTILINE)
    assert len(rows) == 2
    for full, exported in rows:
        ref = ToolRef.parse(full)
        tool = Tool(ref.agent or "me", ref.source or "", {"name": ref.name})
        assert exported_name(tool, "me") == exported
    assert all(f"| `{tool['name']}` |" in TEXT for tool in DEFINITIONS)


def test_bounds_are_as_the_table_says() -> None:
    assert f"| {sessions.MAX_SESSIONS}, of which" in TEXT and sessions.IDLE == 3600
    assert f"under way | {session.MAX_CALLS} |" in TEXT
    assert f"answers | {parked.MAX_PARKED}, ten minutes each" in TEXT and parked.PARKED_FOR == 600
    assert f"comes back | {stream.MAX_EVENTS} of a stream" in TEXT
    assert f"has {RESUME_WITHIN:g} s to come back" in TEXT and session.MAX_ROUNDS == 10
    assert stdio.MAX_LINE == 16 * 1024 * 1024
