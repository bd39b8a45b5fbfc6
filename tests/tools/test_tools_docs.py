"""What docs/tools.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from praxis.config.load import load
from praxis.config.schema import DeclaredTool
from praxis.config.schema_tools import ToolParam
from praxis.tools import container_archive, container_tools, declared, mcp_transports, program_output
from praxis.tools.container_tools import LABEL, USUAL

TEXT = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_load(example: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(example)
    config = load(file, environ={"HOME": "/home/x", "TRANSLATE_TOKEN": "t0ken"}).config
    assert config.tools
    names = {f"{tool.kind}/{tool.name}" for tool in config.tools}
    assert names <= {"container/analyze", "process/count_words", "remote/translate", "process/paint"}


def test_the_table_has_every_key_of_containers_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", TEXT, re.MULTILINE))
    fields = attrs.fields_dict(DeclaredTool)
    for key in ("memory", "pids", "network", "pull"):
        assert rows[key].strip("`") == str(fields[key].default)
    of_others = {
        "name",
        "engine",
        "description",
        "params",
        "inputSchema",
        "group",
        "idempotent",
        "read_only",
        "timeout",
    }
    of_others |= {"env", "env_passthrough", "address", "tool", "headers"}
    assert rows.keys() == fields.keys() - of_others


def test_numbers_and_names() -> None:
    said = " ".join(TEXT.split())
    assert f"more than {declared.MAX_VARIABLE:,} bytes" in said
    assert f"result's text, up to {program_output.MAX_OUTPUT:,} bytes" in said
    assert f"last {program_output.TAIL} lines" in said
    assert f"up to {container_archive.MAX_FILES} files of {container_archive.MAX_BYTES:,} bytes in all" in said
    assert (
        f"after {container_tools.FIRST_PAUSE:g} s, and then less often, up to every {container_tools.MAX_PAUSE:g} s"
        in said
    )
    assert f"`{LABEL}`" in said
    assert all(f"`{path}`" in said for path in USUAL)
    assert ", ".join(f"`{name}`" for name in mcp_transports.ENVIRONMENT) in said
    kinds = attrs.fields_dict(attrs.resolve_types(ToolParam))["type"].type
    assert ", ".join(f"`{kind}`" for kind in kinds.__args__) in said  # type: ignore[union-attr]
