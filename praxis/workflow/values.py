"""What ``${name.path[0]}`` stands for: a place in an earlier step's result."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Reference
from praxis.model.tool import JSON, ToolResult

MAX_SHOWN = 200
"""Characters of a value in an error: it comes from a tool, and the sentence stays readable."""


def value_of(result: ToolResult) -> JSON:
    """A result as later steps see it: its structured content, else its text, as JSON where that is what it is."""
    if result.structured is not None:
        return result.structured
    text = result.text
    if text[:1] in ("{", "["):
        try:
            return json.loads(text, parse_constant=_refuse, parse_float=_finite)
        except (ValueError, RecursionError):
            return text
    return text


def resolve(argument: Argument, values: Mapping[str, JSON]) -> JSON:
    """An argument's value: text, or exactly what its only reference stands for. Raises PraxisError("invalid")."""
    parts = argument.parts
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return _look_up(parts[0], values)
    return "".join(part if isinstance(part, str) else _as_text(_look_up(part, values)) for part in parts)


def is_constant(argument: Argument) -> bool:
    """True when the value is known before anything has run."""
    return all(isinstance(part, str) for part in argument.parts)


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
