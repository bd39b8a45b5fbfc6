"""What popular MCP servers do wrong, and what a client has to bear: each with a server that does it.

More of it stands where its subject is: noise and ids in test_tools_mcp_faults, eras in test_tools_mcp_eras, HTTP in
test_tools_mcp_http and test_tools_mcp_sse, processes in test_tools_mcp_real and tests/net.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from tests.support.fake_mcp import FakeServer, serve_calls
from tests.tools.mcp_kit import Setting, running

CONTEXT = CallContext("t")


def answering(*answers: Any, tools: Any = ({"name": "echo"},)) -> Any:
    """A server of the handshake era that answers each request with the next of these members."""

    async def play(server: FakeServer) -> int:
        await server.start([*tools])
        for answer in answers:
            request = await server.receive()
            await server.send({"jsonrpc": "2.0", "id": request["id"], **answer})
        return await serve_calls(server)

    return play


async def ask(setting: Setting, method: str, **params: Any) -> Any:
    return await setting.source.request(method, params, CONTEXT)


async def test_separators_of_unicode_inside_a_message_are_no_line_ends(autojump_clock: MockClock) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0c"

    async def raw(server: FakeServer) -> int:
        await server.start()
        request = await server.receive()
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": {"content": [text]}}
        await server.send(json.dumps(answer, ensure_ascii=False).encode())
        return await serve_calls(server)

    async with running(raw) as setting:
        assert await setting.call("echo") == {"content": [text]}
        assert setting.faults("noise") == 0


async def test_a_line_may_be_long(autojump_clock: MockClock) -> None:
    async with running(answering({"result": {"content": ["x" * 5_000_000]}})) as setting:
        assert len((await setting.call("echo"))["content"][0]) == 5_000_000


async def test_messages_framed_as_language_servers_do_it(autojump_clock: MockClock) -> None:
    async def framed(server: FakeServer) -> int:
        server.framed = True
        await server.start()
        return await serve_calls(server)

    async with running(framed) as setting:
        assert await setting.call("echo", a="\n") == {"content": [], "structuredContent": {"a": "\n"}}


@pytest.mark.parametrize("method", ["resources/list", "resources/templates/list", "prompts/list"])
async def test_a_list_that_is_advertised_and_unknown_is_empty(autojump_clock: MockClock, method: str) -> None:
    refuse = {"error": {"code": -32601, "message": "Method not found"}}
    async with running(answering(refuse)) as setting:
        (items,) = (await ask(setting, method)).values()
        assert items == []


async def test_other_refusals_of_a_list_are_refusals(autojump_clock: MockClock) -> None:
    async with running(answering({"error": {"code": -32603, "message": "no database"}})) as setting:
        with pytest.raises(PraxisError, match="no database"):
            await ask(setting, "resources/list")


async def test_pages_of_resources_are_passed_on_as_they_are(autojump_clock: MockClock) -> None:
    page = {"resources": [{"uri": "a:b"}], "nextCursor": "", "_meta": {"x": 1}}
    async with running(answering({"result": page}, {"result": {"resources": []}})) as setting:
        assert await ask(setting, "resources/list") == page
        await ask(setting, "resources/list", cursor="")
        assert setting.server.received[-1]["params"] == {"cursor": ""}


ODD_SCHEMAS = [
    {"name": "none"},
    {"name": "null", "inputSchema": None},
    {"name": "list", "inputSchema": []},
    {"name": "untyped", "inputSchema": {"properties": {"a": {}}}},
    {"name": "array", "inputSchema": {"type": "object", "properties": {"a": {"type": "array"}}}},
    {"name": "remote", "inputSchema": {"$ref": "http://127.0.0.1:1/schema.json"}},
    {"name": "draft", "inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "$defs": {"a": {}}}},
]


async def test_schemas_are_passed_on_untouched_however_odd(autojump_clock: MockClock) -> None:
    async with running(answering(tools=ODD_SCHEMAS)) as setting:
        assert [tool.definition for tool in setting.source.tools()] == ODD_SCHEMAS
        assert (await ask(setting, "tools/list"))["tools"] == ODD_SCHEMAS


@pytest.mark.parametrize(
    ("result", "faults"),
    [({"content": []}, 1), ({"structuredContent": {"wrong": 1}}, 0), ({"content": [], "isError": True}, 0)],
)
async def test_a_result_without_what_its_schema_promises_goes_through_and_is_counted(
    autojump_clock: MockClock, result: Any, faults: int
) -> None:
    tool = {"name": "echo", "outputSchema": {"type": "object", "required": ["a"]}}
    async with running(answering({"result": result}, tools=[tool])) as setting:
        assert await setting.call("echo") == result
        assert setting.faults("unstructured") == faults


async def test_lists_where_php_means_objects(autojump_clock: MockClock) -> None:
    async def php(server: FakeServer) -> int:
        request = await server.receive()
        result = {"protocolVersion": "2025-03-26", "capabilities": [], "serverInfo": [], "_meta": []}
        await server.answer(request, result)
        await server.receive()
        await server.send({"method": "notifications/message", "params": []}, {"id": 1, "method": "ping", "params": []})
        await server.list_tools()
        assert (await server.receive())["result"] == {}
        return await serve_calls(server)

    async with running(php) as setting:
        assert setting.source.state().state == "ready"
        assert setting.source.describe().capabilities == {}
        assert await setting.call("echo") == {"content": [], "structuredContent": {}}


@pytest.mark.parametrize(
    ("code", "name"), [(-32002, "not_found"), (-32602, "invalid"), (-32000, "internal"), (-32042, "internal")]
)
async def test_codes_old_and_new(autojump_clock: MockClock, code: int, name: str) -> None:
    async with running(answering({"error": {"code": code, "message": "no such thing"}})) as setting:
        with pytest.raises(PraxisError) as caught:
            await ask(setting, "resources/read", uri="a:b")
        assert (caught.value.code, caught.value.data["jsonrpc"]["code"]) == (name, code)


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}, {"arguments": {}}])
async def test_a_call_always_has_arguments(autojump_clock: MockClock, arguments: Any) -> None:
    async with running(answering({"result": {}})) as setting:
        await ask(setting, "tools/call", name="echo", **arguments)
        assert setting.server.received[-1]["params"] == {"name": "echo", "arguments": {}}


async def test_there_is_one_page_of_tools(autojump_clock: MockClock) -> None:
    async with running() as setting:
        with pytest.raises(PraxisError, match="no page at this cursor") as caught:
            await ask(setting, "tools/list", cursor="x")
        assert caught.value.data["jsonrpc"]["code"] == -32602


async def test_any_request_goes_through(autojump_clock: MockClock) -> None:
    results = [
        {"contents": [{"uri": "a:b", "blob": "AA=="}]},
        {"messages": []},
        {"completion": {"values": ["x"], "hasMore": False}},
    ]
    async with running(answering(*({"result": result} for result in results))) as setting:
        asked: list[tuple[str, dict[str, Any]]] = [
            ("resources/read", {"uri": "a:b"}),
            ("prompts/get", {"name": "p", "arguments": {}}),
            ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a"}}),
        ]
        assert [await ask(setting, method, **params) for method, params in asked] == results
        sent = [(message["method"], message["params"]) for message in setting.server.received[-3:]]
        assert sent == asked


async def test_changes_reach_whoever_wants_them_also_after_a_restart(autojump_clock: MockClock) -> None:
    async def changing(server: FakeServer) -> int:
        request = await server.receive()
        capabilities = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}, "resources": {}}
        await server.answer(request, {"protocolVersion": "2025-11-25", "capabilities": capabilities})
        await server.receive()
        await server.list_tools()
        if (await server.receive())["method"] == "tools/call":
            await server.send({"method": "notifications/prompts/list_changed"})
            await server.send({"method": "notifications/resources/list_changed"})
        return 1

    told: list[str] = []

    def broken(method: str, params: Any) -> None:
        raise LookupError(method)

    wanted = {"promptsListChanged": True, "resourcesListChanged": True, "toolsListChanged": False}
    async with (
        running(changing) as setting,
        setting.source.subscribe(wanted, broken),
        setting.source.subscribe(wanted, lambda method, params: told.append(method)) as honoured,
    ):
        assert honoured == {"promptsListChanged": True}
        assert (await setting.fail("echo")).code == "unavailable"
        assert told == ["notifications/prompts/list_changed"]
        await trio.sleep(1)
        assert setting.source.state().restarts == 1
        assert told == ["notifications/prompts/list_changed"] * 2
