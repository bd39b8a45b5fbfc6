"""A program as everybody would write it: one statement a line, blocks indented by two blanks, comments where they were.

Words stay as they are, with their quotes: what a program means does not change. Pure.
"""

from __future__ import annotations

import re

from praxis.dsl.parser import parse
from praxis.dsl.tokens import Token, tokens

INDENT = "  "
_COMMENT = re.compile(r"#[^\n]*")


def format_program(text: str) -> str:
    """The text in its usual form, which is that of itself. Raises PraxisError for what is no program."""
    parse(text)
    return _Formatter(text).format()


class _Formatter:
    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: list[str] = []
        self._now: list[str] = []
        """The words of the line that is being written."""
        self._last = 0, 0
        """Which line has the last statement, and where that ends in it: a comment may follow."""
        self._depth = 0
        self._breaks = 0
        """Ends of lines since the last word or comment."""

    def format(self) -> str:
        at = 0
        for token in tokens(self._text):
            start = self._starts[token.line - 1] + token.column - 1
            for comment in _COMMENT.findall(self._text[at:start]):
                self._add_comment(comment.rstrip())
            self._add(token)
            at = start + len(token.text)
        self._end_line()
        return "\n".join(self._lines).strip("\n") + "\n"

    def _add(self, token: Token) -> None:
        if token.kind == "separator":
            self._end_line()
            self._breaks += token.text == "\n"
        elif token.kind == "{":
            self._open()
        elif token.kind == "}":
            self._end_line()
            self._depth -= 1
            while self._lines and not self._lines[-1]:
                self._lines.pop()
            self._breaks = 0
            self._now = ["}"]
        elif token.kind != "end":
            if (
                token.bare
                and token.text == "ELSE"
                and not self._now
                and self._lines
                and self._is_close(self._lines[-1])
            ):
                self._lines.pop()
                self._now, self._breaks = ["}"], 0
            elif self._now == ["}"] and not (token.kind == "->" or token.text == "ELSE"):
                self._end_line()
            self._add_word(token.text)

    def _is_close(self, line: str) -> bool:
        return line == INDENT * self._depth + "}"

    def _add_word(self, text: str) -> None:
        if not self._now:
            self._leave_blank()
        self._now.append(text)

    def _leave_blank(self) -> None:
        """One empty line where there was any, and none at the beginning of a block."""
        if self._breaks > 1 and self._lines and self._lines[-1] and not self._lines[-1].endswith("{"):
            self._lines.append("")
        self._breaks = 0

    def _open(self) -> None:
        if self._now:
            self._now.append("{")
            self._end_line()
        else:  # it stood in a line of its own, perhaps behind a comment
            at, end = self._last
            line, comments = self._lines[at], self._lines[at + 1 :]
            self._lines[at:] = [f"{line[:end]} {{{line[end:]}"]
            if comments and not comments[0] and self._lines[-1].endswith("{"):
                comments.pop(0)
            self._lines += [INDENT + comment if comment else "" for comment in comments]
        self._depth += 1
        self._breaks = 0

    def _add_comment(self, comment: str) -> None:
        if self._now:
            self._end_line()
            self._lines[-1] += f"  {comment}"
        elif self._lines and not self._breaks and self._lines[-1] and not self._lines[-1].lstrip().startswith("#"):
            self._lines[-1] += f"  {comment}"
        else:
            self._leave_blank()
            self._lines.append(INDENT * self._depth + comment)
        self._breaks = 0

    def _end_line(self) -> None:
        if self._now:
            line = INDENT * self._depth + " ".join(self._now)
            self._last = len(self._lines), len(line)
            self._lines.append(line)
            self._now = []
