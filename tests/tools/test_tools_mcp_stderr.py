from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.tools import mcp_stderr
from praxis.tools.mcp_stderr import StderrTail


def test_the_last_lines_are_kept_blank_ones_are_not() -> None:
    tail = StderrTail([])
    tail.receive(b"".join(b"line %d\n\n  \n" % number for number in range(1000)))
    assert tail.lines == tuple(f"line {number}" for number in range(1000 - mcp_stderr.MAX_LINES, 1000))
    assert tail.last == "line 999"


def test_an_unfinished_line_counts_at_the_end() -> None:
    tail = StderrTail([])
    assert tail.receive(b"Segmentation fau") == []
    assert tail.receive(b"lt") == []
    assert tail.last == ""
    assert tail.finish() == ["Segmentation fault"]
    assert tail.finish() == []
    assert tail.last == "Segmentation fault"


def test_a_new_start_keeps_the_lines_but_has_no_last_words_yet() -> None:
    tail = StderrTail([])
    tail.receive(b"old\nhalf")
    tail.begin()
    assert (tail.lines, tail.last) == (("old",), "")
    tail.receive(b"new\n")
    assert (tail.lines, tail.last) == (("old", "new"), "new")


def test_a_line_without_end_is_bounded_and_what_follows_is_read() -> None:
    tail = StderrTail([])
    for _ in range(1000):
        tail.receive(b"x" * 1000)
    assert tail.receive(b"x\nnext\n") == ["x" * mcp_stderr.SHOWN_LINE + "…", "next"]


def test_control_characters_and_broken_utf8_are_shown_not_done() -> None:
    tail = StderrTail([])
    assert tail.receive(b"\x1b[31mred\rX\xff\n") == ["\\x1b[31mred\\rX\N{REPLACEMENT CHARACTER}"]


def test_secrets_are_masked_even_across_pieces_and_the_longest_first() -> None:
    tail = StderrTail(["password", "password-and-more", "short", ""])
    assert tail.receive(b"a pass") == []
    assert tail.receive(b"word, password-and-more, short\n") == ["a ***, ***, short"]
    assert tail.mask("password") == "***"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 20))
def test_any_split_of_the_bytes_gives_the_same_lines(pieces: list[bytes], size: int) -> None:
    data = b"\n".join(pieces)
    whole, split = StderrTail([]), StderrTail([])
    lines = whole.receive(data)
    assert [line for at in range(0, len(data), size) for line in split.receive(data[at : at + size])] == lines
    assert split.finish() == whole.finish()
    assert split.lines == whole.lines
