"""An MCP server that greets as it should and has one tool, and then misbehaves as its argument says.

deaf   reads nothing more
loud   writes more than a pipe holds to its standard error and noise to its standard output before every message
big    answers calls with 30 MB
flood  writes 200,000 lines to its standard error during each call
silent never answers a call
twice  answers every call twice
crash  exits with status 3 and last words when its tool is called
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def send(message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(mode: str) -> None:
    results = {
        "initialize": {"protocolVersion": "2025-11-25", "serverInfo": {"name": "odd", "version": "1"}},
        "tools/list": {"tools": [{"name": "work", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": "done"}]},
    }
    while line := sys.stdin.readline():
        message = json.loads(line)
        method = message["method"]
        if mode == "loud":
            sys.stderr.write("noise\n" * 20_000)
            sys.stderr.flush()
            print("\nListening on stdio...\n> ")
        if mode == "flood" and method == "tools/call":
            for _ in range(200):
                sys.stderr.write("warning: the sky is falling\n" * 1000)
        if mode == "big" and method == "tools/call":
            results[method] = {"content": [{"type": "text", "text": "x" * 30_000_000}]}
        if mode == "silent" and method == "tools/call":
            continue
        if mode == "twice" and method == "tools/call":
            send({"jsonrpc": "2.0", "id": message["id"], "result": results[method]})
        if mode == "crash" and method == "tools/call":
            print("MemoryError: out of ideas", file=sys.stderr)
            sys.exit(3)
        if "id" in message and method not in results:
            error = {"code": -32601, "message": f"unknown method {method}"}
            send({"jsonrpc": "2.0", "id": message["id"], "error": error})
        elif "id" in message:
            send({"jsonrpc": "2.0", "id": message["id"], "result": results[method]})
        if mode == "deaf" and method == "tools/list":
            time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1])
