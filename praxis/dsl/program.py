"""A program as a tree. Lines and columns count characters, from 1; `praxis.dsl.parser` says what is well-formed."""

from __future__ import annotations

import attrs

from praxis.model.plan import Argument


@attrs.frozen
class Binding:
    """``-> name``: what later statements call the result. The place is that of the name."""

    name: str
    line: int
    column: int


@attrs.frozen
class Call:
    """``CALL tool argument ... -> name``."""

    tool: str
    """As written, and well-formed: `praxis.model.tool.ToolRef` takes it."""
    arguments: tuple[Argument, ...]
    bind: Binding | None
    line: int
    column: int


@attrs.frozen
class Sequence:
    """Statements that run one after the other."""

    statements: tuple[Statement, ...]
    line: int
    column: int


@attrs.frozen
class Parallel:
    """Statements that nothing orders among each other."""

    branches: tuple[Statement, ...]
    line: int
    column: int


Statement = Call | Sequence | Parallel


@attrs.frozen
class Program:
    """The whole text; its statements run one after the other."""

    statements: tuple[Statement, ...]
