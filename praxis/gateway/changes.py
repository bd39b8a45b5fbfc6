"""What changes behind the agent's MCP endpoint: its tools, and what its sources and those of others tell."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from praxis.access.principal import Principal
from praxis.gateway.entries import exported_uri, split_uri
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.observe.events import EventBus
from praxis.tools.service import Notice
from praxis.workflow.sources import SourceAt, Sources

logger = logging.getLogger(__name__)

MAX_FOLLOWED = 256
"""Sources that one caller's subscription follows."""
LISTS = {
    "resourcesListChanged": "notifications/resources/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
}
TOOLS, UPDATED = "notifications/tools/list_changed", "notifications/resources/updated"


class Changes:
    """`listed` gives the same object until the list of tools changes."""

    def __init__(self, agent: str, sources: Sources, listed: Callable[[], object], bus: EventBus) -> None:
        self._agent = agent
        self._sources = sources
        self._listed = listed
        self._bus = bus

    @asynccontextmanager
    async def subscribe(
        self,
        principal: Principal,
        wanted: Mapping[str, JSON],
        on_notice: Notice,
        has: Callable[[SourceAt], bool] = lambda source: True,
    ) -> AsyncIterator[Mapping[str, JSON]]:
        """See `praxis.tools.service.McpService`. A source that cannot be followed changes nothing for the others.

        `has` says whether a source is among those that are meant.
        """
        lists: dict[str, JSON] = {key: True for key in LISTS if wanted.get(key) is True}
        watched = _by_source(wanted.get("resourceSubscriptions"))
        honoured = dict(lists)
        if wanted.get("toolsListChanged") is True:
            honoured["toolsListChanged"] = True
        if watched:
            uris = [exported_uri(*place, uri) for place, own in watched.items() for uri in own]
            honoured["resourceSubscriptions"] = uris
        async with trio.open_nursery() as nursery:
            if honoured:
                await nursery.start(self._watch, honoured, on_notice)
            everywhere = await self._sources.everywhere() if lists or watched else []
            for source in list(filter(has, everywhere))[:MAX_FOLLOWED]:
                asked = dict(lists)
                if own := watched.get((source.agent or self._agent, source.name)):
                    asked["resourceSubscriptions"] = own
                nursery.start_soon(self._follow, principal, source, asked, on_notice)
            yield honoured
            nursery.cancel_scope.cancel()

    async def _watch(
        self, honoured: Mapping[str, JSON], on_notice: Notice, *, task_status: trio.TaskStatus[None]
    ) -> None:
        shown = self._listed()
        with self._bus.subscribe(types=["tools.changed", "peer"], limit=8) as events:
            task_status.started()
            while True:
                batch = await events.receive()
                now = self._listed()
                if now is not shown and "toolsListChanged" in honoured:
                    on_notice(TOOLS, {})
                shown = now
                if any(event.type in ("peer.connected", "peer.disconnected") for event in batch.events):
                    for key, method in LISTS.items():
                        if key in honoured:
                            on_notice(method, {})

    async def _follow(
        self, principal: Principal, source: SourceAt, wanted: Mapping[str, JSON], on_notice: Notice
    ) -> None:
        agent = source.agent or self._agent

        def tell(method: str, params: Mapping[str, JSON]) -> None:
            if method == UPDATED and isinstance(params.get("uri"), str):
                on_notice(method, {**params, "uri": exported_uri(agent, source.name, params["uri"])})
            elif method in LISTS.values():
                on_notice(method, params)

        try:
            service = await self._sources.find(principal, source.agent, source.name)
            async with service.subscribe(wanted, tell):
                await trio.sleep_forever()
        except* PraxisError as group:
            logger.info("changes of %s are not heard: %s", source.name, group.exceptions[0])


def _by_source(uris: JSON) -> dict[tuple[str, str], list[str]]:
    """The sources' own URIs, by agent and source."""
    found: dict[tuple[str, str], list[str]] = {}
    for uri in uris if isinstance(uris, list) else ():
        if isinstance(uri, str) and (parts := split_uri(uri)) is not None:
            found.setdefault(parts[:2], []).append(parts[2])
    return found
