"""JSON Schema keyword by keyword, and that nothing but PraxisError ever comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.tools import keywords
from praxis.tools.schema import MAX_NOTES, MAX_PARTS, Validator, compile_schema, resolve

HUGE = 10**5000
"""An integer that neither becomes a float nor, by the interpreter's limit, a text."""


def refusal(schema: Any, value: Any) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        compile_schema(schema).check(value)
    assert caught.value.code == "invalid"
    return caught.value


def fits(schema: Any, value: Any) -> bool:
    try:
        compile_schema(schema).check(value)
    except PraxisError as error:
        assert error.code == "invalid"
        return False
    return True


DEFINITIONS = {"$defs": {"positive": {"type": "integer", "minimum": 1}}}
TREE = {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}}}

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
    ],
)
def test_a_keyword_that_cannot_be_used_is_passed_over_and_noted(schema: Any, note: str) -> None:
    validator = compile_schema(schema)
    validator.check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!")
    validator.check({"a": 1})
    assert len(validator.notes) == 1
    assert note in validator.notes[0]


def test_a_good_schema_has_no_notes() -> None:
    assert [compile_schema(schema).notes for schema, _, _ in TABLE if compile_schema(schema).notes] == []


def test_a_text_too_long_for_its_pattern_is_left_to_the_tool() -> None:
    """The worst case of ``x*y*`` from every place is the cube of the length."""
    validator = compile_schema({"pattern": "x*y*z"})
    assert not fits({"pattern": "x*y*z"}, "xxx")
    validator.check("x" * 50_000)
    many = compile_schema({"items": {"pattern": "x*y*z"}})
    with pytest.raises(PraxisError):
        many.check(["x" * 50_000, "xxx"])
    many.check(["x" * 98 + "z", "xxx"])  # the first may take all that one check has


def test_a_name_too_long_for_its_pattern_is_left_to_the_tool() -> None:
    schema = {"patternProperties": {"x*y*z": {"type": "string"}}, "additionalProperties": False}
    assert not fits(schema, {"xxx": 1})
    assert not fits(schema, {"xyz": 1})
    assert fits(schema, {"x" * 5000: 1})


def test_a_pattern_that_is_passed_over_closes_no_object() -> None:
    assert fits({"patternProperties": {"(": {}}, "additionalProperties": False}, {"a": 1})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"allOf": [{"$ref": "#/allOf/1"}, {"$ref": "#/allOf/0"}]},
    ],
)
def test_a_reference_to_itself_says_nothing(schema: Any) -> None:
    assert fits(schema, {"a": 1})
    assert fits(schema, 5)


def test_a_reference_to_itself_still_lets_the_rest_count() -> None:
    schema = {"allOf": [{"$ref": "#"}, {"type": "string"}]}
    assert fits(schema, "x")
    assert not fits(schema, 1)


def test_values_as_deep_as_they_like_are_refused_not_fatal() -> None:
    value: Any = {}
    for _ in range(5000):
        value = {"next": value}
    assert "deep" in refusal(TREE, value).detail
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert "deep" in refusal({"const": [[]]}, deep).detail


def test_a_schema_that_doubles_its_work_is_stopped() -> None:
    """Two references on each of 60 levels would be 2 to the 60."""
    schema = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "b": {"type": "string"}}}
    value: Any = {"b": 1}
    for _ in range(60):
        value = {"a": value}
    assert "too involved" in refusal(schema, value).detail
    value = {"b": "x"}
    for _ in range(60):
        value = {"a": value}
    assert fits(schema, value)


def test_a_full_message_of_small_values_is_checked_and_no_more() -> None:
    many = [1] * keywords.MAX_STEPS
    assert fits({"items": {"type": "integer"}}, many)
    many.append(1)
    assert "too large" in refusal({"items": {"type": "integer"}}, many).detail


def test_a_schema_is_not_looked_at_for_ever() -> None:
    deep: Any = {"type": "string"}
    for _ in range(5000):
        deep = {"properties": {"a": deep}}
    validator = compile_schema(deep)
    assert len(validator.notes) == 1
    assert fits({"enum": [deep]}, 1)
    wide = compile_schema({"anyOf": [{"type": "string"}] * (MAX_PARTS + 10)})
    wide.check(5)
    assert wide.notes
    chain: dict[str, Any] = {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(3000)}
    validator = compile_schema({"$ref": "#/$defs/0", "$defs": chain})
    assert validator.notes == ["$ref '#/$defs/3000': it leads nowhere"]
    assert "deep" in refusal({"$ref": "#/$defs/0", "$defs": chain}, 1).detail


def test_notes_are_few_and_short() -> None:
    schema = {"allOf": [{"pattern": "(" * 10_000} for _ in range(1000)]}
    notes = compile_schema(schema).notes
    assert len(notes) == MAX_NOTES
    assert max(map(len, notes)) <= 200


def test_a_path_in_a_schema_is_followed_or_refused() -> None:
    root = {"a": [{"b/c": 1}, {"~": 2}], "": {"": 3}}
    assert resolve(root, "#") is root
    assert resolve(root, "#/a/0/b~1c") == 1
    assert resolve(root, "#/a/1/~0") == 2
    assert resolve(root, "#//") == 3
    for wrong in ("", "a", "#a", "#/b", "#/a/2", "#/a/-1", "#/a/x", "#/a/²", "#/a/0/b~1c/d", "#/" + "a" * 2000, "x#/a"):
        with pytest.raises(LookupError):
            resolve(root, wrong)


# -- properties ------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    *keywords.KEYWORDS,
    *("properties", "patternProperties", "additionalProperties", "required", "items", "prefixItems", "additionalItems"),
    *("allOf", "anyOf", "oneOf", "not", "$ref", "$defs"),
)
references = st.sampled_from(["#", "#/$defs/a", "#/properties/a", "#/not", "http://x/y", "#/anyOf/0"])


def _sensible(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas whose keywords are mostly what they should be."""
    fields = st.dictionaries(st.sampled_from(["a", "b", "^a"]), inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(list(keywords.KINDS)) | st.lists(st.sampled_from(list(keywords.KINDS)), max_size=3),
            "enum": st.lists(scalars, max_size=3),
            "minimum": st.integers() | st.floats(),
            "maxLength": st.integers(0, 5),
            "uniqueItems": st.booleans(),
            "pattern": st.text(alphabet="ab()*+?[]^$|", max_size=8),
            "properties": fields,
            "patternProperties": fields,
            "additionalProperties": st.booleans() | inner,
            "required": st.lists(st.sampled_from(["a", "b"])),
            "items": inner | several,
            "prefixItems": several,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "$ref": references,
            "$defs": fields,
        },
    )


sensible = st.recursive(st.booleans() | _sensible(st.booleans()), _sensible, max_leaves=6)
odd = st.dictionaries(st.sampled_from(NAMES), values | references, max_size=5)


@given(sensible | odd | values, values)
@example({"enum": [float("nan")], "uniqueItems": True}, [float("nan"), float("nan")])
@example({"type": [[]], "required": [[]], "enum": [{}], "$ref": []}, {})
@example({"minimum": HUGE, "maximum": float("nan"), "minLength": 2.5}, "x")
@example({"pattern": "\ud800"}, "\udfff")
def test_any_schema_and_any_value_raise_only_praxis_error(schema: Any, value: Any) -> None:
    fits(schema, value)


@given(st.lists(values, min_size=1, max_size=5))
def test_whatever_an_enum_lists_fits_it(allowed: list[Any]) -> None:
    validator = compile_schema({"enum": allowed})
    for value in allowed:
        validator.check(value)


@given(sensible, values)
def test_combinations_agree_with_logic(schema: Any, value: Any) -> None:
    if "$ref" in json.dumps(schema):
        return  # inside another schema its references would lead elsewhere
    alone = fits(schema, value)
    assert fits({"allOf": [schema]}, value) == alone
    assert fits({"anyOf": [False, schema]}, value) == alone
    assert fits({"oneOf": [schema, False]}, value) == alone
    assert fits({"not": schema}, value) != alone
    assert fits({"$ref": "#/$defs/x", "$defs": {"x": schema}}, value) == alone
    assert fits({"items": schema}, [value]) == alone
    assert fits({"properties": {"k": schema}}, {"k": value}) == alone
    assert fits({"additionalProperties": schema}, {"k": value}) == alone
