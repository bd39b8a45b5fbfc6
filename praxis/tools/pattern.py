"""Regular expressions of strangers, tried only where they cannot take long.

Python's engine backtracks: ``(a+)+$`` on thirty characters takes minutes, and while it does the whole agent stands
still. Short texts and short patterns are no protection. So the worst case is estimated first, from the pattern's own
text: ``ways * length ** loops`` steps, where every choice multiplies the ways and every open repetition is a loop. A
repetition of something that itself can match in several ways is exponential and never used. The estimate is on the
safe side; what it refuses, the tool still checks for itself.
"""

from __future__ import annotations

import re
import warnings

import attrs

MAX_PATTERN = 200
"""Characters of a pattern. Those that servers send are below 100, but for e-mail addresses and dates."""
MAX_LOOPS = 4
"""Open repetitions one after the other: a text of 30 characters can then take the million steps of one check."""
MAX_WAYS = 10_000
"""Ways through the choices of a pattern; more leaves nothing for the length of the text."""
MAX_NESTED = 20
"""Groups in groups; nobody writes more, and the estimate recurses."""

_COUNT = re.compile(r"\{([0-9]*)(?:(,)([0-9]*))?\}")
_GROUP = re.compile(r"\((?:\?(?::|=|!|<=|<!|P<[A-Za-z_][A-Za-z0-9_]*>))?")
_LOOSE = 100
"""A bounded repetition with more choices than this counts as open."""


@attrs.frozen
class Pattern:
    """A pattern that is safe to try. It is searched for: ``^`` and ``$`` anchor it, as JSON Schema says."""

    text: str
    loops: int
    ways: int
    _search: re.Pattern[str]

    def steps(self, length: int) -> int:
        """At most about how many steps of the engine a text of `length` characters takes."""
        return self.ways * int((length + 1) ** self.loops)

    def found_in(self, text: str) -> bool:
        return self._search.search(text) is not None


def compile_pattern(text: str) -> Pattern:
    """Raises ValueError, with the reason, for a pattern that is no Python one or could take too long."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"longer than {MAX_PATTERN} characters")
    try:
        with warnings.catch_warnings(action="ignore"):  # a stranger's style is not for our log
            search = re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise ValueError("not a pattern that Python knows") from None
    estimate = _Estimate(text)
    loops, ways = estimate.alternatives(0)
    if estimate.at < len(text):
        raise ValueError("not understood")
    if estimate.choices_outside or not text.startswith(("^", r"\A")):
        loops += 1  # it is tried from every place
    _bound(loops, ways)
    return Pattern(text, loops, ways, search)


def _bound(loops: int, ways: int) -> None:
    if loops > MAX_LOOPS or ways > MAX_WAYS:
        raise ValueError("it could take too long")


class _Estimate:
    """Reads a pattern that :mod:`re` has accepted; (loops, ways) are added up and multiplied along the way."""

    def __init__(self, text: str) -> None:
        self.at = 0
        self.choices_outside = False
        self._text = text

    def alternatives(self, nested: int) -> tuple[int, int]:
        """Up to the end of the group or text."""
        if nested > MAX_NESTED:
            raise ValueError("groups too deep in groups")
        loops, ways, choices = 0, 1, 1
        while self.at < len(self._text) and self._text[self.at] != ")":
            if self._text[self.at] == "|":
                self.at += 1
                choices += 1
                self.choices_outside |= nested == 0
                continue
            inner = self._atom(nested)
            more = self._repeated(*inner)
            loops, ways = loops + more[0], ways * more[1]
            _bound(loops, ways)
        return loops, ways * choices

    def _atom(self, nested: int) -> tuple[int, int]:
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
            self.at += 1
        return 0, 1

    def _skip_class(self) -> None:
        text = self._text
        self.at += 2 if text.startswith("^", self.at + 1) else 1
        first = self.at
        while text[self.at] != "]" or self.at == first:  # a bracket that stands first is meant itself
            self.at += 2 if text[self.at] == "\\" else 1
        self.at += 1

    def _repeated(self, loops: int, ways: int) -> tuple[int, int]:
        """What becomes of an atom by the quantifier behind it."""
        text, sign = self._text, self._text[self.at : self.at + 1]
        least, most = 0, None
        if sign and sign in "*+?":
            self.at += 1
            most = 1 if sign == "?" else None
        elif (count := _COUNT.match(text, self.at)) is not None and count[0] != "{}":
            self.at = count.end()
            least = int(count[1] or 0)
            most = int(count[3]) if count[3] else None if count[2] else least
        else:
            return loops, ways
        if text[self.at : self.at + 1] in ("?", "+") and self.at < len(text):  # lazy or possessive
            self.at += 1
        if most is not None and most <= 1:
            return loops, ways if least == most else ways + 1
        single = loops == 0 and ways == 1
        if most == least:
            # Cut off before the power is taken: a few times something loose is all that can pass.
            return (0, 1) if single else (loops * most, ways ** min(most, MAX_PATTERN))
        if not single:
            raise ValueError("it could take too long")
        if most is None or most - least >= _LOOSE:
            return 1, 1
        return 0, most - least + 1
