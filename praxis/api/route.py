"""How a route is declared: once, for the server and for the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import attrs

from praxis.access.authorize import Action
from praxis.access.principal import Principal
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.schema import Validator

MAX_DIGITS = 9
"""Digits of a number in a query; Python refuses to read thousands of them."""


@attrs.frozen
class Call:
    """One request, checked: `body` fits the route's schema, `path` and `query` are texts.

    Where a route reads its body itself, that is bytes.
    """

    principal: Principal | None
    """None on routes that are open to all."""
    body: JSON
    path: Mapping[str, str]
    query: Mapping[str, str]
    header: Callable[[str], str | None]
    """The value of a header of the request, whatever its case."""

    @property
    def caller(self) -> Principal:
        if self.principal is None:
            raise RuntimeError("an open route has no caller")
        return self.principal

    def number(self, name: str, default: int, most: int) -> int:
        """A count in the query. Raises PraxisError("invalid")."""
        text = self.query.get(name)
        if text is None:
            return default
        short = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
        if not short or not 1 <= int(text) <= most:
            raise PraxisError(
                "invalid", f"expected a number from 1 to {most}, got {text[:20]!r}", where=f"query.{name}"
            )
        return int(text)


@attrs.frozen
class Answer:
    """What goes back. `body` is sent whole, an iterator as it comes."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, value: JSON, status: int = 200) -> Answer:
        """JSON, not to be stored by anybody on the way."""
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        return cls(body, status, headers={"Cache-Control": "no-store"})


@attrs.frozen
class Route:
    """`path` has ``{name}`` parts; `action` None is open to all; `schema` checks the body; `query` names parameters."""

    method: str
    path: str
    summary: str
    answer: Callable[[Call], Awaitable[Answer]]
    action: Action | None = "read"
    schema: Mapping[str, Any] | None = None
    query: Mapping[str, str] = attrs.field(factory=dict)
    produces: str = "application/json"
    statuses: Mapping[int, str] = attrs.field(factory=dict)
    """Statuses beside 200 that mean something of their own here."""
    reads_itself: bool = False
    """The body comes as bytes, for a route that says in its own way what is wrong with it; `schema` only documents."""

    @property
    def validator(self) -> Validator | None:
        return Validator(self.schema) if self.schema is not None and not self.reads_itself else None


def object_schema(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """A JSON Schema of an object that takes these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
