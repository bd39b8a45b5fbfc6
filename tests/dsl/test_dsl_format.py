"""The usual form of a program: what it means stays, and it is its own usual form."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.dsl.format import format_program
from praxis.dsl.parser import parse
from praxis.model.errors import PraxisError
from praxis.workflow.planner import plan
from tests.dsl.test_dsl_docs import EXAMPLES


def meaning(text: str) -> object:
    """The plan without its places."""

    def strip(value: Any) -> object:
        if attrs.has(type(value)):
            fields = attrs.asdict(value, recurse=False)
            return type(value).__name__, {k: strip(v) for k, v in fields.items() if k not in ("line", "column")}
        return [strip(item) for item in value] if isinstance(value, tuple | list) else value

    return strip(plan(parse(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CALL  a   1;CALL b", "CALL a 1\nCALL b\n"),
        ("\n\n# so\nCALL a # why\n\n\n\nCALL b\n\n", "# so\nCALL a  # why\n\nCALL b\n"),
        ("PARALLEL{CALL a;CALL b}", "PARALLEL {\n  CALL a\n  CALL b\n}\n"),
        ("PARALLEL\n\n{\n\n CALL a\n\n}", "PARALLEL {\n  CALL a\n}\n"),
        (
            "IF ${params.x}==1 {CALL a}".replace("==", " == ") + "\n\nELSE\n{CALL b}->r;CALL c",
            "IF ${params.x} == 1 {\n  CALL a\n} ELSE {\n  CALL b\n} -> r\nCALL c\n",
        ),
        (
            "TASK 'x' # t\n{ # in\nCALL a 'two\n lines'\n# last\n}",
            "TASK 'x' {  # t  # in\n  CALL a 'two\n lines'\n  # last\n}\n",
        ),
        (
            "FOREACH x IN '[\"  # in\"]' # out\n# more\n{CALL a ${x}}",
            "FOREACH x IN '[\"  # in\"]' {  # out\n  # more\n  CALL a ${x}\n}\n",
        ),
        ("CALL a --b=${params.c}->d ON e", "CALL a --b=${params.c}->d ON e\n"),
        ("SEQUENCE { CALL a }\n\n\nCALL b", "SEQUENCE {\n  CALL a\n}\n\nCALL b\n"),
    ],
)
def test_the_usual_form(text: str, expected: str) -> None:
    if "->d" in text:  # it is part of a word there
        with pytest.raises(PraxisError):
            format_program("CALL a->d")
        return
    assert format_program(text) == expected
    assert format_program(expected) == expected


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_mean_the_same_afterwards(text: str) -> None:
    formatted = format_program(text)
    assert meaning(formatted) == meaning(text)
    assert format_program(formatted) == formatted
    for line in text.splitlines():
        comment = line.partition("# ")[2]
        assert comment in formatted


PIECES = [
    "CALL a",
    "CALL b 'x y'",
    "CALL c\n",
    ";",
    "\n",
    "# so\n",
    "PARALLEL {",
    "SEQUENCE\n{",
    "}",
    "TASK t {",
    "\n\n\n",
]
PIECES += [
    "IF x {",
    "} ELSE {",
    "}\nELSE {",
    "FOREACH f IN x MAX 3 {",
    "AGENT b # c\n{",
    "AGENT https://a.example:1/b#c # c\n{",
    "FOREACH g IN 'x  # y'\n{",
    "TASK 'z  # ' # c\n\n{",
    "SEQUENCE\n\n# e\n\n# f\n{",
    " # d\n",
    "-> r",
    "TIMEOUT 5s",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_whatever_is_a_program_means_the_same_afterwards(pieces: list[str]) -> None:
    text = " ".join(pieces)
    try:
        before = meaning(text)
    except PraxisError:
        return
    formatted = format_program(text)
    assert meaning(formatted) == before
    assert format_program(formatted) == formatted
    assert formatted.count("#") == text.count("#")  # comments and texts


def test_what_is_no_program_is_left_alone() -> None:
    with pytest.raises(PraxisError) as caught:
        format_program("CALL a\nCAL b")
    assert caught.value.where == "line 2, column 1"
