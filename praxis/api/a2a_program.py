"""What a message of A2A wants run: a program in the language, or a graph, and what goes with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from praxis.api.execute import GIVEN, GRAPH, PROGRAM, TIMEOUT, program_of
from praxis.api.route import object_schema
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.schema import Validator
from praxis.wire.a2a import Message
from praxis.workflow.order import Order

_VALUES = object_schema(dsl=PROGRAM, timeout=TIMEOUT, **GRAPH, **GIVEN)


@attrs.frozen
class Wanted:
    program: str
    order: Order


ProgramOf = Callable[[Message], Awaitable[Wanted]]
"""Makes a program of a message. Raises PraxisError for one that wants nothing that can be run."""


async def written_program(message: Message) -> Wanted:
    """The program that a message is. Words that are none are refused: nobody here would understand them."""
    values = values_of(message)
    if message.words.strip():
        if "dsl" in values or "nodes" in values:
            raise PraxisError("invalid", "there is a program both as text and as data", where="message.parts")
        if not _looks_like_a_program(message.words):
            raise PraxisError(
                "invalid",
                f"these are words, and no program: {message.words.strip()[:60]!r}",
                where="message.parts",
                hint="send a program such as `CALL list_files`, or a graph as data: docs/dsl.md, docs/graphs.md",
            )
        values = {**values, "dsl": message.words}
    order = Order(values.get("params", {}), values.get("secrets", {}), timeout=values.get("timeout"))
    return Wanted(program_of(values), order)


def values_of(message: Message) -> dict[str, Any]:
    """What the data parts say, all of them together. Raises PraxisError("invalid")."""
    values: dict[str, JSON] = {}
    for part in message.values:
        twice = sorted(values.keys() & part.keys())
        if twice:
            raise PraxisError("invalid", f"{twice[0]!r} is in two parts", where="message.parts")
        values |= part
    Validator(_VALUES).check(values, "message.parts.data")
    return values


def _looks_like_a_program(words: str) -> bool:
    """Whether the first word that is no comment is in capitals, as keywords are, or a graph begins.

    Sentences begin with "Call", "If" and "Task" as well, and with "I" and "A".
    """
    lines = (line.strip() for line in words.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    word = first.split(maxsplit=1)[0] if first else ""
    return first.startswith("{") or (len(word) > 1 and word.isupper())
