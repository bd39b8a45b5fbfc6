"""What is going to be done: a graph of tool calls."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class Reference:
    """``${name.path[0]}``: a value out of an earlier step's result.

    `path` holds keys (str) and indexes (int); `line` and `column` say where it stands in the program, from 1.
    """

    name: str
    path: tuple[str | int, ...] = ()
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        tail = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return f"${{{self.name}{tail}}}"


@attrs.frozen
class Argument:
    """One argument of a call. `name` is None for a positional one.

    `parts` are pieces of text and references, to be joined; a value that is one reference alone keeps its type.
    """

    name: str | None
    parts: tuple[str | Reference, ...]
    line: int = 0
    column: int = 0


@attrs.frozen
class Step:
    """One tool call of a plan."""

    id: str
    """``s1``, ``s2``, ... in the order of the program."""
    tool: str
    """As the user wrote it; see `praxis.model.tool.ToolRef`."""
    arguments: tuple[Argument, ...] = ()
    after: tuple[str, ...] = ()
    """Ids of the steps that must have succeeded before."""
    bind: str | None = None
    """The name under which later steps refer to the result."""
    line: int = 0
    column: int = 0


@attrs.frozen
class Plan:
    """Steps in an order in which each stands behind all that it waits for."""

    steps: tuple[Step, ...]

    def step(self, id: str) -> Step:
        """The step with this id; raises KeyError."""
        for step in self.steps:
            if step.id == id:
                return step
        raise KeyError(id)


StepState = Literal["pending", "running", "succeeded", "failed", "skipped", "cancelled"]
RunState = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
