"""The ways of writing a declared tool that other SDKs have, turned into the one that the schema knows.

``engineSpec`` holds keys that stand beside the others here, ``mounts`` may be a mapping, and ``required`` may be text.
Done before anything is expanded, so that a path is a value also where it was written as a key.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from praxis.config.hooks import Text
from praxis.config.strict import PathTo, Problem
from praxis.config.tree import Node

PLACES: tuple[PathTo, ...] = (("tools",), ("agent", "tools"))
SPEC = "engineSpec"


def settle_tools(root: Node) -> tuple[Node, list[Problem]]:
    """The same tree with every declared tool as the schema has it, and what can only be seen before that is done."""
    problems: list[Problem] = []
    for place in PLACES:
        root = _at(root, place, (), problems)
    return root, problems


def _at(node: Node, path: PathTo, done: PathTo, problems: list[Problem]) -> Node:
    if path:
        if not isinstance(node.value, dict) or path[0] not in node.value:
            return node
        key = str(path[0])
        return Node({**node.value, key: _at(node.value[key], path[1:], (*done, key), problems)}, node.place)
    if not isinstance(node.value, list):
        return node
    return Node([_tool(tool, (*done, index), problems) for index, tool in enumerate(node.value)], node.place)


def _tool(node: Node, path: PathTo, problems: list[Problem]) -> Node:
    if not isinstance(node.value, dict):
        return node
    keys = dict(node.value)
    spec = keys.get(SPEC)
    if spec is not None and isinstance(spec.value, dict):
        del keys[SPEC]
        for key, value in spec.value.items():
            if key in keys:
                problems.append(Problem((*path, key), f"is given twice, in {SPEC} too"))
            keys.setdefault(key, value)
    if "mounts" in keys and isinstance(keys["mounts"].value, dict):
        keys["mounts"] = Node(list(_mounts(keys["mounts"].value)), keys["mounts"].place)
    if _is_relative(keys):
        problems.append(Problem((*path, "workdir"), "expected an absolute path in the container"))
    if "params" in keys and isinstance(keys["params"].value, list):
        keys["params"] = Node([_param(param) for param in keys["params"].value], keys["params"].place)
    return Node(keys, node.place)


def _is_relative(keys: dict[str, Node]) -> bool:
    """Whether a container is to start in a folder beside the file, which it does not see."""
    engine, folder = keys.get("engine"), keys.get("workdir")
    if engine is None or engine.value not in ("container", "dagger") or folder is None:
        return False
    return isinstance(folder.value, str) and not folder.value.startswith(("/", "$"))


def _mounts(mounts: dict[str, Node]) -> Iterator[Node]:
    for source, target in mounts.items():
        yield Node({"source": Node(source, target.place), "target": target}, target.place)


def _param(node: Node) -> Node:
    """One where ``required: "true"`` is a switch, as text is where the environment gives it."""
    if not isinstance(node.value, dict) or "required" not in node.value:
        return node
    required = node.value["required"]
    if type(required.value) is str:
        required = attrs.evolve(required, value=Text(required.value))
    return Node({**node.value, "required": required}, node.place)
