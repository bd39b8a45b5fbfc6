"""Keeps a membership in a network with a CA as it should be: renewed in time, and with the issuer's word on whom to
keep out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

import attrs
import trio

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.peers.authority import MAX_BLOCKED
from praxis.peers.credentials import Credentials
from praxis.peers.dialer import Dialer
from praxis.peers.identity import Identity, load_signing_key, peer_id_digest, peer_id_of
from praxis.peers.joining import Grant, encode_public
from praxis.peers.membership import Membership
from praxis.peers.request import Handler, PeerRequest

logger = logging.getLogger(__name__)

LOOK = 3600.0
"""Seconds between two looks at the dates, give or take a fifth: a third of a certificate's life is left to renew it."""
FIRST_RETRY, RETRY = 2.0, 600.0
"""Seconds until a renewal that failed is tried again, doubled each time: after a start the issuer is found soon."""
ANSWER = 30.0
"""Seconds for the issuer to answer: it signs, and writes a file."""


class Upkeep:
    """`credentials` are what the agent has now, `clock` gives seconds since the epoch.

    `rekey` makes peers see another identity, `keep_out` is told whom to keep no line with.
    """

    def __init__(
        self,
        credentials: Credentials,
        membership: Membership,
        dialer: Dialer,
        *,
        rekey: Callable[[Identity], Awaitable[bool]],
        keep_out: Callable[[Sequence[PeerId]], None],
        clock: Callable[[], float],
        chance: Random,
    ) -> None:
        self.methods: Mapping[str, Handler] = {"ca.blocked": self._told}
        self.membership = membership
        self._credentials = credentials
        self._dialer = dialer
        self._rekey = rekey
        self._keep_out = keep_out
        self._clock = clock
        self._chance = chance
        self._turn = trio.Lock()
        keep_out(self._blocked())

    async def run(self) -> None:
        """Until cancelled."""
        retry = FIRST_RETRY
        while True:
            pause = LOOK
            if self.membership.needs_renewal(self._clock()):
                try:
                    await self.renew()
                    retry = FIRST_RETRY
                except PraxisError as error:
                    pause, retry = retry, min(2 * retry, RETRY)
                    logger.warning("the certificate could not be renewed, next try in %.0f s: %s", pause, error)
            await trio.sleep(pause * self._chance.uniform(0.8, 1.2))

    async def renew(self) -> None:
        """Get another certificate for the same key and name, and show it from now on. Raises PraxisError."""
        async with self._turn:
            grant = await self._ask()
            if peer_id_of(grant.certificate) != peer_id_of(self.membership.grant.certificate):
                raise PraxisError("invalid", "the issuer's certificate is for another key")
            if (grant.issuer, grant.rendezvous) != (self.membership.grant.issuer, self.membership.grant.rendezvous):
                raise PraxisError("invalid", "the issuer's certificate is for another network")
            await self._take(attrs.evolve(self.membership, grant=grant))
        logger.info("the certificate is renewed")

    async def replace(self, credentials: Credentials, membership: Membership) -> bool:
        """Go on from what the state directory holds now; True when lines were made anew."""
        async with self._turn:
            self._credentials, self.membership = credentials, membership
            self._keep_out(self._blocked())
            return await self._rekey(credentials.identity)

    async def _ask(self) -> Grant:
        state_dir, authority = self._credentials.state_dir, self._credentials.authority
        assert state_dir is not None  # noqa: S101 - a member has one
        public = load_signing_key(state_dir).public
        if authority is not None:
            return await trio.to_thread.run_sync(authority.issue, self.membership.name, public)
        link = await self._dialer.reach(self.membership.grant.issuer)
        with trio.move_on_after(ANSWER):
            return Grant.decode(await link.call("ca.renew", {"public": encode_public(public)}))
        raise PraxisError("timeout", f"the issuer did not answer within {ANSWER:g} s")

    async def _take(self, membership: Membership) -> None:
        self._credentials = await trio.to_thread.run_sync(self._credentials.with_membership, membership)
        self.membership = membership
        self._keep_out(self._blocked())
        await self._rekey(self._credentials.identity)

    def _blocked(self) -> tuple[PeerId, ...]:
        authority = self._credentials.authority
        return authority.blocked() if authority is not None else self.membership.blocked

    async def _told(self, request: PeerRequest) -> Any:
        if request.peer != self.membership.grant.issuer:
            raise PraxisError("denied", "only the issuer says whom to keep out")
        ids = request.params.get("ids") if isinstance(request.params, dict) else None
        if not isinstance(ids, list) or len(ids) > MAX_BLOCKED or not all(isinstance(id, str) for id in ids):
            raise PraxisError("invalid", f"expected at most {MAX_BLOCKED} peer ids", where="params.ids")
        for id in ids:
            peer_id_digest(id)
        async with self._turn:
            if tuple(ids) != self.membership.blocked:
                logger.info("the issuer says to keep out %s", ", ".join(ids) or "nobody")
                await self._take(attrs.evolve(self.membership, blocked=tuple(ids)))
        return {}
