"""The opening handshake as HTTP."""

from __future__ import annotations

import json

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request

from praxis.model.errors import PraxisError
from praxis.websocket.opening import Opening, Refused, read_opening

GOOD = {
    "Host": "localhost:8090",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Origin": "http://localhost:8090",
}


class Chunks(trio.abc.ReceiveStream):
    """Gives these chunks, then the end."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._chunks.pop(0) if self._chunks else b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def request(line: str = "GET /ws/workflow HTTP/1.1", **changes: str | None) -> bytes:
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def test_a_handshake_is_read_in_any_pieces() -> None:
    data = request() + b"frames"
    for size in (1, 7, len(data)):
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        opening = await read_opening(Chunks(*pieces))
        assert opening is not None
        assert dict(opening.headers)["origin"] == "http://localhost:8090"
        assert dict(opening.headers)["host"] == "localhost:8090"
        assert opening.key == GOOD["Sec-WebSocket-Key"]
        assert b"frames".startswith(opening.rest)


async def test_a_query_does_not_change_the_path() -> None:
    assert await read_opening(Chunks(request("GET /ws/workflow?a=b HTTP/1.1"))) is not None


async def test_the_head_for_the_library_is_a_handshake_to_it() -> None:
    opening = Opening((), GOOD["Sec-WebSocket-Key"], b"")
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(opening.head)
    (event,) = server.events()
    assert isinstance(event, Request)
    assert (event.target, event.extensions, event.subprotocols) == ("/ws/workflow", [], [])


@pytest.mark.parametrize("data", [b"", b"GET /ws/work", request()[:-1]])
async def test_one_who_leaves_early_gets_no_answer(data: bytes) -> None:
    assert await read_opening(Chunks(data)) is None


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (request("GET / HTTP/1.1"), 404, "connect to /ws/workflow"),
        (request("GET /ws/workflow/ HTTP/1.1"), 404, "nothing at"),
        (request("GET /health HTTP/1.1", Upgrade=None), 404, "nothing at"),
        (request("POST /ws/workflow HTTP/1.1"), 405, "GET"),
        (request("GET /ws/workflow HTTP/1.0"), 400, "HTTP/1.1"),
        (request(Upgrade=None), 426, "only WebSocket"),
        (request(Upgrade="h2c"), 426, "only WebSocket"),
        (request(Connection="close"), 426, "only WebSocket"),
        (request(Sec_WebSocket_Version="8"), 426, "Version: 13"),
        (request(Sec_WebSocket_Version=None), 426, "Version: 13"),
        (request(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Key="short"), 400, "Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Key="c2hvcnQ="), 400, "Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Key="ü" * 24), 400, "Sec-WebSocket-Key"),
        (request(Content_Length="5"), 400, "no body"),
        (request(Transfer_Encoding="chunked"), 400, "no body"),
        (request(Host=None), 400, "Host"),
        (b"\x16\x03\x01 a TLS hello \r\n\r\n", 400, "not a request"),
        (b"GET " + b"x" * 40_000, 431, "not a request"),
        (b"\x00" * 100 + b"\r\n\r\n", 400, "not a request"),
    ],
)
async def test_what_is_no_handshake_is_refused_with_a_problem_document(data: bytes, status: int, says: str) -> None:
    with pytest.raises(Refused) as caught:
        await read_opening(Chunks(*[data[i : i + 1000] for i in range(0, len(data), 1000)]))
    assert caught.value.status == status
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(caught.value.response())
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == status
    headers = dict(response.headers.raw_items())
    assert headers[b"Content-Type"] == b"application/problem+json"
    assert headers[b"Connection"] == b"close"
    body = client.next_event()
    assert isinstance(body, h11.Data)
    assert isinstance(client.next_event(), h11.EndOfMessage)
    problem = json.loads(bytes(body.data))
    assert problem["status"] == status
    assert says in problem["detail"] + problem.get("hint", "")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PraxisError("denied", "wrong host", data={"status": 421}), 421),
        (PraxisError("denied", "wrong origin"), 403),
        (PraxisError("unauthenticated", "no token"), 401),
        (PraxisError("busy", "full"), 503),
        (PraxisError("internal", "bug"), 500),
    ],
)
def test_errors_of_the_entrance_have_their_status(error: PraxisError, status: int) -> None:
    refused = Refused.of(error)
    assert refused.response().startswith(b"HTTP/1.1 %d " % status)
    assert (b"WWW-Authenticate: Bearer" in refused.response()) == (status == 401)


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_garbage_is_refused_or_ignored_and_nothing_else(chunks: list[bytes], after_a_good_start: bool) -> None:
    if after_a_good_start:
        chunks = [request()[:60], *chunks, b"\r\n\r\n"]

    async def read() -> None:
        try:
            opening = await read_opening(Chunks(*chunks))
        except Refused as refused:
            assert 400 <= refused.status < 500
        else:
            assert opening is None or isinstance(opening, Opening)

    trio.run(read)
