"""How a connection with an MCP server ended, or did not begin, in words."""

from __future__ import annotations

import signal
from contextlib import suppress

from praxis.model.errors import PraxisError


def is_other_transport(error: PraxisError) -> bool:
    """Whether a server refuses a handshake in a way that one does which only knows HTTP+SSE."""
    return error.data.get("http") in (400, 404, 405) and "jsonrpc" not in error.data


def describe_exit(status: int | None, is_program: bool) -> str:
    if status is None:
        return "it closed its standard output" if is_program else "it closed the connection"
    if status > 128:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(status - 128).name}"
    return f"it exited with status {status}"


def describe_outage(error: BaseException) -> str:
    """All leaves of a group on one line, each once."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(describe_outage(leaf) for leaf in error.exceptions))
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"{reason}: {error.filename}" if error.filename else reason
    return f"{type(error).__name__}: {error}"
