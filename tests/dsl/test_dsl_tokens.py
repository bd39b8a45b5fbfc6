from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.dsl.tokens import MAX_NAME, MAX_TEXT, Token, shown, tokens
from praxis.model.errors import PraxisError
from praxis.model.plan import Reference


def words(text: str) -> list[tuple[str | Reference, ...]]:
    return [token.parts for token in tokens(text) if token.kind == "word"]


def refused(text: str) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        list(tokens(text))
    return caught.value


def test_kinds_and_places() -> None:
    found = [(token.kind, token.text, token.line, token.column) for token in tokens("a {b}\r\n\n  -> c;# d\n}")]
    assert found == [
        ("word", "a", 1, 1),
        ("{", "{", 1, 3),
        ("word", "b", 1, 4),
        ("}", "}", 1, 5),
        ("separator", "\n", 1, 7),
        ("separator", "\n", 2, 1),
        ("->", "->", 3, 3),
        ("word", "c", 3, 6),
        ("separator", ";", 3, 7),
        ("separator", "\n", 3, 11),
        ("}", "}", 4, 1),
        ("end", "", 4, 2),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("a#b", "a#b"),
        ("a->b", "a->b"),
        ("-5", "-5"),
        ("[1,2]", "[1,2]"),
        ("größe\U0001f600", "größe\U0001f600"),
        ("$5", "$5"),
        ("$$", "$$"),
        ('""', ""),
        ("''", ""),
        ('"two words"', "two words"),
        ('"{;}#"', "{;}#"),
        ("'{\"a\": 1}'", '{"a": 1}'),
        (r'"\" \\ \n \t \$"', '" \\ \n \t $'),
        (r"'\n \ ${x}'", r"\n \ ${x}"),
        (r'"\${x}"', "${x}"),
        ("""a'b c'"d e"f""", "ab cd ef"),
        ('"line\nline"', "line\nline"),
    ],
)
def test_one_word_and_its_value(text: str, value: str) -> None:
    assert words(text) == [(value,)]


def test_references_know_their_place_and_path() -> None:
    assert words('a${x}b "${y.k-1[0][12].größe}$"\n${z}${z}') == [
        ("a", Reference("x", (), 1, 2), "b"),
        (Reference("y", ("k-1", 0, 12, "größe"), 1, 9), "$"),
        (Reference("z", (), 2, 1), Reference("z", (), 2, 5)),
    ]


def test_an_escaped_dollar_may_stand_before_a_reference() -> None:
    assert words(r'"\$${x}"') == [("$", Reference("x", (), 1, 4))]


@pytest.mark.parametrize(("text", "bare"), [("CALL", True), ('"CALL"', False), ("CA'LL'", False), ("${x}", False)])
def test_only_a_word_without_quotes_is_bare(text: str, bare: bool) -> None:
    assert next(tokens(text)).bare is bare


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('ab\n c "d', 2, 4, "never closed"),
        ("it's", 1, 3, "never closed"),
        ('"a\\', 1, 1, "never closed"),
        (r'"ab\q"', 1, 4, "backslash before 'q'"),
        ("a\\", 1, 2, "backslash outside quotes"),
        ("a\u00a0b", 1, 2, "U+00A0"),
        ("\ufeffa", 1, 1, "U+FEFF"),
        ("a\x00", 1, 2, "U+0000"),
        ("x \u201ca\u201d", 1, 3, "typographic"),
        ("a $${x}", 1, 3, "two things"),
        ("\n${x", 2, 1, "'${x' is never closed"),
        ("${}", 1, 1, "'${}' is no reference"),
        ("${a b}", 1, 1, "no reference"),
        ("${1}", 1, 1, "no reference"),
        ("${a..b}", 1, 1, "no reference"),
        ("${a[-1]}", 1, 1, "no reference"),
        ("${a[1234567890]}", 1, 1, "no reference"),
        ("${a.0}", 1, 1, "written [0]"),
        ("${params}", 1, 1, "not one of it"),
        ("${secrets[0]}", 1, 1, "not one of it"),
        (f"${{{'n' * (MAX_NAME + 1)}}}", 1, 1, "more than 64 characters"),
        (f"${{n.{'k' * (MAX_NAME + 1)}}}", 1, 1, "more than 64 characters"),
        ("ab\n\ud800", 2, 1, "surrogate"),
    ],
)
def test_what_is_no_token_is_told_with_its_place(text: str, line: int, column: int, words: str) -> None:
    error = refused(text)
    assert error.code == "syntax"
    assert (error.data["line"], error.data["column"]) == (line, column)
    assert error.where == f"line {line}, column {column}"
    assert words in error.detail


def test_a_quote_that_is_never_closed_is_told_with_what_to_write() -> None:
    assert refused('a "b').hint == 'end the text with "; a " in it is written \\"'
    assert "an apostrophe goes in double quotes" in refused("a it's").hint


def test_a_text_may_have_its_limit_and_not_a_byte_more() -> None:
    assert len(list(tokens("#" * MAX_TEXT))) == 1
    for text in ("#" * (MAX_TEXT + 1), "#" + "é" * (MAX_TEXT // 2)):
        error = refused(text)
        assert error.code == "too_large"
        assert error.data == {"limit": MAX_TEXT}


def test_what_an_error_quotes_is_short_and_visible() -> None:
    assert shown("a\n\x1b") == r"'a\n\x1b'"
    assert len(shown("x" * 1000)) < 50


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_written_in_double_quotes(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert words(f'"{escaped}"') == [(value,)]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="'")))
def test_any_text_without_an_apostrophe_can_be_written_in_single_quotes(value: str) -> None:
    assert words(f"'{value}'") == [(value,)]


@given(st.lists(st.sampled_from(["a", '"b c"', "'d'", "{", "}", ";", "\n", "->", "${e}", "#f\n", " "])))
def test_places_point_at_what_the_tokens_are(pieces: list[str]) -> None:
    text = " ".join(pieces)
    lines = text.split("\n")
    found: list[Token] = list(tokens(text))
    assert found[-1].kind == "end"
    for token in found[:-1]:
        rest = "\n".join([lines[token.line - 1][token.column - 1 :], *lines[token.line :]])
        assert rest.startswith(token.text)
