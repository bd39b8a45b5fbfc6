from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_servers import context_server
from mcp_servers.context_server import make_server
from tests.mcp_servers.talk import Talk, call_of, cancel_of
from tests.mcp_servers.talk import text_of as text


def call(tool: str, documents: Path | None = None, /, **arguments: Any) -> Any:
    return Talk(make_server(documents)).call(tool, **arguments)


@pytest.mark.parametrize("arguments", [["--documents", "/no/such/folder"], ["--port", "1"]])
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        context_server.main(arguments)


def test_the_tools_are_those_of_the_contract() -> None:
    tools = {tool["name"]: tool for tool in Talk(make_server(None)).ask("tools/list")["tools"]}
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
    [answer] = Talk(make_server(None)).send(line)
    assert text(answer["result"], is_error=True) == "the result is too large"


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
    talk = Talk(make_server(None))
    assert [found["uri"] for found in talk.ask("resources/list")["resources"]] == [
        "context://server-info",
        "context://available-tools",
    ]
    [content] = talk.ask("resources/read", {"uri": "context://available-tools"})["contents"]
    assert [tool["name"] for tool in json.loads(content["text"])] == [
        "greet",
        "calculate",
        "get_time",
        "context_search",
    ]
    [content] = talk.ask("resources/read", {"uri": "context://server-info"})["contents"]
    assert json.loads(content["text"])["name"] == "context-server"
    assert talk.ask("resources/templates/list") == {"resourceTemplates": []}


def test_a_search_lets_others_in_between_two_documents(tmp_path: Path) -> None:
    talk = Talk(make_server(make_documents(tmp_path)))
    assert talk.send(call_of(1, "context_search", query="fox"), call_of(2, "context_search", query="dog")) == []
    talk.server.step()
    assert talk.send({"id": "p", "method": "ping"}, cancel_of(1))[0]["id"] == "p"
    assert [answer["id"] for answer in talk.finish()] == [2]
