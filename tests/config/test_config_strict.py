"""Plain data into classes: nothing is coerced, everything wrong is told at once, secrets are not repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs
import pytest

from praxis.config.hooks import Text
from praxis.config.strict import Problem, Strict, StrictError, dotted


@attrs.frozen
class Inner:
    number: int
    switch: bool = False


@attrs.frozen
class Outer:
    inner: Inner = Inner(1)
    text: str = ""
    size: float = 1.0
    file: Path | None = None
    choice: Literal["one", "two"] = "one"
    names: tuple[str, ...] = ()
    by_name: dict[str, Inner] = attrs.field(factory=dict)
    several: tuple[Inner, ...] = ()
    password: str = attrs.field(default="", metadata={"secret": True})
    keys: tuple[str, ...] = attrs.field(default=(), metadata={"secret": True})


def problems(value: object) -> list[str]:
    with pytest.raises(StrictError) as error:
        Strict().structure(value, Outer)
    return [f"{dotted(p.path)}: {p.what}" for p in error.value.problems]


def test_a_full_value() -> None:
    value = {
        "inner": {"number": 5, "switch": True},
        "text": "x",
        "size": 2,
        "file": "a/b",
        "choice": "two",
        "names": ["a", "b"],
        "by_name": {"a.b": {"number": 1}},
        "several": [{"number": 1}, {"number": 2}],
        "password": "p",
        "keys": ["k"],
    }
    got = Strict().structure(value, Outer)
    several = (Inner(1), Inner(2))
    expected = Outer(Inner(5, True), "x", 2.0, Path("a/b"), "two", ("a", "b"), {"a.b": Inner(1)}, several, "p", ("k",))
    assert got == expected
    assert type(got.size) is float


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"inner": {"number": True}}, "inner.number: expected a whole number, got true"),
        ({"inner": {"number": 80.0}}, "inner.number: expected a whole number, got 80.0"),
        ({"inner": {"number": "80"}}, "inner.number: expected a whole number, got '80'"),
        ({"inner": {"number": None}}, "inner.number: expected a whole number, got nothing"),
        ({"inner": {}}, "inner.number: is missing"),
        ({"inner": {"number": 1, "switch": "false"}}, "inner.switch: expected true or false, got 'false'"),
        ({"inner": {"number": 1, "switch": 1}}, "inner.switch: expected true or false, got 1"),
        ({"inner": [1]}, "inner: expected a mapping, got a list"),
        ({"inner": None}, "inner: expected a mapping, got nothing"),
        ({"inner": {"number": 1, "swich": True}}, "inner.swich: unknown key 'swich' (did you mean 'switch'?)"),
        ({"number": 1, "zzz": 1}, "zzz: unknown key 'zzz'"),
        ({"swtich": 1}, "swtich: unknown key 'swtich'"),
        ({"text": 5}, "text: expected text, got 5 (put it in quotes)"),
        ({"text": "a\0b"}, "text: expected text without zero characters and in UTF-8, got 'a\\x00b'"),
        ({"text": "\udcff"}, "text: expected text without zero characters and in UTF-8, got '\\udcff'"),
        ({"text": ["x" * 500]}, "text: expected text, got a list"),
        ({"size": True}, "size: expected a number, got true"),
        ({"size": "1.5"}, "size: expected a number, got '1.5'"),
        ({"size": float("nan")}, "size: expected a number, got nan"),
        ({"size": 10**400}, "size: expected a number, got a very long number"),
        ({"file": ""}, "file: expected a path, got ''"),
        ({"file": 3}, "file: expected a path, got 3"),
        ({"choice": "tow"}, "choice: expected one of 'one', 'two', got 'tow' (did you mean 'two'?)"),
        ({"choice": ["one"]}, "choice: expected one of 'one', 'two', got a list"),
        ({"names": "echo hi"}, "names: expected a list, got 'echo hi'"),
        ({"names": ["a", 1]}, "names[1]: expected text, got 1 (put it in quotes)"),
        ({"by_name": ["a"]}, "by_name: expected a mapping, got a list"),
        ({"by_name": {"a.b": {"number": "x"}}}, "by_name['a.b'].number: expected a whole number, got 'x'"),
        ({"several": [{"number": 1}, 7]}, "several[1]: expected a mapping, got 7"),
        ({"password": 12345}, "password: expected text (put it in quotes)"),
        ({"keys": ["k", 12345]}, "keys[1]: expected text (put it in quotes)"),
        ({"keys": "s3cret"}, "keys: expected a list"),
        ([], ": expected a mapping, got a list"),
    ],
)
def test_one_problem(value: object, problem: str) -> None:
    assert problem in problems(value)


def test_long_values_are_shortened() -> None:
    (found,) = problems({"size": "x" * 5000})
    assert len(found) < 120


def test_all_problems_at_once() -> None:
    value = {"inner": {"number": "a", "switch": 0, "more": 1}, "names": [1, 2], "several": [{}, {}]}
    assert len(problems(value)) == 7


def test_problems_are_values() -> None:
    with pytest.raises(StrictError, match=r"names\[0\]: expected text") as error:
        Strict().structure({"names": [None]}, Outer)
    assert error.value.problems == (Problem(("names", 0), "expected text, got nothing"),)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("switch", "true", True),
        ("switch", "ON", True),
        ("switch", "0", False),
        ("switch", "No", False),
        ("number", "-12", -12),
        ("number", "0012", 12),
    ],
)
def test_text_of_the_environment_is_read_as_what_is_wanted(field: str, text: str, value: object) -> None:
    got = getattr(Strict().structure({"number": 1, field: Text(text)}, Inner), field)
    assert got == value
    assert type(got) is type(value)


def test_text_of_the_environment_in_other_places() -> None:
    value = {"text": Text("5"), "size": Text("1e3"), "file": Text(""), "choice": Text("TWO"), "names": [Text("true")]}
    assert Strict().structure(value, Outer) == Outer(text="5", size=1000.0, choice="two", names=("true",))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"inner": {"number": Text("8o")}}, "inner.number: expected a whole number, got '8o'"),
        ({"inner": {"number": Text("9" * 5000)}}, "inner.number: expected a whole number, got '" + "9" * 59 + "..."),
        ({"inner": {"number": Text("٣")}}, "inner.number: expected a whole number, got '٣'"),
        ({"inner": {"number": Text("s3cret", "${TOKEN}")}}, "inner.number: expected a whole number, got ${TOKEN}"),
        ({"inner": {"number": 1, "switch": Text("ja")}}, "inner.switch: expected true or false, got 'ja'"),
        ({"size": Text("inf")}, "size: expected a number, got 'inf'"),
        ({"size": Text("1e999")}, "size: expected a number, got '1e999'"),
    ],
)
def test_wrong_text_of_the_environment(value: object, problem: str) -> None:
    assert problem in problems(value)


def test_bugs_are_not_problems() -> None:
    def validate(*_: object) -> None:
        raise KeyError("bug")

    @attrs.frozen
    class Broken:
        number: int = attrs.field(default=1, validator=validate)

    with pytest.raises(KeyError, match="bug"):
        Strict().structure({"number": 2}, Broken)
