"""What a call over HTTP costs the endpoint, in counts that are the same on every machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from praxis.access.principal import Principal
from praxis.gateway.http import StreamableHttp
from praxis.net.http_server import Receive, Scope, Send
from praxis.observe.metrics import Metrics
from praxis.tools.service import McpService
from praxis.wire.mcp_eras import META_CAPABILITIES, META_VERSION
from tests.gateway.http_asgi import LOCAL, MODERN, Puppet, request
from tests.net.http_kit import client_of, serving
from tests.support.costs import counted

CALLS = 10
JSON = (("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"))


@pytest.mark.parametrize("modern", [False, True])
async def test_a_call_that_is_soon_over_is_one_task_and_three_steps(modern: bool) -> None:
    """The connection's own task takes two of them, up to the call and after it."""
    puppet, looks = Puppet(), 0

    async def choose(path: str, principal: Principal) -> McpService | None:
        return puppet

    endpoint = StreamableHttp(choose, principal_of=lambda _: LOCAL, key=b"k" * 32, metrics=Metrics())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_counting() -> Any:
            nonlocal looks
            looks += 1
            return await receive()

        await endpoint(scope, receive_counting, send)

    async with trio.open_nursery() as nursery:
        await nursery.start(endpoint.run, trio.Event())
        async with serving(app) as server, client_of(server) as client:

            async def call(number: int) -> None:
                params: dict[str, Any] = {"name": "x", "arguments": {}}
                if modern:
                    params["_meta"] = {META_VERSION: MODERN, META_CAPABILITIES: {}}
                body = json.dumps(request("tools/call", number, **params)).encode()
                status, _, said = await client.request("POST", "/mcp", body, *JSON, *headers)
                assert (status, json.loads(said)["result"]["content"][0]["type"]) == (200, "text")

            headers = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "x")]
            if not modern:
                hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c"}}
                body = json.dumps(request("initialize", 0, **hello)).encode()
                _, got, _ = await client.request("POST", "/mcp", body, *JSON)
                headers = [("Mcp-Session-Id", got[b"mcp-session-id"].decode())]
            await call(1)
            looks, own = 0, trio.lowlevel.current_task()
            with counted(lambda task: task is not own and "Lookout" not in task.name) as costs:
                for number in range(CALLS):
                    await call(number)
            assert (costs.tasks, costs.steps) == (CALLS, 3 * CALLS)
            assert looks == CALLS, "the body is taken, and nobody looks whether the caller is still there"
        nursery.cancel_scope.cancel()
