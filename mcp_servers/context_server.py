#!/usr/bin/env python3
"""An MCP server over stdio to try things with and to copy from: the standard library, one file.

    python3 mcp_servers/context_server.py [--documents DIR]

Tools: greet, calculate, get_time, context_search (in the text files of DIR). Resources: context://server-info,
context://available-tools. It speaks MCP's handshake era, 2024-11-05 to 2025-11-25, one JSON-RPC message a line.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

NAME, VERSION = "context-server", "1.0.0"
PROTOCOL_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # the first is the one we prefer
MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message; what is longer is refused without being kept."""
MAX_DOCUMENTS = 500
"""Documents that one search looks at."""
MAX_DOCUMENT = 128 * 1024
"""Bytes that are read of one document; with the bound above, 64 MB a search at the very most."""
MAX_WORDS = 16
"""Words of a query that count."""
EXCERPT = 160
"""Characters of a document that a match shows."""
SUFFIXES = (".md", ".rst", ".txt")

JSON = Any
Tool = tuple[dict[str, JSON], Callable[..., tuple[str, JSON]]]


class ToolError(Exception):
    """What a tool could not do; becomes a result with isError, which the caller's model can read."""


class RpcError(Exception):
    """What the protocol does not allow; becomes a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- tools: each takes its checked arguments and returns a text and, where that makes sense, structured content


def greet(name: str, style: str = "casual") -> tuple[str, JSON]:
    if not name.strip():
        raise ToolError("name is empty")
    greetings = {
        "formal": f"Good day, {name}. It is a pleasure to meet you.",
        "casual": f"Hi {name}, nice to see you!",
        "enthusiastic": f"Hello {name}! How wonderful that you are here!",
    }
    return greetings[style], None


def calculate(operation: str, a: float, b: float) -> tuple[str, JSON]:
    try:
        match operation:
            case "add":
                result = a + b
            case "subtract":
                result = a - b
            case "multiply":
                result = a * b
            case _:
                # Whole numbers stay whole where they can, however large.
                result = a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b
        text = str(result)
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except (OverflowError, ValueError):  # Python refuses to print whole numbers of more than 4300 digits
        raise ToolError("the result is too large") from None
    if isinstance(result, float) and not math.isfinite(result):
        raise ToolError("the result is too large")
    return text, {"result": result}


def get_time(format: str = "iso") -> tuple[str, JSON]:
    now = datetime.now(UTC)
    if format == "unix":
        return str(int(time.time())), None
    return now.isoformat(timespec="seconds") if format == "iso" else now.strftime("%A, %d %B %Y, %H:%M:%S UTC"), None


def context_search(documents: Path | None, query: str, limit: int = 10) -> tuple[str, JSON]:
    """Documents that hold words of the query: those with the most different words first, then the most frequent."""
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:MAX_WORDS]
    if not words:
        raise ToolError("the query has no words in it")
    if documents is None:
        raise ToolError("there is no folder of documents; start the server with --documents DIR")
    searched = 0
    matches: list[dict[str, JSON]] = []
    for path in list_documents(documents):
        try:
            with path.open("rb") as file:
                text = file.read(MAX_DOCUMENT).decode("utf-8", "replace")
        except OSError:
            continue  # gone or not readable; it is one of many
        searched += 1
        counts = [text.lower().count(word) for word in words]
        if found := sum(count > 0 for count in counts):
            line, excerpt = best_line(text, words)
            name = path.relative_to(documents).as_posix()
            matches.append({"document": name, "line": line, "excerpt": excerpt, "words": found, "hits": sum(counts)})
    matches.sort(key=lambda match: (-match["words"], -match["hits"], match["document"]))
    shown = matches[:limit]
    text = "\n".join(f"{match['document']}:{match['line']}: {match['excerpt']}" for match in shown)
    structured = {"matches": shown, "found": len(matches), "searched": searched}
    return text or f"None of {searched} documents holds {' or '.join(words)}.", structured


def list_documents(folder: Path) -> Iterator[Path]:
    """Text files below the folder in a fixed order; no hidden ones, and no links, which may lead out of it."""
    left = MAX_DOCUMENTS
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES or not path.is_file() or path.is_symlink():
                continue
            if left == 0:
                return
            left -= 1
            yield path


def best_line(text: str, words: list[str]) -> tuple[int, str]:
    """The number, from 1, and an excerpt of the first line that holds the most words."""
    lines = text.split("\n")
    found = [sum(word in line.lower() for word in words) for line in lines]
    at = found.index(max(found))
    line = lines[at].strip()
    first = min((spot for word in words if (spot := line.lower().find(word)) >= 0), default=0)
    start = max(0, min(first - EXCERPT // 4, len(line) - EXCERPT))
    return at + 1, line[start : start + EXCERPT]


def schema(required: str, **properties: JSON) -> dict[str, JSON]:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def text_of(description: str) -> dict[str, JSON]:
    return {"type": "string", "description": description}


def one_of(*values: str, **more: JSON) -> dict[str, JSON]:
    return {"type": "string", "enum": list(values), **more}


def make_tools(documents: Path | None) -> dict[str, Tool]:
    """Definitions, as tools/list shows them, and what does the work."""
    read_only = {"readOnlyHint": True, "openWorldHint": False}

    def tool(name: str, work: Callable[..., tuple[str, JSON]], description: str, input: JSON, **more: JSON) -> None:
        definition = {"name": name, "description": description, "inputSchema": input, "annotations": read_only, **more}
        tools[name] = definition, work

    tools: dict[str, Tool] = {}
    tool(
        "greet",
        greet,
        "Greet somebody by name.",
        schema(
            "name",
            name=text_of("Who is greeted"),
            style=one_of("formal", "casual", "enthusiastic", default="casual"),
        ),
    )
    tool(
        "calculate",
        calculate,
        "Add, subtract, multiply or divide two numbers.",
        schema(
            "operation a b",
            operation=one_of("add", "subtract", "multiply", "divide"),
            a={"type": "number"},
            b={"type": "number"},
        ),
        outputSchema=schema("result", result={"type": "number"}),
    )
    tool(
        "get_time",
        get_time,
        "Tell the time in UTC.",
        schema("", format=one_of("iso", "unix", "human", default="iso")),
    )
    tool(
        "context_search",
        lambda **arguments: context_search(documents, **arguments),
        "Search the server's documents for words.",
        schema(
            "query",
            query=text_of("Words to look for"),
            limit={"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
        ),
    )
    return tools


def check_arguments(schema: dict[str, JSON], arguments: dict[str, JSON]) -> None:
    """As far as this server's own schemas go. Raises ToolError."""
    properties = schema["properties"]
    types: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "integer": (int,)}
    for name in schema["required"]:
        if name not in arguments:
            raise ToolError(f"argument {name} is missing")
    for name, value in arguments.items():
        rule = properties.get(name)
        if rule is None:
            raise ToolError(f"unknown argument {name[:100]}; there are {', '.join(properties) or 'none'}")
        if not isinstance(value, types[rule["type"]]) or isinstance(value, bool):
            raise ToolError(f"argument {name} must be of type {rule['type']}")
        if "enum" in rule and value not in rule["enum"]:
            raise ToolError(f"argument {name} must be one of {', '.join(rule['enum'])}")
        if not rule.get("minimum", value) <= value <= rule.get("maximum", value):
            raise ToolError(f"argument {name} must be from {rule['minimum']} to {rule['maximum']}")


# --- the protocol


class Server:
    """Answers messages. `documents` is the folder that context_search looks in, None for none."""

    def __init__(self, documents: Path | None) -> None:
        self._documents = documents
        self._tools = make_tools(documents)
        self._protocol = PROTOCOL_VERSIONS[0]

    def answer(self, line: bytes) -> JSON:
        """What is to be sent back for one line; None for nothing."""
        try:
            message = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return _error(None, -32700, f"not JSON: {error}")
        if isinstance(message, list) and message and self._protocol == "2025-03-26":  # the only version with batches
            return [answer for item in message if (answer := self._answer_one(item)) is not None] or None
        return self._answer_one(message)

    def _answer_one(self, message: JSON) -> JSON:
        id = message.get("id") if isinstance(message, dict) else None
        usable = isinstance(id, (int, str)) and not isinstance(id, bool)
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("method"), str)
            or ("id" in message and not usable)
        ):
            if isinstance(message, dict) and ("result" in message or "error" in message):
                return None  # an answer to a question that we never asked
            return _error(id if usable else None, -32600, "not a JSON-RPC request")
        if "id" not in message:
            return None  # a notification
        params = message.get("params", {})
        try:
            if not isinstance(params, dict):
                raise RpcError(-32602, "params must be an object")
            return {"jsonrpc": "2.0", "id": id, "result": self._result(message["method"], params)}
        except RpcError as error:
            return _error(id, error.code, str(error))

    def _result(self, method: str, params: dict[str, JSON]) -> JSON:
        match method:
            case "initialize":
                return self._initialize(params)
            case "ping":
                return {}
            case "tools/list":
                return {"tools": [definition for definition, _ in self._tools.values()]}
            case "tools/call":
                return self._call(params.get("name"), params.get("arguments"))
            case "resources/list":
                return {"resources": [{"uri": uri, **about} for uri, (about, _) in self._resources().items()]}
            case "resources/templates/list":
                return {"resourceTemplates": []}
            case "resources/read":
                return self._read(params.get("uri"))
        raise RpcError(-32601, f"method not found: {method[:100]}")

    def _initialize(self, params: dict[str, JSON]) -> JSON:
        wanted = params.get("protocolVersion")
        if not isinstance(wanted, str):
            raise RpcError(-32602, "protocolVersion is missing")
        self._protocol = wanted if wanted in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[0]
        return {
            "protocolVersion": self._protocol,
            "capabilities": {"tools": {}, "resources": {}},
            "serverInfo": {"name": NAME, "version": VERSION},
        }

    def _call(self, name: JSON, arguments: JSON) -> JSON:
        if not isinstance(name, str) or name not in self._tools:
            raise RpcError(-32602, f"unknown tool: {str(name)[:100]}")
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, dict):
            raise RpcError(-32602, "arguments must be an object")
        definition, work = self._tools[name]
        try:
            check_arguments(definition["inputSchema"], arguments)
            text, structured = work(**arguments)
        except ToolError as error:
            return {"content": [{"type": "text", "text": str(error)}], "isError": True}
        result: dict[str, JSON] = {"content": [{"type": "text", "text": text}], "isError": False}
        return result if structured is None else {**result, "structuredContent": structured}

    def _resources(self) -> dict[str, tuple[dict[str, str], Callable[[], JSON]]]:
        kind = "application/json"
        return {
            "context://server-info": (
                {"name": "server-info", "description": "What this server is", "mimeType": kind},
                lambda: {
                    "name": NAME,
                    "version": VERSION,
                    "protocolVersion": self._protocol,
                    "documents": None if self._documents is None else sum(1 for _ in list_documents(self._documents)),
                },
            ),
            "context://available-tools": (
                {"name": "available-tools", "description": "The tools of this server", "mimeType": kind},
                lambda: [
                    {"name": name, "description": definition["description"]}
                    for name, (definition, _) in self._tools.items()
                ],
            ),
        }

    def _read(self, uri: JSON) -> JSON:
        resources = self._resources()
        if not isinstance(uri, str) or uri not in resources:
            raise RpcError(-32002, f"resource not found: {str(uri)[:100]}")
        about, content = resources[uri]
        return {"contents": [{"uri": uri, "mimeType": about["mimeType"], "text": json.dumps(content(), indent=2)}]}


def _refuse_constant(name: str) -> JSON:
    raise ValueError(f"{name} is not JSON")


def _error(id: JSON, code: int, message: str) -> JSON:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def serve(server: Server, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer line by line until the input ends. Lines end with \\n alone: JSON may hold other line separators."""
    while line := source.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            while (rest := source.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            answer = _error(None, -32600, f"a message may have {MAX_LINE} bytes")
        elif not line.strip():
            continue
        else:
            answer = server.answer(line)
        if answer is not None:
            sink.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
            sink.flush()


def default_documents() -> Path | None:
    """The folder docs beside this file or beside its folder, if there is one."""
    here = Path(__file__).resolve().parent
    return next((folder for folder in (here / "docs", here.parent / "docs") if folder.is_dir()), None)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="An example MCP server over stdio.")
    parser.add_argument("--documents", type=Path, help="folder that context_search looks in (default: docs)")
    documents = parser.parse_args(arguments).documents
    if documents is not None and not documents.is_dir():
        parser.error(f"no such folder: {documents}")
    try:
        serve(Server(documents or default_documents()), sys.stdin.buffer, sys.stdout.buffer)
    except (KeyboardInterrupt, BrokenPipeError):
        # Whoever started us has gone. The interpreter must not find out again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
