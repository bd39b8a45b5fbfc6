"""Regular expressions of strangers, tried only where they cannot take long.

Python's engine backtracks: ``(a+)+$`` on thirty characters takes minutes, and while it does the whole agent stands
still. Short texts and short patterns are no protection. So the worst case is estimated first, from the pattern's own
text: how many steps each part takes, and in how many ways it can match, because what follows it is tried once for each
of them. A repetition of something that itself can match in several ways is exponential and never used. The estimate is
on the safe side; what it refuses, the tool still checks for itself.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from itertools import zip_longest

import attrs

MAX_PATTERN = 200
"""Characters of a pattern. Those that servers send are below 100, but for e-mail addresses and dates."""
MAX_LOOPS = 4
"""Open repetitions one after the other: a text of 30 characters then takes about what one check has."""
MAX_COST = 100_000
"""Ways through a pattern, and steps for an empty text: what costs more leaves nothing for the length of a text."""
MAX_NESTED = 20
"""Groups in groups; nobody writes more, and the estimate recurses."""

_COUNT = re.compile(r"\{([0-9]*)(?:(,)([0-9]*))?\}")
_GROUP = re.compile(r"\((?:\?(?::|=|!|<=|<!|P<[A-Za-z_][A-Za-z0-9_]*>))?")
_LOOSE = 100
"""A bounded repetition with more choices than this counts as open."""


@attrs.frozen
class Pattern:
    """A pattern that is safe to try. It is searched for: ``^`` and ``$`` anchor it, as JSON Schema says."""

    costs: tuple[int, ...]
    """Steps, by powers of the text's length."""
    _find: Callable[[str], re.Match[str] | None]

    def steps(self, length: int) -> int:
        """At most about how many steps of the engine a text of `length` characters takes."""
        return sum(int(cost * (length + 1) ** power) for power, cost in enumerate(self.costs))

    def found_in(self, text: str) -> bool:
        return self._find(text) is not None


def compile_pattern(text: str) -> Pattern:
    """Raises ValueError, with the reason, for a pattern that is no Python one or could take too long."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"longer than {MAX_PATTERN} characters")
    estimate = _Estimate(text)
    try:
        with warnings.catch_warnings(action="ignore"):  # a stranger's style is not for our log
            re.compile(text)
            cost = estimate.alternatives(0)
            compiled = re.compile(estimate.strict())
    except (re.error, RecursionError, OverflowError):
        raise ValueError("not a pattern that Python knows") from None
    if estimate.at < len(text):
        raise ValueError("not understood")
    if text.startswith(("^", r"\A")) and not estimate.choices_outside:
        pattern = Pattern(cost.steps, compiled.match)
    else:
        pattern = Pattern((0, *cost.steps), compiled.search)  # it is tried from every place
    if len(pattern.costs) > MAX_LOOPS + 1 or pattern.steps(0) > MAX_COST:
        raise _too_long()
    return pattern


def _too_long() -> ValueError:
    return ValueError("it could take too long")


@attrs.frozen
class _Cost:
    """What a part of a pattern takes; what follows it is tried ``ways * length ** loops`` times."""

    steps: tuple[int, ...] = (1,)
    """By powers of the length."""
    loops: int = 0
    ways: int = 1

    @property
    def single(self) -> bool:
        """Whether it matches in one way or not at all."""
        return self.loops == 0 and self.ways == 1

    def then(self, other: _Cost) -> _Cost:
        if self.loops + other.loops > MAX_LOOPS or self.ways * other.ways > MAX_COST:
            raise _too_long()
        moved = (0,) * self.loops + tuple(self.ways * steps for steps in other.steps)
        return _Cost(_sum(self.steps, moved), self.loops + other.loops, self.ways * other.ways)

    def otherwise(self, other: _Cost) -> _Cost:
        return _Cost(_sum(self.steps, other.steps), max(self.loops, other.loops), self.ways + other.ways)

    def repeated(self, least: int, most: int | None) -> _Cost:
        if most is not None and most <= 1:
            return self if least == most else attrs.evolve(self, ways=self.ways + 1)
        if not self.single:
            if most != least:
                raise _too_long()
            whole = self
            for _ in range(least - 1):  # a few times something loose is all that can pass
                whole = whole.then(self)
            return whole
        step = self.steps[0]
        if most is None or most - least >= _LOOSE:
            # The text need not be long enough for the least: what matches nothing can be repeated at one place.
            return _Cost((step * least, step), 1, 1)
        return _Cost((step * most,), 0, most - least + 1)


def _sum(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


class _Estimate:
    """Reads a pattern that :mod:`re` has accepted."""

    def __init__(self, text: str) -> None:
        self.at = 0
        self.choices_outside = False
        self._text = text
        self._ends: list[int] = []

    def strict(self) -> str:
        r"""The pattern with ``\Z`` for each ``$``, which JSON Schema does not let stand before a last line feed."""
        text = self._text
        for end in reversed(self._ends):
            text = rf"{text[:end]}\Z{text[end + 1 :]}"
        return text

    def alternatives(self, nested: int) -> _Cost:
        """Up to the end of the group or text."""
        if nested > MAX_NESTED:
            raise ValueError("groups too deep in groups")
        whole, cost = None, _Cost()
        while self.at < len(self._text) and self._text[self.at] != ")":
            if self._text[self.at] == "|":
                self.at += 1
                self.choices_outside |= nested == 0
                whole, cost = cost if whole is None else whole.otherwise(cost), _Cost()
                continue
            cost = cost.then(self._atom(nested).repeated(*self._count()))
        return cost if whole is None else whole.otherwise(cost)

    def _atom(self, nested: int) -> _Cost:
        """One thing that can be repeated."""
        text, at = self._text, self.at
        if text[at] == "\\":
            if text[at + 1].isdigit() and text[at + 1] != "0":
                raise ValueError("it refers back to a group")
            self.at += 2
        elif text[at] == "[":
            self._skip_class()
        elif text[at] == "(":
            opening = _GROUP.match(text, at)
            if opening is None or text.startswith("?", opening.end()):
                raise ValueError("a kind of group that is not used")
            self.at = opening.end()
            inner = self.alternatives(nested + 1)
            self.at += 1
            return inner
        else:
            if text[at] == "$":
                self._ends.append(at)
            self.at += 1
        return _Cost()

    def _skip_class(self) -> None:
        text = self._text
        self.at += 2 if text.startswith("^", self.at + 1) else 1
        first = self.at
        while text[self.at] != "]" or self.at == first:  # a bracket that stands first is meant itself
            self.at += 2 if text[self.at] == "\\" else 1
        self.at += 1

    def _count(self) -> tuple[int, int | None]:
        """How often the atom before this place is there: at least, and at most."""
        text, sign = self._text, self._text[self.at : self.at + 1]
        if sign and sign in "*+?":
            self.at += 1
            least, most = int(sign == "+"), 1 if sign == "?" else None
        elif (count := _COUNT.match(text, self.at)) is not None and count[0] != "{}":
            self.at = count.end()
            least = int(count[1] or 0)
            most = int(count[3]) if count[3] else None if count[2] else least
        else:
            return 1, 1
        if self.at < len(text) and text[self.at] in "?+":  # lazy or possessive
            self.at += 1
        return least, most
