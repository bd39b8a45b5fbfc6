"""The log: what a line looks like, and what must not be in it."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from pathlib import Path
from typing import Literal

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from praxis.observe.log_lines import (
    MAX_LINE,
    MAX_MESSAGE,
    MAX_TRACEBACK,
    Entry,
    escape_controls,
    level_name,
    make_render,
)
from praxis.observe.logs import Secrets
from tests.observe.log_support import Bus, installed, log


def test_text() -> None:
    stream = io.StringIO()
    with installed(stream=stream):
        log.info("hello %s", "world")
        log.debug("not at this level")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    praxis\.test: hello world\n", stream.getvalue()
    )


def test_json() -> None:
    stream = io.StringIO()
    with installed(stream=stream, format="json", level="debug"):
        log.debug('a "b"\n\u2028\N{SNOWMAN}')
        log.error("x")
    first, second = stream.getvalue().splitlines()
    fields = json.loads(first)
    assert fields.pop("time").endswith("Z")
    assert fields == {"level": "debug", "logger": "praxis.test", "message": 'a "b"\n\u2028\N{SNOWMAN}'}
    assert json.loads(second)["level"] == "error"


def test_everything_is_as_before_in_the_end() -> None:
    logger = logging.getLogger("praxis")
    before = logger.level, logger.propagate, list(logger.handlers), threading.active_count()
    with pytest.raises(ZeroDivisionError), installed(level="debug"):
        assert logger.level == logging.DEBUG
        raise ZeroDivisionError
    assert (logger.level, logger.propagate, list(logger.handlers), threading.active_count()) == before


def test_tracebacks() -> None:
    stream = io.StringIO()
    with installed(stream=stream):
        try:
            raise RuntimeError("two\nlines")
        except RuntimeError:
            log.exception("it broke")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR   praxis.test: it broke")
    assert rest[0] == "  | Traceback (most recent call last):"
    assert rest[-2:] == ["  | RuntimeError: two", "  | lines"]


def test_nobody_can_write_a_line_like_ours() -> None:
    stream = io.StringIO()
    evil = "x\n2030-01-01T00:00:00.000Z INFO    praxis.test: all fine\r\x1b[2K\u2028\u202e\x00"
    with installed(stream=stream):
        log.warning("tool %s", evil)
        try:
            raise RuntimeError(evil)
        except RuntimeError:
            log.exception("it broke")
    lines = stream.getvalue().split("\n")
    assert [line for line in lines if line.startswith("2030")] == []
    assert r"tool x\n2030-01-01" in lines[0]
    assert r"\r\x1b[2K\u2028\u202e\x00" in lines[0]
    assert all(line.isprintable() for line in lines)


@given(st.text())
def test_escaped_text_is_printable_and_printable_text_stays(text: str) -> None:
    assert escape_controls(text).isprintable()
    assert escape_controls(text) == text or not text.isprintable()


@given(st.text(), st.text(), st.sampled_from(["text", "json"]), st.booleans())
def test_an_entry_cannot_break_out(
    message: str, traceback: str, format: Literal["text", "json"], journal: bool
) -> None:
    lines = make_render(format, journal=journal)(Entry(0.0, "error", "praxis", message, traceback)).split("\n")
    assert lines.pop() == ""
    if journal:
        assert all(line.startswith("<3>") for line in lines)
        lines = [line[3:] for line in lines]
    if format == "json":
        (line,) = lines
        assert json.loads(line)["message"] == message
    else:
        assert lines[0].startswith("ERROR " if journal else "1970-01-01T00:00:00.000Z ERROR ")
        assert all(line.startswith("  | ") for line in lines[1:])


def test_lines_are_bounded() -> None:
    stream = io.StringIO()
    with installed(stream=stream):
        log.info("a" * 100_000)
        log.info("\x01" * 100_000)
        try:
            raise RuntimeError("first" + "x" * 100_000 + "last")
        except RuntimeError:
            log.exception("it broke")
    first, second, *rest = stream.getvalue().splitlines()
    assert first.endswith(f"... ({100_000 - MAX_MESSAGE} more characters)")
    assert len(first) < MAX_MESSAGE + 200
    assert len(second) < MAX_LINE + 200
    assert len("".join(rest)) < MAX_TRACEBACK + 500
    assert "more characters)" in stream.getvalue()
    assert rest[-1].endswith("last")


def test_arguments_that_do_not_fit_lose_nothing_and_raise_nothing() -> None:
    stream = io.StringIO()
    with installed(stream=stream):
        log.info("%d files", "many")
    assert "%d files [arguments that cannot be formatted: TypeError(" in stream.getvalue()


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "debug"),
        (10, "debug"),
        (15, "debug"),
        (20, "info"),
        (30, "warning"),
        (40, "error"),
        (50, "critical"),
        (99, "critical"),
    ],
)
def test_level_names(number: int, name: str) -> None:
    assert level_name(number) == name


# journald


def test_priorities() -> None:
    stream = io.StringIO()
    with installed(stream=stream, journal=True, level="debug"):
        log.debug("d")
        log.info("i")
        log.warning("w")
        log.error("e")
        log.critical("c")
        log.error("with stack", stack_info=True)
    lines = stream.getvalue().splitlines()
    assert [line[:3] for line in lines[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert lines[1] == "<6>INFO    praxis.test: i"
    assert len(lines) > 6
    assert all(line.startswith("<3>  | ") for line in lines[6:])


def test_the_journal_is_the_stream_that_the_environment_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def first_line(name: str) -> str:
        with (tmp_path / name).open("w") as stream, installed(stream=stream, journal=None, file=tmp_path / "log"):
            log.info("x")
        return (tmp_path / name).read_text()

    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert first_line("journal").startswith("20")
    status = (tmp_path / "journal").stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert first_line("journal") == "<6>INFO    praxis.test: x\n"
    assert first_line("another").startswith("20"), "inherited, with another standard error"
    assert all(line.startswith("20") for line in (tmp_path / "log").read_text().splitlines())
    for meant in (
        "",
        "9",
        f"{status.st_dev}:",
        f"{status.st_dev}:{status.st_ino}0",
        f"{status.st_ino}:{status.st_dev}",
    ):
        monkeypatch.setenv("JOURNAL_STREAM", meant)
        assert first_line("journal").startswith("20")


def test_a_stream_that_is_no_file_is_not_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "9:12345")
    stream = io.StringIO()
    with installed(stream=stream, journal=None):
        log.info("x")
    assert stream.getvalue().startswith("20")


# Secrets


def test_secrets_are_masked_everywhere(tmp_path: Path) -> None:
    secrets, stream, bus = Secrets(), io.StringIO(), Bus()
    file = tmp_path / "log"
    secrets.add("s3cret-value")
    seen: list[str] = []

    class Later(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(logging.Formatter("%(message)s").format(record))

    later = Later()

    async def main() -> None:
        with installed(stream=stream, secrets=secrets, bus=bus, file=file):
            logging.getLogger("praxis").addHandler(later)
            try:
                raise RuntimeError("token s3cret-value refused")
            except RuntimeError:
                log.exception("calling with %s", {"token": "s3cret-value"}, stack_info=True)

    try:
        trio.run(main)
    finally:
        logging.getLogger("praxis").removeHandler(later)
    for text in (stream.getvalue(), file.read_text(), json.dumps(bus.events), seen[0]):
        assert "calling with {'token': '***'}" in text
        assert "s3cret" not in text
    assert "RuntimeError: token *** refused" in stream.getvalue()
    assert "RuntimeError: token *** refused" in seen[0]


def test_masking() -> None:
    secrets = Secrets()
    assert secrets.mask("nothing to hide") == "nothing to hide"
    for value in ("", "short", "  ", "abcdef", "abcdef-longer", 'quo"ted\nlines'):
        secrets.add(value)
    assert secrets.mask("short abcdef abcdef-longer abcdefg") == "short *** *** ***g"
    assert secrets.mask(json.dumps({"x": 'quo"ted\nlines'})) == '{"x": "***"}'
    assert secrets.mask(repr('quo"ted\nlines')) == "'***'"


def test_a_secret_that_is_cut_is_not_half_shown() -> None:
    secrets, stream = Secrets(), io.StringIO()
    secrets.add("s3cret-value")
    with installed(stream=stream, secrets=secrets):
        log.info("%ss3cret-value", "x" * (MAX_MESSAGE - 4))
    assert "s3c" not in stream.getvalue()
