"""Declared tools that are containers, in real engines, Docker and Podman: what they get, give, may do, and leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.config.schema import DeclaredTool, ToolMount, ToolParam
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, ToolResult
from praxis.tools.container_tools import ContainerTools
from tests.deploy.engines import ROOT, Engine, needed
from tests.support.processes import wait_until

pytestmark = needed

IMAGE = next(line.split()[1] for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("FROM"))
LABEL = "label=praxis.agent"
PATIENCE = 60


@pytest.fixture(params=["docker", "podman"])
def real(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "docker" else "podman")
    return found


def socket_of(real: Engine) -> Path:
    return Path(real.env["DOCKER_HOST"].removeprefix("unix://"))


def left(real: Engine) -> list[str]:
    """Containers of any agent, running or not; Docker's own client speaks to Podman too."""
    return real.run("docker", "ps", "--all", "--quiet", "--filter", LABEL).split()


def program(text: str, **keys: Any) -> DeclaredTool:
    return DeclaredTool("job", "container", image=IMAGE, command=("python3", "-c", text), **keys)


@asynccontextmanager
async def tools(real: Engine, *declared: DeclaredTool) -> AsyncIterator[ContainerTools]:
    source = ContainerTools(declared, "agent", "pxtest", socket=socket_of(real), environ={"TOKEN": "t0ken"})
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        yield source
        nursery.cancel_scope.cancel()


async def call(real: Engine, tool: DeclaredTool, context: CallContext | None = None, **arguments: Any) -> ToolResult:
    async with tools(real, tool) as source:
        with trio.fail_after(PATIENCE):
            return await source.call(tool.name, arguments, context or CallContext("tester"))


async def refusal(real: Engine, tool: DeclaredTool) -> PraxisError:
    async with tools(real, tool) as source:
        with trio.fail_after(PATIENCE), pytest.raises(PraxisError) as refused:
            await source.call(tool.name, {}, CallContext("tester"))
    return refused.value


GIVEN = """
import json, os, sys
print("a word", file=sys.stderr)
print(json.dumps({"env": dict(os.environ), "stdin": json.load(sys.stdin), "cwd": os.getcwd(), "uid": os.getuid(),
                  "secret": open("/run/secrets/key").read()}))
"""


async def test_what_a_program_gets_and_gives(real: Engine) -> None:
    said: list[Any] = []
    tool = program(
        GIVEN,
        params=(ToolParam("x"), ToolParam("n", "integer", default=7)),
        env={"MODE": "fast"},
        env_passthrough=("TOKEN",),
        secrets={"key": "hush"},
        workdir=Path("/work/here"),
        user="65534:65534",
    )
    result = await call(real, tool, CallContext("tester", on_log=said.append), x="a é\n b")
    got = json.loads(result.text)
    assert got["stdin"] == {"x": "a é\n b", "n": 7}
    wanted = {"PRAXIS_PARAM_X": "a é\n b", "PRAXIS_PARAM_N": "7", "MODE": "fast", "TOKEN": "t0ken"}
    assert wanted.items() <= got["env"].items()
    assert (got["secret"], got["cwd"], got["uid"]) == ("hush", "/work/here", 65534)
    assert [each["data"] for each in said] == ["a word"]
    assert not left(real)


async def test_a_large_argument_and_a_large_output(real: Engine) -> None:
    tool = program("import sys; d = sys.stdin.read(); print(len(d)); print('y' * 3000000)", params=(ToolParam("x"),))
    text, note = (block["text"] for block in (await call(real, tool, x="x" * 2_000_000)).value["content"])
    assert text.startswith("2000009\nyyy")
    assert "more bytes of output are left out" in note


async def test_one_that_reads_nothing_ends_all_the_same(real: Engine) -> None:
    assert (await call(real, program("print(1)", params=(ToolParam("x"),)), x="x" * 2_000_000)).text == "1\n"


async def test_an_exit_status_is_an_error_with_the_last_words(real: Engine) -> None:
    result = await call(real, program("import sys; print('half'); sys.exit('why it failed')"))
    assert result.is_error
    assert result.text == "container/job ended with exit status 1:\nwhy it failed\nhalf\n"
    assert not left(real)


async def test_artifacts_come_back(real: Engine) -> None:
    text = (
        "import os; os.mkdir('sub'); open('sub/a.txt', 'w').write('hi'); open('b', 'wb').write(b'\\xff');"
        "os.symlink('/etc/passwd', 'link')"
    )
    tool = program(text, workdir=Path("/work/out"), artifacts="/work/out", user="65534:65534")
    content = (await call(real, tool)).value["content"]
    found = {block["resource"]["uri"]: block["resource"] for block in content if block["type"] == "resource"}
    assert found["artifact:///sub/a.txt"]["text"] == "hi"
    assert found["artifact:///b"]["blob"] == "/w=="
    assert len(found) == 2
    assert "left out of the artifacts: 'link'" in content[-1]["text"]


async def test_a_cancelled_call_leaves_no_container(real: Engine) -> None:
    tool = program("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
    async with tools(real, tool) as source, trio.open_nursery() as nursery:
        nursery.start_soon(source.call, "job", {}, CallContext("tester"))
        await running(real)
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 8, "it is not asked politely first"
    assert not left(real)


async def running(real: Engine, count: int = 1) -> None:
    """Until so many containers of agents run."""
    shown = ("docker", "ps", "--quiet", "--filter", LABEL, "--filter", "status=running")
    await wait_until(lambda: len(real.run(*shown).split()) >= count)


async def test_one_that_takes_too_long_leaves_none(real: Engine) -> None:
    late = await refusal(real, program("while True: print('x' * 1000)", timeout=1.5))
    assert (late.code, late.delivered) == ("timeout", True)
    assert not left(real)


LIMITS = """
import json, os, pathlib
def first(*names):
    found = [path for path in (pathlib.Path("/sys/fs/cgroup", name) for name in names) if path.exists()]
    return found[0].read_text().split()[0]
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def tried(work):
    try:
        return str(work())
    except OSError as error:
        return error.strerror
print(json.dumps({
    "memory": first("memory.max", "memory/memory.limit_in_bytes"),
    "pids": first("pids.max", "pids/pids.max"),
    "cpu": first("cpu.max", "cpu/cpu.cfs_quota_us"),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "capabilities": status["CapEff"].strip(), "no_new_privileges": status["NoNewPrivs"].strip(),
    "mounted": open("/in/x").read(), "write": tried(lambda: open("/in/y", "w")),
    "other": tried(lambda: open("/out/y", "w").write("z")),
}))
"""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "in" / "x").write_text("from here")
    return tmp_path


async def test_limits_and_mounts_are_really_there(real: Engine, folders: Path) -> None:
    mounts = (ToolMount(folders / "in", "/in", True), ToolMount(folders / "out", "/out"))
    limited = program(LIMITS, mounts=mounts, memory="64m", pids=33, cpu=0.5)
    got = json.loads((await call(real, limited)).text)
    assert (got["memory"], got["pids"], got["cpu"]) == (str(64 << 20), "33", "50000")
    assert got["interfaces"] == ["lo"]
    assert (got["capabilities"], got["no_new_privileges"]) == ("0" * 16, "1")
    assert (got["mounted"], got["write"], got["other"]) == ("from here", "Read-only file system", "1")
    assert await trio.Path(folders / "out" / "y").read_text() == "z"
    connected = await call(real, attrs.evolve(limited, network="bridge"))
    assert json.loads(connected.text)["interfaces"] == ["eth0", "lo"]


async def test_too_much_memory_and_too_many_processes_are_refused_by_the_kernel(real: Engine) -> None:
    result = await call(real, program("x = bytearray(300 << 20)", memory="64m"))
    assert "exit status 137 (killed, as a program is that needs more than its memory of 64m)" in result.text
    text = "import os, time\nfor i in range(99):\n    if os.fork() == 0: time.sleep(60); os._exit(0)"
    result = await call(real, program(text, pids=20))
    assert "BlockingIOError" in result.text


async def test_what_cannot_be_run_is_said_in_the_engines_words(real: Engine, tmp_path: Path) -> None:
    tool = program("")
    absent = attrs.evolve(tool, mounts=(ToolMount(tmp_path / "absent", "/x"),))
    for wrong, words in (
        (attrs.evolve(tool, image="praxis.invalid/none:1"), "is not on this machine"),
        (attrs.evolve(tool, image="127.0.0.1:1/none:1", pull="missing"), "refused"),
        (attrs.evolve(tool, command=("/no/such/program",)), "/no/such/program"),
        (attrs.evolve(tool, network="no-such-network"), "no-such-network"),
    ):
        refused = await refusal(real, wrong)
        assert (refused.code, refused.delivered) == ("unavailable", False)
        assert words in refused.detail
    if socket_of(real).name == "docker.sock":  # Podman makes a folder in place of what is not there
        assert "absent" in (await refusal(real, absent)).detail
    assert not left(real)


def test_what_a_killed_agent_left_is_gone_when_it_starts_again(real: Engine, tmp_path: Path) -> None:
    """A real agent, killed in the middle of a call."""
    (tmp_path / "agent.yaml").write_text(f"""
agent: {{name: lonely}}
p2p: {{enabled: false}}
http: {{enabled: false}}
websocket: {{enabled: false}}
sse: {{enabled: false}}
state_dir: state
containers: {{socket: {socket_of(real)}}}
tools:
  - {{name: job, engine: container, image: "{IMAGE}", command: [python3, -c, "import time; time.sleep(600)"]}}
""")
    praxis = [sys.executable, "-m", "praxis"]
    command = [*praxis, "run", "--config", str(tmp_path / "agent.yaml")]
    socket = tmp_path / "state" / "api.sock"
    environ = {**os.environ, "PRAXIS_URL": f"unix://{socket}", "PYTHONPATH": str(ROOT)}

    def until(condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as first:
        until(socket.exists)
        with subprocess.Popen([*praxis, "call", "job"], env=environ, stderr=subprocess.DEVNULL) as caller:
            until(lambda: left(real))
            time.sleep(1)
            first.send_signal(signal.SIGKILL)
            caller.wait(PATIENCE)
    assert len(left(real)) == 1, "nobody was there to remove it"
    socket.unlink(missing_ok=True)
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as second:
        until(lambda: not left(real))
        second.terminate()
        assert second.wait(PATIENCE) == 0


async def test_an_engine_that_is_there_is_shown_as_ready(real: Engine) -> None:
    async with tools(real, program("")) as source:
        await wait_until(lambda: source.state().state == "ready")
        assert source.state().reason == ""
