"""Requests of A2A, in both versions: what they ask for, and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire import a2a
from praxis.wire.a2a import A2aError, Message, Send, asked, id_of, request_of, version_of
from praxis.wire.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Request

TEXT = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "CALL x"}]}
OLD_TEXT = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "CALL x"}]}
MESSAGE = Message("m", "CALL x")


def refusal(version: Any, method: str, params: dict[str, Any]) -> A2aError:
    with pytest.raises(A2aError) as caught:
        asked(version, method, params)
    return caught.value


@pytest.mark.parametrize(
    ("said", "version"),
    [(None, "0.3"), ("", "0.3"), ("0.3", "0.3"), ("0.3.0", "0.3"), ("1.0", "1.0"), (" 1.0.1", "1.0")],
)
def test_a_request_names_its_version_without_its_patch(said: str | None, version: str) -> None:
    assert version_of(said) == version


@pytest.mark.parametrize("said", ["1", "2.0", "0.2", "1.1", "1.0.x", "01.0", "1.0, 0.3", "x" * 900, "1.0\n.1", "٣.0"])
def test_a_version_that_is_not_spoken_is_refused_with_those_that_are(said: str) -> None:
    with pytest.raises(A2aError) as caught:
        version_of(said)
    assert caught.value.code == a2a.VERSION_NOT_SUPPORTED
    error = json.loads(caught.value.line(7))["error"]
    (about,) = error["data"]
    assert about["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (about["reason"], about["domain"]) == ("VERSION_NOT_SUPPORTED", "a2a-protocol.org")
    assert about["metadata"] == {"supportedVersions": "0.3, 1.0"}
    assert len(error["message"]) < 80


def test_a_request_is_taken_out_of_its_envelope() -> None:
    value = {"jsonrpc": "2.0", "id": "a", "method": "GetTask", "params": {"id": "t"}}
    assert request_of(value) == Request("a", "GetTask", {"id": "t"})
    del value["params"]
    assert request_of(value).params == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"jsonrpc": "1.0"}, INVALID_REQUEST),
        ({"jsonrpc": None}, INVALID_REQUEST),
        ({"method": 3}, INVALID_REQUEST),
        ({"id": None}, INVALID_REQUEST),
        ({"id": True}, INVALID_REQUEST),
        ({"id": [1]}, INVALID_REQUEST),
        ({"params": [1]}, INVALID_PARAMS),
        ({"params": None}, INVALID_PARAMS),
    ],
)
def test_an_envelope_that_is_none_is_refused(change: dict[str, Any], code: int) -> None:
    with pytest.raises(A2aError) as caught:
        request_of({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {}} | change)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [None, [], [{"jsonrpc": "2.0", "id": 1, "method": "GetTask"}], "x", 1, {}])
def test_what_is_no_object_is_no_request(value: Any) -> None:
    with pytest.raises(A2aError) as caught:
        request_of(value)
    assert json.loads(caught.value.line(id_of(value))) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": INVALID_REQUEST, "message": caught.value.message},
    }


def test_a_message_is_sent_in_both_versions() -> None:
    assert asked("1.0", "SendMessage", {"message": TEXT}) == Send(MESSAGE, streams=False)
    assert asked("0.3", "message/send", {"message": OLD_TEXT}) == Send(MESSAGE, streams=False)
    assert asked("1.0", "SendStreamingMessage", {"message": TEXT}) == Send(MESSAGE, streams=True)
    assert asked("0.3", "message/stream", {"message": OLD_TEXT}) == Send(MESSAGE, streams=True)


@pytest.mark.parametrize(
    ("version", "configuration", "waits", "history"),
    [
        ("1.0", {}, True, None),
        ("1.0", {"returnImmediately": True, "historyLength": 0}, False, 0),
        ("1.0", {"returnImmediately": False, "historyLength": 3, "acceptedOutputModes": ["text/plain"]}, True, 3),
        ("0.3", {"blocking": False, "historyLength": 0}, False, None),
        ("0.3", {"blocking": True, "historyLength": 2}, True, 2),
        ("0.3", {}, True, None),
    ],
)
def test_a_sender_waits_for_the_end_unless_it_says_otherwise(
    version: Any, configuration: dict[str, Any], waits: bool, history: int | None
) -> None:
    method, message = ("SendMessage", TEXT) if version == "1.0" else ("message/send", OLD_TEXT)
    sent = asked(version, method, {"message": message, "configuration": configuration})
    assert isinstance(sent, Send)
    assert (sent.waits, sent.history) == (waits, history)


def test_parts_are_words_and_values() -> None:
    parts = [{"text": "CALL x"}, {"data": {"params": {}}, "mediaType": "application/json"}, {"text": "CALL y"}]
    sent = asked("1.0", "SendMessage", {"message": {**TEXT, "parts": parts, "taskId": "t", "contextId": "c"}})
    assert isinstance(sent, Send)
    assert sent.message == Message("m", "CALL x\nCALL y", ({"params": {}},), "t", "c")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "ROLE_AGENT"}, "message.role"),
        ({"role": "user"}, "message.role"),
        ({"messageId": None}, "message.messageId"),
        ({"messageId": ""}, "message.messageId"),
        ({"messageId": "x" * 257}, "message.messageId"),
        ({"messageId": "a\nb"}, "message.messageId"),
        ({"contextId": 5}, "message.contextId"),
        ({"taskId": []}, "message.taskId"),
        ({"parts": None}, "message.parts"),
        ({"parts": []}, "message.parts"),
        ({"parts": [{"text": "x"}] * 101}, "message.parts"),
        ({"parts": [{"text": "x"}, {"text": 5}]}, "message.parts[1]"),
        ({"parts": ["x"]}, "message.parts[0]"),
        ({"parts": [{"data": [1]}]}, "message.parts[0]"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(change: dict[str, Any], field: str) -> None:
    error = refusal("1.0", "SendMessage", {"message": TEXT | change})
    assert (error.code, error.field) == (INVALID_PARAMS, field)
    (details,) = json.loads(error.line(1))["error"]["data"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert details["fieldViolations"][0]["field"] == field


@pytest.mark.parametrize(
    "part", [{"raw": "AA=="}, {"url": "http://x/"}, {"kind": "file", "file": {"uri": "http://x/"}}]
)
def test_files_are_not_taken(part: dict[str, Any]) -> None:
    error = refusal("1.0", "SendMessage", {"message": {**TEXT, "parts": [part]}})
    assert (error.code, error.field) == (a2a.CONTENT_TYPE, "message.parts[0]")


def test_the_other_methods() -> None:
    assert asked("1.0", "GetTask", {"id": "t", "historyLength": 2}) == a2a.Get("t", 2)
    assert asked("0.3", "tasks/get", {"id": "t", "historyLength": 0}) == a2a.Get("t", None)
    for version, methods in (
        ("1.0", ("CancelTask", "SubscribeToTask")),
        ("0.3", ("tasks/cancel", "tasks/resubscribe")),
    ):
        assert asked(version, methods[0], {"id": "t"}) == a2a.Cancel("t")  # type: ignore[arg-type]
        assert asked(version, methods[1], {"id": "t"}) == a2a.Subscribe("t")  # type: ignore[arg-type]
    assert asked("1.0", "GetExtendedAgentCard", {}) == a2a.ExtendedCard()
    assert asked("0.3", "agent/getAuthenticatedExtendedCard", {}) == a2a.ExtendedCard()
    assert refusal("1.0", "CancelTask", {}).field == "id"


def test_tasks_are_listed_by_what_they_are() -> None:
    assert asked("1.0", "ListTasks", {}) == a2a.ListTasks()
    given = {
        "contextId": "c",
        "status": "TASK_STATE_INPUT_REQUIRED",
        "pageSize": 7,
        "pageToken": "p",
        "historyLength": 0,
        "statusTimestampAfter": "1970-01-01T00:01:00.500Z",
        "includeArtifacts": True,
    }
    assert asked("1.0", "ListTasks", given) == a2a.ListTasks(7, "p", "c", "input-required", 60.5, 0, True)
    assert asked("1.0", "ListTasks", {"status": "TASK_STATE_UNSPECIFIED"}) == a2a.ListTasks()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("pageSize", value) for value in (0, 101, -1, True, "5", 1.5)),
        *(("status", value) for value in ("working", "TASK_STATE_NONE", 5)),
        *(("statusTimestampAfter", value) for value in ("yesterday", "2026-13-01T00:00:00Z", 5)),
        *(("historyLength", value) for value in (-1, "1", False)),
        ("includeArtifacts", "yes"),
        ("pageToken", "x" * 300),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(field: str, value: Any) -> None:
    error = refusal("1.0", "ListTasks", {field: value})
    assert (error.code, error.field) == (INVALID_PARAMS, field)


def test_a_method_of_the_other_version_is_told_from_one_that_is_none() -> None:
    error = refusal("0.3", "SendMessage", {"message": TEXT})
    assert error.code == METHOD_NOT_FOUND
    assert "A2A 1.0" in error.message
    assert "A2A-Version" in error.message
    assert "A2A-Version" not in refusal("1.0", "Dance", {}).message


@pytest.mark.parametrize(
    ("version", "method"),
    [
        *(("1.0", f"{verb}TaskPushNotificationConfig") for verb in ("Create", "Get", "Delete")),
        ("1.0", "ListTaskPushNotificationConfigs"),
        *(("0.3", f"tasks/pushNotificationConfig/{verb}") for verb in ("set", "get", "list", "delete")),
    ],
)
def test_there_are_no_push_notifications(version: str, method: str) -> None:
    assert refusal(version, method, {}).code == a2a.PUSH_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("version", "method", "message", "name"),
    [
        ("1.0", "SendMessage", TEXT, "taskPushNotificationConfig"),
        ("0.3", "message/send", OLD_TEXT, "pushNotificationConfig"),
    ],
)
def test_a_message_cannot_ask_for_them_either(version: str, method: str, message: Any, name: str) -> None:
    error = refusal(version, method, {"message": message, "configuration": {name: {"url": "http://x/"}}})
    assert error.code == a2a.PUSH_NOT_SUPPORTED


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "id",
        "message",
        "configuration",
        "parts",
        "text",
        "data",
        "role",
        "messageId",
        "pageSize",
        "status",
        "historyLength",
    ]
)
ALL = [(version, method) for version, methods in a2a.METHODS.items() for method in methods]


@given(st.sampled_from(ALL), st.dictionaries(NAMES, ANYTHING | st.dictionaries(NAMES, ANYTHING, max_size=4)))
def test_rubbish_raises_the_protocols_error_alone(method: tuple[Any, str], params: dict[str, Any]) -> None:
    try:
        asked(*method, params)
    except A2aError as error:
        assert json.loads(error.line(1))["error"]["code"] == error.code
