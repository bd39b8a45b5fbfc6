#!/usr/bin/env python3
"""An MCP server to try things with and to copy from: the standard library and the file stdio.py beside it.

    python3 mcp_servers/context_server.py [--documents DIR]

Tools: greet, calculate, get_time, context_search (in the text files of DIR). Resources: context://server-info,
context://available-tools.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from mcp_servers import stdio
    from mcp_servers.stdio import Resource, Result, Server, Tool, ToolError, Work, object_schema
else:  # started as a program, from whatever folder the files were copied to
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import stdio
    from stdio import Resource, Result, Server, Tool, ToolError, Work, object_schema

NAME, VERSION = "context-server", "1.1.0"
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


def greet(name: str, style: str = "casual") -> Result:
    if not name.strip():
        raise ToolError("name is empty")
    greetings = {
        "formal": f"Good day, {name}. It is a pleasure to meet you.",
        "casual": f"Hi {name}, nice to see you!",
        "enthusiastic": f"Hello {name}! How wonderful that you are here!",
    }
    return Result(greetings[style])


def calculate(operation: str, a: float, b: float) -> Result:
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
    return Result(text, {"result": result})


def get_time(format: str = "iso") -> Result:
    forms = {"iso": "%Y-%m-%dT%H:%M:%S+00:00", "human": "%A, %d %B %Y, %H:%M:%S UTC"}
    return Result(str(int(time.time())) if format == "unix" else time.strftime(forms[format], time.gmtime()))


def context_search(documents: Path | None, query: str, limit: int = 10) -> Work:
    """Documents that hold words of the query: those with the most different words first, then the most frequent.

    Yields the number of documents that it has looked at.
    """
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:MAX_WORDS]
    if not words:
        raise ToolError("the query has no words in it")
    if documents is None:
        raise ToolError("there is no folder of documents; start the server with --documents DIR")
    searched = 0
    matches: list[dict[str, JSON]] = []
    for path in list_documents(documents):
        yield float(searched)
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
    return Result(text or f"None of {searched} documents holds {' or '.join(words)}.", structured)


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


def text_of(description: str, **more: JSON) -> dict[str, JSON]:
    return {"type": "string", "description": description, **more}


def one_of(*values: str, **more: JSON) -> dict[str, JSON]:
    return {"type": "string", "enum": list(values), **more}


def make_tools(documents: Path | None) -> list[Tool]:
    read_only = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
    match = object_schema(
        "document line excerpt words hits",
        document=text_of("Path of the document in the server's folder"),
        line={"type": "integer", "description": "Number, from 1, of the line that holds the most words"},
        excerpt=text_of("Of that line"),
        words={"type": "integer", "description": "Different words of the query that the document holds"},
        hits={"type": "integer", "description": "How often it holds them"},
    )
    return [
        Tool(
            greet,
            {
                "name": "greet",
                "description": "Greet somebody by name.",
                "inputSchema": object_schema(
                    "name",
                    name=text_of("Who is greeted"),
                    style=one_of("formal", "casual", "enthusiastic", default="casual"),
                ),
                "annotations": read_only,
            },
        ),
        Tool(
            calculate,
            {
                "name": "calculate",
                "description": "Add, subtract, multiply or divide two numbers.",
                "inputSchema": object_schema(
                    "operation a b",
                    operation=one_of("add", "subtract", "multiply", "divide"),
                    a={"type": "number"},
                    b={"type": "number"},
                ),
                "outputSchema": object_schema("result", result={"type": "number"}),
                "annotations": read_only,
            },
        ),
        Tool(
            get_time,
            {
                "name": "get_time",
                "description": "Tell the time in UTC.",
                "inputSchema": object_schema(format=one_of("iso", "unix", "human", default="iso")),
                "annotations": {"readOnlyHint": True, "openWorldHint": False},
            },
        ),
        Tool(
            lambda **arguments: context_search(documents, **arguments),
            {
                "name": "context_search",
                "description": "Search the server's documents for words.",
                "inputSchema": object_schema(
                    "query",
                    query=text_of("Words to look for", maxLength=1000),
                    limit={"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
                ),
                "outputSchema": object_schema(
                    "matches found searched",
                    matches={"type": "array", "items": match},
                    found={"type": "integer", "description": "Documents that match, also those over the limit"},
                    searched={"type": "integer", "description": "Documents that were looked at"},
                ),
                "annotations": read_only,
            },
        ),
    ]


def make_server(documents: Path | None) -> Server:
    """`documents` is the folder that context_search looks in, None for none."""
    tools = make_tools(documents)

    def info() -> str:
        return json.dumps(
            {
                "name": NAME,
                "version": VERSION,
                "protocolVersions": [*stdio.MODERN_VERSIONS, *stdio.HANDSHAKE_VERSIONS],
                "documents": None if documents is None else sum(1 for _ in list_documents(documents)),
            },
            indent=2,
        )

    def available() -> str:
        shown = [{name: tool.definition[name] for name in ("name", "description")} for tool in tools]
        return json.dumps(shown, indent=2)

    def resource(name: str, description: str) -> dict[str, JSON]:
        return {"uri": f"context://{name}", "name": name, "description": description, "mimeType": "application/json"}

    resources = (
        Resource(info, resource("server-info", "What this server is")),
        Resource(available, resource("available-tools", "The tools of this server")),
    )
    return Server(NAME, VERSION, tools, resources)


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
    return stdio.serve(make_server(documents or default_documents()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
