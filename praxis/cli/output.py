"""What verbs print: tables for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from praxis.cli.client import FAILED, CommandError

Rows = Sequence[Sequence[Any]]

_PLAIN_KEY = re.compile(r"(?!(?:true|false|yes|no|on|off|y|n|null)$)[A-Za-z_][A-Za-z0-9_.-]*", re.IGNORECASE)
"""A key that no YAML reader takes for anything but text."""


def emit(value: Any, form: str, *, columns: Sequence[str] = (), rows: Rows = ()) -> None:
    """Print to standard output: `value` as JSON or YAML, or `rows` under `columns` as a table."""
    if form == "table":
        text = "\n".join(table(columns, rows))
    else:
        try:
            text = as_json(value) if form == "json" else "\n".join(yaml_lines(value))
        except RecursionError:
            raise CommandError(FAILED, "the answer is nested too deeply to be shown") from None
    print(text)


def as_json(value: Any) -> str:
    """JSON for people and programs: what does not print, such as a terminal's control characters, is escaped."""
    return _escaped(json.dumps(value, indent=2, ensure_ascii=False), lambda c: json.dumps(c)[1:-1])


def table(columns: Sequence[str], rows: Rows) -> Iterator[str]:
    """Lines of a table whose columns are as wide as what is in them."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def plain(value: Any) -> str:
    """A cell: what peers and tools say goes to a terminal without control characters."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else " " for c in text)


def visible(text: str) -> str:
    """Text of several lines, whose layout stays, without control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.replace("\r\n", "\n"))


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Block YAML with JSON's scalars, which every YAML reader takes."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                yield f"{indent}{_key(key)}:"
                yield from yaml_lines(item, indent + "  ")
            else:
                yield f"{indent}{_key(key)}: {_scalar(item)}"
    elif isinstance(value, list) and value:
        for item in value:
            lines = list(yaml_lines(item, indent + "  "))
            yield f"{indent}- {lines[0].lstrip()}"
            yield from lines[1:]
    else:
        yield f"{indent}{_scalar(value)}"


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else _scalar(key)


def _scalar(value: Any) -> str:
    """JSON, but for numbers that YAML 1.1 would take for text and for characters that it does not allow."""
    if isinstance(value, float):
        text = repr(value)
        if "n" in text:  # nan, inf, -inf
            return text.replace("nan", ".nan").replace("inf", ".inf")
        return text if "." in text else text.replace("e", ".0e")
    return _escaped(
        json.dumps(value, ensure_ascii=False), lambda c: f"\\u{ord(c):04x}" if c <= "\uffff" else f"\\U{ord(c):08x}"
    )


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    lines = text.split("\n")
    if all(line.isprintable() for line in lines):
        return text
    return "\n".join("".join(c if c.isprintable() else escape(c) for c in line) for line in lines)


def say(text: str) -> None:
    """A message for people, on standard error."""
    print(f"praxis: {visible(text)}", file=sys.stderr)
