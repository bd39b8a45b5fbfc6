"""JSON Schema keyword by keyword, and what errors say."""

from __future__ import annotations

from typing import Any

import pytest

from praxis.model.errors import PraxisError
from praxis.tools import keywords
from praxis.tools.schema import UNUSED, Validator, compile_schema
from tests.tools.schema_kit import HUGE, TREE, fits, refusal

DEFINITIONS = {"$defs": {"positive": {"type": "integer", "minimum": 1}}}

TABLE: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "string"}, ["", "x"], [1, None, True, [], {}]),
    ({"type": "boolean"}, [True, False], [0, 1, "true", None]),
    ({"type": "integer"}, [0, -5, 5.0, HUGE], [5.5, "5", True, None, float("inf"), float("nan")]),
    ({"type": "number"}, [0, 5.5, -1e300, HUGE], ["5", False, None, float("inf"), float("nan")]),
    ({"type": "array"}, [[], [1]], [{}, "[]", None]),
    ({"type": "object"}, [{}, {"a": 1}], [[], "{}", None]),
    ({"type": "null"}, [None], [0, "", False, [], {}]),
    ({"type": ["string", "null"]}, ["x", None], [1, [], False]),
    ({"enum": ["a", 1, None, [1], {"k": True}]}, ["a", 1, 1.0, None, [1], {"k": True}], ["b", True, [True], {"k": 1}]),
    ({"enum": [False, 2]}, [False, 2], [0, True, "2", [2]]),
    ({"enum": []}, [], ["a", None]),
    ({"const": {"a": [1, 2]}}, [{"a": [1, 2]}, {"a": [1.0, 2]}], [{"a": [2, 1]}, {}, 1]),
    ({"const": None}, [None], [0, False]),
    ({"minimum": 3}, [3, 4.5, "text", HUGE, True], [2, 2.9, -HUGE]),
    ({"maximum": 3}, [3, -1, [9]], [4, 3.1, HUGE]),
    ({"exclusiveMinimum": 3}, [4, 3.1, None], [3, 2]),
    ({"exclusiveMaximum": 3.5}, [3, -HUGE], [3.5, 4]),
    ({"multipleOf": 3}, [0, -9, 6.0, HUGE * 3, "5"], [1, 3.5, HUGE]),
    ({"multipleOf": 0.1}, [0.3, 19.9, 7, -0.7, HUGE, 1e300], [0.25, 0.35]),
    ({"propertyNames": {"pattern": "^[a-z]+$"}}, [{}, {"ab": 1}, ["A"]], [{"A": 1}, {"a": 1, "b1": 2}]),
    ({"minLength": 2}, ["ab", "😀😀", 1], ["", "😀"]),
    ({"maxLength": 2}, ["", "ab", [1, 2, 3]], ["abc"]),
    ({"minItems": 1}, [[1], "", {}], [[]]),
    ({"maxItems": 1}, [[], [1], "abc"], [[1, 2]]),
    ({"minProperties": 1}, [{"a": 1}, []], [{}]),
    ({"maxProperties": 1}, [{}, {"a": 1}], [{"a": 1, "b": 2}]),
    (
        {"uniqueItems": True},
        [[], [1, True, "1"], [[1], [2]]],
        [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[], []]],
    ),
    ({"uniqueItems": False}, [[1, 1]], []),
    ({"pattern": "^[a-c]+$"}, ["abc", 5], ["abd", ""]),
    ({"pattern": "b"}, ["abc"], ["ac"]),
    ({"properties": {"a": {"type": "string"}}}, [{}, {"a": "x"}, {"b": 1}, [], 5], [{"a": 1}]),
    ({"properties": {"a": True, "b": False}}, [{"a": 1}], [{"b": 1}]),
    ({"required": ["a"]}, [{"a": None}, [], "x"], [{}, {"b": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": False}, [{}, {"a": 1}, []], [{"b": 1}, {"a": 1, "": 2}]),
    ({"additionalProperties": False}, [{}, [1]], [{"a": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, [{"a": "x", "b": 1}], [{"b": "x"}]),
    (
        {"patternProperties": {"^x-": {"type": "string"}}, "properties": {"x-n": {}}, "additionalProperties": False},
        [{"x-a": "s", "x-n": "s"}, {}],
        [{"y": 1}, {"x-a": 1}, {"x-n": 1}],
    ),
    ({"items": {"type": "integer"}}, [[], [1, 2], "x"], [[1, "2"]]),
    ({"items": False}, [[]], [[1]]),
    ({"prefixItems": [{"type": "string"}, {"type": "integer"}]}, [[], ["a"], ["a", 1, None]], [[1], ["a", "b"]]),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, [["a", 1]], [["a", "b"]]),
    ({"prefixItems": [{}], "items": False}, [[1]], [[1, 2]]),
    ({"items": [{"type": "string"}], "additionalItems": False}, [["a"]], [[1], ["a", 1]]),
    ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, ["a", 5], [4]),
    ({"anyOf": [{"type": "string"}, True]}, ["a", 4], []),
    ({"oneOf": [{"type": "integer"}, {"minimum": 5}]}, [1, 5.5], [5, 1.5]),
    ({"allOf": [{"type": "integer"}, {"minimum": 5}]}, [5], [4, 5.5]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    ({"not": {}}, [], [1, {}]),
    ({"type": "array", "items": {"$ref": "#/$defs/positive"}, **DEFINITIONS}, [[1, 2]], [[0], ["1"]]),
    ({"$ref": "#/definitions/a", "definitions": {"a": {"type": "string"}}}, ["x"], [1]),
    ({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "string"}}}, ["x"], [1]),
    ({"$ref": "#/anyOf/0", "anyOf": [{"type": "string"}, {"type": "null"}]}, ["x"], [None, 1]),
    ({"$ref": "#/$defs/positive", "maximum": 3, **DEFINITIONS}, [3], [0, 4]),
    (TREE, [{"value": 1, "next": {"value": 2, "next": {}}}], [{"next": {"next": {"value": "x"}}}, {"next": 1}]),
    (True, [1, {}], []),
    (False, [], [1, {}]),
    ({}, [1, None], []),
    ({"format": "email", "title": "x", "default": 5, "$comment": "y", "nullable": True}, ["not mail", 1], []),
]


@pytest.mark.parametrize(("schema", "good", "bad"), TABLE, ids=[str(schema)[:60] for schema, _, _ in TABLE])
def test_each_keyword_takes_what_is_good_and_refuses_what_is_bad(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(schema, value)] == []
    assert [value for value in bad if fits(schema, value)] == []


def test_every_keyword_has_a_row() -> None:
    shown = {keyword for schema, _, bad in TABLE if isinstance(schema, dict) and bad for keyword in schema}
    assert set(keywords.KEYWORDS) <= shown


@pytest.mark.parametrize(
    ("schema", "value", "where", "detail"),
    [
        ({"required": ["filename"]}, {}, "arguments.filename", "it is required and missing"),
        ({"properties": {"n": {"type": "integer"}}}, {"n": "x"}, "arguments.n", "expected integer, got 'x'"),
        (
            {"properties": {"x": {"items": {"properties": {"y": {"type": "string"}}}}}},
            {"x": [{"y": "a"}, {"y": None}]},
            "arguments.x[1].y",
            "expected string, got null",
        ),
        (
            {"properties": {"style": {"enum": ["formal", "casual"]}}},
            {"style": "loud"},
            "arguments.style",
            "expected one of 'formal', 'casual', got 'loud'",
        ),
        ({"prefixItems": [{}, {"maximum": 2}]}, [9, 3], "arguments[1]", "expected 2 or less, got 3"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 5, "arguments", "expected string or null, got 5"),
        (
            {"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "string"}}}]},
            {"a": 1},
            "arguments.a",
            "expected string, got 1",
        ),
        ({"additionalProperties": {"type": "null"}}, {"a b": 1}, "arguments['a b']", "expected null, got 1"),
        ({"type": "string"}, [1, 2], "arguments", "expected string, got an array of 2"),
        ({"type": "string"}, {"a": 1}, "arguments", "expected string, got an object of 1"),
        ({"type": "string"}, True, "arguments", "expected string, got true"),
        ({"pattern": "^[0-9]+$"}, "x", "arguments", "expected a string that matches ^[0-9]+$, got 'x'"),
        ({"uniqueItems": True}, ["a", "b", "a"], "arguments[2]", "expected no item twice, got 'a'"),
        (
            {"propertyNames": {"maxLength": 2}},
            {"abc": 1},
            "arguments.abc",
            "expected a string of 2 characters or fewer, got 'abc'",
        ),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "arguments", "expected one alternative to fit, not 2, got 3"),
    ],
)
def test_an_error_says_where_what_was_expected_and_what_came(schema: Any, value: Any, where: str, detail: str) -> None:
    error = refusal(schema, value)
    assert (error.where, error.detail) == (where, detail)


def test_an_unknown_field_is_named_with_the_one_that_was_meant() -> None:
    schema = {"properties": {"filename": {}, "content": {}}, "required": ["filename"], "additionalProperties": False}
    error = refusal(schema, {"fliename": "x"})
    assert error.where == "arguments.fliename"
    assert error.detail == "there is no 'fliename' here"
    assert error.hint == "did you mean filename? it takes filename, content"


def test_a_missing_argument_is_told_with_what_its_schema_says_of_it() -> None:
    described = {"type": "string", "description": "Path of the file,\n relative"}
    schema: Any = {"properties": {"filename": described, "n": {"type": "integer"}, "x": True}}
    hints = [refusal({**schema, "required": [name]}, {}).hint for name in ("filename", "n", "x", "y")]
    assert hints == ["string: Path of the file, relative", "integer", "", ""]
    long = {"properties": {"a": {"description": "x" * 10_000}}, "required": ["a"]}
    assert len(refusal(long, {}).hint) <= 200


def test_a_value_that_is_almost_one_of_the_allowed_is_told_with_that() -> None:
    schema = {"enum": ["formal", "casual", 1, None]}
    other: Any
    assert refusal(schema, "formall").hint == "did you mean formal?"
    for other in ("loud", 5, [], {}):
        assert refusal(schema, other).hint == ""


def test_the_place_is_the_caller_s() -> None:
    with pytest.raises(PraxisError) as caught:
        Validator({"properties": {"dsl": {"type": "string"}}}).check({"dsl": 1}, "body")
    assert caught.value.where == "body.dsl"


ODD = {
    "long": "x" * 100_000,
    "huge": HUGE,
    "negative": -HUGE,
    "list": ["x"] * 1000,
    "key": {"k" * 1000: 1},
    "escapes": "\n\x1b[31m" * 50,
    "surrogates": "\ud800" * 99,
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_no_error_repeats_a_long_or_odd_value(value: Any) -> None:
    error = refusal({"enum": ["y" * 10_000, {"z": 1}], "type": ["null"]}, value)
    assert len(error.detail) < 150
    assert error.detail.isprintable()


def test_no_error_repeats_a_long_name() -> None:
    name = "n" * 100_000
    for schema in (
        {"additionalProperties": False},
        {"additionalProperties": {"type": "null"}},
        {"required": [name * 2]},
    ):
        error = refusal(schema, {name: 1})
        assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("schema", "note"),
    [
        ({"pattern": "("}, "pattern '('"),
        ({"pattern": "(a+)+$"}, "could take too long"),
        ({"pattern": 5}, "pattern 5: not a text"),
        ({"patternProperties": {"(": False}}, "patternProperties '('"),
        ({"$ref": "https://example.com/schema.json"}, "it is not fetched"),
        ({"$ref": "file:///etc/passwd"}, "it is not fetched"),
        ({"$ref": "#/$defs/nowhere"}, "it leads nowhere"),
        ({"$ref": "#anchor"}, "not a path"),
        ({"type": "text"}, "type 'text'"),
        ({"type": []}, "not a type"),
        ({"enum": "abc"}, "enum"),
        ({"required": "abc"}, "required"),
        ({"minimum": "3"}, "N or more"),
        ({"maxLength": None}, "a string of N characters or fewer"),
        ({"multipleOf": 0}, "multipleOf: not a number above 0"),
        ({"not": 5}, "5: not a schema"),
        *[({keyword: {}}, f"{keyword}: not looked at") for keyword in UNUSED],
    ],
)
def test_a_keyword_that_cannot_be_used_is_passed_over_and_noted(schema: Any, note: str) -> None:
    validator = compile_schema(schema)
    validator.check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!")
    validator.check({"a": 1})
    assert len(validator.notes) == 1
    assert note in validator.notes[0]


UNCERTAIN = [
    {"pattern": "("},
    {"pattern": "x*y*z"},  # not tried on a long text
    {"patternProperties": {"(": False}, "additionalProperties": False},
    {"patternProperties": {"x*y*z": {}}, "additionalProperties": False},
    {"$ref": "https://example.com/x"},
    {"type": "text"},
    {"required": 5},
    {"multipleOf": "x"},
    {"contains": {"type": "integer"}},
    {"if": True, "then": False},
    {"format": "date"},
    {"$ref": "#"},
]


@pytest.mark.parametrize("part", UNCERTAIN, ids=str)
@pytest.mark.parametrize("value", ["x" * 5000, {"x" * 5000: 1}], ids=["text", "object"])
def test_what_is_passed_over_refuses_nothing_by_having_fitted(part: Any, value: Any) -> None:
    """For all that is known the value does not fit the part, so neither "not" nor a second alternative refuses it."""
    for keywords_of, kind in ((("pattern", "if"), str), (("patternProperties", "required"), dict)):
        if any(keyword in part for keyword in keywords_of) and not isinstance(value, kind):
            return
    assert fits(part, value)
    assert fits({"not": part}, value)
    assert fits({"not": {"anyOf": [part, part]}}, value)
    assert fits({"oneOf": [part, part, True]}, value)
    assert fits({"oneOf": [part, False]}, value)
    assert not fits({"oneOf": [part, True, True]}, value)
    assert not fits({"not": {"oneOf": [True, False]}, "allOf": [part]}, value)
    assert not fits({"oneOf": [{"allOf": [part, False]}, False]}, value)


def test_a_good_schema_has_no_notes() -> None:
    assert [compile_schema(schema).notes for schema, _, _ in TABLE if compile_schema(schema).notes] == []
