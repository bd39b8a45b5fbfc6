"""Finding out which era a server is of, and beginning a session in it (design: `praxis.wire.mcp_probe`)."""

from __future__ import annotations

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.mcp_connection import Connection
from praxis.wire.mcp import ServerHello
from praxis.wire.mcp_eras import LATEST_MODERN, UNSUPPORTED_VERSION
from praxis.wire.mcp_probe import PROBE_LIMIT, Again, Legacy, Verdict, is_modern_error, judge_answer, judge_refusal

NO_VERDICT = frozenset({401, 403, 407, 408, 429})
"""Statuses below 500 that say something of the caller or the moment, and nothing of the era."""


async def open_session(connection: Connection, protocol: str, hint: str, *, timeout: float) -> ServerHello:
    """Begin a session; `protocol` is as configured, `hint` the era that was found before, or "".

    Raises PraxisError, also when there is no common version of the protocol.
    """
    if protocol == "legacy" or (protocol == "auto" and hint == "legacy"):
        return await initialize(connection, timeout=timeout)
    patience = timeout if protocol == "modern" else PROBE_LIMIT
    verdict = await _discover(connection, LATEST_MODERN, patience)
    if isinstance(verdict, Again):
        verdict = await _discover(connection, verdict.version, patience)
    if isinstance(verdict, ServerHello):
        connection.session.speak(verdict.protocol)
        return verdict
    reason = verdict.reason if isinstance(verdict, Legacy) else "it refuses the version that it offers"
    if protocol == "modern" or isinstance(verdict, Again):
        raise PraxisError("unavailable", reason, hint="mcp.servers[].protocol: auto also tries the handshake")
    connection.session.speak("")
    return await initialize(connection, timeout=timeout)


async def initialize(connection: Connection, *, timeout: float) -> ServerHello:
    """The handshake. Raises PraxisError, also when there is no common version of the protocol."""
    session = connection.session
    result = await connection.request("initialize", session.initialize_params(), what="initialize", timeout=timeout)
    hello, line = session.initialized(result)
    await connection.notify(line)
    return hello


async def _discover(connection: Connection, version: str, patience: float) -> Verdict:
    connection.session.speak(version)
    try:
        result: JSON = await connection.request("server/discover", {}, what="server/discover", timeout=patience)
    except PraxisError as error:
        return _judge_error(connection, error, version)
    return judge_answer(result, version)


def _judge_error(connection: Connection, error: PraxisError, version: str) -> Verdict:
    given = error.data.get("jsonrpc") or {}
    status = error.data.get("http", 200)
    code = given.get("code")
    if code is not None and is_modern_error(code):
        if code != UNSUPPORTED_VERSION:
            raise error
        return judge_refusal(code, given.get("data"), version)
    if status in NO_VERDICT or status >= 500 or not connection.open:
        raise error
    if code is not None:
        return judge_refusal(code, given.get("data"), version)
    silent = error.code == "timeout" and connection.silence_is_legacy
    if status >= 400 or silent or error.code in ("internal", "too_large"):
        return Legacy(error.detail)
    raise error
