"""One line between two peers as a state machine: bytes and decisions in, events and bytes out.

The line is OPENING until the other's HELLO is in, then OPEN. The shell around it (`praxis.peers.link`) reads, calls
`receive`, acts on the events, and writes what `take` gives. Nothing here waits: answers to what the other side sends
(PONG, CREDIT, ``busy``) are queued at once, so that two busy peers cannot wait for each other.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from praxis.model.errors import PraxisError
from praxis.wire import frames
from praxis.wire.bodies import INITIAL_CREDIT, Incoming, IncomingBodies, Outgoing, OutgoingBodies
from praxis.wire.frames import ACK, BODY, END, ERROR, MAX_PAYLOAD, ProtocolError
from praxis.wire.messages import Hello, decode_error, dumps, encode_error, encode_goaway, loads, mapping
from praxis.wire.received import (
    CancelReceived,
    EventReceived,
    GoawayReceived,
    HelloReceived,
    PongReceived,
    RequestReceived,
    ResponseReceived,
    SessionEvent,
)
from praxis.wire.texts import Placed, pack, unpack

MAX_REPLIES = 256 * 1024
"""Bytes of unasked answers waiting to be written; a peer that causes more without reading is flooding us."""
MAX_EVENTS = 1024 * 1024
"""Queued bytes above which progress events are dropped, and counted; answers never are."""

_CREDIT = struct.Struct("!I")


class Session:
    """The protocol of one line. Every method may raise ProtocolError only where it says so.

    Attributes:
        peer: the other's HELLO, None while OPENING.
        queued: bytes that were queued and not yet reported as written.
        taken: bytes that `take` has given out in all.
        enqueued: bytes that were queued in all.
        dropped_events: events that were not sent, because too much was waiting.
    """

    def __init__(self, hello: Hello, *, dialer: bool) -> None:
        self.hello = hello
        self.dialer = dialer
        self.peer: Hello | None = None
        self.queued = self.taken = self.enqueued = self.dropped_events = 0
        self._reader = frames.FrameReader()
        self._out: list[bytes | memoryview] = []
        self._replies = 0
        self._next = 1 if dialer else 2
        self._asked: dict[int, Incoming | None] = {}
        self._serving: dict[int, Incoming | None] = {}
        self._receiving = IncomingBodies()
        self._sending = OutgoingBodies()
        self._put(frames.HELLO, 0, hello.encode())

    # -- sending ------------------------------------------------------------------------------------

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out) or self._sending.ready

    @property
    def asking(self) -> int:
        """Our requests that have no answer yet."""
        return len(self._asked)

    @property
    def serving(self) -> int:
        """The other's requests whose answer has not left whole."""
        return len(self._serving)

    def take(self) -> bytes:
        """Everything that waits to be written, and up to BULK bytes of bodies behind it; b"" when there is nothing."""
        if self._sending:
            for stream in self._sending.put_chunks(self._put):
                self._serving.pop(stream, None)
        out, self._out = self._out, []
        self._replies = 0
        batch = b"".join(out)
        self.taken += len(batch)
        return batch

    def written(self, size: int) -> None:
        """`size` bytes of what `take` gave have left."""
        self.queued -= size

    def request(self, method: str, params: Any, remaining: float | None = None, trace: str | None = None) -> int:
        """Queue a request and return its stream.

        Raises PraxisError: ``too_large`` when the peer would not take it, ``invalid`` for a number that JSON lacks.
        """
        head: dict[str, Any] = {"m": method}
        if remaining is not None:
            head["d"] = max(0, int(remaining * 1000))
        if trace is not None:
            head["t"] = trace
        try:
            packed, placed = pack(params)
        except ValueError as error:
            raise PraxisError("invalid", f"this cannot be sent: {error}", where="params") from None
        payload = dumps(head)[:-1] + b',"p":' + packed + b"}"
        if len(payload) <= MAX_PAYLOAD and not placed:
            stream = self._new_stream()
            self._put(frames.REQUEST, stream, payload)
        else:
            size = _size(packed, placed)
            most = self.peer.message if self.peer else 0
            if size > most:
                raise PraxisError("too_large", f"the arguments have {size} bytes, the peer takes {most}")
            stream = self._new_stream()
            self._send_body(frames.REQUEST, stream, head, packed, placed)
        self._asked[stream] = None
        return stream

    def _send_body(self, type: int, stream: int, head: dict[str, Any], packed: bytes, placed: Placed) -> None:
        announced = head | {"b": (size := _size(packed, placed))}
        if placed:
            announced["x"] = [[path, len(text)] for path, text in placed]
        announcement = dumps(announced)
        parts = deque((packed, *(text for _, text in placed)))
        self._sending.add(stream, Outgoing(lambda: self._put(type, stream, announcement, BODY), parts, size))

    def cancel(self, stream: int) -> bool:
        """Ask the peer to end a request. False when it had not begun to leave, so that there is nothing to wait for."""
        if stream not in self._asked:
            return False
        if stream in self._sending and not self._sending.drop(stream):
            del self._asked[stream]
            return False
        self._put(frames.CANCEL, stream)
        return True

    def forget(self, stream: int) -> None:
        """Stop waiting for the answer to a request; what still comes is ignored."""
        incoming = self._asked.pop(stream, None)
        if incoming is not None:
            self._receiving.give_up(incoming)

    def unsent(self, stream: int) -> bool:
        """True while a request's body has not left whole, so that the peer cannot have begun to serve it."""
        return stream in self._sending

    def respond(self, stream: int, value: Any) -> None:
        """Answer a request. A result that the peer would not take becomes the error ``too_large``."""
        if stream not in self._serving:
            return
        payload, placed = pack(value)
        most = self.peer.message if self.peer else 0
        if len(payload) <= MAX_PAYLOAD and not placed:
            del self._serving[stream]
            self._put(frames.RESPONSE, stream, payload)
            return
        size = _size(payload, placed)
        if size <= most:
            self._send_body(frames.RESPONSE, stream, {}, payload, placed)
        else:
            self.refuse(
                stream,
                PraxisError(
                    "too_large",
                    f"the result has {size} bytes, the caller takes {most}",
                    hint="raise p2p.limits.message at the caller",
                    delivered=True,
                ),
            )

    def refuse(self, stream: int, error: PraxisError) -> None:
        """Answer a request with an error."""
        if self._serving.pop(stream, 0) != 0:
            self._put(frames.RESPONSE, stream, encode_error(error), ERROR)

    def progress(self, stream: int, value: Any) -> None:
        """Tell the caller of a request how it goes. Dropped and counted when too much is waiting already."""
        if stream in self._serving:
            self._tell(stream, value)

    def notify(self, value: Any) -> None:
        """Tell the peer what belongs to no request. Dropped and counted as progress is."""
        self._tell(0, value)

    def _tell(self, stream: int, value: Any) -> None:
        payload = dumps(value)
        if self.queued > MAX_EVENTS or len(payload) > MAX_PAYLOAD:
            self.dropped_events += 1
            return
        self._put(frames.EVENT, stream, payload)

    def ping(self, payload: bytes) -> None:
        self._put(frames.PING, 0, payload)

    def goaway(self, reason: str, *, redial: bool) -> None:
        self._put(frames.GOAWAY, 0, encode_goaway(reason, redial=redial))

    def _put(self, type: int, stream: int, payload: bytes | memoryview = b"", flags: int = 0) -> None:
        size = frames.HEAD.size + len(payload)
        self.queued += size
        self.enqueued += size
        self._out += (frames.head(type, stream, len(payload), flags), payload)

    def _reply(self, type: int, stream: int, payload: bytes, flags: int = 0) -> None:
        self._replies += len(payload) + frames.HEAD.size
        if self._replies > MAX_REPLIES:
            raise ProtocolError("flood", "more frames that want an answer than it reads answers")
        self._put(type, stream, payload, flags)

    def _new_stream(self) -> int:
        stream = self._next
        while stream in self._asked:  # after 2**31 requests the numbers come round again
            stream = self._after(stream)
        self._next = self._after(stream)
        return stream

    def _after(self, stream: int) -> int:
        return stream + 2 if stream + 2 < 2**32 else (1 if self.dialer else 2)

    # -- receiving ----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[SessionEvent]:
        """What the other side's bytes mean, in order. Raises ProtocolError; then the line cannot go on."""
        events: list[SessionEvent] = []
        for frame in self._reader.receive(data):
            if self.peer is None and frame.type not in (frames.HELLO, frames.GOAWAY):
                raise ProtocolError("before_hello", f"a frame of type {frame.type} before HELLO")
            handle = _HANDLERS.get(frame.type)
            if handle is not None:
                event = handle(self, frame)
                if event is not None:
                    events.append(event)
            elif frame.type < frames.OPTIONAL:
                raise ProtocolError("frame_type", f"a frame of unknown type {frame.type}")
        return events

    def _on_hello(self, frame: frames.Frame) -> SessionEvent | None:
        if self.peer is not None:
            raise ProtocolError("hello", "a second HELLO")
        peer = Hello.decode(frame.payload)
        (low, high), (lowest, highest) = peer.versions, self.hello.versions
        version = min(high, highest)
        if version < max(low, lowest):
            raise ProtocolError("version", f"no common version: it speaks {low} to {high}, we {lowest} to {highest}")
        self.peer = peer
        return HelloReceived(peer, version)

    def _on_request(self, frame: frames.Frame) -> SessionEvent | None:
        stream = frame.stream
        if stream in self._serving or stream == 0 or self._is_ours(stream):
            raise ProtocolError("stream", f"a request on stream {stream}")
        head = mapping(loads(frame.payload), "a request")
        method = head.get("m")
        if not isinstance(method, str) or len(method) > 64:
            raise ProtocolError("message", "a request without a method")
        has_body = "b" in head
        refusal = None
        if len(self._serving) >= self.hello.inflight:
            refusal = PraxisError("busy", f"{self.hello.inflight} requests are in flight already", hint="try again")
        elif has_body and type(head["b"]) is int and head["b"] > self.hello.message:
            refusal = PraxisError("too_large", f"a request of {head['b']} bytes; {self.hello.message} are allowed")
        if refusal is not None:
            self._receiving.tolerate(INITIAL_CREDIT if has_body else 0)
            self._reply(frames.RESPONSE, stream, encode_error(refusal), ERROR)
            return None
        if has_body:
            self._serving[stream] = self._receiving.begin(dict(head))
            return None
        self._serving[stream] = None
        return self._request(stream, head, head.get("p"))

    def _request(self, stream: int, head: Any, params: Any) -> RequestReceived:
        remaining, trace = head.get("d"), head.get("t")
        return RequestReceived(
            stream,
            head["m"],
            params,
            remaining / 1000 if type(remaining) is int else None,
            trace if isinstance(trace, str) else None,
        )

    def _on_response(self, frame: frames.Frame) -> SessionEvent | None:
        stream = frame.stream
        if stream not in self._asked:
            self._check_given_up(stream)
            return None
        if self._asked[stream] is not None:
            raise ProtocolError("stream", f"a second answer on stream {stream}")
        self._sending.drop(stream)
        if frame.flags & ERROR:
            del self._asked[stream]
            return ResponseReceived(stream, None, decode_error(frame.payload))
        value = loads(frame.payload)
        if frame.flags & BODY:
            head = mapping(value, "the announcement of an answer")
            size = head.get("b")
            if type(size) is int and size > self.hello.message:
                raise ProtocolError("body", f"an answer of {size} bytes; {self.hello.message} are allowed")
            self._asked[stream] = self._receiving.begin(dict(head))
            return None
        del self._asked[stream]
        return ResponseReceived(stream, value, None)

    def _on_event(self, frame: frames.Frame) -> SessionEvent | None:
        if frame.stream and frame.stream not in self._asked:
            self._check_given_up(frame.stream)
            return None
        return EventReceived(frame.stream, loads(frame.payload))

    def _on_data(self, frame: frames.Frame) -> SessionEvent | None:
        stream = frame.stream
        table = self._asked if self._is_ours(stream) else self._serving
        incoming = table.get(stream)
        if incoming is None:
            self._receiving.stray(len(frame.body))
            return None
        grant = incoming.receive(frame.body)
        if not frame.flags & END:
            if grant:
                self._reply(frames.CREDIT, stream, _CREDIT.pack(grant))
            return None
        if frame.flags & ERROR:
            if table is self._serving:
                raise ProtocolError("body", "a request's body that was given up without CANCEL")
            self.forget(stream)
            return ResponseReceived(stream, None, PraxisError("cancelled", "cancelled", delivered=True))
        value = unpack(self._receiving.end(incoming), incoming.head.get("x", []))
        if table is self._asked:
            del table[stream]
            return ResponseReceived(stream, value, None)
        table[stream] = None
        return self._request(stream, incoming.head, value)

    def _on_credit(self, frame: frames.Frame) -> SessionEvent | None:
        if len(frame.payload) != _CREDIT.size:
            raise ProtocolError("credit", "CREDIT without a number")
        self._sending.credit(frame.stream, _CREDIT.unpack(frame.payload)[0])
        return None

    def _on_cancel(self, frame: frames.Frame) -> SessionEvent | None:
        stream = frame.stream
        if self._is_ours(stream):
            raise ProtocolError("stream", f"CANCEL of stream {stream}, which is ours")
        if stream in self._sending:  # the answer is on its way
            if self._sending.drop(stream):
                del self._serving[stream]
                self._put(frames.DATA, stream, b"", END | ERROR)
            else:
                self.refuse(stream, PraxisError("cancelled", "cancelled", delivered=True))
        elif stream in self._serving:
            incoming = self._serving[stream]
            if incoming is None:
                return CancelReceived(stream)
            self._receiving.give_up(incoming)
            self.refuse(stream, PraxisError("cancelled", "cancelled"))
        return None

    def _on_ping(self, frame: frames.Frame) -> SessionEvent | None:
        if frame.flags & ACK:
            return PongReceived(frame.payload)
        self._reply(frames.PING, 0, frame.payload[:8], ACK)
        return None

    def _on_goaway(self, frame: frames.Frame) -> SessionEvent | None:
        value = mapping(loads(frame.payload), "GOAWAY")
        return GoawayReceived(str(value.get("reason", ""))[:500], value.get("redial") is not False)

    def _is_ours(self, stream: int) -> bool:
        return stream % 2 == (1 if self.dialer else 0)

    def _check_given_up(self, stream: int) -> None:
        """What comes on a stream that is not open may belong to a request that was given up, and to nothing else."""
        if not self._is_ours(stream) or stream == 0:
            raise ProtocolError("stream", f"an answer on stream {stream}, which nobody asked on")


_HANDLERS = {
    frames.HELLO: Session._on_hello,
    frames.REQUEST: Session._on_request,
    frames.RESPONSE: Session._on_response,
    frames.EVENT: Session._on_event,
    frames.DATA: Session._on_data,
    frames.CREDIT: Session._on_credit,
    frames.CANCEL: Session._on_cancel,
    frames.PING: Session._on_ping,
    frames.GOAWAY: Session._on_goaway,
}


def _size(packed: bytes, placed: Placed) -> int:
    return len(packed) + sum(len(text) for _, text in placed)
