"""Declared tools that are containers: the source, and the engine that it looks for.

States::

    starting --an engine answers--> ready --it does not--> backing off --pause--> looks again ...
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import trio

from praxis.config.schema import DeclaredTool
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.tools.container_engine import Engine
from praxis.tools.container_run import REMOVE_LIMIT, describe, run_container
from praxis.tools.declared import definition, hand_over
from praxis.tools.program_output import ProgramOutput
from praxis.tools.show import quoted, short
from praxis.tools.source import SourceState, State

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Containers at once; more wait. With the default memory limit they need 4 GB."""
FIRST_PAUSE, MAX_PAUSE = 0.5, 30.0
"""Seconds between two looks for an engine, doubled each time."""
CHECK = 30.0
"""Seconds between two looks at an engine that is there; a call that fails makes it happen at once."""
CALM = 1.0
"""Seconds in which calls do not look again for an engine that was not there."""
LABEL = "praxis.agent"
USUAL = (Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))


def sockets(configured: Path | None, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where an engine may be. Raises ValueError for a DOCKER_HOST that is no unix socket."""
    host = environ.get("DOCKER_HOST", "")
    if configured is not None:
        yield configured
    elif host:
        scheme, _, path = host.partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise ValueError(f"DOCKER_HOST is {short(host)}, and only unix:///PATH is spoken here")
        yield Path(path)
    else:
        yield from USUAL
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            yield Path(runtime, "podman", "podman.sock")


class ContainerTools:
    """The source ``container``.

    Containers bear the label ``praxis.agent`` with `agent_id`, which is this agent's alone: what bears it and belongs
    to no call is removed whenever an engine is found. `on_state` must not block.
    """

    name = "container"

    def __init__(
        self,
        tools: Sequence[DeclaredTool],
        agent: str,
        agent_id: str,
        *,
        socket: Path | None,
        on_state: Callable[[SourceState], None] = lambda state: None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._declared = {tool.name: tool for tool in tools}
        self._tools = tuple(Tool(agent, self.name, definition(tool)) for tool in tools)
        self._agent_id = agent_id
        self._socket = socket
        self._on_state = on_state
        self._environ = environ
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._state: State = "starting"
        self._reason = "no engine has been looked for yet"
        self._engine: Engine | None = None
        self._turn = trio.Lock()
        self._looked = -CALM
        self._doubt = trio.Event()
        self._active: set[str] = set()

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def state(self) -> SourceState:
        return SourceState(self.name, "container", self._state, self._reason, len(self._tools))

    @property
    def waiting(self) -> int:
        return self._limiter.statistics().tasks_waiting

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for an engine, and after it, until cancelled. Started at once, whether there is one or not."""
        task_status.started()
        pause = FIRST_PAUSE
        try:
            while True:
                self._doubt = trio.Event()
                found = await self._look()
                with trio.move_on_after(CHECK if found else pause):
                    await self._doubt.wait()
                pause = FIRST_PAUSE if found else min(2 * pause, MAX_PAUSE)
        finally:
            if self._engine is not None:
                with trio.move_on_after(1, shield=True):
                    await self._engine.aclose()

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Run a container; its standard output is the result, and a status other than 0 a result with isError.

        Raises PraxisError: ``not_found`` for another name, ``invalid`` for arguments that no program can get,
        ``unavailable`` without an engine or an image, ``timeout``. The container is gone when this ends, however.
        """
        tool = self._declared.get(name)
        if tool is None:
            raise PraxisError("not_found", f"there is no tool {quoted(name)} in {self.name}")
        handed = hand_over(tool, arguments)
        passed = {name: self._environ[name] for name in tool.env_passthrough if name in self._environ}
        hidden = (*tool.env.values(), *tool.secrets.values(), *passed.values())
        output = ProgramOutput(f"{self.name}/{name}", context, hidden)
        environment = passed | tool.env | dict(handed.environment)
        body = describe(tool, environment, {LABEL: self._agent_id, "praxis.tool": name})
        async with self._limiter:
            engine = await self._reach()
            container = f"praxis-{secrets.token_hex(8)}"
            self._active.add(container)
            try:
                return await run_container(engine, container, tool, body, handed.stdin, output)
            except OSError as error:
                # Before the program ran: what comes later is told as it is.
                self._doubt.set()
                where = f"{self.name}/{name}: the engine on {engine.socket}"
                raise PraxisError("unavailable", f"{where}: {error}") from error
            finally:
                self._active.discard(container)

    async def _reach(self) -> Engine:
        if self._engine is None and trio.current_time() - self._looked >= CALM:
            await self._look()
        if self._engine is None:
            raise PraxisError(
                "unavailable",
                f"there is no container engine: {self._reason}",
                hint="start Docker or Podman, or say with `containers.socket` where it is",
            )
        return self._engine

    async def _look(self) -> bool:
        """Whether an engine answers. One that answers anew has the leftovers of this agent removed."""
        async with self._turn:
            reasons: list[str] = []
            try:
                candidates = [*sockets(self._socket, self._environ)]
            except ValueError as error:
                candidates, reasons = [], [str(error)]
            for socket in candidates:
                known = self._engine
                engine = known if known is not None and known.socket == socket else Engine(socket)
                try:
                    await engine.ping()
                    if engine is not known:
                        await self._tidy(engine)
                except OSError as error:
                    reasons.append(str(error) if str(socket) in str(error) else f"{socket}: {error}")
                    await engine.aclose()
                    continue
                except BaseException:
                    await engine.aclose()  # which takes no time, also when it is cancelled
                    raise
                self._looked = trio.current_time()
                self._engine = engine
                self._set("ready", "")
                return True
            self._looked = trio.current_time()
            self._engine = None
            self._set("backing off", "; ".join(reasons))
            return False

    async def _tidy(self, engine: Engine) -> None:
        """Remove what earlier runs of this agent have left, and calls that could not reach the engine any more."""
        left = [each for each, name in await engine.labelled(f"{LABEL}={self._agent_id}") if name not in self._active]
        for container in left:
            with trio.move_on_after(REMOVE_LIMIT):
                await engine.remove(container)
        if left:
            logger.info("removed %d containers that were left behind", len(left))

    def _set(self, state: State, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        if state == "ready" and self._engine is not None:
            logger.info("the container engine on %s is ready", self._engine.socket)
        else:
            logger.warning("no container engine: %s", reason)
        self._state, self._reason = state, reason
        self._on_state(self.state())
