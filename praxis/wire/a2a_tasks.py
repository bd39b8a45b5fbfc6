"""Runs as A2A's tasks, in the shapes of both versions (section 4.1). A task is made of its run each time it is shown.

States, artifacts and messages of a task are the states, results and progress of the run. Ids of messages are made
of the run's, so that they are the same in every answer and every stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from praxis.model.event import Event
from praxis.model.plan import RunState
from praxis.model.run import Problem, RunRecord, StepRecord
from praxis.model.tool import JSON
from praxis.wire.a2a import Version

TASK_STATES: Mapping[RunState, str] = {
    "queued": "submitted",
    "running": "working",
    "cancelling": "working",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "canceled",
    # It has not ended, and can go on by itself (runs.on_restart) or because somebody lets it. A task that has failed
    # stays so for ever, section 3.1.2, and a run that goes on would break that.
    "interrupted": "working",
    "needs secrets": "input-required",
}
ENDED = frozenset({"completed", "failed", "canceled"})
TOLD = (
    "run.started",
    "run.cancelling",
    "run.finished",
    "step.started",
    "step.retrying",
    "step.progress",
    "step.finished",
)
"""Types of the events that a stream of a task is made of."""
MAX_HISTORY = 100
"""Messages of a task that are shown: a loop makes thousands, and all that they say is in the artifacts."""
MAX_PROGRESS = 500
"""Characters of a tool's own words about its progress in a message."""


def context_of(run: RunRecord) -> str:
    """The context that the caller gave, else one of the run's own."""
    return run.context or run.id


def runs_in(state: str) -> frozenset[RunState]:
    """The states of runs that a state of tasks stands for, which is written as in 0.3."""
    return frozenset(run_state for run_state, task_state in TASK_STATES.items() if task_state == state)


def task_of(run: RunRecord, version: Version, *, history: int | None = None, artifacts: bool = True) -> dict[str, JSON]:
    """The whole task. `history` is how many of the last messages it has, None for `MAX_HISTORY`; without `artifacts`
    the member is left out (section 3.1.4)."""
    task: dict[str, JSON] = {"id": run.id, "contextId": context_of(run), "status": status_of(run, version)}
    if artifacts:
        task["artifacts"] = [artifact_of(step, version) for step in run.steps if step.result is not None]
    if history != 0:
        messages = _history(run, version)
        task["history"] = messages[-min(history or MAX_HISTORY, MAX_HISTORY) :]
    return {"kind": "task", **task} if version == "0.3" else task


def status_of(run: RunRecord, version: Version) -> dict[str, JSON]:
    """The state, since when, and what there is to say about it."""
    status: dict[str, JSON] = {
        "state": _state(TASK_STATES[run.state], version),
        "timestamp": _timestamp(run.created_at if run.ended_at is None else run.ended_at),
    }
    words = _words(run)
    if words:
        status["message"] = _message(run, version, "agent", f"{run.id}.{run.state.replace(' ', '-')}", words)
    return status


def artifact_of(step: StepRecord, version: Version) -> dict[str, JSON]:
    """The result of one step, whatever it is; the content of an MCP result becomes parts."""
    result = step.result or {}
    content = result.get("content")
    parts = [_part(block, version) for block in content] if isinstance(content, list) else []
    if result.get("structuredContent") is not None:
        parts.append(_data(result["structuredContent"], version))
    shown: dict[str, JSON] = {
        "artifactId": step.id,
        "name": step.tool,
        "parts": parts or [_data(dict(result), version)],
    }
    if result.get("isError") is True:
        shown["description"] = "The tool says that it failed."
    return shown


# -- streams ----------------------------------------------------------------------------------------


def first_of_stream(run: RunRecord, version: Version) -> dict[str, JSON]:
    """What a stream begins with: the task as it is."""
    return _wrapped("task", task_of(run, version), version)


def updates_of(events: Iterable[Event], run: RunRecord, version: Version) -> list[dict[str, JSON]]:
    """What has happened to a task; `run` is how it is after all of it."""
    steps = {step.id: step for step in run.steps}
    updates = []
    for event in events:
        id = str(event.fields.get("step", ""))
        if event.type == "run.finished":
            updates.append(end_of_stream(run, version))
        elif event.type == "step.finished":
            step = steps.get(id)
            if step is not None and step.result is not None:
                updates.append(_artifact_update(run, step, version))
        elif event.type in TOLD:
            updates.append(_progress_update(run, event, version))
    return updates


def caught_up(run: RunRecord, version: Version) -> list[dict[str, JSON]]:
    """For a reader that has missed events: every artifact again, which takes the place of the one before."""
    return [_artifact_update(run, step, version) for step in run.steps if step.result is not None]


def end_of_stream(run: RunRecord, version: Version) -> dict[str, JSON]:
    """How the task has ended."""
    return _status_update(run, status_of(run, version), version, final=True)


def _progress_update(run: RunRecord, event: Event, version: Version) -> dict[str, JSON]:
    status: dict[str, JSON] = {"state": _state("working", version), "timestamp": _timestamp(event.time)}
    words = _event_words(event)
    if words:
        begins = event.type == "step.started"
        id = _step_id(run, str(event.fields["step"])) if begins else f"{run.id}.event-{event.seq}"
        status["message"] = _message(run, version, "agent", id, words)
    return _status_update(run, status, version)


def _status_update(
    run: RunRecord, status: dict[str, JSON], version: Version, *, final: bool = False
) -> dict[str, JSON]:
    update: dict[str, JSON] = {"taskId": run.id, "contextId": context_of(run), "status": status}
    if version == "0.3":
        update |= {"kind": "status-update", "final": final}
    return _wrapped("statusUpdate", update, version)


def _artifact_update(run: RunRecord, step: StepRecord, version: Version) -> dict[str, JSON]:
    update: dict[str, JSON] = {"taskId": run.id, "contextId": context_of(run), "artifact": artifact_of(step, version)}
    update |= {"append": False, "lastChunk": True}
    if version == "0.3":
        update["kind"] = "artifact-update"
    return _wrapped("artifactUpdate", update, version)


def _wrapped(name: str, value: dict[str, JSON], version: Version) -> dict[str, JSON]:
    """1.0 says by a name what it is, 0.3 inside of it."""
    return {name: value} if version == "1.0" else value


# -- parts and messages -----------------------------------------------------------------------------


def _state(state: str, version: Version) -> str:
    return state if version == "0.3" else f"TASK_STATE_{state.upper().replace('-', '_')}"


def _timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, section 5.6.1."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(run: RunRecord) -> str:
    """What is said about a state that does not speak for itself."""
    if run.error is not None:
        return _problem_words(run.error)
    if run.state == "cancelling":
        return "It is being cancelled."
    if run.state == "interrupted":
        return "The agent has ended before the run did; it has not gone on yet."
    if run.state == "needs secrets":
        names = ", ".join(run.needs_secrets)
        return f'It goes on with a message to this task that has its secrets as data, {{"secrets": ...}}: {names}'
    return ""


def _problem_words(problem: Problem) -> str:
    place = f"{problem.where}: " if problem.where else ""
    return f"{place}{problem.detail}" + (f" ({problem.hint})" if problem.hint else "")


def _event_words(event: Event) -> str:
    fields: Mapping[str, Any] = event.fields
    if event.type == "step.started":
        return _began(fields["step"], fields["tool"])
    if event.type == "step.retrying":
        return f"Step {fields['step']}: attempt {fields['attempt']}, after {fields['error']['detail']}"
    if event.type == "step.progress":
        return f"Step {fields['step']}: {_progress_words(fields['progress'])}"
    return "It is being cancelled." if event.type == "run.cancelling" else ""


def _progress_words(progress: Mapping[str, Any]) -> str:
    done, total, words = (progress.get(name) for name in ("progress", "total", "message"))
    count = f"{done}" if total is None else f"{done} of {total}"
    return (count if not words else f"{count}, {words}")[:MAX_PROGRESS]


def _step_id(run: RunRecord, step: str) -> str:
    return f"{run.id}.step-{step}"


def _began(id: str, tool: str) -> str:
    return f"Step {id} has begun: {tool}"


def _history(run: RunRecord, version: Version) -> list[JSON]:
    """The program as its user's message, and what has begun since as ours."""
    messages = [_message(run, version, "user", f"{run.id}.program", run.program)]
    for step in run.steps:
        if step.started_at is not None:
            tool = step.route.tool if step.route is not None else step.tool
            messages.append(_message(run, version, "agent", _step_id(run, step.id), _began(step.id, tool)))
    return messages


def _message(run: RunRecord, version: Version, role: str, id: str, words: str) -> dict[str, JSON]:
    ids = {"messageId": id, "taskId": run.id, "contextId": context_of(run)}
    if version == "0.3":
        return {"kind": "message", **ids, "role": role, "parts": [_text(words, version)]}
    return {**ids, "role": f"ROLE_{role.upper()}", "parts": [_text(words, version)]}


def _text(text: str, version: Version) -> dict[str, JSON]:
    return {"text": text} if version == "1.0" else {"kind": "text", "text": text}


def _data(value: JSON, version: Version) -> dict[str, JSON]:
    if version == "1.0":
        return {"data": value, "mediaType": "application/json"}
    # Data is an object in 0.3.
    return {"kind": "data", "data": value if isinstance(value, dict) else {"value": value}}


def _file(version: Version, kind: str, content: str, media: JSON, name: JSON = None) -> dict[str, JSON]:
    """`kind` is how 1.0 calls it: `raw` is base64, `url` where it is."""
    media = media if isinstance(media, str) else "application/octet-stream"
    if version == "1.0":
        return {kind: content, "mediaType": media, **({"filename": name} if isinstance(name, str) else {})}
    where = "bytes" if kind == "raw" else "uri"
    named = {"name": name} if isinstance(name, str) else {}
    return {"kind": "file", "file": {where: content, "mimeType": media, **named}}


def _part(block: JSON, version: Version) -> dict[str, JSON]:
    """One block of an MCP result. What is none that we know goes as data: nothing is left out."""
    match block:
        case {"type": "text", "text": str(text)}:
            return _text(text, version)
        case {"type": "image" | "audio", "data": str(content)}:
            return _file(version, "raw", content, block.get("mimeType"))
        case {"type": "resource_link", "uri": str(uri)}:
            return _file(version, "url", uri, block.get("mimeType"), block.get("name"))
        case {"type": "resource", "resource": {"blob": str(content), **resource}}:
            return _file(version, "raw", content, resource.get("mimeType"), resource.get("uri"))
        case {"type": "resource", "resource": {"text": str(text)}}:
            return _text(text, version)
    return _data(block, version)
