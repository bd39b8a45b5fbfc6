"""Patterns of strangers: what is used, what is passed over, and that the estimate is on the safe side."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.tools.pattern import MAX_LOOPS, MAX_PATTERN, MAX_WAYS, compile_pattern


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("^[a-z0-9_-]+$", "a-b_1", "A"),
        (r"^\d{4}-\d{2}-\d{2}$", "2024-01-31", "2024-1-31"),
        ("^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$", "0" * 8 + "-0000" * 3 + "-" + "0" * 12, "0" * 36),
        (r"^-?\d+(\.\d+)?$", "-1.5", "1."),
        (r"^(?=.*[a-z])(?=.*[0-9]).{8,}$", "abcdefg1", "abcdefgh"),
        ("^(GET|POST)$", "POST", "PUT"),
        (r"^[^]/]+$", "a[b", "a]b"),
        (r"^a{2}b{,2}c{1,}?$", "aabc", "abc"),
        (r"^\[[\]\\]+\]$", r"[]\]", "[a]"),
        ("^{}x$", "{}x", "x"),
        ("^(?P<year>[0-9]{4})$", "2024", "24"),
        ("^(?:-[a-z])*$", "-a-b", "-a-"),
        ("", "anything", None),
        ("b", "abc", "ac"),
    ],
)
def test_what_servers_write_is_used(text: str, good: str, bad: str | None) -> None:
    pattern = compile_pattern(text)
    assert pattern.found_in(good)
    assert bad is None or not pattern.found_in(bad)
    assert 0 < pattern.steps(len(good)) < 2_000_000


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(a*)*",
        "(a|a)*$",
        "(a|aa)+$",
        "(.*a){20}",
        "(a?){50}",
        "a?" * 30 + "a" * 30,
        ".*.*.*.*.*x",
        "^((a{0,9})(b{0,9}))*$",
        "([a-z]+[0-9]?)*!",
        r"^(\w+\s?)*$",
        "(?:x+x+)+y",
        "(x{1,30}){1,30}y",
        r"^(a*)\1$",
        "^(a)?(?(1)b|c)$",
        "^(?P<n>a*)(?P=n)$",
    ],
)
def test_what_could_take_for_ever_is_not(text: str) -> None:
    re.compile(text)  # it is a pattern
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
        compile_pattern(text)


@pytest.mark.parametrize(
    "text", ["(", "[a", r"\p{L}", "(?i)a", "(?i:a)", "(?#c)", "*", "a{2,1}", "a" * (MAX_PATTERN + 1)]
)
def test_what_is_no_pattern_here_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        compile_pattern(text)


def test_groups_do_not_nest_for_ever() -> None:
    assert compile_pattern("(" * 10 + "a" + ")" * 10).found_in("a")
    with pytest.raises(ValueError, match="deep"):
        compile_pattern("(" * 90 + "a" + ")" * 90)


def test_a_stranger_s_style_makes_no_warning() -> None:
    """`re` warns of ``[[``; warnings are errors here."""
    assert compile_pattern("^[[a]$").found_in("[")


def test_loops_and_ways_are_counted() -> None:
    """One loop more for a pattern that may begin anywhere."""
    counted = {
        "^abc$": (0, 1),
        "abc": (1, 1),
        "^a|b": (1, 2),
        "^a*$": (1, 1),
        "^a*?$": (1, 1),
        "^a*b+c{3,}$": (3, 1),
        "^a?b?$": (0, 4),
        "^a{0,9}$": (0, 10),
        "^a{0,900}$": (1, 1),
        "^(a|b|c)?$": (0, 4),
        "^(a*){2}$": (2, 1),
        "^[*+?]$": (0, 1),
        r"^\*\+$": (0, 1),
    }
    assert {text: ((p := compile_pattern(text)).loops, p.ways) for text in counted} == {
        text: pair for text, pair in counted.items() for pair in [pair]
    }


@given(st.text(alphabet="ab()|*+?{}[]^$,.\\123:=!<P>", max_size=30))
@example("a{0}{0}")
@example("[]")
@example("(?<!a")
@example("\\")
def test_any_text_is_a_bounded_pattern_or_a_value_error(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return
    assert pattern.loops <= MAX_LOOPS
    assert pattern.ways <= MAX_WAYS
    # Whatever passes takes no time on texts within its estimate; this hangs where the estimate is wrong.
    length = 60
    while pattern.steps(length) > 20_000:
        length -= 1
    for character in "ab":
        assert pattern.found_in(character * length) == (re.search(text, character * length) is not None)
        pattern.found_in(character * (length - 1) + "!")
