"""The keywords of JSON Schema that look at one value by itself: its type, its size, what it equals.

Each builder takes the keyword's value and gives a check, or None when everything passes. A value that makes no sense is
passed over: schemas come from strangers, and the tool checks its arguments as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.check import Check, Notes, Problem, Work
from praxis.tools.show import LISTED, short, show

UNIQUE_STEPS = 4
"""Looks that it takes to remember an item, by the clock."""


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


def type_(wanted: Any, notes: Notes) -> Check | None:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name in KINDS for name in names):
        return notes.pass_over(f"type {show(wanted)}: not a type")
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
    """Something hashable that is equal for values that are equal as JSON: 1 is 1.0 and not true.

    Numbers become texts, whose hashes nobody can foresee: those of integers can be made all the same, and then a set
    of n of them takes n * n steps.
    """
    if isinstance(value, float):
        return (int, hex(int(value))) if value.is_integer() else (float, value.hex())
    if isinstance(value, int):
        return (type(value), hex(value))
    if isinstance(value, list):
        work.spend(len(value))
        return (list, tuple(canonical(item, work) for item in value))
    if isinstance(value, dict):
        work.spend(len(value))
        return (dict, frozenset((name, canonical(item, work)) for name, item in value.items()))
    return value


def enum(allowed: Any, notes: Notes) -> Check | None:
    if not isinstance(allowed, list):
        return notes.pass_over("enum: not a list")
    listed = short(", ".join(show(item) for item in allowed[:50]) or "nothing", LISTED)
    return _one_of(allowed, f"one of {listed}", notes)


def const(wanted: Any, notes: Notes) -> Check | None:
    return _one_of([wanted], show(wanted), notes)


def _one_of(allowed: Sequence[JSON], expected: str, notes: Notes) -> Check | None:
    try:
        keys = {canonical(item, Work("")) for item in allowed}
    except (PraxisError, RecursionError):
        return notes.pass_over("enum or const: too large")
    nested = any(isinstance(item, list | dict) for item in allowed)

    def check(value: JSON, work: Work) -> Problem | None:
        if not nested and isinstance(value, list | dict):
            return Problem(expected, value)
        return None if canonical(value, work) in keys else Problem(expected, value, among=allowed)

    return check


def unique_items(wanted: Any, notes: Notes) -> Check | None:
    if wanted is not True:
        return None

    def check(value: JSON, work: Work) -> Problem | None:
        if not isinstance(value, list):
            return None
        work.spend(UNIQUE_STEPS * len(value))
        seen: set[object] = set()
        for index, item in enumerate(value):
            key = canonical(item, work)
            if key in seen:
                return Problem("no item twice", item, path=[index])
            seen.add(key)
        return None

    return check


def pattern(wanted: Any, notes: Notes) -> Check | None:
    try:
        compiled = notes.pattern(wanted)
    except ValueError as error:
        return notes.pass_over(f"pattern {show(wanted)}: {error}")
    expected = f"a string that matches {short(wanted)}"

    def check(value: JSON, work: Work) -> Problem | None:
        wrong = isinstance(value, str) and work.matches(compiled, value) is False
        return Problem(expected, value) if wrong else None

    return check


def multiple_of(divisor: Any, notes: Notes) -> Check | None:
    if not is_number(divisor) or divisor <= 0:
        return notes.pass_over("multipleOf: not a number above 0")

    def check(value: JSON, work: Work) -> Problem | None:
        return None if not is_number(value) or _divides(divisor, value) else Problem(expected, value)

    expected = f"a multiple of {show(divisor)}"
    return check


def _divides(divisor: Any, value: Any) -> bool:
    """Exactly for integers; 0.3 is taken for a multiple of 0.1, which it is not as a double."""
    if isinstance(value, int) and isinstance(divisor, int):
        return bool(value % divisor == 0)
    try:
        rest = abs(math.remainder(value, divisor))
    except OverflowError:  # an integer beyond all doubles
        return True
    return bool(rest <= 1e-15 * abs(value))


def _bound(
    words: str, kind: Callable[[JSON], bool], measure: Callable[[Any], Any], holds: Callable[[Any, Any], bool]
) -> Callable[[Any, Notes], Check | None]:
    """A keyword that compares a measure of a value with a number."""

    def build(limit: Any, notes: Notes) -> Check | None:
        if not is_number(limit):
            return notes.pass_over(f"{words.format('N')}: not a number")
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


KEYWORDS: dict[str, Callable[[Any, Notes], Check | None]] = {
    "type": type_,
    "enum": enum,
    "const": const,
    "minimum": _bound("{} or more", is_number, _itself, _at_least),
    "maximum": _bound("{} or less", is_number, _itself, _at_most),
    "exclusiveMinimum": _bound("more than {}", is_number, _itself, lambda value, limit: value > limit),
    "exclusiveMaximum": _bound("less than {}", is_number, _itself, lambda value, limit: value < limit),
    "multipleOf": multiple_of,
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
