from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.dsl.parser import LATER_OPTIONS, LATER_STATEMENTS, MAX_DEPTH, parse
from praxis.dsl.program import Binding, Call, Parallel, Program, Sequence, Statement
from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Reference


def call(text: str) -> Call:
    (statement,) = parse(text).statements
    assert isinstance(statement, Call)
    return statement


def arguments(text: str) -> list[tuple[str | None, tuple[str | Reference, ...]]]:
    return [(argument.name, argument.parts) for argument in call(text).arguments]


def refused(text: str) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        parse(text)
    return caught.value


def outline(statements: tuple[Statement, ...]) -> list[object]:
    """The tree without its places: a call is its tool's name, a block its letter and what is in it."""
    return [
        s.tool
        if isinstance(s, Call)
        else ("P", outline(s.branches))
        if isinstance(s, Parallel)
        else ("S", outline(s.statements))
        for s in statements
    ]


def test_a_call_with_everything() -> None:
    text = 'CALL agent-2:fs/write_file a.txt --content "x ${old.text[0]}" -> done'
    assert call(text) == Call(
        "agent-2:fs/write_file",
        (
            Argument(None, ("a.txt",), 1, 28),
            Argument("content", ("x ", Reference("old", ("text", 0), 1, 47)), 1, 34),
        ),
        Binding("done", 1, text.index("done") + 1),
        1,
        1,
    )


def test_the_one_line_programs_of_old() -> None:
    assert arguments("CALL read_file --filename hello.txt") == [("filename", ("hello.txt",))]
    assert arguments('CALL write_file hello.txt "Hello from Praxis!"') == [
        (None, ("hello.txt",)),
        (None, ("Hello from Praxis!",)),
    ]
    assert arguments("CALL list_files") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--a 1 b", [("a", ("1",)), (None, ("b",))]),
        ("--a=1 b", [("a", ("1",)), (None, ("b",))]),
        ("--a=b=c", [("a", ("b=c",))]),
        ("--a= b", [("a", ("",)), (None, ("b",))]),
        ("--a='x y'", [("a", ("x y",))]),
        ("--a=--b", [("a", ("--b",))]),
        ("--a=CALL", [("a", ("CALL",))]),
        ("--a=${x}", [("a", (Reference("x", (), 1, 12),))]),
        ("--a ${x}", [("a", (Reference("x", (), 1, 12),))]),
        ("--a -5 -x", [("a", ("-5",)), (None, ("-x",))]),
        ("--a '--b'", [("a", ("--b",))]),
        ("'--a' b", [(None, ("--a",)), (None, ("b",))]),
        ("--a --b", [("a", ("true",)), ("b", ("true",))]),
        ("--a -> b", [("a", ("true",))]),
        ("--a # b", [("a", ("true",))]),
        ("--a ;", [("a", ("true",))]),
        ("--$top 5", [("$top", ("5",))]),
        ("--user.name x", [("user.name", ("x",))]),
        ("'' x", [(None, ("",)), (None, ("x",))]),
        ('"TIMEOUT" "CALL"', [(None, ("TIMEOUT",)), (None, ("CALL",))]),
        ("timeout Call", [(None, ("timeout",)), (None, ("Call",))]),
    ],
)
def test_arguments(text: str, expected: object) -> None:
    assert arguments("CALL t " + text) == expected


def test_statements_blocks_and_separators() -> None:
    text = """
    # a program
    CALL a   # first
    PARALLEL { CALL b; CALL c }
    SEQUENCE
    {
      CALL d;; CALL e
      PARALLEL {
        CALL f
        SEQUENCE { CALL g; CALL h; }
      }
    }; CALL i
    """
    assert outline(parse(text).statements) == [
        "a",
        ("P", ["b", "c"]),
        ("S", ["d", "e", ("P", ["f", ("S", ["g", "h"])])]),
        "i",
    ]


def test_blocks_know_their_place() -> None:
    program = parse("CALL a\n  PARALLEL {\n CALL b\nSEQUENCE {CALL c}}")
    block = program.statements[1]
    assert isinstance(block, Parallel)
    assert (block.line, block.column) == (2, 3)
    inner = block.branches[1]
    assert isinstance(inner, Sequence)
    assert (inner.line, inner.column) == (4, 1)


@pytest.mark.parametrize(
    ("text", "line", "column", "detail", "hint", "expected"),
    [
        ("", 1, 1, "no statement", "CALL", "CALL"),
        ("# nothing\n\n", 1, 1, "no statement", "CALL", "CALL"),
        ("call a", 1, 1, "found 'call'", "did you mean CALL?", "CALL"),
        ("Parallel { CALL a }", 1, 1, "found 'Parallel'", "did you mean PARALLEL?", "PARALLEL"),
        ("CALL a\nCAL b", 2, 1, "found 'CAL'", "did you mean CALL?", "CALL"),
        ("read_file x", 1, 1, "found 'read_file'", "CALL TOOL", "CALL"),
        ('"CALL" a', 1, 1, "found '\"CALL\"'", "CALL", "CALL"),
        ("-> a", 1, 1, "found '->'", "", "CALL"),
        ("{ CALL a }", 1, 1, "found '{'", "", "PARALLEL"),
        ("CALL", 1, 5, "found the end of the program", "", "NAME"),
        ("CALL\na", 1, 5, "found the end of the line", "", "NAME"),
        ("CALL ; a", 1, 6, "found ';'", "", "NAME"),
        ("CALL CALL", 1, 6, "the keyword CALL", "", "NAME"),
        ("CALL --a b", 1, 6, "before its arguments", "CALL TOOL", "NAME"),
        ("CALL ${a}", 1, 6, "holds no reference", "", "NAME"),
        ("CALL a:b:c", 1, 6, "not the name of a tool", "AGENT:SOURCE/NAME", "NAME"),
        ('CALL ""', 1, 6, "not the name of a tool", "", "NAME"),
        ("CALL a->b", 1, 6, "not the name of a tool", "blank before ->", "NAME"),
        ('CALL a {"b": 1}', 1, 8, "'{' among the arguments", "single quotes", "an argument"),
        ("CALL a CALL b", 1, 8, "CALL begins a statement", "new line", ";"),
        ("CALL a --b CALL", 1, 12, "CALL begins a statement", "", ";"),
        ("CALL a --b 1 --b 2", 1, 14, "--b is given twice", "", "an argument"),
        ("CALL a --", 1, 8, "names no argument", "quotes", "--NAME"),
        ("CALL a --=1", 1, 8, "names no argument", "quotes", "--NAME"),
        ("CALL a ---b", 1, 8, "names no argument", "quotes", "--NAME"),
        ("CALL a --b'c'", 1, 8, "plain text", "", "--NAME VALUE"),
        ("CALL a --b${c}", 1, 8, "plain text", "", "--NAME VALUE"),
        ("CALL a ->", 1, 10, "found the end of the program", "", "NAME"),
        ("CALL a -> 1", 1, 11, "found '1'", "letter", "NAME"),
        ("CALL a -> 'b'", 1, 11, "found \"'b'\"", "letter", "NAME"),
        ("CALL a -> " + "b" * 65, 1, 11, "found 'bbb", "63", "NAME"),
        ("CALL a -> CALL", 1, 11, "found 'CALL'", "letter", "NAME"),
        ("CALL a -> params", 1, 11, "later version", "", "NAME"),
        ("CALL a -> b c", 1, 13, "ends the statement, found 'c'", "before ->", "a new line"),
        ("CALL a -> b -> c", 1, 13, "found '->'", "", "a new line"),
        ("}", 1, 1, "closes nothing", "quotes", "CALL"),
        ("CALL a }", 1, 8, "closes nothing", "quotes", "CALL"),
        ("CALL a\n PARALLEL { CALL b\n", 2, 2, "PARALLEL is never closed", "write }", "}"),
        ("PARALLEL CALL a", 1, 10, "needs a block, found 'CALL'", "", "{"),
        ("PARALLEL", 1, 9, "found the end of the program", "", "{"),
        ("PARALLEL ; {CALL a}", 1, 10, "found ';'", "", "{"),
        ("SEQUENCE { }", 1, 12, "SEQUENCE is empty", "", "CALL"),
        ("SEQUENCE { CALL a } CALL b", 1, 21, "found 'CALL'", "one statement per line", ";"),
        ("PARALLEL { CALL a } -> b", 1, 21, "found '->'", "only a CALL", ";"),
    ],
)
def test_errors_say_what_where_and_what_was_expected(
    text: str, line: int, column: int, detail: str, hint: str, expected: str
) -> None:
    error = refused(text)
    assert error.code == "syntax"
    assert error.where == f"line {line}, column {column}"
    assert (error.data["line"], error.data["column"]) == (line, column)
    assert detail in error.detail
    assert hint in error.hint
    assert expected in error.data["expected"]


@pytest.mark.parametrize("word", LATER_STATEMENTS)
def test_statements_of_later_versions_say_so(word: str) -> None:
    for text in (f"{word} x", f"SEQUENCE {{ CALL a }} {word}", f"CALL a {word}"):
        assert f"{word}, a statement, is not supported by this version yet" in refused(text).detail


@pytest.mark.parametrize("word", LATER_OPTIONS)
def test_options_of_later_versions_say_so(word: str) -> None:
    for text in (f"CALL a {word} 5s", f"CALL a --b {word}", f"CALL a -> b {word} 5s"):
        error = refused(text)
        assert f"{word}, an option of CALL, is not supported by this version yet" in error.detail
    assert f'"{word}"' in refused(f"CALL a {word}").hint


def test_the_earliest_mistake_is_the_one_that_is_told() -> None:
    assert refused('call a\nCALL b "').data["line"] == 1


def test_nesting_has_a_bound() -> None:
    def nested(depth: int) -> str:
        return "SEQUENCE {" * depth + "CALL a" + "}" * depth

    assert len(parse(nested(MAX_DEPTH)).statements) == 1
    for depth in (MAX_DEPTH + 1, 5000):
        error = refused(nested(depth))
        assert error.code == "too_large"
        assert error.where == f"line 1, column {10 * MAX_DEPTH + 1}"


def parses_or_says_why(text: str) -> None:
    try:
        program = parse(text)
    except PraxisError as error:
        assert error.code in ("syntax", "too_large")
        assert error.detail
        if error.code == "syntax":
            lines = text.split("\n")
            assert 1 <= error.data["line"] <= len(lines)
            assert 1 <= error.data["column"] <= len(lines[error.data["line"] - 1]) + 1
            assert error.where == f"line {error.data['line']}, column {error.data['column']}"
        assert len(str(error)) < 500
        assert str(error).isprintable()
    else:
        assert isinstance(program, Program)
        assert program.statements


@given(st.text())
@example("CALL " + "a" * 5000 + ":b:c")
@example("CALL a --" + "b" * 3000 + " --" + "b" * 3000)
@example("CALL a ${" + "b" * 5000)
@example("$" * 5000 + "{")
def test_any_text_is_a_program_or_a_clear_error(text: str) -> None:
    parses_or_says_why(text)


PIECES = (
    *(
        "CALL",
        "PARALLEL",
        "SEQUENCE",
        "call",
        "ON",
        "FOREACH",
        "fs/tool",
        "a:b",
        "x",
        "--x",
        "--x=",
        "--",
        "=",
        "->",
        "y",
    ),
    *("{", "}", ";", "\n", "\r\n", " ", "\t", "#", '"', "'", "\\", "\\n", "$", "${", "${x", "${x}", "${x.y[0]}", "[0]"),
    *("\u00a0", "\u201c", "\ud83d", "\u2028", "\x00", "é"),
)
STATEMENT = st.builds(
    lambda tool, words: " ".join(["CALL", tool, *words]),
    st.sampled_from(["t", "fs/t"]),
    st.lists(st.sampled_from(PIECES)),
)


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["", " "]))
def test_any_mix_of_the_language_is_a_program_or_a_clear_error(pieces: list[str], between: str) -> None:
    parses_or_says_why(between.join(pieces))


@given(st.lists(st.one_of(STATEMENT, st.sampled_from(PIECES)), max_size=12), st.sampled_from(["\n", ";", " "]))
def test_nearly_right_programs_are_programs_or_clear_errors(pieces: list[str], between: str) -> None:
    parses_or_says_why(between.join(pieces))


def written(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)


@given(st.lists(TEXTS, max_size=4), st.dictionaries(NAMES, TEXTS, max_size=4))
def test_quoted_arguments_arrive_as_they_were_meant(positional: list[str], named: dict[str, str]) -> None:
    words = [*map(written, positional), *(f"--{name} {written(value)}" for name, value in named.items())]
    assert arguments("CALL t " + " ".join(words)) == [
        *((None, (value,)) for value in positional),
        *((name, (value,)) for name, value in named.items()),
    ]
