from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.dsl.parser import MAX_DEPTH, parse
from praxis.dsl.program import (
    Binding,
    Call,
    ForEach,
    If,
    Options,
    Parallel,
    Program,
    Sequence,
    Statement,
    Workflow,
)
from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Condition, Parameter, Reference


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
        else (s.kind[0], outline(s.statements))
        if isinstance(s, Sequence)
        else s
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
        ("CALL a -> params", 1, 11, "what a run is given", "another name", "NAME"),
        ("CALL a -> b c", 1, 13, "ends the arguments, found 'c'", "before ->", "a new line"),
        ("CALL a -> b -> c", 1, 13, "found '->'", "once", "a new line"),
        ("}", 1, 1, "closes nothing", "quotes", "CALL"),
        ("CALL a }", 1, 8, "closes nothing", "quotes", "CALL"),
        ("CALL a\n PARALLEL { CALL b\n", 2, 2, "PARALLEL is never closed", "write }", "}"),
        ("PARALLEL CALL a", 1, 10, "needs a block, found 'CALL'", "", "{"),
        ("PARALLEL", 1, 9, "found the end of the program", "", "{"),
        ("PARALLEL ; {CALL a}", 1, 10, "found ';'", "", "{"),
        ("SEQUENCE { }", 1, 12, "SEQUENCE is empty", "", "CALL"),
        ("SEQUENCE { CALL a } CALL b", 1, 21, "found 'CALL'", "one statement per line", ";"),
        ("PARALLEL { CALL a } -> b", 1, 21, "found '->'", "FOREACH and IF", ";"),
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


@pytest.mark.parametrize(
    ("text", "bind", "options"),
    [
        ("ON b", None, Options(on="b")),
        ("TIMEOUT 5s", None, Options(timeout=5.0)),
        ("TIMEOUT 1.5m", None, Options(timeout=90.0)),
        ("RETRY 3 BACKOFF 200ms", None, Options(retry=3, backoff=0.2)),
        ("-> x IF_FAILED continue", "x", Options(if_failed="continue")),
        ("IF_FAILED stop ON 'b' -> x", "x", Options(on="b")),
        ("BACKOFF 1h RETRY 0", None, Options(backoff=3600.0)),
    ],
)
def test_options_stand_behind_the_arguments_in_any_order(text: str, bind: str | None, options: Options) -> None:
    for arguments in ("", "1 --a 2 ", "--a "):
        found = call(f"CALL t {arguments}{text}")
        assert found.options == options
        assert (found.bind.name if found.bind else None) == bind


@pytest.mark.parametrize(
    ("text", "detail", "expected"),
    [
        ("ON", "the name of an agent", "AGENT"),
        ("ON ${x}", "no reference", "AGENT"),
        ("ON a:b", "not the name of an agent", "AGENT"),
        ("ON ftp://a.example/b", "not the name of an agent", "AGENT"),
        ("ON 'https://a.example/b c'", "not the name of an agent", "AGENT"),
        (f"ON https://a.example/{'x' * 300}", "1 to 64 visible characters", "AGENT"),
        ("ON https://a.example/${x}", "no reference", "AGENT"),
        ("TIMEOUT 5", "needs a duration", "5s"),
        ("TIMEOUT 0s", "more than 0", "5s"),
        ("TIMEOUT 25h", "at most 86400 s", "5s"),
        ("TIMEOUT '5s'", "needs a duration", "5s"),
        ("RETRY x", "whole number", "3"),
        ("RETRY 101", "0 to 100", "3"),
        ("BACKOFF 1s", "BACKOFF is for RETRY", "RETRY 3"),
        ("RETRY 1 BACKOFF 2h", "at most 3600 s", "5s"),
        ("IF_FAILED maybe", "stop or continue", "stop"),
        ("ON a ON b", "a statement begins", ";"),
        ("TIMEOUT 5s x", "ends the arguments", "TIMEOUT"),
    ],
)
def test_options_that_are_none(text: str, detail: str, expected: str) -> None:
    error = refused(f"CALL t 1 {text}")
    assert error.code == "syntax"
    assert detail in error.detail
    assert expected in error.data["expected"]


def test_a_keyword_as_a_text_is_quoted() -> None:
    assert arguments("CALL t \"ON\" 'IF' IN MAX") == [
        (None, ("ON",)),
        (None, ("IF",)),
        (None, ("IN",)),
        (None, ("MAX",)),
    ]


def test_an_agent_may_be_an_address() -> None:
    address = f"https://agents.example:8443/{'x' * 100}?a=b#c"
    call, agent = parse(f"CALL a ON {address}\nAGENT http://[::1]:8000 {{ CALL b }}").statements
    assert isinstance(call, Call)
    assert isinstance(agent, Sequence)
    assert (call.options.on, agent.name) == (address, "http://[::1]:8000")


def test_tasks_and_agents() -> None:
    task, agent = parse("TASK 'build it' { CALL a }\nAGENT praxis-2\n{ CALL b; CALL c }").statements
    assert isinstance(task, Sequence)
    assert isinstance(agent, Sequence)
    assert (task.kind, task.name, agent.kind, agent.name) == ("TASK", "build it", "AGENT", "praxis-2")
    assert outline((task, agent)) == [("T", ["a"]), ("A", ["b", "c"])]


@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        ("deploy", ()),
        ("deploy()", ()),
        ("'deploy'", ()),
        ("deploy(host)", (("host", None),)),
        ('deploy(host, port="80 a, b", x=1)', (("host", None), ("port", "80 a, b"), ("x", "1"))),
        ("deploy ( host , y='it' )", (("host", None), ("y", "it"))),
    ],
)
def test_workflows_with_parameters(head: str, parameters: tuple[tuple[str, str | None], ...]) -> None:
    (statement,) = parse(f"WORKFLOW {head} {{ CALL a }}").statements
    assert isinstance(statement, Workflow)
    assert statement.name == "deploy"
    assert statement.parameters == tuple(Parameter(name, default, 1, 10) for name, default in parameters)


@pytest.mark.parametrize("head", ["", "w(", "w(a,)", "w(a b)", "w(a, a)", 'w(a="${x}")', "w(1)", "w(params)", "w(a=)"])
def test_workflow_heads_that_are_none(head: str) -> None:
    assert refused(f"WORKFLOW {head} {{ CALL a }}").code == "syntax"


def test_for_each() -> None:
    (statement,) = parse("FOREACH f IN ${files.names} MAX 8 {\n CALL a ${f}\n} -> all").statements
    assert isinstance(statement, ForEach)
    assert (statement.name.name, statement.most, statement.bind) == ("f", 8, Binding("all", 3, 6))
    assert statement.source.parts == (Reference("files", ("names",), 1, 14),)
    (statement,) = parse("FOREACH f IN '[1]' { CALL a }").statements
    assert isinstance(statement, ForEach)
    assert (statement.most, statement.bind) == (1, None)


@pytest.mark.parametrize("between", ["", "\n", "\n\n  # so\n"])
def test_if_and_else(between: str) -> None:
    text = f'IF ${{a}} == "x" {{ CALL a }}{between} ELSE {{ CALL b }} -> r\nCALL c'
    statement, after = parse(text).statements
    assert isinstance(statement, If)
    assert isinstance(after, Call)
    assert statement.condition == Condition(
        Argument(None, (Reference("a", (), 1, 4),), 1, 4), "==", Argument(None, ("x",), 1, 12)
    )
    assert (outline(statement.then), outline(statement.otherwise)) == (["a"], ["b"])
    assert statement.bind is not None


def test_if_alone() -> None:
    one, two, three = parse("IF ${a} { CALL a }\n\nCALL b; IF ${b} < 5\n{ CALL c }").statements
    assert isinstance(one, If)
    assert isinstance(two, Call)
    assert isinstance(three, If)
    assert (one.condition.operator, one.otherwise, three.condition.operator) == (None, (), "<")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("FOREACH IN ${x} { CALL a }", "IN follows the name"),
        ("FOREACH f ${x} { CALL a }", "IN follows the name"),
        ("FOREACH f IN { CALL a }", "needs a list"),
        ("FOREACH f IN ${x} MAX 0 { CALL a }", "1 to 64"),
        ("FOREACH f IN ${x} MAX 65 { CALL a }", "1 to 64"),
        ("FOREACH f IN ${x} {}", "is empty"),
        ("IF { CALL a }", "needs a condition"),
        ("IF ${a}==1 { CALL a }", "a value, or two"),
        ("IF ${a} = 1 { CALL a }", "a comparison or {"),
        ("IF ${a} == { CALL a }", "a value follows =="),
        ("IF ${a} == 1 2 { CALL a }", "needs a block"),
        ("ELSE { CALL a }", "found 'ELSE'"),
        ("IF ${a} { CALL a } ELSE CALL b", "needs a block"),
        ("CALL a ${params}", "not one of it"),
        ("CALL a ${secrets[0]}", "not one of it"),
    ],
)
def test_blocks_that_are_none(text: str, detail: str) -> None:
    assert detail in refused(text).detail


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
        "IN",
        "IF",
        "ELSE",
        "MAX",
        "8",
        "5s",
        "WORKFLOW",
        "w(a, b=1)",
        "==",
        "${x}",
        "TIMEOUT",
        "RETRY",
        "TASK",
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
