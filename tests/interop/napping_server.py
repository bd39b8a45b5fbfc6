"""An MCP server over stdio whose tool `nap` has a child process: ``napping_server.py FILE`` writes its pid there.

It ends the child of a call that is cancelled, and of no other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOOLS = [{"name": "nap", "inputSchema": {"type": "object"}}]


def answer(id: Any, result: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)


def main() -> None:
    children: dict[Any, subprocess.Popen[bytes]] = {}
    for line in sys.stdin:
        message = json.loads(line)
        match message.get("method"):
            case "initialize":
                version = message["params"]["protocolVersion"]
                known = {"name": "napping", "version": "1"}
                answer(message["id"], {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": known})
            case "tools/list":
                answer(message["id"], {"tools": TOOLS})
            case "tools/call":
                child = children[message["id"]] = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
                Path(sys.argv[1]).write_text(f"{child.pid}\n")
            case "notifications/cancelled":
                child = children.pop(message["params"]["requestId"])
                child.kill()
                child.wait()
            case _ if "id" in message:
                error = {"code": -32601, "message": "not here"}
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
    for child in children.values():
        child.kill()


main()
