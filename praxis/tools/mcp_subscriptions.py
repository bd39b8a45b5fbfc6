"""Who wants to hear of changes on one MCP server, and how the server is asked for them in its own era.

Subscribers stay when the server is started again. They are then told that everything may have changed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import attrs
import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.mcp_connection import Connection
from praxis.tools.mcp_upstream import Upstream, is_unknown
from praxis.tools.service import Notice
from praxis.wire.mcp_eras import CHANGES, META_SUBSCRIPTION

logger = logging.getLogger(__name__)

MAX_SUBSCRIBERS = 1024
"""Subscribers of one server: as many as clients that an agent serves at once."""
MAX_URIS = 1024
"""Resources that one server is asked to watch."""
FIRST_PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds before a stream of changes that has ended is asked for again; doubled each time."""

Wanted = Mapping[str, JSON]
URIS = "resourceSubscriptions"


@attrs.frozen(eq=False)
class _Subscriber:
    wanted: Wanted
    on_notice: Notice


class Subscriptions:
    """Of one server. `on_notice` hears of all notifications of changes, before the subscribers."""

    def __init__(self, server: str, on_notice: Callable[[str], None]) -> None:
        self._server = server
        self._on_notice = on_notice
        self._subscribers: list[_Subscriber] = []
        self._asked: set[str] = set()  # of a server of the handshake era, in its session
        self._changed = trio.Event()

    @contextmanager
    def subscribe(self, wanted: Wanted, on_notice: Notice, capabilities: Mapping[str, JSON]) -> Iterator[Wanted]:
        """Hear of what is wanted; gives the part of it that a server with these capabilities honours.

        Raises PraxisError("busy") when there are too many.
        """
        honoured = _honoured(wanted, capabilities)
        total = len({*self._uris(), *honoured.get(URIS, ())})
        if len(self._subscribers) >= MAX_SUBSCRIBERS or total > MAX_URIS:
            raise PraxisError("busy", f"MCP server {self._server}: too many subscriptions")
        subscriber = _Subscriber(honoured, on_notice)
        self._subscribers.append(subscriber)
        self._changed.set()
        try:
            yield honoured
        finally:
            self._subscribers.remove(subscriber)
            self._changed.set()

    def deliver(self, method: str, params: Mapping[str, JSON]) -> None:
        """Pass a notification on to whoever wants it. One that fails harms nobody else."""
        kind = CHANGES.get(method)
        if kind is None:
            return
        self._on_notice(method)
        meta = params.get("_meta")
        if isinstance(meta, Mapping) and META_SUBSCRIPTION in meta:
            rest = {name: value for name, value in meta.items() if name != META_SUBSCRIPTION}
            params = {**{k: v for k, v in params.items() if k != "_meta"}, **({"_meta": rest} if rest else {})}
        for subscriber in [one for one in self._subscribers if one.wanted.get(kind)]:
            if kind == URIS and params.get("uri") not in subscriber.wanted[URIS]:
                continue
            try:
                subscriber.on_notice(method, params)
            except Exception:
                logger.exception("MCP server %s: %s could not be passed on", self._server, method)

    def restarted(self) -> None:
        """There is a new session: nothing has been asked for in it, and whatever happened in between was not told."""
        self._asked = set()
        self._changed.set()
        for method, kind in CHANGES.items():
            if kind != URIS:
                self.deliver(method, {})
        for uri in self._uris():
            self.deliver("notifications/resources/updated", {"uri": uri})

    async def keep(self, upstream: Upstream) -> None:
        """Have the server tell what is wanted, as that changes, until cancelled or the server will not."""
        if upstream.hello.modern:
            await self._listen(upstream)
        else:
            await self._subscribe(upstream)

    async def _subscribe(self, upstream: Upstream) -> None:
        """The handshake era tells of lists by itself, and of each resource that it is asked for."""
        self._asked = set()
        while True:
            changed = self._changed = trio.Event()
            wanted = set(self._uris())
            asked, self._asked = self._asked, wanted
            for uri in [*sorted(wanted - asked), *sorted(asked - wanted)]:
                method = "resources/subscribe" if uri in wanted else "resources/unsubscribe"
                await self._try(upstream.connection, method, uri)
            await changed.wait()

    async def _try(self, connection: Connection, method: str, uri: str) -> None:
        try:
            await connection.request(method, {"uri": uri}, what=method, timeout=30.0)
        except PraxisError as error:
            logger.info("MCP server %s: %s", self._server, error)

    async def _listen(self, upstream: Upstream) -> None:
        pause = FIRST_PAUSE
        while True:
            changed = self._changed = trio.Event()
            wanted = self._union(upstream.hello.capabilities)
            ended = False
            async with trio.open_nursery() as nursery:

                async def listen(wanted: Wanted = wanted, scope: trio.CancelScope = nursery.cancel_scope) -> None:
                    nonlocal ended
                    ended = not wanted or await self._stream(upstream.connection, wanted)
                    if wanted:
                        scope.cancel()

                nursery.start_soon(listen)
                await changed.wait()
                nursery.cancel_scope.cancel()
            if changed.is_set():
                pause = FIRST_PAUSE
            elif ended:
                await changed.wait()
            else:
                await trio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)

    async def _stream(self, connection: Connection, wanted: Wanted) -> bool:
        """One stream of changes to its end; True if another one would be no use."""
        method = "subscriptions/listen"
        try:
            await connection.request(method, {"notifications": wanted}, what=method, timeout=math.inf)
        except PraxisError as error:
            logger.debug("MCP server %s: %s", self._server, error)
            return is_unknown(error)
        return False

    def _uris(self) -> list[str]:
        return list(dict.fromkeys(uri for one in self._subscribers for uri in one.wanted.get(URIS, ())))

    def _union(self, capabilities: Mapping[str, JSON]) -> dict[str, JSON]:
        """What all of them want together, and the list of tools, which is wanted anyway."""
        kinds = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
        wanted: dict[str, JSON] = {
            kind: True
            for kind in kinds
            if kind == "toolsListChanged" or any(one.wanted.get(kind) for one in self._subscribers)
        }
        return _honoured({**wanted, URIS: self._uris()}, capabilities)


def _honoured(wanted: Wanted, capabilities: Mapping[str, JSON]) -> dict[str, JSON]:
    """The part of it that the server says it tells."""
    needs = {
        "toolsListChanged": ("tools", "listChanged"),
        "promptsListChanged": ("prompts", "listChanged"),
        "resourcesListChanged": ("resources", "listChanged"),
        URIS: ("resources", "subscribe"),
    }
    honoured: dict[str, JSON] = {}
    for kind, (section, flag) in needs.items():
        given = capabilities.get(section)
        if not wanted.get(kind) or not isinstance(given, Mapping) or given.get(flag) is not True:
            continue
        if kind == URIS:
            honoured[kind] = [uri for uri in wanted[URIS] if isinstance(uri, str)]
        else:
            honoured[kind] = True
    return honoured
