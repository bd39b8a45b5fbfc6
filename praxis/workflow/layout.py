"""A plan as a graph with positions, as React Flow and its like draw it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from praxis.model.plan import Choice, Each, Node, Parts, Plan, Reference, Step
from praxis.model.tool import JSON

COLUMN, ROW = 240.0, 110.0
"""Between two nodes, in the units of the canvas: room for a node of React Flow's usual size."""


def layout(plan: Plan) -> dict[str, JSON]:
    """``{"nodes": [...], "edges": [...]}``: each node one column behind the last that it waits for.

    What is in the block of a FOREACH or an IF has the block as its ``parentId`` and its position in there. A graph of
    tool calls alone becomes the same plan again.
    """
    nodes: list[dict[str, JSON]] = []
    edges: list[dict[str, JSON]] = []
    _add(plan.steps, None, nodes, edges)
    policy = {"on_failure": "continue"} if plan.goes_on else {}
    return {"nodes": nodes, "edges": edges, **policy}


def _add(level: Sequence[Node], parent: str | None, nodes: list[Any], edges: list[Any]) -> None:
    columns: dict[str, int] = {}
    rows: dict[int, int] = {}
    for node in level:
        column = columns[node.id] = max((columns[id] + 1 for id in node.after), default=0)
        row = rows[column] = rows.get(column, -1) + 1
        x, y = node.position if isinstance(node, Step) and node.position else (column * COLUMN, row * ROW)
        shown: dict[str, JSON] = {"id": node.id, "position": {"x": x, "y": y}, **_described(node)}
        if parent is not None:
            shown |= {"parentId": parent, "extent": "parent"}
        nodes.append(shown)
        edges += [{"id": f"{id}-{node.id}", "source": id, "target": node.id} for id in node.after]
        if isinstance(node, Each):
            _add(node.body, node.id, nodes, edges)
        elif isinstance(node, Choice):
            _add((*node.then, *node.otherwise), node.id, nodes, edges)


def _described(node: Node) -> dict[str, JSON]:
    if isinstance(node, Each):
        label = f"FOREACH {node.name} IN {node.source} MAX {node.most}"
        return {"type": "group", "data": {"label": label, "kind": "foreach", "bind": node.bind}}
    if isinstance(node, Choice):
        condition = node.condition
        label = f"IF {condition.left}" + (f" {condition.operator} {condition.right}" if condition.operator else "")
        then = [inner.id for inner in node.then]
        return {"type": "group", "data": {"label": label, "kind": "if", "then": then, "bind": node.bind}}
    arguments = {
        argument.name or f"#{index}": _written(argument.parts or argument.tree)
        for index, argument in enumerate(node.arguments, 1)
    }
    data: dict[str, JSON] = {"label": node.task or node.tool, "tool": node.tool, "arguments": arguments}
    if node.bind is not None and node.bind != node.id:
        data["bind"] = node.bind
    if node.timeout is not None:
        data["timeout"] = node.timeout
    if node.retry:
        data |= {"retry": node.retry, "backoff": node.backoff}
    if node.if_failed != "stop":
        data["if_failed"] = node.if_failed
    return {"type": "tool", "data": data}


def _written(tree: Any) -> JSON:
    """A value with references as a graph writes it."""
    if isinstance(tree, tuple):
        return _text(tree)
    if isinstance(tree, str):
        return tree.replace("${", "$${")
    if isinstance(tree, dict):
        return {key: _written(value) for key, value in tree.items()}
    return [_written(value) for value in tree] if isinstance(tree, list) else tree


def _text(parts: Parts) -> str:
    return "".join(str(part) if isinstance(part, Reference) else part.replace("${", "$${") for part in parts)
