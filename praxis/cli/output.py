"""What verbs print: tables for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

Rows = Sequence[Sequence[Any]]


def emit(value: Any, form: str, *, columns: Sequence[str] = (), rows: Rows = ()) -> None:
    """Print to standard output: `value` as JSON or YAML, or `rows` under `columns` as a table."""
    if form == "json":
        print(json.dumps(value, indent=2, ensure_ascii=False))
    elif form == "yaml":
        print("\n".join(yaml_lines(value)))
    else:
        for line in table(columns, rows):
            print(line)


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


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Block YAML with JSON's scalars, which every YAML reader takes."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                yield f"{indent}{_key(key)}:"
                yield from yaml_lines(item, indent + "  ")
            else:
                yield f"{indent}{_key(key)}: {json.dumps(item, ensure_ascii=False)}"
    elif isinstance(value, list) and value:
        for item in value:
            lines = list(yaml_lines(item, indent + "  "))
            yield f"{indent}- {lines[0].lstrip()}"
            yield from lines[1:]
    else:
        yield f"{indent}{json.dumps(value, ensure_ascii=False)}"


def _key(key: str) -> str:
    simple = key.replace("_", "a").replace("-", "a").replace(".", "a")
    return key if simple.isalnum() and simple.isascii() and not key[0].isdigit() else json.dumps(key)


def say(text: str) -> None:
    """A message for people, on standard error."""
    print(f"praxis: {text}", file=sys.stderr)
