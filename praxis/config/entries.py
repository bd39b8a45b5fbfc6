"""Single MCP servers outside of a file: read with the same strictness as the configuration, and written again.

Text of an entry is as in a file: ``${NAME}`` stands for a variable of the environment, and ``$$`` for a dollar.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import attrs

from praxis.config.checks import check_servers
from praxis.config.expand import Expander
from praxis.config.load import rebase
from praxis.config.save import plain_entry
from praxis.config.schema import Config, McpServer
from praxis.config.strict import Problem, Strict, StrictError, dotted
from praxis.config.tree import Node, Place
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON


def read_server(entry: JSON, config: Config, *, base_dir: Path, environ: Mapping[str, str], where: str) -> McpServer:
    """An entry of `mcp.servers` that is to stand beside those in `config`.

    A relative path is relative to `base_dir`. Raises PraxisError: ``conflict`` for a name that is taken, else
    ``invalid`` with everything that is wrong; `where` is where the entry stands.
    """
    place = Place(where, where, base_dir, (0, 0))
    expander = Expander(environ)
    node = expander.expand(_node(entry, place))
    if expander.problems:
        prefix = f"{place.label}: "
        raise _refusal([text.removeprefix(prefix) for _, text in expander.problems], where)
    try:
        read = Strict().structure(node.plain(), McpServer)
    except StrictError as error:
        raise _problem(error.problems, where) from None
    server: McpServer = rebase(read, (), node, environ)
    if any(server.name == other.name for other in config.mcp_servers):
        raise PraxisError(
            "conflict",
            f"there is an MCP server {server.name!r} already",
            where=f"{where}.name",
            hint=f"praxis mcp rm {server.name}",
        )
    index = len(config.mcp.servers)
    beside = attrs.evolve(config, mcp=attrs.evolve(config.mcp, servers=(*config.mcp.servers, server)))
    path = ("mcp", "servers", index)
    found = [problem for problem in check_servers(beside) if problem.path[:3] in (path, path[:2])]
    if found:
        own = [attrs.evolve(problem, path=problem.path[3:]) for problem in found]
        raise _problem(own, where)
    return server


def write_server(server: McpServer) -> dict[str, Any]:
    """An entry that `read_server` reads: what is not as it is by default. Secrets are references, or ``***``."""
    plain: dict[str, Any] = plain_entry(server)
    default = plain_entry(McpServer("-"))
    return {key: value for key, value in plain.items() if value != default[key]}


def entry_schema() -> dict[str, Any]:
    """A JSON Schema of the kinds of values in an entry; what they may be, `read_server` says."""
    attrs.resolve_types(McpServer)
    fields = attrs.fields(McpServer)
    return {
        "type": "object",
        "properties": {field.name: _schema(field.type) for field in fields},
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
    }


def _schema(kind: Any) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"type": "string", "enum": [*arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if origin is UnionType:
        kinds = [_schema(inner)["type"] for inner in arguments if inner is not type(None)]
        return {"type": [*kinds, "null"]}
    return {"type": {str: "string", Path: "string", bool: "boolean", int: "integer", float: "number"}[kind]}


def _node(value: JSON, place: Place) -> Node:
    if isinstance(value, dict):
        return Node({key: _node(item, place) for key, item in value.items()}, place)
    if isinstance(value, list):
        return Node([_node(item, place) for item in value], place)
    return Node(value, place)


def _problem(problems: list[Problem] | tuple[Problem, ...], where: str) -> PraxisError:
    return _refusal([f"{dotted(p.path)}: {p.what}" if p.path else p.what for p in problems], where)


def _refusal(problems: list[str], where: str) -> PraxisError:
    """One problem stands where it is; of several each names its key."""
    key, colon, what = problems[0].partition(": ")
    if len(problems) > 1 or not colon:
        return PraxisError("invalid", "; ".join(problems), where=where, data={"problems": problems})
    return PraxisError("invalid", what, where=f"{where}.{key}", data={"problems": problems})
