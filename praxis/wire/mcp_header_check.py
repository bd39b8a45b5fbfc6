"""The headers of a modern request over HTTP, which repeat parts of its body so that what stands in between can route
and measure without reading it. A server compares them: whoever believed the headers must not have been lied to.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.wire.mcp_eras import HEADER_MISMATCH, NAMED
from praxis.wire.mcp_server import refusal

VERSION, METHOD, NAME, PARAM = "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-"
_ENCODED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MAX_DEPTH = 32
"""Levels of properties that are searched for annotations: no caller writes arguments deeper than that."""


@attrs.frozen
class Mirrored:
    """A part of a tool's arguments that a header repeats: the header's name in lower case, and the way to the value."""

    header: str
    path: tuple[str, ...]


def decode_value(text: str) -> str:
    """A header's value as it was meant: ``=?base64?...?=`` holds UTF-8. Raises ValueError for one that is broken."""
    match = _ENCODED.fullmatch(text)
    if match is None:
        return text
    try:
        return base64.b64decode(match[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{text[:80]!r} holds no base64 of UTF-8") from error


def mirrored(schema: JSON) -> tuple[Mirrored, ...]:
    """What of a tool's arguments headers repeat (``x-mcp-header``), in the order of the schema.

    Only what is reached through ``properties`` alone counts, and only simple values; what is annotated against the
    rules is not there for a client either, which drops such a tool.
    """
    return tuple(_mirrored(schema, (), MAX_DEPTH))


def _mirrored(schema: JSON, path: tuple[str, ...], depth: int) -> Iterator[Mirrored]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not depth:
        return
    for name, inner in properties.items():
        if not isinstance(inner, Mapping):
            continue
        header = inner.get("x-mcp-header")
        simple = inner.get("type") in ("string", "integer", "boolean")
        if simple and isinstance(header, str) and _TOKEN.fullmatch(header):
            yield Mirrored(PARAM + header.lower(), (*path, name))
        yield from _mirrored(inner, (*path, name), depth - 1)


class Headers:
    """The headers of one request that begin with ``Mcp-``, by name in lower case."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in headers:
            if name[:4].lower() == b"mcp-":
                text = value.decode("latin-1").strip(" \t")
                self._values.setdefault(name.decode("latin-1").lower(), []).append(text)

    def get(self, name: str) -> str | None:
        """The value, None without one. Raises PraxisError for a header that is there twice."""
        values = self._values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise _mismatch(name, "is there more than once")
        return values[0]

    def check(self, name: str, value: str | None) -> None:
        """That a header says `value`, or is not there for None. Raises the refusal -32020."""
        given = self.get(name)
        if given is None and value is None:
            return
        if given is None:
            raise _mismatch(name, "is missing")
        if value is None:
            raise _mismatch(name, "is there, and the request has no such value")
        try:
            meant = decode_value(given)
        except ValueError as error:
            raise _mismatch(name, str(error)) from None
        if meant != value:
            raise _mismatch(name, f"says {meant[:80]!r} and the request {value[:80]!r}")

    def check_request(self, version: str, method: str, params: Mapping[str, JSON]) -> None:
        """What every request repeats: version, method, and what it is about. Raises the refusal -32020."""
        self.check(VERSION, version)
        self.check(METHOD, method)
        member = NAMED.get(method)
        if member is not None and isinstance(params.get(member), str):
            self.check(NAME, params[member])

    def check_arguments(self, wanted: Iterable[Mirrored], arguments: JSON) -> None:
        """What a tool's schema says that headers repeat. Raises the refusal -32020."""
        for each in wanted:
            self.check(each.header, shown(_at(arguments, each.path)))


def shown(value: JSON) -> str | None:
    """A value as a header shows it; None for one that no header shows."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None


def _at(arguments: JSON, path: tuple[str, ...]) -> JSON:
    for name in path:
        if not isinstance(arguments, Mapping):
            return None
        arguments = arguments.get(name)
    return arguments


def _mismatch(name: str, what: str) -> PraxisError:
    shown_name = "-".join(part.capitalize() for part in name.split("-"))
    return refusal(HEADER_MISMATCH, f"the header {shown_name} {what}", {"header": shown_name})
