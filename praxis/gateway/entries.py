"""Resources and prompts of many sources side by side: how they are named, and the lists of all of them.

A resource is ``praxis://AGENT/SOURCE/`` and its own URI behind that, as it is, so a template stays one. A prompt is
named as tools are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence

import trio

from praxis.access.principal import Principal
from praxis.gateway.names import exported
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext
from praxis.workflow.sources import SourceAt, Sources

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for one source to list what it has; one that takes longer is left out."""
MAX_PAGES, MAX_ENTRIES = 20, 2000
"""Pages and entries of one source's list."""
KINDS = {
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("resources", "resourceTemplates"),
    "prompts/list": ("prompts", "prompts"),
}
"""By method: the capability of a source that has such a list, and what it is called in the answer."""
_URI = re.compile(r"praxis://([^/]+)/([^/]+)/(.+)", re.DOTALL)

Entry = tuple[SourceAt, Mapping[str, JSON]]


def exported_uri(agent: str, source: str, uri: str) -> str:
    """The name of a source's resource among all."""
    return f"praxis://{agent}/{source}/{uri}"


def split_uri(uri: str) -> tuple[str, str, str] | None:
    """Agent, source and the source's own URI; None for another one."""
    found = _URI.fullmatch(uri)
    return (found[1], found[2], found[3]) if found else None


class Entries:
    """What all sources have besides tools, for one principal; `agent` is the name of the serving one."""

    def __init__(
        self, agent: str, sources: Sources, principal: Principal, has: Callable[[SourceAt], bool] = lambda source: True
    ) -> None:
        """`has` says whether a source is among those that are meant."""
        self._has = has
        self._agent = agent
        self._sources = sources
        self._principal = principal

    def agent_of(self, source: SourceAt) -> str:
        """Whose a source is."""
        return source.agent or self._agent

    async def listed(self, method: str) -> list[dict[str, JSON]]:
        """The entries of all sources, under the names that they have here."""
        if method == "prompts/list":
            return [{**entry, "name": self.prompt_name(source, entry)} for source, entry in await self.all(method)]
        key = "uri" if method == "resources/list" else "uriTemplate"
        return [
            {**entry, key: exported_uri(self.agent_of(source), source.name, str(entry[key]))}
            for source, entry in await self.all(method)
            if isinstance(entry.get(key), str)
        ]

    def prompt_name(self, source: SourceAt, entry: Mapping[str, JSON]) -> str:
        """A prompt's name here."""
        return exported(self._agent, source.agent, source.name, str(entry.get("name")))

    async def prompt(self, name: str) -> Entry | None:
        """The prompt of this name, and whose it is."""
        for source, entry in await self.all("prompts/list"):
            if self.prompt_name(source, entry) == name:
                return source, entry
        return None

    async def resource(self, uri: str) -> tuple[SourceAt, str] | None:
        """Whose a resource is, and its URI there: by its name here, or by its own URI if one source alone has it.

        Raises PraxisError("ambiguous") where several have it.
        """
        if (parts := split_uri(uri)) is not None:
            agent, name, own = parts
            at = (await self._sources.find(self._principal, agent, name)).at
            return (at, own) if self._has(at) else None
        having = [source for source, entry in await self.all("resources/list") if entry.get("uri") == uri]
        if len(having) > 1:
            names = [exported_uri(self.agent_of(source), source.name, uri) for source in having]
            raise PraxisError("ambiguous", f"{len(having)} sources have this resource", hint=", ".join(names)[:400])
        return (having[0], uri) if having else None

    async def all(self, method: str) -> list[Entry]:
        """The entries of all sources as they are there. One that does not answer in time has none, and is logged."""
        capability, _ = KINDS[method]
        everywhere = await self._sources.everywhere()
        sources = [s for s in everywhere if capability in s.description.capabilities and self._has(s)]
        found: dict[int, list[Mapping[str, JSON]]] = {}

        async def look(number: int, source: SourceAt) -> None:
            try:
                with trio.fail_after(PATIENCE):
                    found[number] = await self._pages(source, method)
            except (PraxisError, trio.TooSlowError) as error:
                logger.info("%s of %s is left out: %s", method, source.name, error or "no answer in time")

        async with trio.open_nursery() as nursery:
            for number, source in enumerate(sources):
                nursery.start_soon(look, number, source)
        return [(source, entry) for number, source in enumerate(sources) for entry in found.get(number, ())]

    async def _pages(self, source: SourceAt, method: str) -> list[Mapping[str, JSON]]:
        service = await self._sources.find(self._principal, source.agent, source.name)
        _, key = KINDS[method]
        entries: list[Mapping[str, JSON]] = []
        params: dict[str, JSON] = {}
        for _ in range(MAX_PAGES):
            result = await service.request(method, params, CallContext(self._principal.name))
            page: Sequence[JSON] = result[key] if isinstance(result.get(key), list) else ()
            entries += [entry for entry in page if isinstance(entry, Mapping)]
            if not isinstance(result.get("nextCursor"), str) or len(entries) >= MAX_ENTRIES:
                break
            params = {"cursor": result["nextCursor"]}
        return entries[:MAX_ENTRIES]
