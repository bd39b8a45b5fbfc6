"""TLS as a filter between two memory buffers and a socket.

Half the CPU per small message of `trio.SSLStream`, and it sends the alert that tells the other side why a handshake
failed. One task receives, one task sends; both may wait at the same time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from trio.lowlevel import checkpoint, wait_readable, wait_writable

RECEIVE = 256 * 1024
"""Bytes per read from the socket: one read brings what a busy line has, without a buffer that matters."""
RECORD = 16 * 1024
"""Most bytes of one TLS record. A read gives no more, and Python makes room first for as many as it is asked for."""
BURST = 4
"""Reads in a row without waiting before the other tasks get their turn."""
UNACKNOWLEDGED = 20_000
"""Milliseconds after which the kernel gives up a connection whose other end acknowledges nothing."""
ALERT_PATIENCE = 2.0
"""Seconds for a peer to take the alert that says why it is refused."""


class Broken(OSError):
    """The connection cannot go on: cut, closed in the middle, or not TLS. `reason` is a short word for metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class TlsPipe:
    """TLS over one connected stream socket, which it owns from here on.

    The socket is used directly, not through Trio's wrapper: that gives up its turn after every operation, while here a
    turn is given up when there is nothing to do and after BURST reads in a row.
    """

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext, *, server_side: bool) -> None:
        wrapped = stream.socket
        self._socket = socket.socket(wrapped.family, wrapped.type, wrapped.proto, fileno=wrapped.detach())
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):  # a socket that is none of TCP
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._unsent = memoryview(b"")
        self._reads = 0

    async def handshake(self) -> None:
        """Raises Broken with the reason; the other side is told by an alert where TLS has one for it."""
        while True:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError as error:
                with trio.move_on_after(ALERT_PATIENCE):
                    await self._flush()
                raise Broken(_fault(error), _describe(error)) from None
            await self._flush()
            if done:
                return
            await self._fill()

    @property
    def peer_certificate(self) -> bytes:
        """DER. Raises Broken when there is none, which CERT_REQUIRED prevents."""
        certificate = self._tls.getpeercert(True)
        if certificate is None:
            raise Broken("certificate", "the peer showed no certificate")
        return certificate

    @property
    def claims(self) -> tuple[str, float]:
        """Common name and end, in seconds since the epoch, of the certificate that was verified."""
        shown: Any = self._tls.getpeercert() or {}
        names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
        return names[0] if names else "", ssl.cert_time_to_seconds(shown["notAfter"]) if shown else 0.0

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    @property
    def wants_to_write(self) -> bool:
        """True when TLS itself has something to say, such as the answer to a key update, or the kernel took not all."""
        return self._outgoing.pending > 0 or len(self._unsent) > 0

    @property
    def remote(self) -> str:
        return _address(self._socket.getpeername)

    @property
    def local(self) -> str:
        return _address(self._socket.getsockname)

    async def receive(self) -> bytes:
        """The next plain bytes, as many as there are; b"" when the other side closed in order. Raises Broken."""
        parts: list[bytes] = []
        while True:
            try:
                while part := self._tls.read(RECORD):
                    parts.append(part)
            except ssl.SSLWantReadError:
                if parts:
                    return parts[0] if len(parts) == 1 else b"".join(parts)
                await self._fill()
                continue
            except ssl.SSLZeroReturnError:
                pass
            except ssl.SSLError as error:
                raise Broken(_fault(error, "tls"), _describe(error)) from None
            return b"".join(parts)

    async def send(self, plain: bytes) -> None:
        """Encrypt and write everything, together with what TLS itself has to say. Raises Broken."""
        if plain:
            try:
                self._tls.write(plain)
            except ssl.SSLError as error:
                raise Broken("tls", _describe(error)) from None
        await self._flush()

    def send_nowait(self, plain: bytes) -> None:
        """Encrypt, and write what the kernel takes at once; the rest goes with the next `send`, which must come.

        Not while a `send` is under way. Never raises: what is broken shows in the next `send` or `receive`.
        """
        with contextlib.suppress(ssl.SSLError):
            self._tls.write(plain)
        self._unsent = memoryview(bytes(self._unsent) + self._outgoing.read())
        with contextlib.suppress(OSError):
            self._unsent = self._unsent[self._socket.send(self._unsent) :]

    async def _flush(self) -> None:
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + self._outgoing.read())
        else:
            self._unsent = memoryview(self._outgoing.read())
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                await _wait(wait_writable, self._socket)
            except OSError as error:
                raise Broken("cut", str(error)) from None

    async def _fill(self) -> None:
        while True:
            try:
                data = self._socket.recv(RECEIVE)
                break
            except BlockingIOError:
                self._reads = 0
                await _wait(wait_readable, self._socket)
            except OSError as error:
                raise Broken("cut", str(error)) from None
        self._reads += 1
        if self._reads >= BURST:
            self._reads = 0
            await checkpoint()
        if not data:
            raise Broken("cut", "the connection was cut")
        self._incoming.write(data)

    def close(self) -> None:
        """Say goodbye if that needs no waiting, and close. Safe to call twice."""
        if self._socket.fileno() < 0:
            return
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            if self._outgoing.pending:
                self._socket.send(self._outgoing.read())
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


async def _wait(until: Callable[[socket.socket], Awaitable[None]], sock: socket.socket) -> None:
    """Raises Broken when the socket is closed by another task in the meantime."""
    try:
        await until(sock)
    except (trio.ClosedResourceError, ValueError, OSError):
        raise Broken("closed", "the connection was closed") from None


def _fault(error: ssl.SSLError, otherwise: str = "handshake") -> str:
    """``certificate`` when one end does not believe the other's, as we see it or as its alert says."""
    said = (error.reason or "").lower()
    of_certificate = isinstance(error, ssl.SSLCertVerificationError) or "certificate" in said or "unknown_ca" in said
    return "certificate" if of_certificate else otherwise


def _describe(error: ssl.SSLError) -> str:
    """OpenSSL's reason and, for a certificate, what is wrong with it."""
    verdict = getattr(error, "verify_message", None)
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return f"{reason}: {verdict}" if verdict else reason


def _address(get: Callable[[], Any]) -> str:
    try:
        host, port, *_ = get()
    except (OSError, ValueError):
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
