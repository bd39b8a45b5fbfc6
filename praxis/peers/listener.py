"""Accepts lines. Whoever has not shown who it is counts against a small bound, in all and per source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio

from praxis.net.serve import serve_connections
from praxis.net.tls import Broken, TlsPipe
from praxis.observe.metrics import Metrics
from praxis.peers.addresses import is_loopback
from praxis.peers.line import JoinWanted
from praxis.peers.lines import Lines

MAX_PER_SOURCE = 8
"""Lines of one address at once that have not shown who they are; loopback is exempt, where many agents share one."""
MAX_LINES = 2048
"""Connections at once, known or not: twice the peers that can be known, for lines that are being replaced."""


class Listener:
    """The P2P listener of an agent."""

    def __init__(
        self,
        lines: Lines,
        *,
        handshakes: int,
        metrics: Metrics,
        on_join: Callable[[TlsPipe], Awaitable[None]] | None = None,
    ) -> None:
        """`on_join` answers and closes a line of somebody without a certificate, who counts as unknown meanwhile; only
        an identity that admits them lets it come to that."""
        self._on_join = on_join
        self._lines = lines
        self._limit = handshakes
        self._unknown: Counter[str] = Counter()
        self._refused = metrics.counter(
            "praxis_p2p_connections_refused_total", "Connections closed before their handshake, by why.", ("reason",)
        )
        metrics.gauge(
            "praxis_p2p_unauthenticated_lines",
            "Lines that have not shown who they are.",
            lambda: float(sum(self._unknown.values())),
        )

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        stopping: trio.Event,
        grace: float,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept until `stopping`; returns when all lines are gone."""
        await serve_connections(
            self._handle,
            listeners,
            stopping=stopping,
            grace=grace,
            name="p2p",
            max_connections=MAX_LINES,
            on_refused=lambda: self._refused.inc(1, "connections"),
            task_status=task_status,
        )

    async def _handle(self, stream: trio.SocketStream) -> None:
        try:
            source = str(stream.socket.getpeername()[0])
        except OSError:
            return  # gone before it was accepted
        total = sum(self._unknown.values())
        if total >= self._limit or (self._unknown[source] >= MAX_PER_SOURCE and not is_loopback(source)):
            self._refused.inc(1, "handshakes")
            await stream.aclose()
            return
        self._unknown[source] += 1
        try:
            pipe, peer_id = await self._lines.open(stream, dialer=False)
        except Broken:
            return
        except JoinWanted as wanted:
            if self._on_join is not None:
                await self._on_join(wanted.pipe)
            wanted.pipe.close()
            return
        finally:
            self._unknown[source] -= 1
            if not self._unknown[source]:
                del self._unknown[source]
        await self._lines.serve(pipe, peer_id, dialer=False)
