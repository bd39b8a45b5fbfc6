"""Schemas and values that would take long or lead in circles, and that nothing but PraxisError ever comes out."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.tools import keywords
from praxis.tools.check import MAX_NOTES, MAX_PATTERNS, MAX_STEPS, Notes, Work
from praxis.tools.schema import MAX_PARTS, UNUSED, compile_schema, resolve
from tests.tools.schema_kit import HUGE, TREE, fits, refusal


def test_a_text_too_long_for_its_pattern_is_left_to_the_tool() -> None:
    """The worst case of ``x*y*`` from every place is the cube of the length."""
    validator = compile_schema({"pattern": "x*y*z"})
    assert not fits({"pattern": "x*y*z"}, "xxx")
    validator.check("x" * 50_000)
    many = compile_schema({"items": {"pattern": "x*y*z"}})
    with pytest.raises(PraxisError):
        many.check(["x" * 50_000, "xxx"])
    many.check(["x" * 130 + "z", "xxx" * 20])  # the first may take nearly all that one check has


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


def test_a_reference_to_itself_refuses_nothing_by_having_fitted() -> None:
    assert fits({"not": {"anyOf": [{"$ref": "#/not"}]}}, 1)


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
    many = [1] * MAX_STEPS
    assert fits({"items": {"type": "integer"}}, many)
    many.append(1)
    assert "too large" in refusal({"items": {"type": "integer"}}, many).detail


@pytest.mark.parametrize(
    ("schema", "item"),
    [
        ({"allOf": [{"minimum": 0}] * 5000}, 1),
        ({"anyOf": [{"minimum": 2}] * 5000 + [{"minimum": 1}]}, 1),
        ({"type": "integer", "not": {"allOf": [{"minimum": 0}] * 5000 + [False]}}, 1),
        ({"propertyNames": {"allOf": [{"minLength": 1}] * 5000}}, {"a": 1}),
    ],
    ids=["allOf", "anyOf", "not", "propertyNames"],
)
def test_a_schema_that_looks_at_every_item_a_thousand_times_is_stopped(schema: Any, item: Any) -> None:
    """One message against one schema would be ten billion looks."""
    work = Work("arguments", steps=20_000)
    check = compile_schema({"items": schema})._check
    assert check is not None
    with pytest.raises(PraxisError, match="too involved"):
        check([item] * 10, work)


def test_what_was_meant_is_looked_for_once_however_many_alternatives_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison of names takes a hundred times longer than a look."""
    asked: list[str] = []

    def compare(name: str, names: list[str], most: int) -> list[str]:
        asked.append(name)
        return names[:1]

    monkeypatch.setattr(difflib, "get_close_matches", compare)
    closed = {"properties": {"right": {}}, "additionalProperties": False}
    error = refusal({"items": {"anyOf": [closed] * 50}}, [{"right": 1}, {"wrong": 1}])
    assert (error.where, error.hint) == ("arguments[1].wrong", "did you mean right? it takes right")
    assert asked == ["wrong"]


def test_a_name_that_is_required_often_is_looked_for_once() -> None:
    class Counting(dict[str, int]):
        looked = 0

        def __contains__(self, name: object) -> bool:
            self.looked += 1
            return super().__contains__(name)

    value = Counting(a=1)
    compile_schema({"required": ["a"] * 1000}).check(value)
    assert value.looked == 1


def test_no_numbers_can_be_chosen_to_collide() -> None:
    """All of these integers have the hash 0, and so has a set of them for a list."""
    chosen = [turn * (2**61 - 1) for turn in range(1000)]
    assert {hash(number) for number in chosen} == {0}
    work = Work("arguments")
    for made in (chosen, [float(2**turn) for turn in range(61, 1000, 61)], [[number] for number in chosen]):
        assert len({hash(keywords.canonical(value, work)) for value in made}) > len(made) - 5


def test_the_patterns_of_a_schema_are_counted() -> None:
    schema: Any = {"allOf": [{"pattern": f"^{n}$"} for n in range(MAX_PATTERNS)]}
    assert compile_schema(schema).notes == []
    schema["allOf"].append({"patternProperties": {"^a$": False}})
    validator = compile_schema(schema)
    assert validator.notes == ["patternProperties '^a$': there are more than 100"]
    validator.check({"a": 1})


def test_an_anchored_pattern_is_tried_at_the_start_alone() -> None:
    """A hundred times a text of megabytes would else be read through a hundred times."""
    compiled = Notes().pattern("^b")
    assert compiled.steps(4_000_000) < 10
    assert getattr(compiled._find, "__name__", "") == "match"
    assert not compiled.found_in("ab" * 1000)
    assert Notes().pattern("^b|a").found_in("ba")
    assert Notes().pattern("^c|a").found_in("ba")


def test_references_with_many_steps_count_as_parts() -> None:
    far: Any = {"type": "integer"}
    for _ in range(400):
        far = {"x": far}
    schema = {"x": far, "allOf": [{"$ref": "#" + "/x" * 400 + "/x" * (n % 2) + "?" * n} for n in range(100)]}
    notes = compile_schema(schema).notes
    assert any("parts" in note for note in notes)


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
    *("allOf", "anyOf", "oneOf", "not", "$ref", "$defs", "propertyNames", "format", *UNUSED),
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
            "multipleOf": st.integers() | st.floats(),
            "propertyNames": inner,
            "format": st.just("date"),
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
    work = Work("")
    if (check := compile_schema(schema)._check) is not None:
        check(value, work)
    if work.passed_over == 0:
        assert fits({"not": schema}, value) != alone
        assert fits({"oneOf": [schema, schema]}, value) is False
    else:
        assert fits({"not": schema}, value) or alone
    assert fits({"$ref": "#/$defs/x", "$defs": {"x": schema}}, value) == alone
    assert fits({"items": schema}, [value]) == alone
    assert fits({"properties": {"k": schema}}, {"k": value}) == alone
    assert fits({"additionalProperties": schema}, {"k": value}) == alone
