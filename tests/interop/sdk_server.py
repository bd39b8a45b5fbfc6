"""A server of the official Python SDK, which speaks both eras. It runs in an environment of its own.

usage: python sdk_server.py stdio | streamable-http PORT | sse PORT
"""

from __future__ import annotations

import sys
from typing import Any

from mcp.server.mcpserver import Context, MCPServer  # type: ignore[import-not-found, unused-ignore]


async def echo(text: str) -> str:
    """The same text."""
    return text


async def steps(context: Context) -> str:  # type: ignore[type-arg, unused-ignore]
    """Two steps of progress."""
    for step in (1, 2):
        await context.report_progress(step, 2)
    return "done"


def main(transport: Any, *port: str) -> None:
    app = MCPServer("sdk")
    app.tool()(echo)
    app.tool()(steps)
    app.run(transport=transport, **({"port": int(port[0])} if port else {}))


if __name__ == "__main__":
    main(*sys.argv[1:])
