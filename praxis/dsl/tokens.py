"""Text to tokens, each with its line and column.

A word ends at a blank, a line's end, ``;``, ``{`` or ``}`` and is made of pieces that touch each other: bare text,
``'...'`` with nothing special inside, ``"..."`` with the escapes ``\\"``, ``\\\\``, ``\\n``, ``\\t``, ``\\$``, and
references ``${name.key[0]}`` in bare text and double quotes. A ``$`` that no ``{`` follows is a dollar. ``#`` where a
word could begin starts a comment. These are the rules of a shell as far as they go; what a shell would take and we
would take otherwise is refused rather than guessed: a backslash outside quotes, other escapes, ``$${``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Literal

import attrs

from praxis.model.errors import Code, PraxisError
from praxis.model.plan import PARAMS, SECRETS, Reference

MAX_TEXT = 64 * 1024
"""Bytes of a program in UTF-8. Room for some thousand calls; content larger than that is for a call's own arguments."""
MAX_NAME = 64
"""Characters of a name or key in a reference: more is no name, and hints compare names in square time."""
SHOWN = 40
"""Characters of the program that an error quotes."""

RESERVED_NAMES = frozenset({PARAMS, SECRETS})
"""Names of what a run is given: `praxis.model.plan.PARAMS` and `SECRETS`."""

Kind = Literal["word", "->", "{", "}", "separator", "end"]

_SKIP = re.compile(r"(?:[ \t\r]+|#[^\n]*)*")
_BARE = re.compile(r"[^ \t\r\n;{}\"'$\\]+")
_IN_QUOTES = re.compile(r'[^"$\\]+')
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_-]*)((?:\.[\w-]+|\[[0-9]{1,9}\])*)\}")
_PATH = re.compile(r"\.([\w-]+)|\[([0-9]+)\]")
_NOT_CLOSED = re.compile(r"\$\{[^}\n\"';]*")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "$": "$"}
_TYPOGRAPHIC = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
_ENDS_A_WORD = frozenset(" \t\r\n;{}")


@attrs.frozen
class Token:
    """One token. `text` is how it stands in the program; `parts` is a word's value, never empty for a word."""

    kind: Kind
    text: str
    line: int
    column: int
    parts: tuple[str | Reference, ...] = ()

    @property
    def bare(self) -> bool:
        """True for a word without quotes and references: only such a word can be a keyword."""
        return self.parts == (self.text,)


def problem(
    detail: str, line: int, column: int, *, expected: Sequence[str] = (), hint: str = "", code: Code = "syntax"
) -> PraxisError:
    """An error with its place for people (`where`) and for programs (`data`)."""
    return PraxisError(
        code,
        detail,
        hint=hint,
        where=f"line {line}, column {column}",
        data={"line": line, "column": column, "expected": list(expected)},
    )


def shown(text: str) -> str:
    """A piece of the program as an error quotes it: short, on one line, nothing invisible."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, the last one of kind "end".

    Raises PraxisError: ``too_large`` at once, ``syntax`` when it comes to what is no token.
    """
    lexer = _Lexer(text)
    lexer.check_text()
    return lexer.tokens()


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0]

    def check_text(self) -> None:
        try:
            size = len(self._text.encode()) if len(self._text) <= MAX_TEXT else len(self._text)
        except UnicodeEncodeError as error:
            self._find_lines()
            raise self._error("half of a surrogate pair is no character", error.start) from None
        if size > MAX_TEXT:
            raise PraxisError(
                "too_large",
                f"the program has {size} bytes or more; {MAX_TEXT} are allowed",
                hint="call the tool directly, with the content as its argument, or split the program",
                data={"limit": MAX_TEXT},
            )
        self._find_lines()

    def _find_lines(self) -> None:
        self._lines += [match.end() for match in re.finditer("\n", self._text)]

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def _error(self, detail: str, at: int, *, expected: Sequence[str] = (), hint: str = "") -> PraxisError:
        return problem(detail, *self._place(at), expected=expected, hint=hint)

    def tokens(self) -> Iterator[Token]:
        text, at = self._text, 0
        while True:
            skipped = _SKIP.match(text, at)
            at = start = skipped.end() if skipped else at
            line, column = self._place(start)
            if at == len(text):
                yield Token("end", "", line, column)
                return
            char = text[at]
            if char in "\n;":
                at += 1
                yield Token("separator", char, line, column)
            elif char == "{":
                at += 1
                yield Token("{", char, line, column)
            elif char == "}":
                at += 1
                yield Token("}", char, line, column)
            elif text.startswith("->", at):
                at += 2
                yield Token("->", "->", line, column)
            else:
                parts: list[str | Reference] = []
                at = self._word(at, parts)
                yield Token("word", text[start:at], line, column, tuple(parts) or ("",))

    def _word(self, at: int, parts: list[str | Reference]) -> int:
        text = self._text
        if text[at] in _TYPOGRAPHIC:
            raise self._error(
                f"{text[at]!r} is a typographic quote", at, expected=['"', "'"], hint="write \" or ' instead"
            )
        while at < len(text) and text[at] not in _ENDS_A_WORD:
            char = text[at]
            if char == '"':
                at = self._double_quoted(at, parts)
            elif char == "'":
                close = text.find("'", at + 1)
                if close < 0:
                    hint = 'an apostrophe goes in double quotes: "it\'s"'
                    raise self._error("this ' is never closed", at, expected=["'"], hint=hint)
                _add(parts, text[at + 1 : close])
                at = close + 1
            elif char == "$":
                at = self._dollar(at, parts)
            elif char == "\\":
                raise self._error(
                    "a backslash outside quotes",
                    at,
                    hint="put the word in single quotes to keep it; a statement cannot go on in the next line",
                )
            else:
                at = self._bare(at, parts)
        return at

    def _bare(self, at: int, parts: list[str | Reference]) -> int:
        match = _BARE.match(self._text, at)
        assert match is not None  # noqa: S101 - what it does not match has been dealt with by the caller
        run = match.group()
        if not run.isprintable():
            offset, char = next((i, char) for i, char in enumerate(run) if not char.isprintable())
            raise self._error(
                f"the invisible character U+{ord(char):04X} outside quotes",
                at + offset,
                hint="if it is meant to be a blank, type a blank",
            )
        _add(parts, run)
        return match.end()

    def _double_quoted(self, start: int, parts: list[str | Reference]) -> int:
        text, at = self._text, start + 1
        while at < len(text):
            char = text[at]
            if char == '"':
                return at + 1
            if char == "$":
                at = self._dollar(at, parts)
            elif char == "\\":
                following = text[at + 1 : at + 2]
                escaped = _ESCAPES.get(following)
                if escaped is None and following:
                    raise self._error(
                        f"a backslash before {shown(following)} means nothing in double quotes",
                        at,
                        expected=['\\"', "\\\\", "\\n", "\\t", "\\$"],
                        hint="write \\\\ for a backslash, or use single quotes",
                    )
                _add(parts, escaped or "")
                at += 2
            else:
                match = _IN_QUOTES.match(text, at)
                assert match is not None  # noqa: S101 - the three characters it stops at are handled above
                _add(parts, match.group())
                at = match.end()
        hint = 'end the text with "; a " in it is written \\"'
        raise self._error('this " is never closed', start, expected=['"'], hint=hint)

    def _dollar(self, at: int, parts: list[str | Reference]) -> int:
        """A reference, or a dollar that stands for itself."""
        text = self._text
        if text.startswith("$${", at):
            raise self._error(
                "$${ could mean two things",
                at,
                hint="for a dollar and a value write \"\\$${name}\", for the text '${name}' use single quotes",
            )
        if not text.startswith("${", at):
            _add(parts, "$")
            return at + 1
        match = _REFERENCE.match(text, at)
        if match is None:
            raise self._no_reference(at)
        name, tail = match.groups()
        keys = [(key, index) for key, index in _PATH.findall(tail)]
        if max(len(name), *(len(key) for key, _ in keys), 0) > MAX_NAME:
            raise self._error(f"a name in {shown(match.group())} has more than {MAX_NAME} characters", at)
        if name in RESERVED_NAMES and not (keys and keys[0][0]):
            detail = f"{shown(match.group())} is all that a run is given, not one of it"
            raise self._error(detail, at, expected=[f"${{{name}.NAME}}"])
        if any(key.isdigit() for key, _ in keys):
            raise self._error(f"a position in a list is written [0], found {shown(match.group())}", at)
        path = tuple(key or int(index) for key, index in keys)
        parts.append(Reference(name, path, *self._place(at)))
        return match.end()

    def _no_reference(self, at: int) -> PraxisError:
        match = _NOT_CLOSED.match(self._text, at)
        found = match.group() if match else "${"
        closed = self._text.startswith("}", at + len(found))
        return self._error(
            f"{shown(found + '}')} is no reference" if closed else f"{shown(found)} is never closed",
            at,
            expected=["${name}", "${name.key}", "${name[0]}"] if closed else ["}"],
            hint="write ${name}, ${name.key} or ${name[0]}; to mean the text itself use single quotes",
        )


def _add(parts: list[str | Reference], text: str) -> None:
    """Append text, joined to what stands before, so that equal values have equal parts."""
    if not text:
        return
    last = parts[-1] if parts else None
    if isinstance(last, str):
        parts[-1] = last + text
    else:
        parts.append(text)
