"""The keywords of JSON Schema that look at one value by itself: its type, its size, what it equals.

Each builder takes the keyword's value and gives a check, or None when that value makes no sense as one, which is then
passed over: schemas come from strangers, and the tool checks its arguments as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.pattern import compile_pattern
from praxis.tools.show import quoted, short, show

MAX_STEPS = 1_000_000
"""Looks at one value by one keyword in one check: a full message of small values passes, in some 0.2 s."""
MAX_PATTERN_STEPS = 1_000_000
"""Steps of the pattern engine in one check, by their worst case: some 50 ms for the worst of 17,000 random patterns.
Texts beyond it are not tried."""
LISTED = 200
"""Characters of a list of names or values that an error shows."""


@attrs.define
class Work:
    """What one check may still cost, and which references it is following on which values."""

    where: str
    steps: int = MAX_STEPS
    pattern_steps: int = MAX_PATTERN_STEPS
    following: set[tuple[int, int]] = attrs.field(factory=set)

    def spend(self, steps: int) -> None:
        """Raises PraxisError("invalid") once the check has cost too much."""
        self.steps -= steps
        if self.steps < 0:
            raise PraxisError("invalid", "it is too large or too involved to be checked", where=self.where)


@attrs.define
class Problem:
    """Something that does not fit. `path` leads to it, innermost part first; `expected` completes "expected ..."."""

    expected: str
    value: JSON
    detail: str = ""
    """The whole sentence, where it is not "expected ..., got ..."."""
    hint: str = ""
    path: list[str | int] = attrs.field(factory=list)

    def error(self, where: str) -> PraxisError:
        detail = self.detail or f"expected {self.expected}, got {show(self.value)}"
        return PraxisError("invalid", detail, where=where + "".join(map(_step, reversed(self.path))), hint=self.hint)


Check = Callable[[JSON, Work], Problem | None]
Note = Callable[[str], None]


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if len(part) <= 60 and part.replace("-", "_").isidentifier() else f"[{quoted(part)}]"


def is_number(value: JSON) -> bool:
    """True for a finite number; booleans are none."""
    return (isinstance(value, float) and math.isfinite(value)) or (isinstance(value, int) and type(value) is not bool)


def is_integer(value: JSON) -> bool:
    """True for 5 and for 5.0, as JSON Schema has it."""
    return value.is_integer() if isinstance(value, float) else isinstance(value, int) and type(value) is not bool


KINDS: dict[str, Callable[[JSON], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": is_integer,
    "number": is_number,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def type_(wanted: Any, note: Note) -> Check | None:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name in KINDS for name in names):
        note(f"type {show(wanted)}: not a type")
        return None
    expected = " or ".join(dict.fromkeys(names))
    kinds = [KINDS[name] for name in names]
    if len(kinds) > 1:
        return lambda value, work: None if any(kind(value) for kind in kinds) else Problem(expected, value)
    if expected == "string":
        return lambda value, work: None if isinstance(value, str) else Problem("string", value)
    if expected == "object":
        return lambda value, work: None if isinstance(value, dict) else Problem("object", value)
    kind = kinds[0]
    return lambda value, work: None if kind(value) else Problem(expected, value)


def canonical(value: JSON, work: Work) -> object:
    """Something hashable that is equal for values that are equal as JSON: 1 is 1.0 and not true."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, list):
        work.spend(len(value))
        return (list, tuple(canonical(item, work) for item in value))
    if isinstance(value, dict):
        work.spend(len(value))
        return (dict, frozenset((name, canonical(item, work)) for name, item in value.items()))
    return value


def enum(allowed: Any, note: Note) -> Check | None:
    if not isinstance(allowed, list):
        note("enum: not a list")
        return None
    return _one_of(
        allowed, "one of " + short(", ".join(show(item) for item in allowed[:50]) or "nothing", LISTED), note
    )


def const(wanted: Any, note: Note) -> Check | None:
    return _one_of([wanted], show(wanted), note)


def _one_of(allowed: Sequence[JSON], expected: str, note: Note) -> Check | None:
    try:
        keys = {canonical(item, Work("")) for item in allowed}
    except (PraxisError, RecursionError):
        note("enum or const: too large")
        return None
    nested = any(isinstance(item, list | dict) for item in allowed)

    def check(value: JSON, work: Work) -> Problem | None:
        if not nested and isinstance(value, list | dict):
            return Problem(expected, value)
        return None if canonical(value, work) in keys else Problem(expected, value)

    return check


def unique_items(wanted: Any, note: Note) -> Check | None:
    if wanted is not True:
        return None

    def check(value: JSON, work: Work) -> Problem | None:
        if not isinstance(value, list):
            return None
        seen: set[object] = set()
        for index, item in enumerate(value):
            key = canonical(item, work)
            if key in seen:
                return Problem("no item twice", item, path=[index])
            seen.add(key)
        work.spend(len(value))
        return None

    return check


def pattern(wanted: Any, note: Note) -> Check | None:
    try:
        if not isinstance(wanted, str):
            raise ValueError("not a text")
        compiled = compile_pattern(wanted)
    except ValueError as error:
        note(f"pattern {show(wanted)}: {error}")
        return None
    expected = f"a string that matches {short(wanted)}"

    def check(value: JSON, work: Work) -> Problem | None:
        if not isinstance(value, str):
            return None
        steps = compiled.steps(len(value))
        if steps > work.pattern_steps:
            return None
        work.pattern_steps -= steps
        return None if compiled.found_in(value) else Problem(expected, value)

    return check


def _bound(
    words: str, kind: Callable[[JSON], bool], measure: Callable[[Any], Any], holds: Callable[[Any, Any], bool]
) -> Callable[[Any, Note], Check | None]:
    """A keyword that compares a measure of a value with a number."""

    def build(limit: Any, note: Note) -> Check | None:
        if not is_number(limit):
            note(f"{words.format('N')}: not a number")
            return None
        expected = words.format(show(limit))

        def check(value: JSON, work: Work) -> Problem | None:
            return None if not kind(value) or holds(measure(value), limit) else Problem(expected, value)

        return check

    return build


def _at_least(value: Any, limit: Any) -> bool:
    return bool(value >= limit)


def _at_most(value: Any, limit: Any) -> bool:
    return bool(value <= limit)


def _itself(value: Any) -> Any:
    return value


KEYWORDS: dict[str, Callable[[Any, Note], Check | None]] = {
    "type": type_,
    "enum": enum,
    "const": const,
    "minimum": _bound("{} or more", is_number, _itself, _at_least),
    "maximum": _bound("{} or less", is_number, _itself, _at_most),
    "exclusiveMinimum": _bound("more than {}", is_number, _itself, lambda value, limit: value > limit),
    "exclusiveMaximum": _bound("less than {}", is_number, _itself, lambda value, limit: value < limit),
    "minLength": _bound("a string of {} characters or more", KINDS["string"], len, _at_least),
    "maxLength": _bound("a string of {} characters or fewer", KINDS["string"], len, _at_most),
    "minItems": _bound("an array of {} items or more", KINDS["array"], len, _at_least),
    "maxItems": _bound("an array of {} items or fewer", KINDS["array"], len, _at_most),
    "minProperties": _bound("an object of {} fields or more", KINDS["object"], len, _at_least),
    "maxProperties": _bound("an object of {} fields or fewer", KINDS["object"], len, _at_most),
    "uniqueItems": unique_items,
    "pattern": pattern,
}
"""By name, in the order in which they are tried: what says most about a wrong value comes first."""
