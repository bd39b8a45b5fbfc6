"""What docs/security.md and docs/planner.md show is real; `test_cli_network` runs the commands of the former."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from praxis.cli.command import make_parser
from praxis.config.load import load
from praxis.config.schema import Config

TEXT = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
LINES = "\n".join(re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^(?:[A-Z_]+=\S+ )?praxis ([^#>\n]*)", LINES, re.MULTILINE)


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
def test_every_example_is_a_configuration(example: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(example)
    assert load(path, environ={}).config != Config()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command: str) -> None:
    options = make_parser().parse_args(shlex.split(command))
    assert callable(options.verb)
    assert getattr(options, "config", "agent.yaml") == "agent.yaml"  # else it would be about another agent


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) >= 6


PLANNER = (Path(__file__).parents[2] / "docs" / "planner.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^praxis (.*)$", PLANNER, re.MULTILINE))
def test_every_way_to_ask_is_one(command: str) -> None:
    assert make_parser().parse_args(shlex.split(command)).verb.__name__ == "ask"


def test_the_ways_to_ask_were_found() -> None:
    assert len(re.findall(r"^praxis ask ", PLANNER, re.MULTILINE)) == 3
