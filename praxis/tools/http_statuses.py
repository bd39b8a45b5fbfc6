"""What the status of an HTTP answer means for a call that it refuses."""

from __future__ import annotations

from collections.abc import Mapping

from praxis.model.errors import Code

CODES: Mapping[int, Code] = {
    400: "invalid",
    401: "unauthenticated",
    403: "denied",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "busy",
    503: "busy",
}
