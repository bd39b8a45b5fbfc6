"""MCP servers as tool sources: started or reached, watched, and again when they end.

States::

    starting --a session, tools/list--> ready --it ends--> backing off --pause--> starting ...
    starting --it fails--> backing off, or failed after `retry_attempts` starts again without success

A failed source is still tried, every 30 s. Its tools are known, and calls on them refused with the reason, until it
counts as failed; so a restart does not look to callers as if the tool had never been.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.net.http_client import Authorize
from praxis.net.process import open_guarded
from praxis.observe.metrics import Metrics
from praxis.tools.mcp_asking import Asking
from praxis.tools.mcp_backoff import Backoff
from praxis.tools.mcp_catalogue import Catalogue, OnChange
from praxis.tools.mcp_client import LAST_WORDS
from praxis.tools.mcp_connection import Upward
from praxis.tools.mcp_endings import describe_exit, describe_outage, is_other_transport
from praxis.tools.mcp_opening import open_session
from praxis.tools.mcp_pins import Pins
from praxis.tools.mcp_subscriptions import Subscriptions
from praxis.tools.mcp_transports import ENVIRONMENT, Connector, Link, Opener
from praxis.tools.mcp_upstream import Upstream, is_unknown
from praxis.tools.mcp_verdicts import Verdict, Verdicts
from praxis.tools.mcp_words import Words
from praxis.tools.service import Description, Notice
from praxis.tools.source import SourceState, State
from praxis.wire import jsonrpc
from praxis.wire.mcp import Fault, show
from praxis.wire.mcp_eras import LISTED

logger = logging.getLogger(__name__)

START_LIMIT = 60.0
"""Seconds from the start to the list of tools. Popular servers take 0.1 to 6 s, and a package runner that fills its
cache first takes tens."""
EXIT_PATIENCE = 1.0
"""Seconds to learn a server's exit status and last words after its output has ended."""
RELIST_PAUSE = 1.0
"""Seconds between two listings of tools, for a server that says they changed whenever they are listed."""
STOPPING = "the agent is stopping"
STDERR_SHOWN = 20
"""Lines of standard error that the state shows."""


class McpSource:
    """One configured server: a `praxis.tools.source.ToolSource` and a `praxis.tools.service.McpService`.

    `agent` is the name of the agent whose tools these become. `on_change` is called when `tools()` has changed,
    `on_state` when `state()` has, `on_definition` when a tool is not what it was; none may block. `base_dir` is where
    a program starts unless it has a `workdir`.

    Attributes:
        server, words: what was configured; what the server said, and what became of it.
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
        on_definition: OnChange = lambda tool, held: None,
        environ: Mapping[str, str] = os.environ,
        opener: Opener = open_guarded,
        verdicts: Verdicts | None = None,
        pins: Pins | None = None,
        quarantine: bool = False,
        authorize: Authorize | None = None,
    ) -> None:
        self.name = server.name
        self.server = server
        self._limits = limits
        env = {name: environ[name] for name in ENVIRONMENT if name in environ} | server.env
        self._on_change = on_change
        self._on_state = on_state
        self._timeout = limits.request_timeout_ms / 1000 if server.timeout is None else server.timeout
        self._state: State = "starting" if server.enabled else "disabled"
        self._reason = "" if server.enabled else "mcp.servers[].enabled is false"
        self._restarts = 0
        self._catalogue = Catalogue(server, agent, pins or Pins(), quarantine=quarantine, on_change=on_definition)
        self._connector = Connector(
            server, limits, env, server.workdir or base_dir, opener, self._catalogue.headers, authorize
        )
        self._asking = Asking(server)
        self.words = Words(server.name, (*server.env.values(), *server.headers.values()))
        self._subscriptions = Subscriptions(server.name, self._hear)
        self._verdicts = verdicts or Verdicts()
        self._hint = ""
        self._transport: str = server.transport
        self._probing = False
        self._fallback = False
        self._upstream: Upstream | None = None
        self._description = Description({}, {})
        self._protocol = ""
        self._backoff = Backoff(limits)
        self._turn = trio.CancelScope()
        self._farewell = STOPPING
        self._changed = trio.Event()
        self._starts_again = metrics.counter(
            "praxis_mcp_server_restarts_total", "Starts again of MCP servers.", ("source",)
        )
        self._faults = metrics.counter(
            "praxis_mcp_server_faults_total", "What MCP servers did wrong, or too late.", ("source", "fault")
        )

    # -- what it is -----------------------------------------------------------------------------------

    def tools(self) -> Sequence[Tool]:
        """What the server last listed. A tool stays the same object as long as its definition is the same."""
        return self._catalogue.tools

    def state(self) -> SourceState:
        return SourceState(
            name=self.name,
            kind="mcp",
            state=self._state,
            reason=self._reason,
            tools=len(self._catalogue.tools),
            restarts=self._restarts,
            stderr_tail=self.words.stderr.lines[-STDERR_SHOWN:],
            held=self._catalogue.held,
            transport=self._transport,
            protocol=self._protocol,
        )

    @property
    def waiting(self) -> int:
        return self._upstream.connection.places.waiting if self._upstream is not None else 0

    def describe(self) -> Description:
        """What the server last said of itself; nothing before it has been reached."""
        return self._description

    # -- what it does ---------------------------------------------------------------------------------

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Call a tool. Raises PraxisError as `request` does. Cancelling the caller cancels the call on the server."""
        what = f"{self.name}/{name}"
        self._catalogue.refuse(name)
        upstream = self._reach()
        result = await upstream.request("tools/call", {"name": name, "arguments": arguments}, context, what=what)
        if not isinstance(result, dict):
            raise PraxisError("internal", f"{what}: the server answers with {show(result)}, no result", delivered=True)
        if not self._catalogue.keeps_its_word(name, result):
            self._count("unstructured")
        return ToolResult(result)

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        """See `McpService`. Tools are listed as they are known here, on one page: without those left out or held back.

        Raises PraxisError: ``unavailable`` while there is no server, ``denied`` for a tool that is held back, and
        what `praxis.tools.mcp_connection.Connection.request` raises.
        """
        if method == "tools/list":
            if params.get("cursor") is not None:
                given = {"code": jsonrpc.INVALID_PARAMS, "message": "there is no page at this cursor"}
                raise PraxisError("invalid", "there is no page at this cursor", data={"jsonrpc": given})
            self._reach()
            return {"tools": [tool.definition for tool in self.tools()]}
        what = f"{self.name}: {method}"
        if method == "tools/call":
            what = f"{self.name}/{show(params.get('name'), 64)}"
            self._catalogue.refuse(params.get("name"))
            if params.get("arguments") is None:  # some servers take no call without
                params = {**params, "arguments": {}}
        try:
            result = await self._reach().request(method, params, context, what=what)
        except PraxisError as error:
            if method in LISTED and is_unknown(error):
                return {LISTED[method]: []}
            raise
        if not isinstance(result, dict):
            raise PraxisError("internal", f"{what}: the server answers with {show(result)}, no result", delivered=True)
        return result

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, JSON], on_notice: Notice) -> AsyncIterator[Mapping[str, JSON]]:
        """See `McpService`. It lasts while the server is started again."""
        with self._subscriptions.subscribe(wanted, on_notice, self._description.capabilities) as honoured:
            yield honoured

    def approve(self, tool: str | None = None) -> tuple[str, ...]:
        """Let a tool that is held back, or all of them, be what it is now; the names. Raises PraxisError."""
        approved = self._catalogue.approve(tool)
        self._on_change()
        self._on_state(self.state())
        return approved

    def restart(self) -> None:
        """End it and start it again at once, whatever it is doing. Raises PraxisError for one that is disabled."""
        if not self.server.enabled:
            raise PraxisError("conflict", f"MCP server {self.name} is disabled", hint="its `enabled` is false")
        self.say_goodbye("it is started again, as was asked for")
        self._set("starting", "it is ended first")
        self._turn.cancel()

    def say_goodbye(self, reason: str) -> None:
        """What calls that are under way are told when this source is ended next."""
        self._farewell = reason

    def _reach(self) -> Upstream:
        if self._upstream is None:
            why = f"is {self._state}: {self._reason}" if self._reason else "is not connected"
            raise PraxisError("unavailable", f"MCP server {self.name} {why}")
        return self._upstream

    # -- its life -------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the server running until cancelled. Started at once, whether the server starts or not."""
        task_status.started()
        if (verdict := self._verdicts.get(self.server)) is not None:
            self._hint, self._transport = verdict.era, verdict.transport
        while self.server.enabled:
            with trio.CancelScope() as self._turn:
                self._farewell = STOPPING
                self._set("starting")
                self._backoff.begin()
                await self._serve()
                if self._again_at_once():
                    continue
                await trio.sleep(self._backoff.pause)
            if self._turn.cancelled_caught:
                self._probing = self._fallback = False
                self._backoff.forget()
            self._restarts += 1
            self._starts_again.inc(1, self.name)

    async def _serve(self) -> None:
        """Connect with the server and keep the connection until it is over."""
        self.words.stderr.begin()
        self._changed = trio.Event()
        session = self._connector.session(self._asking.declared, self._count)
        upward = Upward(
            on_notice=self._subscriptions.deliver,
            on_text=self.words.log,
            answer=self._asking.answer,
            on_renewed=self._renewed,
        )
        try:
            async with self._connector.connect(self._transport, session, upward) as link:
                logger.info("MCP server %s: %s", self.name, self.words.note(f"started {self.server.shown}"))
                await self._converse(link)
        except* OSError as outage:
            # Once there was a connection, its own end has been told already.
            if self._state == "starting":
                self._ended(f"it cannot be started: {describe_outage(outage)}")

    def _ended(self, reason: str) -> None:
        """Decide what follows: how long to pause, and whether that is called backing off or failed."""
        if self._probing or self._fallback:
            return
        if self.server.transport == "http":
            self._transport = "http"
        failed = self._backoff.ended()
        logger.warning("MCP server %s: %s; next start in %.1f s", self.name, reason, self._backoff.pause)
        self.words.note(reason)
        if failed and self._catalogue.clear():
            self._on_change()
        self._set("failed" if failed else "backing off", reason)

    def _again_at_once(self) -> bool:
        """Whether it ended over something that it did not understand: then it is not asked that again."""
        if self._fallback:
            logger.info("MCP server %s: no streamable HTTP there; trying HTTP+SSE", self.name)
            self._fallback, self._hint, self._transport = False, "legacy", "sse"
            return True
        if not self._probing:
            self._hint = "" if self._state in ("failed", "backing off") and not self._backoff.was_ready else self._hint
            return False
        logger.info("MCP server %s: it ended when it was asked for its era; it is taken for a legacy one", self.name)
        self._probing, self._hint = False, "legacy"
        return True

    async def _converse(self, link: Link) -> None:
        """One connection, from the first request to the end. No call waits when this returns."""
        status: int | None = None
        connection = link.connection
        reason, data = "", {}

        async def watch_exit(wait: Callable[[], Awaitable[int]]) -> None:
            nonlocal status
            status = await wait()
            # Its children may hold its output open: it ends here all the same, once what it wrote has been read.
            connection.hang_up("", patience=LAST_WORDS)

        async with trio.open_nursery() as nursery:
            try:
                quiet = await nursery.start(self.words.keep_stderr, link.stderr) if link.stderr else None
                if link.wait is not None:
                    nursery.start_soon(watch_exit, link.wait)
                nursery.start_soon(self._use, link)
                ended = await connection.run()
                self._upstream = None
                if not ended and link.wait is not None:
                    with trio.move_on_after(EXIT_PATIENCE):
                        await link.wait()
                        if quiet is not None:
                            await quiet.wait()
                words = f"; its last words: {self.words.stderr.last}" if self.words.stderr.last else ""
                reason = (ended or describe_exit(status, link.wait is not None)) + words
                data = {"exit_status": status, "stderr": self.words.stderr.last}
                self._probing = self._probing and not ended
                self._ended(reason)
            finally:
                self._upstream = None
                connection.fail_calls(reason or self._farewell, data)
            nursery.cancel_scope.cancel()

    async def _use(self, link: Link) -> None:
        """Begin a session, list the tools, and again whenever they changed."""
        connection = link.connection
        self._hint = "legacy" if self._transport == "sse" else self._hint  # which is older than the modern era
        self._probing = self.server.protocol == "auto" and self._hint == "" and link.wait is not None
        try:
            hello = await open_session(connection, self.server.protocol, self._hint, timeout=START_LIMIT)
            self._probing = False
            upstream = Upstream(self.name, connection, hello, self._asking, timeout=self._timeout)
            await self._list_tools(upstream, START_LIMIT)
        except PraxisError as error:
            self._fallback = self._transport == "http" and is_other_transport(error)
            connection.hang_up(str(error))
            return
        if not connection.open:
            return
        self._remember(upstream)
        self._description = Description(hello.info, hello.capabilities, hello.instructions)
        self._upstream = upstream
        self._backoff.ready()
        self._protocol = hello.protocol
        self._set("ready")
        ready = f"ready with {len(self.tools())} tools, MCP {hello.protocol}"
        logger.info("MCP server %s: %s", self.name, self.words.note(ready))
        if self._restarts:
            self._subscriptions.restarted()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._subscriptions.keep, upstream)
            while True:
                await self._changed.wait()
                self._changed = trio.Event()
                try:
                    await self._list_tools(upstream, self._timeout)
                except PraxisError as error:
                    logger.warning("MCP server %s: its tools changed, but %s", self.name, error)
                await trio.sleep(RELIST_PAUSE)

    async def _list_tools(self, upstream: Upstream, timeout: float) -> None:
        definitions = await upstream.list_all("tools/list", timeout=timeout)
        by_http = upstream.hello.modern and self._transport == "http"
        if self._catalogue.adopt(definitions, checks_headers=by_http):
            self._on_change()

    def _remember(self, upstream: Upstream) -> None:
        """Keep the verdict, unless the server is not the one it was: then it is asked anew the next time."""
        era = "modern" if upstream.hello.modern else "legacy"
        before = self._verdicts.get(self.server)
        name = upstream.hello.name[:200]
        other = before is not None and before.name != name and self._hint == "legacy"
        self._hint = era
        if self.server.protocol == "auto":
            self._verdicts.put(self.server, None if other else Verdict(era, self._transport, name))

    def _hear(self, method: str) -> None:
        if method == "notifications/tools/list_changed":
            self._changed.set()

    def _renewed(self) -> None:
        """A new session in place of a lost one."""
        if self._upstream is not None:
            self._upstream.renewed()
        self._subscriptions.restarted()
        self._changed.set()

    def _count(self, fault: Fault) -> None:
        self._faults.inc(1, self.name, fault)

    def _set(self, state: State, reason: str = "") -> None:
        self._state, self._reason = state, reason
        self._on_state(self.state())
