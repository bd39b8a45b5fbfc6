"""A task of an agent somewhere else, as its answers and the events of its stream tell of it (sections 3 and 4 of 1.0).

What is sent is made here, too. Nothing of what comes in is trusted: shapes that are none are passed over, and what is
kept of a task is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import attrs

from praxis.model.tool import JSON
from praxis.wire.a2a import MAX_ID, STATES, Version

MAX_KEPT = 4 * 1024 * 1024
"""Characters, as JSON, of the artifacts of one task: what agents of the network send each other at most."""
PART = 64
"""Characters that every part counts for beside its own: an empty one takes memory, too."""
MAX_ARTIFACTS = 1000
"""Artifacts of one task: a program of another Praxis has one for each of its steps."""
MAX_WORDS = 2000
"""Characters of an agent's own words about a state."""
ENDED = frozenset({"completed", "failed", "canceled", "rejected"})
WAITING = frozenset({"input-required", "auth-required"})
"""States that last until somebody sends something."""
METHODS: Mapping[Version, Mapping[str, str]] = {
    "1.0": {"send": "SendMessage", "stream": "SendStreamingMessage", "get": "GetTask", "cancel": "CancelTask"},
    "0.3": {"send": "message/send", "stream": "message/stream", "get": "tasks/get", "cancel": "tasks/cancel"},
}

_SHAPES = {
    "task": "task",
    "message": "message",
    "status-update": "statusUpdate",
    "artifact-update": "artifactUpdate",
}


class TaskError(ValueError):
    """An answer that cannot be used, in a sentence that begins with a small letter."""


class TaskTooLargeError(TaskError):
    """More artifacts than are kept."""


def send_params(version: Version, id: str, words: str, values: JSON = None, skill: str = "") -> dict[str, JSON]:
    """The params of a message that is answered at once with its task. `id` is the message's.

    The protocol has no way to choose a skill, so its id is metadata: agents that know it may go by it, and for all
    others it is in the words.
    """
    old = version == "0.3"
    parts: list[JSON] = [{"kind": "text", "text": words} if old else {"text": words}]
    if values is not None:
        parts.append({"kind": "data", "data": values} if old else {"data": values, "mediaType": "application/json"})
    message: dict[str, JSON] = {"messageId": id, "role": "user" if old else "ROLE_USER", "parts": parts}
    if old:
        message["kind"] = "message"
    if skill:
        message["metadata"] = {"skillId": skill}
    modes = ["text/plain", "application/json"]
    return {
        "message": message,
        "configuration": {
            "acceptedOutputModes": modes,
            **({"blocking": False} if old else {"returnImmediately": True}),
        },
    }


@attrs.define
class TaskView:
    """What is known of a task.

    Attributes:
        id, context: as the agent calls them; "" before it has.
        state: as 0.3 writes it.
        words: what the agent says about the state, or the message that it answers with in place of a task.
        parts: of such a message.
    """

    id: str = ""
    context: str = ""
    state: str = ""
    words: str = ""
    parts: Sequence[Mapping[str, JSON]] | None = None
    _artifacts: dict[str, list[Mapping[str, JSON]]] = attrs.field(factory=dict)
    _kept: int = 0

    @property
    def over(self) -> bool:
        """Nothing more comes by itself."""
        return self.parts is not None or self.state in ENDED or self.state in WAITING

    @property
    def cancellable(self) -> bool:
        return bool(self.id) and self.state not in ENDED

    def all_parts(self) -> list[Mapping[str, JSON]]:
        """Of the message, or of all artifacts in the order in which they have begun."""
        if self.parts is not None:
            return [*self.parts]
        return [part for parts in self._artifacts.values() for part in parts]

    def take(self, result: JSON) -> bool:
        """Take in the result of a request, or of one event; whether it says something about the state.

        Raises TaskError for what is none of the shapes of 1.0 and 0.3.
        """
        shape, value = _shape(result)
        if shape == "message":
            self.parts = self._counted(_parts(value))
            self.words = text_of(self.parts)[:MAX_WORDS]
        elif shape == "task":
            self._take_task(value)
        else:
            self._name(value.get("taskId"), value.get("contextId"))
            if shape == "artifact-update":
                self._take_artifact(value.get("artifact"), append=value.get("append") is True)
            else:
                self._take_status(value.get("status"))
        return shape in ("task", "status-update")

    def take_task(self, value: JSON) -> None:
        """Take in a bare task, as GetTask and CancelTask answer. Raises TaskError."""
        if not isinstance(value, dict):
            raise TaskError("it answers with no task")
        self._take_task(value)

    def _take_task(self, value: Mapping[str, JSON]) -> None:
        self._name(value.get("id"), value.get("contextId"))
        if not self.id:
            raise TaskError("its task has no id")
        artifacts = value.get("artifacts")
        if isinstance(artifacts, list):
            self._artifacts.clear()
            self._kept = 0
            for each in artifacts:
                self._take_artifact(each, append=False)
        self._take_status(value.get("status"))

    def _name(self, id: JSON, context: JSON) -> None:
        """The first name counts: a stream is of one task."""
        if not self.id and isinstance(id, str) and len(id) <= MAX_ID:
            self.id = id
        if not self.context and isinstance(context, str) and len(context) <= MAX_ID:
            self.context = context

    def _take_status(self, status: JSON) -> None:
        said = status.get("state") if isinstance(status, dict) else None
        state = said.removeprefix("TASK_STATE_").lower().replace("_", "-") if isinstance(said, str) else ""
        if state not in STATES:
            raise TaskError("its task is in no state that A2A has")
        self.state = state
        self.words = text_of(_parts(status.get("message")))[:MAX_WORDS]

    def _take_artifact(self, artifact: JSON, *, append: bool) -> None:
        id = artifact.get("artifactId") if isinstance(artifact, dict) else None
        if not isinstance(id, str) or len(id) > MAX_ID:
            raise TaskError("its artifact has no id")
        if not append:
            self._kept -= _size(self._artifacts.get(id, ()))
        added = self._counted(_parts(artifact))
        if append:
            self._artifacts.setdefault(id, []).extend(added)
        else:
            self._artifacts[id] = added
        if len(self._artifacts) > MAX_ARTIFACTS:
            raise TaskTooLargeError(f"its task has more than {MAX_ARTIFACTS} artifacts")

    def _counted(self, parts: list[Mapping[str, JSON]]) -> list[Mapping[str, JSON]]:
        self._kept += _size(parts)
        if self._kept > MAX_KEPT:
            raise TaskTooLargeError(f"its answer is larger than {MAX_KEPT} bytes")
        return parts


def text_of(parts: Sequence[Mapping[str, JSON]]) -> str:
    """The text of all parts that are text, one below the other."""
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _shape(result: JSON) -> tuple[str, Mapping[str, JSON]]:
    """What a result is, as 0.3 calls it, and its members: 0.3 says so inside of it, 1.0 by the name of a member."""
    if isinstance(result, dict):
        for old, new in _SHAPES.items():
            if result.get("kind") == old:
                return old, result
            if "kind" not in result and isinstance(result.get(new), dict):
                return old, result[new]
    raise TaskError("it answers with neither a task nor a message")


def _size(parts: Sequence[Mapping[str, JSON]]) -> int:
    return sum(len(json.dumps(part, ensure_ascii=False)) + PART for part in parts)


def _parts(value: JSON) -> list[Mapping[str, JSON]]:
    parts = value.get("parts") if isinstance(value, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
