"""Runs as JSON."""

from __future__ import annotations

from typing import Any

import attrs

from praxis.model.run import RunRecord, RunSummary, StepRecord


def run_json(run: RunRecord) -> dict[str, Any]:
    """``{"run_id", "status", "steps": [...], "result", ...}``; tool results stand in it unchanged."""
    return {
        "run_id": run.id,
        "status": run.state,
        "caller": run.caller,
        "program": run.program,
        "params": dict(run.params),
        "created_at": run.created_at,
        "ended_at": run.ended_at,
        "steps": [_step_json(step) for step in run.steps],
        "result": run.result,
        "error": attrs.asdict(run.error, recurse=False) if run.error else None,
    }


def summary_json(run: RunSummary) -> dict[str, Any]:
    """A run in a list: without its steps' results."""
    return {
        "run_id": run.id,
        "status": run.state,
        "caller": run.caller,
        "program": run.program[:200],
        "steps": run.steps,
        "created_at": run.created_at,
        "ended_at": run.ended_at,
    }


def _step_json(step: StepRecord) -> dict[str, Any]:
    return {
        "id": step.id,
        "tool": step.tool,
        "state": step.state,
        "route": attrs.asdict(step.route) if step.route else None,
        "result": step.result,
        "error": attrs.asdict(step.error, recurse=False) if step.error else None,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "bind": step.bind,
        "cached": step.cached,
        "attempts": [attrs.asdict(attempt) for attempt in step.attempts],
    }
