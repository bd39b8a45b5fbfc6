"""Tools are found by what they are called and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.tool import Tool
from praxis.tools.finding import ToolIndex, words


def tool(name: str, description: str = "", **properties: str) -> Tool:
    schema = {"type": "object", "properties": {key: {"description": text} for key, text in properties.items()}}
    return Tool("a", "s", {"name": name, "description": description, "inputSchema": schema})


TOOLS = {
    "fs__write_file": tool("write_file", "Write text to a file.", filename="Where", content="What to write"),
    "fs__read_file": tool("read_file", "The text of a file.", filename="Which"),
    "fs__list_files": tool("list_files", "Names of files and folders."),
    "mail__send": tool("send", "Send a message to somebody.", to="Address of the person", body="The text"),
    "git__commitChanges": tool("commitChanges", "Record changes in the repository."),
    "odd__nothing": Tool("a", "s", {"name": "nothing", "inputSchema": None, "description": None}),
}


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("write a file", "fs__write_file"),
        ("list folders", "fs__list_files"),
        ("email address", "mail__send"),
        ("commit", "git__commitChanges"),
        ("repo", "git__commitChanges"),
        ("COMMIT CHANGE", "git__commitChanges"),
    ],
)
def test_the_best_match_is_first(query: str, first: str) -> None:
    assert ToolIndex(TOOLS).find(query, 3)[0][0] == first


def test_words_that_no_tool_has_find_nothing_and_the_limit_holds() -> None:
    index = ToolIndex(TOOLS)
    assert index.find("quantum banana", 5) == []
    assert index.find("", 5) == index.find("?!", 5) == []
    assert len(index.find("file", 2)) == 2
    assert ToolIndex({}).find("file", 2) == []


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    scores = dict(ToolIndex(TOOLS).find("text person", 9))
    assert scores["mail__send"] > scores["fs__read_file"]


def test_names_are_split_into_words() -> None:
    assert words("readFiles read_files HTTP-status glass") == ["read", "file", "read", "file", "http", "statu", "glass"]


@given(st.text(max_size=200), st.dictionaries(st.text(max_size=8), st.none() | st.text() | st.integers(), max_size=4))
def test_nothing_that_a_stranger_writes_breaks_it(query: str, definition: dict[str, Any]) -> None:
    index = ToolIndex({**TOOLS, "x": Tool("a", "s", {**definition, "name": "x", "inputSchema": definition})})
    found = index.find(query, 4)
    assert len(found) <= 4
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
