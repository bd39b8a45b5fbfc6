"""Conversations with the example servers, without a process."""

from __future__ import annotations

import json
from typing import Any

from mcp_servers.stdio import Server

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
"""The `_meta` of a request of 2026-07-28."""


class Talk:
    """A server and what it has written and nobody has taken yet."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.written: list[bytes] = []
        server.write = self.written.append

    def send(self, *messages: Any) -> list[Any]:
        """What these messages, or lines as they are, are answered with at once."""
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        self.server.receive(b"".join(line + b"\n" for line in lines))
        return self.take()

    def take(self) -> list[Any]:
        self.server.flush()
        lines = b"".join(self.written).split(b"\n")
        self.written.clear()
        assert lines.pop() == b"", "a line without its end"
        return [json.loads(line) for line in lines]

    def finish(self) -> list[Any]:
        """What comes until no call is under way any more."""
        while self.server.step():
            pass
        return self.take()

    def ask(self, method: str, params: Any = None, id: Any = 1) -> Any:
        """The result or error that a request is answered with, however long it takes."""
        message = {"jsonrpc": "2.0", "id": id, "method": method, **({} if params is None else {"params": params})}
        [answer] = self.send(message) + self.finish()
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", id)
        return answer.get("result", answer.get("error"))

    def ask_modern(self, method: str, **params: Any) -> Any:
        return self.ask(method, {**params, "_meta": MODERN})

    def call(self, tool: str, /, **arguments: Any) -> Any:
        return self.ask("tools/call", {"name": tool, "arguments": arguments})


def call_of(id: Any, tool: str, /, meta: Any = None, **arguments: Any) -> Any:
    params = {"name": tool, "arguments": arguments, **({} if meta is None else {"_meta": meta})}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def cancel_of(id: Any) -> Any:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}


def text_of(result: Any, *, is_error: bool = False) -> str:
    """The text of a result that has one block."""
    assert result.get("isError") is is_error, result
    [block] = result["content"]
    assert block["type"] == "text"
    return str(block["text"])
