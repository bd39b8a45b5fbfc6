"""Tools that the configuration declares: what callers see of them, and how a program gets its arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import attrs

from praxis.config.checks_tools import variable
from praxis.config.schema import DeclaredTool
from praxis.model.errors import PraxisError
from praxis.model.tool import GROUP, JSON

MAX_VARIABLE = 64 * 1024
"""Bytes of a parameter in the environment; Linux takes twice that. What is longer is on standard input alone."""
MAX_VARIABLES = 512 * 1024
"""Bytes of all of them: a quarter of what Linux takes with the arguments."""


@attrs.frozen
class Handed:
    """Arguments as a program gets them: variables named ``PRAXIS_PARAM_NAME``, and JSON for its standard input."""

    environment: Mapping[str, str]
    stdin: bytes


def definition(tool: DeclaredTool) -> dict[str, JSON]:
    """The tool as MCP lists it."""
    found: dict[str, JSON] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    return {**found, "inputSchema": input_schema(tool), **marks(tool)}


def input_schema(tool: DeclaredTool) -> dict[str, JSON]:
    """A JSON Schema of the arguments."""
    if tool.inputSchema:
        return {"type": "object", **tool.inputSchema}
    properties: dict[str, JSON] = {}
    for param in tool.params:
        properties[param.name] = {"type": param.type}
        if param.description:
            properties[param.name]["description"] = param.description
        if param.default is not None:
            properties[param.name]["default"] = param.default
    required = [param.name for param in tool.params if param.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def marks(tool: DeclaredTool) -> dict[str, JSON]:
    """The members of a definition that say how the tool may be called: annotations, and its group."""
    hints = {"readOnlyHint": tool.read_only, "idempotentHint": tool.idempotent}
    annotations = {name: True for name, given in hints.items() if given}
    found: dict[str, JSON] = {"annotations": annotations} if annotations else {}
    return {**found, "_meta": {GROUP: tool.group}} if tool.group else found


def with_defaults(tool: DeclaredTool, arguments: Mapping[str, JSON]) -> dict[str, JSON]:
    """The arguments, and the default of each parameter that has one and is not among them."""
    return {**dict(_defaults(tool)), **arguments}


def _defaults(tool: DeclaredTool) -> Iterator[tuple[str, JSON]]:
    properties = input_schema(tool).get("properties", {})
    for name, schema in properties.items():
        if isinstance(schema, Mapping) and "default" in schema:
            yield name, schema["default"]


def hand_over(tool: DeclaredTool, arguments: Mapping[str, JSON]) -> Handed:
    """Text is in the environment as it is, everything else as JSON. Raises PraxisError for what no variable holds."""
    given = with_defaults(tool, arguments)
    environment: dict[str, str] = {}
    left = MAX_VARIABLES
    for name, value in given.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            where = f"arguments.{name}"
            raise PraxisError("invalid", "half a surrogate pair, which no text has", where=where) from None
        if "\0" in text:
            raise PraxisError("invalid", "a zero character, which no program takes", where=f"arguments.{name}")
        if size <= min(MAX_VARIABLE, left):
            environment[variable(name)] = text
            left -= size
    return Handed(environment, json.dumps(given, ensure_ascii=False).encode("utf-8", "replace"))
