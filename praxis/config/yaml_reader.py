"""YAML text into a tree that knows its lines.

Of YAML 1.1's guesses only those remain that nobody is surprised by: ``true`` and ``false`` (never ``on`` or ``no``),
decimal numbers (``010`` and ``8:30`` are text) and ``null``. Duplicate keys and tags are refused. The tree is built
from the parser's events and not with PyYAML's own composer, which with libyaml dies of a segmentation fault on deeply
nested input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import yaml

from praxis.config.strict import PathTo, dotted
from praxis.config.tree import Node, Place, Scalar

MAX_BYTES = 1024 * 1024
"""A hundred times the commented file of all keys; more is not a configuration but a mistake in the path."""
MAX_NODES = 100_000
"""Aliases count with all they stand for, so nested ones cannot grow beyond this."""
MAX_DEPTH = 32
"""The schema is five levels deep; far below what recursion here and in libyaml can take."""
TOO_DEEP = "nested too deeply"

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times faster, where libyaml is there

_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")


@attrs.frozen
class Document:
    """What one file holds. `root` is None when it cannot be read; then a problem says why."""

    root: Node | None
    problems: tuple[tuple[int, str], ...]
    """Lines, and what is wrong as ``file:line: path: what``."""


def read_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= 64:  # int() refuses very long text; a number that long is none that a key takes
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            return number if math.isfinite(number) else text
    return text


def read_file(path: Path, *, name: str, source: str, layer: int) -> Document:
    """Reads a file that is UTF-8 and a mapping at the top; an empty one is an empty mapping.

    `name` is what problems call it, `source` what sources call it, `layer` its rank among the layers.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        return Document(None, ((0, f"{name}: {error.strerror or error}"),))
    if len(content) > MAX_BYTES:
        return Document(None, ((0, f"{name}: more than {MAX_BYTES:,} bytes"),))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return Document(None, ((line, f"{name}:{line}: not UTF-8"),))
    return _Builder(name, source, path.absolute().parent, layer).build(text)


class _UnreadableError(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


class _Builder:
    def __init__(self, name: str, source: str, base: Path, layer: int) -> None:
        self._name, self._source, self._base, self._layer = name, source, base, layer
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._problems: list[tuple[int, str]] = []
        self._events: Iterator[yaml.Event] = iter(())

    def build(self, text: str) -> Document:
        self._events = yaml.parse(text, Loader=_LOADER)
        try:
            root = self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            # Newer libyaml has a bound of its own on the nesting, which may be met before ours.
            deep = "nesting" in (error.problem or "")
            self._complain(mark.line + 1 if mark else 1, TOO_DEEP if deep else error.problem or "not YAML")
        except yaml.YAMLError as error:  # a character that YAML does not allow has no mark
            self._complain(1, f"not YAML: {getattr(error, 'reason', None) or type(error).__name__}")
        except _UnreadableError as error:
            self._complain(error.line, error.what)
        else:
            return Document(root, tuple(self._problems))
        return Document(None, tuple(self._problems))

    def _document(self) -> Node:
        root = Node({}, self._place(1))
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _UnreadableError(_line(event), "a second document; one file is one configuration")
                node = self._node(next(self._events), ())
                if node.value is not None:
                    root = node
        if not isinstance(root.value, dict):
            raise _UnreadableError(root.place.order[1], "expected a mapping of sections at the top")
        return root

    def _node(self, event: yaml.Event, path: PathTo) -> Node:
        line = _line(event)
        before = self._nodes
        self._nodes += 1
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _UnreadableError(line, TOO_DEEP if len(path) > MAX_DEPTH else "too many values")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, line)
        tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
        if tag not in _TEXT_TAGS or (tag and not isinstance(event, yaml.ScalarEvent)):
            raise _UnreadableError(line, f"the tag {tag} is not supported")
        value: Scalar | list[Node] | dict[str, Node]
        if isinstance(event, yaml.ScalarEvent):
            value = read_scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                value.append(self._node(item, (*path, len(value))))
        else:
            value = self._mapping(path)
        node = Node(value, self._place(line))
        if anchor:
            self._anchors[anchor] = (node, self._nodes - before)
        return node

    def _mapping(self, path: PathTo) -> dict[str, Node]:
        value: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if key is None:
                raise _UnreadableError(line, "expected text as a key")
            if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and not isinstance(read_scalar(key), str):
                self._complain(line, f"{dotted((*path, key))}: expected text as a key (put it in quotes)")
            node = Node(self._node(next(self._events), (*path, key)).value, self._place(line))
            if key in value:
                self._complain(
                    line, f"{dotted((*path, key))}: duplicate key, first on line {value[key].place.order[1]}"
                )
            else:
                value[key] = node
        return value

    def _alias(self, anchor: str | None, line: int) -> Node:
        if anchor is None or anchor not in self._anchors:
            raise _UnreadableError(line, f"the alias *{anchor} has no anchor before it")
        node, size = self._anchors[anchor]
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise _UnreadableError(line, "too many values")
        return Node(node.value, self._place(line))

    def _place(self, line: int) -> Place:
        return Place(f"{self._name}:{line}", f"{self._source}:{line}", self._base, (self._layer, line))

    def _complain(self, line: int, what: str) -> None:
        self._problems.append((line, f"{self._name}:{line}: {what}"))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
