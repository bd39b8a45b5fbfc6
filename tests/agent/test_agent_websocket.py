"""A WebSocket client of a whole agent runs a program on another agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket

from praxis.dev import RunningAgent
from tests.agent.test_agent_network import add_slow_tools
from tests.support.network import PATIENCE, connected


def open_gateway(agent: RunningAgent) -> Any:
    assert agent.addresses.websocket is not None
    host, port = agent.addresses.websocket
    return open_websocket(host, port, "/ws/workflow", use_ssl=False)


async def send(client: WebSocketConnection, type: str, **payload: Any) -> None:
    await client.send_message(json.dumps({"type": type, "payload": payload}))


async def until(client: WebSocketConnection, type: str) -> list[dict[str, Any]]:
    """Every message up to one of this type."""
    got: list[dict[str, Any]] = []
    with trio.fail_after(PATIENCE):
        while not got or got[-1]["type"] != type:
            got.append(json.loads(await client.get_message()))
    return got


async def test_a_program_runs_on_the_other_agent_and_is_watched(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, _), open_gateway(one) as client:
        await send(client, "DSL_COMMAND", command='CALL agent-2:write_file a.txt "hi"')
        messages = await until(client, "dslResult")
        assert (tmp_path / "agent-2" / "shared" / "a.txt").read_text() == "hi"
        types = [message["type"] for message in messages]
        assert types.index("workflowStart") < types.index("nodeStatusUpdate") < types.index("dslResult")
        numbers = [message["seq"] for message in messages]
        assert numbers == sorted(set(numbers))
        await send(client, "DSL_COMMAND", command='CALL "never closed')
        assert "line 1" in json.dumps((await until(client, "error"))[-1])
        await send(client, "NO_SUCH_THING")
        assert (await until(client, "error"))[-1]["payload"]["code"]


async def test_a_client_that_goes_away_takes_its_runs_along(tmp_path: Path) -> None:
    async with connected(tmp_path) as (one, two):
        tools = await add_slow_tools(two, one)
        async with open_gateway(one) as client:
            await send(client, "DSL_COMMAND", command="CALL wait")
            with trio.fail_after(PATIENCE):
                await tools.started.wait()
        with trio.fail_after(PATIENCE):
            await tools.ended.wait()
            await one.agent.executor.wait_idle()
        (run,), _ = one.agent.executor.list_runs()
        assert run.state == "cancelled"
