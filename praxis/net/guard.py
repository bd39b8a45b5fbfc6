"""Start one program in its own process group and see that the group ends with whoever asked for it.

Runs as a script, ``python -I -S guard.py LINE LC_CTYPE PROGRAM [ARGUMENT...]``, between an agent and a tool server.
LINE is the number of a socket whose other end only the agent holds; LC_CTYPE is that variable's value for the
program, or empty. Standard input, output and error are the program's: the guard lets go of them once it runs.

On the line the guard first writes the program's pid, or ``!ERRNO`` when it could not be started, and a newline. The
agent writes ``T`` (SIGTERM to the group) or ``K`` (SIGKILL to the group). The end of the line means that the agent is
gone, however it died, and kills the group. The guard exits with the program's status, 128 + N after signal N, once
the program has ended and what was left of its group is killed.

PR_SET_PDEATHSIG would do without a guard, but it fires when the starting *thread* ends, and Trio's are short-lived.
A process that leaves the group (``setsid``) leaves the guard's reach too.

Only what starting needs is imported up here: each import would delay every tool server.
"""

from __future__ import annotations

import os
import select
import sys

SIGKILL, SIGTERM = 9, 15
RESTORED = (1, 2, 3, 13, 15, 17, 25)
"""SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD, SIGXFSZ: back to the default for the program. What is ignored
stays ignored in a new program, and Python ignores two of them, ``nohup`` and a shell's ``&`` three others."""


def main(arguments: list[str]) -> int:
    line, ctype, program = int(arguments[0]), arguments[1], arguments[2:]
    os.set_inheritable(line, False)
    # Python itself sets LC_CTYPE when it starts in the C locale (PEP 538); the program gets what the agent meant.
    environ = dict(os.environ)
    environ.pop("LC_CTYPE", None)
    if ctype:
        environ["LC_CTYPE"] = ctype
    try:
        child = os.posix_spawnp(program[0], program, environ, setpgroup=0, setsigmask=(), setsigdef=RESTORED)
    except OSError as error:
        _tell(line, b"!%d\n" % (error.errno or 0))
        return 127
    try:
        _tell(line, b"%d\n" % child)
        _let_go_of_stdio()
        _watch(line, child)
    except BaseException:
        _kill_group(child, SIGKILL)
        raise
    # Before the child is reaped: until then its pid, and so the group's number, cannot belong to somebody else.
    _kill_group(child, SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _watch(line: int, child: int) -> None:
    """Return when the child has ended; it is not reaped yet."""
    import signal

    # Whoever stops a whole service signals us too; we are needed until the child is gone.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(line, select.POLLIN)
    poll.register(bell, select.POLLIN)
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        for fd, _ in poll.poll():
            if fd == bell:
                os.read(bell, 64)
                continue
            orders = _read(line)
            if b"K" in orders or not orders:
                _kill_group(child, SIGKILL)
            elif b"T" in orders:
                _kill_group(child, SIGTERM)
            if not orders:
                poll.unregister(line)


def _read(line: int) -> bytes:
    try:
        return os.read(line, 16)
    except OSError:
        return b""


def _tell(line: int, text: bytes) -> None:
    try:  # noqa: SIM105 - contextlib takes a third of the guard's start-up
        os.write(line, text)
    except OSError:
        pass  # the agent is gone already; the end of the line says the same in a moment


def _kill_group(child: int, number: int) -> None:
    try:  # noqa: SIM105
        os.killpg(child, number)
    except OSError:
        pass  # nobody left in it


def _let_go_of_stdio() -> None:
    """Else the agent would not see the end of the program's output before ours."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
