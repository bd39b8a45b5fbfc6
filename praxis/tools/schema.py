"""JSON Schema, as far as MCP servers really use it: arguments are checked before a tool sees them.

Schemas come from tool servers and peers, so they are remote input: nothing is fetched, depth and patterns are bounded,
and a keyword that cannot be used is passed over, because the tool checks its arguments as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON

MAX_DEPTH = 32
"""Levels of a schema, references included, that are looked at; deeper ones count as "anything"."""
MAX_PATTERN, MAX_MATCHED = 200, 1000
"""Characters of a pattern, and of a text that one is tried on: Python's engine can take exponential time."""
SHOWN = 60
"""Characters of a value that an error shows."""

Check = Callable[[JSON, str], None]
"""Raises PraxisError("invalid") for a value at a place."""

_KINDS: dict[str, Callable[[JSON], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": lambda value: _is_number(value),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


class Validator:
    """A schema made ready for use. `notes` names the keywords that were passed over, and why."""

    def __init__(self, schema: JSON) -> None:
        self.notes: list[str] = []
        self._root = schema
        self._check = self._compile(schema, 0)

    def check(self, value: JSON, where: str = "arguments") -> None:
        """Raises PraxisError("invalid") that names the first place that does not fit, such as ``arguments.x[0].y``."""
        self._check(value, where)

    def _compile(self, schema: JSON, depth: int) -> Check:
        if schema is False:
            return lambda value, where: _fail(where, "nothing may stand here", value)
        if not isinstance(schema, Mapping):
            return _anything
        if depth >= MAX_DEPTH:
            self.notes.append(f"deeper than {MAX_DEPTH} levels")
            return _anything
        checks: list[Check] = []
        if isinstance(reference := schema.get("$ref"), str):
            checks.append(self._reference(reference, depth))
        for keyword, build in _KEYWORDS.items():
            if keyword in schema:
                check = build(self, schema, schema[keyword], depth)
                if check is not None:
                    checks.append(check)
        if not checks:
            return _anything
        if len(checks) == 1:
            return checks[0]

        def all_of_them(value: JSON, where: str) -> None:
            for check in checks:
                check(value, where)

        return all_of_them

    def _reference(self, reference: str, depth: int) -> Check:
        """A schema elsewhere in the same document (RFC 6901), compiled when a value gets there: it may be recursive."""
        if not reference.startswith("#"):
            self.notes.append(f"$ref {reference[:SHOWN]!r} is not fetched")
            return _anything
        target = self._root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                self.notes.append(f"$ref {reference[:SHOWN]!r} leads nowhere")
                return _anything
            target = target[key]
        compiled: list[Check] = []

        def follow(value: JSON, where: str) -> None:
            if not compiled:
                compiled.append(_anything)  # a reference that leads back here without going down says nothing
                compiled[0] = self._compile(target, depth + 1)
            compiled[0](value, where)

        return follow

    # -- keywords: each gives a check, or None when its value is no use -----------------------------

    def _type(self, schema: Mapping[str, Any], wanted: Any, depth: int) -> Check | None:
        names = [wanted] if isinstance(wanted, str) else wanted
        if (
            not isinstance(names, list)
            or not all(isinstance(name, str) and name in _KINDS for name in names)
            or not names
        ):
            return None
        kinds = [_KINDS[name] for name in names]
        expected = " or ".join(names)
        if len(kinds) == 1:
            kind = kinds[0]

            def of_kind(value: JSON, where: str) -> None:
                if not kind(value):
                    _fail(where, f"expected {expected}", value)

            return of_kind

        def of_one_kind(value: JSON, where: str) -> None:
            if not any(kind(value) for kind in kinds):
                _fail(where, f"expected {expected}", value)

        return of_one_kind

    def _enum(self, schema: Mapping[str, Any], allowed: Any, depth: int) -> Check | None:
        if not isinstance(allowed, list):
            return None

        def one_of(value: JSON, where: str) -> None:
            if not any(_same(value, item) for item in allowed):
                _fail(where, f"expected one of {_short(', '.join(map(_show, allowed)), 200)}", value)

        return one_of

    def _const(self, schema: Mapping[str, Any], wanted: Any, depth: int) -> Check | None:
        def exactly(value: JSON, where: str) -> None:
            if not _same(value, wanted):
                _fail(where, f"expected {_show(wanted)}", value)

        return exactly

    def _object(self, schema: Mapping[str, Any], properties: Any, depth: int) -> Check | None:
        """``properties``, with what concerns the others: they are looked at together."""
        named = properties if isinstance(properties, Mapping) else {}
        checks = {name: self._compile(part, depth + 1) for name, part in named.items() if isinstance(name, str)}
        others = schema.get("additionalProperties", True)
        patterns = isinstance(schema.get("patternProperties"), Mapping)
        other = _anything if others is True or patterns else self._compile(others, depth + 1)
        closed = others is False and not patterns

        def fits(value: JSON, where: str) -> None:
            if not isinstance(value, dict):
                return
            for name, item in value.items():
                check = checks.get(name)
                if check is not None:
                    check(item, f"{where}.{name}")
                elif closed:
                    known = ", ".join(checks) or "none"
                    raise PraxisError(
                        "invalid",
                        f"there is no {_short(name, SHOWN)!r} here",
                        where=where,
                        hint=_short(f"it takes {known}", 300),
                    )
                elif other is not _anything:
                    other(item, f"{where}.{_short(name, SHOWN)}")

        return fits

    def _additional(self, schema: Mapping[str, Any], others: Any, depth: int) -> Check | None:
        return None if "properties" in schema else self._object(schema, {}, depth)

    def _required(self, schema: Mapping[str, Any], names: Any, depth: int) -> Check | None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return None

        def has_all(value: JSON, where: str) -> None:
            if isinstance(value, dict):
                for name in names:
                    if name not in value:
                        raise PraxisError("invalid", "it is required and missing", where=f"{where}.{name}")

        return has_all

    def _items(self, schema: Mapping[str, Any], part: Any, depth: int) -> Check | None:
        check = self._compile(part, depth + 1)
        prefix = schema.get("prefixItems")
        skip = len(prefix) if isinstance(prefix, list) else 0

        def each(value: JSON, where: str) -> None:
            if isinstance(value, list):
                for index, item in enumerate(value[skip:], skip):
                    check(item, f"{where}[{index}]")

        return None if check is _anything else each

    def _prefix(self, schema: Mapping[str, Any], parts: Any, depth: int) -> Check | None:
        if not isinstance(parts, list):
            return None
        checks = [self._compile(part, depth + 1) for part in parts]

        def each(value: JSON, where: str) -> None:
            if isinstance(value, list):
                for index, (check, item) in enumerate(zip(checks, value, strict=False)):
                    check(item, f"{where}[{index}]")

        return each

    def _pattern(self, schema: Mapping[str, Any], pattern: Any, depth: int) -> Check | None:
        try:
            if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
                raise ValueError("too long")
            found = re.compile(pattern).search
        except (ValueError, re.error, RecursionError, OverflowError):
            self.notes.append(f"pattern {_short(str(pattern), SHOWN)!r} is not used")
            return None

        def matches(value: JSON, where: str) -> None:
            if isinstance(value, str) and len(value) <= MAX_MATCHED and not found(value):
                _fail(where, f"expected a text like {pattern}", value)

        return matches

    def _any_of(self, schema: Mapping[str, Any], parts: Any, depth: int) -> Check | None:
        return self._alternatives(parts, depth, exactly_one=False)

    def _one_of(self, schema: Mapping[str, Any], parts: Any, depth: int) -> Check | None:
        return self._alternatives(parts, depth, exactly_one=True)

    def _alternatives(self, parts: Any, depth: int, *, exactly_one: bool) -> Check | None:
        if not isinstance(parts, list) or not parts:
            return None
        checks = [self._compile(part, depth + 1) for part in parts]

        def fits(value: JSON, where: str) -> None:
            problems = []
            for check in checks:
                try:
                    check(value, where)
                except PraxisError as error:
                    problems.append(error)
            matching = len(checks) - len(problems)
            if matching == 0:
                raise max(problems, key=lambda problem: len(problem.where))
            if exactly_one and matching > 1:
                _fail(where, f"{matching} alternatives fit, where one must", value)

        return fits

    def _all_of(self, schema: Mapping[str, Any], parts: Any, depth: int) -> Check | None:
        if not isinstance(parts, list):
            return None
        checks = [self._compile(part, depth + 1) for part in parts]

        def fits(value: JSON, where: str) -> None:
            for check in checks:
                check(value, where)

        return fits

    def _not(self, schema: Mapping[str, Any], part: Any, depth: int) -> Check | None:
        check = self._compile(part, depth + 1)

        def differs(value: JSON, where: str) -> None:
            try:
                check(value, where)
            except PraxisError:
                return
            _fail(where, "expected something else", value)

        return differs

    def _unique(self, schema: Mapping[str, Any], wanted: Any, depth: int) -> Check | None:
        def distinct(value: JSON, where: str) -> None:
            if isinstance(value, list) and len(value) > len({_key(item) for item in value}):
                _fail(where, "expected no item twice", value)

        return distinct if wanted is True else None


def _bound(
    words: str, kind: Callable[[JSON], bool], measure: Callable[[Any], Any], holds: Callable[[Any, Any], bool]
) -> Any:
    """A keyword that compares a measure of the value with a number."""

    def build(_: Validator, schema: Mapping[str, Any], limit: Any, depth: int) -> Check | None:
        if not _is_number(limit):
            return None

        def within(value: JSON, where: str) -> None:
            if kind(value) and not holds(measure(value), limit):
                _fail(where, words.format(limit), value)

        return within

    return build


_KEYWORDS: dict[str, Callable[[Validator, Mapping[str, Any], Any, int], Check | None]] = {
    "type": Validator._type,
    "enum": Validator._enum,
    "const": Validator._const,
    "required": Validator._required,
    "properties": Validator._object,
    "additionalProperties": Validator._additional,
    "items": Validator._items,
    "prefixItems": Validator._prefix,
    "minimum": _bound("expected {} or more", lambda v: _is_number(v), lambda v: v, lambda v, n: v >= n),
    "maximum": _bound("expected {} or less", lambda v: _is_number(v), lambda v: v, lambda v, n: v <= n),
    "exclusiveMinimum": _bound("expected more than {}", lambda v: _is_number(v), lambda v: v, lambda v, n: v > n),
    "exclusiveMaximum": _bound("expected less than {}", lambda v: _is_number(v), lambda v: v, lambda v, n: v < n),
    "minLength": _bound("expected {} characters or more", _KINDS["string"], len, lambda v, n: v >= n),
    "maxLength": _bound("expected {} characters or fewer", _KINDS["string"], len, lambda v, n: v <= n),
    "minItems": _bound("expected {} items or more", _KINDS["array"], len, lambda v, n: v >= n),
    "maxItems": _bound("expected {} items or fewer", _KINDS["array"], len, lambda v, n: v <= n),
    "uniqueItems": Validator._unique,
    "pattern": Validator._pattern,
    "anyOf": Validator._any_of,
    "oneOf": Validator._one_of,
    "allOf": Validator._all_of,
    "not": Validator._not,
}


def compile_schema(schema: JSON) -> Validator:
    """Make a schema ready for use. Never raises for a schema, however odd."""
    return Validator(schema)


def _anything(value: JSON, where: str) -> None:
    pass


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _same(one: JSON, other: JSON) -> bool:
    """Equal as JSON: True is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _key(value: JSON) -> str:
    return repr((type(value) is bool, value))


def _fail(where: str, expected: str, value: JSON) -> None:
    raise PraxisError("invalid", f"{expected}, got {_show(value)}", where=where)


def _show(value: JSON) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a list of {len(value)}"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return _short(repr(value), SHOWN)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
