"""Looking at processes from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

PATIENCE = 10.0
"""Seconds after which something that should happen is taken never to happen."""


def alive(pid: int) -> bool:
    """Whether the process runs. One that has ended but that nobody has waited for yet does not."""
    try:
        return _stat(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def ignores(pid: int, signal: int) -> bool:
    mask = Path(f"/proc/{pid}/status").read_text().split("SigIgn:\t")[1].split()[0]
    return bool(int(mask, 16) >> signal - 1 & 1)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return once it holds. Raises trio.TooSlowError after `PATIENCE`. For other processes, which set no event."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)


async def wait_gone(*pids: int) -> None:
    """Return once none of them runs. Raises trio.TooSlowError after `PATIENCE`."""
    await wait_until(lambda: not any(alive(pid) for pid in pids))
