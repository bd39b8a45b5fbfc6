"""The listener at ``/ws/workflow``: who comes in, and one conversation for each of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from praxis.access.authorize import Policy
from praxis.access.entrance import Entrance
from praxis.access.principal import Principal
from praxis.config.schema import WebSocket
from praxis.model.errors import PraxisError
from praxis.model.event import Event
from praxis.model.run import RunRecord
from praxis.net.serve import serve_connections
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.websocket.client import CLOSE_TIMEOUT, Asking, Client, Counters, Executor, Shared, too_large
from praxis.websocket.fanout import BUS_LIMIT, Fanout
from praxis.websocket.line import Line, linger
from praxis.websocket.messages import event_message, text_frame
from praxis.websocket.opening import Opening, Refused, read_opening
from praxis.websocket.outbox import Outbox

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""Seconds for a client's request to arrive, as HTTP servers give."""

HANDSHAKES = 64
"""Connections beyond `max_clients` that are open at once: enough to tell those who are too many that they are."""

RECEIVE_BYTES = 16 * 1024
"""Bytes read at once. Commands are small; the largest allowed message takes 32 reads."""

_PROTOCOL_FAULTS = {1002: "a violation of the WebSocket protocol", 1007: "a text that is not UTF-8"}


async def serve_gateway(
    config: WebSocket,
    *,
    agent: str,
    executor: Executor,
    asking: Asking,
    bus: EventBus,
    policy: Policy,
    entrance: Entrance,
    metrics: Metrics,
    listeners: Sequence[trio.SocketListener],
    stopping: trio.Event,
    grace: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve WebSocket clients on `listeners` until `stopping`, and then for as long as their runs take, up to `grace`.

    `agent` is this agent's name; `grace` is in seconds. Clients without a run are told at once (close code 1001).
    Started when it accepts.
    """

    def find_run(run_id: str) -> RunRecord | None:
        try:
            return executor.get(run_id)
        except PraxisError:
            return None

    def encode(event: Event, seq: int) -> bytes:
        type, payload = event_message(event, find_run)
        return text_frame(type, seq, payload)

    counters = Counters(
        messages=metrics.counter("praxis_websocket_messages_total", "Messages of clients.", ("direction",)),
        cut=metrics.counter("praxis_websocket_clients_cut_total", "Clients cut off because they had stopped reading."),
        dropped=metrics.counter("praxis_websocket_events_dropped_total", "Events that a slow client did not get."),
        refused=metrics.counter("praxis_websocket_refused_total", "Handshakes refused, by HTTP status.", ("status",)),
        faults=metrics.counter("praxis_websocket_faults_total", "Faults of the gateway, which the log explains."),
    )
    with bus.subscribe(limit=BUS_LIMIT) as subscription:
        fanout = Fanout(subscription, encode)
        shared = Shared(config, agent, executor, asking, policy, fanout, counters, stopping, grace)
        gateway = _Gateway(shared, entrance)
        metrics.gauge("praxis_websocket_clients", "Clients connected.", lambda: float(gateway.clients))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fanout.run)
            await serve_connections(
                gateway.handle,
                listeners,
                stopping=stopping,
                # A client leaves by itself within the grace; then it takes this long to say goodbye.
                grace=grace + 2 * CLOSE_TIMEOUT,
                name="websocket",
                max_connections=config.max_clients + HANDSHAKES,
                on_refused=lambda: counters.refused.inc(1, "none"),
                task_status=task_status,
            )
            nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class _Gateway:
    shared: Shared
    entrance: Entrance
    clients: int = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its last."""
        admitted = None
        try:
            with trio.move_on_after(HANDSHAKE_TIMEOUT):
                admitted = await self._admit(stream)
        except Refused as refusal:
            self.shared.counters.refused.inc(1, str(refusal.status))
            with trio.move_on_after(CLOSE_TIMEOUT):
                await stream.send_all(refusal.response())
                await linger(stream)
        if admitted is not None:
            opening, principal = admitted
            self.clients += 1
            try:
                await self._serve(stream, opening, principal)
            finally:
                self.clients -= 1

    async def _admit(self, stream: trio.SocketStream) -> tuple[Opening, Principal] | None:
        """Read the handshake and let its sender in; None when it went away. Raises Refused."""
        opening = await read_opening(stream)
        if opening is None:
            return None
        try:
            if self.shared.stopping.is_set():
                raise PraxisError("unavailable", "the agent is stopping")
            if self.clients >= self.shared.config.max_clients:
                limit = self.shared.config.max_clients
                raise PraxisError("busy", f"{limit} clients are connected", hint="see websocket.max_clients")
            principal = self.entrance.admit(opening.headers, arrived=stream.socket.getsockname()[0])
            self.shared.policy.authorize(principal, "read")
        except PraxisError as error:
            raise Refused.of(error) from None
        return opening, principal

    async def _serve(self, stream: trio.SocketStream, opening: Opening, principal: Principal) -> None:
        """Speak WebSocket with a client that has been let in."""
        connection: WebSocketConnection | None = None
        shared = self.shared

        def violation() -> int | None:
            reason = connection.closed if connection is not None else None
            return reason.code if reason is not None else None

        def farewell(code: int) -> bytes:
            said = _PROTOCOL_FAULTS.get(code)
            payload = {"message": said, "code": "invalid"} if said else too_large(shared.config.max_message)
            return text_frame("error", shared.fanout.next_seq(), payload)

        def gap(missed: int, seq: int) -> bytes:
            return text_frame("gap", seq, {"missed": missed})

        def write_now(data: bytes) -> int:
            return os.write(stream.socket.fileno(), data)  # asked anew each time: a closed socket has none

        def on_sent(count: int) -> None:
            shared.counters.messages.inc(count, "out")

        line = Line(stream, opening, write_now=write_now, farewell=farewell, violation=violation)
        outbox = Outbox(gap, line.send_frames_nowait, shared.counters.dropped.inc, on_sent)
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(
                    nursery, line, max_message_size=shared.config.max_message, receive_buffer_size=RECEIVE_BYTES
                )
                connection = await request.accept()
                line.accepted()
                await Client(shared, principal, connection, line, outbox).run()
                nursery.cancel_scope.cancel()
        except* ConnectionClosed:
            pass  # It went away within the handshake.
        except* LocalProtocolError:
            # Once a closing frame is out, trio-websocket's reader still answers pings, which its codec then refuses.
            if not line.closing:
                raise
        finally:
            if line.closing:
                await linger(stream)
            await line.aclose()
