"""Messages as values and bytes: reading what clients send, showing events, frames."""

from __future__ import annotations

import json
from typing import Any

import pytest
import wsproto
import wsproto.events
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType

from praxis.model.errors import PraxisError
from praxis.model.event import Event
from praxis.model.run import Problem, RouteChoice, RunRecord, StepRecord
from praxis.websocket.messages import (
    MAX_ANSWER,
    MAX_BROADCAST,
    Cancel,
    ChatMessage,
    DslCommand,
    ExecuteWorkflow,
    RequestError,
    Subscribe,
    error_payload,
    event_message,
    parse,
    result_payload,
    text_frame,
)


def send(type: str, **payload: Any) -> str:
    return json.dumps({"type": type, "payload": payload})


def step(id: str = "s1", state: Any = "succeeded", result: Any = None, **more: Any) -> StepRecord:
    route = RouteChoice("a2:fs/read", "a2", "px1", "the only owner")
    return StepRecord(id, "read", state, route, result, started_at=1.0, ended_at=1.25, **more)


def run(*steps: StepRecord, state: Any = "succeeded", error: Problem | None = None) -> RunRecord:
    return RunRecord("r1", state, "local", "CALL read", steps, created_at=1.0, ended_at=2.0, error=error)


def event(type: str, run_id: str | None = "r1", **fields: Any) -> Event:
    return Event(7, 12.5, type, fields, run_id)


def unframe(frame: bytes) -> Any:
    """What a client makes of it, by wsproto."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frame)
    parts = []
    for received in client.events():
        assert isinstance(received, wsproto.events.TextMessage)
        parts.append(received.data)
    return json.loads("".join(parts))


# -- reading ------------------------------------------------------------------------------------------


def test_requests_are_read() -> None:
    assert parse(send("DSL_COMMAND", command="CALL x")) == DslCommand("CALL x", None)
    assert parse(send("DSL_COMMAND", command="CALL x", workflowId="w-1.2:3_")) == DslCommand("CALL x", "w-1.2:3_")
    assert parse(send("CANCEL", runId="r1")) == Cancel("r1")
    assert parse(send("SUBSCRIBE")) == parse('{"type": "SUBSCRIBE"}') == Subscribe(None, frozenset())
    assert parse(send("SUBSCRIBE", runId="r1", types=["run", "step.finished"])) == Subscribe(
        "r1", frozenset({"run", "step.finished"})
    )
    assert parse(send("CHAT_MESSAGE", content="hi")) == ChatMessage("hi")
    assert parse(send("CHAT_MESSAGE", content="hi", sender="ann")) == ChatMessage("hi")


def test_a_graph_stands_in_the_payload_or_in_its_workflow() -> None:
    graph = {"nodes": [{"id": "a"}], "edges": []}
    plain = parse(send("EXECUTE_WORKFLOW", workflowId="w", params={"x": 1}, secrets={"y": "z"}, **graph))
    assert plain == ExecuteWorkflow(graph, "w", {"x": 1}, {"y": "z"})
    assert "z" not in repr(plain).replace("ExecuteWorkflow", "")
    nested = parse(send("EXECUTE_WORKFLOW", workflow={**graph, "id": "old", "name": "n"}))
    assert nested == ExecuteWorkflow(graph, None, {}, {})


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ({}, "payload.nodes"),
        ({"nodes": {}}, "payload.nodes"),
        ({"workflow": 1}, "payload.workflow"),
        ({"nodes": [], "params": []}, "payload.params"),
        ({"nodes": [], "secrets": {"a": 1}}, "payload.secrets"),
        ({"nodes": [], "nodez": 1}, "payload.nodez"),
    ],
)
def test_what_is_no_graph_is_told(payload: dict[str, Any], where: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(send("EXECUTE_WORKFLOW", **payload))
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("", "", "not JSON"),
        ("{", "", "not JSON"),
        ("[" * 100_000, "", "not JSON"),
        ("[]", "", "expected an object"),
        ('{"type": 1}', "", "expected an object"),
        ('{"payload": {}}', "", "expected an object"),
        (send("DSL_COMAND", command="x"), "type", "did you mean DSL_COMMAND?"),
        (send("x" * 1000), "type", "known types"),
        ('{"type": "CANCEL", "payload": []}', "payload", "expected an object"),
        (send("DSL_COMMAND"), "payload.command", "expected a text"),
        (send("DSL_COMMAND", command=" "), "payload.command", "expected a text"),
        (send("DSL_COMMAND", command=["CALL"]), "payload.command", "expected a text"),
        (send("DSL_COMMAND", command="x", workflowId=""), "payload.workflowId", "expected 1 to 128"),
        (send("DSL_COMMAND", command="x", workflowId="a/b"), "payload.workflowId", "expected 1 to 128"),
        (send("DSL_COMMAND", command="x", workflowId=5), "payload.workflowId", "expected 1 to 128"),
        (send("DSL_COMMAND", command="x", workflowID="w"), "payload.workflowID", "command, workflowId"),
        (send("CANCEL"), "payload.runId", "expected 1 to 128"),
        (send("CANCEL", runId="r", force=True), "payload.force", "unknown field"),
        (send("SUBSCRIBE", types="run"), "payload.types", "expected a list"),
        (send("SUBSCRIBE", types=["run", ""]), "payload.types", "expected a list"),
        (send("SUBSCRIBE", types=["run."]), "payload.types", "expected a list"),
        (send("SUBSCRIBE", types=["a"] * 33), "payload.types", "at most 32"),
        (send("SUBSCRIBE", runs="r"), "payload.runs", "unknown field"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, where: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert caught.value.where == where
    assert says in str(caught.value)
    assert caught.value.code == "invalid"
    assert len(str(caught.value)) < 400


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.integers()),
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(st.sampled_from(["type", "payload", "runId", "types", "command"]), inner)
        ),
    ).map(json.dumps)
    | st.text()
    | st.tuples(
        st.sampled_from(["DSL_COMMAND", "CANCEL", "SUBSCRIBE", "CHAT_MESSAGE"]),
        st.dictionaries(st.text(), st.text() | st.none()),
    ).map(lambda pair: json.dumps({"type": pair[0], "payload": pair[1]}))
)
def test_whatever_a_client_sends_is_a_request_or_a_request_error(text: str) -> None:
    try:
        request = parse(text)
    except RequestError as error:
        assert error.detail
    else:
        assert isinstance(request, DslCommand | ExecuteWorkflow | Cancel | Subscribe | ChatMessage)


# -- frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 80, 81, 82, 65_490, 65_491, 65_492, 70_000])
def test_a_frame_is_what_the_library_would_send(size: int) -> None:
    frame = text_frame("t", 1, {"x": "y" * size})
    text = json.dumps({"type": "t", "seq": 1, "payload": {"x": "y" * size}}, separators=(",", ":"))
    server = Connection(ConnectionType.SERVER)
    assert frame == server.send(wsproto.events.TextMessage(text))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_a_frame_is_read_back_as_it_was(payload: dict[str, Any]) -> None:
    assert unframe(text_frame("t", 3, payload)) == {"type": "t", "seq": 3, "payload": payload}


def test_what_json_cannot_write_becomes_null_and_lone_surrogates_survive() -> None:
    payload = {"a": [float("nan"), {"b": float("inf")}, 1.5], "c": "\ud800"}
    assert unframe(text_frame("t", 1, payload))["payload"] == {"a": [None, {"b": None}, 1.5], "c": "\ud800"}
    with pytest.raises(TypeError):
        text_frame("t", 1, {"a": object()})


# -- showing ------------------------------------------------------------------------------------------


def no_run(run_id: str) -> RunRecord | None:
    return None


def test_events_of_a_run_become_the_messages_of_the_protocol() -> None:
    assert event_message(event("run.started", caller="local", steps=2), no_run) == (
        "workflowStart",
        {"workflowId": "r1", "caller": "local", "steps": 2},
    )
    assert event_message(event("step.started", step="s1", tool="a2:fs/read", agent="a2"), no_run) == (
        "nodeStatusUpdate",
        {"workflowId": "r1", "nodeId": "s1", "status": "running", "tool": "a2:fs/read", "agent": "a2"},
    )
    error = {"code": "timeout", "detail": "too slow"}
    ended = event("step.finished", step="s1", state="failed", tool="t", agent="a", duration_ms=1.5, error=error)
    assert event_message(ended, no_run) == (
        "nodeStatusUpdate",
        {
            "workflowId": "r1",
            "nodeId": "s1",
            "status": "failed",
            "tool": "t",
            "agent": "a",
            "error": error,
            "durationMs": 1.5,
        },
    )
    progress = event("step.progress", step="s1", progress={"progress": 1, "total": 4, "message": "a quarter"})
    assert event_message(progress, no_run) == (
        "workflowLog",
        {
            "workflowId": "r1",
            "nodeId": "s1",
            "level": "info",
            "message": "a quarter",
            "source": "step",
            "progress": 1,
            "total": 4,
        },
    )
    type, payload = event_message(event("run.cancelling"), no_run)
    assert (type, payload["message"]) == ("workflowLog", "the run is being cancelled")


def test_other_events_are_shown_as_they_are() -> None:
    assert event_message(event("peer.connected", None, peer="px1"), no_run) == (
        "event",
        {"type": "peer.connected", "time": 12.5, "fields": {"peer": "px1"}},
    )
    type, payload = event_message(event("run.something_new", x=1), no_run)
    assert (type, payload["runId"], payload["fields"]) == ("event", "r1", {"x": 1})


def test_a_run_that_succeeded_is_complete_with_the_results_of_its_tools() -> None:
    first, last = {"content": [{"type": "text", "text": "1"}]}, {"content": [{"type": "text", "text": "2"}]}
    record = run(step("s1", result=first), step("s2", state="skipped"), step("s3", result=last))
    type, payload = event_message(event("run.finished", state="succeeded", duration_ms=5.0), lambda id: record)
    assert type == "workflowComplete"
    assert payload["result"] == last
    assert [(each["nodeId"], each["result"]) for each in payload["toolResults"]] == [("s1", first), ("s3", last)]
    assert payload["toolResults"][0]["agent"] == "a2"
    assert (payload["workflowId"], payload["durationMs"]) == ("r1", 5.0)
    assert "truncated" not in payload


def test_results_that_are_too_large_for_everybody_are_left_out() -> None:
    for text in ("x" * (MAX_BROADCAST + 1), ["y"] * MAX_BROADCAST):
        record = run(step(result={"content": text}))
        type, payload = event_message(event("run.finished", state="succeeded"), lambda id, record=record: record)  # type: ignore[misc]
        assert type == "workflowComplete"
        assert (payload["result"], payload["toolResults"], payload["truncated"]) == (None, [], True)
        assert result_payload("CALL read", record)["result"] is not None
    payload = result_payload("CALL read", run(step(result={"content": "x" * (MAX_ANSWER + 1)})))
    assert (payload["result"], payload["steps"][0]["result"], payload["truncated"]) == (None, None, True)
    assert payload["steps"][0]["nodeId"] == "s1"


def test_a_run_that_is_no_longer_known_is_complete_all_the_same() -> None:
    type, payload = event_message(event("run.finished", state="succeeded"), no_run)
    assert (type, payload["truncated"]) == ("workflowComplete", True)
    type, payload = event_message(event("run.finished", state="failed"), no_run)
    assert (type, payload["message"], payload["code"]) == ("workflowError", "the run was failed", "failed")


def test_a_run_that_failed_or_was_cancelled_is_an_error() -> None:
    record = run(step("s1"), step("s2", state="failed"), state="failed", error=Problem("tool_error", "no such file"))
    type, payload = event_message(event("run.finished", state="failed", duration_ms=1), lambda id: record)
    assert type == "workflowError"
    assert payload["message"] == "no such file"
    assert (payload["code"], payload["status"], payload["nodeId"]) == ("tool_error", "failed", "s2")
    cancelled = run(step("s1", state="cancelled"), state="cancelled")
    type, payload = event_message(event("run.finished", state="cancelled"), lambda id: cancelled)
    assert (type, payload["message"], payload["code"]) == ("workflowError", "the run was cancelled", "cancelled")
    assert "nodeId" not in payload


def test_a_result_says_how_every_step_ended() -> None:
    failed = step("s2", "failed", error=Problem("timeout", "too slow", data={"seconds": 3}))
    record = run(step(result={"content": []}), failed, state="failed", error=Problem("timeout", "too slow"))
    payload = result_payload("CALL read", record)
    assert (payload["success"], payload["status"], payload["workflowId"]) == (False, "failed", "r1")
    assert payload["durationMs"] == 1000
    assert payload["error"]["code"] == "timeout"
    assert payload["steps"][0] == {
        "nodeId": "s1",
        "tool": "read",
        "agent": "a2",
        "status": "succeeded",
        "result": {"content": []},
        "error": None,
        "durationMs": 250,
    }
    assert payload["steps"][1]["error"]["data"] == {"seconds": 3}
    assert unframe(text_frame("dslResult", 1, payload))["payload"] == payload


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = PraxisError("syntax", "expected a name", hint="write one", where="line 1, column 5", data={"line": 1})
    assert error_payload(error, request="DSL_COMMAND", run_id="r1") == {
        "message": "expected a name",
        "code": "syntax",
        "request": "DSL_COMMAND",
        "workflowId": "r1",
        "hint": "write one",
        "where": "line 1, column 5",
        "details": {"line": 1},
    }
    assert error_payload(PraxisError("busy", "too much")) == {"message": "too much", "code": "busy"}
