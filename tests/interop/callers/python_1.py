"""The official Python SDK, 1.x, as a client: ``python_1.py http|sse URL BACKEND`` or ``stdio COMMAND... BACKEND``.

Prints one line of JSON with what it saw.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys

import anyio
import mcp.types as types
from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


async def elicit(context, params):
    return types.ElicitResult(action="accept", content={"username": "Ann", "email": "a@b"})


async def sample(context, params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="m")


async def roots(context):
    return types.ListRootsResult(roots=[])


async def use(read, write):
    logs, steps = [], []

    async def log(params):
        logs.append(params.data)

    async def progress(done, total, message):
        steps.append(done)

    async with ClientSession(
        read,
        write,
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
        logging_callback=log,
    ) as session:
        hello = await session.initialize()
        await session.send_ping()

        async def call(name, **arguments):
            result = await session.call_tool(name, arguments, progress_callback=progress)
            return result.content[0].text

        await session.set_logging_level("info")
        seen = {
            "version": hello.protocolVersion,
            "tools": [tool.name for tool in (await session.list_tools()).tools],
            "simple": await call("test_simple_text"),
            "failed": (await session.call_tool("test_error_handling", {})).isError,
            "logging": await call("test_tool_with_logging"),
            "progress": await call("test_tool_with_progress"),
            "elicitation": await call("test_elicitation", message="m"),
            "sampling": await call("test_sampling", prompt="p"),
            "input": await call("test_input_required_result_multi_round"),
            "header": await call("test_x_mcp_header", region="größe"),
            "prompts": len((await session.list_prompts()).prompts),
            "resource": (await session.read_resource("test://static-text")).contents[0].text,
        }
        seen |= {"logs": logs, "steps": steps}
        print(json.dumps(seen))


async def main():
    kind, *rest, _ = sys.argv[1:]
    if kind == "http":
        async with streamablehttp_client(rest[0]) as (read, write, _session):
            await use(read, write)
    elif kind == "sse":
        async with sse_client(rest[0]) as (read, write):
            await use(read, write)
    else:
        async with stdio_client(StdioServerParameters(command=rest[0], args=rest[1:])) as (read, write):
            await use(read, write)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[-1])
