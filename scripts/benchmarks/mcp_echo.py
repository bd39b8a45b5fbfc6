"""The MCP server that stands behind every gateway and proxy of its benchmark: one tool, over stdio."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "mcp_servers"))

from stdio import Result, Server, Tool, object_schema, serve  # type: ignore[import-not-found] # it lies beside servers


def echo(text: str) -> Result:
    return Result(text)


TEXT = object_schema("text", text={"type": "string"})

if __name__ == "__main__":
    sys.exit(serve(Server("bench", "1.0.0", [Tool(echo, {"name": "echo", "inputSchema": TEXT})])))
