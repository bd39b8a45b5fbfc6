"""Patterns of strangers: what is used, what is passed over, and that the estimate is on the safe side."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.tools.pattern import MAX_COST, MAX_LOOPS, MAX_PATTERN, compile_pattern


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
        "(){3000000}x",
        "(?=a){3000000,}",
        "(?:(?:a{999}){999}){999}",
        "(a?){99}" * 3,
        "(" * 6 + "a?" + "){99}" * 6,
        "(a?){2000000000}",
        "(a*){2000000000}",
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


@pytest.mark.parametrize(
    ("text", "costs"),
    [
        # A step for the start of every group and text, and one for each part.
        ("^abc$", (6,)),
        ("abc", (0, 4)),  # from every place
        ("^a|b", (0, 5)),
        ("^(a)", (4,)),
        ("^a*$", (2, 2)),  # what follows is tried after each of the repetitions
        ("^a*?$", (2, 2)),
        ("^a*b*$", (2, 1, 2)),
        ("^a{3,}$", (5, 2)),
        ("^a{5000}$", (5003,)),
        ("^a{0,9}$", (21,)),
        ("^a{0,900}$", (2, 2)),
        ("^a?b?$", (1 + 1 + 1 + 2 + 4,)),
        ("^(a|b|c)?$", (1 + 1 + 6 + 4,)),
        ("^(a*){2}$", (3, 2, 2)),
        ("^[*+?]$", (4,)),
        (r"^\*\+$", (5,)),
    ],
)
def test_the_steps_of_each_part_are_counted(text: str, costs: tuple[int, ...]) -> None:
    assert compile_pattern(text).costs == costs


def test_a_fixed_number_of_repetitions_is_counted_from_every_place() -> None:
    """5000 steps for each of a million places would take seconds."""
    assert compile_pattern("a{5000}b").steps(1_000_000) > 5_000_000_000
    assert compile_pattern("^a{5000}b").steps(1_000_000) < 6_000


@pytest.mark.parametrize("text", ["^[a-z]+$", "[a-z]+$", "^(a$|abc$)"])
def test_the_end_is_the_end_and_no_line_feed_stands_behind_it(text: str) -> None:
    assert compile_pattern(text).found_in("abc")
    assert not compile_pattern(text).found_in("abc\n")


def test_a_dollar_that_means_itself_stays_one() -> None:
    assert compile_pattern(r"^\$[$][0-9]$").found_in("$$5")


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
    assert len(pattern.costs) <= MAX_LOOPS + 1
    assert pattern.steps(0) <= MAX_COST
    # Whatever passes takes no time on texts within its estimate; this hangs where the estimate is wrong.
    length = 60
    while pattern.steps(length) > 20_000:
        length -= 1
    for character in "ab":
        assert pattern.found_in(character * length) == (re.search(text, character * length) is not None)
        pattern.found_in(character * (length - 1) + "!")


@given(st.from_regex(r"^(\(?[ab.]\)?([*+?]|\{[0-3],?[3-5]?\})?\|?){1,6}$"), st.text(alphabet="ab", max_size=12))
def test_patterns_without_ends_mean_what_they_mean_to_python(text: str, tried: str) -> None:
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return
    assert pattern.found_in(tried) == (re.search(text, tried) is not None)
