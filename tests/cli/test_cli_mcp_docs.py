"""The commands of docs/mcp-servers.md are real, and those that need nothing but this machine work."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from praxis.api.http import make_api
from praxis.cli import client_files
from praxis.cli.client import OK
from praxis.cli.command import parse
from praxis.config.entries import read_server
from praxis.config.schema import Config
from tests.api.api_kit import services_of
from tests.cli.cli_kit import Network
from tests.cli.conftest import Praxis

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "mcp-servers.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = "\n".join(block for language, block in BLOCKS if not language)
COMMANDS = re.findall(r"^praxis (mcp .*)$", LINES, re.MULTILINE)
DIRECT = [command for command in COMMANDS if re.match(r"mcp (inspect|call) 'python3", command)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command: str) -> None:
    words = shlex.split(command)
    options = parse(words)
    assert callable(options.verb)
    if words[1] == "add" and not options.server_url:
        assert options.command == words[words.index("--") + 1 :]


def test_every_action_is_shown() -> None:
    with pytest.raises(SystemExit):
        parse(["mcp", "nonsense"])
    shown = {command.split()[1] for command in COMMANDS}
    assert shown == {"ls", "add", "logs", "restart", "approve", "rm", "import", "export", "inspect", "call"}


@pytest.mark.parametrize("command", DIRECT)
def test_what_needs_no_agent_works(command: str, praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    said = praxis(*shlex.split(command))
    assert said.code == OK, said.err
    assert "42" in said.out or "tools: 4" in said.out


def test_the_request_by_hand_is_an_entry() -> None:
    (body,) = re.findall(r"/sources -H .*?-d '(\{.*?\})'$", LINES, re.MULTILINE | re.DOTALL)
    server = read_server(json.loads(body), Config(), base_dir=ROOT, environ={}, where="body")
    assert (ROOT / server.args[0]).exists()


def test_the_table_of_requests_is_whole(network: Network) -> None:
    rows = re.findall(r"^\| (`(?:GET|POST|DELETE) /sources.*?) \| .*? \| (viewer|admin) \|$", TEXT, re.MULTILINE)
    shown = {name.replace("NAME", "{name}") for cell, _ in rows for name in re.findall(r"`(.*?)`", cell)}
    app = make_api(services_of(network.agents[0].agent))
    routes = {
        f"{method} {rule.rule.replace('<', '{').replace('>', '}')}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
        if rule.rule.startswith("/sources")
    }
    assert shown == routes


def test_every_key_of_a_file_is_in_the_table() -> None:
    for key, _ in client_files._TABLES:
        assert f"| `{key}`" in TEXT or key == "amp.mcpServers"
    assert f"below {client_files._MILLISECONDS} is taken for seconds" in TEXT
