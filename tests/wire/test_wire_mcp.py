from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.wire import mcp, mcp_eras
from praxis.wire.mcp import ClientSession, Happening


class CountingSession(ClientSession):
    def __init__(self, max_line: int) -> None:
        self.counts: Counter[str] = Counter()
        super().__init__(name="praxis", version="1", max_line=max_line, count=lambda fault: self.counts.update([fault]))


def make_session(max_line: int = 10_000) -> CountingSession:
    return CountingSession(max_line)


def pending(count: int, max_line: int = 10_000, *, progress: bool = False) -> CountingSession:
    session = make_session(max_line)
    assert [session.request("tools/call", {}, progress=progress)[0] for _ in range(count)] == [*range(1, count + 1)]
    return session


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def test_the_handshake() -> None:
    session = make_session()
    id, sent = session.request("initialize", session.initialize_params())
    assert json.loads(sent) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "praxis", "version": "1"},
        },
    }
    answer = {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {"name": "s", "version": "9"}}
    assert session.receive(line(id=id, result=answer)) == [mcp.Answered(1, answer)]
    hello, sent = session.initialized(answer)
    assert hello == mcp.ServerHello("2024-11-05", {"name": "s", "version": "9"})
    assert (hello.name, hello.modern) == ("s 9", False)
    assert json.loads(sent) == {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.mark.parametrize("version", mcp_eras.HANDSHAKE_VERSIONS)
def test_every_handshake_version_is_spoken(version: str) -> None:
    hello, _ = make_session().initialized({"protocolVersion": version, "serverInfo": []})
    assert hello == mcp.ServerHello(version)
    assert hello.name == ""


@pytest.mark.parametrize("result", [{"protocolVersion": "2026-07-28"}, {"protocolVersion": ["x"]}, {}, [], None, "hi"])
def test_another_version_is_a_clear_failure(result: Any) -> None:
    with pytest.raises(PraxisError, match=r"protocol version .*2025-11-25") as caught:
        make_session().initialized(result)
    assert caught.value.code == "unavailable"


def test_answers_find_their_requests_in_any_order() -> None:
    session = pending(3)
    data = (
        line(id=3, result={"a": 1})
        + line(id=1, error={"code": -32602, "message": "no", "data": 5})
        + line(id=2, result=None)
    )
    assert session.receive(data) == [mcp.Answered(3, {"a": 1}), mcp.Refused(1, -32602, "no", 5), mcp.Answered(2, None)]
    assert session.counts == Counter()


def test_late_duplicate_and_invented_answers_are_counted_apart() -> None:
    session = pending(2)
    session.forget(1)
    data = line(id=1, result={}) + line(id=2, result={}) + line(id=2, result={}) + line(id=3, result={})
    assert session.receive(data + line(id="2", result={}) + line(id=None, error={"code": 1})) == [mcp.Answered(2, {})]
    assert session.counts == Counter(late=2, unknown=3)


def test_a_cancelled_request_is_told_and_its_answer_late() -> None:
    session = pending(1)
    assert json.loads(session.cancel(1, "time is up")) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 1, "reason": "time is up"},
    }
    assert session.receive(line(id=1, result={})) == []
    assert session.counts == Counter(late=1, cancelled=1)


def test_progress_goes_to_who_asked_for_it() -> None:
    session = make_session()
    session.request("tools/call", {"name": "a"})
    id, sent = session.request("tools/call", {"name": "b"}, progress=True)
    assert json.loads(sent)["params"] == {"name": "b", "_meta": {"progressToken": id}}
    params = {"progressToken": id, "progress": 1, "message": "half"}
    told = {"progress": 1, "message": "half"}
    assert session.receive(line(method="notifications/progress", params=params)) == [mcp.Progressed(id, told)]
    for token in (1, 3, "2", True, None):
        assert session.receive(line(method="notifications/progress", params={"progressToken": token})) == []
    assert session.counts == Counter(unknown=4)
    session.forget(id)
    assert session.receive(line(method="notifications/progress", params=params)) == []


def test_the_servers_requests_are_always_answered() -> None:
    session = make_session()
    replies = session.receive(line(id="p", method="ping") + line(id=9, method="roots/make", params={}))
    assert [json.loads(reply.line) for reply in replies if isinstance(reply, mcp.Reply)] == [
        {"jsonrpc": "2.0", "id": "p", "result": {}},
        {"jsonrpc": "2.0", "id": 9, "error": {"code": -32601, "message": "not supported: roots/make"}},
    ]
    assert session.counts == Counter(refused=1)


@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "elicitation/create"])
def test_what_a_client_may_have_is_asked_further_up(method: str) -> None:
    session = make_session()
    asked = mcp.Asked("q", method, {"a": 1})
    assert session.receive(line(id="q", method=method, params={"a": 1})) == [asked]
    assert json.loads(session.refuse(asked, -32603, "busy")) == {
        "jsonrpc": "2.0",
        "id": "q",
        "error": {"code": -32603, "message": "busy"},
    }
    assert session.counts == Counter(refused=1)
    session.speak("2026-07-28")  # where servers do not ask
    assert [type(one) for one in session.receive(line(id=1, method=method))] == [mcp.Reply]


def test_modern_requests_stand_for_themselves() -> None:
    session = make_session()
    assert (session.modern, session.version) == (False, "")
    session.speak("2026-07-28")
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "praxis", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    _, sent = session.request("tools/list", {})
    assert json.loads(sent)["params"] == {"_meta": meta}
    own = {"traceparent": "00-1", "io.modelcontextprotocol/clientCapabilities": {"sampling": {}}}
    id, sent = session.request("tools/call", {"name": "a"}, progress=True, meta=own)
    assert json.loads(sent)["params"] == {"name": "a", "_meta": {**meta, **own, "progressToken": id}}
    session.speak("2025-11-25")
    _, sent = session.request("tools/list", {})
    assert json.loads(sent)["params"] == {}


def test_notifications() -> None:
    session = make_session()
    data = line(method="notifications/tools/list_changed") + line(method="notifications/resources/list_changed")
    assert session.receive(data) == [
        mcp.Notified("notifications/tools/list_changed", {}),
        mcp.Notified("notifications/resources/list_changed", {}),
    ]
    message = {"level": "error", "data": "red\x1b[31m\nline"}
    (logged,) = session.receive(line(method="notifications/message", params=message))
    assert isinstance(logged, mcp.Logged)
    assert (logged.params, logged.level, logged.text) == (message, "error", "red\x1b[31m\nline")
    logged = mcp.Logged({"data": {"a": [1]}})
    assert (logged.level, logged.text) == ("None", "{'a': [1]}")


def test_noise_is_skipped_and_counted() -> None:
    session = pending(1)
    got = session.receive(b"\n  \nServer listening\x1b[0m\n{}\n" + line(id=1, result={}))
    assert [type(one) for one in got] == [mcp.Noise, mcp.Noise, mcp.Answered]
    assert isinstance(got[0], mcp.Noise)
    assert got[0].text == "Server listening\x1b[0m"
    assert session.counts == Counter(noise=4)


def test_an_answer_that_is_no_json_ends_the_wait_for_it() -> None:
    session = pending(2)
    assert session.receive(b'{"jsonrpc":"2.0","id":2,"result":{"mean":NaN}}\n') == [mcp.Garbled(2, "NaN is not JSON")]
    assert session.receive(b'{"jsonrpc":"2.0","id":7,"result":{"mean":NaN}}\n')[0] != mcp.Garbled(7, "NaN is not JSON")
    assert session.receive(b'{"id":1,"method":"x","params":NaN}\n')[0] != mcp.Garbled(1, "NaN is not JSON")
    assert session.receive(line(id=1, result={})) == [mcp.Answered(1, {})]


LONG = "x" * 100


@pytest.mark.parametrize(
    ("waiting", "text", "happening"),
    [
        (2, line(id=2, result=LONG), mcp.TooLong(2, 150)),
        (2, b'{"result":"%s","jsonrpc":"2.0","id":1}\n' % LONG.encode(), mcp.TooLong(1, 147)),
        (2, line(method="notifications/message", params=LONG), None),
        (2, line(id=1, method="roots/list", params=LONG), None),
        (2, line(id=9, result=LONG), None),
        (0, b"x" * 200 + b"\n", None),
        (1, b"x" * 200 + b"\n", mcp.TooLong(1, 200)),
        (2, b"x" * 200 + b"\n", mcp.Broken(200)),
    ],
)
def test_a_line_over_the_limit(waiting: int, text: bytes, happening: Happening | None) -> None:
    session = pending(waiting, max_line=99)
    got = [type(one) for one in session.receive(text)]
    assert got == ([] if happening is None else [type(happening)])
    assert session.counts["too_long"] == 1


def test_a_line_over_the_limit_fails_its_own_request_alone() -> None:
    session = pending(2, max_line=99)
    assert session.receive(line(id=2, result=LONG)) == [mcp.TooLong(2, len(line(id=2, result=LONG)) - 1)]
    assert session.receive(line(id=1, result="short")) == [mcp.Answered(1, "short")]
    assert session.receive(line(id=2, result="short")) == []
    assert session.counts == Counter(too_long=1, late=1)


members = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-1, 5) | st.none() | st.text(max_size=2) | st.booleans(),
        "method": st.sampled_from(["ping", "x", "notifications/progress", "notifications/message"]),
        "params": st.dictionaries(st.sampled_from(["progressToken", "level", "data"]), st.integers() | st.text())
        | st.none(),
        "result": st.none() | st.just({}),
        "error": st.none() | st.text(max_size=3) | st.dictionaries(st.sampled_from(["code", "message"]), st.text()),
    },
)
garbage = st.lists(st.binary(max_size=60) | members.map(lambda value: json.dumps(value).encode())).map(b"\n".join)


@settings(deadline=None)
@given(garbage, st.integers(1, 50))
def test_garbage_never_raises_and_its_split_does_not_matter(data: bytes, size: int) -> None:
    data += b"\n"
    whole, pieces = pending(3, max_line=80, progress=True), pending(3, max_line=80, progress=True)
    got = [one for at in range(0, len(data), size) for one in pieces.receive(data[at : at + size])]
    assert got == whole.receive(data)
    assert pieces.counts == whole.counts


def test_pages() -> None:
    assert mcp.page("tools/list", {"tools": [{"name": "a"}, 7], "nextCursor": ""}) == ([{"name": "a"}], "")
    assert mcp.page("tools/list", {"tools": [], "nextCursor": None}) == ([], None)
    assert mcp.page("tools/list", {"tools": []}) == ([], None)


@pytest.mark.parametrize("wrong", [{}, [], None, {"tools": {}}])
def test_what_is_no_page(wrong: Any) -> None:
    with pytest.raises(PraxisError, match="without a list of tools"):
        mcp.page("tools/list", wrong)


def test_show_is_one_bounded_printable_line() -> None:
    assert mcp.show("a\tb") == r"a\tb"
    assert mcp.show("\ud800") == r"\ud800"
    assert mcp.show("x" * 500) == "x" * mcp.SHOWN + "…"
    assert mcp.show(None) == "none"
