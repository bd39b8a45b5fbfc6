"""Lines on their way out: a thread and a bounded queue for each output.

The agent's one thread must not wait for a terminal that somebody paused or a disk that hangs. What an output does not
take is counted, and told once it takes lines again.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

QUEUE_LINES = 1000
"""Records that may wait for one output: the burst of a start or of a lost network; 25 MB if all were the longest."""
CLOSE_SECONDS = 2.0
"""How long leaving waits for an output that has stopped taking lines, well under any grace of a supervisor."""
RETRY_SECONDS = 5.0
"""Between two tries of an output that fails, when nothing is logged meanwhile: a quiet agent, too, is well again soon
after its disk has room."""


class Output(Protocol):
    def write(self, lines: str) -> None:
        """Raises OSError or ValueError (a closed stream, an encoding that lacks a character)."""

    def close(self) -> None: ...


class StreamOutput:
    """A text stream that belongs to somebody else, such as standard error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, lines: str) -> None:
        self._stream.write(lines)
        self._stream.flush()

    def close(self) -> None:
        """The stream stays open."""


class FileOutput:
    """A file of mode 0600 that is appended to, and opened anew when logrotate has put it away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._torn = False

    def write(self, lines: str) -> None:
        fd = self._open()
        data = lines.encode("utf-8", "backslashreplace")
        if self._torn:
            data = b"\n" + data
        written = os.write(fd, data)
        self._torn = written < len(data)
        if self._torn:  # the next line begins on a line of its own, and this one counts as lost
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        if self._fd is not None:
            try:
                same = os.path.samestat(os.fstat(self._fd), os.stat(self._path))
            except FileNotFoundError:
                same = False
            if same:
                return self._fd
            self.close()
        # Without waiting: a named pipe nobody reads from must not hold up anything.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, 0o600)
        return self._fd


class LineWriter:
    """Writes lines to one output, in order, from a thread of its own.

    `failed` is called on that thread when the output stops taking lines, `missing` makes the line that says how many
    were lost when it takes them again. Between lines, too, it is tried then.
    """

    def __init__(
        self, output: Output, name: str, *, failed: Callable[[Exception], None], missing: Callable[[int], str]
    ) -> None:
        self._output, self._failed, self._missing = output, failed, missing
        self._queue: queue.Queue[str | threading.Event | None] = queue.Queue(QUEUE_LINES)
        self._lock = threading.Lock()
        self._lost = 0
        self._untold = 0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"praxis log {name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Records that never reached the output."""
        return self._lost

    @property
    def trouble(self) -> str:
        """Why records are being lost now; "" while the output takes them."""
        return self._trouble

    def put(self, lines: str) -> None:
        """Never waits; may be called from any thread."""
        try:
            self._queue.put_nowait(lines)
        except queue.Full:
            self._lose()
            self._trouble = self._trouble or f"{QUEUE_LINES} records wait to be written"

    def flush(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Waits until all that was put before is written or lost; False if that took longer than `seconds`."""
        deadline = time.monotonic() + seconds
        done = threading.Event()
        try:
            self._queue.put(done, timeout=seconds)
        except queue.Full:
            return False
        return done.wait(deadline - time.monotonic())

    def close(self) -> None:
        """Writes what waits, for at most `CLOSE_SECONDS`. A thread that hangs beyond that ends with the process."""
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            self._queue.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _lose(self) -> None:
        with self._lock:
            self._lost += 1
            self._untold += 1

    def _run(self) -> None:
        failing = False
        while True:
            try:
                item = self._queue.get(timeout=RETRY_SECONDS if failing else None)
            except queue.Empty:
                item = ""
            if item is None:
                break
            if isinstance(item, threading.Event):
                item.set()
            else:
                failing = self._write(item, failing)
        self._output.close()

    def _write(self, lines: str, failing: bool) -> bool:
        """Write what was put, which is "" for a try, behind what is to be told; returns whether the output fails."""
        with self._lock:
            untold = self._untold
        try:
            if untold:
                self._output.write(self._missing(untold))
                with self._lock:
                    self._untold -= untold
            if lines:
                self._output.write(lines)
        except (OSError, ValueError) as error:
            if lines:
                self._lose()
            self._trouble = reason_of(error)
            if not failing:
                self._failed(error)
            return True
        self._trouble = ""
        return False


def reason_of(error: Exception) -> str:
    """Why an output does not take lines, for people."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
