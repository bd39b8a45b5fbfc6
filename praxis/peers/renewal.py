"""New lines for old ones, when what lines are made with has changed: keys, certificates, who is blocked.

The dialer of a line makes the new one, and the old one gives way to it (see `PeerRegistry.adopt`): what runs there
finishes, what is new goes over the other. Who was dialed asks the dialer for it by ``line.renew``. A line that cannot
be made anew ends: it may rest on something that is no longer believed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.peers.dialer import REACH, Dialer
from praxis.peers.entry import PeerEntry
from praxis.peers.identity import Identity
from praxis.peers.lines import DUPLICATE_GRACE, Lines
from praxis.peers.link import PeerLink
from praxis.peers.request import Handler, PeerRequest

logger = logging.getLogger(__name__)

PATIENCE = REACH + 5.0
"""Seconds for a line to be renewed; the other end may take as long as it takes to reach somebody."""


class Renewal:
    """Replaces what this agent shows and believes, and then its lines."""

    def __init__(self, lines: Lines, dialer: Dialer) -> None:
        self._lines = lines
        self._dialer = dialer
        self.methods: Mapping[str, Handler] = {"line.renew": self._asked}

    async def rekey(self, identity: Identity) -> bool:
        """Show and believe this from now on. Returns when every line rests on it; False when none had to change.

        Lines stay when our certificate has the same signer and end as before, and nobody is believed less.
        """
        old = self._lines.identity
        self._lines.identity = identity
        same = (identity.authorities[0], identity.not_after) == (old.authorities[0], old.not_after)
        if same and set(identity.authorities) >= set(old.authorities):
            return False
        await self.renew_all()
        return True

    async def renew_all(self) -> None:
        """Make every line anew."""
        async with trio.open_nursery() as nursery:
            for entry in self._lines.registry.connected():
                if entry.link is not None:
                    nursery.start_soon(self._renew, entry, entry.link)

    async def _renew(self, entry: PeerEntry, link: PeerLink) -> None:
        try:
            with trio.fail_after(PATIENCE):
                if link.dialer:
                    await self._dialer.renew(entry, link)
                else:
                    await link.call("line.renew", {})
            return
        except trio.TooSlowError:
            why = f"no new line within {PATIENCE:g} s"
        except PraxisError as error:
            why = str(error)
        if entry.link is link and not link.closed:
            logger.warning("the line to %s ends, it cannot be made anew: %s", entry.name, why)
            await link.leave("the keys have changed", redial=True, grace=DUPLICATE_GRACE)

    async def _asked(self, request: PeerRequest) -> Any:
        entry = self._lines.registry.entry(request.peer)
        if entry is None or entry.link is None:
            raise PraxisError("not_found", "there is no line any more")
        if entry.link.dialer:
            await self._dialer.renew(entry, entry.link)
        return {}
