"""A server of the official Python SDK, 1.x, which speaks the handshake era. It runs in an environment of its own.

usage: python sdk_server_1.py stdio | streamable-http PORT | sse PORT
"""

# mypy: ignore-errors
from __future__ import annotations

import sys

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel


class Nothing(BaseModel):
    """What a person is asked for when only the answer itself counts."""


async def echo(text: str) -> str:
    """The same text."""
    return text


async def steps(context: Context) -> str:
    """Two steps of progress."""
    for step in (1, 2):
        await context.report_progress(step, 2)
    return "done"


async def questions(context: Context) -> str:
    """What a person and a model said."""
    person = await context.elicit("May I?", Nothing)
    asked = SamplingMessage(role="user", content=TextContent(type="text", text="Why?"))
    model = await context.session.create_message([asked], max_tokens=10, related_request_id=context.request_id)
    return f"{person.action} {model.content.text}"


def main(transport: str, port: str = "0") -> None:
    app = FastMCP("sdk", port=int(port))
    for tool in (echo, steps, questions):
        app.tool()(tool)
    app.run(transport=transport)


if __name__ == "__main__":
    main(*sys.argv[1:])
