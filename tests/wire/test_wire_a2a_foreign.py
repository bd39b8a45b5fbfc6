"""Cards and tasks of A2A agents somewhere else: what is understood, what is refused, what is bounded."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.card import AgentCard
from praxis.wire.a2a import METHODS, Send, asked
from praxis.wire.a2a_answer import MAX_URL, result_of
from praxis.wire.a2a_card import PATH, card_of
from praxis.wire.a2a_foreign_card import (
    MAX_DESCRIPTION,
    MAX_SKILLS,
    CardError,
    card_addresses,
    plain,
    read_card,
    same_address,
)
from praxis.wire.a2a_task_view import MAX_ARTIFACTS, MAX_KEPT, TaskError, TaskTooLargeError, TaskView, send_params
from praxis.wire.a2a_task_view import METHODS as SENT

HOME = "https://agents.example/travel"
JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def card(**members: Any) -> bytes:
    return json.dumps({"name": "travel", "url": HOME, **members}).encode()


def interface(url: str = HOME, version: str = "1.0", binding: str = "JSONRPC", **more: Any) -> dict[str, Any]:
    return {"url": url, "protocolBinding": binding, "protocolVersion": version, **more}


# -- cards ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("https://a.example", ["https://a.example/.well-known/agent-card.json"]),
        ("https://a.example/", ["https://a.example/.well-known/agent-card.json"]),
        (
            "http://a:1/b/",
            ["http://a:1/b/.well-known/agent-card.json", "http://a:1/.well-known/agent-card.json"],
        ),
        ("https://a.example/cards/b.json", ["https://a.example/cards/b.json"]),
    ],
)
def test_where_a_card_may_be(url: str, places: list[str]) -> None:
    assert list(card_addresses(url)) == places


def test_addresses_are_compared_without_what_says_nothing() -> None:
    same = "https://A.example:443/b/", "https://a.example/b", "https://a.example/b/.well-known/agent-card.json"
    assert len({same_address(each) for each in same}) == 1
    other = "http://a.example/b", "https://a.example/B", "https://a.example:444/b", "https://a.example/b?c"
    assert len({same_address(each) for each in (*other, same[0])}) == 5


def test_our_own_cards_are_understood_in_both_versions() -> None:
    own = AgentCard("agent-1", "1", "does things", "http://127.0.0.1:8000", "px")
    for version in ("1.0", "0.3"):
        body = json.dumps(card_of(own, "http://127.0.0.1:8000", version)).encode()
        seen = read_card(body, "http://127.0.0.1:8000")
        assert (seen.name, seen.description, seen.version) == ("agent-1", "does things", "1.0"), "the newer one counts"
        assert (seen.url, seen.streaming) == ("http://127.0.0.1:8000" + PATH, True)
        assert [skill.id for skill in seen.skills] == ["run-program"]


def test_the_newest_interface_for_json_rpc_counts() -> None:
    both = [interface(HOME + "/old", "0.3.0"), interface(HOME + "/grpc", binding="GRPC"), interface(tenant="t")]
    seen = read_card(card(supportedInterfaces=both), HOME)
    assert (seen.url, seen.version, seen.tenant, seen.streaming) == (HOME, "1.0", "t", False)


@pytest.mark.parametrize(
    ("members", "url"),
    [
        ({"protocolVersion": "0.3.0"}, HOME),
        ({"protocolVersion": "0.2.6", "preferredTransport": "JSONRPC"}, HOME),
        (
            {"preferredTransport": "GRPC", "additionalInterfaces": [{"url": HOME + "/j", "transport": "JSONRPC"}]},
            HOME + "/j",
        ),
        ({"url": "http://0.0.0.0:9999/x"}, "https://agents.example/x"),
    ],
)
def test_cards_of_0_3(members: dict[str, Any], url: str) -> None:
    seen = read_card(card(**members), HOME)
    assert (seen.url, seen.version) == (url, "0.3")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>", "its card is no JSON"),
        (b"[" * 100_000, "its card is no JSON"),
        (b"[]", "no card: it has no name"),
        (b'{"name": " "}', "no card: it has no name"),
        (card(protocolVersion="2.0"), "names no address for JSON-RPC of A2A 1.0 or 0.3"),
        (card(preferredTransport="GRPC"), "names no address"),
        (card(url="https://evil.example/"), "leads to another origin, https://evil.example/"),
        (card(url="http://agents.example/"), "leads to another origin"),
        (card(url="https://agents.example:1/"), "leads to another origin"),
        (card(url="https://agents.example:x/"), "leads to another origin"),
        (card(url="file:///etc/passwd"), "leads to another origin"),
    ],
)
def test_what_is_no_card_of_that_agent_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(CardError) as refused:
        read_card(body, HOME)
    assert told in str(refused.value)


def test_what_a_card_says_is_bounded_and_on_one_line() -> None:
    skills = [{"id": f"s{n}", "description": "x\x1b[31m\n\u202ey" + "z" * 5000} for n in range(MAX_SKILLS + 5)]
    seen = read_card(card(skills=[*skills, 3, {"id": 4}]), HOME)
    assert len(seen.skills) == MAX_SKILLS
    assert seen.skills[0].description.startswith("x [31m y")
    assert len(seen.skills[0].description) == MAX_DESCRIPTION
    assert plain("a\x00b\ud800c") == "a b c"


@given(st.dictionaries(st.sampled_from(["name", "url", "skills", "supportedInterfaces", "capabilities"]), JSON_VALUE))
def test_garbage_raises_only_what_it_may(members: dict[str, Any]) -> None:
    with suppress(CardError):
        read_card(card(**members), HOME)


# -- messages ---------------------------------------------------------------------------------------


def test_our_own_endpoint_takes_what_is_sent() -> None:
    for version in ("1.0", "0.3"):
        params = send_params(version, "m1", "book it", {"n": 1}, "book")
        method = SENT[version]["send"]
        sent = asked(version, method, params)
        assert isinstance(sent, Send)
        assert (sent.message.words, sent.message.values, sent.waits) == ("book it", ({"n": 1},), False)
        assert params["message"]["metadata"] == {"skillId": "book"}
        assert set(SENT[version].values()) <= METHODS[version].keys()


# -- tasks ------------------------------------------------------------------------------------------


def artifact(id: str, *parts: Any) -> dict[str, Any]:
    return {"artifactId": id, "parts": list(parts)}


def task(state: str = "TASK_STATE_COMPLETED", words: str = "", *artifacts: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"state": state}
    if words:
        status["message"] = {"parts": [{"text": words}]}
    return {"id": "t1", "contextId": "c1", "status": status, "artifacts": list(artifacts)}


def test_a_stream_of_1_0() -> None:
    view = TaskView()
    assert view.take({"task": task("TASK_STATE_WORKING")})
    assert (view.id, view.context, view.over, view.cancellable) == ("t1", "c1", False, True)
    assert not view.take({"artifactUpdate": {"taskId": "t1", "artifact": artifact("a", {"text": "o"})}})
    view.take({"artifactUpdate": {"artifact": artifact("b", {"data": {"n": 1}})}})
    view.take({"artifactUpdate": {"artifact": artifact("a", {"text": "ne"}), "append": True}})
    view.take({"artifactUpdate": {"artifact": artifact("b", {"data": {"n": 2}})}})
    view.take({"statusUpdate": {"taskId": "t1", "status": {"state": "TASK_STATE_COMPLETED"}}})
    assert (view.over, view.cancellable) == (True, False)
    result = result_of(view)
    assert result.value == {
        "content": [{"type": "text", "text": "o"}, {"type": "text", "text": "ne"}],
        "isError": False,
        "structuredContent": {"n": 2},
    }


def test_a_stream_of_0_3() -> None:
    view = TaskView()
    view.take({"kind": "task", **task("submitted")})
    part = {"kind": "text", "text": "done"}
    view.take({"kind": "artifact-update", "taskId": "t1", "artifact": artifact("a", part)})
    view.take({"kind": "status-update", "taskId": "t1", "status": {"state": "completed"}, "final": True})
    assert result_of(view).text == "done"


@pytest.mark.parametrize(
    "message", [{"message": {"parts": [{"text": "hello"}]}}, {"kind": "message", "parts": [{"text": "hello"}]}]
)
def test_an_agent_may_answer_with_a_message_alone(message: dict[str, Any]) -> None:
    view = TaskView()
    view.take(message)
    assert (view.over, view.cancellable) == (True, False)
    assert result_of(view).value == {"content": [{"type": "text", "text": "hello"}], "isError": False}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("FAILED", "the task failed: no seats"),
        ("REJECTED", "the agent rejects the task: no seats"),
        ("CANCELED", "the task was cancelled there: no seats"),
        ("INPUT_REQUIRED", "the task needs more input, which a call cannot give (task t1): no seats"),
        ("AUTH_REQUIRED", "the task needs an authentication, which a call cannot give (task t1): no seats"),
    ],
)
def test_no_success_is_an_error_with_the_agents_words(state: str, told: str) -> None:
    view = TaskView()
    view.take({"task": task(f"TASK_STATE_{state}", "no seats", artifact("a", {"text": "half"}))})
    assert view.over
    result = result_of(view)
    assert result.is_error
    assert result.text == f"{told}\nhalf"


def test_data_is_text_too_where_there_is_none_and_words_stand_in_for_artifacts() -> None:
    view = TaskView()
    view.take({"task": task("TASK_STATE_COMPLETED", "", artifact("a", {"data": [1]}, {"data": {"x": 2}}))})
    assert result_of(view).structured == {"results": [[1], {"x": 2}]}
    assert json.loads(result_of(view).text) == {"results": [[1], {"x": 2}]}
    view.take({"task": task("TASK_STATE_COMPLETED", "all booked")})
    assert result_of(view).text == "all booked"


def test_files_come_as_links_and_never_as_bytes() -> None:
    new = [{"url": "https://f.example/a.pdf", "mediaType": "application/pdf"}, {"raw": "QUJD", "filename": "b.bin"}]
    old = [{"file": {"uri": "https://f.example/c", "name": "c.txt"}}, {"file": {"bytes": "QUJD"}}]
    bad = [{"url": url} for url in ("file:///etc/passwd", "https://[", "https://x/" + "y" * MAX_URL)]
    view = TaskView()
    view.take({"task": task("TASK_STATE_COMPLETED", "", artifact("a", *new, *old, *bad))})
    content = result_of(view).value["content"]
    assert content[0] == {
        "type": "resource_link",
        "uri": "https://f.example/a.pdf",
        "name": "a.pdf",
        "mimeType": "application/pdf",
    }
    assert content[1]["text"].startswith("[the file b.bin of about 3 bytes is left out")
    assert (content[2]["uri"], content[2]["name"]) == ("https://f.example/c", "c.txt")
    assert [block["type"] for block in content[3:]] == ["text"] * 4
    assert "passwd" not in json.dumps(content)


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        [],
        {"task": {}},
        {"task": task("TASK_STATE_DANCING")},
        {"kind": "task", "id": "t"},
        {"statusUpdate": {"taskId": "t"}},
        {"artifactUpdate": {"taskId": "t", "artifact": {}}},
    ],
)
def test_what_is_neither_task_nor_message_is_refused(result: Any) -> None:
    with pytest.raises(TaskError):
        TaskView().take(result)


def test_what_is_kept_of_a_task_is_bounded() -> None:
    view = TaskView()
    piece = {"artifactUpdate": {"artifact": artifact("a", {"text": "x" * (MAX_KEPT // 4)}), "append": True}}
    with pytest.raises(TaskTooLargeError):
        for _ in range(5):
            view.take(piece)
    view = TaskView()
    for _ in range(20):
        view.take({"artifactUpdate": {"artifact": artifact("a", {"text": "x" * (MAX_KEPT // 4)})}})
    with pytest.raises(TaskTooLargeError):
        for n in range(MAX_ARTIFACTS + 1):
            view.take({"artifactUpdate": {"artifact": artifact(str(n))}})
    with pytest.raises(TaskTooLargeError):
        view.take({"artifactUpdate": {"artifact": artifact("b", *[{}] * (MAX_KEPT // 60))}})


@given(st.lists(st.dictionaries(st.sampled_from(["task", "message", "statusUpdate", "kind", "artifact"]), JSON_VALUE)))
def test_garbage_raises_only_a_task_error(results: list[Any]) -> None:
    view = TaskView()
    for result in results:
        try:
            view.take(result)
        except TaskError:
            continue
    result_of(view)
