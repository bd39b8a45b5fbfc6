"""What a refusal of a model's server means for whoever asked, and when to try again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from praxis.config.schema import Llm
from praxis.llm.dialect import ServerError
from praxis.model.errors import Code, PraxisError

GIVEN_UP = frozenset({"insufficient_quota"})
"""What a server says with a status of a moment, and means for good."""
_HINTS: Mapping[int, str] = {
    401: "llm.api_key, or OPENAI_API_KEY, has to be a key of this server",
    403: "the key is known there, and may not use this model",
    404: "llm.base_url may lead to another path, and llm.model may have another name there",
    429: "try again later",
}


def is_for_a_moment(said: ServerError) -> bool:
    """Whether the same request may well be taken a little later."""
    return (said.status in (408, 429) or said.status >= 500) and said.code not in GIVEN_UP


def refused(config: Llm, said: ServerError) -> PraxisError:
    """The error for a status of 300 or more."""
    status = said.status
    code: Code = "unavailable"
    if status == 429 and said.code not in GIVEN_UP:
        code = "busy"
    elif status == 413 or said.code == "context_length_exceeded":
        code = "too_large"
    # Who is not let in is told so with a part of the key: these words are not shown.
    words = f": {said.message}" if said.message and status not in (401, 403) else ""
    what = "does not accept the API key" if status == 401 else "refuses the request"
    if status >= 500:
        what = "has trouble"
    return PraxisError(
        code,
        f"the model at {config.shown} {what} (HTTP status {status}){words}",
        hint=_HINTS.get(status, "") if code != "too_large" else "fewer words, or a model with more room",
        data={"http": status},
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that ``Retry-After`` asks for, by a number or by a date; `now` in seconds since the epoch."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, at.timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
