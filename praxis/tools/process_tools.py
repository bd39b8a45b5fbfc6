"""Declared tools that are programs on this machine: one process for each call, which never outlives it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio
from trio.abc import ReceiveStream, SendStream

from praxis.config.schema import DeclaredTool
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.net.process import GuardedProcess, open_guarded
from praxis.tools.declared import definition, hand_over
from praxis.tools.mcp_transports import ENVIRONMENT
from praxis.tools.program_output import ProgramOutput
from praxis.tools.show import quoted
from praxis.tools.source import SourceState

AT_ONCE = 16
"""Processes at once; more wait. Each costs its memory and its guard's, some 10 MB."""
LAST_OUTPUT = 1.0
"""Seconds to read what a program wrote before it ended, while something that left its group holds its output open."""
KILL_LIMIT = 1.0
"""Seconds to order the end of a program that is not wanted any more; it takes microseconds."""


class ProcessTools:
    """The source ``process``. Relative folders and programs are relative to `base_dir`."""

    name = "process"

    def __init__(
        self,
        tools: Sequence[DeclaredTool],
        agent: str,
        *,
        base_dir: Path,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._declared = {tool.name: tool for tool in tools}
        self._tools = tuple(Tool(agent, self.name, definition(tool)) for tool in tools)
        self._base_dir = base_dir
        self._environ = environ
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def state(self) -> SourceState:
        return SourceState(self.name, "process", "ready", tools=len(self._tools))

    @property
    def waiting(self) -> int:
        return self._limiter.statistics().tasks_waiting

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Run the program; its standard output is the result, and a status other than 0 a result with isError.

        Raises PraxisError: ``not_found`` for another name, ``invalid`` for arguments that no program can get,
        ``unavailable`` when it cannot be started, ``timeout``. Its process group is gone when this ends, however.
        """
        tool = self._declared.get(name)
        if tool is None:
            raise PraxisError("not_found", f"there is no tool {quoted(name)} in {self.name}")
        handed = hand_over(tool, arguments)
        given = [name for name in (*ENVIRONMENT, *tool.env_passthrough) if name in self._environ]
        env = {name: self._environ[name] for name in given} | tool.env | dict(handed.environment)
        secrets = (*tool.env.values(), *(env[name] for name in tool.env_passthrough if name in env))
        output = ProgramOutput(f"{self.name}/{name}", context, secrets)
        async with self._limiter:
            with trio.move_on_after(tool.timeout):
                return output.result(await self._run(tool, env, handed.stdin, output))
        raise PraxisError(
            "timeout",
            f"{self.name}/{name} did not end within {tool.timeout:g} s",
            hint="its `timeout` in the configuration says how long it may take",
            delivered=True,
        )

    async def _run(self, tool: DeclaredTool, env: Mapping[str, str], stdin: bytes, output: ProgramOutput) -> int:
        try:
            async with open_guarded(tool.command, env=env, cwd=tool.workdir or self._base_dir) as process:
                return await _converse(process, stdin, output)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PraxisError("unavailable", f"{self.name}/{tool.name} cannot be started: {reason}") from error


async def _converse(process: GuardedProcess, stdin: bytes, output: ProgramOutput) -> int:
    """Write, read and wait. A process that is not wanted any more is killed at once, with its whole group."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process.stdin, stdin)
            async with trio.open_nursery() as readers:
                readers.start_soon(_read, process.stdout, output.write)
                readers.start_soon(_read, process.stderr, output.write_error)
                status = await process.wait()
                readers.cancel_scope.deadline = trio.current_time() + LAST_OUTPUT
            nursery.cancel_scope.cancel()
        return status
    except BaseException:
        with trio.move_on_after(KILL_LIMIT, shield=True):
            await process.kill()
        raise


async def _feed(stream: SendStream, content: bytes) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it need not read what it does not want
        async with stream:
            await stream.send_all(content)


async def _read(stream: ReceiveStream, take: Callable[[bytes], None]) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while piece := await stream.receive_some():
            take(bytes(piece))
