"""Where others can dial us, as far as we know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.net.serve import host_port
from praxis.peers.addresses import UNSPECIFIED, split_address
from praxis.peers.record import MAX_ADDRESSES

AGREE = 2
"""Peers that must see us at the same host before we tell others of it: one alone may be wrong, or lie."""
MAX_REPORTS = 64
"""Peers whose view of us is remembered; the oldest is forgotten first."""


class OwnAddresses:
    """What is configured comes first; then where the listener is bound, or, if that is everywhere, what peers see."""

    def __init__(self, advertise: Iterable[str]) -> None:
        self._advertise = tuple(advertise)
        self._bound: tuple[str, int] | None = None
        self._reports: dict[PeerId, str] = {}

    def bind(self, host: str, port: int) -> None:
        """The listener is up."""
        self._bound = host, port

    def observe(self, peer_id: PeerId, observed: str) -> None:
        """A peer says under which ``HOST:PORT`` it sees us. The port is that of one line, so the host counts alone."""
        try:
            host, _ = split_address(observed)
        except PraxisError:
            return
        self._reports.pop(peer_id, None)
        self._reports[peer_id] = host
        if len(self._reports) > MAX_REPORTS:
            del self._reports[next(iter(self._reports))]

    @property
    def listening(self) -> tuple[str, ...]:
        """For a peer that sees where we are: an unspecified host stands for that."""
        return (*self._advertise, *([host_port(*self._bound)] if self._bound else []))

    @property
    def listed(self) -> tuple[str, ...]:
        """For beacons, whose source is dialed before these."""
        bound = [host_port(*self._bound)] if self._bound and self._bound[0] not in UNSPECIFIED else []
        return (*self._advertise, *bound)

    @property
    def everywhere(self) -> tuple[str, ...]:
        """For all others: as many as a record lists, those first that most peers agree on."""
        if self._bound is None:
            return self._advertise
        host, port = self._bound
        if host not in UNSPECIFIED:
            return (*self._advertise, host_port(host, port))
        votes = Counter(self._reports.values())
        agreed = sorted((seen for seen in votes if votes[seen] >= AGREE), key=lambda seen: (-votes[seen], seen))
        hosts = sorted(agreed[: MAX_ADDRESSES - len(self._advertise)])  # the order does not change with every vote
        return (*self._advertise, *(host_port(seen, port) for seen in hosts))
