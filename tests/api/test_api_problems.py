"""Bad requests: each is a problem (RFC 9457) that says what, where, and what to do. A good call runs beside."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.api.body import MAX_DEPTH, read_json
from praxis.config.schema import Config
from praxis.model.errors import PraxisError
from tests.api.api_kit import Served, serving

MAX_BODY = 50_000


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    def change(config: Config) -> Config:
        return attrs.evolve(config, http=attrs.evolve(config.http, max_body=MAX_BODY))

    with serving(tmp_path_factory.mktemp("problems"), change=change) as served:
        yield served


@pytest.fixture
def agent(shared_agent: Served) -> Iterator[Served]:
    """The agent, while a good call is under way on it that must succeed."""
    with shared_agent.good_call():
        yield shared_agent


# -- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where", "detail"),
    [
        (b'{"dsl": \n  nope}', "body: line 2, column 3", "not JSON"),
        (b'{"dsl": "CALL echo"', "body: line 1, column 20", "not JSON"),
        (b'{"dsl": "CALL echo"} {}', "body: line 1, column 22", "not JSON: Extra data"),
        (b"\xef\xbb\xbf{}", "body: line 1, column 1", "BOM"),
        (b'{"dsl": "\xff"}', "body", "not UTF-8 at byte 9"),
        (b"", "body", "there is no body"),
        (b" \n ", "body", "there is no body"),
        (b"[]", "body", "expected object"),
        (b"null", "body", "expected object"),
        (b'{"dsl": "CALL echo", "dsl": "CALL fail"}', "body", "the key 'dsl' is there twice"),
        (b'{"dsl": "CALL echo", "timeout": NaN}', "body", "NaN"),
        (b'{"dsl": "CALL echo", "timeout": -1e999}', "body", "-1e999"),
        (b'{"dsl": ' + b"1" * 5000 + b"}", "body", "digits"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "body", "levels"),
        (b"[" * 20_000, "body", "levels"),
        (b"{}", "body", "either a program, nodes or a request"),
        (b'{"dsl": "CALL echo", "nodes": []}', "body", "either a program, nodes or a request"),
        (b'{"dsl": "CALL echo", "request": "echo"}', "body", "either a program, nodes or a request"),
        (b'{"nodes": [], "request": "echo"}', "body", "either a program, nodes or a request"),
        (b'{"request": ""}', "body.request", "1 characters"),
        (b'{"nodes": [1]}', "nodes[0]", "expected an object"),
        (b'{"dsl": "CALL echo", "secrets": {"a": 1}}', "body.secrets.a", "expected string"),
        (b'{"dsl": 1}', "body.dsl", "expected string"),
        (b'{"dsl": ""}', "body.dsl", "1 characters"),
        (b'{"dsl": "CALL echo", "timeout": true}', "body.timeout", "expected number"),
        (b'{"dsl": "CALL echo", "timeout": 0}', "body.timeout", "more than 0"),
        (b'{"dsl": "CALL echo", "timeuot": 1}', "body.timeuot", "there is no 'timeuot' here"),
    ],
)
def test_a_body_that_is_no_request_says_where(agent: Served, body: bytes, where: str, detail: str) -> None:
    problem = agent.ask("POST", "/execute", body).problem(400, "invalid")
    assert problem["where"] == where
    assert detail in problem["detail"]


def test_an_unknown_field_has_the_nearest_one_as_a_hint(agent: Served) -> None:
    problem = agent.ask("POST", "/execute", {"dsl": "CALL echo", "timeuot": 1}).problem(400, "invalid")
    assert "did you mean timeout?" in problem["hint"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""])
@pytest.mark.parametrize("path", ["/execute", "/plan", "/call", "/p2p/tool"])
def test_a_body_of_another_type_is_415(agent: Served, path: str, kind: str) -> None:
    problem = agent.ask("POST", path, b'{"dsl": "CALL echo"}', {"Content-Type": kind}).problem(415, "invalid")
    assert problem["where"] == "Content-Type"
    assert problem["hint"] == "send application/json"
    assert "data" not in problem


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/ld+json"])
def test_json_has_several_names(agent: Served, kind: str) -> None:
    assert agent.ask("POST", "/execute", {"dsl": "CALL echo"}, {"Content-Type": kind}).status == 200


def test_a_body_that_is_too_large_is_413(agent: Served) -> None:
    fits = b'{"dsl": "CALL echo"}'.ljust(MAX_BODY)
    assert agent.ask("POST", "/execute", fits).status == 200
    problem = agent.ask("POST", "/execute", fits + b" ").problem(413, "too_large")
    assert str(MAX_BODY) in problem["detail"]


def test_http_max_body_is_the_only_bound_of_a_body(tmp_path: Path) -> None:
    size = 17 * 1024 * 1024

    def change(config: Config) -> Config:
        return attrs.evolve(config, http=attrs.evolve(config.http, max_body=size))

    with serving(tmp_path, change=change) as agent, agent.good_call():
        body = b'{"dsl": "CALL echo"}'.ljust(size)
        assert agent.ask("POST", "/execute", body).json["status"] == "succeeded"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_every_json_value_is_read_as_it_is(value: Any) -> None:
    assert read_json("application/json", json.dumps(value).encode()) == value


@given(st.binary(max_size=60) | st.text('[]{}:,"\\u0123456789eE+-.truefalsn \n', max_size=60).map(str.encode))
def test_rubbish_is_read_or_refused_and_nothing_else(raw: bytes) -> None:
    try:
        read_json("application/json", raw)
    except PraxisError as error:
        assert error.code == "invalid" and error.where.startswith("body")


@pytest.mark.parametrize("extra", [0, 1])
def test_nesting_is_bounded_to_the_level(extra: int) -> None:
    levels = MAX_DEPTH + extra
    raw = b"[" * levels + b"]" * levels
    if not extra:
        assert read_json("application/json", raw)
        return
    with pytest.raises(PraxisError, match=f"more than {MAX_DEPTH} levels"):
        read_json("application/json", raw)


def test_a_key_that_is_there_twice_is_found_among_very_many() -> None:
    """Comparing each key with each would hold up the whole agent for minutes, and this test."""
    raw = b"{%s}" % b",".join(b'"%d":0' % (i % 99_999) for i in range(100_000))
    with pytest.raises(PraxisError, match="the key '0' is there twice"):
        read_json("application/json", raw)


# -- programs and tools -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/execute", "/plan"])
@pytest.mark.parametrize(
    ("dsl", "line", "column"), [("CALL", 1, 5), ('CALL echo\nCALL echo "a', 2, 11), ("PARALLEL {\n  CAL echo\n}", 2, 3)]
)
def test_a_syntax_error_has_line_and_column(agent: Served, path: str, dsl: str, line: int, column: int) -> None:
    problem = agent.ask("POST", path, {"dsl": dsl}).problem(400, "syntax")
    assert problem["where"] == f"line {line}, column {column}"
    assert (problem["data"]["line"], problem["data"]["column"]) == (line, column)
    assert problem["data"]["expected"]


@pytest.mark.parametrize(
    ("dsl", "where", "says"),
    [
        ("CALL count", "line 1, column 1: arguments.n", "required"),
        ("CALL echo\n CALL count --n many", "line 2, column 2: arguments.n", "integer"),
        ("CALL count --n 1 --txet x", "line 1, column 1: arguments.txet", "did you mean text?"),
        ("CALL count 1 2 3", "line 1, column 1: arguments", "3"),
    ],
)
def test_a_bad_argument_is_named_before_anything_runs(agent: Served, dsl: str, where: str, says: str) -> None:
    before = agent.get("/runs").json
    problem = agent.execute(dsl).problem(400, "invalid")
    assert problem["where"].startswith(where)
    assert says in f"{problem['detail']} {problem.get('hint')}"
    assert agent.get("/runs").json == before


def test_a_bad_argument_of_a_call_is_named(agent: Served) -> None:
    problem = agent.ask("POST", "/call", {"tool": "count", "arguments": {"n": 1.5}}).problem(400, "invalid")
    assert problem["where"] == "arguments.n"
    assert "expected integer" in problem["detail"]


def test_an_unknown_tool_suggests_those_that_are_alike(agent: Served) -> None:
    problem = agent.execute("CALL echo\nCALL wriet_file a b").problem(404, "not_found")
    assert problem["where"] == "line 2, column 1"
    assert problem["hint"].startswith("did you mean write_file")
    assert problem["data"]["alike"][0] == "write_file"
    problem = agent.ask("POST", "/call", {"tool": "other:echo"}).problem(404, "not_found")
    assert "agent-1:hand/echo" in problem["hint"]


def test_an_ambiguous_tool_lists_the_candidates(agent: Served) -> None:
    both = ["agent-1:left/twin", "agent-1:right/twin"]
    problem = agent.execute("CALL twin").problem(409, "ambiguous")
    assert problem["data"]["candidates"] == both
    assert all(name in problem["detail"] for name in both)
    assert problem["where"] == "line 1, column 1"
    assert agent.ask("POST", "/call", {"tool": "twin"}).problem(409, "ambiguous")["data"]["candidates"] == both
    assert agent.execute("CALL right/twin").json["steps"][0]["route"]["tool"] == both[1]


@pytest.mark.parametrize("name", ["", "a b", "a/b/c", ":", "x" * 129])
def test_what_is_no_name_of_a_tool_says_how_names_look(agent: Served, name: str) -> None:
    problem = agent.ask("POST", "/call", {"tool": name}).problem(400, "invalid")
    assert "SOURCE/NAME" in problem["hint"]


def test_an_outage_of_a_tool_that_is_called_is_502(agent: Served) -> None:
    problem = agent.ask("POST", "/call", {"tool": "outage"}).problem(502, "unavailable")
    assert "the disk is gone" in problem["detail"]


# -- paths, methods, bugs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nope", "/health/", "/runs//x", "/static/x", "/runs/a%2Fb", "/../etc"])
def test_an_unknown_path_is_told_where_all_are(agent: Served, path: str) -> None:
    reply = agent.get(path)
    assert "/openapi.json" in reply.problem(404, "not_found")["hint"]
    assert "Location" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/execute", "POST"),
        ("POST", "/runs", "GET, HEAD"),
        ("PATCH", "/runs/x", "DELETE, GET, HEAD"),
        ("OPTIONS", "/plan", "POST"),
        ("TRACE", "/health", "GET, HEAD"),
        ("NONSENSE", "/metrics", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(agent: Served, method: str, path: str, allow: str) -> None:
    reply = agent.ask(method, path)
    problem = reply.problem(405, "invalid")
    assert reply.headers["Allow"] == allow  # RFC 9110, section 15.5.6
    assert problem["hint"] == f"use {allow}"
    assert method in problem["detail"]


def test_problems_are_counted_by_their_code(agent: Served) -> None:
    agent.execute("CALL").problem(400, "syntax")
    before = agent.get("/metrics").body.decode()
    agent.execute("CALL").problem(400, "syntax")
    (count,) = (line for line in before.splitlines() if line.startswith('praxis_http_problems_total{code="syntax"}'))
    name, value = count.split()
    assert f"{name} {int(value) + 1}\n" in agent.get("/metrics").body.decode()


def test_a_bug_is_in_the_log_and_not_in_the_answer(
    agent: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("secret thoughts")

    monkeypatch.setattr(agent.agents[0].agent.history, "page", broken)
    with caplog.at_level(logging.ERROR):
        reply = agent.get("/runs")
    assert "log" in reply.problem(500, "internal")["detail"]
    assert b"secret" not in reply.body
    assert "GET /runs failed with a bug" in caplog.text
    assert "secret thoughts" in caplog.text


def test_a_bug_in_a_tool_is_no_more_than_its_name(agent: Served, caplog: pytest.LogCaptureFixture) -> None:
    reply = agent.ask("POST", "/call", {"tool": "bug"})
    assert "hand/bug" in reply.problem(500, "internal")["detail"]
    assert b"secret" not in reply.body
    assert "secret thoughts" in caplog.text
