#!/usr/bin/env python3
"""An MCP server over stdio whose calls take time, to see progress and cancellation: the standard library, one file.

    python3 mcp_servers/sleep_server.py

Tools: long_task starts a real child process (``sleep``) and answers when that has ended; echo answers at once. Each
long task has a thread of its own. ``notifications/cancelled`` kills the call's child and, as MCP asks, sends no answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

PROTOCOL_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # the first is the one we prefer
MAX_LINE = 4 * 1024 * 1024
"""Bytes of one message; a longer one ends the server, because nothing here needs it."""
MAX_CALLS = 64
"""Calls at once, each a thread and perhaps a child."""
MAX_SECONDS = 3600.0
PROGRESS_PAUSE = 1.0
"""Seconds between two progress notifications."""

JSON = Any

TOOLS: list[dict[str, JSON]] = [
    {
        "name": "long_task",
        "description": "Run a child process for some seconds; report its pid as progress; cancelling kills it.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "seconds": {"type": "number", "minimum": 0, "maximum": MAX_SECONDS},
                "pid_file": {"type": "string", "description": "File that the child's pid is written to"},
            },
            "required": ["seconds"],
            "additionalProperties": False,
        },
    },
    {
        "name": "echo",
        "description": "Answer with the text.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
    },
]


class ToolError(Exception):
    """What a tool could not do; becomes a result with isError."""


class Call:
    """One call of a tool. `cancel` may come from another thread at any moment, also before the child exists."""

    def __init__(self, token: JSON, server: Server) -> None:
        self._token = token
        self._server = server
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._child is not None:
                self._child.kill()

    def long_task(self, seconds: float, pid_file: str | None) -> str:
        with self._lock:
            if self.cancelled:
                raise ToolError("cancelled")
            null = subprocess.DEVNULL
            try:
                child = subprocess.Popen(["sleep", str(seconds)], stdin=null, stdout=null, stderr=null)
            except OSError as error:
                raise ToolError(f"cannot start sleep: {error}") from None
            self._child = child
        try:
            if pid_file is not None:
                write_pid(Path(pid_file), child.pid)
            started = time.monotonic()
            self._progress(0, seconds, f"child pid {child.pid}")
            while True:
                try:
                    status = child.wait(PROGRESS_PAUSE)
                    break
                except subprocess.TimeoutExpired:
                    past = time.monotonic() - started
                    self._progress(min(round(past, 1), seconds), seconds, f"child pid {child.pid} runs")
        finally:
            child.kill()
            child.wait()
        if status != 0:
            raise ToolError(f"child {child.pid} ended with status {status}")
        return f"child {child.pid} ran for {seconds:g} s"

    def _progress(self, progress: float, total: float, message: str) -> None:
        if self._token is not None:
            params = {"progressToken": self._token, "progress": progress, "total": total, "message": message}
            self._server.send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def write_pid(path: Path, pid: int) -> None:
    """Write or replace a pid file; a file that holds anything else stays. Raises ToolError."""
    try:
        if path.exists() and not (path.is_file() and path.stat().st_size <= 20 and path.read_text().strip().isdigit()):
            raise ToolError(f"{path} is there and is no pid file")
        # Whole or not at all: whoever waits for the file reads it the moment it appears.
        fresh = path.with_name(f".{path.name}.{pid}")
        fresh.write_text(f"{pid}\n")
        fresh.replace(path)
    except (OSError, ValueError) as error:
        raise ToolError(f"cannot write {path}: {error}") from None


class Server:
    """Reads messages and starts a thread per call of a tool; everything else is answered at once."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sink_lock = threading.Lock()
        self._calls: dict[int | str, Call] = {}
        self._calls_lock = threading.Lock()

    def serve(self, source: BinaryIO) -> None:
        """Until the input ends; then the children are killed."""
        try:
            while (line := source.readline(MAX_LINE)).endswith(b"\n"):
                if line.strip():
                    self._take(line)
        finally:
            with self._calls_lock:
                calls = list(self._calls.values())
            for call in calls:
                call.cancel()

    def send(self, message: JSON) -> None:
        """One message, whole, from any thread."""
        try:
            with self._sink_lock:
                self._sink.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
                self._sink.flush()
        except BrokenPipeError:
            pass  # the input ends in a moment, and with it the server

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._refuse(None, -32700, "not JSON")
            return
        method = message.get("method") if isinstance(message, dict) else None
        if not isinstance(method, str):
            if not (isinstance(message, dict) and ("result" in message or "error" in message)):
                self._refuse(None, -32600, "not a JSON-RPC request")
            return
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        id = message.get("id")
        if "id" not in message:
            if method == "notifications/cancelled":
                self._cancel(params.get("requestId"))
        elif not isinstance(id, (int, str)) or isinstance(id, bool):
            self._refuse(None, -32600, "an id is a number or a string")
        elif method == "initialize":
            wanted = params.get("protocolVersion")
            protocol = wanted if wanted in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[0]
            about = {"name": "sleep-server", "version": "1.0.0"}
            self._answer(id, {"protocolVersion": protocol, "capabilities": {"tools": {}}, "serverInfo": about})
        elif method == "ping":
            self._answer(id, {})
        elif method == "tools/list":
            self._answer(id, {"tools": TOOLS})
        elif method == "tools/call":
            self._start(id, params)
        else:
            self._refuse(id, -32601, f"method not found: {method[:100]}")

    def _start(self, id: int | str, params: dict[str, JSON]) -> None:
        name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
        arguments = {} if arguments is None else arguments
        if name not in ("long_task", "echo") or not isinstance(arguments, dict):
            self._refuse(id, -32602, f"unknown tool: {str(name)[:100]}, or arguments that are no object")
            return
        with self._calls_lock:
            if id in self._calls or len(self._calls) >= MAX_CALLS:
                self._refuse(id, -32600, "this id is in use" if id in self._calls else f"{MAX_CALLS} calls run already")
                return
            call = Call(meta.get("progressToken") if isinstance(meta, dict) else None, self)
            self._calls[id] = call
        if name == "echo":
            self._work(id, call, name, arguments)
        else:
            threading.Thread(target=self._work, args=(id, call, name, arguments)).start()

    def _work(self, id: int | str, call: Call, name: str, arguments: dict[str, JSON]) -> None:
        is_error = False
        try:
            text = run_tool(call, name, arguments)
        except ToolError as error:
            text, is_error = str(error), True
        with self._calls_lock:
            del self._calls[id]
        if not call.cancelled:
            self._answer(id, {"content": [{"type": "text", "text": text}], "isError": is_error})

    def _cancel(self, id: JSON) -> None:
        with self._calls_lock:
            call = self._calls.get(id) if isinstance(id, (int, str)) else None
        if call is not None:
            call.cancel()

    def _answer(self, id: int | str, result: JSON) -> None:
        self.send({"jsonrpc": "2.0", "id": id, "result": result})

    def _refuse(self, id: int | str | None, code: int, message: str) -> None:
        self.send({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})


def run_tool(call: Call, name: str, arguments: dict[str, JSON]) -> str:
    """The text that the tool answers. Raises ToolError, also for arguments that it cannot take."""
    known = {"long_task": {"seconds", "pid_file"}, "echo": {"text"}}[name]
    if unknown := sorted(arguments.keys() - known):
        raise ToolError(f"unknown argument {unknown[0][:100]}; there are {', '.join(sorted(known))}")
    if name == "echo":
        if not isinstance(arguments.get("text"), str):
            raise ToolError("argument text must be a string")
        return str(arguments["text"])
    seconds, pid_file = arguments.get("seconds"), arguments.get("pid_file")
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_SECONDS:
        raise ToolError(f"argument seconds must be a number from 0 to {MAX_SECONDS:g}")
    if pid_file is not None and (not isinstance(pid_file, str) or not pid_file):
        raise ToolError("argument pid_file must be the name of a file")
    return call.long_task(seconds, pid_file)


def main() -> None:
    # As at the end of the input: the children go with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        Server(sys.stdout.buffer).serve(sys.stdin.buffer)
    except KeyboardInterrupt:
        pass
    finally:
        # Whoever started us may have gone. The interpreter must not find out when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
