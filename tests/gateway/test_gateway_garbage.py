"""Whatever is sent to the endpoint gets an answer of the protocol, and the next request is served."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from praxis.wire.mcp_eras import META_CAPABILITIES, META_VERSION
from tests.gateway.http_asgi import endpoint, request, settled

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
METHODS = ["initialize", "ping", "tools/list", "tools/call", "prompts/get", "resources/read", "resources/subscribe"]
METHODS += ["server/discover", "completion/complete", "logging/setLevel", "notifications/cancelled", "x"]
META = st.dictionaries(st.sampled_from([META_VERSION, META_CAPABILITIES, "progressToken", "a"]), VALUES)
MEMBERS = [
    "name",
    "uri",
    "arguments",
    "_meta",
    "inputResponses",
    "requestState",
    "level",
    "requestId",
    "protocolVersion",
]
PARAMS = st.dictionaries(st.sampled_from(MEMBERS), VALUES | META | st.just("tell"))
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={"id": VALUES, "method": st.sampled_from(METHODS) | VALUES, "params": PARAMS | VALUES, "result": VALUES},
)
BODIES = st.binary(max_size=20) | (VALUES | MESSAGES | st.lists(MESSAGES, max_size=3)).map(
    lambda v: json.dumps(v).encode()
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "mcp_protocol_version": st.sampled_from(["2026-07-28", "2025-11-25", "x", "=?base64?x?="]),
        "mcp_method": st.sampled_from(METHODS),
        "mcp_name": st.sampled_from(["tell", "=?base64?!?="]),
        "accept": st.sampled_from(["application/json", "text/event-stream", "x"]),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["POST"] * 8 + ["GET", "DELETE", "PUT"]), BODIES, HEADERS, st.booleans())
def test_garbage_is_answered(
    caplog: pytest.LogCaptureFixture, method: str, body: bytes, headers: dict[str, str], with_session: bool
) -> None:
    async def main() -> None:
        async with endpoint() as at:
            client = await at.connect("2025-03-26")
            session: dict[str, str] = {"mcp_session_id": client.session} if with_session else {}
            asking = at.browser.start(method, body, **{**headers, **session})
            await settled()
            answer: Any = asking.answer
            assert answer.status in (200, 202, 204, 400, 404, 405, 406), (answer.status, answer.body)
            asking.hang_up()
            if method != "DELETE":
                assert (await client.ask("ping", "last")).json["result"] == {}
            assert (await at.browser.ask("POST", request("initialize", protocolVersion="x"))).status == 200

    with caplog.at_level(logging.ERROR):
        trio.run(main)
    assert caplog.text == ""
