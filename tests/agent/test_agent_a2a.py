"""An agent hands tasks to another one by A2A over real HTTP, and they do not know each other otherwise."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.entrance import LOCAL
from praxis.config.schema import A2a, A2aAgent, Config, DeclaredTool, Http
from praxis.dev import RunningAgent, make_config, start
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import ToolRef
from praxis.peers.keyring import NetworkKey
from tests.support.processes import alive

PATIENCE = 20.0

CHILD = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


def alone(name: str, folder: Path, **changes: Any) -> Config:
    config = make_config(name, key=NetworkKey.generate().text, discovery_port=61000, folder=folder)
    return attrs.evolve(config, p2p=attrs.evolve(config.p2p, enabled=False), **changes)


def far_config(folder: Path, port: int = 0) -> Config:
    command = (sys.executable, "-c", CHILD, str(folder / "pid"))
    return alone("far", folder, tools=(DeclaredTool("sleep", "process", command=command),), http=Http(port=port))


@attrs.frozen
class Pair:
    folder: Path
    near: RunningAgent
    far: RunningAgent
    url: str

    def travel(self) -> str:
        (state,) = (each.state for each in self.near.agent.registry.sources() if each.name == "travel")
        return state

    async def run(self, program: str, **more: Any) -> RunRecord:
        with trio.fail_after(PATIENCE):
            return await self.near.agent.executor.execute(program, LOCAL, **more)

    async def child(self) -> int:
        """The process that a task has begun."""
        file = self.folder / "pid"
        await until(lambda: file.exists() and file.read_text() != "")
        return int(file.read_text())


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nothing tells it
            await trio.sleep(0.005)


@asynccontextmanager
async def pair(folder: Path, **keys: Any) -> AsyncIterator[Pair]:
    async with trio.open_nursery() as nursery:
        far = await start(nursery, far_config(folder), folder)
        assert far.addresses.http is not None
        url = f"http://127.0.0.1:{far.addresses.http[1]}"
        config = alone("near", folder, a2a=A2a(False, (A2aAgent("travel", url, **keys),)))
        near = await start(nursery, config, folder)
        at = Pair(folder, near, far, url)
        await until(lambda: at.travel() == "ready")
        yield at
        near.stopping.set()
        far.stopping.set()


async def test_a_program_names_the_agent_by_name_and_by_address(tmp_path: Path) -> None:
    (tmp_path / "far" / "shared").mkdir(parents=True)
    (tmp_path / "far" / "shared" / "hello.txt").write_text("hello")
    async with pair(tmp_path) as at:
        names = [tool.name for tool in at.near.agent.registry.tools() if tool.source == "travel"]
        assert names == ["ask", "run-program"]
        call = 'CALL run-program "CALL read_file --filename hello.txt"'
        programs = (
            f"AGENT travel {{ {call} }}",
            f"AGENT {at.url} {{ {call} }}",
            f"{call} ON {at.url}/",
            f'AGENT {at.url} {{ CALL travel/ask "CALL read_file hello.txt" }}',
            f"CALL {at.url}:run-program 'CALL read_file hello.txt'",
        )
        for program in programs:
            run = await at.run(program)
            assert run.state == "succeeded", run.error
            (step,) = run.steps
            assert step.result is not None
            assert step.result["content"][0] == {"type": "text", "text": "hello"}
            assert step.route is not None
            assert step.route.tool.startswith("near:travel/")


async def test_an_address_that_is_not_configured_is_refused_before_anything_runs(tmp_path: Path) -> None:
    async with pair(tmp_path) as at:
        for program in ("AGENT https://evil.example { CALL x hello }", "CALL x hello ON http://169.254.169.254/latest"):
            with pytest.raises(PraxisError) as refused:
                await at.run(program)
            assert (refused.value.code, refused.value.where[:6]) == ("not_found", "line 1")
            assert "a2a: {agents: [{name: NAME, url: ADDRESS}]}" in refused.value.hint
        with pytest.raises(PraxisError, match="has no source fs"):
            await at.run(f"AGENT {at.url} {{ CALL fs/read_file x }}")


async def test_a_failed_task_fails_the_step(tmp_path: Path) -> None:
    async with pair(tmp_path) as at:
        run = await at.run('AGENT travel { CALL ask "CALL read_file missing.txt" }')
        assert run.state == "failed"
        assert run.error is not None
        assert "the task failed" in run.error.detail
        with pytest.raises(PraxisError, match="-32602"):
            await at.near.agent.executor.call(ToolRef.parse("travel/ask"), {"message": "CALL ("}, LOCAL)


async def test_cancelling_the_call_ends_the_child_of_the_task(tmp_path: Path) -> None:
    async with pair(tmp_path) as at, trio.open_nursery() as nursery:
        nursery.start_soon(at.run, 'AGENT travel { CALL ask "CALL sleep" }')
        pid = await at.child()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await until(lambda: not alive(pid))


async def test_a_task_that_takes_too_long_is_cancelled_there(tmp_path: Path) -> None:
    async with pair(tmp_path, timeout=0.5) as at:
        run = await at.run('AGENT travel { CALL ask "CALL sleep" }')
        assert run.state == "failed"
        assert run.error is not None
        assert "has not ended within 0.5 s" in run.error.detail
        pid = await at.child()
        await until(lambda: not alive(pid))


async def test_an_agent_that_is_started_again_is_called_again(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            far = await start(first, far_config(tmp_path), tmp_path)
            assert far.addresses.http is not None
            port = far.addresses.http[1]
            agents = (A2aAgent("travel", f"http://127.0.0.1:{port}"),)
            near = await start(nursery, alone("near", tmp_path, a2a=A2a(agents=agents)), tmp_path)
            at = Pair(tmp_path, near, far, agents[0].url)
            await until(lambda: at.travel() == "ready")
            far.stopping.set()
        run = await at.run('AGENT travel { CALL ask "CALL list_files" }')
        assert run.state == "failed"
        await until(lambda: at.travel() == "backing off")
        far = await start(nursery, far_config(tmp_path, port), tmp_path)
        await until(lambda: at.travel() == "ready")
        assert (await at.run('AGENT travel { CALL ask "CALL list_files" }')).state == "succeeded"
        near.stopping.set()
        far.stopping.set()


async def test_an_agent_whose_a2a_is_off_has_no_card_and_takes_no_requests(tmp_path: Path) -> None:
    async with pair(tmp_path) as at:
        assert at.near.addresses.http is not None
        port = at.near.addresses.http[1]
        for request in (b"GET /.well-known/agent-card.json", b"POST /a2a/v1", b"POST /", b"GET /a2a/tasks"):
            assert await status(port, request) == 404
        body = b'{"jsonrpc": "2.0", "id": 1, "method": "message/send"}'
        assert await status(port, b"POST /execute", body) == 404
        assert await status(port, b"GET /tools") == 200


async def status(port: int, request: bytes, body: bytes = b"{}") -> int:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        head = b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
        await stream.send_all(request + head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = b""
        async for piece in stream:
            answer += piece
    return int(answer.split()[1])
