"""What is wrong with declared tools beside each other, and with the keys of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from praxis.config.schema import Config, DeclaredTool, ToolParam
from praxis.config.strict import PathTo, Problem, dotted

MAX_TOOLS = 256
"""Declared tools of one agent; an MCP server has some tens of tools."""
MAX_ENTRIES = 256
"""Parameters, mounts, variables or secrets of one tool."""
URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?([/?][\x21-\x7e]*)?")

_PROGRAM = ("command", "env", "env_passthrough", "workdir")
_CONTAINER = ("image", "pull", "user", "mounts", "secrets", "artifacts", "cpu", "memory", "pids", "network")
_REMOTE = ("address", "tool", "headers")
_MEANINGLESS: Mapping[str, tuple[str, ...]] = {
    "container": _REMOTE,
    "process": (*_CONTAINER, *_REMOTE),
    "remote": (*_PROGRAM, *_CONTAINER),
}
_NEEDED: Mapping[str, tuple[str, str]] = {
    "container": ("image", "a container is made of one"),
    "process": ("command", "a process is a program"),
    "remote": ("address", "the tool is on a server"),
}
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "number": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "object": ("a mapping", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
}


def variable(param: str) -> str:
    """The name of the variable in which a program gets a parameter."""
    return "PRAXIS_PARAM_" + re.sub(r"[^A-Z0-9_]", "_", param.upper())


def check_tools(config: Config) -> Iterator[Problem]:
    first: dict[str, PathTo] = {}
    given = len(config.tools)
    for index, tool in enumerate(config.declared_tools):
        path: PathTo = ("tools", index) if index < given else ("agent", "tools", index - given)
        if tool.name in first:
            other = first[tool.name]
            what = f"{tool.name!r} is already the name of {dotted(other)}"
            yield Problem((*path, "name"), what, beside=((*other, "name"),))
        first.setdefault(tool.name, path)
        yield from _keys(tool, path)
        yield from _arguments(tool, path)
    kinds = {tool.kind for tool in config.declared_tools}
    for index, server in enumerate(config.mcp.servers):
        if server.name in kinds:
            what = f"{server.name!r} is the name of the source of tools that are declared; choose another"
            yield Problem(("mcp", "servers", index, "name"), what, beside=(("tools",), ("agent", "tools")))
    if len(first) > MAX_TOOLS:
        yield Problem(("tools",), f"expected at most {MAX_TOOLS} tools, got {len(first)}")


def _keys(tool: DeclaredTool, path: PathTo) -> Iterator[Problem]:
    engine = (*path, "engine")
    fields = attrs.fields_dict(DeclaredTool)
    for key in _MEANINGLESS[tool.kind]:
        default = fields[key].default
        usual = {} if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]
        if getattr(tool, key) != usual:
            yield Problem((*path, key), f"means nothing for a tool with engine {tool.engine}", beside=(engine,))
    needed, why = _NEEDED[tool.kind]
    if not getattr(tool, needed):
        yield Problem((*path, needed), f"is missing: {why}", beside=(engine,))
    if tool.address and not URL.fullmatch(tool.address):
        what = f"expected http://HOST/PATH or https://HOST/PATH, got {tool.address[:80]!r}"
        yield Problem((*path, "address"), what)
    if tool.command and not tool.command[0]:
        yield Problem((*path, "command", 0), "expected a program, got nothing")
    if tool.kind == "container":
        yield from _inside(tool, path)
    for key in ("params", "mounts", "env", "env_passthrough", "secrets"):
        if len(getattr(tool, key)) > MAX_ENTRIES:
            yield Problem((*path, key), f"expected at most {MAX_ENTRIES} entries, got {len(getattr(tool, key))}")


def _inside(tool: DeclaredTool, path: PathTo) -> Iterator[Problem]:
    """What engines refuse, or take for something else than was meant."""
    targets: dict[str, int] = {}
    for index, mount in enumerate(tool.mounts):
        where = (*path, "mounts", index, "target")
        target = mount.target.rstrip("/")
        if target in targets:
            yield Problem(where, f"{target!r} is already where mounts[{targets[target]}] is")
        targets.setdefault(target, index)
        if not target:
            yield Problem(where, "expected a folder of the container, got all of it")
        if "," in f"{mount.source}{mount.target}":
            yield Problem(where[:-1], "expected paths without a comma: Podman takes it for the end of one")
    if tool.artifacts and not tool.artifacts.strip("/"):
        yield Problem((*path, "artifacts"), "expected a folder of the container, got all of it")


def _arguments(tool: DeclaredTool, path: PathTo) -> Iterator[Problem]:
    names: list[tuple[str, PathTo]] = []
    if tool.inputSchema:
        if tool.params:
            yield Problem((*path, "inputSchema"), "params are given too; only one can be meant")
        if tool.inputSchema.get("type", "object") != "object":
            what = f"expected 'object', got {str(tool.inputSchema['type'])[:60]!r}: arguments have names"
            yield Problem((*path, "inputSchema", "type"), what)
        properties = tool.inputSchema.get("properties", {})
        if isinstance(properties, dict):
            names = [(name, (*path, "inputSchema", "properties", name)) for name in properties]
        else:
            yield Problem((*path, "inputSchema", "properties"), "expected a mapping of names to schemas")
    for index, param in enumerate(tool.params):
        where = (*path, "params", index)
        names.append((param.name, (*where, "name")))
        yield from _default(param, where)
    taken: dict[str, str] = {}
    for name, where in names:
        other = taken.setdefault(variable(name), name)
        if other != name:
            yield Problem(where, f"would arrive as {variable(name)}, as {other!r} does")
    for index, param in enumerate(tool.params):
        if any(param.name == before.name for before in tool.params[:index]):
            yield Problem((*path, "params", index, "name"), f"{param.name!r} is already the name of another parameter")


def _default(param: ToolParam, path: PathTo) -> Iterator[Problem]:
    if param.default is None:
        return
    expected, fits = _KINDS[param.type]
    if not fits(param.default):
        got = "a list" if isinstance(param.default, list) else "a mapping" if isinstance(param.default, dict) else None
        what = f"expected {expected}, got {got or repr(param.default)[:60]}"
        yield Problem((*path, "default"), what, beside=((*path, "type"),))
    elif param.required:
        yield Problem((*path, "default"), "means nothing for a parameter that is required")
