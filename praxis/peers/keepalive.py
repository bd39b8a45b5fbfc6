"""Notices that a line has gone silent, or takes nothing any more."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from praxis.config.schema import Keepalive
from praxis.model.errors import PraxisError
from praxis.peers.writer import Writer

if TYPE_CHECKING:
    from praxis.peers.link import PeerLink

SEND_STALL = 30.0
"""Seconds without progress of one write before the line is given up."""
LATE = 1.0
"""Our own timer waking later than this says that we were slow, not the peer."""


async def keep_alive(link: PeerLink, keepalive: Keepalive, writer: Writer) -> None:
    """Ping now and then, traffic or not; close the line when nothing is heard, or nothing can be written."""
    timeout = keepalive.timeout
    # A pause of its own, so that the lines of an agent do not ping at once.
    pause = keepalive.interval * (0.8 + 0.4 * zlib.crc32(link.peer_id.encode()) / 2**32)
    due = trio.current_time() + pause  # from ping to ping: what falls silent is noticed within pause and timeout
    while True:
        await trio.sleep_until(due)
        now = trio.current_time()
        due = now + pause
        since = writer.writing_since
        if since is not None and now - since > SEND_STALL:
            link.close("stalled", f"the peer took nothing for {SEND_STALL:.0f} s")
            return
        with trio.move_on_after(timeout), suppress(PraxisError):  # the line may end meanwhile
            await link.ping()
        wait = now + timeout - trio.current_time()
        if wait > 0:
            continue
        if -wait > LATE:
            due = trio.current_time()  # the verdict would rest on our own sloth: look again, at once
        elif link.heard_at < now:
            link.close("silent", f"no answer to a ping within {timeout:g} s")
            return
