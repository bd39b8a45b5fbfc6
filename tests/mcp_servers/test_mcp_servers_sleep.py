from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from mcp_servers import sleep_server
from tests.support.processes import PATIENCE, alive, wait_gone, wait_until


@attrs.define
class Conversation:
    """The server and what it has said."""

    process: trio.Process
    _rest: bytes = b""

    async def send(self, *messages: Any) -> None:
        assert self.process.stdin is not None
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        await self.process.stdin.send_all(b"".join(line + b"\n" for line in lines))

    async def receive(self) -> Any:
        assert self.process.stdout is not None
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._rest:
                piece = await self.process.stdout.receive_some()
                assert piece, "the server has ended"
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def answer(self, id: Any) -> Any:
        """The next message, which must be the answer to this request and hold no error."""
        message = await self.receive()
        assert message["id"] == id, message
        return message["result"]

    async def child(self) -> int:
        """The next message, which must be the first progress of a call: the pid of its child."""
        message = await self.receive()
        assert message["method"] == "notifications/progress"
        return int(message["params"]["message"].removeprefix("child pid "))


@asynccontextmanager
async def start() -> AsyncIterator[Conversation]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-I", sleep_server.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            yield Conversation(process)
        finally:
            with trio.move_on_after(5, shield=True):
                await process.stdin.aclose()
                await process.wait()
            if process.returncode is None:
                process.kill()


def call(id: Any, tool: str, /, token: Any = None, **arguments: Any) -> Any:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return {
        "jsonrpc": "2.0",
        "id": id,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, **meta},
    }


def cancel(id: Any) -> Any:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}


async def test_handshake_and_tools() -> None:
    async with start() as server:
        await server.send({"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}})
        assert (await server.answer(1))["protocolVersion"] == "2025-03-26"
        await server.send({"method": "notifications/initialized"}, {"id": "p", "method": "ping"})
        assert await server.answer("p") == {}
        await server.send({"id": 2, "method": "tools/list"})
        assert [tool["name"] for tool in (await server.answer(2))["tools"]] == ["long_task", "echo"]
        await server.send(call(3, "echo", text="wörd\u2028"))
        assert (await server.answer(3))["content"] == [{"type": "text", "text": "wörd\u2028"}]


async def test_a_long_task_is_a_real_process_and_answers_at_its_end(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    async with start() as server:
        await server.send(call(1, "long_task", "token", seconds=0.05, pid_file=str(pid_file)))
        progress = (await server.receive())["params"]
        child = int(progress["message"].removeprefix("child pid "))
        assert progress == {"progressToken": "token", "progress": 0, "total": 0.05, "message": f"child pid {child}"}
        assert pid_file.read_text() == f"{child}\n"
        result = await server.answer(1)
    assert result == {"content": [{"type": "text", "text": f"child {child} ran for 0.05 s"}], "isError": False}
    assert not alive(child)


async def test_cancelling_kills_the_child_at_once_and_sends_no_answer() -> None:
    async with start() as server:
        await server.send(call(1, "long_task", 7, seconds=600))
        child = await server.child()
        assert alive(child)
        await server.send(cancel(1))
        await wait_gone(child)
        await server.send(call(2, "echo", text="still here"))
        assert (await server.answer(2))["isError"] is False


async def test_a_cancel_that_overtakes_the_child_leaves_none() -> None:
    async with start() as server:
        for id in range(20):
            await server.send(call(id, "long_task", seconds=600), cancel(id))
        await server.send(call("end", "echo", text=""))
        await server.answer("end")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        await wait_until(lambda: not children.exists() or not children.read_text())


async def test_calls_run_side_by_side() -> None:
    async with start() as server:
        await server.send(call(1, "long_task", 1, seconds=600), call(2, "long_task", 2, seconds=600))
        children = {await server.child(), await server.child()}
        assert len(children) == 2
        assert all(alive(child) for child in children)
        await server.send(call(3, "echo", text="meanwhile"))
        await server.answer(3)
        await server.send(cancel(1), cancel("unknown"), cancel(None), cancel([2]))
        await wait_until(lambda: sum(alive(child) for child in children) == 1)
        await server.send(cancel(2))
        await wait_gone(*children)


@pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
async def test_no_child_outlives_the_server(way: str) -> None:
    async with start() as server:
        await server.send(call(1, "long_task", 1, seconds=600))
        child = await server.child()
        if way == "SIGTERM":
            server.process.terminate()
    assert server.process.returncode == (143 if way == "SIGTERM" else 0)
    await wait_gone(child)


async def test_a_child_that_somebody_kills_is_a_failure_of_the_tool() -> None:
    async with start() as server:
        await server.send(call(1, "long_task", 1, seconds=600))
        child = await server.child()
        os.kill(child, 9)
        result = await server.answer(1)
        assert result["isError"] is True
        assert f"child {child} ended with status -9" in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("long_task", {}, "seconds must be a number"),
        ("long_task", {"seconds": "5"}, "seconds must be a number"),
        ("long_task", {"seconds": True}, "seconds must be a number"),
        ("long_task", {"seconds": -1}, "from 0 to 3600"),
        ("long_task", {"seconds": 1e9}, "from 0 to 3600"),
        ("long_task", {"seconds": float("nan")}, "from 0 to 3600"),
        ("long_task", {"seconds": 1, "pid_file": 5}, "name of a file"),
        ("long_task", {"seconds": 600, "pid_file": "/no/such/folder/pid"}, "cannot write"),
        ("long_task", {"seconds": 600, "pid_file": "/etc/hostname"}, "no pid file"),
        ("long_task", {"second": 1}, "unknown argument second"),
        ("echo", {"text": 5}, "text must be a string"),
    ],
)
async def test_wrong_arguments_are_results_with_is_error(tool: str, arguments: dict[str, Any], problem: str) -> None:
    async with start() as server:
        await server.send(call(1, tool, **arguments))
        result = await server.answer(1)
    assert result["isError"] is True
    assert problem in result["content"][0]["text"]


async def test_a_pid_file_may_be_used_again(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("12345\n")
    async with start() as server:
        await server.send(call(1, "long_task", seconds=0, pid_file=str(tmp_path / "pid")))
        assert (await server.answer(1))["isError"] is False
    assert (tmp_path / "pid").read_text() != "12345\n"
    assert os.listdir(tmp_path) == ["pid"]


@pytest.mark.parametrize(
    ("line", "id", "code"),
    [
        (b"nonsense", None, -32700),
        (b"7", None, -32600),
        (b'{"id":[],"method":"ping"}', None, -32600),
        (b'{"id":1,"method":"resources/list"}', 1, -32601),
        (b'{"id":1,"method":"tools/call","params":{"name":"no"}}', 1, -32602),
    ],
)
async def test_protocol_errors(line: bytes, id: Any, code: int) -> None:
    async with start() as server:
        await server.send(b'{"id":3,"result":{}}', b"", line)
        answer = await server.receive()
    assert (answer["id"], answer["error"]["code"]) == (id, code)


async def test_an_id_that_is_in_use_is_refused() -> None:
    async with start() as server:
        await server.send(call(1, "long_task", 1, seconds=600))
        child = await server.child()
        await server.send(call(1, "echo", text=""))
        assert (await server.receive())["error"]["code"] == -32600
        await server.send(cancel(1))
        await wait_gone(child)
