"""What goes with a problem (RFC 9457) beside its body."""

from __future__ import annotations

from praxis.model.errors import Code, PraxisError
from praxis.model.problem import CONTENT_TYPE

STATUS: dict[Code, int] = {
    "invalid": 400,
    "syntax": 400,
    "not_found": 404,
    "ambiguous": 409,
    "unauthenticated": 401,
    "denied": 403,
    "conflict": 409,
    "busy": 429,
    "too_large": 413,
    "timeout": 504,
    "cancelled": 409,
    "unavailable": 502,
    "internal": 500,
}


def status_of(error: PraxisError) -> int:
    """The HTTP status; an entrance may have chosen another one, in `data`."""
    chosen = error.data.get("status")
    return chosen if error.code == "denied" and isinstance(chosen, int) else STATUS[error.code]


def problem_headers(error: PraxisError, status: int) -> dict[str, str]:
    """What goes with a problem beside its body."""
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.code == "busy":
        headers["Retry-After"] = "1"
    return headers
