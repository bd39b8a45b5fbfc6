from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_servers import context_server, filesystem_server, stdio
from mcp_servers.stdio import Resource, Result, Server, Tool, ToolError, Work, object_schema
from tests.mcp_servers.talk import MODERN, Talk, call_of, cancel_of, text_of

SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Counting:
    """A server whose tool count takes `steps` steps, and what has become of its calls."""

    def __init__(self) -> None:
        self.closed = 0
        count = {"name": "count", "inputSchema": object_schema("steps", steps={"type": "integer"})}
        tools = [Tool(self.count, count)]
        tools += [Tool(work, {"name": work.__name__, "inputSchema": object_schema()}) for work in (refuse, break_down)]
        note = {"uri": "note://one", "name": "one", "mimeType": "text/plain"}
        self.talk = Talk(Server("counting", "1", tools, [Resource(lambda: "a note", note)]))

    def count(self, steps: int) -> Work:
        try:
            for step in range(steps):
                yield float(step)
            if steps == 13:
                raise ToolError("thirteen")
        finally:
            self.closed += 1
        return Result(f"counted to {steps}", {"steps": steps})


def refuse() -> Result:
    raise ToolError("no")


def break_down() -> Result:
    raise KeyError("a bug")


# --- the handshake era


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [*((version, version) for version in stdio.HANDSHAKE_VERSIONS), ("2026-07-28", "2025-11-25"), ("", "2025-11-25")],
)
def test_the_version_is_negotiated(wanted: str, spoken: str) -> None:
    hello = Counting().talk.ask("initialize", {"protocolVersion": wanted, "capabilities": {}})
    assert hello == {
        "protocolVersion": spoken,
        "capabilities": {"tools": {}, "resources": {}},
        "serverInfo": {"name": "counting", "version": "1"},
    }


def test_ping_and_lists_of_the_handshake_era_carry_nothing_else() -> None:
    talk = Counting().talk
    assert talk.ask("ping") == {}
    assert talk.ask("prompts/list") == {"prompts": []}
    assert talk.ask("resources/templates/list") == {"resourceTemplates": []}
    assert [tool["name"] for tool in talk.ask("tools/list")["tools"]] == ["count", "refuse", "break_down"]
    assert talk.ask("resources/read", {"uri": "note://one"}) == {
        "contents": [{"uri": "note://one", "mimeType": "text/plain", "text": "a note"}]
    }


def test_batches_exist_in_one_version_only() -> None:
    talk = Counting().talk
    batch = [{"id": 1, "method": "ping"}, {"method": "x"}, call_of(3, "count", steps=1), {"id": 2, "method": "no"}]
    assert talk.send(batch)[0]["error"]["code"] == -32600
    talk.ask("initialize", {"protocolVersion": "2025-03-26"})
    [answers] = talk.send(batch)
    assert [answer["id"] for answer in answers] == [1, 2]
    assert [answer["id"] for answer in talk.finish()] == [3]
    assert talk.send([{"method": "x"}]) == []


# --- 2026-07-28


def test_discovery_needs_no_handshake() -> None:
    assert Counting().talk.ask_modern("server/discover") == {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}, "resources": {}},
        "ttlMs": 3_600_000,
        "cacheScope": "public",
        "_meta": {SERVER_INFO: {"name": "counting", "version": "1"}},
    }


@pytest.mark.parametrize(
    ("method", "params", "cache"),
    [
        ("tools/list", {}, (3_600_000, "public")),
        ("resources/list", {}, (3_600_000, "public")),
        ("resources/templates/list", {}, (3_600_000, "public")),
        ("resources/read", {"uri": "note://one"}, (0, "private")),
        ("tools/call", {"name": "count", "arguments": {"steps": 2}}, (None, None)),
        ("tools/call", {"name": "refuse"}, (None, None)),
    ],
)
def test_a_modern_result_says_what_it_is_and_how_long_it_keeps(method: str, params: Any, cache: Any) -> None:
    result = Counting().talk.ask_modern(method, **params)
    assert result["resultType"] == "complete"
    assert result["_meta"] == {SERVER_INFO: {"name": "counting", "version": "1"}}
    assert (result.get("ttlMs"), result.get("cacheScope")) == cache


@pytest.mark.parametrize("missing", ["protocolVersion", "clientCapabilities"])
@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call", "no/such"])
def test_a_modern_request_must_say_what_it_speaks(method: str, missing: str) -> None:
    meta = {key: value for key, value in MODERN.items() if not key.endswith(missing)}
    refused = Counting().talk.ask(method, {"name": "refuse", "_meta": meta})
    assert refused["code"] == -32602
    assert missing in refused["message"]


@pytest.mark.parametrize("meta", [None, [], {"io.modelcontextprotocol/protocolVersion": 1}])
def test_methods_of_the_modern_era_need_their_meta(meta: Any) -> None:
    assert Counting().talk.ask("server/discover", {"_meta": meta})["code"] == -32602


@pytest.mark.parametrize("version", ["2025-11-25", "2099-01-01", ""])
def test_a_version_that_is_not_spoken_is_told_which_are(version: str) -> None:
    refused = Counting().talk.ask(
        "tools/list", {"_meta": {**MODERN, "io.modelcontextprotocol/protocolVersion": version}}
    )
    assert refused["code"] == -32022
    assert refused["data"] == {"supported": ["2026-07-28"], "requested": version}


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"])
def test_methods_that_went_are_not_found_in_the_modern_era(method: str) -> None:
    assert Counting().talk.ask_modern(method, protocolVersion="2025-11-25")["code"] == -32601


def test_one_process_serves_both_eras() -> None:
    talk = Counting().talk
    talk.ask("initialize", {"protocolVersion": "2025-11-25"})
    assert "resultType" in talk.ask_modern("tools/list")
    assert "resultType" not in talk.ask("tools/list")


def test_a_subscription_is_acknowledged_stays_open_and_ends_with_the_input() -> None:
    talk = Counting().talk
    wanted = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["note://one"]}, "_meta": MODERN}
    listen = {"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": wanted}
    assert talk.send(listen) == [
        {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"notifications": {}, "_meta": {SUBSCRIPTION: "s"}},
        }
    ]
    assert talk.ask("ping", id="s")["code"] == -32600, "the id is in use"
    talk.send({**listen, "id": 2}, cancel_of(2))
    talk.server.end_of_input()
    [end] = talk.take()
    assert end["id"] == "s"
    assert end["result"] == {
        "resultType": "complete",
        "_meta": {SERVER_INFO: {"name": "counting", "version": "1"}, SUBSCRIPTION: "s"},
    }


def test_subscriptions_are_bounded_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "MAX_OPEN", 2)
    talk = Counting().talk
    listen = {"method": "subscriptions/listen", "params": {"notifications": {}, "_meta": MODERN}}
    assert [message.get("id") for message in talk.send(*({**listen, "id": id} for id in (1, 2, 3)))] == [None, None, 3]
    assert Counting().talk.ask_modern("subscriptions/listen")["code"] == -32602


# --- calls


def test_calls_that_take_long_run_side_by_side() -> None:
    talk = Counting().talk
    calls = call_of(1, "count", steps=9), call_of(2, "count", steps=3)
    assert [answer["id"] for answer in talk.send(*calls, {"id": "between", "method": "ping"})] == ["between"]
    answers = talk.finish()
    assert [answer["id"] for answer in answers] == [2, 1]
    assert [answer["result"]["structuredContent"] for answer in answers] == [{"steps": 3}, {"steps": 9}]


@pytest.mark.parametrize("meta", [None, MODERN], ids=["handshake", "modern"])
def test_a_cancelled_call_ends_at_once_and_is_not_answered(meta: Any) -> None:
    counting = Counting()
    counting.talk.send(call_of("a", "count", meta, steps=10**9), call_of("b", "count", meta, steps=5))
    counting.talk.server.step()
    assert counting.talk.send(cancel_of("a"), cancel_of("gone"), cancel_of(None), cancel_of([1])) == []
    assert counting.closed == 1
    assert [answer["id"] for answer in counting.talk.finish()] == ["b"]
    assert counting.talk.send({"id": "a", "method": "ping"})[0]["result"] == {}, "the id is free again"


def test_a_call_that_fails_in_the_middle_is_a_result_too() -> None:
    counting = Counting()
    assert text_of(counting.talk.call("count", steps=13), is_error=True) == "thirteen"
    assert counting.closed == 1


def test_progress_is_told_to_those_who_ask_and_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    talk = Counting().talk
    talk.send(call_of(1, "count", {"progressToken": "t"}, steps=10), call_of(2, "count", steps=10))
    for _ in range(8):
        now[0] += stdio.PROGRESS_PAUSE / 2
        talk.server.step()
    progress = talk.take()
    assert {message["method"] for message in progress} == {"notifications/progress"}
    assert [message["params"]["progressToken"] for message in progress] == ["t"] * 4
    amounts = [message["params"]["progress"] for message in progress]
    assert amounts == sorted(set(amounts))


def test_calls_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "MAX_OPEN", 2)
    talk = Counting().talk
    [refused] = talk.send(*(call_of(id, "count", steps=5) for id in (1, 2, 3)))
    assert (refused["id"], "try again" in text_of(refused["result"], is_error=True)) == (3, True)
    assert len(talk.finish()) == 2


def test_an_id_that_is_in_use_is_refused() -> None:
    talk = Counting().talk
    [refused] = talk.send(call_of(1, "count", steps=5), call_of(1, "count", steps=6))
    assert refused["error"]["code"] == -32600
    assert len(talk.finish()) == 1


def test_a_bug_in_a_tool_ends_neither_the_server_nor_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Counting().talk
    assert talk.ask("tools/call", {"name": "break_down"})["code"] == -32603
    assert "KeyError: 'a bug'" in capsys.readouterr().err
    assert talk.ask("ping") == {}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "steps is missing"),
        ({"steps": "1"}, "of type integer"),
        ({"steps": 1.5}, "of type integer"),
        ({"steps": True}, "of type integer"),
        ({"steps": None}, "of type integer"),
        ({"steps": 1, "x" * 500: 1}, "unknown argument xxx"),
    ],
)
def test_wrong_arguments_are_results_with_is_error(arguments: Any, problem: str) -> None:
    for meta in ({}, {"_meta": MODERN}):
        result = Counting().talk.ask("tools/call", {"name": "count", "arguments": arguments, **meta})
        assert problem in text_of(result, is_error=True)
        assert len(text_of(result, is_error=True)) < 200


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert Counting().talk.call("count", steps=2.0)["structuredContent"] == {"steps": 2}


def test_arguments_may_be_missing_or_null() -> None:
    talk = Counting().talk
    assert text_of(talk.ask("tools/call", {"name": "refuse"}), is_error=True) == "no"
    assert text_of(talk.ask("tools/call", {"name": "refuse", "arguments": None}), is_error=True) == "no"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such", None, -32601),
        ("initialize", {}, -32602),
        ("tools/call", {"name": "no"}, -32602),
        ("tools/call", {"name": ["count"]}, -32602),
        ("tools/call", {"name": "count", "arguments": [1]}, -32602),
        ("tools/list", [1], -32602),
        ("tools/list", {"cursor": "2"}, -32602),
        ("resources/read", {"uri": "note://two"}, -32002),
        ("resources/read", {"uri": ["note://one"]}, -32002),
        ("resources/read", {"uri": "note://two", "_meta": MODERN}, -32602),
    ],
)
def test_protocol_errors(method: str, params: Any, code: int) -> None:
    assert Counting().talk.ask(method, params)["code"] == code


# --- lines


def test_notifications_answers_and_blank_lines_are_not_answered() -> None:
    silent = (
        b"",
        b" \r",
        b'{"method":"notifications/initialized"}',
        b'{"method":"notifications/cancelled"}',
        b'{"method":"notifications/cancelled","params":7}',
        b'{"method":"tools/call","params":[]}',
        b'{"id":1,"result":{}}',
        b'{"id":null,"error":{}}',
    )
    assert Counting().talk.send(*silent, {"id": 7, "method": "ping"}) == [{"jsonrpc": "2.0", "id": 7, "result": {}}]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nonsense", -32700),
        (b"\xff", -32700),
        (b"[" * 100_000, -32700),
        (b'{"id":1,"method":"ping","params":{"x":NaN}}', -32700),
        (b'{"id":' + b"9" * 5000 + b',"method":"ping"}', -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b"null", -32600),
        (b'{"id":true,"method":"ping"}', -32600),
        (b'{"id":1.5,"method":"ping"}', -32600),
        (b'{"id":null,"method":"ping"}', -32600),
    ],
)
def test_garbage_is_refused_without_an_id(line: bytes, code: int) -> None:
    [answer] = Counting().talk.send(line)
    assert (answer["id"], answer["error"]["code"]) == (None, code)


def test_long_lines_are_answered_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    monkeypatch.setattr(stdio, "MAX_LINE", 1000)
    answers = Counting().talk.send(ping.ljust(1000), ping.ljust(1001), b"x" * 5000, ping)
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32600, -32600, None]


def test_the_last_line_may_lack_its_end() -> None:
    talk = Counting().talk
    talk.server.receive(b'{"id":1,"method":"ping"}')
    assert talk.take() == []
    talk.server.end_of_input()
    assert [answer["id"] for answer in talk.take()] == [1]


def test_answers_that_wait_are_written_together_but_never_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Counting().talk
    line = b'{"id":1,"method":"ping"}\n'
    talk.server.receive(line * 500)
    talk.server.flush()
    assert (len(talk.written), talk.written[0].count(b"\n")) == (1, 500)
    monkeypatch.setattr(stdio, "CHUNK", 100)
    talk.server.receive(line * 500)
    assert max(map(len, talk.written[1:])) < 200


def test_half_a_pair_of_surrogates_is_not_passed_on() -> None:
    talk = Talk(context_server.make_server(None))
    line = b'{"id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"a\\ud83d \\ud83d\\ude00"}}}'
    [answer] = talk.send(line)
    assert text_of(answer["result"]) == "Hi a? \U0001f600, nice to see you!"


@settings(deadline=None)
@given(st.lists(st.integers(1, 40)), st.data())
def test_any_split_of_the_bytes_is_answered_alike(sizes: list[int], data: st.DataObject) -> None:
    whole = b'{"id":1,"method":"ping"}\n\nno\n{"id":"\xe2\x80\xa8","method":"tools/list"}\n[]\n'
    expected = Counting().talk
    expected.server.receive(whole)
    talk = Counting().talk
    at = 0
    for size in sizes:
        talk.server.receive(whole[at : at + size])
        at += size
    talk.server.receive(whole[at:])
    assert talk.take() == expected.take() != []


@settings(deadline=None)
@given(st.binary(max_size=200).filter(lambda line: b"\n" not in line))
def test_whatever_comes_the_next_request_is_answered(line: bytes) -> None:
    assert Counting().talk.send(line, {"id": 7, "method": "ping"})[-1]["id"] == 7


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@settings(deadline=None)
@given(
    st.sampled_from(
        ["initialize", "tools/call", "tools/list", "resources/read", "server/discover", "subscriptions/listen"]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "name": JSONS | st.sampled_from(["count", "refuse"]),
            "arguments": JSONS,
            "uri": JSONS,
            "cursor": JSONS,
            "notifications": JSONS,
            "protocolVersion": JSONS,
            "_meta": JSONS | st.just(MODERN),
        },
    ),
)
def test_every_request_is_answered_once_whatever_its_params(method: str, params: Any) -> None:
    talk = Counting().talk
    answers = talk.send({"id": 5, "method": method, "params": params}) + talk.finish()
    talk.server.end_of_input()
    answers = [answer for answer in answers + talk.take() if "id" in answer]
    assert [answer["id"] for answer in answers] == [5]
    assert answers[0].keys() & {"result", "error"}


# --- as processes

PROGRAMS = {"context": [context_server.__file__], "filesystem": [filesystem_server.__file__, "."]}


def start(name: str, folder: Path, **more: Any) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-I", *PROGRAMS[name]]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder, **more)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs_with_a_plain_python_and_ends_with_its_input(name: str, tmp_path: Path) -> None:
    process = start(name, tmp_path)
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "x", "method": "ping"},
        {"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": {"_meta": MODERN}},
    ]
    out, errors = process.communicate("".join(json.dumps(line) + "\n" for line in lines).encode())
    answers = [json.loads(line) for line in out.split(b"\n")[:-1]]
    assert (process.returncode, errors) == (0, b"")
    assert [answer["id"] for answer in answers] == [1, "x", 0]
    assert answers[0]["result"]["protocolVersion"] == "2025-06-18"
    assert answers[1]["result"] == {}
    assert answers[2]["result"]["resultType"] == "complete"


def test_two_files_copied_elsewhere_are_a_server(tmp_path: Path) -> None:
    for file in (stdio.__file__, filesystem_server.__file__):
        (tmp_path / Path(file).name).write_text(Path(file).read_text())
    command = [sys.executable, "-I", str(tmp_path / "filesystem_server.py"), str(tmp_path)]
    call = json.dumps(call_of(1, "search_files", name="*.py")).encode()
    done = subprocess.run(command, input=call, stdout=subprocess.PIPE, check=True)
    matches = json.loads(done.stdout)["result"]["structuredContent"]["matches"]
    assert matches == [{"path": "filesystem_server.py"}, {"path": "stdio.py"}]


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends_quietly_when_nobody_reads(name: str, tmp_path: Path) -> None:
    process = start(name, tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')[1] == b""
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_signal_ends_it_quietly(name: str, number: signal.Signals, tmp_path: Path) -> None:
    process = start(name, tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"id":1,"method":"ping"}\n')
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(number)
    assert process.communicate() == (b"", b"")
    assert process.returncode == 128 + number


def test_a_line_of_megabytes_and_its_answer_go_through_pipes(tmp_path: Path) -> None:
    content = "x\u2028" * 1_000_000
    lines = [call_of(1, "write_file", path="a", content=content), call_of(2, "read_file", path="a")]
    process = start("filesystem", tmp_path)
    out, _ = process.communicate("".join(json.dumps(line) + "\n" for line in lines).encode())
    _, read = [json.loads(line)["result"]["content"] for line in out.split(b"\n")[:-1]]
    assert (tmp_path / "a").read_text() == content
    assert len(read[0]["text"].encode()) == filesystem_server.MAX_READ
    assert content.startswith(read[0]["text"])


def test_a_long_search_is_cancelled_while_other_requests_are_answered(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_bytes(
            b"a\n" * 500_000
        )  # 2000 of them to search through, which takes seconds
    process = start("filesystem", tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    search = [call_of(f"s{number}", "search_files", text="needle") for number in range(100)]
    messages = [*search, {"id": "p", "method": "ping"}, *(cancel_of(f"s{number}") for number in range(100))]
    process.stdin.write("".join(json.dumps(message) + "\n" for message in messages).encode())
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "p"
    process.stdin.write(b'{"id":"end","method":"ping"}\n')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "end"
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0


def test_standard_input_that_does_not_block_is_read_all_the_same(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    command = [sys.executable, "-I", *PROGRAMS["context"]]
    process = subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(reader)
    assert process.stdout is not None
    for id in (1, 2):
        os.write(writer, b'{"id":%d,"method":"ping"}\n' % id)
        assert json.loads(process.stdout.readline())["id"] == id
    os.close(writer)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
