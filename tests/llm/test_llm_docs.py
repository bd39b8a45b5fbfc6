"""docs/planner.md is true: its configurations load, its plan is one, and its limits are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from praxis.config.environment import API_KEY, VARIABLES
from praxis.config.load import load
from praxis.config.schema import Llm
from praxis.config.schema_llm import USUAL
from praxis.llm import answer, client, prompt, reply

TEXT = (Path(__file__).parents[2] / "docs" / "planner.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
def test_every_example_is_a_configuration_with_a_model(example: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(example)
    assert load(path, environ={"HOME": str(tmp_path), API_KEY: "sk-1"}).config.llm.lacks == ""


def test_the_plan_is_one() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(answer.read_plan(example)["nodes"]) == 2


def test_the_table_of_providers() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\S+)` \| (\S.*?) \| (yes|no)", TEXT, re.MULTILINE)
    assert {name: (url, needs) for name, url, _, needs in rows} == {
        name: (usual.base_url, "yes" if usual.needs_key else "no") for name, usual in USUAL.items()
    }
    assert {name for name, _, model, _ in rows if model == "-"} == {n for n, usual in USUAL.items() if not usual.model}
    assert f"`{Llm().model_name}`" in TEXT


def test_the_limits() -> None:
    for words in (
        f"up to {prompt.MAX_REQUEST:,} characters",
        f"Up to {prompt.MAX_TOOLS} tools",
        f"up to {prompt.MAX_TOOLS_SIZE:,} characters",
        f"{reply.MAX_TEXT // 1024} Ki characters, {answer.MAX_NODES} nodes and {answer.MAX_EDGES} edges",
        f"{client.IDLE_LIMIT:g} s without a piece",
        f"{client.MAX_RETRY_AFTER:g} s at most",
        f"after {client.FIRST_PAUSE:g}, 1 and 2 s",
    ):
        assert words in TEXT, words
    assert client.TRIES == 4
    for name in (*(name for name, key in VARIABLES.items() if key.startswith("llm.")), API_KEY, f"{API_KEY}_FILE"):
        assert name in TEXT, name
