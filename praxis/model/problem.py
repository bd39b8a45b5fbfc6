"""An error as every HTTP answer shows it: a problem (RFC 9457)."""

from __future__ import annotations

import json
from typing import Any

from praxis.model.errors import Code, PraxisError

CONTENT_TYPE = "application/problem+json"
TITLES: dict[Code, str] = {
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
