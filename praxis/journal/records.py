"""Records of runs as the JSON that the journal keeps, and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_origin

import attrs
import cattrs

from praxis.model.errors import PraxisError
from praxis.model.plan import RunState, StepState
from praxis.model.run import RunRecord, StepRecord


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(omit_if_default=True)
    # These are JSON as it is: nothing in them needs a look, however much and however deep it is.
    converter.register_unstructure_hook_func(_is_json, dict)
    return converter


def _is_json(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is Mapping


def encode(record: RunRecord | StepRecord) -> str:
    """One line of JSON; of a run without its steps, which are kept each by itself.

    Raises PraxisError("too_large") for a value that is nested too deeply.
    """
    if isinstance(record, RunRecord):
        record = attrs.evolve(record, steps=())
    try:
        plain = _converter().unstructure(record)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:  # half a surrogate pair, which JSON can carry and UTF-8, so the file, cannot
                text = json.dumps(plain, separators=(",", ":"))
    except RecursionError:
        raise PraxisError("too_large", "a value is nested too deeply to be kept") from None
    return text


def decode_run(value: Any, state: RunState | str, ended_at: float | None) -> RunRecord:
    """`state` and `ended_at` are what the table says."""
    return _converter().structure({**value, "steps": [], "state": state, "ended_at": ended_at}, RunRecord)


def decode_step(value: Any, state: StepState | str) -> StepRecord:
    return _converter().structure({**value, "state": state}, StepRecord)
