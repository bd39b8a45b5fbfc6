"""What ``${name.path[0]}`` stands for: a place in an earlier step's result; what conditions and lists come to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Condition, Parts, Reference
from praxis.model.tool import JSON, ToolResult

MAX_SHOWN = 200
"""Characters of a value in an error: it comes from a tool, and the sentence stays readable."""


def value_of(result: ToolResult) -> JSON:
    """A result as later steps see it: its structured content, else its text, as JSON where that is what it is."""
    if result.structured is not None:
        return result.structured
    text = result.text
    if text[:1] in ("{", "["):
        return _parsed(text)
    return text


def resolve(argument: Argument, values: Mapping[str, JSON]) -> JSON:
    """An argument's value: text, or exactly what its only reference stands for. Raises PraxisError("invalid")."""
    return _joined(argument.parts, values) if argument.parts else _filled(argument.tree, values)


def _joined(parts: Parts, values: Mapping[str, JSON]) -> JSON:
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return _look_up(parts[0], values)
    return "".join(part if isinstance(part, str) else _as_text(_look_up(part, values)) for part in parts)


def _filled(tree: Any, values: Mapping[str, JSON]) -> JSON:
    """A tree with the values of its references in their places."""
    if isinstance(tree, tuple):
        return _joined(tree, values)
    if isinstance(tree, dict):
        return {key: _filled(value, values) for key, value in tree.items()}
    return [_filled(value, values) for value in tree] if isinstance(tree, list) else tree


def is_constant(argument: Argument) -> bool:
    """True when the value is known before anything has run."""
    return next(argument.references(), None) is None


def holds(condition: Condition, values: Mapping[str, JSON]) -> bool:
    """Whether a condition is true: a value alone is unless it is null, false, zero or empty.

    Words have no type of their own: beside a number a text that reads as one is that number, beside true and false so
    are their names. Raises PraxisError("invalid") where what has no order is compared by it.
    """
    left = resolve(condition.left, values)
    if condition.operator is None or condition.right is None:
        read = _parsed(left) if isinstance(left, str) else left
        return bool(left) and (bool(read) or isinstance(read, str | list | dict))
    left, right = _alike(left, resolve(condition.right, values))
    if condition.operator in ("==", "!="):
        return (_same(left, right)) is (condition.operator == "==")
    ordered = (isinstance(left, str) and isinstance(right, str)) or (_is_number(left) and _is_number(right))
    if not ordered:
        at = condition.left
        raise PraxisError(
            "invalid",
            f"{_describe(left)} and {_describe(right)} have no order",
            where=f"line {at.line}, column {at.column}",
            hint="< and > compare two numbers or two texts",
        )
    match condition.operator:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
    return bool(left >= right)


def elements(source: Argument, values: Mapping[str, JSON]) -> list[JSON]:
    """The list that a FOREACH goes through. Raises PraxisError("invalid") for anything else."""
    value = resolve(source, values)
    if isinstance(value, str) and value[:1] == "[":
        value = _parsed(value)
    if not isinstance(value, list):
        raise PraxisError(
            "invalid",
            f"{source} is {_describe(value)}, and no list",
            where=f"line {source.line}, column {source.column}",
        )
    return value


def _alike(left: JSON, right: JSON) -> tuple[JSON, JSON]:
    """Two values as they are compared."""
    if isinstance(left, str) != isinstance(right, str):
        return (_like(left, right), right) if isinstance(left, str) else (left, _like(right, left))
    if isinstance(left, str) and isinstance(right, str):
        numbers = _parsed(left), _parsed(right)
        if all(map(_is_number, numbers)):
            return numbers
    return left, right


def _like(text: str, other: JSON) -> JSON:
    value = _parsed(text)
    return value if type(value) is type(other) or (_is_number(value) and _is_number(other)) else text


def _parsed(text: str) -> JSON:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def _same(left: JSON, right: JSON) -> bool:
    """Equal as JSON: true is not 1."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _look_up(reference: Reference, values: Mapping[str, JSON]) -> JSON:
    value: Any = values[reference.name]
    for depth, key in enumerate(reference.path):
        try:
            if isinstance(value, str):  # Python would take a character out of it
                raise TypeError
            value = value[key]
        except (LookupError, TypeError):
            so_far = str(Reference(reference.name, reference.path[:depth]))
            raise PraxisError(
                "invalid",
                f"{reference} is not there: {so_far} is {_describe(value)}",
                where=f"line {reference.line}, column {reference.column}",
                hint=f"write {so_far} for all of it" if isinstance(value, str) else "",
            ) from None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # no other machine could be told
        raise ValueError(f"{text} is too large")
    return number


def _as_text(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _describe(value: JSON) -> str:
    if isinstance(value, dict):
        keys = ", ".join(list(value)[:8])[:MAX_SHOWN]
        return f"an object with {keys}" if keys else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a text" if isinstance(value, str) else json.dumps(value)[:MAX_SHOWN]
