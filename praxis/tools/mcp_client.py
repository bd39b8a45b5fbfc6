"""One connection with one running MCP server: the Trio shell around `praxis.wire.mcp.ClientSession`.

`McpClient.run` reads and writes; any task may call `request` meanwhile. A request that is cancelled, by its deadline
or with its caller, is told to the server with ``notifications/cancelled`` and is over as soon as that is written: the
specification says that no answer is to be expected, and one that comes all the same is counted and ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs
import trio
from trio.abc import ReceiveStream, SendStream

from praxis.model.errors import Code, PraxisError
from praxis.model.tool import JSON
from praxis.tools.mcp_outbox import Line, Outbox
from praxis.wire import jsonrpc, mcp
from praxis.wire.mcp import ClientSession

logger = logging.getLogger(__name__)

CANCEL_LIMIT = 2.0
"""Seconds that a cancelled call may still take to tell the server so. Writing takes microseconds; only a server that
has stopped reading needs longer, and it would not take notice anyway."""
LAST_WORDS = 0.5
"""Seconds to read what a server wrote before it ended; it is in the pipe already."""
MAX_PAGES = 100
"""Pages of tools/list; a server that goes on is taken to be running in circles."""
MAX_TOOLS = 2000
"""Tools of one server. Thirty popular servers have 386 between them."""

ProgressCallback = Callable[[Mapping[str, JSON]], None]


@attrs.define(eq=False)
class _Call:
    """One request that waits for its answer. `what` names it in errors."""

    what: str
    line: Line
    on_progress: ProgressCallback | None
    result: JSON = None
    error: PraxisError | None = None
    done: trio.Event = attrs.field(factory=trio.Event)

    def succeed(self, result: JSON) -> None:
        self.result = result
        self.done.set()

    def fail(self, error: PraxisError) -> None:
        self.error = error
        self.done.set()


class McpClient:
    """`server` is the server's name in errors and logs.

    `on_tools_changed` and `on_text` (level or "noise", and the server's words as they came) are called from the
    reading task and must not block.
    """

    def __init__(
        self,
        server: str,
        stdin: SendStream,
        stdout: ReceiveStream,
        session: ClientSession,
        *,
        max_calls: int,
        on_tools_changed: Callable[[], None],
        on_text: Callable[[str, str], None],
    ) -> None:
        self._server = server
        self._stdout = stdout
        self._session = session
        self._outbox = Outbox(stdin)
        self._slots = trio.Semaphore(max_calls)
        self._calls: dict[int, _Call] = {}
        self._on_tools_changed = on_tools_changed
        self._on_text = on_text
        self._scope = trio.CancelScope()
        self._reason = ""
        self.open = True
        """Whether requests can be made."""

    @property
    def waiting(self) -> int:
        """Requests that wait because `max_calls` are under way."""
        return self._slots.statistics().tasks_waiting

    async def run(self) -> str:
        """Carry messages until the connection is over, and say why it is, "" when the server just ended its streams.

        Calls still wait then: see `fail_calls`.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.open = False
            self._outbox.close()
        return self._reason

    def hang_up(self, reason: str, *, patience: float = 0.0) -> None:
        """End the connection, after at most `patience` seconds of reading on. The first reason counts."""
        self._reason = self._reason or reason
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + patience)

    def fail_calls(self, detail: str, data: dict[str, JSON]) -> None:
        """Raise PraxisError("unavailable") in every call that waits. `detail` goes on from the server's name."""
        self.open = False
        self._reason = detail
        for call in self._calls.values():
            if not call.done.is_set():  # else its answer came before the end, and its task has not run since
                call.fail(self._unavailable(detail, delivered=call.line.started, data=data))

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        what: str,
        timeout: float,
        on_progress: ProgressCallback | None = None,
    ) -> JSON:
        """The result of a request.

        Raises PraxisError: `invalid` and `not_found` when the server says so, `internal` for its other errors (with
        its code in `data["jsonrpc"]`), `timeout` after `timeout` seconds, `too_large`, and `unavailable` when the
        connection ends. `delivered` tells whether the server may have acted on it.
        """
        call: _Call | None = None
        with trio.move_on_after(timeout) as scope:
            async with self._slots:
                await self._outbox.wait_room()
                if not self.open:
                    raise self._unavailable(self._reason, delivered=False, data={})
                try:
                    id, data = self._session.request(method, params, progress=on_progress is not None)
                except (ValueError, TypeError, RecursionError) as error:
                    raise PraxisError("invalid", f"{what}: not JSON: {error}", where="arguments") from None
                call = self._calls[id] = _Call(what, self._outbox.put(data), on_progress)
                try:
                    await call.done.wait()
                except trio.Cancelled:
                    if not call.done.is_set():
                        late = trio.current_time() >= scope.deadline
                        await self._give_up(id, call, method, "time is up" if late else "cancelled by the caller")
                    raise
                finally:
                    del self._calls[id]
        if call is None or not call.done.is_set():
            delivered = call is not None and call.line.started
            waited = (
                "" if delivered else "; it could not even be sent, with so many calls or a server that does not read"
            )
            raise PraxisError("timeout", f"{what}: no answer within {timeout:g} s{waited}", delivered=delivered)
        if call.error is not None:
            raise call.error
        return call.result

    async def initialize(self, *, timeout: float) -> mcp.ServerHello:
        """The handshake. Raises PraxisError, also when there is no common version of the protocol."""
        result = await self.request("initialize", self._session.initialize_params(), what="initialize", timeout=timeout)
        hello, line = self._session.initialized(result)
        self._outbox.put_urgent(line)
        return hello

    async def list_tools(self, *, timeout: float) -> list[Mapping[str, JSON]]:
        """All definitions, page after page, as the server gave them. Raises PraxisError.

        A server that does not know tools/list has no tools, whatever it advertised.
        """
        tools: list[Mapping[str, JSON]] = []
        cursors: set[str] = set()
        params: dict[str, JSON] = {}
        while True:
            try:
                result = await self.request("tools/list", params, what="tools/list", timeout=timeout)
            except PraxisError as error:
                if error.data.get("jsonrpc", {}).get("code") != jsonrpc.METHOD_NOT_FOUND:
                    raise
                return tools
            page, cursor = mcp.tools_page(result)
            tools += page
            if cursor is None:
                return tools
            if cursor in cursors or len(cursors) + 1 == MAX_PAGES or len(tools) > MAX_TOOLS:
                logger.warning(
                    "MCP server %s: its list of tools does not end; the first %d are used", self._server, MAX_TOOLS
                )
                return tools[:MAX_TOOLS]
            cursors.add(cursor)
            params = {"cursor": cursor}

    async def _give_up(self, id: int, call: _Call, method: str, reason: str) -> None:
        if self._outbox.withdraw(call.line) or method == "initialize" or not self.open:
            self._session.forget(id)
            return
        notice = self._outbox.put_urgent(self._session.cancel(id, reason))
        with trio.move_on_after(CANCEL_LIMIT, shield=True):
            await notice.done.wait()

    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # It has mostly ended then, and may have said something before.
            self.hang_up("", patience=LAST_WORDS)

    async def _read(self) -> None:
        try:
            while data := await self._stdout.receive_some():
                for happening in self._session.receive(bytes(data)):
                    self._take(happening)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as good as the end

    def _take(self, happening: mcp.Happening) -> None:
        match happening:
            case mcp.Answered(id, result):
                self._calls[id].succeed(result)
            case mcp.Refused(id, code, message, data):
                self._calls[id].fail(_refusal(self._calls[id].what, code, message, data))
            case mcp.TooLong(id, size):
                self._calls[id].fail(
                    PraxisError(
                        "too_large",
                        f"{self._calls[id].what}: its answer of {size} bytes is over the limit",
                        hint="mcp.limits.max_response_size_bytes",
                        delivered=True,
                    )
                )
            case mcp.Garbled(id, problem):
                self._calls[id].fail(
                    PraxisError("internal", f"{self._calls[id].what}: its answer was {problem}", delivered=True)
                )
            case mcp.Progressed(id, params):
                self._progress(self._calls[id], params)
            case mcp.ToolsChanged():
                self._on_tools_changed()
            case mcp.Logged(level, text):
                self._on_text(level, text)
            case mcp.Noise(text, problem):
                self._on_text("noise", f"{problem}: {text}")
            case mcp.Reply(line):
                self._outbox.put_urgent(line)
            case mcp.Broken(size):
                self.hang_up(f"it sent a line of {size} bytes, over the limit, that answers nobody knows which call")

    def _progress(self, call: _Call, params: Mapping[str, JSON]) -> None:
        if call.on_progress is None:
            return
        try:
            call.on_progress(params)
        except Exception:
            logger.exception("MCP server %s: progress of %s could not be passed on", self._server, call.what)
            call.on_progress = None

    def _unavailable(self, detail: str, *, delivered: bool, data: dict[str, JSON]) -> PraxisError:
        return PraxisError("unavailable", f"MCP server {self._server}: {detail}", delivered=delivered, data=data)


def _refusal(what: str, code: int, message: str, data: JSON) -> PraxisError:
    """A server's error in our words. It did get the call, so it may have acted on it."""
    codes: dict[int, Code] = {jsonrpc.INVALID_PARAMS: "invalid", jsonrpc.METHOD_NOT_FOUND: "not_found"}
    given: dict[str, JSON] = {"code": code, "message": message}
    if data is not None:
        given["data"] = data
    detail = f"{what}: the server refuses: {mcp.show(message) or 'no reason given'} ({code})"
    return PraxisError(codes.get(code, "internal"), detail, delivered=True, data={"jsonrpc": given})
