"""The agent as an MCP server: what it lists, how calls go on, and who may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import trio

from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.config.schema import Export, Llm, McpView
from praxis.gateway.local import CARD, LocalGateway, LocalService
from praxis.gateway.own_tools import DEFINITIONS
from praxis.gateway.views import View
from praxis.model.card import AgentCard
from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId, PeerView
from praxis.model.tool import CallContext, Tool, ToolResult
from praxis.observe.metrics import Metrics
from praxis.peers.registry import PeerRegistry
from praxis.tools.registry import ToolRegistry
from praxis.wire.mcp_server import error_of, refusal
from praxis.workflow.router import Snapshot
from praxis.workflow.sources import Sources
from tests.gateway.http_asgi import settled
from tests.support.fake_llm import calls, fake_llm
from tests.workflow.executor_kit import Setting, fine, setting

VIEWER = Principal("token", "eye", "viewer")
OPERATOR = Principal("token", "ann", "operator")
OWN = ["execute_workflow", "analyze_dsl", "list_p2p_peers", "send_p2p_message"]


class Peers:
    def views(self) -> list[PeerView]:
        return [PeerView("px1", "a", "connected", "10.0.0.1:4001", 1.5, 1.0, 2.0, ("fs/y",), 0)]


@attrs.frozen
class Local:
    network: Setting
    gateway: LocalGateway
    service: LocalService
    sent: list[str]

    async def call(self, name: str, context: CallContext | None = None, **arguments: Any) -> Mapping[str, Any]:
        params = {"name": name, "arguments": arguments}
        return await self.service.request("tools/call", params, context or CallContext("ann"))

    async def listed(self) -> list[Any]:
        result = await self.service.request("tools/list", {}, CallContext("ann"))
        tools = result["tools"]
        assert isinstance(tools, list)
        return tools


def local(principal: Principal = OPERATOR, **answers: Any) -> Local:
    network = setting(**answers)
    card, policy = AgentCard("me", "1", "", "http://x", "px0"), Policy(Export())
    registry = ToolRegistry("me", bus=network.bus, metrics=Metrics())
    sources = Sources("me", registry, PeerRegistry("me", bus=network.bus, clock=float), network.executor, policy)

    async def send(name: str, text: str) -> PeerId:
        if name != "a":
            raise PraxisError("not_found", f"no peer {name!r}")
        sent.append(text)
        return "px1"

    sent: list[str] = []
    rest = (sources, policy, network.bus, lambda: card, Peers(), send)
    gateway = LocalGateway("me", network.executor, network.asking(Llm()), *rest)
    return Local(network, gateway, gateway.service(principal), sent)


async def refuse(arguments: dict[str, Any]) -> ToolResult:
    await trio.lowlevel.checkpoint()
    raise refusal(-32021, "sampling is needed", {"requiredCapabilities": {"sampling": {}}})


async def test_all_that_can_be_reached_is_listed_under_names_of_its_own() -> None:
    at = local(me_x=fine, a_y=fine)
    tools = await at.listed()
    assert [tool["name"] for tool in tools] == [*OWN, "a__fs__y", "fs__x"]
    assert tools[-1] == {**at.network.network.view.tools[0].tool.definition, "name": "fs__x"}
    assert len(DEFINITIONS) == 4


async def test_a_tool_without_a_schema_gets_one_that_takes_anything() -> None:
    at = local()
    at.network.network.view = Snapshot([Tool("me", "odd", {"name": "x", "inputSchema": None, "title": "X"})], [], ())
    assert (await at.listed())[-1] == {"name": "odd__x", "inputSchema": {"type": "object"}, "title": "X"}


async def test_a_call_goes_the_one_way_with_all_that_belongs_to_it() -> None:
    at = local(me_x=fine, a_y=fine)
    context = CallContext("ann", log_level="info", meta={"traceparent": "1"})
    result = await at.call("a__fs__y", context, n=3)
    assert result["structuredContent"] == {"n": 3}
    assert at.network.network.asked == ["a:fs/y"]
    assert at.network.network.contexts == [context]


async def test_what_goes_wrong_is_a_result_and_a_servers_own_error_stays_one() -> None:
    at = local(me_x=PraxisError("unavailable", "it is gone", hint="wait"), me_z=refuse)
    result = await at.call("fs__x")
    assert (result["isError"], result["content"][0]["text"]) == (True, "it is gone (wait)")
    assert (await at.call("fs__nothing"))["isError"]
    assert (await at.call("analyze_dsl", wrong=1))["isError"]
    with pytest.raises(PraxisError) as caught:
        await at.call("fs__z")
    assert error_of(caught.value)["code"] == -32021


@pytest.mark.parametrize("params", [{}, {"name": 5}, {"name": "fs__x", "arguments": []}])
async def test_a_call_that_is_none_is_invalid(params: dict[str, Any]) -> None:
    with pytest.raises(PraxisError) as caught:
        await local().service.request("tools/call", params, CallContext("ann"))
    assert error_of(caught.value)["code"] == -32602


async def test_a_viewer_may_look_and_not_call() -> None:
    at = local(VIEWER, me_x=fine)
    assert await at.listed()
    for name in ("fs__x", "execute_workflow"):
        with pytest.raises(PraxisError) as caught:
            await at.call(name, dsl="CALL x")
        assert caught.value.code == "denied"
    assert at.network.network.asked == []


async def test_the_card_is_a_resource_and_there_are_no_others() -> None:
    at = local()
    assert at.service.describe().info["name"] == "me"

    async def ask(method: str, **params: Any) -> Any:
        return await at.service.request(method, params, CallContext("ann"))

    assert [each["uri"] for each in (await ask("resources/list"))["resources"]] == [CARD]
    (content,) = (await ask("resources/read", uri=CARD))["contents"]
    assert json.loads(content["text"])["peer_id"] == "px0"
    assert await ask("prompts/list") == {"prompts": []}
    assert await ask("resources/templates/list") == {"resourceTemplates": []}
    for method, params, code in (
        ("resources/read", {"uri": "agent://other"}, -32602),
        ("prompts/get", {"name": "x"}, -32602),
        ("completion/complete", {}, -32602),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}}, -32602),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "test://x"}}, -32602),
        ("tasks/get", {}, -32601),
    ):
        with pytest.raises(PraxisError) as caught:
            await ask(method, **params)
        assert error_of(caught.value)["code"] == code


async def test_changes_of_the_tools_are_told_and_other_news_is_not() -> None:
    at, heard = local(me_x=fine), list[str]()
    async with at.service.subscribe(
        {"toolsListChanged": True}, lambda method, params: heard.append(method)
    ) as honoured:
        assert honoured == {"toolsListChanged": True}
        at.network.bus.publish("peer.found")
        await settled()
        assert heard == []
        at.network.network.view = Snapshot([], [], ())
        at.network.bus.publish("tools.changed")
        await settled()
        assert heard == ["notifications/tools/list_changed"]
        assert [tool["name"] for tool in await at.listed()] == OWN
    async with at.service.subscribe({"toolsListChanged": False}, lambda method, params: None) as honoured:
        assert (honoured, at.network.bus.subscribers) == ({}, 0)


async def test_agents_that_come_and_go_bring_and_take_resources_and_prompts() -> None:
    at, heard = local(), list[str]()
    async with at.service.subscribe(
        {"promptsListChanged": True}, lambda method, params: heard.append(method)
    ) as honoured:
        assert honoured == {"promptsListChanged": True}
        for event in ("peer.connected", "peer.found", "peer.disconnected"):
            at.network.bus.publish(event)
            await settled()
    assert heard == ["notifications/prompts/list_changed"] * 2


# -- Praxis's own tools -----------------------------------------------------------------------------


async def test_a_workflow_is_run_and_its_progress_told() -> None:
    at, told = local(me_x=fine, a_y=fine), list[Any]()
    context = CallContext("ann", on_progress=told.append)
    result = await at.call("execute_workflow", context, dsl="CALL x --n 1\nCALL y --n 2")
    run = result["structuredContent"]
    assert (run["status"], [step["state"] for step in run["steps"]]) == ("succeeded", ["succeeded"] * 2)
    assert run["result"]["structuredContent"] == {"n": 2}
    assert json.loads(result["content"][0]["text"]) == run
    assert told[-1]["total"] == 2
    assert at.network.executor.get(run["run_id"]).caller == "ann"


async def test_a_workflow_that_fails_or_cannot_begin_is_an_error() -> None:
    at = local(me_x=PraxisError("unavailable", "it is gone"))
    failed = await at.call("execute_workflow", dsl="CALL x")
    assert failed["isError"]
    assert failed["structuredContent"]["steps"][0]["error"]["code"] == "unavailable"
    progress: list[Any] = []
    for context in (None, CallContext("ann", on_progress=progress.append)):
        wrong = await at.call("execute_workflow", context, dsl="CALL")
        assert wrong["isError"]
        assert "line 1" in wrong["content"][0]["text"]
        assert "structuredContent" not in wrong


async def test_a_workflow_is_given_as_a_program_or_as_a_request() -> None:
    at = local(me_x=fine)
    asked = await at.call("execute_workflow", request="do x")
    assert asked["isError"]
    assert asked["content"][0]["text"].startswith("plain language needs a model")
    both: dict[str, Any] = {"dsl": "CALL x", "request": "do x"}
    for arguments in ({}, both):
        wrong = await at.call("execute_workflow", **arguments)
        assert (wrong["isError"], wrong["content"][0]["text"]) == (True, "arguments: expected either dsl or request")
    assert at.network.network.asked == []


async def test_a_request_is_run_and_its_progress_told() -> None:
    at, told = local(me_x=fine), list[Any]()
    plan = {"nodes": [{"id": "n1", "tool": "me:fs/x", "arguments": {"n": 1}}], "edges": [], "say": "It does x."}
    async with fake_llm(calls(plan)) as model:
        asking = at.gateway.own._asking = at.network.asking(model.config)
        context = CallContext("ann", on_progress=told.append)
        run = (await at.call("execute_workflow", context, request="do x"))["structuredContent"]
        await asking.aclose()
    assert (run["status"], run["result"]["structuredContent"]) == ("succeeded", {"n": 1})
    assert told[-1]["total"] == 1


async def test_a_program_is_analyzed_and_never_run() -> None:
    at = local(me_x=fine)
    seen = (await at.call("analyze_dsl", dsl="CALL x"))["structuredContent"]
    assert (seen["valid"], seen["steps"][0]["route"]["agent"]) == (True, "me")
    unknown = (await at.call("analyze_dsl", dsl="CALL nothing"))["structuredContent"]
    assert (unknown["valid"], unknown["steps"][0]["problem"]["code"]) == (False, "not_found")
    assert (await at.call("analyze_dsl", dsl="CALL nothing", validate_only=True))["structuredContent"]["valid"]
    for only in (True, False):
        wrong = (await at.call("analyze_dsl", dsl="CALL", validate_only=only))["structuredContent"]
        assert (wrong["valid"], wrong["problem"]["code"]) == (False, "syntax")
    assert at.network.network.asked == []


async def test_peers_are_listed() -> None:
    result = await local().call("list_p2p_peers")
    assert result["structuredContent"]["peers"][0]["connected"] is True


async def test_a_message_goes_to_a_peer() -> None:
    at = local()
    result = await at.call("send_p2p_message", peer="a", message="hello")
    assert result["structuredContent"] == {"delivered": True, "peer_id": "px1"}
    assert at.sent == ["hello"]
    wrong: list[dict[str, Any]] = [{"peer": "b", "message": "x"}, {"peer": "a", "message": ""}, {"peer": "a"}]
    for arguments in wrong:
        assert (await at.call("send_p2p_message", **arguments))["isError"]
    assert at.sent == ["hello"]


# -- views ------------------------------------------------------------------------------------------


def view(at: Local, **config: Any) -> Local:
    made = View(McpView(**config), "me", at.gateway.exported)
    return attrs.evolve(at, service=LocalService(at.gateway, OPERATOR, made))


async def names(at: Local) -> list[str]:
    return [tool["name"] for tool in await at.listed()]


async def test_a_view_has_what_it_lets_through_and_no_more() -> None:
    at = local(me_x=fine, me_y=fine, a_x=fine)
    assert await names(view(at)) == ["a__fs__x", "fs__x", "fs__y"]
    assert await names(view(at, allow=("a:*",))) == ["a__fs__x"]
    assert await names(view(at, allow=("fs/*",), deny=("x",))) == ["fs__y"]
    assert await names(view(at, allow=("praxis/analyze_dsl", "y"))) == ["analyze_dsl", "fs__y"]
    assert await names(view(at, allow=("praxis/*",), deny=("praxis/execute_workflow",))) == OWN[1:]
    narrow = view(at, allow=("y",))
    assert not (await narrow.call("fs__y"))["isError"]
    for name in ("fs__x", "a__fs__x", "execute_workflow", "find_tools", "call_tool"):
        assert (await narrow.call(name, dsl="CALL x"))["isError"], name
    assert at.network.network.asked == ["me:fs/y"]


async def test_a_view_follows_the_tools() -> None:
    at = local(me_x=fine)
    narrow = view(at, allow=("x",))
    first = await narrow.listed()
    assert narrow.service.tool_schema("fs__x") is not None
    at.network.network.view = Snapshot([], [], ())
    assert await narrow.listed() == []
    assert narrow.service.tool_schema("fs__x") is None
    assert first


async def test_a_compact_view_finds_and_calls() -> None:
    at = view(local(me_x=fine, a_y=fine), compact=True, deny=("a:*",))
    assert await names(at) == ["find_tools", "call_tool"]
    found = (await at.call("find_tools", query="x"))["structuredContent"]
    assert [tool["name"] for tool in found["tools"]] == ["fs__x"]
    assert found["tools"][0]["inputSchema"]
    assert found["of"] == 1

    async def ask(tool: str, arguments: dict[str, Any]) -> Mapping[str, Any]:
        return await at.service.request("tools/call", {"name": tool, "arguments": arguments}, CallContext("ann"))

    assert (await ask("call_tool", {"name": "fs__x", "arguments": {"n": 2}}))["structuredContent"] == {"n": 2}
    calls: list[dict[str, Any]] = [{"name": "a__fs__y"}, {"name": 5}, {"name": "fs__x", "arguments": [1]}, {}]
    for arguments in calls:
        assert (await ask("call_tool", arguments))["isError"], arguments
    queries: list[dict[str, Any]] = [{}, {"query": ""}, {"query": "x", "limit": 0}, {"query": "x", "more": 1}]
    for arguments in queries:
        assert (await ask("find_tools", arguments))["isError"], arguments


async def test_a_view_has_no_card_and_only_its_sources() -> None:
    at = local()
    narrow = view(at, allow=("docs/*",))
    assert await narrow.service.request("resources/list", {}, CallContext("ann")) == {"resources": []}
    with pytest.raises(PraxisError):
        await narrow.service.request("resources/read", {"uri": CARD}, CallContext("ann"))
    assert narrow.service.view is not None
    assert narrow.service.view.has_source(None, "docs")
    assert narrow.service.view.has_source("a", "docs")
    assert not narrow.service.view.has_source(None, "fs")
    assert View(McpView(("a:docs/*",)), "me", at.gateway.exported).has_source("a", "docs")
    assert not View(McpView(("a:docs/*",)), "me", at.gateway.exported).has_source(None, "docs")
