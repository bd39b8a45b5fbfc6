"""What the documents show as programs must be programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from praxis.dsl.parser import MAX_DEPTH, parse
from praxis.dsl.terms import KEYWORDS, STATEMENTS
from praxis.dsl.tokens import MAX_NAME, MAX_TEXT
from praxis.workflow.planner import MAX_EDGES, MAX_STEPS, plan

ROOT = Path(__file__).parents[2]
LANGUAGE = ROOT / "docs" / "dsl.md"
_BLOCK = re.compile(r"^```praxis\n(.*?)^```$", re.MULTILINE | re.DOTALL)

EXAMPLES = [
    pytest.param(match.group(1), id=f"{path.name}:{path.read_text()[: match.start()].count(chr(10)) + 1}")
    for path in (LANGUAGE, ROOT / "README.md")
    if path.exists()
    for match in _BLOCK.finditer(path.read_text())
]


def test_the_description_has_examples() -> None:
    assert len(_BLOCK.findall(LANGUAGE.read_text())) >= 10


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_program_with_a_plan(text: str) -> None:
    assert plan(parse(text)).steps


def test_every_fence_is_of_a_known_kind() -> None:
    """So that no example escapes by a misspelt or missing word after the fence."""
    fences = re.findall(r"^```(.*)$", LANGUAGE.read_text(), re.MULTILINE)
    assert set(fences[1::2]) == {""}
    assert set(fences[::2]) == {"praxis", "ebnf"}


def test_every_keyword_is_named() -> None:
    text = LANGUAGE.read_text()
    for word in KEYWORDS:
        assert re.search(rf"`[^`\n]*\b{word}\b|\n{word} ", text), word
    examples = "".join(_BLOCK.findall(text))
    assert all(word in examples for word in STATEMENTS)


@pytest.mark.parametrize("bound", [f"{MAX_TEXT // 1024} KiB", MAX_DEPTH, MAX_STEPS, MAX_EDGES])
def test_the_bounds_are_those_of_the_code(bound: int | str) -> None:
    shown = bound if isinstance(bound, str) else f"{bound:,}"
    assert re.search(rf"^\| .* \| {re.escape(shown)}( of UTF-8)? \|$", LANGUAGE.read_text(), re.MULTILINE)


def test_the_length_of_names_is_that_of_the_code() -> None:
    assert f"at most {MAX_NAME} characters" in LANGUAGE.read_text()


def test_the_quoted_error_is_what_one_gets() -> None:
    quoted = re.search(r"names its place: `([^`]+)`", LANGUAGE.read_text())
    assert quoted is not None
    with pytest.raises(Exception, match="did you mean") as caught:
        parse("CALL a\n    call b")
    assert " ".join(quoted.group(1).split()) == str(caught.value)


def test_the_three_dollars_are_the_same() -> None:
    """The example claims it."""
    (example,) = [text for text in _BLOCK.findall(LANGUAGE.read_text()) if "three times" in text]
    prices = plan(parse(example)).step("s2").arguments[1].parts
    assert prices == ("$5, or '$5', or $5",)
