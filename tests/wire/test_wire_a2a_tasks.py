"""Runs as tasks, and what happens to them as updates, in both versions."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest

from praxis.model.card import AgentCard
from praxis.model.event import Event
from praxis.model.plan import FINAL, RunState
from praxis.model.run import Problem, RouteChoice, RunRecord, StepRecord
from praxis.wire import a2a_tasks
from praxis.wire.a2a_card import address_of, card_of

RESULT = {"content": [{"type": "text", "text": "hello"}], "structuredContent": {"n": 1}}
ROUTE = RouteChoice("me:fs/read", "me", None, "local")
STEP = StepRecord("s1", "read", "succeeded", ROUTE, RESULT, None, 5.0, 6.0)
RUN = RunRecord("r", "succeeded", "ann", "CALL read", (STEP,), 4.0, 1764039600.25)


def test_a_run_is_a_task_of_1_0() -> None:
    ids = {"taskId": "r", "contextId": "r"}
    assert a2a_tasks.task_of(RUN, "1.0") == {
        "id": "r",
        "contextId": "r",
        "status": {"state": "TASK_STATE_COMPLETED", "timestamp": "2025-11-25T03:00:00.250Z"},
        "artifacts": [
            {
                "artifactId": "s1",
                "name": "read",
                "parts": [{"text": "hello"}, {"data": {"n": 1}, "mediaType": "application/json"}],
            }
        ],
        "history": [
            {"messageId": "r.program", **ids, "role": "ROLE_USER", "parts": [{"text": "CALL read"}]},
            {
                "messageId": "r.step-s1",
                **ids,
                "role": "ROLE_AGENT",
                "parts": [{"text": "Step s1 has begun: me:fs/read"}],
            },
        ],
    }


def test_a_run_is_a_task_of_0_3() -> None:
    run = attrs.evolve(RUN, context="talk")
    task = a2a_tasks.task_of(run, "0.3", history=1)
    assert (task["kind"], task["id"], task["contextId"]) == ("task", "r", "talk")
    assert task["status"]["state"] == "completed"
    assert task["artifacts"][0]["parts"] == [{"kind": "text", "text": "hello"}, {"kind": "data", "data": {"n": 1}}]
    (message,) = task["history"]
    assert (message["kind"], message["role"], message["contextId"]) == ("message", "agent", "talk")
    assert message["parts"][0]["kind"] == "text"


def test_a_long_history_is_cut_to_its_end() -> None:
    run = attrs.evolve(RUN, steps=tuple(attrs.evolve(STEP, id=f"s{n}") for n in range(500)))
    for asked in (None, 400):
        history = a2a_tasks.task_of(run, "1.0", history=asked)["history"]
        assert len(history) == a2a_tasks.MAX_HISTORY
        assert history[-1]["messageId"] == "r.step-s499"


def test_an_agent_without_http_has_no_interface() -> None:
    card = AgentCard("a", "1", "", "", "px")
    assert card_of(card, "", "1.0")["supportedInterfaces"] == []
    assert card_of(card, "", "0.3")["url"] == ""
    assert card_of(card, "http://x", "1.0")["supportedInterfaces"][0]["url"] == "http://x/a2a/v1"


def test_what_is_not_wanted_is_left_out() -> None:
    assert a2a_tasks.task_of(RUN, "1.0", history=0, artifacts=False).keys() == {"id", "contextId", "status"}
    assert len(a2a_tasks.task_of(RUN, "1.0", history=9)["history"]) == 2


@pytest.mark.parametrize("state", get_args(RunState))
def test_every_state_of_a_run_is_one_of_a_task_and_ends_together_with_it(state: RunState) -> None:
    task_state = a2a_tasks.TASK_STATES[state]
    assert (task_state in a2a_tasks.ENDED) == (state in FINAL)
    assert state in a2a_tasks.runs_in(task_state)
    run = attrs.evolve(RUN, state=state, needs_secrets=("pin",))
    assert a2a_tasks.status_of(run, "0.3")["state"] == task_state
    assert a2a_tasks.status_of(run, "1.0")["state"] == f"TASK_STATE_{task_state.upper().replace('-', '_')}"


def test_a_state_says_what_there_is_to_say() -> None:
    def words(**changes: Any) -> str:
        status = a2a_tasks.status_of(attrs.evolve(RUN, **changes), "1.0")
        return str(status["message"]["parts"][0]["text"])

    problem = Problem("tool_error", "no such file", "look again", "step s1 (read)")
    assert words(state="failed", error=problem) == "step s1 (read): no such file (look again)"
    assert "pin" in words(state="needs secrets", ended_at=None, needs_secrets=("pin",))
    assert "has not gone on" in words(state="interrupted", ended_at=None)
    assert "message" not in a2a_tasks.status_of(RUN, "1.0")


@pytest.mark.parametrize(
    ("block", "new", "old"),
    [
        (
            {"type": "image", "data": "AA==", "mimeType": "image/png"},
            {"raw": "AA==", "mediaType": "image/png"},
            {"kind": "file", "file": {"bytes": "AA==", "mimeType": "image/png"}},
        ),
        (
            {"type": "resource_link", "uri": "file:///x", "name": "x"},
            {"url": "file:///x", "mediaType": "application/octet-stream", "filename": "x"},
            {"kind": "file", "file": {"uri": "file:///x", "mimeType": "application/octet-stream", "name": "x"}},
        ),
        (
            {"type": "resource", "resource": {"uri": "a:b", "blob": "AA=="}},
            {"raw": "AA==", "mediaType": "application/octet-stream", "filename": "a:b"},
            {
                "kind": "file",
                "file": {"bytes": "AA==", "mimeType": "application/octet-stream", "name": "a:b"},
            },
        ),
        (
            {"type": "resource", "resource": {"uri": "a:b", "text": "t"}},
            {"text": "t"},
            {"kind": "text", "text": "t"},
        ),
        (
            {"type": "new", "x": 1},
            {"data": {"type": "new", "x": 1}, "mediaType": "application/json"},
            {"kind": "data", "data": {"type": "new", "x": 1}},
        ),
        (5, {"data": 5, "mediaType": "application/json"}, {"kind": "data", "data": {"value": 5}}),
    ],
)
def test_every_block_of_a_result_becomes_a_part(block: Any, new: Any, old: Any) -> None:
    step = attrs.evolve(STEP, result={"content": [block], "isError": True})
    assert a2a_tasks.artifact_of(step, "1.0")["parts"] == [new]
    assert a2a_tasks.artifact_of(step, "0.3")["parts"] == [old]
    assert "failed" in a2a_tasks.artifact_of(step, "0.3")["description"]


@pytest.mark.parametrize("result", [{}, {"content": []}, {"content": "x"}])
def test_an_artifact_has_at_least_one_part(result: dict[str, Any]) -> None:
    (part,) = a2a_tasks.artifact_of(attrs.evolve(STEP, result=result), "1.0")["parts"]
    assert part["data"] == result


EVENTS = [
    Event(1, 7.0, "run.started", {"caller": "ann"}, "r"),
    Event(2, 7.5, "step.started", {"step": "s1", "tool": "me:fs/read"}, "r"),
    Event(3, 8.0, "step.progress", {"step": "s1", "progress": {"progress": 1, "total": 2, "message": "half"}}, "r"),
    Event(4, 8.0, "step.retrying", {"step": "s1", "attempt": 2, "error": {"detail": "gone"}}, "r"),
    Event(5, 9.0, "step.finished", {"step": "s1", "state": "succeeded"}, "r"),
    Event(6, 9.0, "step.finished", {"step": "s2", "state": "skipped"}, "r"),
    Event(7, 9.0, "run.cancelling", {}, "r"),
    Event(8, 9.5, "run.finished", {"state": "succeeded"}, "r"),
]


def test_events_are_updates_in_their_order() -> None:
    updates = a2a_tasks.updates_of(EVENTS, RUN, "1.0")
    assert [next(iter(update)) for update in updates] == [
        *["statusUpdate"] * 4,
        "artifactUpdate",
        *["statusUpdate"] * 2,
    ]
    states = [update["statusUpdate"]["status"] for update in updates if "statusUpdate" in update]
    assert [status["state"] for status in states] == ["TASK_STATE_WORKING"] * 5 + ["TASK_STATE_COMPLETED"]
    said = [status["message"]["parts"][0]["text"] for status in states[1:5]]
    assert said == [
        "Step s1 has begun: me:fs/read",
        "Step s1: 1 of 2, half",
        "Step s1: attempt 2, after gone",
        "It is being cancelled.",
    ]
    assert "message" not in states[0]
    history = a2a_tasks.task_of(RUN, "1.0")["history"]
    assert states[1]["message"] == history[1], "the same message has the same id everywhere"
    assert updates[4]["artifactUpdate"]["artifact"] == a2a_tasks.artifact_of(STEP, "1.0")
    assert all(inner.keys() >= {"taskId", "contextId"} for update in updates for inner in update.values())


def test_events_are_updates_of_0_3_of_which_one_is_the_last() -> None:
    updates = a2a_tasks.updates_of(EVENTS, RUN, "0.3")
    kinds = [*["status-update"] * 4, "artifact-update", *["status-update"] * 2]
    assert [update["kind"] for update in updates] == kinds
    assert [update.get("final", False) for update in updates] == [False] * 6 + [True]
    assert a2a_tasks.first_of_stream(RUN, "0.3")["kind"] == "task"


def test_who_has_missed_events_gets_every_artifact_again() -> None:
    assert a2a_tasks.caught_up(RUN, "1.0") == [a2a_tasks.updates_of(EVENTS, RUN, "1.0")[4]]


def test_progress_is_cut() -> None:
    event = attrs.evolve(EVENTS[2], fields={"step": "s1", "progress": {"progress": 1, "message": "x" * 9999}})
    (update,) = a2a_tasks.updates_of([event], RUN, "1.0")
    assert len(update["statusUpdate"]["status"]["message"]["parts"][0]["text"]) < 600


@pytest.mark.parametrize(
    ("url", "host", "address"),
    [
        ("https://a.example/", "10.0.0.1:8000", "https://a.example"),
        ("http://127.0.0.1:8000", "localhost:8000", "http://127.0.0.1:8000"),
        ("http://0.0.0.0:8000", "10.0.0.1:9000", "http://10.0.0.1:9000"),
        ("http://[::]:8000", "[fe80::1]:8000", "http://[fe80::1]:8000"),
        ("http://0.0.0.0:8000", None, "http://0.0.0.0:8000"),
        ("", "localhost", ""),
    ],
)
def test_an_agent_on_all_addresses_is_where_its_caller_has_found_it(url: str, host: str | None, address: str) -> None:
    assert address_of(url, host) == address
