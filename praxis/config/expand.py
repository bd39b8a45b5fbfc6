"""``${VAR}`` and ``${VAR:-default}`` in values, ``$$`` for a dollar.

As in a shell the default also serves for a variable that is empty. Where VAR is not set but VAR_FILE is, the value is
what is in the file of that name, without the line break at its end: how containers and systemd hand over secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from praxis.config.hooks import Text
from praxis.config.strict import PathTo, dotted
from praxis.config.tree import Node

MAX_SECRET = 64 * 1024
"""Bytes of a secret's file: a certificate chain fits, a wrong path to something huge does not."""

_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^{}]*)?\}|(?P<broken>\{))")


class Expander:
    """Expands trees and collects what is wrong, as ``place: path: what``, in `problems`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[tuple[tuple[int, int], str]] = []
        """With the order of their places."""
        self.failed: list[PathTo] = []
        """Where they are."""

    def expand(self, node: Node, path: PathTo = ()) -> Node:
        """The same tree with all text of files expanded."""
        value = node.value
        if isinstance(value, dict):
            return Node({key: self.expand(item, (*path, key)) for key, item in value.items()}, node.place)
        if isinstance(value, list):
            return Node([self.expand(item, (*path, index)) for index, item in enumerate(value)], node.place)
        if type(value) is not str or "$" not in value:
            return node
        try:
            return Node(self._text(value), node.place)
        except ValueError as error:
            self.problems.append((node.place.order, f"{node.place.label}: {dotted(path)}: {error}"))
            self.failed.append(path)
            return node

    def _text(self, text: str) -> str:
        referred = False

        def replace(match: re.Match[str]) -> str:
            nonlocal referred
            if match["dollar"]:
                return "$"
            if match["broken"]:
                raise ValueError("expected ${NAME} or ${NAME:-default}; $$ is a dollar")
            referred = True
            value = self._value(match["name"])
            if match["default"] is not None:
                return value or match["default"][2:]
            if value is None:
                raise ValueError(f"{match['name']} is not set; ${{{match['name']}:-default}} does without")
            return value

        expanded = _DOLLAR.sub(replace, text)
        return Text(expanded, reference=text) if referred else expanded

    def _value(self, name: str) -> str | None:
        value, file = self._environ.get(name), self._environ.get(f"{name}_FILE")
        return read_secret(Path(file), f"{name}_FILE") if file and value is None else value


def read_secret(path: Path, variable: str) -> str:
    """The text in a file that `variable` names. Raises ValueError, which repeats the path and never the content."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"{variable}: {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{variable}: {path}: not UTF-8") from None
    if len(content) > MAX_SECRET:
        raise ValueError(f"{variable}: {path}: more than {MAX_SECRET:,} bytes")
    return text.removesuffix("\n").removesuffix("\r")


def escape(text: str) -> str:
    """`text` as a file has to hold it to be read again as it is."""
    return text.replace("$", "$$")
