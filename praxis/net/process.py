"""Child processes that never outlive the agent: each in its own process group, under a guard (`praxis.net.guard`)."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import attrs
import trio
from trio.abc import ReceiveStream, SendStream

GUARD = Path(__file__).with_name("guard.py")
START_LIMIT = 30.0
"""Seconds for the guard to report. It takes 15 ms; a machine that swaps may take a thousand times that."""
EOF_PATIENCE = 2.0
"""Seconds that the program may take to end once its standard input has ended (the MCP SDKs' figure)."""
TERM_PATIENCE = 2.0
"""Seconds between SIGTERM and SIGKILL (the MCP SDKs' figure)."""
KILL_PATIENCE = 2.0
"""Seconds for the kernel to clear the group away; only a process stuck in the kernel needs more, and it is left."""
_REPORT_SIZE = 32
"""Bytes of the guard's report: a pid or an errno and a newline."""


@attrs.define(eq=False)
class GuardedProcess:
    """A running program. `pid` is its own, not the guard's, and the number of its process group too."""

    stdin: SendStream
    stdout: ReceiveStream
    stderr: ReceiveStream
    _guard: trio.Process
    _line: trio.SocketStream
    pid: int = 0

    async def wait(self) -> int:
        """The program's exit status, or 128 + N when signal N ended it, once it and its whole group are gone."""
        status = await self._guard.wait()
        if status >= 0:
            return status
        # The guard never ends by a signal of its own making: somebody killed it, and the group is ours to kill.
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return 128 - status

    async def terminate(self) -> None:
        """SIGTERM to the whole group."""
        await self._order(b"T")

    async def kill(self) -> None:
        """SIGKILL to the whole group."""
        await self._order(b"K")

    async def _order(self, letter: bytes) -> None:
        with suppress(trio.BrokenResourceError):  # the guard has ended, and the group with it
            await self._line.send_all(letter)


@asynccontextmanager
async def open_guarded(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None
) -> AsyncIterator[GuardedProcess]:
    """Run a program in its own process group with pipes on all three standard streams.

    `env` is its whole environment; PATH there is where `argv[0]` is looked up. Raises OSError when it cannot be
    started: FileNotFoundError names the program or the folder that is missing. However this process ends, SIGKILL
    included, the group is killed. Leaving the context ends its standard input, waits `EOF_PATIENCE`, sends SIGTERM,
    waits `TERM_PATIENCE`, sends SIGKILL: 8 s at most, even when cancelled. By then nobody else may be reading its
    output, the rest of which is thrown away so that a program that is still writing can end.
    """
    if not argv or any("\0" in word for word in (*argv, *env, *env.values())):
        raise OSError(errno.EINVAL, "a command needs a program, and no zero bytes", argv[0] if argv else "")
    ours, theirs = socket.socketpair()
    line = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    with line.socket, theirs:
        guard = await trio.lowlevel.open_process(
            [sys.executable, "-I", "-S", str(GUARD), str(theirs.fileno()), env.get("LC_CTYPE", ""), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            # Away from the terminal: its Ctrl-C is for the agent, which then ends its children in order.
            start_new_session=True,
            env=dict(env),
            cwd=cwd,
        )
        theirs.close()
        streams = (guard.stdin, guard.stdout, guard.stderr)
        process = GuardedProcess(*cast(tuple[SendStream, ReceiveStream, ReceiveStream], streams), guard, line)
        try:
            process.pid = await _report(line, argv[0])
            yield process
        finally:
            await _end(process, guard, line)


async def _report(line: trio.SocketStream, program: str) -> int:
    """The pid of the program. Raises OSError when there is none."""
    report = b""
    with trio.move_on_after(START_LIMIT):
        while not report.endswith(b"\n"):
            piece = await line.receive_some(_REPORT_SIZE)
            if not piece:
                raise OSError(errno.EIO, "the guard process ended before the program started", program)
            report += piece
    if not report.endswith(b"\n"):
        raise OSError(errno.ETIMEDOUT, "the guard process did not start the program in time", program)
    if report.startswith(b"!"):
        number = int(report[1:])
        raise OSError(number, os.strerror(number), program)
    return int(report)


async def _end(process: GuardedProcess, guard: trio.Process, line: trio.SocketStream) -> None:
    """End the group, politely first, and close everything. Every step is bounded."""
    with trio.CancelScope(shield=True) as scope:
        scope.deadline = trio.current_time() + EOF_PATIENCE + TERM_PATIENCE + 2 * KILL_PATIENCE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_discard, process.stdout)
            nursery.start_soon(_discard, process.stderr)
            await process.stdin.aclose()
            if process.pid:
                await _end_in_order(process)
            if guard.returncode is None:
                # Nothing was started, or the guard is stuck. Without its line it kills what there is and ends.
                await line.aclose()
                with trio.move_on_after(KILL_PATIENCE / 2):
                    await guard.wait()
            if guard.returncode is None:
                guard.kill()
                await process.wait()
            nursery.cancel_scope.cancel()
    with trio.move_on_after(KILL_PATIENCE, shield=True):
        await process.stdout.aclose()
        await process.stderr.aclose()
        await line.aclose()


async def _end_in_order(process: GuardedProcess) -> None:
    with trio.move_on_after(EOF_PATIENCE):
        await process.wait()
        return
    await process.terminate()
    with trio.move_on_after(TERM_PATIENCE):
        await process.wait()
        return
    await process.kill()
    with trio.move_on_after(KILL_PATIENCE):
        await process.wait()


async def _discard(stream: ReceiveStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stream.receive_some():
            pass
