"""The official Python SDK, 2.x, as a client: ``python_2.py http URL MODE BACKEND``; stdio takes COMMAND... for URL.

Prints one line of JSON with what it saw.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters


async def elicit(context, params):
    return types.ElicitResult(action="accept", content={"username": "Ann", "email": "a@b"})


async def sample(context, params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="m")


async def roots(context):
    return types.ListRootsResult(roots=[])


async def main():
    kind, *rest, mode, _ = sys.argv[1:]
    server = rest[0] if kind == "http" else StdioServerParameters(command=rest[0], args=rest[1:])
    logs, steps = [], []

    async def log(params):
        logs.append(params.data)

    async def progress(done, total, message):
        steps.append(done)

    async with Client(
        server,
        mode=mode,
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
        logging_callback=log,
        log_level="info",
    ) as client:

        async def call(name, **arguments):
            result = await client.call_tool(name, arguments, progress_callback=progress)
            return result.content[0].text

        seen = {
            "version": client.session.protocol_version,
            "tools": [tool.name for tool in (await client.list_tools()).tools],
            "simple": await call("test_simple_text"),
            "failed": (await client.call_tool("test_error_handling", {})).is_error,
            "logging": await call("test_tool_with_logging"),
            "progress": await call("test_tool_with_progress"),
            "elicitation": await call("test_elicitation", message="m"),
            "sampling": await call("test_sampling", prompt="p"),
            "input": await call("test_input_required_result_multi_round"),
            "header": await call("test_x_mcp_header", region="größe"),
            "prompts": len((await client.list_prompts()).prompts),
            "resource": (await client.read_resource("test://static-text")).contents[0].text,
        }
        seen |= {"logs": logs, "steps": steps}
        print(json.dumps(seen))


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[-1])
