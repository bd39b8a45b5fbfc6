"""One call of a containerized tool: a container is made, fed, read, and in every case removed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from praxis.config.schema import DeclaredTool
from praxis.config.schema_tools import size
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, ToolResult
from praxis.net.http_client import HttpError
from praxis.net.http_upgrade import Upgraded
from praxis.tools.container_archive import MAX_ARCHIVE, pack, unpack
from praxis.tools.container_engine import Engine, EngineError
from praxis.tools.container_frames import STDOUT, FrameError, Frames
from praxis.tools.program_output import ProgramOutput

logger = logging.getLogger(__name__)

CREATE_LIMIT = 60.0
"""Seconds in which a cancelled call waits for its container to be made, so that it can be removed."""
REMOVE_LIMIT = 20.0
"""Seconds to kill and remove a container; an engine takes less than one. What is left goes when the agent starts."""
LAST_OUTPUT = 5.0
"""Seconds to read what a program wrote before it ended: at most what the pipes and the engine hold."""
KILLED = 137
"""The status of a program that SIGKILL ended."""


def describe(tool: DeclaredTool, environment: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, JSON]:
    """The container as the Engine API wants it: no terminal, no capability, nothing in the engine's own log."""
    host: dict[str, JSON] = {
        "NetworkMode": tool.network,
        "Memory": size(tool.memory),
        "MemorySwap": size(tool.memory),
        "PidsLimit": tool.pids,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        # Its output comes to us; written to a file too, it would fill the disk of the engine.
        "LogConfig": {"Type": "none"},
        "Mounts": [
            {"Type": "bind", "Source": str(mount.source), "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in tool.mounts
        ],
    }
    if tool.cpu is not None:
        host["NanoCpus"] = max(1, int(tool.cpu * 1_000_000_000))
    body: dict[str, JSON] = {
        "Image": tool.image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": dict(labels),
        "NetworkDisabled": tool.network == "none",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "HostConfig": host,
    }
    optional = {"Cmd": [*tool.command], "User": tool.user, "WorkingDir": str(tool.workdir or "")}
    return body | {key: value for key, value in optional.items() if value}


async def run_container(
    engine: Engine, name: str, tool: DeclaredTool, body: Mapping[str, JSON], stdin: bytes, output: ProgramOutput
) -> ToolResult:
    """Run a call in a container of this `name`, which is gone in the end.

    Raises EngineError and HttpError as the engine does, and PraxisError: ``unavailable`` for an image that is not
    there, ``timeout``.
    """
    async with _made(engine, name, tool, body):
        with trio.move_on_after(tool.timeout):
            if archive := pack(tool.secrets, _folders(tool)):
                await engine.put_archive(name, archive)
            # Two connections: over one, Podman breaks off what the program says when it ends without reading. What it
            # says comes over both, since Podman waits for ever for a connection that takes none of it.
            streams = "stdout", "stderr"
            async with engine.attach(name, *streams) as said, engine.attach(name, "stdin", *streams) as told:
                status = await _converse(engine, name, said, told, stdin, output)
            artifacts = await _artifacts(engine, name, tool)
            why = f"killed, as a program is that needs more than its memory of {tool.memory}" * (status == KILLED)
            return output.result(status, why, artifacts)
    raise PraxisError(
        "timeout",
        f"container/{tool.name} did not end within {tool.timeout:g} s",
        hint="its `timeout` in the configuration says how long it may take",
        delivered=True,
    )


@asynccontextmanager
async def _made(engine: Engine, name: str, tool: DeclaredTool, body: Mapping[str, JSON]) -> AsyncIterator[None]:
    try:
        await _make(engine, name, tool, body)
        yield
    finally:
        with trio.move_on_after(REMOVE_LIMIT, shield=True) as scope:
            try:
                await engine.remove(name)
            except OSError as error:
                logger.warning("container %s could not be removed: %s", name, error)
        if scope.cancelled_caught:
            logger.warning("container %s was not removed within %g s", name, REMOVE_LIMIT)


async def _make(engine: Engine, name: str, tool: DeclaredTool, body: Mapping[str, JSON]) -> None:
    """Raises PraxisError("unavailable") for an image that is not there, and cannot be had."""
    if await _create(engine, name, body):
        return
    if tool.pull == "missing":
        logger.info("container/%s: pulling %s", tool.name, tool.image)
        await engine.pull(tool.image)
        if await _create(engine, name, body):
            return
    raise PraxisError(
        "unavailable",
        f"container/{tool.name}: the image {tool.image} is not on this machine",
        hint=f"pull it there, or write `pull: missing`; the engine is on {engine.socket}",
    )


async def _create(engine: Engine, name: str, body: Mapping[str, JSON]) -> bool:
    """Whether the image was there. Not cancelled half-way: the engine would go on, and make what nobody removes."""
    with trio.move_on_after(CREATE_LIMIT, shield=True):
        try:
            await engine.create(name, body)
        except EngineError as error:
            if error.status != 404:
                raise
            return False
        return True
    await trio.lowlevel.checkpoint_if_cancelled()
    raise EngineError(f"it does not make a container within {CREATE_LIMIT:g} s")


def _folders(tool: DeclaredTool) -> Sequence[str]:
    """The folder for artifacts, unless it is in one of this machine's, whose permissions are not ours to change."""
    path = f"{tool.artifacts.rstrip('/')}/"
    mounted = any(path.startswith(f"{mount.target.rstrip('/')}/") for mount in tool.mounts)
    return () if mounted or not tool.artifacts else (tool.artifacts,)


@attrs.define
class _Trouble:
    """Why a conversation broke off: for a `reason` at once, over a connection that was `lost` when nothing follows."""

    reason: str = ""
    lost: str = ""


async def _converse(
    engine: Engine, name: str, said: Upgraded, told: Upgraded, stdin: bytes, output: ProgramOutput
) -> int:
    """Start it, write, read and wait; the exit status."""
    await engine.start(name)
    trouble = _Trouble()
    status: int | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed, told, stdin)
        nursery.start_soon(_drain, told)
        async with trio.open_nursery() as reader:
            reader.start_soon(_read, said, output, trouble, nursery.cancel_scope)
            try:
                status = await engine.wait(name)
            except OSError as error:
                trouble.reason = str(error)
                nursery.cancel_scope.cancel()
            reader.cancel_scope.deadline = trio.current_time() + LAST_OUTPUT
        nursery.cancel_scope.cancel()
    if status is None or trouble.reason:
        why = trouble.reason or trouble.lost
        raise PraxisError("unavailable", f"the engine broke off a call under way: {why}", delivered=True)
    return status


async def _feed(line: Upgraded, content: bytes) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it need not read what it does not want
        await line.stream.send_all(content)
        await line.stream.send_eof()


async def _drain(line: Upgraded) -> None:
    with suppress(HttpError, trio.ClosedResourceError):
        while await line.receive():
            pass


async def _read(line: Upgraded, output: ProgramOutput, trouble: _Trouble, conversation: trio.CancelScope) -> None:
    frames = Frames()
    try:
        while data := await line.receive():
            for stream, part in frames.receive(data):
                (output.write if stream == STDOUT else output.write_error)(part)
    except FrameError as error:
        trouble.reason = str(error)
        conversation.cancel()
    except HttpError as error:
        # If the engine has not gone altogether, it says how the container ended.
        trouble.lost = str(error)
        conversation.deadline = trio.current_time() + LAST_OUTPUT


async def _artifacts(engine: Engine, name: str, tool: DeclaredTool) -> list[JSON]:
    if not tool.artifacts:
        return []
    try:
        archive, whole = await engine.get_archive(name, tool.artifacts, MAX_ARCHIVE)
    except OSError as error:
        if isinstance(error, EngineError) and error.status == 404:  # it removed the folder, so there is nothing in it
            return []
        return [{"type": "text", "text": f"the artifacts could not be read: {error}"}]
    return unpack(archive, whole=whole).content()
