"""An MCP server over stdio that keeps a record of what it was asked to do, in a file outside of the agent.

usage: witness.py FILE

`note` and `put` append their step to the file, and it is there before they answer; `put` says that twice is the same as
once. They wait so many milliseconds before and after that. Steps that stand in FILE.hold get no answer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {
        "step": {"type": "string"},
        "before": {"type": "number"},
        "after": {"type": "number"},
    },
    "required": ["step"],
    "additionalProperties": False,
}
TOOLS = [
    {"name": "note", "inputSchema": SCHEMA},
    {"name": "put", "inputSchema": SCHEMA, "annotations": {"idempotentHint": True}},
]


def main(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for line in sys.stdin.buffer:
        message = json.loads(line)
        params = message.get("params", {})
        if "id" not in message:
            continue
        if message["method"] == "initialize":
            about = {"name": "witness", "version": "1"}
            protocol = params["protocolVersion"]
            answer: Any = {"protocolVersion": protocol, "capabilities": {"tools": {}}, "serverInfo": about}
        elif message["method"] == "tools/list":
            answer = {"tools": TOOLS}
        elif message["method"] == "tools/call":
            given = params["arguments"]
            time.sleep(given.get("before", 0) / 1000)
            os.write(file, f"{given['step']}\n".encode())
            time.sleep(given.get("after", 0) / 1000)
            if held(path, given["step"]):
                continue
            answer = {"content": [{"type": "text", "text": given["step"]}]}
        else:
            error = {"code": -32601, "message": "unknown method"}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
            continue
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer}), flush=True)


def held(path: str, step: str) -> bool:
    try:
        with open(f"{path}.hold") as file:
            return step in file.read().split()
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
