"""What docs/mcp-servers.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from praxis.config.load import load
from praxis.config.schema import McpLimits
from praxis.tools import mcp_backoff, mcp_sources
from praxis.tools.mcp_pins import PINNED
from praxis.wire import mcp_probe

TEXT = (Path(__file__).parents[2] / "docs" / "mcp-servers.md").read_text()


def test_the_example_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "agent.yaml"
    file.write_text(example)
    config = load(file, environ={"HOME": "/home/x", "TICKETS_TOKEN": "secret"}).config
    assert [server.name for server in config.mcp_servers] == ["files", "tickets", "old", "tools.example"]
    assert config.mcp_servers[1].headers == {"Authorization": "Bearer secret"}
    assert config.mcp.quarantine_changes


def test_every_limit_is_there() -> None:
    (table,) = re.findall(r"\| limit \| bounds \|\n(.*?)\n\n", TEXT, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", table)) - {"timeout"} == {field.name for field in attrs.fields(McpLimits)}


def test_numbers_and_names() -> None:
    assert f"silent for {mcp_probe.PROBE_LIMIT:g} s" in TEXT
    assert f"doubled up to {mcp_backoff.MAX_PAUSE:g} s" in TEXT
    assert f"`{mcp_sources.VERDICTS}`" in TEXT
    assert f"`{mcp_sources.PINS}`: SHA-256 of name, title, description, schemas and annotations" in TEXT
    assert PINNED == ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
