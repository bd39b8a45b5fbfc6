"""Large texts of a message travel as they are, behind the JSON: to escape and unescape them would cost more than TLS.

A body is then the JSON with empty texts in their places, and the texts one after the other. Its announcement says where
each belongs: ``"x": [[path, bytes], ...]``, a path being the keys and indexes that lead to it.
"""

from __future__ import annotations

from typing import Any

from praxis.wire.frames import ProtocolError
from praxis.wire.messages import dumps, loads

LEAST = 16 * 1024
"""Characters from which a text goes beside the JSON; below it the JSON is as fast."""
MAX_TEXTS = 64
"""Texts of one message that do; further ones stay in the JSON."""
MAX_LOOKS = 512
"""Values that are looked at to find them, so that a message of many small ones costs nothing more."""
MAX_DEPTH = 8
"""Keys and indexes of a path. In MCP's results a text is four deep."""

Path = tuple[str | int, ...]
Placed = list[tuple[Path, bytes | str]]
"""A text that is a str has only ASCII, so that its length is that in bytes."""


def pack(value: Any) -> tuple[bytes, Placed]:
    """The JSON of a value, and the texts that are not in it. Raises ValueError for a number that JSON lacks."""
    placed: Placed = []
    looks = [MAX_LOOKS]
    return dumps(_without(value, (), placed, looks)), placed


def _without(value: Any, path: Path, placed: Placed, looks: list[int]) -> Any:
    """`value` itself, or a copy in which the large texts are empty."""
    looks[0] -= 1
    if isinstance(value, str):
        if len(value) < LEAST or len(placed) >= MAX_TEXTS:
            return value
        try:
            placed.append((path, value if value.isascii() else value.encode()))
        except UnicodeEncodeError:  # half a surrogate pair, which only JSON can carry
            return value
        return ""
    if len(path) >= MAX_DEPTH or not isinstance(value, dict | list):
        return value
    copy = value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if looks[0] <= 0:
            break
        if isinstance(item, str) and len(item) < LEAST:
            looks[0] -= 1
            continue
        other = _without(item, (*path, key), placed, looks)
        if other is not item:
            if copy is value:
                copy = value.copy()
            copy[key] = other
    return copy


def unpack(body: bytes | bytearray | memoryview, places: Any) -> Any:
    """The value of a body whose announcement had `places`. Raises ProtocolError for what `pack` cannot have made."""
    sizes = _sizes(places)
    at = len(body) - sum(size for _, size in sizes)
    if at < 0:
        raise ProtocolError("body", "texts longer than their body")
    value = loads(bytes(body[:at]))
    for path, size in sizes:
        try:
            text = str(memoryview(body)[at : at + size], "utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("body", "a text that is not UTF-8") from None
        at += size
        value = _put(value, path, text)
    return value


def _sizes(places: Any) -> list[tuple[list[Any], int]]:
    if not isinstance(places, list) or len(places) > MAX_TEXTS:
        raise ProtocolError("body", f"texts are a list of at most {MAX_TEXTS}")
    sizes = []
    for place in places:
        match place:
            case [list(path), int(size)] if len(path) <= MAX_DEPTH and size >= 0 and type(size) is int:
                sizes.append((path, size))
            case _:
                raise ProtocolError("body", "a text without its place")
    return sizes


def _put(value: Any, path: list[Any], text: str) -> Any:
    """Put a text where an empty one is."""
    if not path:
        found, holder = value, None
    else:
        holder = value
        for key in path[:-1]:
            holder = _inside(holder, key)
        found = _inside(holder, path[-1])
    if found != "":
        raise ProtocolError("body", "a text for a place that holds something else")
    if holder is None:
        return text
    holder[path[-1]] = text
    return value


def _inside(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict) and isinstance(key, str) and key in holder:
        return holder[key]
    if isinstance(holder, list) and type(key) is int and 0 <= key < len(holder):
        return holder[key]
    raise ProtocolError("body", "a text for a place that is not there")
