"""What a model answered, as a plan: remote input, so its form is checked strictly and its size is bounded. Pure.

Whether the tools are there and their arguments fit is for others to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from praxis.llm.cleaning import clean
from praxis.model.tool import JSON

MAX_NODES = 64
"""Calls of one plan: what somebody says in a few sentences has a handful."""
MAX_EDGES = 512
MAX_SAY = 500
"""Characters of the sentence that goes with a plan."""
MAX_DEPTH = 32
"""Levels of arguments; those of real tools have about five."""
MAX_PROBLEMS = 8
"""Problems that are told; a model mends the first ones, and the rest often with them."""
SHOWN = 60
"""Characters of a model's word in a problem."""
MAX_TOOL = 400
"""Characters of a tool's full name: three parts of 128, and what joins them."""
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_RESERVED = frozenset({"params", "secrets"})
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\r?\n(.*?)```", re.DOTALL)
_STARTS = 16
"""Braces of a text where a plan might begin that are tried."""


class BadPlanError(Exception):
    """An answer that is no plan; `problems` says why, in words for the model."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def read_plan(text: str) -> dict[str, JSON]:
    """The plan in an answer: ``{"nodes": [{"id", "tool", "arguments"}], "edges": [{"source", "target"}], "say"}``.

    Arguments and edges that are left out are empty. Raises BadPlanError.
    """
    plan = _find(text)
    problems = list(_problems(plan))
    if problems:
        raise BadPlanError(problems[:MAX_PROBLEMS])
    try:
        json.dumps(plan, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadPlanError(["a text holds half of a character, such as \\ud83d alone"]) from None
    nodes = [{"id": n["id"], "tool": n["tool"], "arguments": n.get("arguments", {})} for n in plan["nodes"]]
    edges = [{"source": edge["source"], "target": edge["target"]} for edge in plan.get("edges", [])]
    return {"nodes": nodes, "edges": edges, "say": clean(plan.get("say", ""), MAX_SAY)}


def _find(text: str) -> Mapping[str, Any]:
    """The object in a text: all of it, in a fence, or somewhere between other words."""
    text = _THOUGHT.sub("", text).strip()
    if not text:
        raise BadPlanError(["the answer is empty"])
    wrong = ""
    for candidate in (text, *(match[1] for match in _FENCE.finditer(text))):
        try:
            return _object(json.loads(candidate, **_STRICT))
        except (ValueError, RecursionError) as error:
            wrong = wrong or _reason(error)
    start = text.find("{")
    decoder = json.JSONDecoder(**_STRICT)
    for _ in range(_STARTS):
        if start < 0:
            break
        try:
            found, _end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            if text.startswith(("{", "[")):  # it was meant to be JSON as a whole: that is what has to be mended
                break
            wrong = _reason(error)
        else:
            if isinstance(found, dict) and "nodes" in found:
                return found
        start = text.find("{", start + 1)
    raise BadPlanError([f"the answer is not one JSON object: {wrong}"])


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"it is {_kind(value)}")
    return value


def _reason(error: ValueError | RecursionError) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else clean(str(error), 2 * SHOWN)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:SHOWN]} is too large")
    return number


_STRICT: Mapping[str, Any] = {"object_pairs_hook": _unique, "parse_constant": _refuse, "parse_float": _finite}


def _problems(plan: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(plan, ("nodes", "edges", "say"), "the plan")
    nodes, edges, say = plan.get("nodes"), plan.get("edges", []), plan.get("say", "")
    ids: set[str] = set()
    if not isinstance(nodes, list):
        yield f"nodes: expected a list, got {_kind(nodes)}" if "nodes" in plan else "nodes is missing"
    elif len(nodes) > MAX_NODES:
        yield f"nodes: expected at most {MAX_NODES}, got {len(nodes)}"
    else:
        for index, node in enumerate(nodes):
            yield from _node(node, f"nodes[{index}]", ids)
        if not nodes and isinstance(say, str) and not say.strip():
            yield "nodes and say are both empty: say what is missing"
    if not isinstance(edges, list):
        yield f"edges: expected a list, got {_kind(edges)}"
    elif len(edges) > MAX_EDGES:
        yield f"edges: expected at most {MAX_EDGES}, got {len(edges)}"
    else:
        for index, edge in enumerate(edges):
            yield from _edge(edge, f"edges[{index}]", ids)
    if not isinstance(say, str):
        yield f"say: expected a text, got {_kind(say)}"


def _node(node: Any, where: str, ids: set[str]) -> Iterator[str]:
    if not isinstance(node, dict):
        yield f"{where}: expected an object, got {_kind(node)}"
        return
    yield from _unknown(node, ("id", "tool", "arguments"), where)
    id, tool, arguments = node.get("id"), node.get("tool"), node.get("arguments", {})
    if not isinstance(id, str) or not _ID.fullmatch(id) or id in _RESERVED:
        yield f"{where}.id: expected a name such as n1, got {_shown(id)}"
    elif id in ids:
        yield f"{where}.id: {id} is there twice"
    else:
        ids.add(id)
    if not isinstance(tool, str) or not 0 < len(tool) <= MAX_TOOL:
        yield f"{where}.tool: expected the name of a tool, got {_shown(tool)}"
    if not isinstance(arguments, dict):
        yield f"{where}.arguments: expected an object, got {_kind(arguments)}"
    elif _depth_over(arguments, MAX_DEPTH):
        yield f"{where}.arguments: more than {MAX_DEPTH} levels"


def _edge(edge: Any, where: str, ids: set[str]) -> Iterator[str]:
    if not isinstance(edge, dict):
        yield f"{where}: expected an object, got {_kind(edge)}"
        return
    yield from _unknown(edge, ("source", "target"), where)
    ends = [edge.get("source"), edge.get("target")]
    for name, id in zip(("source", "target"), ends, strict=True):
        if not isinstance(id, str) or id not in ids:
            yield f"{where}.{name}: expected the id of a node, got {_shown(id)}"
    if ends[0] == ends[1] and isinstance(ends[0], str) and ends[0] in ids:
        yield f"{where}: a node cannot wait for itself"


def _unknown(value: Mapping[str, Any], known: tuple[str, ...], where: str) -> Iterator[str]:
    others = [clean(key, SHOWN) for key in value if key not in known]
    if others:
        yield f"{where}: unknown key {', '.join(others[:3])}; there are {', '.join(known)}"


def _depth_over(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inner = [item for held in level for item in (held.values() if isinstance(held, dict) else held)]
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _shown(value: Any) -> str:
    return repr(clean(value, SHOWN)) if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return "a text"
    return "a number"
