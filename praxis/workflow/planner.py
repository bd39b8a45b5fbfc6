"""A program to a plan: the graph of its calls. Pure, and linear in the calls and the edges.

A call waits directly for the last calls of the statement before it, which is enough: a path leads from every call of
an earlier statement to every call of a later one. Branches of a PARALLEL are not connected. ``${name}`` adds an edge to
the call that bound the name, even where a path leads there already, so that the plan shows where a value comes from.
The blocks of FOREACH and IF are nodes of their own, with plans in them: what is in them refers to results from outside
by way of the block, which waits for these.

A PARALLEL of m right behind one of n needs n times m edges, since each first call of the second waits for each last
call of the first and a plan has no steps but tool calls. That is bounded by `MAX_EDGES` and refused above it rather
than approximated: a single call between the two makes it n + m.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

import attrs

from praxis.dsl.parser import MAX_DEPTH
from praxis.dsl.program import (
    Binding,
    Call,
    ForEach,
    If,
    Parallel,
    Program,
    Sequence,
    Statement,
    Workflow,
)
from praxis.dsl.tokens import problem
from praxis.model.errors import PraxisError
from praxis.model.plan import (
    PARAMS,
    SECRETS,
    Argument,
    Choice,
    Condition,
    Each,
    Node,
    Parameter,
    Plan,
    Reference,
    Step,
)
from praxis.model.tool import ToolRef

MAX_STEPS = 10_000
"""Calls of a program. A text of the allowed size holds fewer; programs that are made otherwise are held here."""
MAX_EDGES = 100_000
"""Edges of a plan: two PARALLEL of 300 behind each other, or ten for each of the most calls. Some 10 MB in a run."""
COMPARED = 500
"""Names that a hint is chosen from, the latest ones."""


def plan(program: Program) -> Plan:
    """The steps of a program, in its order.

    Raises PraxisError: ``invalid`` for a reference to what is not bound before, for a name bound twice, and for a call
    that two agents are named for, with `where`; ``too_large`` beyond `MAX_STEPS`, `MAX_EDGES` or `MAX_DEPTH`.
    """
    planner = _Planner(program)
    level = _Level(None, ())
    planner.add_in_sequence(program.statements, (), _Place(level))
    return Plan(tuple(level.nodes), tuple(planner.parameters.values()))


Branch = tuple[int, int]
"""Which PARALLEL of the program, and which branch of it."""


@attrs.frozen
class _Bound:
    node: str | None
    """None for what a FOREACH calls its element: nothing has to be waited for."""
    branches: tuple[Branch, ...]
    """All that the node stands in on its level, from the outermost."""
    line: int


@attrs.define(eq=False)
class _Level:
    """The nodes of the program, or of one block of it, and the names that are given among them."""

    above: _Level | None
    branches: tuple[Branch, ...]
    """Where the block stands on the level above."""
    nodes: list[Node] = attrs.field(factory=list)
    bound: dict[str, _Bound] = attrs.field(factory=dict)
    outside: dict[str, None] = attrs.field(factory=dict)
    """Ids of the nodes above that something in here refers to."""

    def find(self, name: str) -> _Bound | None:
        bound = self.bound.get(name)
        return bound if bound or self.above is None else self.above.find(name)


@attrs.frozen
class _Place:
    """Where a statement stands."""

    level: _Level
    branches: tuple[Branch, ...] = ()
    agent: str | None = None
    task: str = ""
    parameters: frozenset[str] = frozenset()
    """Of the WORKFLOWs around it."""
    depth: int = 0


class _Planner:
    def __init__(self, program: Program) -> None:
        self.parameters: dict[str, Parameter] = {}
        self._program = program
        self._count = 0
        self._edges = 0
        self._parallels = 0

    def add_in_sequence(
        self, statements: Iterable[Statement], after: tuple[str, ...], place: _Place
    ) -> tuple[str, ...]:
        """Add statements that run one after the other, the first behind `after`; returns what comes last of them."""
        for statement in statements:
            after = self._add(statement, after, place)
        return after

    def _add(self, statement: Statement, after: tuple[str, ...], place: _Place) -> tuple[str, ...]:
        if isinstance(statement, Call):
            return self._add_call(statement, after, place)
        if place.depth == MAX_DEPTH:
            raise problem(
                f"blocks are nested more than {MAX_DEPTH} deep", statement.line, statement.column, code="too_large"
            )
        place = attrs.evolve(place, depth=place.depth + 1)
        match statement:
            case Parallel():
                return self._add_parallel(statement, after, place)
            case Workflow():
                return self._add_workflow(statement, after, place)
            case ForEach():
                return self._add_each(statement, after, place)
            case If():
                return self._add_choice(statement, after, place)
            case Sequence(kind="AGENT"):
                place = attrs.evolve(place, agent=statement.name)
            case Sequence(kind="TASK"):
                place = attrs.evolve(place, task=statement.name)
        return self.add_in_sequence(statement.statements, after, place)

    def _add_parallel(self, block: Parallel, after: tuple[str, ...], place: _Place) -> tuple[str, ...]:
        number = self._parallels = self._parallels + 1
        last: list[str] = []
        for index, branch in enumerate(block.branches):
            last += self._add(branch, after, attrs.evolve(place, branches=(*place.branches, (number, index))))
        return tuple(last)

    def _add_workflow(self, block: Workflow, after: tuple[str, ...], place: _Place) -> tuple[str, ...]:
        for parameter in block.parameters:
            earlier = self.parameters.setdefault(parameter.name, parameter)
            if earlier.default != parameter.default:
                detail = f"the parameter {parameter.name!r} has another default in line {earlier.line}"
                raise problem(detail, parameter.line, parameter.column, code="invalid", hint="take another name")
            self._check_free(Binding(parameter.name, parameter.line, parameter.column), place)
        names = place.parameters.union(parameter.name for parameter in block.parameters)
        return self.add_in_sequence(block.statements, after, attrs.evolve(place, parameters=names, task=block.name))

    # -- nodes --------------------------------------------------------------------------------------

    def _add_call(self, call: Call, after: tuple[str, ...], place: _Place) -> tuple[str, ...]:
        arguments = tuple(self._argument(argument, place) for argument in call.arguments)
        after = self._behind(after, (r for argument in arguments for r in argument.references()), place)
        self._check_size(call, after)
        if self._count >= MAX_STEPS:
            raise problem(f"the program has more than {MAX_STEPS} calls", call.line, call.column, code="too_large")
        options = call.options
        step = Step(
            id=self._new_id(),
            tool=self._tool(call, place),
            arguments=arguments,
            after=after,
            bind=call.bind.name if call.bind else None,
            line=call.line,
            column=call.column,
            timeout=options.timeout,
            retry=options.retry,
            backoff=options.backoff,
            if_failed=options.if_failed,
            task=place.task,
        )
        return self._add_node(step, call.bind, place)

    def _add_each(self, block: ForEach, after: tuple[str, ...], place: _Place) -> tuple[str, ...]:
        source = self._argument(block.source, place)
        _check_open(source.references())
        after = self._behind(after, source.references(), place)
        id = self._new_id()
        self._check_free(block.name, place)
        level = _Level(place.level, place.branches)
        level.bound[block.name.name] = _Bound(None, (), block.name.line)
        self.add_in_sequence(block.statements, (), self._inside(level, place))
        after = tuple(dict.fromkeys((*after, *level.outside)))
        self._check_size(block, after)
        bind = block.bind.name if block.bind else None
        body = tuple(level.nodes)
        each = Each(id, block.name.name, source, block.most, body, after, bind, block.line, block.column)
        return self._add_node(each, block.bind, place)

    def _add_choice(self, block: If, after: tuple[str, ...], place: _Place) -> tuple[str, ...]:
        condition = Condition(
            self._argument(block.condition.left, place),
            block.condition.operator,
            self._argument(block.condition.right, place) if block.condition.right is not None else None,
        )
        _check_open(condition.references())
        after = self._behind(after, condition.references(), place)
        id = self._new_id()
        levels = _Level(place.level, place.branches), _Level(place.level, place.branches)
        for level, statements in zip(levels, (block.then, block.otherwise), strict=True):
            self.add_in_sequence(statements, (), self._inside(level, place))
            after = tuple(dict.fromkeys((*after, *level.outside)))
        self._check_size(block, after)
        then, otherwise = (tuple(level.nodes) for level in levels)
        bind = block.bind.name if block.bind else None
        choice = Choice(id, condition, then, otherwise, after, bind, block.line, block.column)
        return self._add_node(choice, block.bind, place)

    def _inside(self, level: _Level, place: _Place) -> _Place:
        return attrs.evolve(place, level=level, branches=())

    def _new_id(self) -> str:
        self._count += 1
        return f"s{self._count}"

    def _add_node(self, node: Node, bind: Binding | None, place: _Place) -> tuple[str, ...]:
        if bind is not None:
            self._check_free(bind, place)
            place.level.bound[bind.name] = _Bound(node.id, place.branches, node.line)
        place.level.nodes.append(node)
        return (node.id,)

    def _check_free(self, bind: Binding, place: _Place) -> None:
        earlier = place.level.find(bind.name)
        given = f"the result of line {earlier.line} already" if earlier else "a parameter of the WORKFLOW"
        if earlier is not None or bind.name in place.parameters:
            raise problem(
                f"{bind.name!r} is {given}",
                bind.line,
                bind.column,
                code="invalid",
                hint="a name is given once; take another",
            )

    def _check_size(self, block: Call | ForEach | If, after: tuple[str, ...]) -> None:
        self._edges += len(after)
        if self._edges > MAX_EDGES:
            raise problem(
                f"the calls of this program wait for each other in more than {MAX_EDGES} ways",
                block.line,
                block.column,
                code="too_large",
                hint="put one CALL between two large PARALLEL blocks",
            )

    @staticmethod
    def _tool(call: Call, place: _Place) -> str:
        """The name of the tool, with the agent that is named for it."""
        agent = call.options.on or place.agent
        ref = ToolRef.parse(call.tool)
        if agent is None or ref.agent == agent:
            return call.tool
        if ref.agent is not None:
            detail = f"{call.tool} names the agent {ref.agent}, and it is to run on {agent}"
            raise problem(detail, call.line, call.column, code="invalid", hint="name one of them")
        return str(attrs.evolve(ref, agent=agent))

    # -- references ---------------------------------------------------------------------------------

    def _argument(self, argument: Argument, place: _Place) -> Argument:
        """It, with ``${parameter}`` for what it is short for."""
        if not place.parameters:
            return argument

        def full(part: str | Reference) -> str | Reference:
            if isinstance(part, str) or part.name not in place.parameters:
                return part
            return Reference(PARAMS, (part.name, *part.path), part.line, part.column)

        return attrs.evolve(argument, parts=tuple(map(full, argument.parts)))

    def _behind(self, after: tuple[str, ...], references: Iterator[Reference], place: _Place) -> tuple[str, ...]:
        """What a node waits for: `after`, and what it refers to."""
        sources = (self._source(reference, place.level, place.branches) for reference in references)
        return tuple(dict.fromkeys((*after, *(source for source in sources if source is not None))))

    def _source(self, reference: Reference, level: _Level, branches: tuple[Branch, ...]) -> str | None:
        """The id of the node on this level whose result a reference means; None if it is not on this level."""
        if reference.name in (PARAMS, SECRETS):
            return None
        bound = level.bound.get(reference.name)
        if bound is None:
            if level.above is None or level.above.find(reference.name) is None:
                raise self._unknown(reference, level, branches)
            source = self._source(reference, level.above, level.branches)
            if source is not None:
                level.outside[source] = None
            return None
        if _side_by_side(bound.branches, branches):
            raise problem(
                f"{_shown(reference)} is the result of line {bound.line}, which runs in the same PARALLEL: "
                "nothing makes it end before this call begins",
                reference.line,
                reference.column,
                code="invalid",
                hint="put both into a SEQUENCE, or use the result after the PARALLEL",
            )
        return bound.node

    def _unknown(self, reference: Reference, level: _Level, branches: tuple[Branch, ...]) -> PraxisError:
        usable: list[str] = []
        around: _Level | None = level
        while around is not None:
            usable[:0] = [name for name, bound in around.bound.items() if not _side_by_side(bound.branches, branches)]
            branches, around = around.branches, around.above
        alike = difflib.get_close_matches(reference.name, usable[-COMPARED:], 3)
        bindings = [binding for binding in self._program.bindings() if binding.name == reference.name]
        later = min((b.line for b in bindings if (b.line, b.column) > (reference.line, reference.column)), default=None)
        earlier = min((binding.line for binding in bindings), default=None)
        if later is not None:
            detail = f"{_shown(reference)} is used before line {later} has given it"
            hint = "a result can be used in the statements after its CALL"
        elif earlier is not None:
            detail = f"{_shown(reference)} of line {earlier} is in a block, and not known outside"
            hint = "the result of the whole block is named behind its }"
        else:
            detail = f"no statement before gives {reference.name!r}"
            hint = f"did you mean {' or '.join(alike)}?" if alike else "CALL TOOL ... -> NAME gives a result its name"
        error = problem(detail, reference.line, reference.column, code="invalid", hint=hint)
        error.data["alike"] = alike
        return error


def _check_open(references: Iterator[Reference]) -> None:
    """What decides on the way of a run shows in what the run does."""
    for reference in references:
        if reference.name == SECRETS:
            detail = f"{_shown(reference)} is secret: it goes into an argument of a call alone"
            raise problem(detail, reference.line, reference.column, code="invalid")


def _side_by_side(one: tuple[Branch, ...], other: tuple[Branch, ...]) -> bool:
    """True when two calls stand in different branches of one PARALLEL."""
    return any(
        number == other_number and index != other_index
        for (number, index), (other_number, other_index) in zip(one, other, strict=False)
    )


def _shown(reference: Reference) -> str:
    text = str(reference)
    return text if len(text) <= 80 else f"{text[:77]}..."
