"""Whether a value fits a schema, and the error if not."""

from __future__ import annotations

from typing import Any

import pytest

from praxis.model.errors import PraxisError
from praxis.tools.schema import compile_schema

HUGE = 10**5000
"""An integer that neither becomes a float nor, by the interpreter's limit, a text."""


def refusal(schema: Any, value: Any) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        compile_schema(schema).check(value)
    assert caught.value.code == "invalid"
    return caught.value


def fits(schema: Any, value: Any) -> bool:
    try:
        compile_schema(schema).check(value)
    except PraxisError as error:
        assert error.code == "invalid"
        return False
    return True


TREE = {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}}}
