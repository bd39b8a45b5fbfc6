"""Containers of MCP servers are marked and removed. The engine here is a script that writes down what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from praxis.tools import mcp_container
from praxis.tools.mcp_container import contained

ENGINE = """#!/bin/sh
echo "$@" >>"$LOG"
[ -z "$HANG" ] || exec sleep "$HANG"
case "$1" in ps) echo "$IDS" ;; rm) exit "$STATUS" ;; esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> str:
    program = tmp_path / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    return str(program)


def environment(folder: Path, ids: str = "", status: int = 0) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LOG": str(folder / "log"), "IDS": ids, "STATUS": str(status)}


@pytest.mark.parametrize("words", [["run"], ["container", "run"]])
async def test_what_a_command_leaves_behind_is_removed_by_its_label(
    engine: str, tmp_path: Path, words: list[str]
) -> None:
    async with contained([engine, *words, "-i", "image", "run"], environment(tmp_path, "abc123 def456")) as argv:
        label = argv[argv.index("--label") + 1]
        assert argv == [engine, *words, "--label", label, "-i", "image", "run"]
        assert label.startswith("praxis.mcp=")
    told = (tmp_path / "log").read_text().splitlines()
    assert told == [f"ps --all --quiet --filter label={label}", "rm --force abc123 def456"]


async def test_it_is_removed_when_the_agent_is_stopping_too(engine: str, tmp_path: Path) -> None:
    with trio.move_on_after(0.01):
        async with contained([engine, "run", "image"], environment(tmp_path, "abc123")):
            await trio.sleep_forever()
    assert "rm --force abc123" in (tmp_path / "log").read_text()


async def test_nothing_left_behind_is_nothing_to_do(engine: str, tmp_path: Path) -> None:
    async with contained([engine, "run", "image"], environment(tmp_path)):
        pass
    assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "argv", [["docker", "exec", "x"], ["docker"], ["python3", "run"], ["/opt/dockers", "run", "x"]]
)
async def test_other_commands_stay_as_they_are(argv: list[str]) -> None:
    async with contained(argv, {}) as same:
        assert same == argv


async def test_an_engine_that_fails_or_hangs_stops_nobody(
    engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with contained([engine, "run", "image"], environment(tmp_path, "abc", status=1)):
        pass
    async with contained([str(tmp_path / "podman"), "run", "image"], environment(tmp_path)):
        pass
    assert [record.message.split(": ")[0][-20:] for record in caplog.records] == ["could not be removed"] * 2
    monkeypatch.setattr(mcp_container, "REMOVE_LIMIT", 0.1)
    async with contained([engine, "run", "image"], {**environment(tmp_path), "HANG": "60"}):
        pass
    assert "in time" in caplog.records[-1].message
