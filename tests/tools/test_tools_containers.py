"""Tools that are containers, against an engine that does what a test wants: what goes wrong, and what is left then.

Real engines are in tests/deploy.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import DeclaredTool, ToolMount, ToolParam
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, ToolResult
from praxis.tools import container_archive, container_engine, container_run, container_tools
from praxis.tools.container_archive import MAX_BYTES, MAX_FILES, pack, unpack
from praxis.tools.container_frames import STDERR, STDOUT, FrameError, Frames
from praxis.tools.container_run import describe
from praxis.tools.container_tools import ContainerTools, sockets
from praxis.tools.source import SourceState
from tests.support.fake_engine import FakeEngine, fake_engine, frame

CONTEXT = CallContext("tester")
IMAGE = "busybox:1"


def tool(**keys: Any) -> DeclaredTool:
    return DeclaredTool("job", "container", image=IMAGE, **keys)


@attrs.define
class Place:
    engine: FakeEngine
    tools: ContainerTools
    states: list[SourceState]

    async def call(self, context: CallContext = CONTEXT, **arguments: Any) -> ToolResult:
        with trio.fail_after(10):
            return await self.tools.call("job", arguments, context)

    async def refused(self, **arguments: Any) -> PraxisError:
        with pytest.raises(PraxisError) as refused:
            await self.call(**arguments)
        assert self.engine.containers == {}, "nothing is left"
        return refused.value


@asynccontextmanager
async def running(folder: Path, declared: DeclaredTool, **environ: str) -> AsyncIterator[Place]:
    states: list[SourceState] = []
    socket = folder / "engine.sock"
    async with fake_engine(socket) as engine, trio.open_nursery() as nursery:
        tools = ContainerTools([declared], "agent", "pxme", socket=socket, on_state=states.append, environ=environ)
        await nursery.start(tools.run)
        with trio.fail_after(5):
            while tools.state().state != "ready":  # noqa: ASYNC110 - nothing tells it
                await trio.sleep(0.002)
        yield Place(engine, tools, states)
        nursery.cancel_scope.cancel()


# -- a call ----------------------------------------------------------------------------------------


async def test_a_call_from_beginning_to_end(tmp_path: Path) -> None:
    said: list[Any] = []
    declared = tool(params=(ToolParam("x"),), env={"MODE": "fast"}, env_passthrough=("TOKEN",), secrets={"key": "hush"})
    async with running(tmp_path, declared, TOKEN="t0ken", HIDDEN="no") as at:
        at.engine.output = frame(1, b"out") + frame(2, b"err\n") + frame(1, b"put")
        result = await at.call(CallContext("tester", on_log=said.append), x="a b")
    assert result.value == {"content": [{"type": "text", "text": "output"}], "isError": False}
    assert [each["data"] for each in said] == ["err"]
    assert at.engine.stdin == b'{"x": "a b"}'
    verbs = [verb for verb in at.engine.verbs if verb not in ("_ping", "json")]
    assert verbs == ["create", "archive", "attach", "attach", "start", "wait", "kill", "DELETE"]
    assert at.engine.versions == {"v1.41"}
    body = json.loads(next(asked.body for asked in at.engine.asked if asked.verb == "create"))
    assert body["Env"] == ["TOKEN=t0ken", "MODE=fast", "PRAXIS_PARAM_X=a b"]
    assert "hush" not in json.dumps(body)
    assert body["Labels"] == {"praxis.agent": "pxme", "praxis.tool": "job"}
    assert at.engine.containers == {}


def test_what_is_asked_of_the_engine() -> None:
    declared = tool(
        command=("a", "b"),
        user="1:1",
        workdir=Path("/work"),
        mounts=(ToolMount(Path("/srv/a"), "/a", True),),
        cpu=0.5,
        memory="64m",
        pids=7,
    )
    body = describe(declared, {}, {})
    host = body["HostConfig"]
    assert (body["Cmd"], body["User"], body["WorkingDir"]) == (["a", "b"], "1:1", "/work")
    assert host["Mounts"] == [{"Type": "bind", "Source": "/srv/a", "Target": "/a", "ReadOnly": True}]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"], host["NanoCpus"]) == (1 << 26, 1 << 26, 7, 5 * 10**8)
    assert (host["NetworkMode"], body["NetworkDisabled"]) == ("none", True)
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    plain = describe(tool(network="bridge"), {}, {})
    assert not {"Cmd", "User", "WorkingDir"} & plain.keys()
    assert "NanoCpus" not in plain["HostConfig"]
    assert (plain["HostConfig"]["NetworkMode"], plain["NetworkDisabled"]) == ("bridge", False)


async def test_a_status_is_a_result_with_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, tool(memory="64m")) as at:
        at.engine.status, at.engine.output = 137, frame(2, b"why\n")
        result = await at.call()
    assert result.is_error
    assert result.text.startswith("container/job ended with exit status 137 (killed, as a program is that needs more")
    assert "64m" in result.text
    assert result.text.endswith(":\nwhy")


async def test_artifacts_come_back(tmp_path: Path) -> None:
    async with running(tmp_path, tool(artifacts="/work/out")) as at:
        at.engine.answers["archive"] = (200, tar({"out/sub/a b.txt": b"hi", "out/b": b"\xff"}))
        blocks = (await at.call()).value["content"][1:]
        assert blocks == [
            {
                "type": "resource",
                "resource": {"uri": "artifact:///sub/a%20b.txt", "mimeType": "text/plain", "text": "hi"},
            },
            {
                "type": "resource",
                "resource": {"uri": "artifact:///b", "mimeType": "application/octet-stream", "blob": "/w=="},
            },
        ]
        put, got = [asked for asked in at.engine.asked if asked.verb == "archive"]
        assert (put.method, put.query) == ("PUT", {"path": "/"})
        assert (got.method, got.query) == ("GET", {"path": "/work/out"})
        with tarfile.open(fileobj=io.BytesIO(put.body)) as sent:
            assert [(m.name, m.mode, m.isdir()) for m in sent] == [("work/out", 0o777, True)]


async def test_artifacts_that_cannot_be_read_cost_the_result_nothing(tmp_path: Path) -> None:
    mounted = (ToolMount(tmp_path, "/work/"),)
    async with running(tmp_path, tool(artifacts="/work/out", mounts=mounted)) as at:
        at.engine.output = frame(1, b"done")
        for status, told in ((500, ["done", "the artifacts could not be read: broken"]), (404, ["done"])):
            at.engine.answers["archive"] = (status, {"message": "broken"})
            assert [block["text"] for block in (await at.call()).value["content"]] == told
        at.engine.answers["archive"] = (200, b"no tar at all")
        assert "left out of the artifacts: the rest" in (await at.call()).text
        assert "PUT" not in [asked.method for asked in at.engine.asked], "what is mounted is left as it is"


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "status", "body", "told"),
    [
        ("create", 400, {"message": "bad  mount"}, "bad mount"),
        ("create", 500, {"cause": "x", "message": "making it: x", "response": 500}, "making it: x"),
        ("start", 400, {"message": "no such binary"}, "no such binary"),
        ("start", 500, b"plain words", "plain words"),
        ("start", 500, b"", "status 500"),
        ("attach", 404, {"message": "no such container"}, "no such container"),
        ("attach", 200, {}, "it answers with status 200|{}"),
        ("create", 418, b"x" * 10_000, "xxx"),
    ],
)
async def test_what_the_engine_refuses_is_told_in_its_words(
    tmp_path: Path, verb: str, status: int, body: Any, told: str
) -> None:
    async with running(tmp_path, tool()) as at:
        at.engine.answers[verb] = (status, body)
        error = await at.refused()
    assert (error.code, error.delivered) == ("unavailable", False)
    assert any(words in error.detail for words in told.split("|"))
    assert f"the engine on {tmp_path}/engine.sock" in error.detail
    assert len(error.detail) < 1000


async def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path, tool()) as at:
        at.engine.answers["create"] = (404, {"message": "No such image"})
        error = await at.refused()
        assert at.engine.count("create") == 1, "and nothing is pulled"
    assert (error.code, error.detail) == ("unavailable", "container/job: the image busybox:1 is not on this machine")
    assert "pull: missing" in error.hint


@pytest.mark.parametrize(
    ("image", "query"),
    [
        ("busybox", {"fromImage": "busybox", "tag": "latest"}),
        ("a.example:5000/x", {"fromImage": "a.example:5000/x", "tag": "latest"}),
        ("a.example:5000/x:1", {"fromImage": "a.example:5000/x:1"}),
        ("x@sha256:00", {"fromImage": "x@sha256:00"}),
    ],
)
async def test_one_that_may_be_pulled_is_and_then_it_is_tried_again(
    tmp_path: Path, image: str, query: dict[str, str]
) -> None:
    async with running(tmp_path, attrs.evolve(tool(pull="missing"), image=image)) as at:
        at.engine.answers["create"] = (404, {"message": "No such image"})
        assert "is not on this machine" in (await at.refused()).detail, "not for ever"
        tried = [asked for asked in at.engine.asked if asked.verb in ("create", "pull")]
        assert [asked.verb for asked in tried] == ["create", "pull", "create"]
        assert tried[1].query == query


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"message": "no route"}),
        (200, b'{"status": "Pulling"}\r\n{"errorDetail": {"message": "no route"}, "error": "no route"}\r\n'),
    ],
)
async def test_a_pull_that_fails_is_told_also_where_it_began_well(tmp_path: Path, status: int, body: Any) -> None:
    async with running(tmp_path, tool(pull="missing")) as at:
        at.engine.answers |= {"create": (404, {"message": "No such image"}), "pull": (status, body)}
        assert (await at.refused()).detail.endswith(": no route")


@pytest.mark.parametrize("output", [b"\x07\0\0\0\0\0\0\1x", b"\1\0\0\1\0\0\0\1x"])
async def test_garbage_from_the_engine_ends_the_call(tmp_path: Path, output: bytes) -> None:
    async with running(tmp_path, tool()) as at:
        at.engine.output, at.engine.silent = output, {"wait"}
        error = await at.refused()
    assert (error.code, error.delivered) == ("unavailable", True)
    assert "not the header of a frame" in error.detail


@pytest.mark.parametrize("answer", [(200, {}), (200, b"no JSON"), (500, {"message": "gone wrong"})])
async def test_an_engine_that_does_not_say_how_it_ended(tmp_path: Path, answer: Any) -> None:
    async with running(tmp_path, tool()) as at:
        at.engine.answers["wait"] = answer
        error = await at.refused()
    assert (error.code, error.delivered) == ("unavailable", True)


async def test_one_that_takes_too_long_is_killed_and_removed(tmp_path: Path) -> None:
    async with running(tmp_path, tool(timeout=0.2)) as at:
        at.engine.silent = {"wait"}
        error = await at.refused()
        assert (error.code, error.delivered) == ("timeout", True)
        assert at.engine.verbs[-2:] == ["kill", "DELETE"]


@pytest.mark.parametrize("verb", ["create", "attach", "start", "wait"])
async def test_a_cancelled_call_leaves_no_container(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_run, "CREATE_LIMIT", 0.2)
    async with running(tmp_path, tool()) as at:
        at.engine.silent = {verb}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.call)
            await at.engine.until(verb)
            nursery.cancel_scope.cancel()
        assert at.engine.verbs[-2:] == ["kill", "DELETE"]
        assert at.engine.containers == {}


@pytest.mark.parametrize("status", [404, 409, 500])
async def test_killing_what_has_ended_is_no_trouble(tmp_path: Path, status: int) -> None:
    async with running(tmp_path, tool()) as at:
        at.engine.answers["kill"] = (status, {"message": "not running"})
        assert not (await at.call()).is_error
        assert at.engine.containers == {}


async def test_an_engine_that_hangs_while_removing_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(container_run, "REMOVE_LIMIT", 0.1)
    async with running(tmp_path, tool()) as at:
        at.engine.silent = {"kill"}
        assert not (await at.call()).is_error
        assert "was not removed within 0.1 s" in caplog.text
        at.engine.silent, at.engine.answers["DELETE"] = set(), (500, {"message": "device busy"})
        assert not (await at.call()).is_error
        assert "could not be removed: device busy" in caplog.text


# -- the engine comes and goes ---------------------------------------------------------------------


async def test_without_an_engine_the_tools_are_shown_and_unavailable(tmp_path: Path) -> None:
    tools = ContainerTools([tool()], "agent", "pxme", socket=tmp_path / "none.sock")
    async with trio.open_nursery() as nursery:
        await nursery.start(tools.run)
        with pytest.raises(PraxisError) as refused:
            await tools.call("job", {}, CONTEXT)
        nursery.cancel_scope.cancel()
    assert refused.value.code == "unavailable"
    assert refused.value.detail == f"there is no container engine: cannot connect to {tmp_path}/none.sock: " + (
        "No such file or directory"
    )
    assert "containers.socket" in refused.value.hint
    state = tools.state()
    assert (state.state, state.tools) == ("backing off", 1)
    assert "none.sock" in state.reason
    assert [each.name for each in tools.tools()] == ["job"]


async def test_it_is_found_when_it_comes_and_missed_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_tools, "CALM", 0.0)
    states: list[SourceState] = []
    socket = tmp_path / "engine.sock"
    tools = ContainerTools([tool()], "agent", "pxme", socket=socket, on_state=states.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(tools.run)
        await trio.testing.wait_all_tasks_blocked()
        async with fake_engine(socket):
            assert not (await tools.call("job", {}, CONTEXT)).is_error, "a call looks for it at once"
        with pytest.raises(PraxisError):
            await tools.call("job", {}, CONTEXT)
        with trio.fail_after(5):
            while tools.state().state == "ready":  # noqa: ASYNC110 - nothing tells it
                await trio.sleep(0.002)
        async with fake_engine(socket):
            with trio.fail_after(5):
                while tools.state().state != "ready":  # noqa: ASYNC110 - nothing tells it
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert [state.state for state in states] == ["backing off", "ready", "backing off", "ready"]


async def test_it_is_looked_for_less_and_less_often(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    looked: list[float] = []

    class Watched(ContainerTools):
        async def _look(self) -> bool:
            looked.append(trio.current_time())
            return await super()._look()

    with trio.move_on_after(200):
        await Watched([tool()], "agent", "pxme", socket=tmp_path / "none.sock").run()
    pauses = [round(b - a, 1) for a, b in pairwise(looked)]
    assert pauses[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert set(pauses[7:]) == {30.0}


async def test_leftovers_of_this_agent_are_removed_and_calls_are_not(tmp_path: Path) -> None:
    socket = tmp_path / "engine.sock"
    async with fake_engine(socket) as engine, trio.open_nursery() as nursery:
        engine.containers = {"praxis-old": {}, "praxis-older": {}}
        tools = ContainerTools([tool()], "agent", "pxme", socket=socket)
        await nursery.start(tools.run)
        await engine.until("DELETE")
        assert not (await tools.call("job", {}, CONTEXT)).is_error
        listed = next(asked for asked in engine.asked if asked.verb == "json")
        assert listed.query["all"] == "1"
        assert json.loads(listed.query["filters"]) == {"label": ["praxis.agent=pxme"]}
        assert engine.containers == {}
        nursery.cancel_scope.cancel()


async def test_a_call_under_way_is_no_leftover(tmp_path: Path) -> None:
    async with running(tmp_path, tool()) as at, trio.open_nursery() as nursery:
        at.engine.silent = {"wait"}
        nursery.start_soon(at.call)
        await at.engine.until("wait")
        (name,) = at.engine.containers
        other = container_engine.Engine(at.engine.socket)
        await at.tools._tidy(other)
        await other.aclose()
        assert [*at.engine.containers] == [name]
        nursery.cancel_scope.cancel()


async def test_one_that_never_answers_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_engine, "PING_LIMIT", 0.1)
    socket = tmp_path / "engine.sock"
    async with fake_engine(socket) as engine:
        engine.silent = {"_ping"}
        tools = ContainerTools([tool()], "agent", "pxme", socket=socket)
        with pytest.raises(PraxisError, match=r"it does not answer within 0\.1 s"):
            await tools.call("job", {}, CONTEXT)


def test_where_engines_are_looked_for() -> None:
    assert [*sockets(Path("/a"), {"DOCKER_HOST": "unix:///b"})] == [Path("/a")]
    assert [*sockets(None, {"DOCKER_HOST": "unix:///b"})] == [Path("/b")]
    assert [str(path) for path in sockets(None, {"XDG_RUNTIME_DIR": "/run/user/5"})] == [
        "/var/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/user/5/podman/podman.sock",
    ]
    for host in ("tcp://10.0.0.1:2375", "unix://", "unix://relative"):
        with pytest.raises(ValueError, match="only unix:///PATH"):
            [*sockets(None, {"DOCKER_HOST": host})]


async def test_an_engine_elsewhere_is_a_reason_and_no_failure() -> None:
    tools = ContainerTools([tool()], "agent", "pxme", socket=None, environ={"DOCKER_HOST": "tcp://10.0.0.1:2375"})
    with pytest.raises(PraxisError, match="DOCKER_HOST is tcp"):
        await tools.call("job", {}, CONTEXT)


# -- frames ----------------------------------------------------------------------------------------

streams = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40)), max_size=6)


@given(streams, st.lists(st.integers(0, 300), max_size=8))
def test_any_split_of_frames_gives_the_same_streams(parts: list[tuple[int, bytes]], cuts: list[int]) -> None:
    whole = b"".join(frame(stream, content) for stream, content in parts)
    at = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    frames = Frames()
    got = {STDOUT: b"", STDERR: b""}
    for start, end in pairwise(at):
        for stream, content in frames.receive(whole[start:end]):
            got[stream] += content
    assert got == {s: b"".join(content for stream, content in parts if stream == s) for s in (STDOUT, STDERR)}


@given(st.binary(max_size=200))
def test_garbage_raises_only_what_it_should(garbage: bytes) -> None:
    try:
        for _ in Frames().receive(garbage):
            pass
    except FrameError as error:
        assert "not the header of a frame" in str(error)


# -- archives --------------------------------------------------------------------------------------


def tar(files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda entry: None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            change(entry)
            archive.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return packed.getvalue()


@pytest.mark.parametrize("name", ["/out/x", "out/../x", "../x", "out", "x", "out/a\nb", "out/" + "x" * 2000])
def test_no_path_leads_out_of_the_folder(name: str) -> None:
    found = unpack(tar({name: b"x", "out/good": b"y"}), whole=True)
    assert [block["resource"]["uri"] for block in found.blocks] == ["artifact:///good"]
    assert len(found.left_out) == 1


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_do_not_come_back(kind: bytes) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0

    found = unpack(tar({"out/x": b""}, change), whole=True)
    assert (found.blocks, found.left_out) == ([], ["x"])
    assert found.content()[0]["text"].startswith("left out of the artifacts: 'x'; 64 files of")


def test_so_many_files_and_so_many_bytes() -> None:
    found = unpack(tar({f"out/{i}": b"x" for i in range(MAX_FILES + 20)}), whole=True)
    assert (len(found.blocks), len(found.left_out)) == (MAX_FILES, 20)
    assert found.content()[-1]["text"].count("'") == 2 * container_archive.SHOWN
    found = unpack(tar({"out/a": b"x" * (MAX_BYTES - 1), "out/b": b"xx", "out/c": b"x"}), whole=True)
    assert [block["resource"]["uri"][-1] for block in found.blocks] == ["a", "c"]
    assert found.left_out == ["b"]


def test_an_archive_that_ends_early_gives_what_was_whole() -> None:
    packed = tar({"out/a": b"x" * 600, "out/b": b"y" * 2000})
    found = unpack(packed[:2048], whole=False)
    assert [block["resource"]["uri"][-1] for block in found.blocks] == ["a"]
    assert "the rest" in found.content()[-1]["text"]


def test_an_archive_of_many_folders_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_archive, "MAX_MEMBERS", 10)

    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.size = tarfile.DIRTYPE, 0

    found = unpack(tar({f"out/{i}": b"" for i in range(20)}, change), whole=True)
    assert (found.blocks, found.whole) == ([], False)


@given(st.binary(max_size=2000))
def test_garbage_is_an_archive_of_nothing(garbage: bytes) -> None:
    assert unpack(garbage, whole=True).blocks == []


def test_nothing_to_put_in_is_no_archive() -> None:
    assert pack({}, ()) == b""
    with tarfile.open(fileobj=io.BytesIO(pack({"key": "hush"}, ("/a/b/",)))) as packed:
        assert [(m.name, m.mode) for m in packed] == [("a/b", 0o777), ("run/secrets/key", 0o444)]
