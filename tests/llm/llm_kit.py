"""Tools for tests of prompts and plans."""

from __future__ import annotations

from typing import Any

from praxis.model.tool import Tool


def tool(name: str, description: str = "", agent: str = "a", source: str = "fs", **properties: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return Tool(agent, source, {"name": name, "description": description, "inputSchema": schema})


READ = tool("read_file", "The text of a file.", filename={"type": "string", "description": "Which"})
WRITE = tool("write_file", "Write text to a file.", filename={"type": "string"}, content={"type": "string"})
MAIL = tool("send", "Send an e-mail.", "b", "mail", to={"type": "string"}, body={"type": "string"})
TOOLS = (READ, WRITE, MAIL)
