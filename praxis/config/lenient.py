"""What can be said of a configuration that has mistakes: without them it is one that can be looked at further.

So everything that is wrong is told at once: values that are wrong by themselves, and keys that contradict each other
among the rest. What only follows from a mistake that is told already is not told again.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from praxis.config.schema import Config
from praxis.config.strict import PathTo, Problem, Strict, StrictError
from praxis.config.tree import Node

_STAND_IN = "-"
"""For a key that must be there and is not; all such keys are names, and this is one."""
_ROUNDS = 3
"""The first finds the mistakes, the second keys that are missing because they were mistakes, the third nothing."""


@attrs.frozen
class Lenient:
    """The sound part of a tree.

    Attributes:
        config: it, structured; None when even that cannot be done.
        root: the tree that `config` was made of; indexes in it may be lower than in the whole, see `whole_path`.
        problems: what is wrong with single values of the whole tree.
    """

    config: Config | None
    root: Node
    problems: tuple[Problem, ...]
    _doubtful: frozenset[PathTo]
    _kept: dict[PathTo, list[int]]

    def whole_path(self, path: PathTo) -> PathTo:
        """Where in the whole tree a value of `root` stands."""
        whole: PathTo = ()
        for part in path:
            indexes = self._kept.get(whole, ())
            whole = (*whole, indexes[part] if isinstance(part, int) and part < len(indexes) else part)
        return whole

    def doubts(self, path: PathTo) -> bool:
        """Whether the value at this path of `root` stands for one that was wrong."""
        whole = self.whole_path(path)
        return any(whole[:length] in self._doubtful for length in range(1, len(whole) + 1))

    def judge(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems with `config` that are the whole tree's too, and do not follow from those that are told."""
        found = (p for p in problems if not any(map(self.doubts, (p.path, *p.beside))))
        return tuple(attrs.evolve(problem, path=self.whole_path(problem.path)) for problem in found)


def structure_leniently(root: Node, unusable: Iterable[PathTo]) -> Lenient:
    """The tree structured without its mistakes. Values at `unusable` are known to be wrong, and told elsewhere."""
    strict, wrong, missing, meant = Strict(), set(unusable), set[PathTo](), set[PathTo]()
    told: tuple[Problem, ...] = ()
    for number in range(_ROUNDS):
        kept: dict[PathTo, list[int]] = {}
        sound = _without(root, (), wrong, missing, kept)
        lenient = Lenient(None, sound, told, frozenset(wrong | missing | meant), kept)
        try:
            return attrs.evolve(lenient, config=strict.structure(sound.plain(), Config))
        except StrictError as error:
            problems = error.problems
        if number == 0:
            told = lenient.judge(problems)
        meant |= {p.meant for p in problems if p.meant is not None and root.find(p.meant) is None}
        for path in (lenient.whole_path(problem.path) for problem in problems):
            place = root.nearest_path(path)
            if place == path or not isinstance(root.nearest(path).value, dict):
                wrong.add(place)  # of text that stands for a list, the whole
            else:
                missing.add(path)
    return attrs.evolve(lenient, problems=told)


def _without(node: Node, path: PathTo, wrong: set[PathTo], missing: set[PathTo], kept: dict[PathTo, list[int]]) -> Node:
    if isinstance(node.value, list):
        kept[path] = [index for index in range(len(node.value)) if (*path, index) not in wrong]
        items = [_without(node.value[index], (*path, index), wrong, missing, kept) for index in kept[path]]
        return Node(items, node.place)
    if isinstance(node.value, dict):
        rest = {
            key: _without(item, (*path, key), wrong, missing, kept)
            for key, item in node.value.items()
            if (*path, key) not in wrong
        }
        rest |= {str(there[-1]): Node(_STAND_IN, node.place) for there in missing if there[:-1] == path}
        return Node(rest, node.place)
    return node
