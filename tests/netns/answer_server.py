"""An MCP server over stdio for calls across bad networks: answers at once, at length, or never."""

from __future__ import annotations

import json
import sys
from typing import Any

TOOLS: list[dict[str, Any]] = [
    {"name": "echo", "inputSchema": {"type": "object"}, "description": "The same text."},
    {"name": "long", "inputSchema": {"type": "object"}, "description": "So many bytes."},
    {"name": "never", "inputSchema": {"type": "object"}, "description": "Nothing, ever."},
    {"name": "count", "inputSchema": {"type": "object"}, "description": "How many calls of echo there were."},
]


def main() -> None:
    echoes = 0
    for line in sys.stdin.buffer:
        message = json.loads(line)
        params = message.get("params", {})
        if message["method"] == "initialize":
            about = {"name": "answers", "version": "1"}
            capabilities: dict[str, Any] = {"tools": {}}
            answer: Any = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": capabilities,
                "serverInfo": about,
            }
        elif message["method"] == "tools/list":
            answer = {"tools": TOOLS}
        elif message["method"] == "tools/call" and params["name"] != "never":
            arguments = params["arguments"]
            echoes += params["name"] == "echo"
            text = {"echo": arguments.get("text"), "long": "x" * arguments.get("bytes", 0), "count": str(echoes)}
            answer = {"content": [{"type": "text", "text": text[params["name"]]}]}
        else:
            if "id" in message and message["method"] != "tools/call":
                error = {"code": -32601, "message": "unknown method"}
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
            continue
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer}), flush=True)


if __name__ == "__main__":
    main()
