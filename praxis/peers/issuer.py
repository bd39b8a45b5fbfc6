"""What the issuer of a network with a CA does for the others: lets them in, renews, says whom to keep out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.net.tls import TlsPipe
from praxis.observe.events import EventBus
from praxis.peers.admission import admit
from praxis.peers.authority import Authority
from praxis.peers.joining import decode_public
from praxis.peers.link import PeerLink
from praxis.peers.registry import PeerRegistry
from praxis.peers.request import Handler, PeerRequest

logger = logging.getLogger(__name__)

ANSWER = 30.0
"""Seconds for a member to take the list; it writes a file, and its machine may be busy."""


class Issuer:
    """The running side of an `Authority`."""

    def __init__(self, authority: Authority, registry: PeerRegistry, *, bus: EventBus) -> None:
        self.authority = authority
        self.methods: Mapping[str, Handler] = {"ca.renew": self._renew}
        self._registry = registry
        self._bus = bus
        self._told: dict[PeerId, tuple[PeerLink, tuple[PeerId, ...]]] = {}
        """By peer with a line to us, what it was told over which line."""

    async def join(self, pipe: TlsPipe) -> None:
        """Answer somebody without a certificate, and close."""
        await admit(pipe, self.authority)

    async def run(self) -> None:
        """Tell everybody who gets a line to us whom to keep out, until cancelled."""
        with self._bus.subscribe(types=["peer.connected"], limit=1) as news:
            while True:
                await self.spread()
                await news.receive()

    async def spread(self) -> None:
        """Tell all peers with a line to us whom to keep out, as far as they have not been told."""
        blocked = self.authority.blocked()
        links = {link.peer_id: link for link in self._registry.links() if not link.leaving}
        self._told = {id: told for id, told in self._told.items() if links.get(id) is told[0]}
        async with trio.open_nursery() as nursery:
            for link in links.values():
                if self._told.get(link.peer_id) != (link, blocked):
                    nursery.start_soon(self._tell, link, blocked)

    async def _tell(self, link: PeerLink, blocked: tuple[PeerId, ...]) -> None:
        try:
            with trio.fail_after(ANSWER):
                await link.call("ca.blocked", {"ids": list(blocked)})
        except (PraxisError, trio.TooSlowError) as error:
            logger.warning("%s was not told whom to keep out: %s", link.peer_id, error or "no answer")
        else:
            self._told[link.peer_id] = link, blocked

    async def _renew(self, request: PeerRequest) -> Any:
        """The name is the one in the certificate that the line rests on (see `Lines`)."""
        params = request.params if isinstance(request.params, dict) else {}
        public = decode_public(params.get("public"))
        grant = await trio.to_thread.run_sync(self.authority.renew, request.peer, request.peer_name, public)
        logger.info("the certificate of %s, %s, is renewed", request.peer_name, request.peer)
        return grant.encode()
