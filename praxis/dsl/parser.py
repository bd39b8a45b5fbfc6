"""Tokens to a program. Every error says where it is, what stands there and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable

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
from praxis.dsl.terms import (
    MAX_AT_ONCE,
    MAX_BACKOFF,
    MAX_RETRY,
    MAX_TIMEOUT,
    OPERATORS,
    OPTIONS,
    STATEMENTS,
    agent_name,
    binding,
    constant,
    count,
    describe,
    duration,
    error,
    is_keyword,
    no_statement,
    operator,
    tool_name,
    workflow_head,
)
from praxis.dsl.tokens import Token, problem, shown, tokens
from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Condition, Parts

MAX_DEPTH = 32
"""Blocks within blocks. Nobody reads more than a handful; the bound keeps every later recursion small."""

_OPTION = re.compile(r"--((?:[^=\"'$]|\$(?!\{))*)")
_AFTER_STATEMENT = ("a new line", ";", "}")
_AFTER_CALL = ("an argument", "-> NAME", *OPTIONS, "a new line", ";")


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
        self._following: Token | None = None
        """The one after it, where that had to be looked at."""
        self._depth = 0

    def _take(self) -> Token:
        token = self._now
        if self._following is not None:
            self._now, self._following = self._following, None
        elif token.kind != "end":
            self._now = next(self._tokens)
        return token

    def _at(self, keyword: str) -> bool:
        return self._now.kind == "word" and self._now.bare and self._now.text == keyword

    # -- statements ---------------------------------------------------------------------------------

    def program(self) -> Program:
        statements = self._statements(None)
        if not statements:
            raise problem("there is no statement in the program", 1, 1, expected=STATEMENTS, hint="CALL TOOL ...")
        return Program(statements)

    def _statements(self, block: Token | None) -> tuple[Statement, ...]:
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
                raise error(f"the block of {block.text} is never closed", block, expected=["}"], hint=hint)
            if token.kind == "}":
                if block is not None:
                    return tuple(found)
                raise error("this '}' closes nothing", token, expected=STATEMENTS, hint="in a text it needs quotes")
            found.append(self._statement(token))
            if self._now.kind not in ("separator", "}", "end"):
                raise self._not_the_end()

    def _statement(self, token: Token) -> Statement:
        reads: dict[str, Callable[[Token], Statement]] = {
            "CALL": self._call,
            "PARALLEL": self._parallel,
            "SEQUENCE": self._sequence,
            "TASK": self._task,
            "AGENT": self._agent,
            "WORKFLOW": self._workflow,
            "FOREACH": self._for_each,
            "IF": self._if,
        }
        read = reads.get(token.text) if token.bare else None
        if read is None:
            raise no_statement(token)
        return read(self._take())

    def _parallel(self, keyword: Token) -> Statement:
        return Parallel(self._block(keyword), keyword.line, keyword.column)

    def _sequence(self, keyword: Token) -> Statement:
        return Sequence(self._block(keyword), keyword.line, keyword.column)

    def _task(self, keyword: Token) -> Statement:
        name = constant(self._take(), "TASK needs a name", "NAME")
        return Sequence(self._block(keyword), keyword.line, keyword.column, "TASK", name)

    def _agent(self, keyword: Token) -> Statement:
        name = agent_name(self._take(), "AGENT")
        return Sequence(self._block(keyword), keyword.line, keyword.column, "AGENT", name)

    def _workflow(self, keyword: Token) -> Statement:
        words = []
        while self._now.kind == "word":
            words.append(self._take())
        if not words:
            raise error(f"WORKFLOW needs a name, found {describe(self._now)}", self._now, expected=["NAME"])
        name, parameters = workflow_head(words)
        return Workflow(name, parameters, self._block(keyword), keyword.line, keyword.column)

    def _for_each(self, keyword: Token) -> Statement:
        name = binding(self._take(), "FOREACH")
        if not self._at("IN"):
            raise error(f"IN follows the name, found {describe(self._now)}", self._now, expected=["IN"])
        self._take()
        source = self._value("FOREACH needs a list after IN")
        most = 1
        if self._at("MAX"):
            self._take()
            most = count(self._take(), "MAX", 1, MAX_AT_ONCE)
        statements = self._block(keyword)
        return ForEach(name, source, most, statements, self._bound(), keyword.line, keyword.column)

    def _if(self, keyword: Token) -> Statement:
        left = self._value("IF needs a condition")
        condition = Condition(left)
        if self._now.kind != "{" and not (self._now.kind == "separator" and self._now.text == "\n"):
            sign = operator(self._take())
            condition = Condition(left, sign, self._value(f"a value follows {sign}"))
        elif any(isinstance(part, str) and any(sign in part for sign in OPERATORS[:2]) for part in left.parts):
            hint = "there are blanks on both sides of a comparison"
            raise problem("a condition is a value, or two with a comparison", left.line, left.column, hint=hint)
        then = self._block(keyword)
        otherwise: tuple[Statement, ...] = ()
        if self._else_follows():
            otherwise = self._block(self._take())
        return If(condition, then, otherwise, self._bound(), keyword.line, keyword.column)

    def _else_follows(self) -> bool:
        """It may stand in a later line than the ``}`` before it."""
        line_end = self._now if self._now.kind == "separator" and self._now.text == "\n" else None
        while self._now.kind == "separator" and self._now.text == "\n":
            self._take()
        if self._at("ELSE"):
            return True
        if line_end is not None:
            self._now, self._following = line_end, self._now
        return False

    def _block(self, keyword: Token) -> tuple[Statement, ...]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise problem(
                f"blocks are nested more than {MAX_DEPTH} deep", keyword.line, keyword.column, code="too_large"
            )
        while self._now.kind == "separator" and self._now.text == "\n":
            self._take()
        if self._now.kind != "{":
            raise error(f"{keyword.text} needs a block, found {describe(self._now)}", self._now, expected=["{"])
        self._take()
        inner = self._statements(keyword)
        close = self._take()
        if not inner:
            raise error(f"the block of {keyword.text} is empty", close, expected=STATEMENTS)
        self._depth -= 1
        return inner

    def _bound(self) -> Binding | None:
        """``-> name``, where it stands."""
        if self._now.kind != "->":
            return None
        self._take()
        return binding(self._take(), "->")

    def _value(self, what: str) -> Argument:
        token = self._now
        if token.kind != "word" or is_keyword(token):
            raise error(f"{what}, found {describe(token)}", token, expected=["${name}", '"x"'])
        self._take()
        return Argument(None, token.parts, token.line, token.column)

    def _not_the_end(self) -> PraxisError:
        token = self._now
        if token.kind == "->":
            hint = "CALL, FOREACH and IF bind a result, once"
        elif token.bare and token.text in OPTIONS:
            hint = f"{token.text} stands behind a CALL, once"
        else:
            hint = "one statement per line, or ; between two"
        return error(
            f"a statement begins on a new line or after ';', found {describe(token)}",
            token,
            expected=_AFTER_STATEMENT,
            hint=hint,
        )

    # -- calls --------------------------------------------------------------------------------------

    def _call(self, keyword: Token) -> Call:
        tool = tool_name(self._now)
        self._take()
        arguments: list[Argument] = []
        names: set[str] = set()
        while self._now.kind == "word" and not (self._now.bare and self._now.text in OPTIONS):
            argument = self._argument()
            if argument.name is not None and argument.name in names:
                raise problem(
                    f"--{shown(argument.name)[1:-1]} is given twice",
                    argument.line,
                    argument.column,
                    expected=_AFTER_CALL,
                )
            names.update([] if argument.name is None else [argument.name])
            arguments.append(argument)
        if self._now.kind == "{":
            raise error(
                "found '{' among the arguments", self._now, expected=_AFTER_CALL, hint="put JSON in single quotes"
            )
        bind, options = self._behind_arguments()
        return Call(tool, tuple(arguments), bind, keyword.line, keyword.column, options)

    def _behind_arguments(self) -> tuple[Binding | None, Options]:
        bind: Binding | None = None
        found: dict[str, Token] = {}
        values: dict[str, object] = {}
        while True:
            token = self._now
            if token.kind == "->" and bind is None:
                bind = self._bound()
                continue
            if not (token.kind == "word" and token.bare and token.text in OPTIONS) or token.text in found:
                break
            found[self._take().text] = token
            values[token.text.lower()] = self._option_value(token.text, self._take())
        if token.kind == "word" and token.text not in OPTIONS and (bind or found):
            behind = f"-> {bind.name}" if bind is not None and not found else "this"
            hint = "arguments come before -> and before options"
            detail = f"{behind} ends the arguments, found {describe(token)}"
            raise error(detail, token, expected=(*OPTIONS, *_AFTER_STATEMENT), hint=hint)
        if "BACKOFF" in found and "RETRY" not in found:
            raise error("BACKOFF is for RETRY, which is not there", found["BACKOFF"], expected=["RETRY 3"])
        return bind, Options(**values)  # type: ignore[arg-type]

    def _option_value(self, keyword: str, token: Token) -> object:
        match keyword:
            case "ON":
                return agent_name(token, "ON")
            case "TIMEOUT":
                return duration(token, "TIMEOUT", MAX_TIMEOUT)
            case "RETRY":
                return count(token, "RETRY", 0, MAX_RETRY)
            case "BACKOFF":
                return duration(token, "BACKOFF", MAX_BACKOFF)
        if token.bare and token.text in ("stop", "continue"):
            return token.text
        raise error(f"IF_FAILED is stop or continue, found {describe(token)}", token, expected=["stop", "continue"])

    def _argument(self) -> Argument:
        token = self._now
        if is_keyword(token):
            raise error(
                f"{token.text} begins a statement, and this one has not ended",
                token,
                expected=_AFTER_CALL,
                hint=f'begin it on a new line or after ;, or write "{token.text}" to mean the text',
            )
        self._take()
        if token.text.startswith("--"):
            return self._named(token)
        return Argument(None, token.parts, token.line, token.column)

    def _named(self, token: Token) -> Argument:
        """``--name value``, ``--name=value``, or ``--name`` alone, which means "true"."""
        match = _OPTION.match(token.text)
        name = match.group(1) if match else ""
        rest = token.text[2 + len(name) :]
        if not name or name.startswith("-"):
            raise error(
                f"{shown(token.text)} names no argument",
                token,
                expected=["--NAME"],
                hint="a value that begins with -- goes in quotes",
            )
        if rest and not rest.startswith("="):
            raise error(
                f"the name of an argument is plain text, found {shown(token.text)}",
                token,
                expected=["--NAME VALUE", "--NAME=VALUE"],
            )
        parts: Parts = ("true",)
        following = self._now
        if rest:
            first, *more = token.parts  # it begins with the name, which is bare
            head = str(first)[len(name) + 3 :]
            parts = (*([head] if head else []), *more) or ("",)
        elif following.kind == "word" and not following.text.startswith("--") and not is_keyword(following):
            parts = self._take().parts
        return Argument(name, parts, token.line, token.column)
