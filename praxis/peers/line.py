"""From a connected socket to a line whose other end has shown who it is."""

from __future__ import annotations

import ssl

import trio

from praxis.model.peer import PeerId
from praxis.net.tls import Broken, TlsPipe
from praxis.peers.identity import ALPN, JOIN_ALPN, Identity, peer_id_of


class JoinWanted(Exception):
    """Whoever is at the other end has no certificate and wants to ask for one over `pipe`, which is open."""

    def __init__(self, pipe: TlsPipe) -> None:
        super().__init__("somebody wants to join")
        self.pipe = pipe


GREETING = 5.0
"""Seconds for the handshake, and as many for the HELLO after it; whoever needs more is not a peer."""


async def authenticate(
    stream: trio.SocketStream, identity: Identity, *, dialer: bool, expected: PeerId | None = None
) -> tuple[TlsPipe, PeerId]:
    """Run the TLS handshake and say who is there.

    `expected` is the only id that a dialed address may show. Raises `Broken`, whose reason is the word for metrics;
    the socket is closed then. Raises `JoinWanted` where our identity admits joiners.
    """
    context: ssl.SSLContext = identity.client if dialer else identity.server
    pipe = TlsPipe(stream, context, server_side=not dialer)
    try:
        with trio.move_on_after(GREETING) as patience:
            await pipe.handshake()
        if patience.cancelled_caught:
            raise Broken("handshake_timeout", f"no TLS handshake within {GREETING:g} s")
        if pipe.alpn == JOIN_ALPN and not dialer:
            raise JoinWanted(pipe)
        if pipe.alpn != ALPN:
            raise Broken("alpn", f"the other side speaks {pipe.alpn or 'something else'}, not {ALPN}")
        peer_id = peer_id_of(pipe.peer_certificate)
        if peer_id == identity.peer_id:
            raise Broken("self", "this is the agent itself")
        if expected is not None and peer_id != expected:
            raise Broken("wrong_id", f"expected {expected} there, found {peer_id}")
    except JoinWanted:
        raise
    except BaseException:
        pipe.close()
        raise
    return pipe, peer_id
