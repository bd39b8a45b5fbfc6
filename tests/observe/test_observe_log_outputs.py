"""The log's outputs that do not behave, and warnings as events."""

from __future__ import annotations

import io
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from praxis.observe import log_writer, logs
from praxis.observe.log_lines import (
    MAX_MESSAGE,
)
from praxis.observe.log_writer import FileOutput, LineWriter, StreamOutput
from tests.observe.log_support import Bus, installed, log

# Files


def test_the_file_is_private_and_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for message in ("one", "two"):
        with installed(file=file):
            log.info(message)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [line.rpartition(" ")[2] for line in file.read_text().splitlines()] == ["one", "two"]


def test_a_full_disk_costs_lines_which_are_counted() -> None:
    stream = io.StringIO()
    with installed(stream=stream, file=Path("/dev/full")) as installation:
        for _ in range(5):
            log.info("a line")
        assert installation.flush()
        assert installation.lost["file"] == 5
        assert installation.file_trouble == "No space left on device"
    assert stream.getvalue().count("praxis.test: a line") == 5
    assert stream.getvalue().count("log file /dev/full: No space left on device; records are lost until") == 1


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    file, stream = tmp_path / "folder" / "log", io.StringIO()
    with installed(stream=stream, file=file) as installation:
        log.info("one")
        log.info("two")
        assert installation.flush()
        file.parent.mkdir()
        log.info("three")
        assert installation.flush()
        assert installation.lost["file"] == 2
        assert installation.file_trouble == ""
    notice, line = file.read_text().splitlines()
    assert notice.endswith("WARNING praxis.observe.logs: 2 log records were lost here")
    assert line.endswith("three")
    assert "log file " + str(file) + ": No such file or directory" in stream.getvalue()


def test_a_file_that_works_again_is_well_again_also_when_nothing_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "RETRY_SECONDS", 0.01)
    output = FileOutput(tmp_path / "folder" / "log")
    told: list[Exception] = []
    writer = LineWriter(output, "test", failed=told.append, missing=lambda lines: f"{lines} lost\n")
    writer.put("one\n")
    assert writer.flush()
    while not told:
        assert writer.flush()
    assert writer.trouble == "No such file or directory"
    (tmp_path / "folder").mkdir()
    deadline = time.monotonic() + 10
    while writer.trouble:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # what another thread does in its own time
    writer.close()
    assert writer.lost == 1, "a try is no record"
    assert len(told) == 1
    assert (tmp_path / "folder" / "log").read_text() == "1 lost\n"


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with installed(file=file) as installation:
        log.info("one")
        assert installation.flush()
        file.rename(tmp_path / "log.1")
        log.info("two")
    assert (tmp_path / "log.1").read_text().endswith("one\n")
    assert file.read_text().endswith("two\n")


def test_half_a_line_is_lost_and_the_next_begins_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = FileOutput(tmp_path / "log")
    output.write("one\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    with pytest.raises(OSError, match="No space"):
        output.write("two\n")
    monkeypatch.setattr(os, "write", write)
    output.write("three\n")
    output.close()
    assert (tmp_path / "log").read_text() == "one\ntw\nthree\n"


def test_a_pipe_nobody_reads_from_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with installed(file=tmp_path / "log") as installation:
        log.info("x")
        assert installation.flush()
        assert installation.lost["file"] == 1


def test_a_stream_that_is_closed_costs_lines() -> None:
    stream = io.StringIO()
    with installed(stream=stream) as installation:
        stream.close()
        log.info("x")
        assert installation.flush()
        assert installation.lost["stream"] == 1


class Stuck(io.StringIO):
    """A terminal that somebody paused."""

    def __init__(self) -> None:
        super().__init__()
        self.resumed = threading.Event()
        self.reached = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.resumed.wait(10)
        return super().write(text)


def test_a_paused_terminal_stops_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_writer, "QUEUE_LINES", 3)
    stream = Stuck()
    with installed(stream=stream, file=tmp_path / "log") as installation:
        log.info("first")
        assert stream.reached.wait(10)
        for number in range(10):
            log.info("line %d", number)
            assert installation._file is not None
            assert installation._file.flush()
        assert installation.lost["stream"] == 7
        assert installation._stream.trouble == "3 records wait to be written"
        assert installation.file_trouble == ""
        stream.resumed.set()
        assert installation.flush()
        log.info("last")
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == [
        "first",
        "7 log records were lost here",
        "line 0",
        "line 1",
        "line 2",
        "last",
    ]
    assert len((tmp_path / "log").read_text().splitlines()) == 12


def test_leaving_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "CLOSE_SECONDS", 0.01)
    stream = Stuck()
    writer = LineWriter(StreamOutput(stream), "test", failed=lambda error: None, missing=str)
    writer.put("x\n")
    assert stream.reached.wait(10)
    assert not writer.flush(0.01)
    writer.close()
    assert stream.getvalue() == ""
    stream.resumed.set()
    writer._thread.join(10)
    assert stream.getvalue() == "x\n"


# The bus


async def test_warnings_are_events() -> None:
    bus = Bus()
    with installed(bus=bus):
        log.info("not this")
        log.warning("this %d", 1)
        log.error("%s", "x" * 100_000)
    assert bus.events[0] == {"type": "log", "level": "warning", "logger": "praxis.test", "message": "this 1"}
    assert len(bus.events) == 2
    assert len(bus.events[1]["message"]) < MAX_MESSAGE + 100


async def test_a_bus_that_logs_does_not_go_round_in_circles() -> None:
    class Talkative(Bus):
        def publish(self, type: str, /, *, run_id: str | None = None, **fields: Any) -> None:
            super().publish(type, **fields)
            log.warning("published something")

    bus, stream = Talkative(), io.StringIO()
    with installed(bus=bus, stream=stream):
        log.warning("one")
        log.warning("two")
    assert [event["message"] for event in bus.events] == ["one", "two"]
    assert stream.getvalue().count("published something") == 2


async def test_records_of_other_threads_reach_the_bus_on_its_own() -> None:
    bus = Bus()
    with installed(bus=bus):
        await trio.to_thread.run_sync(log.warning, "from a worker")
        await trio.testing.wait_all_tasks_blocked()
    assert [event["message"] for event in bus.events] == ["from a worker"]
    assert bus.threads == {threading.get_ident()}


def warn_five_times() -> None:
    for number in range(5):
        log.warning("line %d", number)


async def test_what_waits_for_the_loop_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_HANDED_OVER", 2)
    bus = Bus()
    with installed(bus=bus) as installation:
        for _ in range(2):
            thread = threading.Thread(target=warn_five_times)
            thread.start()
            thread.join()  # the loop stands still meanwhile
            await trio.testing.wait_all_tasks_blocked()
        assert installation.lost["events"] == 6
    assert [event["message"] for event in bus.events] == ["line 0", "line 1"] * 2


def test_without_a_loop_there_is_no_event() -> None:
    bus, stream = Bus(), io.StringIO()

    async def main() -> None:
        log.warning("meanwhile")

    with installed(bus=bus, stream=stream) as installation:
        log.warning("before")
        trio.run(main)
        log.warning("after")
        assert not any(installation.lost.values())
    assert [event["message"] for event in bus.events] == ["meanwhile"]
    assert stream.getvalue().count("WARNING") == 3
