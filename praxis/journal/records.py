"""Records of runs as the JSON that the journal keeps, and back. Pure."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import attrs
import cattrs

from praxis.model.plan import RunState, StepState
from praxis.model.run import RunRecord, StepRecord


@cache
def _converter() -> cattrs.Converter:
    return cattrs.Converter(omit_if_default=True)


def encode(record: RunRecord | StepRecord) -> str:
    """One line of JSON; of a run without its steps, which are kept each by itself."""
    if isinstance(record, RunRecord):
        record = attrs.evolve(record, steps=())
    return json.dumps(_converter().unstructure(record), ensure_ascii=False, separators=(",", ":"))


def decode_run(value: Any, state: RunState | str, ended_at: float | None) -> RunRecord:
    """`state` and `ended_at` are what the table says."""
    return _converter().structure({**value, "steps": [], "state": state, "ended_at": ended_at}, RunRecord)


def decode_step(value: Any, state: StepState | str) -> StepRecord:
    return _converter().structure({**value, "state": state}, StepRecord)
