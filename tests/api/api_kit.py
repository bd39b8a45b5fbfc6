"""Whole agents in a thread of their own, so that many tests can ask the same ones over real HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from praxis.access.authorize import Policy
from praxis.api.services import Services
from praxis.app import Agent
from praxis.config.schema import Config, Export
from praxis.dev import RunningAgent
from praxis.model.card import AgentCard
from praxis.model.health import HealthReport
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.observe.metrics import Metrics
from praxis.servers import Servers
from praxis.tools.source import SourceState
from tests.support.network import PATIENCE, connected

T = TypeVar("T")

ANY = {"type": "object"}
COUNT = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "text": {"type": "string"}},
    "required": ["n"],
    "additionalProperties": False,
}


class Hand:
    """The source `hand`, whose tools do as the tests need; `left` and `right` are others with one tool each."""

    def __init__(self, agent: str, name: str = "hand") -> None:
        self.name = name
        self.started, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self.go = trio.Event()
        names = ("echo", "hold", "fail", "outage", "bug") if name == "hand" else ("twin",)
        tools: list[dict[str, JSON]] = [{"name": each, "inputSchema": ANY} for each in names]
        tools += [{"name": "count", "inputSchema": COUNT}] if name == "hand" else []
        self._tools = tuple(Tool(agent, name, definition) for definition in tools)

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready", tools=len(self._tools))

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        if name == "hold":
            go = self.go
            try:
                self.started.release()
                await go.wait()
            finally:
                self.ended.release()
        if name == "fail":
            return ToolResult.of_text("it did not work", is_error=True)
        if name == "outage":
            raise OSError(5, "the disk is gone")
        if name == "bug":
            raise RuntimeError("secret thoughts")
        return ToolResult.of_text(name, structured={"caller": context.caller, **arguments})


@attrs.frozen
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The problem that this reply must be."""
        assert (self.status, self.headers["Content-Type"]) == (status, "application/problem+json"), self.body
        problem = self.json
        assert isinstance(problem, dict)
        assert (problem["status"], problem["code"]) == (status, code)
        assert problem["title"]
        assert problem["detail"]
        return problem


@attrs.frozen(eq=False)
class Served:
    """Running agents. Calls over HTTP go to the first one; `hand` is its source, or of the last one as `far`."""

    folder: Path
    agents: Sequence[RunningAgent]
    hand: Hand
    far: Hand
    leaving: trio.Event
    token: trio.lowlevel.TrioToken

    @property
    def port(self) -> int:
        address = self.agents[0].addresses.http
        assert address is not None
        return address[1]

    def do(self, work: Callable[..., T], *args: Any) -> T:
        """Something in the agents' own thread."""
        return trio.from_thread.run_sync(work, *args, trio_token=self.token)

    @contextmanager
    def connection(self, port: int | None = None) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        try:
            yield connection
        finally:
            connection.close()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, port: int | None = None
    ) -> Reply:
        """One request; `body` bytes are sent as they are, any other value as JSON."""
        sent = dict(headers or {})
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.connection(port) as connection:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def execute(self, dsl: str, **more: Any) -> Reply:
        return self.ask("POST", "/execute", {"dsl": dsl, **more})

    @contextmanager
    def holding(self, dsl: str = "CALL hold", **headers: str) -> Iterator[http.client.HTTPConnection]:
        """A run of `dsl` that is under way: the connection on which its answer will come."""
        sent = {"Content-Type": "application/json", **headers}
        with self.connection() as connection:
            connection.request("POST", "/execute", json.dumps({"dsl": dsl}), sent)
            assert self.hand.started.acquire(timeout=PATIENCE)
            yield connection

    def release(self) -> None:
        """Let every tool that holds end; those that are called from now on hold again."""
        go, self.hand.go = self.hand.go, self.do(trio.Event)
        self.do(go.set)

    @contextmanager
    def good_call(self, **headers: str) -> Iterator[None]:
        """A good call that is under way all the while, and must succeed."""
        with self.holding("CALL hold --kept true", **headers) as connection:
            yield
            self.release()
            answer = connection.getresponse()
            run = json.loads(answer.read())
            assert (answer.status, run["status"]) == (200, "succeeded"), run
            assert run["result"]["structuredContent"]["kept"] in (True, "true")
            assert self.hand.ended.acquire(timeout=PATIENCE)


def services_of(agent: Agent, **changes: Any) -> Services:
    """What the routes need of a running agent, for plain calls."""
    services = Services(
        executor=agent.executor,
        asking=agent.asking,
        history=agent.history,
        cache=agent.executor.cache,
        background=agent.background,
        bus=agent.bus,
        metrics=Metrics(),
        policy=Policy(Export()),
        card=lambda: AgentCard("agent-1", "1", "", "", "px"),
        health=lambda: HealthReport("agent-1", "9", 61.5, {}),
        peers=agent.peers,
        network=agent.member,
        info=dict,
        reload=agent.reloading.reload,
        sources=agent.registry.sources,
        servers=Servers(agent.mcp, agent.reloading.change_servers, enabled=True, base_dir=Path.cwd()),
        draining=lambda: False,
    )
    return attrs.evolve(services, **changes)


@contextmanager
def serving(
    folder: Path, size: int = 1, *, change: Callable[[Config], Config] = lambda config: config
) -> Iterator[Served]:
    """Agents that know each other, with the tools of `Hand`; over when the block is left."""
    ready: Future[Served] = Future()

    async def main() -> None:
        async with connected(folder, size, change=change) as agents:
            hands = [Hand(one.addresses.agent) for one in agents]
            for one, hand in zip(agents, hands, strict=True):
                one.agent.registry.add(hand)
            for name in ("left", "right"):
                agents[0].agent.registry.add(Hand(agents[0].addresses.agent, name))
            if size > 1:
                first = agents[0].agent.peers
                await first.wait_change(lambda: all(any(t.name == "hold" for t in o.tools) for o in first.owners()))
            leaving, token = trio.Event(), trio.lowlevel.current_trio_token()
            ready.set_result(Served(folder, agents, hands[0], hands[-1], leaving, token))
            await leaving.wait()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trio.run, main)
        either: list[Future[Any]] = [ready, running]
        wait(either, PATIENCE, FIRST_COMPLETED)
        if running.done():
            running.result()
        served = ready.result(0)
        try:
            yield served
        finally:
            served.do(served.leaving.set)
            running.result(PATIENCE)
