"""What a peer may ask of an agent: only what is exported to it can be seen and called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from praxis.access.authorize import Policy
from praxis.config.schema import Export, PeerExport
from praxis.model.card import AgentCard, Skill
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.peers.record import decode_card
from praxis.peers.request import PeerRequest
from praxis.tools.registry import ToolRegistry
from praxis.tools.source import SourceState
from praxis.wire.messages import dumps, loads
from praxis.workflow.exports import MAX_DIGESTS, Exports

CARD = AgentCard("me", "1", "tests", "http://me", "px-me", (Skill("fs/read", "read", "reads", ("fs",)),))
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": False}


@attrs.define(eq=False)
class Files:
    """A source that notes what it was asked."""

    name: str = "fs"
    calls: list[tuple[str, dict[str, Any], CallContext]] = attrs.field(factory=list)
    ended: bool = False

    def tools(self) -> Sequence[Tool]:
        names = ("read", "write", "wait")
        return [Tool("me", self.name, {"name": name, "inputSchema": SCHEMA}) for name in names]

    async def call(self, name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        self.calls.append((name, arguments, context))
        if name == "wait":
            try:
                await trio.sleep_forever()
            finally:
                self.ended = True
        if context.on_progress is not None:
            context.on_progress({"progress": 1})
        return ToolResult.of_text("content", is_error=bool(arguments), structured={"n": 1})

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready")


@attrs.define
class Setting:
    exports: Exports
    files: Files
    registry: ToolRegistry
    events: list[Any] = attrs.field(factory=list)

    async def ask(self, method: str, params: Any, name: str = "ann") -> Any:
        async def ask(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"asked": method, **params}

        request = PeerRequest(
            f"px-{name}",
            name,
            method,
            params,
            None,
            lambda method, params: self.events.append((method, params)),
            ask,
            lambda stream: ask if stream == 3 else None,
        )
        return await self.exports.handle(request)

    async def refusal(self, method: str, params: Any, name: str = "ann") -> PraxisError:
        with pytest.raises(PraxisError) as caught:
            await self.ask(method, params, name)
        return caught.value


def setting(*tools: str, peers: Mapping[str, PeerExport] | None = None) -> Setting:
    files, registry = Files(), ToolRegistry("me", bus=EventBus(clock=lambda: 0.0), metrics=Metrics())
    registry.add(files)
    policy = Policy(Export(tools=tools, peers=dict(peers or {})))
    return Setting(Exports(registry, policy, card=lambda: CARD), files, registry)


def asked(name: str = "read", **arguments: Any) -> dict[str, Any]:
    return {"source": "fs", "name": name, "arguments": arguments}


# -- calls -----------------------------------------------------------------------------------------


async def test_a_call_reaches_the_tool_and_its_result_goes_back_unchanged() -> None:
    here = setting("fs/read")
    result = await here.ask("tool.call", {**asked(path="a"), "meta": {"run": "r7"}, "mcp": {"progress": True}})
    assert result == ToolResult.of_text("content", is_error=True, structured={"n": 1}).value
    ((name, arguments, context),) = here.files.calls
    assert (name, arguments, context.caller, context.run_id) == ("read", {"path": "a"}, "ann", "r7")
    assert here.events == [("notifications/progress", {"progress": 1})]


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}, {"arguments": {}}])
async def test_a_call_without_arguments_has_none(arguments: dict[str, Any]) -> None:
    here = setting("*")
    assert (await here.ask("tool.call", {"source": "fs", "name": "read", **arguments}))["isError"] is False
    assert here.files.calls[0][1] == {}


@pytest.mark.parametrize("meta", [None, 5, [], {}, {"run": 5}, {"run": None}])
async def test_a_run_id_that_is_no_text_is_none(meta: Any) -> None:
    here = setting("*")
    await here.ask("tool.call", {**asked(), "meta": meta})
    assert here.files.calls[0][2].run_id is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"source": None}, "params.source"),
        ({"source": 5}, "params.source"),
        ({"name": None}, "params.name"),
        ({"name": ["read"]}, "params.name"),
        ({"arguments": []}, "params.arguments"),
        ({"arguments": "path=a"}, "params.arguments"),
        ({"arguments": {"path": 5}}, "arguments.path"),
        ({"arguments": {"paht": "a"}}, "arguments.paht"),
    ],
)
async def test_a_call_that_is_malformed_is_refused_with_the_place(change: dict[str, Any], where: str) -> None:
    here = setting("*")
    error = await here.refusal("tool.call", {**asked(), **change})
    assert (error.code, error.where) == ("invalid", where)
    assert here.files.calls == []


async def test_cancelling_a_request_ends_the_tool(autojump_clock: MockClock) -> None:
    here = setting("*")
    with trio.move_on_after(1) as scope:
        await here.ask("tool.call", asked("wait"))
    assert scope.cancelled_caught
    assert here.files.ended
    assert here.registry.in_flight == 0


# -- who may ---------------------------------------------------------------------------------------


async def test_nothing_is_exported_by_default() -> None:
    here = setting()
    error = await here.refusal("tool.call", asked())
    assert error.code == "denied"
    assert error.detail == "fs/read is not exported to ann"
    assert here.files.calls == []
    assert here.exports.tools() == ()


async def test_rules_for_single_peers_narrow_by_name_and_by_id() -> None:
    deny = PeerExport(deny=("fs/write",))
    here = setting("fs/read", "fs/write", peers={"ann": deny, "px-bob": deny})
    for name in ("ann", "bob"):
        assert (await here.refusal("tool.call", asked("write"), name)).code == "denied"
        assert await here.ask("tool.call", asked("read"), name)
    assert await here.ask("tool.call", asked("write"), "cleo")
    assert (await here.refusal("tool.call", asked("wait"), "cleo")).code == "denied"


async def test_an_unknown_tool_is_not_found_and_no_other_names_are_given_away() -> None:
    here = setting("fs/read")
    error = await here.refusal("tool.call", asked("writ"))
    assert error.code == "not_found"
    assert "fs/writ" in error.detail
    assert (error.hint, error.data) == ("", {})
    assert len((await here.refusal("tool.call", asked("x" * 100_000))).detail) < 200


# -- what there is ---------------------------------------------------------------------------------


async def test_definitions_are_given_of_what_this_peer_may_call() -> None:
    here = setting("fs/read", "fs/write", peers={"ann": PeerExport(deny=("fs/write",))})
    read, wait, write = sorted(here.registry.tools(), key=lambda tool: tool.name)
    digests = {"digests": [read.digest, wait.digest, write.digest, "no such", 5, None]}
    assert await here.ask("tools.describe", digests) == {"tools": {read.digest: read.definition}}
    assert (await here.ask("tools.describe", digests, "bob"))["tools"].keys() == {read.digest, write.digest}


@pytest.mark.parametrize("digests", [None, "abc", {}, ["x"] * (MAX_DIGESTS + 1)])
async def test_a_question_for_definitions_is_a_bounded_list(digests: Any) -> None:
    error = await setting("*").refusal("tools.describe", {"digests": digests})
    assert (error.code, error.where) == ("invalid", "params.digests")
    assert await setting("*").ask("tools.describe", {"digests": ["x"] * MAX_DIGESTS}) == {"tools": {}}


async def test_the_card_can_be_read_back() -> None:
    assert decode_card(loads(dumps(await setting().ask("card.get", {})))) == CARD


async def test_the_directory_names_what_some_peer_may_call() -> None:
    here = setting("fs/read", "fs/write", peers={"ann": PeerExport(allow=())})
    assert [(entry.source, entry.name) for entry in here.exports.tools()] == [("fs", "read"), ("fs", "write")]
    assert [entry.digest for entry in here.exports.tools()] == [
        here.registry.find("fs", name).digest for name in ("read", "write")
    ]


# -- other methods ---------------------------------------------------------------------------------


async def test_a_method_of_a_later_version_is_not_found() -> None:
    error = await setting("*").refusal("tool.dream", {})
    assert (error.code, error.detail) == ("not_found", "no method 'tool.dream'")


@pytest.mark.parametrize("method", ["tool.call", "card.get", "tools.describe"])
@pytest.mark.parametrize("params", [None, [], "text", 5])
async def test_parameters_are_an_object(method: str, params: Any) -> None:
    error = await setting("*").refusal(method, params)
    assert (error.code, error.where) == ("invalid", "params")


async def test_what_a_caller_wants_arrives_with_the_call() -> None:
    here = setting("*")
    said = {
        "log": "info",
        "ask": True,
        "capabilities": {"sampling": {}},
        "input": {"requestState": "s"},
        "takes_input_requests": True,
        "meta": {"traceparent": "00"},
        "session": "s1",
    }
    await here.ask("tool.call", {**asked(), "mcp": said})
    ((_, _, context),) = here.files.calls
    assert (context.caller, context.log_level, context.session) == ("ann", "info", "px-ann/s1")
    assert (context.capabilities, context.input, context.meta) == (said["capabilities"], said["input"], said["meta"])
    assert context.takes_input_requests
    assert context.on_progress is None
    assert context.on_log is not None
    context.on_log({"level": "info", "data": 1})
    assert here.events == [("notifications/message", {"level": "info", "data": 1})]
    assert context.ask is not None
    assert await context.ask("roots/list", {}) == {"asked": "roots/list"}


async def test_a_caller_that_wants_nothing_is_asked_nothing() -> None:
    here = setting("*")
    await here.ask("tool.call", asked())
    ((_, _, context),) = here.files.calls
    assert context == CallContext("ann")


@pytest.mark.parametrize(
    ("said", "where"),
    [
        (5, "params.mcp"),
        ({"log": 5}, "params.mcp.log"),
        ({"session": 5}, "params.mcp.session"),
        ({"session": "s" * 200}, "params.mcp.session"),
        ({"capabilities": []}, "params.mcp.capabilities"),
        ({"input": "x"}, "params.mcp.input"),
        ({"meta": 1}, "params.mcp.meta"),
    ],
)
async def test_a_caller_that_is_none_is_refused(said: Any, where: str) -> None:
    here = setting("*")
    refused = await here.refusal("tool.call", {**asked(), "mcp": said})
    assert (refused.code, refused.where) == ("invalid", where)
    assert here.files.calls == []


async def test_a_question_goes_to_whoever_made_the_call() -> None:
    here = setting()
    asked_for = {"call": 3, "method": "elicitation/create", "params": {"message": "?"}}
    assert await here.ask("mcp.ask", asked_for) == {"asked": "elicitation/create", "message": "?"}
    assert (await here.refusal("mcp.ask", {**asked_for, "call": 5})).code == "denied"
    assert (await here.refusal("mcp.ask", {**asked_for, "method": "tools/call"})).where == "params.method"
    assert (await here.refusal("mcp.ask", {**asked_for, "params": []})).where == "params.params"
    assert (await here.refusal("mcp.ask", None)).code == "invalid"
