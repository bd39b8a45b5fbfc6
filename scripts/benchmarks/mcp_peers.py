"""What the MCP benchmark measures beside us. Runs in an environment that has the package, and not ours.

usage: python mcp_peers.py sdk-stdio | sdk-http PORT | sdk-client COMMAND... | fastmcp PORT COMMAND...

Every peer is set up for speed where it can be: answers as JSON, no access log, one session with the server behind.
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time


def sdk_server():
    """The lower of the SDK's two levels, which does less for each call."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}

    async def list_tools(context, params):
        return types.ListToolsResult(tools=[types.Tool(name="echo", input_schema=schema)])

    async def call_tool(context, params):
        text = params.arguments["text"]
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    return Server("bench", on_list_tools=list_tools, on_call_tool=call_tool)


async def sdk_stdio():
    from mcp.server.stdio import stdio_server

    server = sdk_server()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def sdk_http(port):
    import uvicorn

    app = sdk_server().streamable_http_app(json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


async def sdk_client(command):
    from mcp import Client, StdioServerParameters

    loop = asyncio.get_running_loop()
    async with Client(StdioServerParameters(command=command[0], args=command[1:])) as client:

        async def caller(end, times):
            began = time.perf_counter()
            while began < end:
                result = await client.call_tool("echo", {"text": "hello " * 4})
                if result.is_error:
                    raise RuntimeError(f"the server answered {result}")
                now = time.perf_counter()
                times.append(now - began)
                began = now

        while order := await loop.run_in_executor(None, sys.stdin.readline):
            callers, seconds = order.split()
            times = []
            began = time.perf_counter()
            await asyncio.gather(*(caller(began + float(seconds), times) for _ in range(int(callers))))
            rate = len(times) / (time.perf_counter() - began)
            cuts = statistics.quantiles(times, n=100)
            print(json.dumps({"rate": rate, "p50": cuts[49], "p99": cuts[98], "calls": len(times)}), flush=True)


async def fastmcp(port, command):
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport
    from fastmcp.server import create_proxy

    async with Client(StdioTransport(command[0], command[1:])) as client:
        await create_proxy(client, name="bench").run_http_async(
            show_banner=False,
            host="127.0.0.1",
            port=int(port),
            log_level="warning",
            json_response=True,
            uvicorn_config={"access_log": False},
        )


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "sdk-stdio":
        asyncio.run(sdk_stdio())
    elif what == "sdk-http":
        sdk_http(*rest)
    elif what == "sdk-client":
        asyncio.run(sdk_client(rest))
    else:
        asyncio.run(fastmcp(rest[0], rest[1:]))
