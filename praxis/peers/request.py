"""The two sides of a request on a line: what a peer asks of us, and what we wait for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from praxis.model.peer import PeerId
from praxis.model.tool import Ask
from praxis.net.pending import Pending

Emit = Callable[[str, Mapping[str, Any]], None]
"""Takes what an EVENT says: the method of an MCP notification, and its params."""


@attrs.frozen
class PeerRequest:
    """What a peer asks of us."""

    peer: PeerId
    peer_name: str
    method: str
    params: Any
    trace: str | None
    emit: Emit
    """Tells the caller how it goes; never blocks."""
    ask: Ask
    """Asks the caller, who answers as part of this request (``mcp.ask``). Raises PraxisError."""
    asker: Callable[[Any], Ask | None]
    """What answers questions about a request of ours on this line, by the number of its stream."""


Handler = Callable[[PeerRequest], Awaitable[Any]]
"""Answers a request with a JSON value or raises PraxisError; is cancelled with the request."""


@attrs.define
class Serving:
    """A request of the peer that is being served."""

    method: str
    scope: trio.CancelScope
    cancelled: bool = False


def hear(on_event: Emit, value: Any) -> None:
    """Pass an EVENT on, unless it is none: peers of later versions may say more."""
    match value:
        case {"m": str(method), "p": dict(params)}:
            on_event(method, params)


class Requested(Pending):
    """A request of ours that waits for the peer's answer."""

    __slots__ = ("mark", "on_ask", "on_event")

    def __init__(self, mark: int, on_event: Emit | None, on_ask: Ask | None) -> None:
        super().__init__()
        self.mark = mark
        """How much had been queued on the line before the request."""
        self.on_event = on_event
        self.on_ask = on_ask
