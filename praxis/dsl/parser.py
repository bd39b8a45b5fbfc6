"""Tokens to a program. Every error says where it is, what stands there and what was expected."""

from __future__ import annotations

import difflib
import re

from praxis.dsl.program import Binding, Call, Parallel, Program, Sequence, Statement
from praxis.dsl.tokens import MAX_NAME, RESERVED_NAMES, SHOWN, Token, problem, shown, tokens
from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Reference
from praxis.model.tool import ToolRef

MAX_DEPTH = 32
"""Blocks within blocks. Nobody reads more than a handful; the bound keeps every later recursion small."""

STATEMENTS = ("CALL", "PARALLEL", "SEQUENCE")
LATER_STATEMENTS = ("WORKFLOW", "TASK", "AGENT", "FOREACH", "IF", "ELSE")
LATER_OPTIONS = ("ON", "TIMEOUT", "RETRY", "BACKOFF", "IF_FAILED")
LATER = frozenset(LATER_STATEMENTS + LATER_OPTIONS)
KEYWORDS = LATER.union(STATEMENTS)

_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_-]{{0,{MAX_NAME - 1}}}")
_OPTION = re.compile(r"--((?:[^=\"'$]|\$(?!\{))*)")
_AFTER_STATEMENT = ("a new line", ";", "}")
_AFTER_CALL = ("an argument", "-> NAME", "a new line", ";")


def parse(text: str) -> Program:
    """The program that a text means.

    Raises PraxisError: ``syntax``, with `where` and with line, column and expected in `data`; ``too_large`` for more
    than `MAX_TEXT` bytes or `MAX_DEPTH` blocks within each other.
    """
    return _Parser(text).program()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._now = next(self._tokens)
        """The first token that has not been taken."""

    def _take(self) -> Token:
        token = self._now
        if token.kind != "end":
            self._now = next(self._tokens)
        return token

    # -- statements ---------------------------------------------------------------------------------

    def program(self) -> Program:
        statements = self._statements(None, 0)
        if not statements:
            raise problem("there is no statement in the program", 1, 1, expected=STATEMENTS, hint="CALL TOOL ...")
        return Program(statements)

    def _statements(self, block: Token | None, depth: int) -> tuple[Statement, ...]:
        """Statements up to the ``}`` of the block, or to the end of the program where `block` is None."""
        found: list[Statement] = []
        while True:
            while self._now.kind == "separator":
                self._take()
            token = self._now
            if token.kind == "end":
                if block is None:
                    return tuple(found)
                hint = "write } behind its last statement"
                raise _error(f"the block of {block.text} is never closed", block, expected=["}"], hint=hint)
            if token.kind == "}":
                if block is not None:
                    return tuple(found)
                raise _error("this '}' closes nothing", token, expected=STATEMENTS, hint="in a text it needs quotes")
            found.append(self._statement(token, depth))
            if self._now.kind not in ("separator", "}", "end"):
                raise self._not_the_end()

    def _statement(self, token: Token, depth: int) -> Statement:
        if token.bare and token.text == "CALL":
            return self._call()
        if token.bare and token.text in ("PARALLEL", "SEQUENCE"):
            return self._block(depth + 1)
        raise _no_statement(token)

    def _block(self, depth: int) -> Statement:
        keyword = self._take()
        if depth > MAX_DEPTH:
            raise problem(
                f"blocks are nested more than {MAX_DEPTH} deep", keyword.line, keyword.column, code="too_large"
            )
        while self._now.kind == "separator" and self._now.text == "\n":
            self._take()
        if self._now.kind != "{":
            raise _error(f"{keyword.text} needs a block, found {_describe(self._now)}", self._now, expected=["{"])
        self._take()
        inner = self._statements(keyword, depth)
        close = self._take()
        if not inner:
            raise _error(f"the block of {keyword.text} is empty", close, expected=STATEMENTS)
        if keyword.text == "PARALLEL":
            return Parallel(inner, keyword.line, keyword.column)
        return Sequence(inner, keyword.line, keyword.column)

    def _not_the_end(self) -> PraxisError:
        token = self._now
        if token.bare and token.text in LATER:
            return _later(token, _AFTER_STATEMENT)
        hint = "only a CALL binds its result" if token.kind == "->" else "one statement per line, or ; between two"
        return _error(
            f"a statement begins on a new line or after ';', found {_describe(token)}",
            token,
            expected=_AFTER_STATEMENT,
            hint=hint,
        )

    # -- calls --------------------------------------------------------------------------------------

    def _call(self) -> Call:
        keyword = self._take()
        tool = _tool_name(self._now)
        self._take()
        arguments: list[Argument] = []
        names: set[str] = set()
        bind: Binding | None = None
        while self._now.kind == "word":
            argument = self._argument()
            if argument.name is not None and argument.name in names:
                raise problem(
                    f"--{_short(argument.name)} is given twice",
                    argument.line,
                    argument.column,
                    expected=_AFTER_CALL,
                )
            names.update([] if argument.name is None else [argument.name])
            arguments.append(argument)
        if self._now.kind == "->":
            self._take()
            bind = self._binding()
        elif self._now.kind == "{":
            raise _error(
                "found '{' among the arguments", self._now, expected=_AFTER_CALL, hint="put JSON in single quotes"
            )
        return Call(tool, tuple(arguments), bind, keyword.line, keyword.column)

    def _argument(self) -> Argument:
        token = self._now
        if token.bare and token.text in LATER:
            raise _later(token, _AFTER_CALL, f'write "{token.text}", in quotes, to mean the text')
        if token.bare and token.text in KEYWORDS:
            raise _error(
                f"{token.text} begins a statement, and this one has not ended",
                token,
                expected=_AFTER_CALL,
                hint=f'begin it on a new line or after ;, or write "{token.text}" to mean the text',
            )
        self._take()
        if token.text.startswith("--"):
            return self._option(token)
        return Argument(None, token.parts, token.line, token.column)

    def _option(self, token: Token) -> Argument:
        """``--name value``, ``--name=value``, or ``--name`` alone, which means "true"."""
        match = _OPTION.match(token.text)
        name = match.group(1) if match else ""
        rest = token.text[2 + len(name) :]
        if not name or name.startswith("-"):
            raise _error(
                f"{shown(token.text)} names no argument",
                token,
                expected=["--NAME"],
                hint="a value that begins with -- goes in quotes",
            )
        if rest and not rest.startswith("="):
            raise _error(
                f"the name of an argument is plain text, found {shown(token.text)}",
                token,
                expected=["--NAME VALUE", "--NAME=VALUE"],
            )
        parts: tuple[str | Reference, ...] = ("true",)
        following = self._now
        if rest:
            first, *more = token.parts  # it begins with the name, which is bare
            head = str(first)[len(name) + 3 :]
            parts = (*([head] if head else []), *more) or ("",)
        elif following.kind == "word" and not following.text.startswith("--") and not _is_keyword(following):
            parts = self._take().parts
        return Argument(name, parts, token.line, token.column)

    def _binding(self) -> Binding:
        token = self._now
        if token.kind != "word" or not token.bare or _NAME.fullmatch(token.text) is None or token.text in KEYWORDS:
            raise _error(
                f"a name for the result follows ->, found {_describe(token)}",
                token,
                expected=["NAME"],
                hint=f"a letter, then at most {MAX_NAME - 1} letters, digits, _ or -; the text '->' needs quotes",
            )
        if token.text in RESERVED_NAMES:
            raise _error(
                f"{token.text} is kept for a later version", token, expected=["NAME"], hint="take another name"
            )
        self._take()
        following = self._now
        if following.kind == "word" and not (following.bare and following.text in LATER):
            raise _error(
                f"-> {token.text} ends the statement, found {_describe(following)}",
                following,
                expected=_AFTER_STATEMENT,
                hint="arguments come before ->",
            )
        return Binding(token.text, token.line, token.column)


def _tool_name(token: Token) -> str:
    """The name of the tool to call; raises PraxisError("syntax")."""
    expected = ["NAME", "SOURCE/NAME", "AGENT:NAME", "AGENT:SOURCE/NAME"]
    hint = ""
    if token.kind != "word":
        detail = f"CALL needs the name of a tool, found {_describe(token)}"
    elif _is_keyword(token):
        detail = f"CALL needs the name of a tool, found the keyword {token.text}"
    elif token.text.startswith("--"):
        detail, hint = (
            f"the name of the tool comes before its arguments, found {shown(token.text)}",
            "CALL TOOL --NAME ...",
        )
    elif len(token.parts) != 1 or not isinstance(token.parts[0], str):
        detail = f"the name of a tool holds no reference, found {shown(token.text)}"
    elif token.bare and "->" in token.text:
        detail, hint = f"{shown(token.text)} is not the name of a tool", "leave a blank before ->"
    else:
        try:
            ToolRef.parse(token.parts[0])
        except PraxisError as error:
            detail, hint = f"{shown(token.parts[0])} is not the name of a tool", error.hint
        else:
            return token.parts[0]
    raise _error(detail, token, expected=expected, hint=hint)


def _no_statement(token: Token) -> PraxisError:
    if token.bare and token.text in LATER:
        return _later(token, STATEMENTS)
    hint = ""
    if token.kind == "word":
        alike = difflib.get_close_matches(token.text[:SHOWN].upper(), STATEMENTS, 1)
        if token.text.upper() in KEYWORDS:
            hint = f"did you mean {token.text.upper()}? Keywords are written in capitals"
        elif alike:
            hint = f"did you mean {alike[0]}?"
        else:
            hint = "a tool is called with CALL TOOL ..."
    return _error(f"a statement begins here, found {_describe(token)}", token, expected=STATEMENTS, hint=hint)


def _later(token: Token, expected: tuple[str, ...], hint: str = "") -> PraxisError:
    kind = "a statement" if token.text in LATER_STATEMENTS else "an option of CALL"
    return _error(f"{token.text}, {kind}, is not supported by this version yet", token, expected=expected, hint=hint)


def _is_keyword(token: Token) -> bool:
    return token.bare and token.text in KEYWORDS


def _describe(token: Token) -> str:
    if token.kind == "end":
        return "the end of the program"
    if token.kind == "separator":
        return "the end of the line" if token.text == "\n" else "';'"
    return shown(token.text)


def _short(text: str) -> str:
    return shown(text)[1:-1]


def _error(detail: str, token: Token, *, expected: tuple[str, ...] | list[str] = (), hint: str = "") -> PraxisError:
    return problem(detail, token.line, token.column, expected=expected, hint=hint)
