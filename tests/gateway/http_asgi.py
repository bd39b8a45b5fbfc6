"""Callers of the HTTP application without a socket, and a service whose tools do as the tests need."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from praxis.access.principal import Principal
from praxis.gateway.http import StreamableHttp
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.observe.metrics import Metrics
from praxis.tools.service import Description, McpService, Notice
from praxis.wire.mcp_eras import META_CAPABILITIES, META_LOG_LEVEL, META_VERSION

LOCAL = Principal("local", "local", "admin")
MODERN = "2026-07-28"
QUESTION = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
CHANGED = "notifications/tools/list_changed"


class Puppet:
    """A service with tools alone. Its calls are counted, and what they were given is kept."""

    def __init__(self, capabilities: Mapping[str, JSON] | None = None) -> None:
        self.capabilities = capabilities if capabilities is not None else {"tools": {"listChanged": True}}
        self.schema: dict[str, JSON] = {"type": "object", "properties": {}}
        self.running = 0
        self.cancelled = 0
        self.calls: list[tuple[Mapping[str, JSON], CallContext]] = []
        self.notices: list[Notice] = []
        self.wanted: list[Mapping[str, JSON]] = []
        self.go = trio.Event()
        self.deaf = False

    def describe(self) -> Description:
        return Description({"name": "puppet", "version": "1"}, self.capabilities)

    def tool_schema(self, name: str) -> Mapping[str, JSON] | None:
        return self.schema

    @asynccontextmanager
    async def subscribe(self, wanted: Mapping[str, JSON], on_notice: Notice) -> AsyncIterator[Mapping[str, JSON]]:
        if self.deaf:
            raise RuntimeError("no ears")
        self.notices.append(on_notice)
        self.wanted.append(wanted)
        try:
            yield wanted
        finally:
            self.notices.remove(on_notice)
            self.wanted.remove(wanted)

    def change(self) -> None:
        for notice in self.notices:
            notice(CHANGED, {})

    async def request(self, method: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        self.calls.append((params, context))
        if method == "tools/list":
            return {"tools": [{"name": "x", "inputSchema": self.schema}]}
        if method != "tools/call":
            return {"answered": method}
        self.running += 1
        try:
            return await self._act(str(params["name"]), params, context)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _act(self, name: str, params: Mapping[str, JSON], context: CallContext) -> Mapping[str, JSON]:
        said: JSON = params.get("arguments", {})
        match name:
            case "hold":
                await self.go.wait()
            case "slow":
                await trio.sleep(8)
            case "tell":
                for done in range(2):
                    if context.on_progress:
                        context.on_progress({"progress": done})
                for level in ("debug", "error"):
                    if context.on_log:
                        context.on_log({"level": level, "data": level})
            case "flood":
                for done in range(2000):
                    if context.on_progress:
                        context.on_progress({"progress": done})
            case "detach":
                assert context.detach is not None
                context.detach()
                await self.go.wait()
            case "ask":
                if context.ask is None:
                    return {"content": [], "isError": True}
                said = await context.ask("elicitation/create", QUESTION)
            case "ask two":
                said = {}
                assert context.ask is not None
                ask = context.ask

                async def one(key: str) -> None:
                    said[key] = await ask("elicitation/create", {**QUESTION, "message": key})

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one, "a")
                    nursery.start_soon(one, "b")
            case "ask roots":
                assert context.ask is not None
                said = await context.ask("roots/list", {})
            case "need" | "need without end":
                given = context.input or {}
                if name != "need" or "who" not in given.get("inputResponses", {}):
                    asked = {"who": {"method": "elicitation/create", "params": QUESTION}}
                    return {"resultType": "input_required", "inputRequests": asked, "requestState": "my state"}
                said = given
            case "bug":
                raise RuntimeError("secret thoughts")
            case "refuse":
                raise PraxisError("denied", "no", data={"jsonrpc": {"code": 7, "message": "never", "data": [1]}})
        return {"content": [{"type": "text", "text": json.dumps(said)}]}


@attrs.define(eq=False)
class Answer:
    """What has been answered so far. `over` once it is all there."""

    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    over: trio.Event = attrs.field(factory=trio.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, str]]:
        """The server-sent events, each with its fields."""
        found = []
        for block in self.body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and line)
            if fields:
                found.append(fields)
        return found

    @property
    def messages(self) -> list[Any]:
        return [json.loads(event["data"]) for event in self.events if event.get("data")]

    @property
    def error(self) -> Any:
        return self.json["error"]


@attrs.define(eq=False)
class Asking:
    """A request that is under way."""

    answer: Answer
    hang_up: Callable[[], None]


class Browser:
    """Sends requests to the application, as many connections as need be."""

    def __init__(self, app: Any, nursery: trio.Nursery) -> None:
        self.app = app
        self.principal = LOCAL
        self.broken = False
        self._nursery = nursery

    def start(self, method: str, body: Any = None, path: str = "/mcp", query: str = "", **headers: str) -> Asking:
        """Send a request; bytes go as they are, any other body as JSON."""
        sent = {"accept": "application/json, text/event-stream", **headers}
        if method == "POST":
            sent.setdefault("content_type", "application/json")
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items() if value]
        scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": raw, "who": self.principal}
        scope["query_string"] = query.encode()
        answer, gone, taken = Answer(), trio.Event(), False
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

        async def receive() -> Any:
            nonlocal taken
            if not taken:
                taken = True
                return {"type": "http.request", "body": data, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            if self.broken:
                raise OSError("the connection broke while something was sent")
            assert not answer.over.is_set(), "something was sent after the end"
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode().title(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                if not message.get("more_body"):
                    answer.over.set()

        async def run() -> None:
            with suppress(OSError):
                await self.app(scope, receive, send)

        self._nursery.start_soon(run)
        return Asking(answer, gone.set)

    async def ask(self, method: str, body: Any = None, path: str = "/mcp", query: str = "", **headers: str) -> Answer:
        """Send a request and wait for the whole answer."""
        asking = self.start(method, body, path, query, **headers)
        await asking.answer.over.wait()
        return asking.answer

    # -- 2026-07-28 --

    def start_modern(
        self, method: str, params: Mapping[str, Any] | None = None, *, id: Any = 1, **headers: str
    ) -> Asking:
        params = dict(params or {})
        meta = {META_VERSION: MODERN, META_CAPABILITIES: params.pop("can", {}), **params.pop("_meta", {})}
        sent = {"mcp_protocol_version": MODERN, "mcp_method": method}
        if "name" in params:
            sent["mcp_name"] = params["name"]
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
        return self.start("POST", body, **{**sent, **headers})

    async def modern(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Answer:
        asking = self.start_modern(method, params, **more)
        await asking.answer.over.wait()
        return asking.answer

    def start_call(self, name: str, *, level: str = "", token: Any = None, **params: Any) -> Asking:
        meta = ({META_LOG_LEVEL: level} if level else {}) | ({} if token is None else {"progressToken": token})
        return self.start_modern("tools/call", {"name": name, "_meta": meta, **params})

    async def call(self, name: str, **params: Any) -> Answer:
        asking = self.start_call(name, **params)
        await asking.answer.over.wait()
        return asking.answer


@attrs.define(eq=False)
class Client:
    """A client of the handshake era with a session."""

    browser: Browser
    session: str
    version: str

    def start(self, message: Any, method: str = "POST", **headers: str) -> Asking:
        sent = {"mcp_session_id": self.session, "mcp_protocol_version": self.version}
        return self.browser.start(method, message, **{**sent, **headers})

    async def send(self, message: Any, **headers: str) -> Answer:
        asking = self.start(message, **headers)
        await asking.answer.over.wait()
        return asking.answer

    async def ask(self, method: str, id: Any = 1, **params: Any) -> Answer:
        return await self.send(request(method, id, **params))

    def call(self, name: str, id: Any = 1, **params: Any) -> Asking:
        return self.start(request("tools/call", id, name=name, **params))

    async def tell(self, method: str, **params: Any) -> Answer:
        return await self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def respond(self, id: Any, result: Any) -> Answer:
        return await self.send({"jsonrpc": "2.0", "id": id, "result": result})


def request(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


@attrs.define(eq=False)
class Setting:
    puppet: Puppet
    browser: Browser
    metrics: Metrics
    stopping: trio.Event

    async def connect(self, version: str = "2025-11-25", **capabilities: Any) -> Client:
        hello = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}}
        answer = await self.browser.ask("POST", request("initialize", 0, **hello))
        assert answer.status == 200, answer.body
        return Client(self.browser, answer.headers["Mcp-Session-Id"], answer.json["result"]["protocolVersion"])


@asynccontextmanager
async def endpoint(puppet: Puppet | None = None) -> AsyncIterator[Setting]:
    """The application at /mcp, with a puppet behind it."""
    served, metrics, stopping = puppet or Puppet(), Metrics(), trio.Event()

    async def choose(path: str, principal: Principal) -> McpService | None:
        return served if path in ("/mcp", "/mcp/servers/one") else None

    app = StreamableHttp(choose, principal_of=lambda scope: scope["who"], key=b"k" * 32, metrics=metrics)
    async with trio.open_nursery() as nursery:
        await nursery.start(app.run, stopping)
        yield Setting(served, Browser(app, nursery), metrics, stopping)
        nursery.cancel_scope.cancel()


async def settled() -> None:
    """Until nothing more happens by itself."""
    await wait_all_tasks_blocked()
