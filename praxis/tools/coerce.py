"""Words of a program become arguments: typed by the tool's input schema, never guessed."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.check import step
from praxis.tools.keywords import KINDS
from praxis.tools.schema import resolve
from praxis.tools.show import did_you_mean, quoted, show

MAX_ALTERNATIVES = 64
"""Parts of a schema, its references and alternatives included, that are asked for the type of one argument."""
MAX_NUMBER = 400
"""Characters of a number: the longest exact double has fewer than 400 before its point."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def coerce(schema: JSON, words: Sequence[tuple[str | None, JSON]]) -> dict[str, JSON]:
    """The arguments of a call. `words` are (name, value), where the name None stands for a positional one.

    Positional words take the schema's properties in the order as written, passing over those that are given by name. A
    text becomes what the schema says; where a text is among several types, it stays one. A value that is no text,
    because it comes out of an earlier result, stays as it is unless the schema wants a text: then it becomes JSON.

    Raises PraxisError("invalid") that names the argument. Whether the arguments fit the schema otherwise is not looked
    at here.
    """
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    properties: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    names = [name for name in properties if isinstance(name, str)]
    others = schema.get("additionalProperties") if isinstance(schema, Mapping) else None
    arguments: dict[str, JSON] = {}
    named = {name for name, _ in words if name is not None}
    free = iter([name for name in names if name not in named])
    for name, value in words:
        if name is None:
            taken = next(free, None)
            if taken is None:
                raise PraxisError(
                    "invalid",
                    f"there is no place for the value {show(value)}",
                    where="arguments",
                    hint=did_you_mean("", names),
                )
            name = taken
        elif name in arguments:
            raise PraxisError("invalid", "it is given twice", where="arguments" + step(name))
        elif name not in properties and not _is_open(schema):
            raise PraxisError(
                "invalid",
                f"the tool has no argument {quoted(name)}",
                where="arguments" + step(name),
                hint=did_you_mean(name, names),
            )
        arguments[name] = _typed(_Types(schema, properties.get(name, others)), value, "arguments" + step(name))
    return arguments


def _is_open(schema: JSON) -> bool:
    """True when a tool says that it takes arguments which its schema does not name, or says nothing at all.

    JSON Schema leaves every object open that is not closed, but for a word that somebody typed, a name which the
    schema does not know is far more likely a slip.
    """
    if not isinstance(schema, Mapping):
        return True
    others = schema.get("additionalProperties", not schema.get("properties"))
    return others is not False or bool(schema.get("patternProperties"))


class _Types:
    """The types that a schema allows, those of its references and alternatives included."""

    def __init__(self, root: JSON, schema: JSON) -> None:
        self.kinds: dict[str, None] = {}
        """In the order in which the schema names them; none means anything."""
        self.values: list[JSON] = []
        """What ``enum`` and ``const`` allow where no type stands beside them."""
        self._root = root
        self._left = MAX_ALTERNATIVES
        self._look(schema)

    def _look(self, schema: JSON) -> None:
        if self._left <= 0 or not isinstance(schema, Mapping):
            return
        self._left -= 1
        wanted = schema.get("type")
        kinds = [kind for kind in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(kind, str)]
        self.kinds.update(dict.fromkeys(kind for kind in kinds if kind in KINDS))
        if not kinds:
            values = schema.get("enum")
            self.values += values if isinstance(values, list) else []
            self.values += [schema["const"]] if "const" in schema else []
        if isinstance(reference := schema.get("$ref"), str):
            with contextlib.suppress(LookupError):  # whoever checks the arguments notes it
                self._look(resolve(self._root, reference))
        for keyword in ("allOf", "anyOf", "oneOf"):
            parts = schema.get(keyword)
            for part in parts if isinstance(parts, list) else ():
                self._look(part)


def _typed(types: _Types, value: JSON, where: str) -> JSON:
    kinds = types.kinds
    if not isinstance(value, str):
        wants_text = "string" in kinds and not any(KINDS[kind](value) for kind in kinds)
        try:
            return json.dumps(value, ensure_ascii=False) if wants_text else value
        except (ValueError, RecursionError):
            raise PraxisError("invalid", f"expected string, got {show(value)}", where=where) from None
    if types.values:
        if value in types.values:
            return value
        for item in types.values:
            if not isinstance(item, str | list | dict) and json.dumps(item) == value:
                return item
    if not kinds or "string" in kinds:
        return value
    for kind in kinds:
        try:
            return _READERS[kind](value)
        except (ValueError, RecursionError):  # JSON as deep as the interpreter's stack is no value either
            continue
    raise PraxisError("invalid", f"expected {' or '.join(kinds)}, got {quoted(value)}", where=where)


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) and len(text) <= MAX_NUMBER:
        return int(text)
    number = _float(text)
    if not number.is_integer():
        raise ValueError("not whole")
    return int(number)


def _number(text: str) -> int | float:
    return int(text) if _INTEGER.fullmatch(text) and len(text) <= MAX_NUMBER else _float(text)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("too large")
    return number


def _word(text: str, values: Mapping[str, JSON]) -> JSON:
    if text not in values:
        raise ValueError("not the word")
    return values[text]


def _json(text: str, kind: type) -> JSON:
    value = json.loads(text, parse_constant=_refuse, parse_float=_number)
    if not isinstance(value, kind):
        raise ValueError("another type")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_READERS: Mapping[str, Any] = {
    "integer": _integer,
    "number": _number,
    "boolean": lambda text: _word(text, {"true": True, "false": False}),
    "null": lambda text: _word(text, {"null": None}),
    "array": lambda text: _json(text, list),
    "object": lambda text: _json(text, dict),
}
"""What reads a text as a value of a type; each raises ValueError for a text that is none."""
