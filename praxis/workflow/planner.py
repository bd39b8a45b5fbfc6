"""A program to a plan: the graph of its calls. Pure, and linear in the calls and the edges.

A call waits directly for the last calls of the statement before it, which is enough: a path leads from every call of
an earlier statement to every call of a later one. Branches of a PARALLEL are not connected. ``${name}`` adds an edge to
the call that bound the name, even where a path leads there already, so that the plan shows where a value comes from.

A PARALLEL of m right behind one of n needs n times m edges, since each first call of the second waits for each last
call of the first and a plan has no steps but tool calls. That is bounded by `MAX_EDGES` and refused above it rather
than approximated: a single call between the two makes it n + m.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import attrs

from praxis.dsl.parser import MAX_DEPTH
from praxis.dsl.program import Call, Parallel, Program, Statement
from praxis.dsl.tokens import problem
from praxis.model.errors import PraxisError
from praxis.model.plan import Plan, Reference, Step

MAX_STEPS = 10_000
"""Calls of a program. A text of the allowed size holds fewer; programs that are made otherwise are held here."""
MAX_EDGES = 100_000
"""Edges of a plan: two PARALLEL of 300 behind each other, or ten for each of the most calls. Some 10 MB in a run."""
COMPARED = 500
"""Names that a hint is chosen from, the latest ones."""


def plan(program: Program) -> Plan:
    """The steps of a program, in its order.

    Raises PraxisError: ``invalid`` for a reference to what is not bound before and for a name bound twice, with
    `where`; ``too_large`` beyond `MAX_STEPS`, `MAX_EDGES` or `MAX_DEPTH`.
    """
    planner = _Planner(program)
    planner.add_in_sequence(program.statements, (), (), 0)
    return Plan(tuple(planner.steps))


Branch = tuple[int, int]
"""Which PARALLEL of the program, and which branch of it."""


@attrs.frozen
class _Bound:
    step: str
    branches: tuple[Branch, ...]
    """All that the call stands in, from the outermost."""
    line: int


class _Planner:
    def __init__(self, program: Program) -> None:
        self.steps: list[Step] = []
        self._program = program
        self._bound: dict[str, _Bound] = {}
        self._edges = 0
        self._parallels = 0

    def add_in_sequence(
        self, statements: Iterable[Statement], after: tuple[str, ...], branches: tuple[Branch, ...], depth: int
    ) -> tuple[str, ...]:
        """Add statements that run one after the other, the first behind `after`; returns what comes last of them."""
        for statement in statements:
            after = self._add(statement, after, branches, depth)
        return after

    def _add(
        self, statement: Statement, after: tuple[str, ...], branches: tuple[Branch, ...], depth: int
    ) -> tuple[str, ...]:
        if isinstance(statement, Call):
            return self._add_call(statement, after, branches)
        if depth == MAX_DEPTH:
            raise problem(
                f"blocks are nested more than {MAX_DEPTH} deep", statement.line, statement.column, code="too_large"
            )
        if not isinstance(statement, Parallel):
            return self.add_in_sequence(statement.statements, after, branches, depth + 1)
        number = self._parallels = self._parallels + 1
        last: list[str] = []
        for index, branch in enumerate(statement.branches):
            last += self._add(branch, after, (*branches, (number, index)), depth + 1)
        return tuple(last)

    def _add_call(self, call: Call, after: tuple[str, ...], branches: tuple[Branch, ...]) -> tuple[str, ...]:
        references = [part for argument in call.arguments for part in argument.parts if isinstance(part, Reference)]
        if references:
            after = tuple(dict.fromkeys((*after, *(self._source(reference, branches) for reference in references))))
        self._edges += len(after)
        self._check_size(call)
        step = Step(
            id=f"s{len(self.steps) + 1}",
            tool=call.tool,
            arguments=call.arguments,
            after=after,
            bind=call.bind.name if call.bind else None,
            line=call.line,
            column=call.column,
        )
        self.steps.append(step)
        if call.bind is not None:
            name, earlier = call.bind.name, self._bound.get(call.bind.name)
            if earlier is not None:
                raise problem(
                    f"{name!r} is the result of line {earlier.line} already",
                    call.bind.line,
                    call.bind.column,
                    code="invalid",
                    hint="a name is given once; take another",
                )
            self._bound[name] = _Bound(step.id, branches, call.line)
        return (step.id,)

    def _check_size(self, call: Call) -> None:
        if len(self.steps) == MAX_STEPS:
            raise problem(f"the program has more than {MAX_STEPS} calls", call.line, call.column, code="too_large")
        if self._edges > MAX_EDGES:
            raise problem(
                f"the calls of this program wait for each other in more than {MAX_EDGES} ways",
                call.line,
                call.column,
                code="too_large",
                hint="put one CALL between two large PARALLEL blocks",
            )

    def _source(self, reference: Reference, branches: tuple[Branch, ...]) -> str:
        """The id of the step whose result a reference means."""
        bound = self._bound.get(reference.name)
        if bound is None:
            raise self._unknown(reference, branches)
        if _side_by_side(bound.branches, branches):
            raise problem(
                f"{_shown(reference)} is the result of line {bound.line}, which runs in the same PARALLEL: "
                "nothing makes it end before this call begins",
                reference.line,
                reference.column,
                code="invalid",
                hint="put both into a SEQUENCE, or use the result after the PARALLEL",
            )
        return bound.step

    def _unknown(self, reference: Reference, branches: tuple[Branch, ...]) -> PraxisError:
        usable = [name for name, bound in self._bound.items() if not _side_by_side(bound.branches, branches)]
        alike = difflib.get_close_matches(reference.name, usable[-COMPARED:], 3)
        later = _line_that_binds(reference.name, self._program.statements)
        if later is not None:
            detail = f"{_shown(reference)} is used before line {later} has given it"
            hint = "a result can be used in the statements after its CALL"
        else:
            detail = f"no statement before gives {reference.name!r}"
            hint = f"did you mean {' or '.join(alike)}?" if alike else "CALL TOOL ... -> NAME gives a result its name"
        error = problem(detail, reference.line, reference.column, code="invalid", hint=hint)
        error.data["alike"] = alike
        return error


def _side_by_side(one: tuple[Branch, ...], other: tuple[Branch, ...]) -> bool:
    """True when two calls stand in different branches of one PARALLEL."""
    return any(
        number == other_number and index != other_index
        for (number, index), (other_number, other_index) in zip(one, other, strict=False)
    )


def _line_that_binds(name: str, statements: Iterable[Statement]) -> int | None:
    waiting = list(statements)
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, Call):
            if statement.bind is not None and statement.bind.name == name:
                return statement.bind.line
        else:
            waiting += statement.branches if isinstance(statement, Parallel) else statement.statements
    return None


def _shown(reference: Reference) -> str:
    text = str(reference)
    return text if len(text) <= 80 else f"{text[:77]}..."
