"""What a session says has come in."""

from __future__ import annotations

from typing import Any, NamedTuple

from praxis.model.errors import PraxisError
from praxis.wire.messages import Hello


class HelloReceived(NamedTuple):
    hello: Hello
    version: int


class RequestReceived(NamedTuple):
    stream: int
    method: str
    params: Any
    remaining: float | None
    """Seconds until the caller's deadline."""
    trace: str | None


class ResponseReceived(NamedTuple):
    stream: int
    value: Any
    error: PraxisError | None


class EventReceived(NamedTuple):
    stream: int
    """0 for what belongs to no request."""
    value: Any


class CancelReceived(NamedTuple):
    stream: int


class PongReceived(NamedTuple):
    payload: bytes


class GoawayReceived(NamedTuple):
    reason: str
    redial: bool


SessionEvent = (
    HelloReceived | RequestReceived | ResponseReceived | EventReceived | CancelReceived | PongReceived | GoawayReceived
)
