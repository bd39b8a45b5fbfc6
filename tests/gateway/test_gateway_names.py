"""Names under which tools are exported."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.gateway.names import MAX_NAME, exported_name
from praxis.model.tool import Tool

WORD = st.text(
    st.characters(codec="utf-8", exclude_characters=":/", exclude_categories=("C", "Z")), min_size=1, max_size=80
)


def name(agent: str, source: str, tool: str) -> str:
    return exported_name(Tool(agent, source, {"name": tool}), "me")


def test_plain_names_say_whose_a_tool_is() -> None:
    assert name("me", "fs", "write_file") == "fs__write_file"
    assert name("praxis-agent-2", "fs", "write_file") == "praxis-agent-2__fs__write_file"


@pytest.mark.parametrize(
    "parts",
    [
        ("a", "b", "x" * 60),
        ("a", "b.c", "d"),
        ("a", "b", "größe"),
        ("a", "b", "c__d"),
        ("a_", "b", "c"),
        ("a", "_b", "c"),
        ("me", "b", "c_"),
    ],
)
def test_what_does_not_fit_or_could_be_read_in_two_ways_ends_in_a_hash(parts: tuple[str, str, str]) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{9,64}", name(*parts))
    assert re.fullmatch(r".*_[0-9a-f]{8}", name(*parts))


@given(st.lists(st.tuples(st.sampled_from(["me", "a", "a_b", "fs"]), WORD, WORD), max_size=20, unique=True))
def test_every_tool_has_a_name_of_its_own_that_every_client_takes(tools: list[tuple[str, str, str]]) -> None:
    names = [name(*parts) for parts in tools]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", each) and len(each) <= MAX_NAME for each in names)
