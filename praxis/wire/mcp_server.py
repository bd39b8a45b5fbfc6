"""What a server of MCP answers with, in either era: which era a request is of, errors and their HTTP status, and the
members that results need or must not have.

Results inside the house have the form of 2026-07-28; those that go out are made complete for a caller of that
revision, and freed of what was unknown before it for all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from praxis.model.errors import Code, PraxisError
from praxis.model.tool import JSON
from praxis.wire import jsonrpc
from praxis.wire.mcp_eras import (
    CACHEABLE,
    HANDSHAKE_VERSIONS,
    HEADER_MISMATCH,
    LISTS,
    META_SERVER,
    META_VERSION,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
)

Era = Literal["legacy", "modern"]

SERVED = LISTS | {"tools/call", "resources/read", "prompts/get", "completion/complete"}
"""Requests that a service answers itself; all others are about the connection."""
EMPTY_LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
"""The list in each answer that is one."""
CAPABILITY = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resources",
    "prompts/list": "prompts",
}
"""What a server says that it can, when it has such a list."""
ASKABLE = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""What a client may be asked, and the capability by which it says that it answers."""

_STATUS = {
    jsonrpc.PARSE_ERROR: 400,
    jsonrpc.INVALID_REQUEST: 400,
    jsonrpc.INVALID_PARAMS: 400,
    jsonrpc.METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}
_CODES: Mapping[Code, int] = {
    "invalid": jsonrpc.INVALID_PARAMS,
    "syntax": jsonrpc.INVALID_PARAMS,
    "not_found": jsonrpc.INVALID_PARAMS,
    "ambiguous": jsonrpc.INVALID_PARAMS,
    "too_large": jsonrpc.INVALID_PARAMS,
}


def era_of(version_header: str | None, params: Mapping[str, JSON]) -> Era:
    """Which era a request is of, by its header ``MCP-Protocol-Version`` (None without one, as on stdio) and params.

    A version that nobody knows is newer than the handshake: its answer lists those that are spoken here.
    """
    if version_header is not None:
        return "legacy" if version_header in HANDSHAKE_VERSIONS else "modern"
    meta = params.get("_meta")
    return "modern" if isinstance(meta, Mapping) and META_VERSION in meta else "legacy"


def refusal(code: int, message: str, data: JSON = None) -> PraxisError:
    """A JSON-RPC error that goes to the caller as it is."""
    error: dict[str, JSON] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return PraxisError("invalid", message, data={"jsonrpc": error})


def missing_capability(capability: str) -> PraxisError:
    """The caller would have to be asked for something that it has not said it can do."""
    return refusal(
        MISSING_CAPABILITY,
        f"this needs a client with the capability {capability!r}",
        {"requiredCapabilities": {capability: {}}},
    )


def error_of(error: PraxisError) -> dict[str, JSON]:
    """An error as JSON-RPC has it: that of a server's own where there is one, else made of ours."""
    own = error.data.get("jsonrpc")
    if isinstance(own, Mapping) and type(own.get("code")) is int:
        return dict(own) | {"message": str(own.get("message") or "")}
    data: dict[str, JSON] = {"code": error.code}
    data |= {key: value for key, value in (("hint", error.hint), ("where", error.where)) if value}
    return {"code": _CODES.get(error.code, jsonrpc.INTERNAL_ERROR), "message": error.detail, "data": data}


def http_status(error: Mapping[str, JSON] | None) -> int:
    """The status of a modern answer that is this error, or a result."""
    return 200 if error is None else _STATUS.get(error["code"], 200)


def complete(method: str, result: Mapping[str, JSON], info: Mapping[str, JSON]) -> dict[str, JSON]:
    """A result for a caller of 2026-07-28: with ``resultType``, how long it may be kept, and who answered."""
    full: dict[str, JSON] = {"resultType": "complete", **result}
    if method in CACHEABLE and full["resultType"] == "complete":
        full.setdefault("ttlMs", 0)
        full.setdefault("cacheScope", "private")
    meta = full.get("_meta")
    full["_meta"] = {**(meta if isinstance(meta, Mapping) else {}), META_SERVER: info}
    return full


def reduce(result: Mapping[str, JSON]) -> dict[str, JSON]:
    """A result for a caller of the handshake era, which does not know what :func:`complete` adds."""
    plain = {key: value for key, value in result.items() if key not in ("resultType", "ttlMs", "cacheScope")}
    meta = plain.get("_meta")
    if isinstance(meta, Mapping) and META_SERVER in meta:
        plain["_meta"] = {key: value for key, value in meta.items() if key != META_SERVER}
    return plain


def asks_for_input(result: Mapping[str, JSON]) -> bool:
    """Whether a result is no answer yet but asks the caller for something."""
    return result.get("resultType") == "input_required"


def check_questions(questions: Mapping[str, JSON], capabilities: Mapping[str, JSON]) -> None:
    """That ``inputRequests`` hold nothing but what the caller can answer. Raises PraxisError."""
    for key, question in questions.items():
        method = question.get("method") if isinstance(question, Mapping) else None
        capability = ASKABLE.get(method) if isinstance(method, str) else None
        if capability is None:
            raise PraxisError(
                "unavailable", f"the server asks for {str(method)[:80]!r} in {key[:80]!r}, which is nothing"
            )
        if capability not in capabilities:
            raise missing_capability(capability)
