"""What a server of MCP checks and answers, without a socket: both eras."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.wire import mcp_header_check as checked
from praxis.wire.jsonrpc import Request
from praxis.wire.mcp_eras import META_CAPABILITIES, META_SERVER, META_VERSION
from praxis.wire.mcp_legacy import Hello, hello_result, is_loud_enough, read_hello, read_level, read_uri
from praxis.wire.mcp_modern import (
    foreign_meta,
    is_wanted,
    own_params,
    progress_token,
    read_request,
    tagged,
    wanted_notices,
)
from praxis.wire.mcp_server import check_questions, complete, era_of, error_of, http_status, reduce, refusal
from praxis.wire.mcp_state import MAX_STATE, binding, seal, unseal

META = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def code_of(error: PraxisError) -> int:
    code = error_of(error)["code"]
    assert isinstance(code, int)
    return code


def refused(method: str = "tools/list", **params: Any) -> int:
    with pytest.raises(PraxisError) as caught:
        read_request(Request(1, method, params))
    return code_of(caught.value)


# -- eras -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "params", "era"),
    [
        (None, {}, "legacy"),
        (None, {"_meta": {"progressToken": 1}}, "legacy"),
        (None, {"_meta": META}, "modern"),
        (None, {"_meta": "garbage"}, "legacy"),
        ("2024-11-05", {}, "legacy"),
        ("2025-11-25", {"_meta": META}, "legacy"),
        ("2026-07-28", {}, "modern"),
        ("2099-01-01", {}, "modern"),
        ("", {}, "modern"),
    ],
)
def test_the_header_decides_and_without_one_the_body(header: str | None, params: dict[str, Any], era: str) -> None:
    assert era_of(header, params) == era


def test_a_request_is_taken_apart() -> None:
    meta = {**META, "progressToken": "p", "traceparent": "00-1", "io.modelcontextprotocol/logLevel": "info"}
    params: dict[str, Any] = {
        "name": "x",
        "arguments": None,
        "_meta": meta,
        "inputResponses": {"a": {}},
        "requestState": "s",
    }
    request = read_request(Request("7", "tools/call", params))
    assert (request.id, request.params, request.capabilities) == ("7", {"name": "x"}, {})
    assert (request.progress_token, request.log_level, request.meta) == ("p", "info", {"traceparent": "00-1"})
    assert (request.responses, request.state) == ({"a": {}}, "s")


def test_a_list_is_never_asked_again_with_input() -> None:
    request = read_request(Request(1, "tools/list", {"_meta": META, "inputResponses": {}, "requestState": "s"}))
    assert (request.responses, request.state, request.params) == (None, None, {})


@pytest.mark.parametrize(
    ("code", "method", "params"),
    [
        (-32602, "tools/list", {}),
        (-32602, "tools/list", {"_meta": []}),
        (-32602, "tools/list", {"_meta": {META_CAPABILITIES: {}}}),
        (-32602, "tools/list", {"_meta": {META_VERSION: "2026-07-28"}}),
        (-32602, "tools/list", {"_meta": {**META, META_CAPABILITIES: []}}),
        (-32602, "tools/list", {"_meta": {**META, "io.modelcontextprotocol/logLevel": "loud"}}),
        (-32022, "tools/list", {"_meta": {**META, META_VERSION: "2025-11-25"}}),
        (-32601, "ping", {"_meta": META}),
        (-32601, "initialize", {"_meta": META}),
        (-32602, "tools/call", {"_meta": META, "inputResponses": None}),
        (-32602, "tools/call", {"_meta": META, "inputResponses": {"a": 5}}),
        (-32602, "tools/call", {"_meta": META, "requestState": 5}),
    ],
)
def test_what_a_modern_request_lacks_is_said_with_its_code(code: int, method: str, params: dict[str, Any]) -> None:
    assert refused(method, **params) == code


def test_an_unknown_version_is_told_which_are_spoken() -> None:
    with pytest.raises(PraxisError) as caught:
        read_request(Request(1, "tools/list", {"_meta": {**META, META_VERSION: "v999"}}))
    assert error_of(caught.value)["data"] == {"supported": ["2026-07-28"], "requested": "v999"}


@given(JSON_VALUES)
def test_whatever_comes_as_params_is_read_or_refused(value: Any) -> None:
    params = value if isinstance(value, dict) else {"_meta": value}
    try:
        read_request(Request(1, "tools/call", params))
    except PraxisError as error:
        assert http_status(error_of(error)) in (400, 404)


@pytest.mark.parametrize(("token", "is_one"), [(0, True), ("", True), (True, False), (None, False), ([], False)])
def test_a_progress_token_is_a_number_or_a_string(token: Any, is_one: bool) -> None:
    assert progress_token({"progressToken": token}) == (token if is_one else None)


def test_own_params_and_foreign_meta_leave_the_connection_out() -> None:
    assert own_params({"uri": "x", "arguments": {}, "_meta": {}}) == {"uri": "x", "arguments": {}}
    assert foreign_meta({"progressToken": 1, META_VERSION: "x", "a/b": 2}) == {"a/b": 2}
    assert foreign_meta(None) == {}


# -- listening --------------------------------------------------------------------------------------


def test_a_listener_gets_what_it_asked_for_and_nothing_else() -> None:
    given = {"toolsListChanged": True, "promptsListChanged": False, "resourceSubscriptions": ["a:b", "a:b"], "x": True}
    wanted = wanted_notices({"notifications": given})
    assert wanted == {"toolsListChanged": True, "resourceSubscriptions": ["a:b"]}
    assert is_wanted("notifications/tools/list_changed", {}, wanted)
    assert is_wanted("notifications/resources/updated", {"uri": "a:b"}, wanted)
    assert not is_wanted("notifications/prompts/list_changed", {}, wanted)
    assert not is_wanted("notifications/resources/updated", {"uri": "a:c"}, wanted)
    assert not is_wanted("notifications/message", {}, wanted)


@pytest.mark.parametrize("given", [None, [], {"resourceSubscriptions": "x"}, {"resourceSubscriptions": [1]}])
def test_a_listener_that_cannot_be_understood_is_refused(given: Any) -> None:
    with pytest.raises(PraxisError) as caught:
        wanted_notices({"notifications": given})
    assert code_of(caught.value) == -32602


def test_a_notification_bears_the_listeners_id_and_keeps_what_it_had() -> None:
    assert tagged(3, {"uri": "x", "_meta": {"a": 1}}) == {
        "uri": "x",
        "_meta": {"a": 1, "io.modelcontextprotocol/subscriptionId": 3},
    }


# -- results and errors -----------------------------------------------------------------------------


def test_a_result_is_completed_for_one_era_and_reduced_for_the_other() -> None:
    full = complete("tools/list", {"tools": [], "_meta": {"a": 1}}, {"name": "n"})
    assert full == {
        "resultType": "complete",
        "tools": [],
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"a": 1, META_SERVER: {"name": "n"}},
    }
    assert reduce(full) == {"tools": [], "_meta": {"a": 1}}


def test_a_call_has_no_lifetime_and_a_servers_own_lifetime_stays() -> None:
    assert "ttlMs" not in complete("tools/call", {"content": []}, {})
    assert complete("resources/read", {"ttlMs": 5, "cacheScope": "public"}, {})["ttlMs"] == 5
    assert "ttlMs" not in complete("resources/read", {"resultType": "input_required"}, {})


def test_a_servers_own_error_goes_on_unchanged_and_ours_gets_a_code() -> None:
    own = {"code": 1234, "message": "m", "data": [1]}
    assert error_of(PraxisError("unavailable", "x", data={"jsonrpc": own})) == own
    ours = error_of(PraxisError("not_found", "no such tool", hint="look"))
    assert (ours["code"], ours["message"], ours["data"]) == (
        -32602,
        "no such tool",
        {"code": "not_found", "hint": "look"},
    )
    assert code_of(PraxisError("timeout", "late")) == -32603


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32700, 400),
        (-32600, 400),
        (-32602, 400),
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (17, 200),
    ],
)
def test_each_code_has_its_status(code: int, status: int) -> None:
    assert http_status(error_of(refusal(code, "x"))) == status
    assert http_status(None) == 200


def test_a_client_is_asked_for_nothing_that_it_cannot_do() -> None:
    question = {"a": {"method": "elicitation/create", "params": {}}}
    check_questions(question, {"elicitation": {}})
    with pytest.raises(PraxisError) as caught:
        check_questions(question, {"sampling": {}})
    error = error_of(caught.value)
    assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"elicitation": {}}})
    for odd in ({"a": 5}, {"a": {"method": "tools/list"}}):
        with pytest.raises(PraxisError) as caught:
            check_questions(odd, {"elicitation": {}})
        assert caught.value.code == "unavailable"


# -- the handshake ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25"), (None, "2025-11-25")],
)
def test_a_known_version_is_taken_and_any_other_answered_with_ours(asked: Any, agreed: str) -> None:
    assert read_hello({"protocolVersion": asked}).version == agreed


def test_a_hello_of_garbage_is_an_empty_one() -> None:
    assert read_hello({"capabilities": [], "clientInfo": 5}) == Hello("2025-11-25")
    hello = read_hello({"capabilities": {"roots": {}}, "clientInfo": {"name": "c", "version": "2"}})
    assert (hello.capabilities, hello.client) == ({"roots": {}}, "c 2")


def test_the_answer_to_initialize_has_no_words_of_the_later_era() -> None:
    answer = hello_result(Hello("2025-06-18"), {"name": "n"}, {"tools": {}, "extensions": {"x": {}}}, "do")
    assert answer["capabilities"] == {"tools": {}}
    assert (answer["protocolVersion"], answer["instructions"]) == ("2025-06-18", "do")


def test_levels_and_uris_are_checked() -> None:
    assert read_level({"level": "warning"}) == "warning"
    assert read_uri({"uri": "a:b"}) == "a:b"
    for read, bad in ((read_level, {"level": "loud"}), (read_level, {}), (read_uri, {"uri": 5}), (read_uri, {})):
        with pytest.raises(PraxisError) as caught:
            read(bad)
        assert code_of(caught.value) == -32602
    assert is_loud_enough("error", "warning")
    assert not is_loud_enough("info", "warning")
    assert is_loud_enough("debug", None)
    assert is_loud_enough("made up", "error")


# -- headers ----------------------------------------------------------------------------------------


def headers(**values: str) -> checked.Headers:
    return checked.Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()])


def encoded(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


GOOD = {"MCP_Protocol_Version": "2026-07-28", "mcp_method": "tools/call", "Mcp_Name": " x\t"}


def test_headers_that_repeat_the_body_pass() -> None:
    headers(**GOOD).check_request("2026-07-28", "tools/call", {"name": "x"})
    headers(**{**GOOD, "Mcp_Name": encoded("größe")}).check_request("2026-07-28", "tools/call", {"name": "größe"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"MCP_Protocol_Version": "2025-11-25"},
        {"mcp_method": "tools/list"},
        {"mcp_method": "TOOLS/CALL"},
        {"Mcp_Name": "y"},
        {"Mcp_Name": encoded("y")},
        {"Mcp_Name": "=?base64?!!!?="},
    ],
)
def test_a_header_that_says_something_else_is_a_mismatch(wrong: dict[str, str]) -> None:
    with pytest.raises(PraxisError) as caught:
        headers(**{**GOOD, **wrong}).check_request("2026-07-28", "tools/call", {"name": "x"})
    assert code_of(caught.value) == -32020


@pytest.mark.parametrize("missing", GOOD)
def test_a_header_that_is_missing_or_there_twice_is_a_mismatch(missing: str) -> None:
    rest = {name: value for name, value in GOOD.items() if name != missing}
    name = missing.replace("_", "-").encode()
    twice = checked.Headers([*((n.replace("_", "-").encode(), v.encode()) for n, v in GOOD.items()), (name, b"x")])
    for wrong in (headers(**rest), twice):
        with pytest.raises(PraxisError) as caught:
            wrong.check_request("2026-07-28", "tools/call", {"name": "x"})
        assert code_of(caught.value) == -32020


SCHEMA = {
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        "list": {"items": {"properties": {"q": {"type": "string", "x-mcp-header": "Q"}}}},
        "odd": {"type": "string", "x-mcp-header": "no good"},
        "real": {"type": "number", "x-mcp-header": "Real"},
    }
}


def test_what_arguments_headers_repeat_is_read_off_the_schema() -> None:
    assert checked.mirrored(SCHEMA) == (
        checked.Mirrored("mcp-param-region", ("region",)),
        checked.Mirrored("mcp-param-n", ("deep", "n")),
    )
    assert checked.mirrored(None) == checked.mirrored({"properties": []}) == ()


def test_headers_of_arguments_are_compared_with_them() -> None:
    wanted = checked.mirrored(SCHEMA)
    headers(Mcp_Param_Region="eu", Mcp_Param_N="7").check_arguments(wanted, {"region": "eu", "deep": {"n": 7}})
    headers().check_arguments(wanted, {"region": None, "deep": 3})
    headers().check_arguments(wanted, None)
    literal = {"Mcp_Param_Region": base64.b64encode(b"eu").decode()}  # no sentinel: it is what it is
    for wrong, arguments in (
        ({"Mcp_Param_Region": "us"}, {"region": "eu"}),
        ({}, {"region": "eu"}),
        ({"Mcp_Param_Region": "eu"}, {}),
        (literal, {"region": "eu"}),
    ):
        with pytest.raises(PraxisError) as caught:
            headers(**wrong).check_arguments(wanted, arguments)
        assert code_of(caught.value) == -32020


@given(st.text())
def test_an_encoded_value_is_decoded_to_what_it_was(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert checked.decode_value(encoded(text)) == text


@pytest.mark.parametrize(
    ("value", "shown"), [(True, "true"), (5, "5"), (5.0, "5"), ("x", "x"), (None, None), ([], None)]
)
def test_a_value_as_a_header_shows_it(value: Any, shown: str | None) -> None:
    assert checked.shown(value) == shown


# -- state ------------------------------------------------------------------------------------------

KEY = b"k" * 32
BOUND = binding("local", "tools/call", params={"name": "x"})


def test_a_state_comes_back_as_it_was() -> None:
    text = seal({"s": "é\n"}, key=KEY, bound=BOUND, until=10)
    assert unseal(text, key=KEY, bound=BOUND, now=9.9) == {"s": "é\n"}


@given(st.text())
def test_a_state_that_was_made_up_is_refused(text: str) -> None:
    with pytest.raises(PraxisError) as caught:
        unseal(text, key=KEY, bound=BOUND, now=0)
    assert code_of(caught.value) == -32602


@pytest.mark.parametrize("change", ["key", "principal", "method", "params", "time", "tail", "head", "proof"])
def test_a_state_is_good_for_one_key_one_caller_one_request_and_some_time(change: str) -> None:
    text = seal({"s": "1"}, key=KEY, bound=BOUND, until=10)
    key, bound, now = KEY, BOUND, 0.0
    match change:
        case "key":
            key = b"l" * 32
        case "principal":
            bound = binding("bob", "tools/call", params={"name": "x"})
        case "method":
            bound = binding("local", "prompts/get", params={"name": "x"})
        case "params":
            bound = binding("local", "tools/call", params={"name": "y"})
        case "time":
            now = 10.0
        case "tail":
            text += "-TAMPERED"
        case "head":
            text = "e" + text
        case "proof":
            text = text.split(".")[0] + "."
    with pytest.raises(PraxisError) as caught:
        unseal(text, key=key, bound=bound, now=now)
    assert code_of(caught.value) == -32602


def test_a_state_has_a_largest_size() -> None:
    with pytest.raises(PraxisError) as caught:
        seal({"s": "x" * MAX_STATE}, key=KEY, bound=BOUND, until=10)
    assert caught.value.code == "too_large"


def test_the_order_of_params_does_not_matter_to_what_a_state_belongs_to() -> None:
    assert binding("a", params={"x": 1, "y": 2}) == binding("a", params={"y": 2, "x": 1})
