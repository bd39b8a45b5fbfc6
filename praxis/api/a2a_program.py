"""What a message of A2A wants run: a program in the language, a graph, or words of which a model makes one."""

from __future__ import annotations

from typing import Any

import attrs

from praxis.api.execute import GIVEN, GRAPH, PROGRAM, TIMEOUT, check_form, program_of
from praxis.api.route import object_schema
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.schema import Validator
from praxis.wire.a2a import Message
from praxis.workflow.asking import Asking
from praxis.workflow.order import Order

_VALUES = object_schema(dsl=PROGRAM, timeout=TIMEOUT, **GRAPH, **GIVEN)


@attrs.frozen
class Wanted:
    program: str
    order: Order


async def program_of_message(message: Message, asking: Asking) -> Wanted:
    """The program that a message is, or that a model makes of its words. Raises PraxisError for one that wants nothing
    that can be run."""
    values = values_of(message)
    order = Order(values.get("params", {}), values.get("secrets", {}), timeout=values.get("timeout"))
    words = message.words.strip()
    if not words:
        check_form(values)
        return Wanted(program_of(values), order)
    if "dsl" in values or "nodes" in values:
        raise PraxisError("invalid", "there is a program both as text and as data", where="message.parts")
    if _looks_like_a_program(words):
        return Wanted(message.words, order)
    planned = await asking.plan(words, params=order.params, secrets=order.secrets, timeout=order.timeout)
    return Wanted(planned.program, attrs.evolve(order, request=words))


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
