"""What goes over the lines, in numbers."""

from __future__ import annotations

from collections import Counter

from praxis.observe.metrics import Metrics
from praxis.peers.link import PeerLink
from praxis.peers.registry import PeerRegistry

_COUNTS = {
    "praxis_p2p_sent_bytes": "Bytes sent to peers, without TLS.",
    "praxis_p2p_received_bytes": "Bytes received from peers, without TLS.",
    "praxis_p2p_events_dropped": "Progress that was not sent because a peer took too little.",
    "praxis_p2p_calls_abandoned": "Calls that were cancelled without the peer's confirmation.",
}


class Traffic:
    """Sums over the lines that are open and those that have ended."""

    def __init__(self, registry: PeerRegistry, metrics: Metrics) -> None:
        self._registry = registry
        self._ended: Counter[str] = Counter()
        for name, help in _COUNTS.items():
            metrics.gauge(name, help, lambda name=name: float(self._sum(name)))  # type: ignore[misc]
        metrics.gauge("praxis_p2p_peers", "Peers that are known, by where they stand.", self._states, ("state",))
        metrics.gauge(
            "praxis_p2p_rtt_seconds", "The last round trip to peers: shortest, median, longest.", self._rtt, ("which",)
        )

    def ended(self, link: PeerLink) -> None:
        """A line is over; what went over it still counts."""
        self._ended.update(_counts(link))

    def _sum(self, name: str) -> int:
        return self._ended[name] + sum(_counts(link)[name] for link in self._registry.links())

    def _states(self) -> dict[tuple[str, ...], float]:
        states = Counter(entry.state for entry in self._registry.entries())
        return {(state,): float(count) for state, count in sorted(states.items())}

    def _rtt(self) -> dict[tuple[str, ...], float]:
        times = sorted(link.rtt for link in self._registry.links() if link.rtt is not None)
        return {("min",): times[0], ("median",): times[len(times) // 2], ("max",): times[-1]} if times else {}


def _counts(link: PeerLink) -> dict[str, int]:
    session = link.session
    counts = (session.taken, link.received, session.dropped_events, link.abandoned)
    return dict(zip(_COUNTS, counts, strict=True))
