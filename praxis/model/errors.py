"""The one error that is meant to be told to whoever caused it.

Everything else that is raised is either an outage of the world (``OSError``) or a bug, and is never shown to a caller.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

Code = Literal[
    "invalid",  # an argument, field or message that cannot be taken as it is
    "syntax",  # DSL text; `where` is "line L, column C"
    "not_found",
    "ambiguous",  # a short name with several owners
    "unauthenticated",
    "denied",
    "conflict",
    "busy",  # a bound is reached; try again
    "too_large",
    "timeout",
    "cancelled",
    "unavailable",  # a peer or tool source that cannot be reached now
    "internal",  # a bug on the answering side; its text stays in that side's log
]
CODES: frozenset[str] = frozenset(get_args(Code))


class PraxisError(Exception):
    """What was wrong, where, and what to do about it.

    Attributes:
        code: one of `CODES`; stable, what programs decide by.
        detail: one sentence for people: what was wrong.
        hint: what to do about it, or "".
        where: the place, such as ``dsl: line 2, column 5`` or ``arguments.path``, or "".
        delivered: True when a call may have reached its tool, so that its outcome is unknown and it must not be
            tried on another one unless the tool is idempotent.
        data: JSON-ready details for programs, such as the candidates of an ambiguous name.
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        hint: str = "",
        where: str = "",
        delivered: bool = False,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code: Code = code
        self.detail = detail
        self.hint = hint
        self.where = where
        self.delivered = delivered
        self.data = data or {}

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.detail}{advice}"
