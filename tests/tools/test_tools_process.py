"""Tools that are programs: real ones, of which nothing is left however a call ends."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from praxis.config.schema import DeclaredTool, ToolParam
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools import process_tools
from praxis.tools.process_tools import ProcessTools
from praxis.tools.registry import ToolRegistry
from tests.support.processes import wait_gone, wait_until

CONTEXT = CallContext("tester")
ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/home/x", "TOKEN": "t0ken", "HIDDEN": "no"}


def program(text: str, **keys: Any) -> DeclaredTool:
    return DeclaredTool("job", "process", command=(sys.executable, "-c", text), **keys)


def source(tool: DeclaredTool, folder: Path) -> ProcessTools:
    return ProcessTools([tool], "agent", base_dir=folder, environ=ENVIRON)


async def call(tool: DeclaredTool, folder: Path, context: CallContext = CONTEXT, **arguments: Any) -> ToolResult:
    registry = ToolRegistry("agent", bus=EventBus(), metrics=Metrics())
    registry.add(source(tool, folder))
    with trio.fail_after(10):
        return await registry.call(registry.find("process", "job"), arguments, context)


ENVIRONMENT = """
import json, os, sys
print(json.dumps({"env": dict(os.environ), "stdin": json.load(sys.stdin), "cwd": os.getcwd()}))
"""


async def test_what_a_program_gets(tmp_path: Path) -> None:
    params = (ToolParam("x"), ToolParam("n", "integer", default=7))
    tool = program(ENVIRONMENT, params=params, env={"MODE": "fast"}, env_passthrough=("TOKEN", "ABSENT"))
    got = json.loads((await call(tool, tmp_path, x="a b")).text)
    assert got["stdin"] == {"x": "a b", "n": 7}
    assert got["cwd"] == str(tmp_path)
    assert {"PRAXIS_PARAM_X": "a b", "PRAXIS_PARAM_N": "7", "MODE": "fast", "TOKEN": "t0ken"}.items() <= got[
        "env"
    ].items()
    assert not {"HIDDEN", "ABSENT"} & got["env"].keys()


async def test_it_starts_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    got = json.loads((await call(program(ENVIRONMENT, workdir=tmp_path / "sub"), tmp_path)).text)
    assert got["cwd"] == str(tmp_path / "sub")


async def test_one_that_reads_nothing_gets_a_large_argument_all_the_same(tmp_path: Path) -> None:
    tool = program("print('done')", params=(ToolParam("x"),))
    assert (await call(tool, tmp_path, x="y" * 3_000_000)).text == "done\n"


async def test_a_status_is_a_result_with_an_error(tmp_path: Path) -> None:
    said: list[Any] = []
    tool = program("import sys; print('half'); print('why', file=sys.stderr); sys.exit(3)")
    result = await call(tool, tmp_path, CallContext("tester", on_log=said.append))
    assert result.is_error
    assert result.text == "process/job ended with exit status 3:\nwhy\nhalf\n"
    assert [each["data"] for each in said] == ["why"]


async def test_one_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for tool in (DeclaredTool("job", "process", command=("no-such-program",)), program("", workdir=tmp_path / "no")):
        with pytest.raises(PraxisError, match="process/job cannot be started: No such file") as refused:
            await call(tool, tmp_path)
        assert (refused.value.code, refused.value.delivered) == ("unavailable", False)


FAMILY = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = [os.getpid()]
if (child := os.fork()) == 0:
    time.sleep(600)
pathlib.Path("pids").write_text(f"{os.getpid()} {child}")
time.sleep(600)
"""


async def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    await wait_until(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(pid) for pid in file.read_text().split()]


async def test_a_cancelled_call_leaves_nothing(tmp_path: Path) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, program(FAMILY), tmp_path)
        left = await pids(tmp_path)
        nursery.cancel_scope.cancel()
    await wait_gone(*left)
    assert trio.current_time() - began < process_tools.KILL_LIMIT + 5


async def test_one_that_takes_too_long_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PraxisError, match=r"process/job did not end within 2 s") as late:
        await call(program(FAMILY, timeout=2.0), tmp_path)
    assert (late.value.code, late.value.delivered) == ("timeout", True)
    await wait_gone(*await pids(tmp_path))


async def test_what_holds_its_output_open_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that left the group is out of reach; the call ends all the same."""
    monkeypatch.setattr(process_tools, "LAST_OUTPUT", 0.1)
    text = """
import os, pathlib, time
if os.fork() == 0:
    os.setsid()
    pathlib.Path("pids").write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(60)
print("done", flush=True)
while not os.path.exists("pids"): time.sleep(0.01)
"""
    try:
        assert (await call(program(text), tmp_path)).text == "done\n"
    finally:
        os.kill((await pids(tmp_path))[0], 9)


async def test_endless_output_costs_no_memory(tmp_path: Path) -> None:
    tool = program("while True: print('x' * 10000)", timeout=0.5)
    with pytest.raises(PraxisError) as late:
        await call(tool, tmp_path)
    assert late.value.code == "timeout"


async def test_so_many_at_once_and_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tools, "AT_ONCE", 1)
    tools = source(program("import pathlib, time\npathlib.Path('pids').write_text('1 1')\ntime.sleep(600)"), tmp_path)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(tools.call, "job", {}, CONTEXT)
        await pids(tmp_path)
        assert tools.waiting == 2
        nursery.cancel_scope.cancel()
    assert tools.waiting == 0
    assert tools.state().state == "ready"
    with pytest.raises(PraxisError, match="there is no tool 'other'"):
        await tools.call("other", {}, CONTEXT)
