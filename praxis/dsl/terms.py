"""The small parts of a statement, each out of its token: names, durations, counts, the name of a tool."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import cast, get_args

from praxis.dsl.program import Binding
from praxis.dsl.tokens import MAX_NAME, RESERVED_NAMES, SHOWN, Token, problem, shown, tokens
from praxis.model.errors import PraxisError
from praxis.model.plan import Operator, Parameter
from praxis.model.tool import ToolRef, is_address

STATEMENTS = ("CALL", "PARALLEL", "SEQUENCE", "WORKFLOW", "TASK", "AGENT", "FOREACH", "IF")
OPTIONS = ("ON", "TIMEOUT", "RETRY", "BACKOFF", "IF_FAILED")
KEYWORDS = frozenset({*STATEMENTS, *OPTIONS, "ELSE"})
OPERATORS = get_args(Operator)

MAX_TIMEOUT = 24 * 3600.0
"""Seconds of a TIMEOUT. What takes longer is a service."""
MAX_BACKOFF = 3600.0
"""Seconds of a BACKOFF."""
MAX_RETRY = 100
"""Attempts after the first."""
MAX_AT_ONCE = 64
"""Rounds of a FOREACH at a time: as many as steps of one run."""
MAX_PARAMETERS = 64
"""Parameters of a WORKFLOW."""

_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_-]{{0,{MAX_NAME - 1}}}")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEAD = re.compile(r"([^\s(]+)\s*(?:\((.*)\))?", re.DOTALL)
_PARAMETER = re.compile(r"""\s*([A-Za-z_][\w-]*)\s*(?:=\s*('[^']*'|"(?:\\.|[^"\\])*"|[^\s,'"]+))?\s*(,|$)""", re.DOTALL)


def error(detail: str, token: Token, *, expected: Sequence[str] = (), hint: str = "") -> PraxisError:
    return problem(detail, token.line, token.column, expected=expected, hint=hint)


def describe(token: Token) -> str:
    if token.kind == "end":
        return "the end of the program"
    if token.kind == "separator":
        return "the end of the line" if token.text == "\n" else "';'"
    return shown(token.text)


def is_keyword(token: Token) -> bool:
    return token.bare and token.text in KEYWORDS


def constant(token: Token, what: str, expected: str, *, addresses: bool = False) -> str:
    """The text of a word without references. With `addresses` it may be one, which is longer than a name."""
    if token.kind != "word" or is_keyword(token):
        raise error(f"{what}, found {describe(token)}", token, expected=[expected])
    if not all(isinstance(part, str) for part in token.parts):
        raise error(f"{what} that holds no reference, found {shown(token.text)}", token, expected=[expected])
    text = "".join(map(str, token.parts))
    if addresses and is_address(text):
        return text
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise error(f"{what} of 1 to {MAX_NAME} visible characters", token, expected=[expected])
    return text


def binding(token: Token, before: str) -> Binding:
    """A name that a program gives, after `before`."""
    if token.kind != "word" or not token.bare or _NAME.fullmatch(token.text) is None or token.text in KEYWORDS:
        raise error(
            f"a name follows {before}, found {describe(token)}",
            token,
            expected=["NAME"],
            hint=f"a letter, then at most {MAX_NAME - 1} letters, digits, _ or -; the text '->' needs quotes"
            if before == "->"
            else f"a letter, then at most {MAX_NAME - 1} letters, digits, _ or -",
        )
    if token.text in RESERVED_NAMES:
        hint = "take another name"
        raise error(f"{token.text} are what a run is given, and no result", token, expected=["NAME"], hint=hint)
    return Binding(token.text, token.line, token.column)


def duration(token: Token, keyword: str, longest: float) -> float:
    """Seconds."""
    match = _DURATION.fullmatch(token.text) if token.kind == "word" and token.bare else None
    if match is None:
        raise error(f"{keyword} needs a duration, found {describe(token)}", token, expected=["500ms", "5s", "2m", "1h"])
    seconds = float(match.group(1)) * _UNITS[match.group(2)]
    if not 0 < seconds <= longest:
        raise error(f"{keyword} is more than 0 and at most {longest:g} s", token, expected=["500ms", "5s", "2m", "1h"])
    return seconds


def count(token: Token, keyword: str, least: int, most: int) -> int:
    if token.kind != "word" or not token.bare or not re.fullmatch("[0-9]{1,6}", token.text):
        raise error(f"{keyword} needs a whole number, found {describe(token)}", token, expected=["3"])
    number = int(token.text)
    if not least <= number <= most:
        raise error(f"{keyword} is {least} to {most}, found {number}", token, expected=["3"])
    return number


def operator(token: Token) -> Operator:
    if token.kind != "word" or token.text not in OPERATORS:
        raise error(f"a comparison or {{ follows, found {describe(token)}", token, expected=[*OPERATORS, "{"])
    return cast(Operator, token.text)


def workflow_head(words: list[Token]) -> tuple[str, tuple[Parameter, ...]]:
    """The name and the parameters of ``WORKFLOW name(parameter, other="x")``."""
    first = words[0]
    expected = ["NAME", "NAME(PARAMETER, OTHER=VALUE)"]
    text = " ".join(word.text for word in words)
    match = _HEAD.fullmatch(text)
    if match is None:
        raise error(f"{shown(text)} is no name with parameters", first, expected=expected)
    name = constant(next(tokens(match.group(1))), "WORKFLOW needs a name", "NAME")
    found: dict[str, Parameter] = {}
    rest, at = match.group(2) or "", 0
    while at < len(rest) and rest.strip():
        part = _PARAMETER.match(rest, at)
        if part is None or (part.group(3) == "," and not rest[part.end() :].strip()):
            raise error(f"{shown(rest[at:].strip())} is no parameter", first, expected=["PARAMETER", 'OTHER="x"'])
        parameter = binding(Token("word", part.group(1), first.line, first.column, (part.group(1),)), "( or ,").name
        if parameter in found:
            raise error(f"the parameter {parameter} is there twice", first, expected=expected)
        found[parameter] = Parameter(parameter, _default(part.group(2), first), first.line, first.column)
        at = part.end()
    if len(found) > MAX_PARAMETERS:
        raise error(f"a WORKFLOW has at most {MAX_PARAMETERS} parameters", first, expected=expected)
    return name, tuple(found.values())


def _default(text: str | None, first: Token) -> str | None:
    if text is None:
        return None
    parts = next(tokens(text)).parts
    if not all(isinstance(part, str) for part in parts):
        raise error("the default of a parameter holds no reference", first, expected=['"x"'])
    return "".join(map(str, parts))


def tool_name(token: Token) -> str:
    """The name of the tool to call; raises PraxisError("syntax")."""
    expected = ["NAME", "SOURCE/NAME", "AGENT:NAME", "AGENT:SOURCE/NAME"]
    hint = ""
    if token.kind != "word":
        detail = f"CALL needs the name of a tool, found {describe(token)}"
    elif is_keyword(token):
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
        except PraxisError as wrong:
            detail, hint = f"{shown(token.parts[0])} is not the name of a tool", wrong.hint
        else:
            return token.parts[0]
    raise error(detail, token, expected=expected, hint=hint)


def agent_name(token: Token, keyword: str) -> str:
    """The name of an agent, or its address, as it stands before the colon of a tool's full name."""
    name = constant(token, f"{keyword} needs the name of an agent", "AGENT", addresses=True)
    try:
        ToolRef.parse(f"{name}:tool")
    except PraxisError:
        raise error(f"{shown(name)} is not the name of an agent", token, expected=["AGENT"]) from None
    return name


def no_statement(token: Token) -> PraxisError:
    hint = ""
    if token.kind == "word":
        alike = difflib.get_close_matches(token.text[:SHOWN].upper(), STATEMENTS, 1)
        if token.bare and token.text in OPTIONS:
            hint = f"{token.text} stands in the line of its CALL"
        elif token.bare and token.text == "ELSE":
            hint = "ELSE follows the } of an IF"
        elif token.text.upper() in KEYWORDS:
            hint = f"did you mean {token.text.upper()}? Keywords are written in capitals"
        elif alike:
            hint = f"did you mean {alike[0]}?"
        else:
            hint = "a tool is called with CALL TOOL ..."
    return error(f"a statement begins here, found {describe(token)}", token, expected=STATEMENTS, hint=hint)
