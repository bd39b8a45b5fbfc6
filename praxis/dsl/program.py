"""A program as a tree. Lines and columns count characters, from 1; `praxis.dsl.parser` says what is well-formed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs

from praxis.model.plan import Argument, Condition, IfFailed, Parameter


@attrs.frozen
class Binding:
    """``-> name``: what later statements call the result. The place is that of the name."""

    name: str
    line: int
    column: int


@attrs.frozen
class Options:
    """What may stand behind the arguments of a call. Times are in seconds."""

    on: str | None = None
    timeout: float | None = None
    retry: int = 0
    backoff: float = 0.0
    if_failed: IfFailed = "stop"


@attrs.frozen
class Call:
    """``CALL tool argument ... -> name ON agent ...``."""

    tool: str
    """As written, and well-formed: `praxis.model.tool.ToolRef` takes it."""
    arguments: tuple[Argument, ...]
    bind: Binding | None
    line: int
    column: int
    options: Options = Options()


@attrs.frozen
class Sequence:
    """Statements that run one after the other. `name` is what a TASK is called, or the agent of an AGENT."""

    statements: tuple[Statement, ...]
    line: int
    column: int
    kind: Literal["SEQUENCE", "TASK", "AGENT"] = "SEQUENCE"
    name: str = ""


@attrs.frozen
class Parallel:
    """Statements that nothing orders among each other."""

    branches: tuple[Statement, ...]
    line: int
    column: int


@attrs.frozen
class Workflow:
    """``WORKFLOW name(parameter, other="x") { ... }``: statements that run one after the other, and what they need."""

    name: str
    parameters: tuple[Parameter, ...]
    statements: tuple[Statement, ...]
    line: int
    column: int


@attrs.frozen
class ForEach:
    """``FOREACH name IN list MAX n { ... } -> name``."""

    name: Binding
    source: Argument
    most: int
    statements: tuple[Statement, ...]
    bind: Binding | None
    line: int
    column: int


@attrs.frozen
class If:
    """``IF condition { ... } ELSE { ... } -> name``."""

    condition: Condition
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    bind: Binding | None
    line: int
    column: int


Statement = Call | Sequence | Parallel | Workflow | ForEach | If


def inner(statement: Statement) -> tuple[Statement, ...]:
    """The statements in a block; none in a call."""
    if isinstance(statement, Call):
        return ()
    if isinstance(statement, Parallel):
        return statement.branches
    return (*statement.then, *statement.otherwise) if isinstance(statement, If) else statement.statements


@attrs.frozen
class Program:
    """The whole text; its statements run one after the other."""

    statements: tuple[Statement, ...]

    def bindings(self) -> Iterator[Binding]:
        """Every ``-> name`` in it."""
        waiting = list(self.statements)
        while waiting:
            statement = waiting.pop()
            waiting += inner(statement)
            if isinstance(statement, Call | ForEach | If) and statement.bind is not None:
                yield statement.bind
