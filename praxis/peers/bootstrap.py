"""Addresses to begin with: dialed until somebody answers, and again whenever that line is gone.

A name may have many addresses, one for each of many agents; it is resolved anew each time, and each address tried.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import trio

from praxis.model.peer import PeerId
from praxis.peers.addresses import parse_address, split_address
from praxis.peers.backoff import Backoff
from praxis.peers.dialer import Connect, dial
from praxis.peers.lines import LineEnd, Lines

logger = logging.getLogger(__name__)

MAX_ADDRESSES = 32
"""Addresses of one name that are tried; a line to one of them is enough to learn of all the others."""
RESOLVE = 10.0
"""Seconds for the resolver."""
REFRESH = 60.0
"""Seconds after which a name with a good line is resolved again, for agents that are new behind it."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as ``HOST:PORT``. Raises OSError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]


class Bootstrap:
    """Keeps a line to whoever is at each of the addresses."""

    def __init__(
        self,
        lines: Lines,
        nodes: Sequence[str],
        *,
        chance: Random,
        connect: Connect = trio.open_tcp_stream,
        resolve: Resolve = resolve,
    ) -> None:
        """`nodes` are ``HOST:PORT`` or ``PEER_ID@HOST:PORT``. Raises PraxisError("invalid")."""
        self._lines = lines
        self._nodes = _parse(nodes)
        self._nursery: trio.Nursery | None = None
        self._chance = chance
        self._connect = connect
        self._resolve = resolve
        self._peers: dict[str, PeerId] = {}
        """Who was last found at an address; ourselves too, so that we are not dialed again and again."""

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for expected, node in self._nodes:
                self._nursery.start_soon(self._keep, expected, node, self._nursery)
            await trio.sleep_forever()

    def replace(self, nodes: Sequence[str]) -> None:
        """Begin with these instead. Lines that are there stay. Raises PraxisError("invalid")."""
        before, self._nodes = self._nodes, _parse(nodes)
        if self._nursery is not None:
            for expected, node in self._nodes:
                if (expected, node) not in before:
                    self._nursery.start_soon(self._keep, expected, node, self._nursery)

    async def _keep(self, expected: PeerId | None, node: str, nursery: trio.Nursery) -> None:
        backoff = Backoff(self._chance)
        while (expected, node) in self._nodes:
            failure = await self._try_all(expected, node, nursery)
            if failure is None:
                backoff.reset()
                await trio.sleep(REFRESH * self._chance.uniform(0.8, 1.2))
                continue
            if backoff.fresh:
                logger.warning("bootstrap %s: %s; trying again", node, failure.reason)
            await trio.sleep(backoff.after(failure.code, 0.0, trio.current_time()))

    async def _try_all(self, expected: PeerId | None, node: str, nursery: trio.Nursery) -> LineEnd | None:
        """Dial each address whose agent has no line to us. None when there is at least one line, else why not."""
        try:
            with trio.fail_after(RESOLVE):
                addresses = list(await self._resolve(*split_address(node)))
        except trio.TooSlowError:
            return LineEnd(None, 0.0, "resolve", f"the name was not resolved within {RESOLVE:g} s")
        except OSError as error:
            return LineEnd(None, 0.0, "resolve", f"{error.strerror or error}")
        self._chance.shuffle(addresses)
        failure = LineEnd(None, 0.0, "resolve", "the name has no addresses")
        good = False
        for address in addresses[:MAX_ADDRESSES]:
            end = await self._try(expected, address, nursery)
            if end is None or end.code == "self":  # one of the name's addresses may be ours
                good = True
            else:
                failure = end
        return None if good else failure

    async def _try(self, expected: PeerId | None, address: str, nursery: trio.Nursery) -> LineEnd | None:
        known = self._peers.get(address)
        if known is not None and self._lines.registry.link(known) is not None:
            return None
        opened = await dial(self._lines, self._connect, address, expected)
        if isinstance(opened, LineEnd):
            return opened
        pipe, peer_id = opened
        self._peers[address] = peer_id
        if len(self._peers) > MAX_ADDRESSES * max(1, len(self._nodes)):
            del self._peers[next(iter(self._peers))]
        nursery.start_soon(self._serve, pipe, peer_id)
        return None

    async def _serve(self, pipe: object, peer_id: PeerId) -> None:
        await self._lines.serve(pipe, peer_id, dialer=True)  # type: ignore[arg-type]


def _parse(nodes: Sequence[str]) -> dict[tuple[PeerId | None, str], None]:
    """Each once, in their order: the order of a set differs from process to process, and simulations are repeatable."""
    return dict.fromkeys(parse_address(node) for node in nodes)
