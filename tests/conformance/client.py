"""The client that the official MCP conformance suite starts, once per scenario: our own tool source, doing as told.

usage: python tests/conformance/client.py URL
    MCP_CONFORMANCE_SCENARIO           what to do
    MCP_CONFORMANCE_PROTOCOL_VERSION   the revision to speak
    MCP_CONFORMANCE_CONTEXT            JSON that some scenarios need, such as the calls to make
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from praxis.config.schema import McpLimits, McpServer  # noqa: E402
from praxis.model.errors import PraxisError  # noqa: E402
from praxis.model.tool import CallContext  # noqa: E402
from praxis.observe.metrics import Metrics  # noqa: E402
from praxis.tools.mcp_source import McpSource  # noqa: E402
from praxis.tools.source import SourceState  # noqa: E402

START_LIMIT = 30.0
"""Seconds until the server must have been reached."""
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"add_numbers": {"a": 5, "b": 3}}
"""Arguments of tools that need some and that the suite does not give in its context."""


async def ask(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Accept every question with its defaults, as a person in a hurry does."""
    if method == "sampling/createMessage":
        return {"role": "assistant", "model": "none", "content": {"type": "text", "text": "yes"}}
    properties = params.get("requestedSchema", {}).get("properties", {})
    content = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    content |= {name: True for name, schema in properties.items() if schema.get("type") == "boolean"} | content
    return {"action": "accept", "content": content}


CONTEXT = CallContext("conformance", ask=ask, capabilities={"elicitation": {"form": {}}, "sampling": {}})


async def call_all(source: McpSource, calls: list[Mapping[str, Any]]) -> None:
    """The calls that the suite wants, or one of every tool there is."""
    schemas = [tool.input_schema for tool in source.tools() if tool.name == "json_schema_2020_12_tool"]
    if schemas:  # a scenario that compares what comes back with what it sent
        calls = [{"name": "json_schema_echo", "arguments": {"schema": schemas[0]}}]
    given = calls or [{"name": tool.name, "arguments": ARGUMENTS.get(tool.name, {})} for tool in source.tools()]
    for call in given:
        try:
            print(call["name"], await source.request("tools/call", call, CONTEXT))
        except PraxisError as error:
            print(call["name"], error, file=sys.stderr)


async def read_all(source: McpSource) -> None:
    """Everything else that a client may ask for."""
    for resource in (await source.request("resources/list", {}, CONTEXT))["resources"]:
        await source.request("resources/read", {"uri": resource["uri"]}, CONTEXT)
    for prompt in (await source.request("prompts/list", {}, CONTEXT))["prompts"]:
        await source.request("prompts/get", {"name": prompt["name"]}, CONTEXT)


async def main(url: str, scenario: str, version: str, context: Mapping[str, Any]) -> int:
    reached = trio.Event()

    def look(state: SourceState) -> None:
        if state.state == "ready":
            reached.set()
        elif state.reason:
            print(state.reason, file=sys.stderr)

    modern = version >= "2026"
    source = McpSource(
        McpServer(
            "suite",
            transport="http",
            url=url,
            protocol="modern" if modern else "legacy",
            ask=("elicitation", "sampling"),
            timeout=20.0,
        ),
        McpLimits(),
        "conformance",
        base_dir=ROOT,
        on_change=lambda: None,
        metrics=Metrics(),
        on_state=look,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        with trio.move_on_after(START_LIMIT):
            await reached.wait()
        if reached.is_set():
            if scenario not in ("initialize", "json-schema-ref-no-deref"):
                await call_all(source, context.get("toolCalls", []))
            if scenario == "http-standard-headers":
                await read_all(source)
        nursery.cancel_scope.cancel()
    return 0 if reached.is_set() else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(
        trio.run(
            main,
            sys.argv[-1],
            os.environ.get("MCP_CONFORMANCE_SCENARIO", ""),
            os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2025-11-25"),
            json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}"),
        )
    )
