"""MCP servers over stdio as tool sources: started, watched, started again.

States::

    starting --handshake, tools/list--> ready --it ends--> backing off --pause--> starting ...
    starting --it fails--> backing off, or failed after `retry_attempts` starts again without success

A failed source is still tried, every 30 s. Its tools are known, and calls on them refused with the reason, until it
counts as failed; so a restart does not look to callers as if the tool had never been.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Literal, Protocol

import trio
from trio.abc import ReceiveStream, SendStream

from praxis import __version__
from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolRef, ToolResult
from praxis.net.process import open_guarded
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_client import LAST_WORDS, McpClient
from praxis.tools.mcp_stderr import StderrTail
from praxis.tools.source import SourceState
from praxis.wire.mcp import ClientSession, show

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "backing off", "failed", "disabled"]

ENVIRONMENT = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG")
"""What a server gets of the agent's environment; keys and tokens stay with the agent."""
START_LIMIT = 60.0
"""Seconds from the start to the list of tools. Popular servers take 0.1 to 6 s, and a package runner that fills its
cache first takes tens."""
MAX_PAUSE = 30.0
"""Seconds between two starts at most: long enough to cost nothing, short enough to wait for."""
STEADY = 10.0
"""Seconds of readiness that make a start a success; one that ends sooner counts towards `retry_attempts`."""
EXIT_PATIENCE = 1.0
"""Seconds to learn a server's exit status and last words after its output has ended."""
RELIST_PAUSE = 1.0
"""Seconds between two listings of tools, for a server that says they changed whenever they are listed."""
LOG_LINES, LOG_PERIOD = 20, 10.0
"""Lines of a server's own words that go into the log within so many seconds; the rest is counted."""
STDERR_SHOWN = 20
"""Lines of standard error that the state shows."""
_GRAVE = frozenset({"warning", "error", "critical", "alert", "emergency"})
"""Levels of a server's messages that are warnings in our log: it is the server's trouble, not the agent's."""


class ServerProcess(Protocol):
    """A running server, as `praxis.net.process.GuardedProcess` is one."""

    stdin: SendStream
    stdout: ReceiveStream
    stderr: ReceiveStream

    async def wait(self) -> int: ...


class Opener(Protocol):
    """Starts a server, or raises OSError; leaving the context ends it, within bounds."""

    def __call__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path
    ) -> AbstractAsyncContextManager[ServerProcess]: ...


class McpSource:
    """One configured server.

    `agent` is the name of the agent whose tools these become. `on_change` is called when `tools()` has changed,
    `on_state` when `state()` has; neither may block. `base_dir` is where the server starts unless it has a `workdir`.
    """

    def __init__(
        self,
        server: McpServer,
        limits: McpLimits,
        agent: str,
        *,
        base_dir: Path,
        on_change: Callable[[], None],
        metrics: Metrics,
        on_state: Callable[[SourceState], None] = lambda state: None,
        environ: Mapping[str, str] = os.environ,
        opener: Opener = open_guarded,
    ) -> None:
        self.name = server.name
        self._server = server
        self._limits = limits
        self._agent = agent
        self._cwd = server.workdir or base_dir
        self._env = {name: environ[name] for name in ENVIRONMENT if name in environ} | server.env
        self._on_change = on_change
        self._on_state = on_state
        self._opener = opener
        self._timeout = limits.request_timeout_ms / 1000 if server.timeout is None else server.timeout
        self._state: State = "starting" if server.enabled else "disabled"
        self._reason = "" if server.enabled else "mcp.servers[].enabled is false"
        self._restarts = 0
        self._tools: tuple[Tool, ...] = ()
        self._stderr = StderrTail(server.env.values())
        self._client: McpClient | None = None
        self._ready_at: float | None = None
        self._failures = 0
        self._pause = 0.0
        self._changed = trio.Event()
        self._log_since = -LOG_PERIOD
        self._log_lines = 0
        self._starts_again = metrics.counter(
            "praxis_mcp_server_restarts_total", "Starts again of MCP servers.", ("source",)
        )
        self._faults = metrics.counter(
            "praxis_mcp_server_faults_total", "What MCP servers did wrong, or too late.", ("source", "fault")
        )

    def tools(self) -> Sequence[Tool]:
        """What the server last listed. A tool stays the same object as long as its definition is the same."""
        return self._tools

    def state(self) -> SourceState:
        return SourceState(
            name=self.name,
            kind="mcp",
            state=self._state,
            reason=self._reason,
            tools=len(self._tools),
            restarts=self._restarts,
            stderr_tail=self._stderr.lines[-STDERR_SHOWN:],
        )

    @property
    def waiting(self) -> int:
        return self._client.waiting if self._client is not None else 0

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Call a tool. Raises PraxisError as `McpClient.request` does, and `unavailable` while there is no server.

        Cancelling the caller cancels the call on the server.
        """
        if self._client is None:
            why = f"is {self._state}: {self._reason}" if self._reason else "is not connected"
            raise PraxisError("unavailable", f"MCP server {self.name} {why}")
        what = f"{self.name}/{name}"
        result = await self._client.request(
            "tools/call",
            {"name": name, "arguments": arguments},
            what=what,
            timeout=self._timeout,
            on_progress=context.on_progress,
        )
        if not isinstance(result, dict):
            raise PraxisError("internal", f"{what}: the server answers with {show(result)}, no result", delivered=True)
        return ToolResult(result)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the server running until cancelled. Started at once, whether the server starts or not."""
        task_status.started()
        while self._server.enabled:
            self._set("starting")
            self._ready_at = None
            await self._serve()
            await trio.sleep(self._pause)
            self._restarts += 1
            self._starts_again.inc(1, self.name)

    async def _serve(self) -> None:
        """Start the server and keep the connection until it is over."""
        argv = [self._server.command, *self._server.args]
        self._stderr.begin()
        try:
            async with self._opener(argv, env=self._env, cwd=self._cwd) as process:
                logger.info("MCP server %s: started %s", self.name, show(self._stderr.mask(str(argv))))
                await self._converse(process)
        except* OSError as outage:
            # Once there was a connection, its own end has been told already.
            if self._state == "starting":
                self._ended(f"it cannot be started: {_describe(outage)}")

    def _ended(self, reason: str) -> None:
        """Decide what follows: how long to pause, and whether that is called backing off or failed."""
        steady = self._ready_at is not None and trio.current_time() - self._ready_at >= STEADY
        self._failures = 1 if steady else self._failures + 1
        failed = self._failures > self._limits.retry_attempts
        # The exponent is bounded: a float overflows after a thousand failures, which a night is enough for.
        doubled = self._limits.retry_backoff_ms / 1000 * 2 ** min(self._failures - 1, 30)
        self._pause = MAX_PAUSE if failed else min(doubled, MAX_PAUSE)
        logger.warning("MCP server %s: %s; next start in %.1f s", self.name, reason, self._pause)
        if failed:
            self._replace_tools(())
        self._set("failed" if failed else "backing off", reason)

    async def _converse(self, process: ServerProcess) -> None:
        """One connection, from the handshake to the end. No call waits when this returns."""
        status: int | None = None
        session = ClientSession(
            name="praxis",
            version=__version__,
            max_line=self._limits.max_response_size_bytes,
            count=lambda fault: self._faults.inc(1, self.name, fault),
        )
        self._changed = trio.Event()
        client = McpClient(
            self.name,
            process.stdin,
            process.stdout,
            session,
            max_calls=self._limits.max_concurrent_requests,
            on_tools_changed=lambda: self._changed.set(),
            on_text=self._log_text,
        )
        reason, data = "the agent is stopping", {}

        async def watch_exit() -> None:
            nonlocal status
            status = await process.wait()
            # Its children may hold its output open: it ends here all the same, once what it wrote has been read.
            client.hang_up("", patience=LAST_WORDS)

        async with trio.open_nursery() as nursery:
            try:
                quiet = await nursery.start(self._keep_stderr, process.stderr)
                nursery.start_soon(watch_exit)
                nursery.start_soon(self._use, client)
                ended = await client.run()
                self._client = None
                if not ended:
                    with trio.move_on_after(EXIT_PATIENCE):
                        await process.wait()
                        await quiet.wait()
                words = f"; its last words: {self._stderr.last}" if self._stderr.last else ""
                reason = (ended or _describe_exit(status)) + words
                data = {"exit_status": status, "stderr": self._stderr.last}
                self._ended(reason)
            finally:
                self._client = None
                client.fail_calls(reason, data)
            nursery.cancel_scope.cancel()

    async def _use(self, client: McpClient) -> None:
        """The handshake, the list of tools, and again whenever it changed."""
        try:
            hello = await client.initialize(timeout=START_LIMIT)
            self._adopt(await client.list_tools(timeout=START_LIMIT))
        except PraxisError as error:
            client.hang_up(str(error))
            return
        if not client.open:
            return
        self._client = client
        self._ready_at = trio.current_time()
        self._set("ready")
        logger.info("MCP server %s: %d tools, MCP %s", self.name, len(self._tools), hello.protocol)
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            try:
                self._adopt(await client.list_tools(timeout=self._timeout))
            except PraxisError as error:
                logger.warning("MCP server %s: its tools changed, but %s", self.name, error)
            await trio.sleep(RELIST_PAUSE)

    def _adopt(self, definitions: Sequence[Mapping[str, JSON]]) -> None:
        known = {tool.name: tool for tool in self._tools}
        tools: dict[str, Tool] = {}
        for definition in definitions:
            name = definition.get("name")
            if not _is_name(name) or name in tools:
                logger.warning("MCP server %s: tool %s is left out: no usable name", self.name, show(name))
                continue
            tool = Tool(self._agent, self.name, definition)
            before = known.get(tool.name)
            tools[tool.name] = before if before is not None and before.digest == tool.digest else tool
        self._replace_tools(tuple(tools.values()))

    def _replace_tools(self, tools: tuple[Tool, ...]) -> None:
        if tools != self._tools:
            self._tools = tools
            self._on_change()

    def _set(self, state: State, reason: str = "") -> None:
        self._state, self._reason = state, reason
        self._on_state(self.state())

    async def _keep_stderr(self, stream: ReceiveStream, *, task_status: trio.TaskStatus[trio.Event]) -> None:
        """Always read on, else the server blocks."""
        quiet = trio.Event()
        task_status.started(quiet)
        try:
            while data := await stream.receive_some():
                for line in self._stderr.receive(bytes(data)):
                    self._log(logging.DEBUG, "stderr", line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as good as the end
        self._stderr.finish()
        quiet.set()

    def _log_text(self, level: str, text: str) -> None:
        number = logging.WARNING if level in _GRAVE else logging.DEBUG if level == "debug" else logging.INFO
        self._log(number, show(level, 10), show(self._stderr.mask(text)))

    def _log(self, level: int, kind: str, line: str) -> None:
        """A line of the server's own words, unless it talks too much."""
        now = trio.current_time()
        if now - self._log_since >= LOG_PERIOD:
            if self._log_lines > LOG_LINES:
                logger.info("MCP server %s: %d more lines", self.name, self._log_lines - LOG_LINES)
            self._log_since, self._log_lines = now, 0
        self._log_lines += 1
        if self._log_lines <= LOG_LINES:
            logger.log(level, "MCP server %s: %s: %s", self.name, kind, line)


def _is_name(name: JSON) -> bool:
    """Whether a tool of this name can be called: nothing in it is taken for an agent or a source."""
    try:
        return isinstance(name, str) and ToolRef.parse(name) == ToolRef(name)
    except PraxisError:
        return False


def _describe_exit(status: int | None) -> str:
    if status is None:
        return "it closed its standard output"
    if status > 128:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(status - 128).name}"
    return f"it exited with status {status}"


def _describe(error: BaseException) -> str:
    """All leaves of a group on one line, each once."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_describe(leaf) for leaf in error.exceptions))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"
