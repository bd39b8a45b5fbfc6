"""A shared folder with neighbours, for the file tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from praxis.model.tool import CallContext, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.builtin import FileTools
from praxis.tools.registry import ToolRegistry

CONTEXT = CallContext("tester")
SECRET = "the secret outside"


@attrs.frozen
class Place:
    """A shared folder with neighbours that must stay as they are."""

    top: Path
    shared: Path
    tools: FileTools

    async def call(self, name: str, **arguments: Any) -> ToolResult:
        """As the agent calls it: through the registry, which checks the arguments."""
        registry = ToolRegistry("agent", bus=EventBus(), metrics=Metrics())
        registry.add(self.tools)
        return await registry.call(registry.find("fs", name), arguments, CONTEXT)

    async def done(self, name: str, **arguments: Any) -> str:
        result = await self.call(name, **arguments)
        assert not result.is_error, result.text
        return result.text

    async def refused(self, name: str, **arguments: Any) -> str:
        result = await self.call(name, **arguments)
        assert result.is_error
        assert str(self.top) not in result.text
        assert SECRET not in result.text
        return result.text

    def outside(self) -> dict[str, str]:
        """Everything beside the shared folder."""
        found = {}
        for path in sorted(self.top.rglob("*")):
            if path != self.shared and self.shared not in path.parents:
                found[str(path.relative_to(self.top))] = path.read_text() if path.is_file() else "folder"
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "shared-other").mkdir()
    (tmp_path / "shared-other" / "file.txt").write_text(SECRET)
    (tmp_path / "secret.txt").write_text(SECRET)
    made = Place(tmp_path, shared, FileTools(shared, agent="agent"))
    before = made.outside()
    yield made
    assert made.outside() == before
