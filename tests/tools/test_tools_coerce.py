"""Words become arguments: by order or by name, typed by the schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.tools.coerce import coerce
from praxis.tools.schema import compile_schema

WRITE = {
    "type": "object",
    "properties": {"filename": {"type": "string"}, "content": {"type": "string"}, "times": {"type": "integer"}},
    "required": ["content"],
    "additionalProperties": False,
}


def typed(schema: Any, value: Any, **root: Any) -> Any:
    return coerce({"properties": {"x": schema}, **root}, [("x", value)])["x"]


def refusal(schema: Any, words: list[tuple[str | None, Any]]) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        coerce(schema, words)
    assert caught.value.code == "invalid"
    return caught.value


def test_positional_words_follow_the_order_of_the_properties_as_written() -> None:
    assert coerce(WRITE, [(None, "a.txt"), (None, "text"), (None, "3")]) == {
        "filename": "a.txt",
        "content": "text",
        "times": 3,
    }


@pytest.mark.parametrize(
    "words",
    [
        [("filename", "a"), (None, "b"), (None, "1")],
        [(None, "b"), ("filename", "a"), (None, "1")],
        [(None, "b"), (None, "1"), ("filename", "a")],
    ],
)
def test_positional_words_pass_over_what_is_given_by_name(words: list[tuple[str | None, Any]]) -> None:
    assert coerce(WRITE, words) == {"filename": "a", "content": "b", "times": 1}


def test_no_words_are_no_arguments() -> None:
    assert coerce(WRITE, []) == {}
    assert coerce({}, []) == {}
    assert coerce(True, []) == {}


def test_too_many_positional_words_are_refused_with_what_the_tool_takes() -> None:
    error = refusal(WRITE, [(None, "a"), (None, "b"), (None, "3"), (None, "left over")])
    assert error.where == "arguments"
    assert "left over" in error.detail
    assert error.hint == "it takes filename, content, times"
    assert refusal({}, [(None, "a")]).hint == "it takes none"


def test_an_argument_that_is_unknown_is_refused_with_the_one_that_was_meant() -> None:
    error = refusal(WRITE, [("flename", "a")])
    assert (error.where, error.detail) == ("arguments.flename", "the tool has no argument 'flename'")
    assert error.hint == "did you mean filename? it takes filename, content, times"


def test_a_schema_that_says_nothing_of_others_closes_the_words_all_the_same() -> None:
    assert refusal({"properties": {"a": {}}}, [("b", "1")]).where == "arguments.b"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"properties": {}},
        {"properties": {"a": {}}, "additionalProperties": True},
        {"properties": {"a": {}}, "additionalProperties": False, "patternProperties": {"^b": {}}},
        True,
    ],
)
def test_an_open_schema_takes_any_name(schema: Any) -> None:
    assert coerce(schema, [("b", "1")]) == {"b": "1"}


def test_an_argument_that_the_schema_does_not_name_has_the_type_of_all_others() -> None:
    schema = {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    assert coerce(schema, [("a", "1"), ("b", "1")]) == {"a": "1", "b": 1}
    assert refusal(schema, [("b", "x")]).detail == "expected integer, got 'x'"


def test_an_argument_given_twice_is_refused() -> None:
    error = refusal(WRITE, [("filename", "a"), ("filename", "b")])
    assert (error.where, error.detail) == ("arguments.filename", "it is given twice")


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, "", ""),
        ({}, "5", "5"),
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "-007", -7),
        ({"type": "integer"}, "5.0", 5),
        ({"type": "integer"}, "1e3", 1000),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "-.5", -0.5),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "null"}, "null", None),
        ({"type": "array"}, '[1, "a"]', [1, "a"]),
        ({"type": "object"}, '{"a": [true]}', {"a": [True]}),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": ["boolean", "integer"]}, "1", 1),
        ({"type": ["array", "object"]}, "{}", {}),
        ({"type": ["integer", "string"]}, "5", "5"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", "null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"oneOf": [{"type": "boolean"}, {"type": "number"}]}, "0.5", 0.5),
        ({"allOf": [{"$ref": "#/$defs/N"}]}, "5", 5),
        ({"$ref": "#/$defs/N"}, "5", 5),
        ({"$ref": "#/$defs/loop"}, "5", "5"),
        ({"$ref": "https://example.com/x"}, "5", "5"),
        ({"enum": ["a", "5", 6, None, True]}, "5", "5"),
        ({"enum": ["a", "5", 6, None, True]}, "6", 6),
        ({"enum": ["a", "5", 6, None, True]}, "null", None),
        ({"enum": ["a", "5", 6, None, True]}, "true", True),
        ({"enum": ["a"]}, "b", "b"),
        ({"const": 3}, "3", 3),
        ({"type": "integer", "enum": [1, 2]}, "2", 2),
        (True, "5", "5"),
        ({"type": "nonsense"}, "5", "5"),
    ],
)
def test_a_text_becomes_what_the_schema_says(schema: Any, text: str, value: Any) -> None:
    defs = {"N": {"type": "integer"}, "loop": {"anyOf": [{"$ref": "#/$defs/loop"}]}}
    result = typed(schema, text, **{"$defs": defs})
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "integer"}, "five", "expected integer, got 'five'"),
        ({"type": "integer"}, "5.5", "expected integer, got '5.5'"),
        ({"type": "integer"}, "", "expected integer, got ''"),
        ({"type": "integer"}, "٣", "expected integer, got '٣'"),
        ({"type": "integer"}, "1_000", "expected integer, got '1_000'"),
        ({"type": "number"}, "1e999", "expected number, got '1e999'"),
        ({"type": "number"}, "NaN", "expected number, got 'NaN'"),
        ({"type": "number"}, " 5", "expected number, got ' 5'"),
        ({"type": "boolean"}, "True", "expected boolean, got 'True'"),
        ({"type": "boolean"}, "1", "expected boolean, got '1'"),
        ({"type": "null"}, "", "expected null, got ''"),
        ({"type": "array"}, "a,b", "expected array, got 'a,b'"),
        ({"type": "array"}, "{}", "expected array, got '{}'"),
        ({"type": "array"}, "[NaN]", "expected array, got '[NaN]'"),
        ({"type": "object"}, "[" * 100_000, "expected object, got '[[["),
        ({"type": ["integer", "null"]}, "x", "expected integer or null, got 'x'"),
        ({"type": "integer"}, "9" * 100_000, "expected integer, got '999"),
    ],
)
def test_a_text_that_is_none_of_it_is_refused(schema: Any, text: str, expected: str) -> None:
    error = refusal({"properties": {"x": schema}}, [("x", text)])
    assert error.where == "arguments.x"
    assert error.detail.startswith(expected)
    assert len(error.detail) < 120


@pytest.mark.parametrize(
    ("schema", "value", "result"),
    [
        ({"type": "integer"}, 5, 5),
        ({"type": "integer"}, [1], [1]),
        ({"type": "string"}, 5, "5"),
        ({"type": "string"}, True, "true"),
        ({"type": "string"}, None, "null"),
        ({"type": "string"}, {"a": "é"}, '{"a": "é"}'),
        ({"type": ["string", "null"]}, None, None),
        ({"type": ["string", "array"]}, [1], [1]),
        ({"type": ["string", "integer"]}, 5.5, "5.5"),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_value_from_a_result_stays_unless_a_text_is_wanted(schema: Any, value: Any, result: Any) -> None:
    assert typed(schema, value) == result
    assert type(typed(schema, value)) is type(result)


@pytest.mark.parametrize("name", ["a b", "a\nb", "\x1b[31m", "a.b"])
def test_an_odd_name_is_quoted_in_the_place(name: str) -> None:
    assert refusal({"properties": {name: {"type": "integer"}}}, [(name, "x")]).where == f"arguments[{name!r}]"
    assert refusal({}, [(name, "x"), (name, "x")]).where == f"arguments[{name!r}]"
    assert refusal(WRITE, [(name, "x")]).where == f"arguments[{name!r}]"


def test_a_value_too_deep_for_a_text_is_refused() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    error = refusal({"properties": {"x": {"type": "string"}}}, [("x", deep)])
    assert (error.where, error.detail) == ("arguments.x", "expected string, got an array of 1")


def test_long_names_are_not_repeated() -> None:
    error = refusal(WRITE, [("n" * 100_000, "x")])
    assert len(str(error)) < 500


texts = st.text(max_size=12) | st.sampled_from(["5", "-1.5", "true", "null", "[1]", "{}", "[", "1e9", "1e999"])
kinds = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])


@given(kinds | st.lists(kinds, min_size=1, max_size=3), texts)
def test_what_is_taken_fits_the_type(kind: Any, text: str) -> None:
    schema = {"properties": {"x": {"type": kind}}}
    try:
        arguments = coerce(schema, [(None, text)])
    except PraxisError as error:
        assert (error.code, error.where) == ("invalid", "arguments.x")
        assert "string" not in kind
    else:
        compile_schema(schema).check(arguments)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, st.lists(st.tuples(st.none() | st.sampled_from(["a", "b"]), json_values), max_size=3))
def test_any_schema_and_any_words_raise_only_praxis_error(schema: Any, words: list[tuple[str | None, Any]]) -> None:
    for root in (schema, {"properties": {"a": schema, "b": schema}}, {"properties": schema}):
        try:
            arguments = coerce(root, words)
        except PraxisError as error:
            assert error.code == "invalid"
        else:
            assert len(arguments) == len(words)


def test_a_number_in_json_that_no_other_machine_could_read_is_refused() -> None:
    with pytest.raises(PraxisError):
        coerce({"properties": {"x": {"type": "array"}}}, [("x", "[1e999]")])
    assert coerce({"properties": {"x": {"type": "array"}}}, [("x", "[1e3, 2]")]) == {"x": [1000.0, 2]}
