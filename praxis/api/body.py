"""Request bodies: strict JSON. What a caller sends is remote input."""

from __future__ import annotations

import json
import math
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON

MAX_DEPTH = 64
"""Levels of nesting: no honest argument has more, and every reader of the value may recurse."""


def read_json(content_type: str, raw: bytes) -> JSON:
    """The one JSON value in a body. Raises PraxisError: ``invalid`` with line and column, or what else is wrong."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise PraxisError(
            "invalid",
            f"a body of type {kind[:60] or '(none)'}",
            where="Content-Type",
            hint="send application/json",
            data={"status": 415},
        )
    if not raw.strip():
        raise PraxisError("invalid", "there is no body", where="body", hint="send a JSON object")
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise PraxisError("invalid", f"not UTF-8 at byte {error.start}", where="body") from None
    except json.JSONDecodeError as error:
        where = f"body: line {error.lineno}, column {error.colno}"
        raise PraxisError("invalid", f"not JSON: {error.msg}", where=where) from None
    except ValueError:  # Python reads no longer ones
        raise PraxisError("invalid", "a number has thousands of digits", where="body") from None
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen = set[str]()
        for name, _ in pairs:
            if name in seen:
                raise PraxisError("invalid", f"the key {name[:60]!r} is there twice", where="body")
            seen.add(name)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise PraxisError("invalid", f"{text[:20]} is too large a number", where="body")
    return value


def _constant(name: str) -> None:
    raise PraxisError("invalid", f"{name} is no JSON", where="body")


def _check_depth(value: JSON) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> PraxisError:
    return PraxisError("invalid", f"nested more than {MAX_DEPTH} levels deep", where="body")
