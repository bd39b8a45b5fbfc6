"""A graph of nodes and edges, as React Flow and its like draw it, to a plan and back. Pure.

``{"nodes": [{"id", "data": {"tool", "arguments", ...}, "position"}], "edges": [{"source", "target"}]}``. What a node
says may stand in ``data`` or in the node itself. Texts in arguments may hold ``${node.path[0]}``, which is the result
of another node and makes an edge to it, and ``${params.x}``; ``$${`` stands for the text ``${``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from praxis.dsl.terms import MAX_BACKOFF, MAX_RETRY, MAX_TIMEOUT
from praxis.model.errors import PraxisError
from praxis.model.plan import PARAMS, SECRETS, Argument, Parts, Plan, Reference, Step
from praxis.model.tool import JSON, ToolRef
from praxis.workflow.planner import MAX_EDGES, MAX_STEPS

MAX_NAME = 64
"""Characters of a node's id."""
MAX_NESTED = 32
"""Levels of an argument."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REFERENCE = re.compile(r"\$(\$\{)|\$\{([A-Za-z0-9_-]{1,64})((?:\.[\w-]{1,64}|\[[0-9]{1,9}\])*)\}")
_PATH = re.compile(r"\.([\w-]+)|\[([0-9]+)\]")
_KEYS = {
    "tool": ("tool", "toolName", "tool_name"),
    "arguments": ("arguments", "args", "parameters", "inputs"),
    "agent": ("agent", "agentId", "agent_id"),
    "timeout": ("timeout",),
    "retry": ("retry",),
    "backoff": ("backoff",),
    "if_failed": ("if_failed", "ifFailed"),
}
"""What a node may say, by the names that are in use for it."""


@attrs.frozen
class _Node:
    id: str
    where: str
    said: Mapping[str, JSON]
    position: tuple[float, float] | None


def plan_of_graph(graph: Mapping[str, JSON]) -> Plan:
    """The plan that a graph means: every node waits for all that edges and references lead from.

    A node without a tool (a start, an end, a note) calls nothing, and those behind it wait for those before it. With
    ``"on_failure": "continue"`` a node that fails costs only those behind it, else nothing new begins.

    Raises PraxisError: ``invalid`` with the place, also for a cycle; ``too_large``.
    """
    nodes = _nodes(graph)
    before: dict[str, dict[str, None]] = {id: {} for id in nodes}
    for source, target in _edges(graph, nodes):
        before[target][source] = None
    steps = {id: _step(node) for id, node in nodes.items() if "tool" in node.said}
    for id, step in steps.items():
        for reference in step.references():
            if reference.name == SECRETS and not (reference.path and isinstance(reference.path[0], str)):
                where = f"{nodes[id].where}.arguments"
                raise PraxisError("invalid", f"{reference} is all that a run is given, not one of it", where=where)
            if reference.name not in (PARAMS, SECRETS):
                _check_reference(reference, nodes[id], steps)
                before[id][reference.name] = None
    if sum(map(len, before.values())) > MAX_EDGES:
        raise PraxisError("too_large", f"the graph has more than {MAX_EDGES} edges", where="edges")
    after: dict[str, dict[str, None]] = {}
    ordered = []
    for id in _in_order(before):
        found: dict[str, None] = {}
        for source in before[id]:
            found.update({source: None} if source in steps else after[source])
        after[id] = found
        if id in steps:
            ordered.append(attrs.evolve(steps[id], after=tuple(found)))
    if not ordered:
        raise PraxisError("invalid", "no node has a tool", where="nodes", hint='{"id": "a", "data": {"tool": "NAME"}}')
    return Plan(tuple(ordered), goes_on=_policy(graph) == "continue")


def step_of(value: JSON, where: str) -> Step | None:
    """The step that one node alone means; None for one without a tool. Raises PraxisError("invalid")."""
    node = _node(value, where)
    return _step(node) if "tool" in node.said else None


def is_misspelt(value: JSON) -> bool:
    """Whether a text in the value has a ``${`` that neither begins a reference nor stands for itself."""
    if isinstance(value, str):
        return "${" in _REFERENCE.sub(" ", value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(is_misspelt, inner))


def _policy(graph: Mapping[str, JSON]) -> Literal["stop", "continue"]:
    policy = graph.get("on_failure", graph.get("onFailure", "stop"))
    if policy not in ("stop", "continue"):
        raise PraxisError("invalid", "expected stop or continue", where="on_failure")
    return "continue" if policy == "continue" else "stop"


def _nodes(graph: Mapping[str, JSON]) -> dict[str, _Node]:
    listed = graph.get("nodes")
    if not isinstance(listed, list) or not listed:
        raise PraxisError("invalid", "expected a list of nodes that is not empty", where="nodes")
    if len(listed) > MAX_STEPS:
        raise PraxisError("too_large", f"the graph has more than {MAX_STEPS} nodes", where="nodes")
    nodes: dict[str, _Node] = {}
    for index, value in enumerate(listed):
        node = _node(value, f"nodes[{index}]")
        if node.id in nodes:
            raise PraxisError("invalid", f"a second node {node.id!r}", where=f"nodes[{index}].id")
        nodes[node.id] = node
    return nodes


def _node(value: JSON, where: str) -> _Node:
    if not isinstance(value, dict):
        raise PraxisError("invalid", "expected an object", where=where)
    id, data = value.get("id"), value.get("data", {})
    if not isinstance(id, str) or not _ID.fullmatch(id) or id in (PARAMS, SECRETS):
        hint = f"1 to {MAX_NAME} letters, digits, _ or -, and not {PARAMS} or {SECRETS}"
        raise PraxisError("invalid", "expected the id of a node", where=f"{where}.id", hint=hint)
    if not isinstance(data, dict):
        raise PraxisError("invalid", "expected an object", where=f"{where}.data")
    said: dict[str, JSON] = {}
    for key, names in _KEYS.items():
        for name in names:
            found = data.get(name, value.get(name))
            if found is not None:
                said.setdefault(key, found)
    position = value.get("position")
    place = None
    if isinstance(position, dict):
        x, y = position.get("x"), position.get("y")
        if isinstance(x, int | float) and isinstance(y, int | float):
            place = (float(x), float(y))
    return _Node(id, where, said, place)


def _edges(graph: Mapping[str, JSON], nodes: Mapping[str, _Node]) -> Iterator[tuple[str, str]]:
    listed = graph.get("edges", [])
    if not isinstance(listed, list):
        raise PraxisError("invalid", "expected a list of edges", where="edges")
    if len(listed) > MAX_EDGES:
        raise PraxisError("too_large", f"the graph has more than {MAX_EDGES} edges", where="edges")
    for index, edge in enumerate(listed):
        if not isinstance(edge, dict):
            raise PraxisError("invalid", "expected an object", where=f"edges[{index}]")
        for end in ("source", "target"):
            if not isinstance(edge.get(end), str) or edge[end] not in nodes:
                raise PraxisError("invalid", "expected the id of a node", where=f"edges[{index}].{end}")
        yield edge["source"], edge["target"]


def _step(node: _Node) -> Step:
    said, where = node.said, node.where
    tool, agent = said["tool"], said.get("agent")
    if not isinstance(tool, str) or not isinstance(agent, str | None):
        raise PraxisError("invalid", "expected a text", where=f"{where}.{'agent' if isinstance(tool, str) else 'tool'}")
    try:
        ref = ToolRef.parse(tool)
        if agent and ref.agent not in (None, agent):
            raise PraxisError("invalid", f"{tool} names another agent than {agent}", hint="name one of them")
        ref = ToolRef.parse(str(attrs.evolve(ref, agent=agent))) if agent else ref
    except PraxisError as error:
        error.where = f"{where}.tool"
        raise
    if_failed = said.get("if_failed", "stop")
    if if_failed not in ("stop", "continue"):
        raise PraxisError("invalid", "expected stop or continue", where=f"{where}.if_failed")
    retry = _number(node, "retry", 0, MAX_RETRY) or 0
    if retry != int(retry):
        raise PraxisError("invalid", "expected a whole number", where=f"{where}.retry")
    return Step(
        id=node.id,
        tool=str(ref),
        arguments=_arguments(node),
        bind=node.id,
        timeout=_number(node, "timeout", 0.001, MAX_TIMEOUT),
        retry=int(retry),
        backoff=_number(node, "backoff", 0, MAX_BACKOFF) or 0.0,
        if_failed=if_failed,
        position=node.position,
    )


def _number(node: _Node, key: str, least: float, most: float) -> float | None:
    value = node.said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise PraxisError("invalid", f"expected a number from {least:g} to {most:g}", where=f"{node.where}.{key}")
    return float(value)


def _arguments(node: _Node) -> tuple[Argument, ...]:
    where = f"{node.where}.arguments"
    arguments = node.said.get("arguments", {})
    if not isinstance(arguments, dict):
        raise PraxisError("invalid", "expected an object", where=where)
    found = []
    for name, value in arguments.items():
        tree = _tree(value, f"{where}.{name[:MAX_NAME]}", MAX_NESTED)
        parts = tree if isinstance(tree, tuple) else ()
        found.append(Argument(name, parts, tree=None if parts else tree))
    return tuple(found)


def _tree(value: JSON, where: str, levels: int) -> Any:
    """JSON, with the parts of each text that holds references in its place."""
    if not levels:
        raise PraxisError("invalid", f"nested more than {MAX_NESTED} deep", where=where)
    if isinstance(value, str):
        parts = _parts(value)
        return parts if any(isinstance(part, Reference) for part in parts) else "".join(map(str, parts))
    if isinstance(value, dict):
        return {key: _tree(item, where, levels - 1) for key, item in value.items()}
    return [_tree(item, where, levels - 1) for item in value] if isinstance(value, list) else value


def _parts(text: str) -> Parts:
    parts: list[str | Reference] = []
    between, at = "", 0
    for match in _REFERENCE.finditer(text):
        literal, name, tail = match.groups()
        between += text[at : match.start()] + (literal or "")
        at = match.end()
        if name:
            parts += [between] if between else []
            parts.append(Reference(name, tuple(key or int(index) for key, index in _PATH.findall(tail))))
            between = ""
    between += text[at:]
    return (*parts, between) if between else tuple(parts)


def _check_reference(reference: Reference, node: _Node, steps: Mapping[str, Step]) -> None:
    if reference.name in steps and reference.name != node.id:
        return
    alike = difflib.get_close_matches(reference.name, [id for id in steps if id != node.id][:500], 3)
    detail = f"{reference} is the node itself" if reference.name == node.id else f"{reference}: no such node has a tool"
    hint = f"did you mean {' or '.join(alike)}?" if alike else ""
    raise PraxisError("invalid", detail, where=f"{node.where}.arguments", hint=hint)


def _in_order(before: Mapping[str, Mapping[str, None]]) -> list[str]:
    """Ids so that each stands behind all that it waits for, else as they stand. Raises PraxisError for a cycle."""
    behind: dict[str, list[str]] = {}
    for id, sources in before.items():
        for source in sources:
            behind.setdefault(source, []).append(id)
    waits = {id: len(sources) for id, sources in before.items()}
    ready = [id for id, count in reversed(waits.items()) if not count]
    ordered = []
    while ready:
        id = ready.pop()
        ordered.append(id)
        for target in reversed(behind.get(id, ())):
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    if len(ordered) < len(before):
        raise PraxisError(
            "invalid", f"the nodes wait for each other: {' -> '.join(_cycle(before, ordered))}", where="edges"
        )
    return ordered


def _cycle(before: Mapping[str, Mapping[str, None]], ordered: list[str]) -> list[str]:
    done = set(ordered)
    way: dict[str, None] = {}
    id = next(id for id in before if id not in done)
    while id not in way:
        way[id] = None
        id = next(source for source in before[id] if source not in done)
    cycle = [*way][[*way].index(id) :]
    cycle = [id, *reversed(cycle)]
    return cycle if len(cycle) <= 8 else [*cycle[:4], "...", *cycle[-3:]]


def graph_of(text: str) -> Mapping[str, JSON] | None:
    """The graph that a program is; None for one in the language. Raises PraxisError("invalid") for broken JSON."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PraxisError("invalid", f"not the JSON of a graph: {error}", where="program") from None
    return graph if isinstance(graph, dict) else {}
