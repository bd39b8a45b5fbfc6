"""Calls that wait for an answer of an MCP server, and the server's own questions during them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import trio

from praxis.model.tool import CallContext
from praxis.net.pending import Pending
from praxis.tools.mcp_connection import ASK_LIMIT, Upward, answer_line
from praxis.wire import jsonrpc, mcp
from praxis.wire.mcp import ClientSession

MAX_ASKS = 16
"""Questions of one server that wait for an answer; a person has one at a time. More are refused."""


class Call(Pending, ABC):
    """One request. `what` names it in errors, `timeout` is its time limit, `asks` what the server asks during it."""

    __slots__ = ("asks", "context", "timeout", "what")

    def __init__(self, what: str, context: CallContext | None, timeout: float) -> None:
        super().__init__()
        self.what = what
        self.context = context
        self.timeout = timeout
        self.asks: list[trio.CancelScope] = []

    @abstractmethod
    def end_at(self, deadline: float) -> None:
        """Its time is up then, and not when it was before."""

    def end_asks(self) -> None:
        """The call is over, and so is what the server asks for it."""
        for ask in self.asks:
            ask.cancel()


def find_owner(calls: Iterable[Call]) -> tuple[Call | None, str]:
    """The call that something of the server's belongs to which does not say so, or the reason why nobody can tell:
    it is clear with one call under way, and with several of one session, which have one asker."""
    owners = [call for call in calls if call.context is not None]
    if not owners:
        return None, "no call is under way that it could belong to"
    sessions = {call.context.session for call in owners if call.context is not None}
    if len(owners) > 1 and (len(sessions) > 1 or "" in sessions):
        return None, "calls of several callers are under way, and it does not say which of them it belongs to"
    return owners[-1], ""


class Questions:
    """What a server asks: every question gets an answer, through `send`, which must not block."""

    def __init__(self, session: ClientSession, upward: Upward, send: Callable[[bytes], object]) -> None:
        self._session = session
        self._upward = upward
        self._send = send
        self._waiting = 0

    def ask(self, nursery: trio.Nursery | None, asked: mcp.Asked, owner: Call | None, calls: Iterable[Call]) -> None:
        """Have a question answered by whoever made the call `owner`, or one of `calls` if that is not known."""
        problem = ""
        if owner is None or owner.context is None:
            owner, problem = find_owner(calls)
        if asked.method == "roots/list":  # which is the same for all calls, and asked for before the first
            problem = ""
        if self._waiting >= MAX_ASKS or nursery is None:
            problem = "too many questions at once"
        if problem or nursery is None:
            self._send(self._session.refuse(asked, jsonrpc.INTERNAL_ERROR, problem))
            return
        self._waiting += 1
        nursery.start_soon(self._answer, asked, owner)

    async def _answer(self, asked: mcp.Asked, owner: Call | None) -> None:
        """The call's own time stands still meanwhile; when the call is over, so is the question."""
        line = b""
        context = owner.context if owner is not None and owner.context is not None else CallContext("")
        with trio.CancelScope() as scope:
            if owner is not None:
                owner.asks.append(scope)
                owner.end_at(trio.current_time() + ASK_LIMIT + owner.timeout)
            line = await answer_line(self._session, asked, context, self._upward)
        self._waiting -= 1
        if owner is not None:
            owner.asks.remove(scope)
            if not owner.done and not owner.asks:
                owner.end_at(trio.current_time() + owner.timeout)
        over = "the call that it belongs to is over"
        self._send(line or self._session.refuse(asked, jsonrpc.INTERNAL_ERROR, over))
