"""What travels between two agents with a request for a tool or an MCP server, so that it is answered there as here.

Beside the arguments that is ``mcp``, an object of these members, each of which may be missing: ``progress`` and
``ask`` say that the caller hears progress and can be asked, ``log`` is the least level of log messages that it wants,
``capabilities`` are those of whoever can be asked, ``input`` is what was asked for before, ``takes_input_requests``
says that a result may ask for input, ``meta`` is passed on as it is, ``session`` tells callers apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, Ask, CallContext
from praxis.peers.request import Emit, PeerRequest

PROGRESS, LOG = "notifications/progress", "notifications/message"
ASKED = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
"""What may be asked of a caller; everything else is no question of MCP's."""
MAX_SESSION = 128
"""Characters of a session's name."""


def encode_context(context: CallContext) -> dict[str, JSON]:
    """What the other agent has to know; {} for a caller that wants nothing but the result."""
    said: dict[str, JSON] = {}
    if context.on_progress is not None:
        said["progress"] = True
    if context.on_log is not None and context.log_level is not None:
        said["log"] = context.log_level
    if context.ask is not None:
        said["ask"] = True
    if context.capabilities:
        said["capabilities"] = dict(context.capabilities)
    if context.input is not None:
        said["input"] = dict(context.input)
    if context.takes_input_requests:
        said["takes_input_requests"] = True
    if context.meta:
        said["meta"] = dict(context.meta)
    if context.session:
        said["session"] = context.session
    return said


def hearer(context: CallContext) -> Emit | None:
    """Takes the events of a call for a caller; None when it wants none."""
    if context.on_progress is None and context.on_log is None:
        return None

    def hear(method: str, params: Mapping[str, JSON]) -> None:
        if method == PROGRESS and context.on_progress is not None:
            context.on_progress(params)
        elif method == LOG and context.on_log is not None:
            context.on_log(params)

    return hear


def decode_context(value: Any, request: PeerRequest, *, run_id: str | None = None) -> CallContext:
    """The caller of a peer's request, as tools and servers here get to see it. Raises PraxisError("invalid")."""
    said = _object(value, "params.mcp")
    level, session = said.get("log"), said.get("session", "")
    if not (level is None or isinstance(level, str)):
        raise PraxisError("invalid", "expected a text", where="params.mcp.log")
    if not isinstance(session, str) or len(session) > MAX_SESSION:
        raise PraxisError("invalid", f"expected a text of at most {MAX_SESSION}", where="params.mcp.session")
    given = said.get("input")
    return CallContext(
        caller=request.peer_name,
        run_id=run_id,
        on_progress=(lambda params: request.emit(PROGRESS, params)) if said.get("progress") is True else None,
        on_log=(lambda params: request.emit(LOG, params)) if level is not None else None,
        log_level=level,
        ask=request.ask if said.get("ask") is True else None,
        capabilities=_object(said.get("capabilities"), "params.mcp.capabilities"),
        input=None if given is None else _object(given, "params.mcp.input"),
        takes_input_requests=said.get("takes_input_requests") is True,
        meta=_object(said.get("meta"), "params.mcp.meta"),
        session=f"{request.peer}/{session}" if session else "",
    )


async def answer_question(request: PeerRequest) -> Mapping[str, JSON]:
    """``mcp.ask``: a peer that works on a call of ours asks whoever made it. Raises PraxisError."""
    params = _object(request.params, "params")
    method = params.get("method")
    if method not in ASKED:
        raise PraxisError("invalid", "that is nothing to ask a caller", where="params.method")
    ask: Ask | None = request.asker(params.get("call"))
    if ask is None:
        raise PraxisError("denied", "nobody can be asked about this call")
    return await ask(method, _object(params.get("params"), "params.params"))


def _object(value: Any, where: str) -> dict[str, JSON]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PraxisError("invalid", "expected an object", where=where)
    return value
