"""Popular MCP servers as tool sources, over every transport that they have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from praxis.config.schema import McpServer
from praxis.model.errors import PraxisError
from praxis.tools.mcp_source import McpSource
from tests.interop.interop_kit import Answers, free_port, full, node_servers, python_servers, running, source_of
from tests.interop.sdks import python_sdk

pytestmark = full


async def text(source: McpSource, tool: str, **arguments: Any) -> str:
    return (await source.call(tool, arguments, Answers().context)).text


async def test_time_is_of_the_modern_era() -> None:
    async with source_of(McpServer("time", command=str(python_servers() / "mcp-server-time"))) as source:
        assert {tool.name for tool in source.tools()} == {"get_current_time", "convert_time"}
        assert source.describe().info["name"] == "mcp-time"
        result = await source.call("get_current_time", {"timezone": "Europe/Zurich"}, Answers().context)
        assert result.structured["timezone"] == "Europe/Zurich"
        assert (await source.call("get_current_time", {"timezone": "Nowhere"}, Answers().context)).is_error


async def test_git(tmp_path: Path) -> None:
    await trio.run_process(["git", "init", "--quiet", str(tmp_path)])
    (tmp_path / "new.txt").write_text("new")
    server = McpServer("git", command=str(python_servers() / "mcp-server-git"), args=("--repository", str(tmp_path)))
    async with source_of(server) as source:
        assert len(source.tools()) >= 12
        assert "new.txt" in await text(source, "git_status", repo_path=str(tmp_path))


async def test_filesystem_works_in_the_roots_that_it_is_told(tmp_path: Path) -> None:
    given, told = tmp_path / "given", tmp_path / "told"
    given.mkdir()
    told.mkdir()
    program = str(node_servers() / "mcp-server-filesystem")
    async with source_of(McpServer("files", command=program, args=(str(given),))) as source:
        await text(source, "write_file", path=str(given / "a.txt"), content="hello")
        assert await text(source, "read_text_file", path=str(given / "a.txt")) == "hello"
        assert (await source.call("read_text_file", {"path": "/etc/passwd"}, Answers().context)).is_error
    async with source_of(McpServer("files", command=program, args=(str(given),), roots=(told,))) as source:
        with trio.fail_after(10):
            while str(told) not in await text(source, "list_allowed_directories"):  # noqa: ASYNC110
                await trio.sleep(0.1)  # it asks for the roots after the handshake


async def test_memory(tmp_path: Path) -> None:
    env = {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")}
    async with source_of(McpServer("memory", command=str(node_servers() / "mcp-server-memory"), env=env)) as source:
        entity = {"name": "Anna", "entityType": "person", "observations": ["likes tea"]}
        await text(source, "create_entities", entities=[entity])
        assert "likes tea" in await text(source, "search_nodes", query="Anna")
    assert "Anna" in (tmp_path / "memory.json").read_text()


SDK_SERVERS = {"1": Path(__file__).with_name("sdk_server_1.py"), "2": Path(__file__).with_name("sdk_server.py")}
PATHS = {"streamable-http": "/mcp", "sse": "/sse"}


@asynccontextmanager
async def sdk(python: Path, major: str, transport: str, protocol: Any = "auto") -> AsyncIterator[McpSource]:
    """A source of a server that is written with this major version of the official SDK, as `python` has it."""
    program = str(SDK_SERVERS[major])
    more: dict[str, Any] = {"protocol": protocol, "ask": ("sampling", "elicitation")}
    if transport == "stdio":
        async with source_of(McpServer("sdk", command=str(python), args=(program, "stdio"), **more)) as source:
            yield source
        return
    port = free_port()
    kind: Any = "sse" if transport == "sse" else "http"
    url = f"http://127.0.0.1:{port}{PATHS[transport]}"
    async with (
        running(python, program, transport, str(port), env={}),
        source_of(McpServer("sdk", transport=kind, url=url, **more)) as source,
    ):
        yield source


@pytest.mark.parametrize(
    ("transport", "protocol", "modern"),
    [
        ("stdio", "auto", True),
        ("stdio", "legacy", False),
        ("streamable-http", "auto", True),
        ("streamable-http", "legacy", False),
        ("sse", "auto", False),
    ],
)
async def test_the_official_python_sdk(transport: str, protocol: Any, modern: bool) -> None:
    async with sdk(python_servers() / "python", "2", transport, protocol) as source:
        await _use_sdk(source, modern)
        with pytest.raises(PraxisError) as caught:
            await source.request("resources/read", {"uri": "a://b"}, Answers().context)
        assert caught.value.data["jsonrpc"]["code"] == -32602


@pytest.mark.parametrize("transport", ["stdio", "streamable-http", "sse"])
async def test_the_official_python_sdk_1(transport: str) -> None:
    async with sdk(python_sdk("1"), "1", transport) as source:
        assert source.state().protocol == "2025-11-25"
        await _use_sdk(source, modern=False)
        answers = Answers()
        assert (await source.call("questions", {}, answers.context)).text == "accept sampled"
        assert answers.asked == ["elicitation/create", "sampling/createMessage"]
        with pytest.raises(PraxisError) as caught:
            await source.request("resources/read", {"uri": "a://b"}, answers.context)
        assert caught.value.data["jsonrpc"]["message"] == "Unknown resource: a://b"


async def _use_sdk(source: McpSource, modern: bool) -> None:
    answers = Answers()
    result = await source.call("echo", {"text": "ü\u2028"}, answers.context)
    assert (result.text, result.structured) == ("ü\u2028", {"result": "ü\u2028"})
    assert (result.value.get("resultType") == "complete") is modern
    assert (await source.call("steps", {}, answers.context)).text == "done"
    assert [told["progress"] for told in answers.progress] == [1, 2]
    assert await source.request("prompts/list", {}, answers.context)


@asynccontextmanager
async def everything(transport: str) -> AsyncIterator[McpSource]:
    program = node_servers() / "mcp-server-everything"
    more: dict[str, Any] = {"ask": ("sampling", "elicitation"), "roots": (Path("/srv"),)}
    if transport == "stdio":
        async with source_of(McpServer("everything", command=str(program), args=("stdio",), **more)) as source:
            yield source
        return
    port = free_port()
    path = "/mcp" if transport == "http" else "/sse"
    url = f"http://127.0.0.1:{port}{path}"
    kind = "streamableHttp" if transport == "http" else "sse"
    async with running(program, kind, env={"PORT": str(port)}):
        # The transport "http" with the address of an HTTP+SSE server finds out what it is.
        given: Any = "http" if transport == "found" else transport
        async with source_of(McpServer("everything", transport=given, url=url, **more)) as source:
            yield source


@pytest.mark.parametrize("transport", ["stdio", "http", "sse", "found"])
async def test_everything(transport: str) -> None:
    async with everything(transport) as source:
        before = source.state().restarts
        assert await text(source, "echo", message="\u2028hello") == "Echo: \u2028hello"
        answers = Answers()
        context = answers.context
        assert len((await source.request("resources/list", {}, context))["resources"]) >= 7
        assert (await source.request("resources/templates/list", {}, context))["resourceTemplates"]
        prompts = (await source.request("prompts/list", {}, context))["prompts"]
        assert {"simple-prompt", "args-prompt"} <= {prompt["name"] for prompt in prompts}
        got = await source.request("prompts/get", {"name": "args-prompt", "arguments": {"city": "Bern"}}, context)
        assert "Bern" in str(got["messages"])
        uri = "demo://resource/dynamic/text/1"
        assert (await source.request("resources/read", {"uri": uri}, context))["contents"][0]["uri"] == uri
        with pytest.raises(PraxisError):
            await source.request("resources/read", {"uri": "demo://nowhere"}, context)

        steps = {"duration": 0.2, "steps": 2}
        await source.call("trigger-long-running-operation", steps, context)
        assert [told["progress"] for told in answers.progress] == [1, 2]
        sampled = await source.call("trigger-sampling-request", {"prompt": "x"}, context)
        assert "sampled" in sampled.text
        await source.call("trigger-elicitation-request", {}, context)
        assert answers.asked == ["sampling/createMessage", "elicitation/create"]

        async with source.subscribe({"resourceSubscriptions": [uri]}, lambda method, params: None) as honoured:
            assert honoured == {"resourceSubscriptions": [uri]}
        with trio.move_on_after(0.3) as scope:
            await source.call("trigger-long-running-operation", {"duration": 60, "steps": 60}, context)
        assert scope.cancelled_caught
        assert source.state().restarts == before
