"""``requestState``: what a server gives a caller to bring back with the answers that it has asked for.

Whoever brings it back may have made it up, so it is sealed: with a key of this agent, for one principal, one request
and some minutes. It is not secret. The form is ``base64url(JSON).base64url(HMAC-SHA-256)``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.wire import jsonrpc
from praxis.wire.mcp_server import refusal

MAX_STATE = 64 * 1024
"""Characters of a sealed state: ten times what servers are known to put in, and no room for their results."""


def seal(value: Mapping[str, JSON], *, key: bytes, bound: bytes, until: float) -> str:
    """A text that only :func:`unseal` with the same `key` and `bound` takes, and only before `until`.

    `until` is in seconds of whatever clock; `bound` comes from :func:`binding`. Raises PraxisError for a value that is
    too large.
    """
    body = _encode(json.dumps({"v": value, "t": until}, separators=(",", ":")).encode())
    text = f"{body}.{_encode(_digest(key, bound, body))}"
    if len(text) > MAX_STATE:
        raise PraxisError("too_large", f"a state of {len(text)} characters; {MAX_STATE} are carried")
    return text


def unseal(text: str, *, key: bytes, bound: bytes, now: float) -> Mapping[str, JSON]:
    """What was sealed. Raises the refusal (-32602), which tells a stranger nothing, its owner that it is too old."""
    body, dot, proof = text.partition(".")
    if len(text) > MAX_STATE or not dot or not text.isascii():
        raise _bad()
    if not hmac.compare_digest(_encode(_digest(key, bound, body)), proof):
        raise _bad()
    try:
        value = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError) as error:
        raise _bad() from error
    if now >= value["t"]:
        raise refusal(jsonrpc.INVALID_PARAMS, "requestState is too old; make the request anew")
    given: Mapping[str, JSON] = value["v"]
    return given


def binding(*parts: str, params: Mapping[str, JSON]) -> bytes:
    """What a state belongs to: who asked, where, which method, and with which params."""
    text = json.dumps([parts, params], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _digest(key: bytes, bound: bytes, body: str) -> bytes:
    return hmac.digest(key, bound + body.encode(), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bad() -> PraxisError:
    return refusal(jsonrpc.INVALID_PARAMS, "requestState is not one that this server gave for this request")
