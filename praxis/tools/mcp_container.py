"""MCP servers in containers: what ``docker run`` starts outlives the program that was told to start it.

So each container gets a label of its own, and whatever bears that label is removed when the server ends.
"""

from __future__ import annotations

import logging
import secrets
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePath

import trio

logger = logging.getLogger(__name__)

ENGINES = frozenset({"docker", "podman", "nerdctl"})
"""Programs that take ``run --label``, ``ps --filter label=`` and ``rm --force``."""
LABEL = "praxis.mcp"
REMOVE_LIMIT = 10.0
"""Seconds to remove what is left; an engine takes less than one, and one that hangs is left alone."""
MAX_IDS = 65536
"""Bytes of the list of containers that are looked at: one server has one."""


@asynccontextmanager
async def contained(argv: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[Sequence[str]]:
    """The command to start instead. On leaving, the containers that it has left behind are removed."""
    at = _run_at(argv)
    if at is None:
        yield argv
        return
    label = f"{LABEL}={secrets.token_hex(8)}"
    try:
        yield [*argv[: at + 1], "--label", label, *argv[at + 1 :]]
    finally:
        with trio.move_on_after(REMOVE_LIMIT, shield=True) as scope:
            await _remove(argv[:1], label, env)
        if scope.cancelled_caught:
            logger.warning("%s did not remove the containers with the label %s in time", argv[0], label)


def _run_at(argv: Sequence[str]) -> int | None:
    """Where ``run`` stands in a command that runs a container."""
    if PurePath(argv[0]).name not in ENGINES:
        return None
    for at in (1, 2):
        if list(argv[1 : at + 1]) == ["container", "run"][-at:]:
            return at
    return None


async def _remove(engine: Sequence[str], label: str, env: Mapping[str, str]) -> None:
    try:
        listed = await _call([*engine, "ps", "--all", "--quiet", "--filter", f"label={label}"], env)
        if ids := [word for word in listed[:MAX_IDS].decode(errors="replace").split() if word.isalnum()]:
            await _call([*engine, "rm", "--force", *ids], env)
            logger.info("removed %d containers with the label %s", len(ids), label)
    except (OSError, subprocess.CalledProcessError) as error:
        logger.warning("containers with the label %s could not be removed: %s", label, error)


async def _call(argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    done = await trio.run_process(
        list(argv), env=dict(env), capture_stdout=True, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    return bytes(done.stdout)
