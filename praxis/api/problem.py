"""Errors as RFC 9457 problems."""

from __future__ import annotations

import json
from typing import Any

from praxis.model.errors import Code, PraxisError

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
TITLES = {
    "invalid": "The request cannot be taken as it is",
    "syntax": "The program has a syntax error",
    "not_found": "There is no such thing",
    "ambiguous": "The name has several owners",
    "unauthenticated": "The caller is not known",
    "denied": "The caller may not do this",
    "conflict": "It is too late for this",
    "busy": "Too much is under way",
    "too_large": "It is too large",
    "timeout": "It took too long",
    "cancelled": "It was cancelled",
    "unavailable": "It cannot be reached",
    "internal": "The agent has a bug",
}


def status_of(error: PraxisError) -> int:
    """The HTTP status; an entrance may have chosen another one, in `data`."""
    chosen = error.data.get("status")
    return chosen if error.code == "denied" and isinstance(chosen, int) else STATUS[error.code]


def problem_body(error: PraxisError, status: int) -> bytes:
    """The JSON of a problem: type, title, status, code, detail, and hint, where and data where there are any."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES[error.code],
        "status": status,
        "code": error.code,
        "detail": error.detail,
    }
    for key, value in (("hint", error.hint), ("where", error.where)):
        if value:
            problem[key] = value
    data = {key: value for key, value in error.data.items() if key != "status"}
    if data:
        problem["data"] = data
    return json.dumps(problem, ensure_ascii=False).encode("utf-8", "replace")


def problem_headers(error: PraxisError, status: int) -> dict[str, str]:
    """What goes with a problem beside its body."""
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.code == "busy":
        headers["Retry-After"] = "1"
    return headers
