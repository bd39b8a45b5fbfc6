"""The HTTP headers of MCP: what a request of 2026-07-28 repeats of its body, so that those between need not read it.

Beside ``MCP-Protocol-Version``, ``Mcp-Method`` and ``Mcp-Name``, a tool's schema may name properties
(``x-mcp-header``) whose values go into ``Mcp-Param-NAME``. A tool whose schema does so wrongly must not be used.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

import attrs

from praxis.model.tool import JSON
from praxis.wire.mcp_eras import NAMED

ANNOTATION = "x-mcp-header"
MAX_SAFE = 2**53 - 1
"""Larger whole numbers are not the same for every reader of JSON."""
MAX_DEPTH = 32
"""Levels of properties in properties that are searched; what lies deeper cannot be reached."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_ENCODED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_KINDS = frozenset({"string", "integer", "boolean"})


@attrs.frozen
class ParamHeader:
    """A property whose value is repeated: the header's name after ``Mcp-Param-``, and the way to it."""

    name: str
    path: tuple[str, ...]


class HeaderError(ValueError):
    """A schema names headers wrongly; says how."""


def encode_value(text: str) -> str:
    """Text as a header's value: as it is if it is plain ASCII that no reader would change, else in base64."""
    if _PLAIN.fullmatch(text) and not _ENCODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


def decode_value(value: str) -> str:
    """The text of a header's value. Raises ValueError for base64 that is none or no UTF-8."""
    found = _ENCODED.fullmatch(value)
    if not found:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("not base64 of UTF-8") from None


def param_headers(schema: JSON) -> tuple[ParamHeader, ...]:
    """The headers that a tool's input schema names. Raises HeaderError when one of them may not be there."""
    found = tuple(_search(schema, ()))
    names = [header.name.lower() for header in found]
    for name in names:
        if names.count(name) > 1:
            raise HeaderError(f"{ANNOTATION} {name!r} is there twice")
    if _count(schema) != len(found):
        raise HeaderError(f"{ANNOTATION} stands where no argument is reached through properties alone")
    return found


def _search(schema: JSON, path: tuple[str, ...]) -> Iterator[ParamHeader]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or len(path) >= MAX_DEPTH:
        return
    for key, inner in properties.items():
        if isinstance(inner, Mapping):
            if ANNOTATION in inner:
                yield ParamHeader(_name(inner), (*path, key))
            yield from _search(inner, (*path, key))


def _name(schema: Mapping[str, JSON]) -> str:
    name = schema[ANNOTATION]
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise HeaderError(f"{ANNOTATION} {str(name)[:60]!r} is no name of a header")
    if not isinstance(schema.get("type"), str) or schema["type"] not in _KINDS:
        raise HeaderError(f"{ANNOTATION} {name[:60]!r} is on something else than a string, an integer or a boolean")
    return name


def _count(schema: JSON) -> int:
    """How often the annotation is used at all, wherever it stands in the schema. Not by recursion: it is deep."""
    count = 0
    waiting = [(schema, False)]
    while waiting:
        value, is_names = waiting.pop()
        if isinstance(value, Mapping):
            # Under `properties` the keys are names of arguments, and one may be called like the annotation.
            count += not is_names and ANNOTATION in value
            waiting += [(inner, key == "properties" and not is_names) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, False) for inner in value]
    return count


def request_headers(
    version: str, method: str, params: Mapping[str, JSON], named: tuple[ParamHeader, ...] = ()
) -> list[tuple[str, str]]:
    """The headers of a modern request. `named` are those of the tool that it calls."""
    headers = [("MCP-Protocol-Version", version), ("Mcp-Method", encode_value(method))]
    if (member := NAMED.get(method)) and isinstance(name := params.get(member), str):
        headers.append(("Mcp-Name", encode_value(name)))
    for header in named:
        value: JSON = params.get("arguments")
        for key in header.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool):
            headers.append((f"Mcp-Param-{header.name}", "true" if value else "false"))
        elif isinstance(value, str) or (isinstance(value, int) and abs(value) <= MAX_SAFE):
            headers.append((f"Mcp-Param-{header.name}", encode_value(str(value))))
    return headers
