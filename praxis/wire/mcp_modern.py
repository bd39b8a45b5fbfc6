"""A request of MCP 2026-07-28, which stands for itself: what it must bring along, and what is told apart in it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from praxis.model.tool import JSON
from praxis.wire import jsonrpc
from praxis.wire.jsonrpc import Request
from praxis.wire.mcp_eras import (
    LOG_LEVELS,
    META,
    META_CAPABILITIES,
    META_LOG_LEVEL,
    META_SUBSCRIPTION,
    META_VERSION,
    MODERN_VERSIONS,
    RESUMABLE,
    UNSUPPORTED_VERSION,
)
from praxis.wire.mcp_server import SERVED, refusal

DISCOVER, LISTEN = "server/discover", "subscriptions/listen"
METHODS = SERVED | {DISCOVER, LISTEN}

KINDS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
"""What a listener asks for by name, and the notification that it then gets."""
UPDATED = "notifications/resources/updated"


@attrs.frozen
class ModernRequest:
    """A request without what belongs to the way it came: `params` are for the service alone."""

    id: jsonrpc.Id
    method: str
    params: Mapping[str, JSON]
    capabilities: Mapping[str, JSON]
    log_level: str | None = None
    progress_token: JSON = None
    meta: Mapping[str, JSON] = attrs.field(factory=dict)
    responses: Mapping[str, JSON] | None = None
    state: str | None = None
    """``requestState`` as the caller brings it back: not to be trusted before it has been opened."""


def stated_version(params: Mapping[str, JSON]) -> str:
    """The version that a request says it is of. Raises the refusal that the specification asks for."""
    meta = params.get("_meta")
    if not isinstance(meta, Mapping):
        raise _invalid("_meta is missing: it says which version and which client", "params._meta")
    version = meta.get(META_VERSION)
    if not isinstance(version, str):
        raise _invalid(f"{META_VERSION} is missing", f"params._meta.{META_VERSION}")
    return version


def read_request(request: Request) -> ModernRequest:
    """Check a request and take it apart. Raises PraxisError with the JSON-RPC error."""
    params = request.params
    version = stated_version(params)
    if version not in MODERN_VERSIONS:
        raise refusal(
            UNSUPPORTED_VERSION,
            f"version {version[:40]!r} is not spoken here",
            {"supported": list(MODERN_VERSIONS), "requested": version},
        )
    meta = params["_meta"]
    capabilities = meta.get(META_CAPABILITIES)
    if not isinstance(capabilities, Mapping):
        raise _invalid(f"{META_CAPABILITIES} is missing", f"params._meta.{META_CAPABILITIES}")
    if request.method not in METHODS:
        raise refusal(jsonrpc.METHOD_NOT_FOUND, f"there is no method {request.method[:80]!r}")
    level = meta.get(META_LOG_LEVEL)
    if level is not None and level not in LOG_LEVELS:
        raise _invalid(f"{str(level)[:40]!r} is no log level", f"params._meta.{META_LOG_LEVEL}")
    responses, state = params.get("inputResponses"), params.get("requestState")
    if "inputResponses" in params:
        _check_responses(responses)
    if "requestState" in params and not isinstance(state, str):
        raise _invalid("requestState is a string", "params.requestState")
    again = request.method in RESUMABLE
    return ModernRequest(
        id=request.id,
        method=request.method,
        params=own_params(params),
        capabilities=capabilities,
        log_level=level,
        progress_token=progress_token(meta),
        meta=foreign_meta(meta),
        responses=responses if again else None,
        state=state if again else None,
    )


def own_params(params: Mapping[str, JSON]) -> dict[str, JSON]:
    """Params as the service sees them; ``arguments: null``, which some callers send, means none."""
    own = {key: value for key, value in params.items() if key not in ("_meta", "inputResponses", "requestState")}
    if own.get("arguments", own) is None:
        del own["arguments"]
    return own


def progress_token(meta: JSON) -> JSON:
    """The token under which a caller wants to hear of progress; None for none."""
    token = meta.get("progressToken") if isinstance(meta, Mapping) else None
    return token if isinstance(token, (int, str)) and not isinstance(token, bool) else None


def foreign_meta(meta: JSON) -> dict[str, JSON]:
    """What goes on with a call: all but what the two ends of this connection need."""
    if not isinstance(meta, Mapping):
        return {}
    return {key: value for key, value in meta.items() if key != "progressToken" and not key.startswith(META)}


def acknowledgement(id: jsonrpc.Id, honoured: Mapping[str, JSON]) -> dict[str, JSON]:
    """The params of the first message to a listener."""
    return tagged(id, {"notifications": dict(honoured)})


def tagged(id: jsonrpc.Id, params: Mapping[str, JSON]) -> dict[str, JSON]:
    """The params of a notification to the listener that has asked with this id."""
    meta = params.get("_meta")
    return {**params, "_meta": {**(meta if isinstance(meta, Mapping) else {}), META_SUBSCRIPTION: id}}


def wanted_notices(params: Mapping[str, JSON]) -> dict[str, JSON]:
    """What a listener asks for. Raises PraxisError for what cannot be read."""
    given = params.get("notifications")
    if not isinstance(given, Mapping):
        raise _invalid("notifications is missing: it says what to listen for", "params.notifications")
    wanted: dict[str, JSON] = {kind: True for kind in KINDS.values() if given.get(kind) is True}
    uris = given.get("resourceSubscriptions")
    if uris is not None:
        if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
            raise _invalid("resourceSubscriptions is a list of URIs", "params.notifications.resourceSubscriptions")
        if len(uris) > MAX_SUBSCRIPTIONS:
            raise _invalid(f"at most {MAX_SUBSCRIPTIONS} resources", "params.notifications.resourceSubscriptions")
        wanted["resourceSubscriptions"] = list(dict.fromkeys(uris))
    return wanted


MAX_SUBSCRIPTIONS = 1000
"""Resources that one listener may watch: more than a client shows, and a few hundred kilobytes of URIs."""


def is_wanted(method: str, params: Mapping[str, JSON], wanted: Mapping[str, JSON]) -> bool:
    """Whether a listener that asked for `wanted` may get this notification."""
    if method == UPDATED:
        return params.get("uri") in (wanted.get("resourceSubscriptions") or ())
    return wanted.get(KINDS.get(method, "")) is True


def _check_responses(responses: JSON) -> None:
    if not isinstance(responses, Mapping):
        raise _invalid("inputResponses is an object", "params.inputResponses")
    for key, value in responses.items():
        if not isinstance(value, Mapping):
            raise _invalid("each input response is an object", f"params.inputResponses.{key[:80]}")


def _invalid(message: str, where: str) -> Exception:
    return refusal(jsonrpc.INVALID_PARAMS, message, {"where": where})
