"""The one exchange that is open to those without a certificate: a line of JSON each way, over TLS.

The joiner knows the issuer by the key that the token names; the issuer knows the joiner by the token's secret.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from praxis.model.errors import PraxisError
from praxis.net.tls import Broken, TlsPipe
from praxis.peers.addresses import split_address
from praxis.peers.authority import Authority
from praxis.peers.ed25519 import SigningKey
from praxis.peers.identity import JOIN_ALPN, peer_id_of, peer_id_of_key
from praxis.peers.joining import MAX_MESSAGE, Grant, JoinRequest, JoinToken

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for the whole exchange at each end."""

Connect = Callable[[str, int], Awaitable[trio.SocketStream]]


async def admit(pipe: TlsPipe, authority: Authority) -> None:
    """Answer one joiner, and close. Whatever it sends, nothing is raised."""
    try:
        with trio.move_on_after(PATIENCE):
            answer: Any
            try:
                request = JoinRequest.decode(await _receive(pipe))
                grant = await trio.to_thread.run_sync(authority.admit, request)  # signs, and writes files
                logger.info("%s has joined as %s, from %s", request.name, peer_id_of(grant.certificate), pipe.remote)
                answer = {"grant": grant.encode()}
            except PraxisError as error:
                logger.warning("a joiner from %s is refused: %s", pipe.remote, error)
                answer = {"error": {"code": error.code, "detail": error.detail, "hint": error.hint}}
            await pipe.send(json.dumps(answer).encode() + b"\n")
    except Broken as error:
        logger.info("a joiner from %s went away: %s", pipe.remote, error)
    finally:
        pipe.close()


async def ask_to_join(
    token: JoinToken, name: str, key: SigningKey, *, connect: Connect = trio.open_tcp_stream
) -> Grant:
    """Use a token at its issuer. Raises PraxisError: what the issuer says, or ``unavailable`` with why it is not there.

    The certificate is not looked at beyond its key: whether its dates fit is for whoever knows the time.
    """
    reasons = []
    for address in token.addresses:
        try:
            with trio.fail_after(PATIENCE):
                return await _ask(await connect(*split_address(address)), token, name, key)
        except trio.TooSlowError:
            reasons.append(f"{address}: no answer within {PATIENCE:g} s")
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or error}")
        except Broken as error:
            reasons.append(f"{address}: {error}")
    raise PraxisError("unavailable", f"the issuer cannot be reached: {'; '.join(reasons)}")


async def _ask(stream: trio.SocketStream, token: JoinToken, name: str, key: SigningKey) -> Grant:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the CA is not known yet; the issuer is known by its key, below
    context.set_alpn_protocols([JOIN_ALPN])
    pipe = TlsPipe(stream, context, server_side=False)
    try:
        await pipe.handshake()
        if peer_id_of(pipe.peer_certificate) != token.issuer:
            raise Broken("wrong_id", "whoever is there is not the issuer that the token names")
        if pipe.alpn != JOIN_ALPN:
            raise Broken("alpn", "the agent there is no issuer now: p2p.security.mode is not ca, or its CA is gone")
        await pipe.send(json.dumps(JoinRequest.of(token, name, key.public).encode()).encode() + b"\n")
        answer = await _receive(pipe)
    finally:
        pipe.close()
    if isinstance(answer, Mapping) and isinstance(answer.get("error"), Mapping):
        said = answer["error"]
        detail, hint = str(said.get("detail"))[:300], str(said.get("hint") or "")[:300]
        raise PraxisError("denied", f"the issuer says: {detail}", hint=hint)
    grant = Grant.decode(answer.get("grant") if isinstance(answer, Mapping) else None)
    if peer_id_of(grant.certificate) != peer_id_of_key(key.public):
        raise PraxisError("invalid", "the issuer's certificate is for another key")
    return grant


async def _receive(pipe: TlsPipe) -> Any:
    """One line of JSON. Raises Broken, PraxisError("invalid")."""
    received = b""
    while not received.endswith(b"\n"):
        data = await pipe.receive()
        if not data:
            raise Broken("cut", "the other side closed the line")
        received += data
        if len(received) > MAX_MESSAGE:
            raise PraxisError("invalid", f"more than {MAX_MESSAGE} bytes")
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        raise PraxisError("invalid", "this is no JSON") from None
