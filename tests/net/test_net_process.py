from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from praxis.net import process as process_module
from praxis.net.process import GuardedProcess, open_guarded
from tests.support.processes import alive, ignores, parent_of, wait_gone, wait_until

ROOT = Path(__file__).parents[2]
SERVERS = ROOT / "tests" / "support" / "servers"
ENV = {"PATH": os.environ["PATH"]}


def family(mode: str, *more: str) -> list[str]:
    return [sys.executable, "-S", str(SERVERS / "family.py"), mode, *more]


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def pids_of(process: GuardedProcess) -> tuple[int, int]:
    pids = json.loads(await process.stdout.receive_some())
    return pids["pid"], pids["child"]


async def test_streams_pass_straight_through_and_pid_is_the_programs() -> None:
    script = "read line; echo got $line; echo problem >&2; echo $$"
    async with open_guarded(["sh", "-c", script], env=ENV) as process:
        await process.stdin.send_all(b"hello\n")
        assert await read_all(process.stdout) == b"got hello\n%d\n" % process.pid
        assert await read_all(process.stderr) == b"problem\n"
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
)
async def test_exit_status_reaches_the_agent(script: str, status: int) -> None:
    async with open_guarded(["sh", "-c", script], env=ENV) as process:
        assert await process.wait() == status


async def test_environment_folder_and_descriptors_are_exactly_what_was_given(tmp_path: Path) -> None:
    env = {**ENV, "GREETING": "hällo wörld", "LC_CTYPE": "C"}
    script = "import os; print(dict(os.environ), os.getcwd(), sorted(map(int, os.listdir('/proc/self/fd'))))"
    wanted = {**env, "LC_CTYPE": "C.UTF-8"}  # set by the Python that prints it (PEP 538)
    async with open_guarded([sys.executable, "-S", "-c", script], env=env, cwd=tmp_path) as process:
        output = (await read_all(process.stdout)).decode()
        assert await process.wait() == 0
    assert output == f"{wanted} {tmp_path} [0, 1, 2, 3]\n"  # 3 is the listing's own


async def test_guard_adds_no_variable() -> None:
    async with open_guarded(["env"], env=ENV) as process:
        assert await read_all(process.stdout) == f"PATH={ENV['PATH']}\n".encode()


async def test_ignored_signals_are_not_inherited() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup or a shell's &
    try:
        await look_at_ignored_signals()
    finally:
        signal.signal(signal.SIGINT, before)


async def look_at_ignored_signals() -> None:
    async with open_guarded(["cat"], env=ENV) as process:
        assert ignores(os.getpid(), signal.SIGPIPE)
        assert ignores(os.getpid(), signal.SIGINT)
        assert [number for number in range(1, 32) if ignores(process.pid, number)] == []


async def test_program_runs_in_a_group_of_its_own_without_terminal() -> None:
    async with open_guarded(["cat"], env=ENV) as process:
        assert os.getpgid(process.pid) == process.pid
        assert os.getsid(process.pid) != os.getsid(0)


@pytest.mark.parametrize(
    ("argv", "number"),
    [(["no-such-program"], errno.ENOENT), (["/dev/null"], errno.EACCES), ([], errno.EINVAL), (["a\0b"], errno.EINVAL)],
)
async def test_a_program_that_cannot_start_is_an_os_error_that_names_it(argv: list[str], number: int) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        async with open_guarded(argv, env=ENV):
            pytest.fail("it started")
    assert caught.value.errno == number
    assert caught.value.filename == (argv[0] if argv else "")


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        async with open_guarded(["cat"], env=ENV, cwd=tmp_path / "missing"):
            pytest.fail("it started")


async def test_what_the_program_leaves_behind_is_killed() -> None:
    async with open_guarded(family("leave", "3"), env=ENV) as process:
        _, child = await pids_of(process)
        assert await process.wait() == 3
        await wait_gone(child)


async def test_leaving_ends_a_good_program_by_the_end_of_its_input() -> None:
    async with open_guarded(family("wait"), env=ENV) as process:
        pid, child = await pids_of(process)
    assert await process.wait() == 0
    await wait_gone(pid, child)


async def test_leaving_takes_what_a_busy_program_still_writes() -> None:
    with trio.fail_after(process_module.EOF_PATIENCE):
        async with open_guarded(family("shout"), env=ENV) as process:
            await process.stdout.receive_some(16)
    assert await process.wait() == 0


async def test_leaving_kills_a_stubborn_program_even_when_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "EOF_PATIENCE", 0.05)
    monkeypatch.setattr(process_module, "TERM_PATIENCE", 0.05)
    with trio.CancelScope() as scope:
        async with open_guarded(family("stubborn"), env=ENV) as process:
            pid, child = await pids_of(process)
            scope.cancel()
            await trio.sleep_forever()
    assert await process.wait() == 137
    await wait_gone(pid, child)


@pytest.mark.parametrize(("order", "status"), [(GuardedProcess.terminate, 143), (GuardedProcess.kill, 137)])
async def test_signals_go_to_the_whole_group(order: Callable[[GuardedProcess], Awaitable[None]], status: int) -> None:
    async with open_guarded(family("wait"), env=ENV) as process:
        pid, child = await pids_of(process)
        await order(process)
        assert await process.wait() == status
        await wait_gone(pid, child)
        await order(process)  # nobody left: nothing happens


async def test_sigkill_of_the_agent_leaves_no_child() -> None:
    agent = await trio.lowlevel.open_process(
        [sys.executable, str(SERVERS / "agent.py")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert agent.stdout is not None
    async with agent.stdout:
        pids = json.loads(await agent.stdout.receive_some())
        assert alive(pids["pid"])
        assert alive(pids["child"])
        agent.kill()
        assert await agent.wait() == -signal.SIGKILL
        await wait_gone(pids["pid"], pids["child"])


async def test_the_guard_outlives_a_polite_signal_and_its_death_kills_the_group() -> None:
    async with open_guarded(family("stubborn"), env=ENV) as process:
        pid, child = await pids_of(process)
        guard = parent_of(pid)
        # The guard reports the program before it is deaf to signals itself.
        await wait_until(lambda: ignores(guard, signal.SIGTERM))
        os.kill(guard, signal.SIGTERM)
        with trio.move_on_after(0.05):
            await process.wait()
            pytest.fail("SIGTERM ended the guard")
        os.kill(guard, signal.SIGKILL)
        assert await process.wait() == 137
        await wait_gone(pid, child)
