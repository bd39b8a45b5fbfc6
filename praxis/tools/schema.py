"""JSON Schema, as far as MCP servers really use it: arguments are checked before a tool sees them.

After https://json-schema.org/draft/2020-12, with what older drafts called ``definitions`` and ``items`` as a list.
Schemas come from tool servers and peers, so they are remote input: nothing is ever fetched, every check has bounds,
and a keyword that cannot be used is passed over and noted, because the tool checks its arguments as well. What is
passed over only ever lets values in: ``not`` and ``oneOf``, which refuse what fits, refuse what fits for certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.check import Check, Notes, Problem, Work, passed_over
from praxis.tools.combinations import COMBINATIONS, all_of, each_name, not_
from praxis.tools.keywords import KEYWORDS
from praxis.tools.pattern import Pattern
from praxis.tools.show import LISTED, quoted, short, show

MAX_DEPTH = 64
"""Levels of a schema between two references; deeper ones count as "anything". Real ones have about ten."""
MAX_PARTS = 10_000
"""Subschemas of one schema; the rest counts as "anything". The largest of the well-known servers have some hundreds."""
MAX_REFERENCE = 1000
"""Characters of a reference."""
UNUSED = (
    *("contains", "dependencies", "dependentRequired", "dependentSchemas", "if"),
    *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
)
"""Keywords that servers hardly use."""


@attrs.define
class _Target:
    """What a reference leads to. It is filled in later, because it may lead back to where the reference stands."""

    check: Check | None = None


class Validator:
    """A schema made ready for use; making it never raises, however odd the schema.

    Attributes:
        notes: the keywords that were passed over, and why.
    """

    def __init__(self, schema: JSON) -> None:
        self._notes = Notes()
        self.notes = self._notes.texts
        self._root = schema
        self._left = MAX_PARTS
        self._targets: dict[str, _Target] = {}
        self._waiting: list[tuple[_Target, JSON]] = []
        self._check = self._compile(schema, 0)
        while self._waiting:
            target, part = self._waiting.pop()
            target.check = self._compile(part, 0)

    def check(self, value: JSON, where: str = "arguments") -> None:
        """Raises PraxisError("invalid") that names the first place that does not fit, such as ``arguments.x[0].y``."""
        if self._check is None:
            return
        try:
            problem = self._check(value, Work(where))
        except RecursionError:
            # Values and references are as deep as a stranger likes; counting levels would cost every honest call.
            raise PraxisError(
                "invalid", "it is nested too deeply to be checked", where=where, hint="send it with fewer levels"
            ) from None
        if problem is not None:
            raise problem.error(where)

    def _compile(self, schema: JSON, depth: int) -> Check | None:
        """One check for all keywords of a subschema; None stands for "anything"."""
        if schema is False:
            return _nothing
        if schema is True:
            return None
        if not isinstance(schema, Mapping):
            return self._notes.pass_over(f"{show(schema)}: not a schema")
        if depth >= MAX_DEPTH or self._left <= 0:
            return self._notes.pass_over(f"more than {MAX_DEPTH} levels or {MAX_PARTS} parts: the rest is not used")
        self._left -= 1
        found: list[Check | None] = []
        if isinstance(reference := schema.get("$ref"), str):
            found.append(self._follow(reference))
        found += [build(schema[keyword], self._notes) for keyword, build in KEYWORDS.items() if keyword in schema]
        if any(keyword in schema for keyword in ("properties", "patternProperties", "additionalProperties")):
            found.append(self._properties(schema, depth + 1))
        if "propertyNames" in schema:
            found.append(each_name(self._compile(schema["propertyNames"], depth + 1)))
        if "required" in schema:
            found.append(self._required(schema["required"], schema.get("properties")))
        if "items" in schema or "prefixItems" in schema:
            found.append(self._items(schema, depth + 1))
        for keyword, combine in COMBINATIONS.items():
            parts = schema.get(keyword)
            if isinstance(parts, list) and parts:
                found.append(combine([self._compile(part, depth + 1) for part in parts]))
        if "not" in schema:
            found.append(not_(self._compile(schema["not"], depth + 1)))
        found += [self._notes.pass_over(f"{keyword}: not looked at") for keyword in UNUSED if keyword in schema]
        if "format" in schema:
            # A remark, unless a server chooses otherwise; so alternatives may differ by it alone.
            found.append(passed_over)
        return all_of(found)

    def _follow(self, reference: str) -> Check | None:
        target = self._targets.get(reference)
        if target is None:
            try:
                self._left -= unquote(reference).count("/")
                part = resolve(self._root, reference)
            except LookupError as error:
                return self._notes.pass_over(f"$ref {quoted(reference)}: {error.args[0]}")
            target = self._targets[reference] = _Target()
            self._waiting.append((target, part))

        def follow(value: JSON, work: Work) -> Problem | None:
            if target.check is None:
                return None
            work.spend(1)
            key = (id(target), id(value))
            if key in work.following:  # it leads back to itself without going down, which says nothing
                work.passed_over += 1
                return None
            work.following.add(key)
            problem = target.check(value, work)
            work.following.discard(key)
            return problem

        return follow

    def _properties(self, schema: Mapping[str, Any], depth: int) -> Check | None:
        """The three keywords that divide an object's fields among them."""
        properties = schema.get("properties")
        named = (
            {name: self._compile(part, depth) for name, part in properties.items() if isinstance(name, str)}
            if isinstance(properties, Mapping)
            else {}
        )
        patterns = schema.get("patternProperties")
        by_pattern = self._by_pattern(patterns, depth) if isinstance(patterns, Mapping) else []
        # A pattern that cannot be tried leaves open which fields are additional.
        certain = not isinstance(patterns, Mapping) or len(by_pattern) == len(patterns)
        others = schema.get("additionalProperties", True) if certain else True
        other = None if others is False else self._compile(others, depth)

        names = tuple(named)

        def check(value: JSON, work: Work) -> Problem | None:
            if not isinstance(value, dict):
                return None
            work.spend(len(value) + 1)
            work.passed_over += not certain
            for name, item in value.items():
                if name in named:
                    known, part = True, named[name]
                else:
                    known, part = False, other
                problem: Problem | None = None
                if by_pattern:
                    matched, problem = _match(by_pattern, name, item, work)
                    known = known or matched
                    part = named.get(name) if known else part
                if problem is None and part is not None:
                    problem = part(item, work)
                if problem is None and not known and others is False:
                    problem = Problem("", item, f"there is no {quoted(name)} here", (name, names))
                if problem is not None:
                    problem.path.append(name)
                    return problem
            return None

        return check

    def _by_pattern(self, patterns: Mapping[str, Any], depth: int) -> list[tuple[Pattern, Check | None]]:
        found = []
        for text, part in patterns.items():
            try:
                found.append((self._notes.pattern(text), self._compile(part, depth)))
            except ValueError as error:
                self._notes.pass_over(f"patternProperties {show(text)}: {error}")
        return found

    def _required(self, names: Any, properties: Any) -> Check | None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return self._notes.pass_over("required: not a list of names")
        wanted = tuple(dict.fromkeys(names))
        parts = properties if isinstance(properties, Mapping) else {}

        def check(value: JSON, work: Work) -> Problem | None:
            if isinstance(value, dict):
                for name in wanted:
                    if name not in value:
                        hint = _meaning(parts.get(name))
                        return Problem("", None, detail="it is required and missing", path=[name], hint=hint)
            return None

        return check

    def _items(self, schema: Mapping[str, Any], depth: int) -> Check | None:
        first, rest = schema.get("prefixItems"), schema.get("items", True)
        if isinstance(rest, list):  # before 2020-12
            first, rest = rest, schema.get("additionalItems", True)
        ahead = [self._compile(part, depth) for part in first] if isinstance(first, list) else []
        other = self._compile(rest, depth)
        if other is None and not any(ahead):
            return None

        def check(value: JSON, work: Work) -> Problem | None:
            if not isinstance(value, list):
                return None
            work.spend(len(value))
            for index, item in enumerate(value):
                part = ahead[index] if index < len(ahead) else other
                problem = part(item, work) if part is not None else None
                if problem is not None:
                    problem.path.append(index)
                    return problem
            return None

        return check


def compile_schema(schema: JSON) -> Validator:
    """Make a schema ready for use. Never raises, however odd the schema."""
    return Validator(schema)


def resolve(root: JSON, reference: str) -> JSON:
    """The part of a document that ``#/a/b`` means (RFC 6901); raises LookupError, with the reason, if there is none."""
    if not reference.startswith("#"):
        raise LookupError("it is not fetched")
    if len(reference) > MAX_REFERENCE or reference[1:2] not in ("", "/"):
        raise LookupError("not a path in this schema")
    part = root
    for step in unquote(reference[1:]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, Mapping) and key in part:
            part = part[key]
        elif isinstance(part, list) and key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(part):
            part = part[int(key)]
        else:
            raise LookupError("it leads nowhere")
    return part


def _nothing(value: JSON, work: Work) -> Problem | None:
    return Problem("", None, detail=f"nothing is taken here, got {show(value)}")


def _match(
    by_pattern: list[tuple[Pattern, Check | None]], name: str, item: JSON, work: Work
) -> tuple[bool, Problem | None]:
    """Whether a field belongs to one of the patterns, and what is wrong with it if so."""
    matched = False
    for pattern, part in by_pattern:
        found = work.matches(pattern, name)
        if found is None:
            return True, None
        if found:
            matched = True
            problem = part(item, work) if part is not None else None
            if problem is not None:
                return True, problem
    return matched, None


def _meaning(schema: JSON) -> str:
    """What a value is, in the words of whoever wrote the schema; "" if there are none."""
    if not isinstance(schema, Mapping):
        return ""
    kind, what = schema.get("type"), schema.get("description")
    parts = [text for text in (kind, what) if isinstance(text, str) and text.strip()]
    return short(": ".join(" ".join(part.split()) for part in parts), LISTED)
