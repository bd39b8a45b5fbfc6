"""The sessions of the handshake era over HTTP: bounded, expiring, and each one caller's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import trio

from praxis.access.principal import Principal
from praxis.gateway.session import Session
from praxis.model.errors import PraxisError
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService
from praxis.wire.mcp_legacy import Hello

MAX_SESSIONS = 1000
"""Sessions at once, about 5 KB each: far more than people and programs at one agent, and no attack on its memory."""
IDLE = 3600.0
"""Seconds after which a session that nobody has used is over: a client makes a new one without being noticed."""


class Sessions:
    """Sessions by id. `clock` only grows, in seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._sessions: dict[tuple[str, str], Session] = {}  # the least recently used first
        self._refused = metrics.counter("praxis_mcp_sessions_refused_total", "Sessions refused: all were busy.")
        self._ended = metrics.counter("praxis_mcp_sessions_ended_total", "Sessions that ended, and why.", ("reason",))
        metrics.gauge("praxis_mcp_sessions", "Sessions of MCP clients.", lambda: float(len(self._sessions)))

    def open(self, service: McpService, principal: Principal, place: str, hello: Hello) -> Session:
        """A new session. Over the bound the one that has been idle for longest makes room.

        Raises PraxisError("busy") when none is idle.
        """
        self._expire()
        if len(self._sessions) >= MAX_SESSIONS:
            idle = next((key for key, session in self._sessions.items() if not session.busy), None)
            if idle is None:
                self._refused.inc()
                raise PraxisError("busy", f"{MAX_SESSIONS} sessions are in use", hint="try again later")
            self._end(idle, "bound")
        session = Session(service, principal, hello, secrets.token_urlsafe(24))
        session.used = self._clock()
        self._sessions[session.id, _owner(principal, place)] = session
        return session

    def get(self, id: str, principal: Principal, place: str) -> Session | None:
        """The session of this id, if it is this caller's, at this place, and has not expired."""
        key = (id, _owner(principal, place))
        session = self._sessions.pop(key, None)
        if session is None:
            return None
        self._sessions[key] = session
        if self._expired(session):
            self._end(key, "idle")
            return None
        session.used = self._clock()
        return session

    def close(self, session: Session, principal: Principal, place: str) -> None:
        """End a session: everything of it that is under way is cancelled."""
        self._end((session.id, _owner(principal, place)), "closed")

    def end_general(self) -> None:
        """End the streams on which clients wait for what belongs to no request: nothing more comes."""
        for session in self._sessions.values():
            session.general.end()

    def _expired(self, session: Session) -> bool:
        return not session.busy and self._clock() - session.used >= IDLE

    def _expire(self) -> None:
        """End what has expired: it stands first, and what has not expired ends the search."""
        for key, session in list(self._sessions.items()):
            if session.busy:
                continue
            if not self._expired(session):
                break
            self._end(key, "idle")

    def _end(self, key: tuple[str, str], reason: str) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.close()
            self._ended.inc(1, reason)


def _owner(principal: Principal, place: str) -> str:
    return f"{principal.kind}:{principal.name}\n{place}"
