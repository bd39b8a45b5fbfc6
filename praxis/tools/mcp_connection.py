"""A connection with an MCP server, whatever carries it: what it gives, what it needs, and the errors of its calls."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import attrs
import trio

from praxis.model.errors import Code, PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.wire import jsonrpc, mcp
from praxis.wire.mcp import ClientSession
from praxis.wire.mcp_eras import LOG_LEVELS, RESOURCE_NOT_FOUND

logger = logging.getLogger(__name__)

ASK_LIMIT = 600.0
"""Seconds that whoever is asked may take: a person who has to read and decide."""


@attrs.frozen
class Upward:
    """What a connection calls. Nothing of it may block, but for `answer`, and none of it raises but PraxisError."""

    on_notice: Callable[[str, Mapping[str, JSON]], None]
    """A notification's method and params, that of changes."""
    on_text: Callable[[str, str], None]
    """A level or "noise", and the server's words as they came."""
    answer: Callable[[str, Mapping[str, JSON], CallContext], Awaitable[Mapping[str, JSON]]]
    """Answer what the server asks (method, params) during a call, of whoever made it."""
    on_renewed: Callable[[], None] = lambda: None
    """There is a new session in place of one that the server has lost: what was set up in it is to be set up again."""


class Connection(Protocol):
    """`run` carries it until it is over; any task may call `request` meanwhile.

    Attributes:
        session: numbers, eras and their bookkeeping.
        places: for how many calls there is room.
        open: whether requests can be made.
        silence_is_legacy: whether no answer at all says that a server is of the handshake era. Over a network it may
            mean anything.
    """

    session: ClientSession
    places: Places
    open: bool
    silence_is_legacy: bool

    async def run(self) -> str:
        """Carry messages until the connection is over, and say why it is, "" when the server just ended it.

        Calls still wait then: see `fail_calls`.
        """
        ...

    def hang_up(self, reason: str, *, patience: float = 0.0) -> None:
        """End the connection, after at most `patience` seconds of reading on. The first reason counts."""
        ...

    def fail_calls(self, detail: str, data: dict[str, JSON]) -> None:
        """Raise PraxisError("unavailable") in every call that waits. `detail` goes on from the server's name."""
        ...

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        what: str,
        timeout: float,
        context: CallContext | None = None,
        meta: Mapping[str, JSON] | None = None,
    ) -> JSON:
        """The result of a request. `context` is whose call it is; None for requests of our own. One without a limit
        (``math.inf``) is a stream and takes no place of other calls.

        Raises PraxisError: `invalid` and `not_found` when the server says so, `internal` for its other errors (with
        its code in `data["jsonrpc"]`), `timeout` after `timeout` seconds, `too_large`, and `unavailable` when the
        connection ends. `delivered` tells whether the server may have acted on it.
        """
        ...

    async def notify(self, line: bytes) -> None:
        """Send a notification. Raises nothing: what is broken shows elsewhere."""
        ...


class Places:
    """How many calls there may be at once; who comes later waits, in the order of coming. Free ones cost nothing."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._queue = trio.lowlevel.ParkingLot()

    def take_free(self) -> bool:
        """Take a place if there is one; whether there was."""
        if self._free > 0 and not self._queue:
            self._free -= 1
            return True
        return False

    async def take(self) -> None:
        if not self.take_free():
            await self._queue.park()  # whoever leaves gives its place on

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._queue)

    def leave(self) -> None:
        if not self._queue.unpark():
            self._free += 1


def tell_progress(server: str, what: str, context: CallContext, params: Mapping[str, JSON]) -> CallContext:
    """Pass progress on. A callback that fails harms nobody: the context that comes back does without."""
    if context.on_progress is not None:
        try:
            context.on_progress(params)
        except Exception:
            logger.exception("MCP server %s: progress of %s could not be passed on", server, what)
            return attrs.evolve(context, on_progress=None)
    return context


def tell_log(server: str, context: CallContext, logged: mcp.Logged) -> None:
    """Pass a log message on to the call that it belongs to, if its level is wanted there."""
    if context.on_log is None:
        return
    wanted, level = context.log_level, logged.level
    if wanted in LOG_LEVELS and level in LOG_LEVELS and LOG_LEVELS.index(level) < LOG_LEVELS.index(wanted):
        return
    try:
        context.on_log(logged.params)
    except Exception:
        logger.exception("MCP server %s: a log message could not be passed on", server)


async def answer_line(session: ClientSession, asked: mcp.Asked, context: CallContext, upward: Upward) -> bytes:
    """Have a server's request answered: the line with the answer, or with the reason why there is none."""
    error = PraxisError("timeout", f"nobody answered within {ASK_LIMIT:g} s")
    with trio.move_on_after(ASK_LIMIT):
        try:
            return jsonrpc.response(asked.id, await upward.answer(asked.method, asked.params, context))
        except PraxisError as refusal:
            error = refusal
        except (ValueError, TypeError):
            error = PraxisError("internal", "the answer was no JSON")
    given = error.data.get("jsonrpc")
    if isinstance(given, dict) and type(given.get("code")) is int:
        line = jsonrpc.error_response(asked.id, given["code"], str(given.get("message")), given.get("data"))
    else:
        line = session.refuse(asked, jsonrpc.INTERNAL_ERROR, str(error))
    return line


def refusal(what: str, code: int, message: str, data: JSON) -> PraxisError:
    """A server's error in our words. It did get the call, so it may have acted on it."""
    codes: dict[int, Code] = {
        jsonrpc.INVALID_PARAMS: "invalid",
        jsonrpc.METHOD_NOT_FOUND: "not_found",
        RESOURCE_NOT_FOUND: "not_found",
    }
    given: dict[str, JSON] = {"code": code, "message": message}
    if data is not None:
        given["data"] = data
    detail = f"{what}: the server refuses: {mcp.show(message) or 'no reason given'} ({code})"
    return PraxisError(codes.get(code, "internal"), detail, delivered=True, data={"jsonrpc": given})


def too_large(what: str, size: int) -> PraxisError:
    return PraxisError(
        "too_large",
        f"{what}: its answer of {size} bytes is over the limit",
        hint="mcp.limits.max_response_size_bytes",
        delivered=True,
    )


def outcome(what: str, happening: mcp.Happening) -> PraxisError | None:
    """The error that an answer other than a result means; None when it is no such answer."""
    match happening:
        case mcp.Refused(_, code, message, data):
            return refusal(what, code, message, data)
        case mcp.TooLong(_, size):
            return too_large(what, size)
        case mcp.Garbled(_, problem):
            return PraxisError("internal", f"{what}: its answer was {problem}", delivered=True)
    return None


_SESSION_LOST = re.compile(
    r"session.{0,40}(not found|expired|invalid|unknown|terminated|does not exist)"
    r"|(no valid|invalid|unknown|expired|missing).{0,20}session",
    re.IGNORECASE | re.DOTALL,
)


def says_session_lost(text: str) -> bool:
    """Whether a server's words mean that it no longer knows the session: not all of them say so with 404."""
    return _SESSION_LOST.search(text[:1000]) is not None
