"""A configuration before it has a shape: scalars, lists and mappings, each of which knows where it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from praxis.config.hooks import Text
from praxis.config.strict import PathTo

Scalar = str | int | float | bool | None


@attrs.frozen
class Place:
    """Where a value was written."""

    label: str
    """As a problem names it: ``configs/agent.yaml:12``, ``environment HTTP_PORT``, ``--set http.port``."""
    source: str
    """As `praxis config show --sources` names it: ``agent.yaml:12``; else the same as `label`."""
    base: Path
    """The folder that a relative path written here is relative to."""
    order: tuple[int, int]
    """Layer and line: problems are told in this order."""


@attrs.frozen
class Node:
    value: Scalar | list[Node] | dict[str, Node]
    place: Place

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def find(self, path: PathTo) -> Node | None:
        """The node at exactly this path, or None."""
        found, depth = self._walk(path)
        return found if depth == len(path) else None

    def nearest(self, path: PathTo) -> Node:
        """The deepest node on the way along this path, which is where a problem with it is shown."""
        return self._walk(path)[0]

    def nearest_path(self, path: PathTo) -> PathTo:
        """As much of this path as there is."""
        return path[: self._walk(path)[1]]

    def _walk(self, path: PathTo) -> tuple[Node, int]:
        node = self
        for depth, part in enumerate(path):
            if isinstance(node.value, dict) and part in node.value:
                node = node.value[str(part)]
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
            else:
                return node, depth
        return node, len(path)


def merge(below: Node, above: Node) -> Node:
    """`above` over `below`: mappings key by key, everything else, lists too, as a whole."""
    if isinstance(below.value, dict) and isinstance(above.value, dict):
        merged = dict(below.value)
        for key, node in above.value.items():
            merged[key] = merge(merged[key], node) if key in merged else node
        return Node(merged, below.place)
    return above


def without(tree: Node, path: PathTo) -> Node:
    """The same tree lacking what is at this path of keys."""
    if not path or not isinstance(tree.value, dict) or path[0] not in tree.value:
        return tree
    rest = dict(tree.value)
    key = str(path[0])
    if len(path) == 1:
        del rest[key]
    else:
        rest[key] = without(rest[key], path[1:])
    return Node(rest, tree.place)


def plant(path: PathTo, node: Node) -> Node:
    """A tree with nothing but `node` in it, at this path of keys."""
    for key in reversed(path):
        node = Node({str(key): node}, node.place)
    return node


def node_from(value: object, place: Place) -> Node:
    """A value of the program or of the command line. Text counts as text of the environment: see `Text`."""
    if isinstance(value, Mapping):
        return Node({str(key): node_from(item, place) for key, item in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([node_from(item, place) for item in value], place)
    if isinstance(value, Path):
        return Node(Text(str(value)), place)
    if type(value) is str:
        return Node(Text(value), place)
    if value is None or isinstance(value, str | int | float):
        return Node(value, place)
    raise TypeError(f"no configuration can hold {value!r}")


def leaves(value: Any, path: PathTo = ()) -> Iterator[tuple[PathTo, Any]]:
    """Every key of a structured configuration that is no section, list of sections or filled mapping, and its value."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple) and value and attrs.has(type(value[0])):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value
