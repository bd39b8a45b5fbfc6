"""Peers, cards and tools: what this agent knows of the network."""

from __future__ import annotations

from typing import Any

import attrs

from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services
from praxis.model.card import AgentCard
from praxis.model.tool import Tool


def routes(services: Services) -> list[Route]:
    async def peers(call: Call) -> Answer:
        return Answer.of(
            {"peers": [attrs.asdict(view) | {"connected": view.connected} for view in services.peers.views()]}
        )

    async def ping(call: Call) -> Answer:
        peer_id, seconds = await services.network.ping(call.path["peer"])
        return Answer.of({"id": peer_id, "rtt_ms": round(seconds * 1000, 3)})

    async def forget(call: Call) -> Answer:
        return Answer.of({"id": services.network.forget(call.path["peer"])})

    async def cards(call: Call) -> Answer:
        return Answer.of({"cards": {id: card_json(card) for id, card in services.peers.cards().items()}})

    async def info(call: Call) -> Answer:
        return Answer.of(services.info())

    async def card(call: Call) -> Answer:
        return Answer.of(card_json(services.card()))

    async def tools(call: Call) -> Answer:
        return Answer.of({"tools": [tool_json(tool) for tool in services.executor.catalog()]})

    return [
        Route("GET", "/peers", "The peers that this agent knows.", peers),
        Route(
            "POST",
            "/peers/{peer}/ping",
            "The time to a peer, by id or name, and back; makes a line to it if there is none.",
            ping,
            action="run",
        ),
        Route(
            "DELETE",
            "/peers/{peer}",
            "Forget a peer, by id or name, until it is heard of again.",
            forget,
            action="admin",
            statuses={409: "it is connected"},
        ),
        Route("GET", "/p2p/cards", "The cards of connected peers, by peer id.", cards),
        Route("GET", "/p2p/info", "This agent's id, addresses and protocol.", info),
        Route("GET", "/agent/card", "This agent's card, as it gives it to its peers.", card),
        Route("GET", "/tools", "Every tool that this agent can reach.", tools),
        Route("GET", "/mcp/tools", "Every tool that this agent can reach.", tools),
    ]


def card_json(card: AgentCard) -> dict[str, Any]:
    """An agent card."""
    return attrs.asdict(card)


def tool_json(tool: Tool) -> dict[str, Any]:
    """A tool's definition as its source gave it, and whose it is."""
    return {**tool.definition, "agent": tool.agent, "source": tool.source, "ref": str(tool.ref)}
