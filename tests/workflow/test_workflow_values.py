"""What ``${...}`` stands for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Reference
from praxis.model.tool import ToolResult
from praxis.workflow.values import MAX_SHOWN, is_constant, resolve, value_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3), max_leaves=8
)


def looked_up(value: Any, *path: str | int) -> Any:
    return resolve(Argument("a", (Reference("x", path, 3, 14),)), {"x": value})


def refusal(value: Any, *path: str | int) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        looked_up(value, *path)
    assert (caught.value.code, caught.value.where) == ("invalid", "line 3, column 14")
    return caught.value


# -- results become values -------------------------------------------------------------------------


def test_structured_content_comes_before_the_text() -> None:
    assert value_of(ToolResult.of_text("text", structured={"a": 1})) == {"a": 1}


@pytest.mark.parametrize("structured", [0, False, "", [], {}])
def test_structured_content_counts_even_when_it_is_empty(structured: Any) -> None:
    assert value_of(ToolResult.of_text("text", structured=structured)) == structured


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES))
def test_text_that_is_a_json_object_or_list_is_read_as_that(value: Any) -> None:
    assert value_of(ToolResult.of_text(json.dumps(value))) == value


@pytest.mark.parametrize("text", ["5", "true", "null", '"quoted"', "", "[not json", "{}{}", "plain", "[" * 100_000])
def test_any_other_text_stays_text(text: str) -> None:
    assert value_of(ToolResult.of_text(text)) == text


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", '{"a": -Infinity}', "[1e999]"])
def test_numbers_that_json_does_not_have_leave_the_text_as_it_is(text: str) -> None:
    assert value_of(ToolResult.of_text(text)) == text


def test_text_blocks_are_joined_by_lines_and_other_blocks_are_passed_over() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "image", "data": "AA=="}, {"type": "text", "text": "b"}]
    assert value_of(ToolResult({"content": blocks})) == "a\nb"


# -- looking up ------------------------------------------------------------------------------------


@given(VALUES)
def test_a_reference_alone_keeps_value_and_type(value: Any) -> None:
    found = looked_up(value)
    assert found is value


def test_a_path_leads_through_objects_and_lists() -> None:
    assert looked_up({"a": [{"b": 1}, {"b": [2, 3]}]}, "a", 1, "b", 0) == 2


def test_null_is_a_value_that_is_there() -> None:
    assert looked_up({"a": None}, "a") is None


def test_a_missing_key_is_refused_with_the_keys_that_are_there() -> None:
    assert refusal({"one": 1, "two": 2}, "three").detail == "${x.three} is not there: ${x} is an object with one, two"
    assert refusal({"a": {}}, "a", "b").detail == "${x.a.b} is not there: ${x.a} is an empty object"


def test_a_position_behind_the_end_is_refused_with_the_length() -> None:
    assert refusal({"a": [1, 2]}, "a", 2).detail == "${x.a[2]} is not there: ${x.a} is a list of 2"


@pytest.mark.parametrize("step", [0, "length"])
@pytest.mark.parametrize("text", ["", "hello"])
def test_plain_text_has_no_parts(text: str, step: str | int) -> None:
    error = refusal({"a": text}, "a", step)
    assert error.detail == f"{Reference('x', ('a', step))} is not there: ${{x.a}} is a text"
    assert error.hint == "write ${x.a} for all of it"
    assert refusal(text, 0).detail == "${x[0]} is not there: ${x} is a text"


@pytest.mark.parametrize(("value", "shown"), [(5, "5"), (True, "true"), (None, "null"), (1.5, "1.5")])
def test_what_has_no_parts_is_named(value: Any, shown: str) -> None:
    assert refusal(value, "a").detail == f"${{x.a}} is not there: ${{x}} is {shown}"


def test_a_position_in_an_object_and_a_key_in_a_list_are_refused() -> None:
    assert "an object with 0" in refusal({"0": "a"}, 0).detail
    assert "a list of 1" in refusal(["a"], "0").detail


def test_an_error_stays_readable_whatever_the_tool_answered() -> None:
    assert len(refusal({"k" * 100_000: 1}, "a").detail) < MAX_SHOWN + 100
    assert "a0, a1, a2, a3, a4, a5, a6, a7" in refusal({f"a{i}": i for i in range(100)}, "b").detail
    assert "a8" not in refusal({f"a{i}": i for i in range(100)}, "b").detail
    assert len(refusal(10**4000, "a").detail) < MAX_SHOWN + 100


# -- text with references --------------------------------------------------------------------------


def test_references_among_text_become_text() -> None:
    parts = ("<", Reference("x"), "|", Reference("y", ("k",)), ">")
    assert resolve(Argument(None, parts), {"x": "é", "y": {"k": [1, "é", None, True]}}) == '<é|[1, "é", null, true]>'


def test_two_references_that_touch_are_text_too() -> None:
    assert resolve(Argument(None, (Reference("x"), Reference("x"))), {"x": 1}) == "11"


def test_a_path_that_is_not_there_is_refused_inside_text_as_well() -> None:
    with pytest.raises(PraxisError, match=r"\$\{x\[0\]\} is not there: \$\{x\} is a text"):
        resolve(Argument(None, ("a ", Reference("x", (0,)))), {"x": "text"})


def test_text_without_references_is_itself_and_constant() -> None:
    argument = Argument("a", ("plain",))
    assert resolve(argument, {}) == "plain"
    assert is_constant(argument)
    assert is_constant(Argument("a", ("",)))
    assert not is_constant(Argument("a", ("a", Reference("x"))))
    assert not is_constant(Argument("a", (Reference("x"),)))
