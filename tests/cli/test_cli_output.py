"""Tables, JSON and YAML: right for programs, harmless for terminals."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.cli.client import FAILED, CommandError
from praxis.cli.output import as_json, emit, plain, say, table, visible, yaml_lines
from tests.cli.cli_kit import EVIL

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
KEYS = st.text() | st.sampled_from(
    ["no", "Null", "y", "1", "1e3", ".nan", "-.inf", "-1", "_1", "a.b-c_d", "~", "<<", "="]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def from_yaml(value: Any) -> Any:
    text = "\n".join(yaml_lines(value))
    assert harmless(text)
    return yaml.safe_load(text)


@given(VALUES)
@example(EVIL)
@example({"\x9b": ["\x7f\x85\xa0\u2028\ufeff\U000e0001\U0001f600"]})
def test_json_says_the_same_without_a_control_character(value: Any) -> None:
    text = as_json(value)
    assert harmless(text)
    assert json.loads(text) == value


@given(VALUES)
@example([[], {}, [[]], [{"a": [1, {"b": 2}]}], {"a": {}, "b": {"c": [[1, 2], 3]}}])
@example({EVIL: [1e22, 1e-07, 1.5e300, -0.0, "1e22", "\U000e0001\U0001f600\x85"]})
def test_yaml_says_the_same_without_a_control_character(value: Any) -> None:
    assert from_yaml(value) == value


@given(st.dictionaries(KEYS, st.just(1), min_size=1, max_size=1))
def test_a_key_stays_text_for_every_yaml_reader(value: dict[str, int]) -> None:
    assert from_yaml(value) == value


def test_ordinary_yaml_is_good_to_read() -> None:
    value = {"name": "é", "tools": ["a", {"b": 1, "c": []}], "more": {"x-y": None}}
    assert list(yaml_lines(value)) == [
        'name: "é"',
        "tools:",
        '  - "a"',
        "  - b: 1",
        "    c: []",
        "more:",
        "  x-y: null",
    ]


def test_halves_of_surrogate_pairs_and_numbers_that_json_has_not_can_be_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emit({"half": "\ud800"}, "json")
    assert json.loads(capsys.readouterr().out) == {"half": "\ud800"}
    assert from_yaml(["\udfff", math.inf, -math.inf]) == ["\udfff", math.inf, -math.inf]
    assert math.isnan(from_yaml([math.nan])[0])
    assert visible("a\ud800") == plain("a\ud800") == "a "


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_is_nested_too_deeply_is_told(form: str) -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CommandError, match="nested too deeply") as caught:
        emit(value, form)
    assert caught.value.code == FAILED
    while isinstance(value, list):  # one after the other: their end is recursive too
        value = value.pop()


CELLS = st.text(max_size=8) | st.none() | st.integers()


@given(st.lists(st.tuples(CELLS, CELLS), max_size=4))
@example([(EVIL, None)])
def test_a_table_has_one_harmless_line_per_row_and_its_columns_stand_below_each_other(rows: list[Any]) -> None:
    lines = list(table(("ONE", "TWO"), rows))
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
    at = lines[0].index("TWO")
    for line, (one, two) in zip(lines[1:], rows, strict=True):
        assert line[: at - 2].rstrip() == plain(one).rstrip()
        assert line[at:] == plain(two).rstrip()


def test_an_empty_cell_is_a_dash() -> None:
    assert list(table(("A", "B", "C"), [["", None, 0]])) == ["A  B  C", "-  -  0"]


@given(st.text())
@example(EVIL)
def test_visible_text_keeps_its_layout_and_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c).startswith("C") and c not in "\n\t"]
    assert shown.count("\n") == text.count("\n") and shown.count("\t") == text.count("\t")
    assert [c for c in shown if not c.isspace()] == [c for c in text if c.isprintable() and not c.isspace()]


def test_line_ends_of_other_systems_are_line_ends() -> None:
    assert visible("a\r\n\r\n\tb\r") == "a\n\n\tb "


def test_messages_go_to_standard_error_and_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"first\n  {EVIL}")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("praxis: first\n  red ")
    assert harmless(said.err)


def test_data_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    for form, wanted in (("table", "A\n1\n"), ("json", '{\n  "a": 1\n}\n'), ("yaml", "a: 1\n")):
        emit({"a": 1}, form, columns=("A",), rows=[[1]])
        assert tuple(capsys.readouterr()) == (wanted, "")
