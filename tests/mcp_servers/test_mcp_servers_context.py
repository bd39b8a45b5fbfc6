from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_servers import context_server
from mcp_servers.context_server import Server, serve

SCRIPT = Path(context_server.__file__)


def ask(server: Server, method: str, params: Any = None, id: Any = 1) -> Any:
    message = {"jsonrpc": "2.0", "id": id, "method": method, **({} if params is None else {"params": params})}
    answer = server.answer(json.dumps(message).encode())
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] == id
    return answer.get("result", answer.get("error"))


def call(tool: str, documents: Path | None = None, /, **arguments: Any) -> Any:
    return ask(Server(documents), "tools/call", {"name": tool, "arguments": arguments})


def text(result: Any, *, is_error: bool = False) -> str:
    assert result["isError"] is is_error
    [block] = result["content"]
    assert block["type"] == "text"
    return str(block["text"])


def test_it_runs_with_a_plain_python_and_ends_with_its_input(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("Trees have leaves.")
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "x", "method": "ping"},
        {
            "jsonrpc": "2.0",
            "id": 0,
            "method": "tools/call",
            "params": {"name": "context_search", "arguments": {"query": "leaves"}},
        },
    ]
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--documents", str(tmp_path)],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.split(b"\n")[:-1]]
    assert [answer["id"] for answer in answers] == [1, "x", 0]
    assert answers[0]["result"]["protocolVersion"] == "2025-06-18"
    assert answers[1]["result"] == {}
    assert text(answers[2]["result"]) == "note.md:1: Trees have leaves."


def test_it_ends_quietly_when_nobody_reads() -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')[1] == b""
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["--documents", "/no/such/folder"], ["--port", "1"]])
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        context_server.main(arguments)


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25"), ("", "2025-11-25")],
)
def test_the_version_is_negotiated(wanted: str, spoken: str) -> None:
    result = ask(Server(None), "initialize", {"protocolVersion": wanted, "capabilities": {}})
    assert result["protocolVersion"] == spoken
    assert result["serverInfo"]["name"] == "context-server"
    assert set(result["capabilities"]) == {"tools", "resources"}


def test_the_tools_are_those_of_the_contract() -> None:
    tools = {tool["name"]: tool for tool in ask(Server(None), "tools/list")["tools"]}
    properties = {name: list(tool["inputSchema"]["properties"]) for name, tool in tools.items()}
    assert properties == {
        "greet": ["name", "style"],
        "calculate": ["operation", "a", "b"],
        "get_time": ["format"],
        "context_search": ["query", "limit"],
    }
    required = {name: tool["inputSchema"]["required"] for name, tool in tools.items()}
    assert required == {
        "greet": ["name"],
        "calculate": ["operation", "a", "b"],
        "get_time": [],
        "context_search": ["query"],
    }
    style = tools["greet"]["inputSchema"]["properties"]["style"]
    assert (style["enum"], style["default"]) == (["formal", "casual", "enthusiastic"], "casual")
    assert tools["context_search"]["inputSchema"]["properties"]["limit"]["default"] == 10
    assert tools["get_time"]["inputSchema"]["properties"]["format"]["default"] == "iso"


def test_greet() -> None:
    said = {style: text(call("greet", name="Ada", style=style)) for style in ("formal", "casual", "enthusiastic")}
    assert len(set(said.values())) == 3
    assert all("Ada" in words for words in said.values())
    assert text(call("greet", name="Ada")) == said["casual"]


@pytest.mark.parametrize(
    ("operation", "a", "b", "result"),
    [
        ("add", 2, 3, 5),
        ("subtract", 2, 3, -1),
        ("multiply", 1.5, 4, 6.0),
        ("divide", 7, 2, 3.5),
        ("divide", 10**30, 10, 10**29),
    ],
)
def test_calculate(operation: str, a: float, b: float, result: float) -> None:
    answer = call("calculate", operation=operation, a=a, b=b)
    assert text(answer) == str(result)
    assert answer["structuredContent"] == {"result": result}


@pytest.mark.parametrize(
    ("operation", "a", "b", "problem"),
    [
        ("divide", 1, 0, "division by zero"),
        ("divide", 1.5, 0.0, "division by zero"),
        ("multiply", 1e200, 1e200, "too large"),
        ("multiply", 10**4000, 10**4000, "too large"),
        ("add", 10**400, 0.5, "too large"),
    ],
)
def test_calculate_fails_as_a_result(operation: str, a: float, b: float, problem: str) -> None:
    assert problem in text(call("calculate", operation=operation, a=a, b=b), is_error=True)


def test_infinity_in_a_number_does_not_leave_json() -> None:
    line = (
        b'{"id":1,"method":"tools/call","params":{"name":"calculate","arguments":{"operation":"add","a":1e999,"b":1}}}'
    )
    assert text(Server(None).answer(line)["result"], is_error=True) == "the result is too large"


def test_get_time() -> None:
    now = datetime.fromisoformat(text(call("get_time")))
    assert abs(datetime.now(now.tzinfo) - now) < timedelta(seconds=5)
    assert abs(time.time() - int(text(call("get_time", format="unix")))) < 5
    assert str(now.year) in text(call("get_time", format="human"))


def make_documents(folder: Path) -> Path:
    documents = folder / "documents"
    (documents / "deep").mkdir(parents=True)
    (documents / "a.md").write_text("nothing\nThe quick fox.\n")
    (documents / "deep" / "b.txt").write_text("fox fox\nA lazy dog and a FOX.\n")
    (documents / "c.md").write_text("dog\u2028dog dog")
    (documents / "d.bin").write_text("fox")
    (documents / ".hidden.md").write_text("fox")
    (folder / "secret.md").write_text("fox")
    (documents / "link.md").symlink_to(folder / "secret.md")
    (documents / "out").symlink_to(folder)
    os.mkfifo(documents / "pipe.md")
    return documents


def test_context_search_finds_what_is_there(tmp_path: Path) -> None:
    result = call("context_search", make_documents(tmp_path), query="fox, dog!")
    assert [
        (found["document"], found["line"], found["words"], found["hits"])
        for found in result["structuredContent"]["matches"]
    ] == [
        ("deep/b.txt", 2, 2, 4),
        ("c.md", 1, 1, 3),
        ("a.md", 2, 1, 1),
    ]
    assert result["structuredContent"]["searched"] == 3
    assert text(result).splitlines()[0] == "deep/b.txt:2: A lazy dog and a FOX."


def test_context_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = make_documents(tmp_path)
    limited = call("context_search", documents, query="fox dog", limit=1)["structuredContent"]
    assert (len(limited["matches"]), limited["found"]) == (1, 3)
    monkeypatch.setattr(context_server, "MAX_DOCUMENTS", 2)
    assert call("context_search", documents, query="fox")["structuredContent"]["searched"] == 2
    monkeypatch.setattr(context_server, "MAX_DOCUMENT", 4)
    assert call("context_search", documents, query="fox")["structuredContent"]["found"] == 0


def test_context_search_says_when_nothing_is_found(tmp_path: Path) -> None:
    assert text(call("context_search", make_documents(tmp_path), query="zebra")) == "None of 3 documents holds zebra."
    assert "--documents" in text(call("context_search", None, query="x"), is_error=True)


def test_an_excerpt_is_short_and_holds_the_word(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x " * 5000 + "needle" + " y" * 5000)
    excerpt = call("context_search", tmp_path, query="needle")["structuredContent"]["matches"][0]["excerpt"]
    assert "needle" in excerpt
    assert len(excerpt) <= context_server.EXCERPT


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("greet", {}, "name is missing"),
        ("greet", {"name": " "}, "empty"),
        ("greet", {"name": 5}, "of type string"),
        ("greet", {"name": "A", "style": "rude"}, "one of formal, casual"),
        ("greet", {"name": "A", "nam": 1}, "unknown argument nam"),
        ("calculate", {"operation": "add", "a": True, "b": 1}, "of type number"),
        ("calculate", {"operation": "add", "a": "1", "b": 1}, "of type number"),
        ("context_search", {"query": "x", "limit": 0}, "from 1 to 100"),
        ("context_search", {"query": "x", "limit": 1.5}, "of type integer"),
        ("context_search", {"query": "?!"}, "no words"),
    ],
)
def test_wrong_arguments_are_results_with_is_error(name: str, arguments: dict[str, Any], problem: str) -> None:
    assert problem in text(call(name, **arguments), is_error=True)


def test_resources() -> None:
    server = Server(None)
    assert [found["uri"] for found in ask(server, "resources/list")["resources"]] == [
        "context://server-info",
        "context://available-tools",
    ]
    [content] = ask(server, "resources/read", {"uri": "context://available-tools"})["contents"]
    assert [tool["name"] for tool in json.loads(content["text"])] == [
        "greet",
        "calculate",
        "get_time",
        "context_search",
    ]
    [content] = ask(server, "resources/read", {"uri": "context://server-info"})["contents"]
    assert json.loads(content["text"])["name"] == "context-server"
    assert ask(server, "resources/templates/list") == {"resourceTemplates": []}


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such", None, -32601),
        ("initialize", {}, -32602),
        ("tools/call", {"name": "no"}, -32602),
        ("tools/call", {"name": ["greet"]}, -32602),
        ("tools/call", {"name": "greet", "arguments": [1]}, -32602),
        ("tools/list", [1], -32602),
        ("resources/read", {"uri": "file:///etc/passwd"}, -32002),
    ],
)
def test_protocol_errors(method: str, params: Any, code: int) -> None:
    assert ask(Server(None), method, params)["code"] == code


def test_arguments_may_be_missing_or_null() -> None:
    assert text(ask(Server(None), "tools/call", {"name": "get_time"}))
    assert text(ask(Server(None), "tools/call", {"name": "get_time", "arguments": None}))


def run_lines(*lines: bytes) -> list[Any]:
    sink = io.BytesIO()
    serve(Server(None), io.BytesIO(b"".join(line + b"\n" for line in lines)), sink)
    return [json.loads(line) for line in sink.getvalue().split(b"\n")[:-1]]


def test_notifications_answers_and_blank_lines_are_not_answered() -> None:
    silent = (
        b"",
        b" \r",
        b'{"method":"notifications/x"}',
        b'{"method":"tools/call","params":[]}',
        b'{"id":1,"result":{}}',
    )
    assert run_lines(*silent, b'{"id":7,"method":"ping"}') == [{"jsonrpc": "2.0", "id": 7, "result": {}}]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nonsense", -32700),
        (b"\xff", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"id":true,"method":"ping"}', -32600),
    ],
)
def test_garbage_is_refused_without_an_id(line: bytes, code: int) -> None:
    [answer] = run_lines(line)
    assert (answer["id"], answer["error"]["code"]) == (None, code)


def test_batches_exist_in_one_version_only() -> None:
    batch = b'[{"id":1,"method":"ping"},{"method":"x"},{"id":2,"method":"no"}]'
    assert run_lines(batch)[0]["error"]["code"] == -32600
    _, answers = run_lines(b'{"id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}', batch)
    assert [answer["id"] for answer in answers] == [1, 2]


def test_long_lines_are_answered_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    monkeypatch.setattr(context_server, "MAX_LINE", 1000)
    answers = run_lines(ping.ljust(1000), ping.ljust(1001), b"x" * 5000, ping)
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32600, -32600, None]


@settings(deadline=None)
@given(st.binary(max_size=200).filter(lambda line: b"\n" not in line))
def test_whatever_comes_the_next_request_is_answered(line: bytes) -> None:
    assert run_lines(line, b'{"id":7,"method":"ping"}')[-1]["id"] == 7
