"""The sources of this agent's own tools: how they are, and the MCP servers among them to be managed.

Not below /mcp, where every path is an MCP endpoint.
"""

from __future__ import annotations

from typing import Any

import attrs

from praxis.api.route import Answer, Call, Route, object_schema
from praxis.api.services import Services
from praxis.config.entries import entry_schema
from praxis.model.errors import PraxisError
from praxis.tools.source import SourceState


def routes(services: Services) -> list[Route]:
    servers = services.servers

    def find(name: str) -> SourceState:
        found = [source for source in services.sources() if source.name == name]
        if not found:
            raise PraxisError("not_found", f"there is no source {name[:64]!r}", hint="GET /sources lists them")
        return found[0]

    async def every(call: Call) -> Answer:
        return Answer.of({"sources": [source_json(source) for source in services.sources()]})

    async def one(call: Call) -> Answer:
        return Answer.of(source_json(find(call.path["name"])))

    async def add(call: Call) -> Answer:
        kept = await servers.add(call.body, call.caller)
        return Answer.of({"kept": kept, "source": source_json(find(call.body["name"]))})

    async def remove(call: Call) -> Answer:
        name = call.path["name"]
        return Answer.of({"name": name, "kept": await servers.remove(name, call.caller)})

    async def restart(call: Call) -> Answer:
        servers.restart(call.path["name"], call.caller)
        return Answer.of(source_json(find(call.path["name"])))

    async def approve(call: Call) -> Answer:
        return Answer.of({"approved": [*servers.approve(call.path["name"], call.body.get("tool"), call.caller)]})

    async def logs(call: Call) -> Answer:
        return Answer.of({"lines": servers.said(call.path["name"])})

    async def entry(call: Call) -> Answer:
        return Answer.of(servers.entry(call.path["name"]))

    kept = "`kept` says whether that outlasts a restart."
    return [
        Route("GET", "/sources", "The sources of this agent's own tools, with their last words.", every),
        Route("GET", "/sources/{name}", "One of them.", one),
        Route(
            "POST",
            "/sources",
            f"Start an MCP server, given as an entry of `mcp.servers`. One that is a program is code that runs. {kept}",
            add,
            action="admin",
            schema=entry_schema(),
            statuses={409: "a source has this name"},
        ),
        Route("DELETE", "/sources/{name}", f"End an MCP server and forget it. {kept}", remove, action="admin"),
        Route("POST", "/sources/{name}/restart", "End an MCP server and start it again.", restart, action="admin"),
        Route(
            "POST",
            "/sources/{name}/approve",
            "Let tools whose definitions changed be what they are now: the one that is named, or all.",
            approve,
            action="admin",
            schema=object_schema(tool={"type": "string"}),
        ),
        Route("GET", "/sources/{name}/logs", "The last of what an MCP server said, and of what became of it.", logs),
        Route(
            "GET",
            "/sources/{name}/entry",
            "An MCP server as an entry of `mcp.servers`. Secrets are references, or `***`.",
            entry,
            action="admin",
        ),
    ]


def source_json(source: SourceState) -> dict[str, Any]:
    """A source at one moment."""
    return attrs.asdict(source)
