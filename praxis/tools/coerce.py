"""Words of a program become arguments: typed by the tool's input schema, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def coerce(schema: JSON, words: Sequence[tuple[str | None, JSON]]) -> dict[str, JSON]:
    """Arguments of a call. `words` are (name, value), the name None for a positional one.

    Positional words follow the order of the schema's properties. A text becomes what the schema says; a value that is
    no text, because it comes out of an earlier result, stays as it is unless the schema wants a text.
    Raises PraxisError("invalid") that names the argument.
    """
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    properties: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    names = list(properties)
    arguments: dict[str, JSON] = {}
    position = 0
    for name, value in words:
        if name is None:
            while position < len(names) and names[position] in arguments:
                position += 1
            if position == len(names):
                raise PraxisError(
                    "invalid", "one value more than the tool takes", where="arguments", hint=_takes(names)
                )
            name = names[position]
        elif name in arguments:
            raise PraxisError("invalid", "it is given twice", where=f"arguments.{name}")
        elif name not in properties and not _open(schema):
            raise PraxisError("invalid", f"there is no argument {name!r}", where="arguments", hint=_takes(names))
        arguments[name] = _typed(properties.get(name, {}), value, f"arguments.{name}")
    return arguments


def _open(schema: JSON) -> bool:
    """True when a tool takes arguments that its schema does not name."""
    if not isinstance(schema, Mapping):
        return True
    return ("additionalProperties" in schema and schema["additionalProperties"] is not False) or not schema.get(
        "properties"
    )


def _takes(names: Sequence[str]) -> str:
    return f"it takes {', '.join(names[:20])}" if names else "it takes no arguments"


def _kinds(schema: JSON) -> list[str]:
    """The types that a schema names, those of its alternatives included."""
    if not isinstance(schema, Mapping):
        return []
    named = schema.get("type")
    kinds = (
        [named]
        if isinstance(named, str)
        else [k for k in named if isinstance(k, str)]
        if isinstance(named, list)
        else []
    )
    for keyword in ("anyOf", "oneOf"):
        parts = schema.get(keyword)
        if isinstance(parts, list):
            kinds += [kind for part in parts[:32] if isinstance(part, Mapping) for kind in _kinds(part)]
    if not kinds and isinstance(schema.get("enum"), list):
        kinds = ["enum"]
    return kinds


def _typed(schema: JSON, value: JSON, where: str) -> JSON:
    kinds = _kinds(schema)
    if not isinstance(value, str):
        if kinds == ["string"]:
            return json.dumps(value, ensure_ascii=False)
        return value
    if not kinds or kinds == ["string"]:
        return value
    if kinds == ["enum"]:
        return next((item for item in schema["enum"] if not isinstance(item, str) and json.dumps(item) == value), value)
    for kind in kinds:
        taken, typed = _read(kind, value)
        if taken:
            return typed
    if "string" in kinds:
        return value
    raise PraxisError("invalid", f"expected {' or '.join(dict.fromkeys(kinds))}, got {value[:60]!r}", where=where)


def _read(kind: str, text: str) -> tuple[bool, JSON]:
    """What a text is as a value of one type, and whether it is one."""
    if kind in ("integer", "number") and _NUMBER.fullmatch(text) and len(text) <= 100:
        if re.fullmatch(r"[+-]?\d+", text):
            return True, int(text)
        number = float(text)
        return (kind == "number" or number.is_integer()) and abs(number) != float("inf"), number
    if kind == "boolean" and text in ("true", "false"):
        return True, text == "true"
    if kind == "null" and text == "null":
        return True, None
    if kind in ("array", "object"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False, None
        return isinstance(value, list if kind == "array" else dict), value
    return False, None
