"""An A2A agent somewhere else as a source of tools: one for each of its skills, and `ask` for the agent as a whole.

States::

    starting --its card has come--> ready --it does not come--> backing off --pause--> looks again ...
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence

import trio

from praxis.config.schema import A2aAgent
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.tools.a2a_call import AgentCall
from praxis.tools.a2a_http import AgentHttp
from praxis.tools.show import quoted, short
from praxis.tools.source import SourceState, State
from praxis.wire.a2a_foreign_card import CardError, ForeignCard, Skill

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Calls of one agent at once; more wait."""
FIRST_PAUSE, MAX_PAUSE = 0.5, 30.0
"""Seconds between two looks at an agent that does not show its card, doubled each time."""
REFRESH = 60.0
"""Seconds between two looks at the card of one that does, which costs little where the card has an ETag."""
CALM = 1.0
"""Seconds in which calls do not look again at an agent that was not there."""
CLOSE_LIMIT = 2.0
"""Seconds to close connections."""
ASK = "ask"
_SCHEMA: dict[str, JSON] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1, "description": "What the agent is told, in its own words"},
        "data": {"type": "object", "description": "What goes with it for a program to read"},
    },
    "required": ["message"],
    "additionalProperties": False,
}


def tools_of(card: ForeignCard, agent: str, source: str) -> Iterator[tuple[str, Tool]]:
    """The tools of an agent, no two of one name, each with the skill that it is, "" for the agent as a whole."""
    taken: set[str] = set()
    everything = Skill("", card.description or f"The A2A agent {card.name}")
    for skill in (*card.skills, everything):
        name = _fit(skill.id) if skill.id else ASK
        if name in taken and not skill.id:
            continue  # one of its skills is called so, and takes a message as this would
        stem, number = name, 1
        while name in taken:
            number += 1
            name = f"{stem[:120]}_{number}"
        taken.add(name)
        definition: dict[str, JSON] = {
            "name": name,
            "description": skill.description or f"The skill {skill.id} of {card.name}",
            "inputSchema": _SCHEMA,
            "annotations": {"openWorldHint": True},
        }
        yield skill.id, Tool(agent, source, definition)


def _fit(id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", id)[:128]


class A2aSource:
    """The source that is named as its entry is. `on_change` and `on_state` must not block."""

    def __init__(
        self,
        config: A2aAgent,
        agent: str,
        *,
        on_change: Callable[[], None],
        on_state: Callable[[SourceState], None] = lambda state: None,
    ) -> None:
        self.name = config.name
        self._config = config
        self._agent = agent
        self._on_change = on_change
        self._on_state = on_state
        self._http = AgentHttp(config)
        self._card: ForeignCard | None = None
        self._tools: dict[str, tuple[str, Tool]] = {}
        self._shown: tuple[Tool, ...] = ()
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._state: State = "starting" if config.enabled else "disabled"
        self._reason = "" if config.enabled else "a2a.agents[].enabled is false"
        self._turn = trio.Lock()
        self._looked = -CALM
        self._doubt = trio.Event()

    def tools(self) -> Sequence[Tool]:
        """Those of the last card that has come."""
        return self._shown

    def state(self) -> SourceState:
        version = self._card.version if self._card is not None else ""
        return SourceState(
            self.name, "a2a", self._state, self._reason, len(self._shown), transport="http", protocol=version
        )

    @property
    def waiting(self) -> int:
        return self._limiter.statistics().tasks_waiting

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at the card now and then until cancelled. Started at once, whether the agent answers or not."""
        task_status.started()
        pause = FIRST_PAUSE
        try:
            while self._config.enabled:
                self._doubt = trio.Event()
                found = await self._look()
                with trio.move_on_after(REFRESH if found else pause):
                    await self._doubt.wait()
                pause = FIRST_PAUSE if found else min(2 * pause, MAX_PAUSE)
        finally:
            with trio.move_on_after(CLOSE_LIMIT, shield=True):
                await self._http.aclose()

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Send the message, wait for the end of the task. A task that fails is a result with isError.

        Raises PraxisError: ``not_found`` for a skill that the agent does not have, ``unavailable`` while it cannot be
        reached, and what `AgentCall.run` raises. Cancelling the call cancels the task.
        """
        async with self._limiter:
            card = await self._reach()
            skill, tool = self._tools.get(name, ("", None))
            if tool is None:
                raise PraxisError("not_found", f"A2A agent {self.name} has no skill {quoted(name)}")
            call = AgentCall(self._http, card, f"{self.name}/{name}", context, self._config.timeout)
            try:
                return await call.run(arguments["message"], arguments.get("data"), skill)
            except PraxisError as error:
                if error.code in ("unavailable", "not_found"):
                    self._doubt.set()
                raise

    async def _reach(self) -> ForeignCard:
        # An agent that is back is not kept waiting for the next look.
        if self._state in ("starting", "backing off"):
            await self._look(calm=CALM)
        if self._card is None or self._state != "ready":
            why = f": {self._reason}" if self._reason else ""
            raise PraxisError("unavailable", f"A2A agent {self.name} is {self._state}{why}")
        return self._card

    async def _look(self, calm: float = 0.0) -> bool:
        """Whether the card comes, and can be used; what was seen in the last `calm` seconds is good enough."""
        async with self._turn:
            if trio.current_time() - self._looked < calm:  # calls that have waited for one look share it
                return self._state == "ready"
            try:
                card = await self._http.fetch_card()
            except (OSError, CardError) as error:
                self._looked = trio.current_time()
                self._set("backing off", short(str(error), 500))
                return False
            self._looked = trio.current_time()
            if card is not self._card:
                self._adopt(card)
            self._set("ready", "")
            return True

    def _adopt(self, card: ForeignCard) -> None:
        """A tool stays the same object as long as its definition is the same."""
        before, self._tools, self._card = self._tools, {}, card
        for skill, tool in tools_of(card, self._agent, self.name):
            old = before.get(tool.name)
            same = old is not None and old[1].digest == tool.digest
            self._tools[tool.name] = (skill, old[1] if same and old is not None else tool)
        self._shown = tuple(tool for _, tool in self._tools.values())
        self._on_change()

    def _set(self, state: State, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        if state == "ready":
            version = self._card.version if self._card is not None else ""
            logger.info("A2A agent %s: ready with %d tools, A2A %s", self.name, len(self._shown), version)
        else:
            logger.warning("A2A agent %s: %s", self.name, reason)
        self._state, self._reason = state, reason
        self._on_state(self.state())
