"""Which calls of a plan may begin, as others end. Pure: calls in, turns out.

The plan itself and every round of a block is a level: nodes, counted down as what they wait for ends. Blocks are
begun and ended in here; only tool calls come out, as turns.
"""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from praxis.model.errors import PraxisError
from praxis.model.plan import PARAMS, SECRETS, Choice, Each, Node, Plan, Step
from praxis.model.run import Problem
from praxis.model.tool import JSON
from praxis.workflow.values import elements, holds

MAX_CALLS = 10_000
"""Calls of one run, those of every round of a FOREACH counted, and a round that makes none as one: as many as a program
may have. It also bounds what happens here before anybody else gets a turn."""

Values = ChainMap[str, JSON]


@attrs.define(eq=False)
class Turn:
    """A call that may begin: a step of the plan, in one round of the blocks around it.

    `id` is that of the step and, in a FOREACH, which round it is: ``s4[0]``. `values` is what its references mean.
    """

    id: str
    step: Step
    level: _Level
    values: Values


@attrs.frozen
class _Shape:
    """What the rounds of one block have in common."""

    nodes: tuple[Node, ...]
    waits: Mapping[str, int]
    dependants: Mapping[str, list[Node]]
    calls: int
    places: Mapping[str, int]

    @classmethod
    def of(cls, nodes: tuple[Node, ...]) -> _Shape:
        dependants: dict[str, list[Node]] = {}
        for node in nodes:
            for before in node.after:
                dependants.setdefault(before, []).append(node)
        calls = sum(isinstance(node, Step) for node in nodes)
        places = {node.id: index for index, node in enumerate(nodes)}
        return cls(nodes, {node.id: len(node.after) for node in nodes}, dependants, calls, places)


@attrs.define(eq=False)
class _Level:
    shape: _Shape
    values: Values
    suffix: str
    on_done: Callable[[JSON], None]
    waits: dict[str, int]
    left: int
    place: tuple[int, ...]
    """Where the block stands in the program, and which round of it this is."""
    given: dict[str, JSON] = attrs.field(factory=dict)
    """What each node has given, for the value of the whole."""
    hurt: dict[str, str] = attrs.field(factory=dict)
    """Nodes that are left out, with the one that they wait for in vain."""

    def place_of(self, node: Node) -> tuple[int, ...]:
        return (*self.place, self.shape.places[node.id])

    def value(self) -> JSON:
        """What its last node with a value has given."""
        return next((self.given[node.id] for node in reversed(self.shape.nodes) if node.id in self.given), None)


class Schedule:
    """The turns of one run of a plan.

    Attributes:
        failed: the first error that ends the run without success.
        calls: that have been added so far.
    """

    def __init__(
        self,
        plan: Plan,
        given: Mapping[str, JSON],
        *,
        on_added: Callable[[str, Step, tuple[int, ...]], None],
        on_left_out: Callable[[str, Problem], None],
    ) -> None:
        """`given` are the params and secrets; `on_added` hears of each call before its turn and
        where it stands in the program, `on_left_out` of one that
        gets none, with the reason."""
        self.failed: Problem | None = None
        self._plan = plan
        self._on_added = on_added
        self._on_left_out = on_left_out
        self.calls = 0
        self._shapes: dict[int, _Shape] = {}
        self._begun: deque[tuple[_Level, Node]] = deque()
        self._turns: deque[Turn] = deque()
        self._enter(plan.steps, ChainMap({}, dict(given)), "", (), lambda value: None)

    def take(self) -> Turn | None:
        """The next call that may begin now."""
        while not self._is_over():
            if self._begun:
                self._begin(*self._begun.popleft())
            elif self._turns:
                return self._turns.popleft()
            else:
                break
        return None

    def succeeded(self, turn: Turn, value: JSON) -> None:
        """A call has answered."""
        self._end(turn.level, turn.step, value=value, has_value=True)

    def fail(self, turn: Turn, problem: Problem) -> None:
        """A call has failed for good."""
        if turn.step.if_failed == "continue":
            self._end(turn.level, turn.step)
        else:
            self._fail(turn.level, turn.step, problem)

    def _is_over(self) -> bool:
        return self.failed is not None and not self._plan.goes_on

    def _fail(self, level: _Level, node: Node, problem: Problem) -> None:
        self.failed = self.failed or problem
        self._end(level, node, hurts=True)

    # -- levels -------------------------------------------------------------------------------------

    def _enter(
        self,
        nodes: tuple[Node, ...],
        values: Values,
        suffix: str,
        place: tuple[int, ...],
        on_done: Callable[[JSON], None],
    ) -> None:
        """Begin a round of these. Raises PraxisError("too_large")."""
        shape = self._shapes.get(id(nodes))
        if shape is None:
            shape = self._shapes[id(nodes)] = _Shape.of(nodes)
        self.calls += max(shape.calls, 1)
        if self.calls > MAX_CALLS:
            raise _too_large(MAX_CALLS)
        level = _Level(shape, values, suffix, on_done, dict(shape.waits), len(nodes), place)
        for index, node in enumerate(nodes):
            if isinstance(node, Step):
                self._on_added(node.id + suffix, node, (*place, index))
            if not node.after:
                self._begun.append((level, node))

    def _end(
        self, level: _Level, node: Node, *, value: JSON = None, has_value: bool = False, hurts: bool = False
    ) -> None:
        """A node has ended, and what waited for it alone may begin. `hurts`: what waits for it is left out."""
        if has_value:
            level.given[node.id] = value
            if node.bind is not None:
                level.values[node.bind] = value
        for dependant in level.shape.dependants.get(node.id, ()):
            if hurts:
                level.hurt.setdefault(dependant.id, node.id + level.suffix)
            level.waits[dependant.id] -= 1
            if not level.waits[dependant.id]:
                self._begun.append((level, dependant))
        level.left -= 1
        if not level.left:
            level.on_done(level.value())

    def _begin(self, level: _Level, node: Node) -> None:
        reason = self._why_not(level, node)
        if reason:
            if isinstance(node, Step):
                self._on_left_out(node.id + level.suffix, Problem("skipped", reason))
            self._end(level, node, hurts=node.id in level.hurt)
            return
        if isinstance(node, Step):
            self._turns.append(Turn(node.id + level.suffix, node, level, level.values))
            return
        try:
            if isinstance(node, Each):
                _Rounds(self, level, node).start_more()
            else:
                self._choose(level, node)
        except PraxisError as error:
            where = error.where or f"line {node.line}, column {node.column}"
            self._fail(level, node, Problem(error.code, error.detail, error.hint, where, error.data))

    def _why_not(self, level: _Level, node: Node) -> str:
        """Why a node whose turn it is cannot begin."""
        if node.id in level.hurt:
            return f"it waits for {level.hurt[node.id]}, which did not succeed"
        for reference in node.references():
            if reference.name not in level.values and reference.name not in (PARAMS, SECRETS):
                return f"{reference} has no value: what gives it did not succeed"
        return ""

    def _choose(self, level: _Level, node: Choice) -> None:
        branch = node.then if holds(node.condition, level.values) else node.otherwise

        def done(value: JSON) -> None:
            self._end(level, node, value=value, has_value=True)

        if branch:
            self._enter(branch, level.values.new_child(), level.suffix, level.place_of(node), done)
        else:
            done(None)


def _too_large(calls: int) -> PraxisError:
    rounds = "a FOREACH that has so many rounds" if calls == MAX_CALLS else f"a list of {calls}"
    hint = "split the list, or let one call go through it"
    return PraxisError("too_large", f"the run has more than {MAX_CALLS} calls, with {rounds}", hint=hint)


class _Rounds:
    """The rounds of a FOREACH, so many at a time."""

    def __init__(self, schedule: Schedule, level: _Level, node: Each) -> None:
        """Raises PraxisError where there is no list."""
        self._schedule = schedule
        self._level = level
        self._node = node
        self._elements = elements(node.source, level.values)
        if schedule.calls + len(self._elements) > MAX_CALLS:
            raise _too_large(len(self._elements))
        self._results: list[Any] = [None] * len(self._elements)
        self._begun = self._ended = 0

    def start_more(self) -> None:
        """Begin what may run now. Raises PraxisError("too_large")."""
        node = self._node
        while self._begun < len(self._elements) and self._begun - self._ended < node.most:
            index = self._begun
            self._begun += 1
            values = self._level.values.new_child({node.name: self._elements[index]})
            suffix = f"{self._level.suffix}[{index}]"
            place = (*self._level.place_of(node), index)
            self._schedule._enter(node.body, values, suffix, place, partial(self._done, index))
        if self._ended == len(self._elements):
            self._schedule._end(self._level, node, value=self._results, has_value=True)

    def _done(self, index: int, value: JSON) -> None:
        self._results[index] = value
        self._ended += 1
        try:
            self.start_more()
        except PraxisError as error:
            where = f"line {self._node.line}, column {self._node.column}"
            self._schedule._fail(
                self._level, self._node, Problem(error.code, error.detail, error.hint, where, error.data)
            )
