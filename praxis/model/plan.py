"""What is going to be done: a graph of tool calls, some of them in blocks that are repeated or left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

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


Parts = tuple[str | Reference, ...]
"""Pieces of text and references, to be joined; one reference alone keeps the type of its value."""


@attrs.frozen
class Argument:
    """One argument of a call. `name` is None for a positional one.

    `tree` is there for a value that is more than words, out of a graph: JSON in which `Parts` stand for texts with
    references; `parts` are empty then.
    """

    name: str | None
    parts: Parts
    line: int = 0
    column: int = 0
    tree: Any = None

    def references(self) -> Iterator[Reference]:
        """Everything that it refers to."""
        waiting: list[Any] = [self.parts, self.tree]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Reference):
                yield value
            elif isinstance(value, tuple | list):
                waiting += reversed(value)
            elif isinstance(value, dict):
                waiting += reversed(value.values())

    def __str__(self) -> str:
        """As a person would write the value."""
        return "".join(map(str, self.parts))


IfFailed = Literal["stop", "continue"]


@attrs.frozen
class Step:
    """One tool call of a plan. Times are in seconds."""

    id: str
    """``s1``, ``s2``, ... in the order of the program; in a graph the id of its node."""
    tool: str
    """See `praxis.model.tool.ToolRef`; with the agent that the program names for it."""
    arguments: tuple[Argument, ...] = ()
    after: tuple[str, ...] = ()
    """Ids of the nodes beside it that must have ended before."""
    bind: str | None = None
    """The name under which later steps refer to the result."""
    line: int = 0
    column: int = 0
    timeout: float | None = None
    """For each attempt."""
    retry: int = 0
    """Attempts after the first one that failed."""
    backoff: float = 0.0
    """Before the second attempt; twice as long before each one after that."""
    if_failed: IfFailed = "stop"
    task: str = ""
    """The TASK that it stands in, "" for none."""
    position: tuple[float, float] | None = None
    """Where a graph shows it."""

    def references(self) -> Iterator[Reference]:
        for argument in self.arguments:
            yield from argument.references()


Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@attrs.frozen
class Condition:
    """``left``, or ``left operator right``."""

    left: Argument
    operator: Operator | None = None
    right: Argument | None = None

    def references(self) -> Iterator[Reference]:
        yield from self.left.references()
        if self.right is not None:
            yield from self.right.references()


@attrs.frozen
class Each:
    """The same nodes once for each element of a list, `most` of these at a time."""

    id: str
    name: str
    """What the nodes call the element."""
    source: Argument
    most: int
    body: tuple[Node, ...]
    after: tuple[str, ...] = ()
    bind: str | None = None
    """The name of the list of what each round has given last."""
    line: int = 0
    column: int = 0

    def references(self) -> Iterator[Reference]:
        return self.source.references()


@attrs.frozen
class Choice:
    """The nodes of `then` if the condition holds, else those of `otherwise`."""

    id: str
    condition: Condition
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    after: tuple[str, ...] = ()
    bind: str | None = None
    """The name of what the taken branch has given last."""
    line: int = 0
    column: int = 0

    def references(self) -> Iterator[Reference]:
        return self.condition.references()


Node = Step | Each | Choice


@attrs.frozen
class Parameter:
    """What a run has to be given, as ``${params.name}``; `default` is None where it has to be."""

    name: str
    default: str | None = None
    line: int = 0
    column: int = 0


@attrs.frozen
class Plan:
    """Nodes in an order in which each stands behind all that it waits for."""

    steps: tuple[Node, ...]
    parameters: tuple[Parameter, ...] = ()
    goes_on: bool = False
    """After a step has failed: True if only those that wait for it are left out, False if nothing new begins."""

    def calls(self) -> Iterator[Step]:
        """Every tool call of it, in the order of the program, those in blocks once."""
        waiting: list[Node] = [*reversed(self.steps)]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Step):
                yield node
            elif isinstance(node, Each):
                waiting += reversed(node.body)
            else:
                waiting += reversed((*node.then, *node.otherwise))

    def step(self, id: str) -> Step:
        """The call with this id; raises KeyError."""
        for step in self.calls():
            if step.id == id:
                return step
        raise KeyError(id)

    def references(self) -> Iterator[Reference]:
        """Everything that its nodes refer to, those in blocks too."""
        waiting: list[Node] = [*reversed(self.steps)]
        while waiting:
            node = waiting.pop()
            yield from node.references()
            if isinstance(node, Each):
                waiting += reversed(node.body)
            elif isinstance(node, Choice):
                waiting += reversed((*node.then, *node.otherwise))

    def secrets(self) -> frozenset[str]:
        """Names of the secrets that its calls refer to."""
        references = (reference for step in self.calls() for reference in step.references())
        return frozenset(str(reference.path[0]) for reference in references if reference.name == SECRETS)


PARAMS, SECRETS = "params", "secrets"
"""What ``${params.x}`` and ``${secrets.y}`` refer to: what a run is given."""

StepState = Literal["pending", "running", "succeeded", "failed", "skipped", "cancelled", "interrupted"]
RunState = Literal[
    "queued", "running", "cancelling", "succeeded", "failed", "cancelled", "interrupted", "needs secrets"
]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
STOPPED: frozenset[str] = FINAL | {"interrupted", "needs secrets"}
"""States in which nothing of a run is under way; from those that are not final it can be resumed."""
