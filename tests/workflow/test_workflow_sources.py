"""Sources of this agent and of others as MCP servers: what is exported comes through whole, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.config.schema import Config, Export, PeerExport
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.tools.service import Description
from praxis.workflow.sources import Sources
from tests.support.library import ASKING, Library
from tests.support.network import connected

ANN = Principal("local", "ann")


def sources_of(agent: Any) -> Sources:
    return Sources(agent.registry._agent, agent.registry, agent.peers, agent.executor, agent._policy)


@attrs.frozen
class Setting:
    sources: Sources
    library: Library
    agents: Sequence[Any]


@asynccontextmanager
async def setting(folder: Path, export: Export) -> AsyncIterator[Setting]:
    """Agent 2 has a library; we are agent 1."""

    def change(config: Config) -> Config:
        return attrs.evolve(config, export=export) if config.agent.name == "agent-2" else config

    async with connected(folder, 2, change=change) as agents:
        one, two = (running.agent for running in agents)
        library = Library("agent-2")
        two.registry.add(library)
        peer = Principal("peer", "agent-1")
        wanted = {tool.name for tool in two._policy.exported(two.registry.tools(), peer)}
        with trio.fail_after(10):
            await one.peers.wait_change(lambda: {t.name for o in one.peers.owners() for t in o.tools} >= wanted)
        yield Setting(sources_of(one), library, agents)


EVERYTHING = Export(tools=("*",), resources=("library",))


async def test_every_request_comes_through_as_it_is(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        service = await here.sources.find(ANN, "agent-2", "library")
        assert service.describe() == Description(
            {"name": "lib"}, {"tools": {}, "resources": {"subscribe": True}, "prompts": {}}, "read on"
        )
        progress: list[Any] = []
        log: list[Any] = []
        context = CallContext("ann", on_progress=progress.append, on_log=log.append, log_level="info")
        for method, params in (
            ("tools/call", {"name": "find", "arguments": {"a": [1, None]}}),
            ("resources/list", {"cursor": ""}),
            ("resources/templates/list", {}),
            ("resources/read", {"uri": "test://a"}),
            ("prompts/list", {}),
            ("prompts/get", {"name": "p", "arguments": {"x": "y"}}),
            (
                "completion/complete",
                {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "x", "value": ""}},
            ),
        ):
            assert await service.request(method, params, context) == {"content": [], "got": params}
            assert here.library.seen[-1][:2] == (method, params)
        assert progress == [{"progress": 1, "total": 2}] * 7
        assert log == [{"level": "info", "data": [1]}] * 7
        listed = await service.request("tools/list", {}, CallContext("ann"))
        assert listed == {"tools": [tool.definition for tool in here.library.tools()], "ttlMs": 5}


async def test_errors_of_a_server_come_through_as_they_are(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        service = await here.sources.find(ANN, "agent-2", "library")
        with pytest.raises(PraxisError) as caught:
            await service.request("resources/read", {"uri": "test://none"}, CallContext("ann"))
        assert caught.value.data["jsonrpc"] == {"code": -32602, "message": "no such", "data": {"uri": "test://none"}}


async def test_a_question_goes_back_to_the_caller_and_the_answer_to_the_server(tmp_path: Path) -> None:
    async def answer(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"action": "accept", "content": {"asked": method, **params}}

    async def refuse(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        raise PraxisError("denied", "no", data={"jsonrpc": {"code": -1, "message": "no"}})

    async with setting(tmp_path, EVERYTHING) as here:
        service = await here.sources.find(ANN, "agent-2", "library")
        lend = {"name": "lend", "arguments": {}}
        result = await service.request("tools/call", lend, CallContext("ann", ask=answer))
        content = {"asked": "elicitation/create", "message": "your name?"}
        assert result == {
            "content": [],
            "structuredContent": {"action": "accept", "content": content},
            "isError": True,
        }
        with pytest.raises(PraxisError, match="no") as caught:
            await service.request("tools/call", lend, CallContext("ann", ask=refuse))
        assert caught.value.data["jsonrpc"]["code"] == -1


async def test_a_result_that_asks_for_input_goes_to_a_caller_that_takes_it(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        service = await here.sources.find(ANN, "agent-2", "library")
        lend = {"name": "lend", "arguments": {}}
        first = await service.request("tools/call", lend, CallContext("ann", takes_input_requests=True))
        assert first == {"resultType": "input_required", "inputRequests": {"who": ASKING}, "requestState": "é\u2028"}
        given = {"inputResponses": {"who": {"action": "cancel"}}, "requestState": first["requestState"]}
        second = await service.request("tools/call", lend, CallContext("ann", takes_input_requests=True, input=given))
        assert second == {"content": [], "_meta": {"given": given}}


async def test_a_call_that_is_given_up_ends_there(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        service = await here.sources.find(ANN, "agent-2", "library")
        for number, method in enumerate(("tools/call", "prompts/get"), 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.request, method, {"name": "wait"}, CallContext("ann"))
                with trio.fail_after(10):
                    while len(here.library.seen) < number:  # noqa: ASYNC110 - at the other agent
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            assert here.library.ended == ["wait"] * number, "and it has ended when the caller goes on"


async def test_changes_are_heard_until_nobody_listens(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        service = await here.sources.find(ANN, "agent-2", "library")
        wanted = {"resourcesListChanged": True, "resourceSubscriptions": ["test://a"]}
        heard = trio.Event()
        got: list[Any] = []

        def hear(method: str, params: Mapping[str, Any]) -> None:
            got.append((method, params))
            heard.set()

        async with service.subscribe(wanted, hear) as honoured:
            assert honoured == wanted
            here.library.notices[0]("notifications/resources/updated", {"uri": "test://a"})
            with trio.fail_after(10):
                await heard.wait()
        assert got == [("notifications/resources/updated", {"uri": "test://a"})]
        with trio.fail_after(10):
            while not here.library.ended:  # noqa: ASYNC110 - at the other agent
                await trio.sleep(0.01)


async def test_only_what_is_exported_is_there(tmp_path: Path) -> None:
    export = Export(tools=("library/*", "fs/list_files"), peers={"agent-1": PeerExport(deny=("library/lend",))})
    async with setting(tmp_path, export) as here:
        (link,) = here.agents[0].agent.peers.links()
        sources = {source.name: source for source in await here.sources.of_peer("agent-2")}
        assert set(sources) == {"fs", "library"}
        assert sources["library"].description.capabilities == {"tools": {}}
        service = await here.sources.find(ANN, "agent-2", "library")
        listed = await service.request("tools/list", {}, CallContext("ann"))
        assert [tool["name"] for tool in listed["tools"]] == ["find", "wait"]
        for method, params, code in (
            ("tools/call", {"name": "lend"}, "denied"),
            ("tools/call", {"name": "none"}, "not_found"),
            ("tools/call", {"name": 5}, "invalid"),
            ("tools/call", {"name": "find", "arguments": [1]}, "invalid"),
            ("resources/read", {"uri": "test://a"}, "denied"),
            ("prompts/list", {}, "denied"),
            ("completion/complete", {}, "denied"),
            ("initialize", {}, "not_found"),
            (None, {}, "not_found"),
            ("tools/list", 5, "invalid"),
        ):
            asked = {"source": "library", "method": method, "params": params}
            with pytest.raises(PraxisError) as caught:
                await link.call("mcp.request", asked)
            assert caught.value.code == code, (method, params)
        before = len(here.library.seen)
        for nothing in ({}, {"source": "none", "method": "tools/list"}, {"source": 5}, None):
            with pytest.raises(PraxisError):
                await link.call("mcp.request", nothing)
        assert len(here.library.seen) == before
        with pytest.raises(PraxisError, match="no source 'none'"):
            await here.sources.find(ANN, "agent-2", "none")
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["test://a"]}
        async with service.subscribe(wanted, lambda method, params: None) as honoured:
            assert honoured == {"toolsListChanged": True}


async def test_nothing_exported_is_nothing_to_find(tmp_path: Path) -> None:
    async with setting(tmp_path, Export(tools=("fs/*",))) as here:
        assert [source.name for source in await here.sources.of_peer("agent-2")] == ["fs"]
        (link,) = here.agents[0].agent.peers.links()
        with pytest.raises(PraxisError, match="no source 'library' is exported"):
            await link.call("mcp.request", {"source": "library", "method": "tools/list"})


async def test_own_sources_are_found_too_and_files_are_one(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        found = {(source.agent, source.name) for source in await here.sources.everywhere()}
        assert found == {(None, "fs"), ("agent-2", "fs"), ("agent-2", "library")}
        service = await here.sources.find(ANN, "agent-1", "fs")
        listed = await service.request("tools/list", {}, CallContext("ann"))
        assert "write_file" in [tool["name"] for tool in listed["tools"]]
        called = {"name": "write_file", "arguments": {"filename": "a.txt", "content": "x"}}
        assert (await service.request("tools/call", called, CallContext("ann")))["isError"] is False
        assert await service.request("prompts/list", {}, CallContext("ann")) == {"prompts": []}
        with pytest.raises(PraxisError) as caught:
            await service.request("prompts/get", {"name": "x"}, CallContext("ann"))
        assert caught.value.data["jsonrpc"]["code"] == -32601


async def test_who_may_only_look_calls_nothing(tmp_path: Path) -> None:
    async with setting(tmp_path, EVERYTHING) as here:
        viewer = Principal("token", "vic", "viewer")
        service = await here.sources.find(viewer, "agent-2", "library")
        assert (await service.request("tools/list", {}, CallContext("vic")))["tools"]
        with pytest.raises(PraxisError) as caught:
            await service.request("tools/call", {"name": "find"}, CallContext("vic"))
        assert caught.value.code == "denied"
