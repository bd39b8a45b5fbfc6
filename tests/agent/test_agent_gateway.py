"""Everything of a source on another agent at this agent's one MCP endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.config.schema import Config, Export
from praxis.gateway.local import CARD, LocalGateway, LocalService
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.workflow.sources import Sources
from tests.support.library import Library
from tests.support.network import PATIENCE, connected

ANN = Principal("local", "ann")
ASKER = CallContext("ann")


class Shelf(Library):
    """A library with a resource, a template and a prompt, two pages of each."""

    async def request(self, method: str, params: Mapping[str, Any], context: CallContext) -> Mapping[str, Any]:
        page = 2 if params.get("cursor") else 1
        more = {} if page == 2 else {"nextCursor": "2"}
        match method:
            case "resources/list":
                return {"resources": [{"uri": f"test://{page}", "name": str(page)}], **more}
            case "resources/templates/list":
                return {"resourceTemplates": [{"uriTemplate": "test://{id}/" + str(page), "name": "t"}], **more}
            case "prompts/list":
                return {"prompts": [{"name": f"ask-{page}"}], **more}
            case "resources/read":
                return {"contents": [{"uri": params["uri"], "text": self._agent}]}
        return await super().request(method, params, context)


@attrs.frozen
class Here:
    service: LocalService
    own: Shelf
    far: Shelf
    agents: Any

    async def ask(self, method: str, **params: Any) -> Mapping[str, Any]:
        return await self.service.request(method, params, ASKER)


@asynccontextmanager
async def here(folder: Path, export: Export) -> AsyncIterator[Here]:
    """Both agents have a shelf; we are at agent 1."""

    def change(config: Config) -> Config:
        return attrs.evolve(config, export=export)

    async with connected(folder, 2, change=change) as agents:
        one, two = (running.agent for running in agents)
        own, far = Shelf("agent-1"), Shelf("agent-2")
        one.registry.add(own)
        two.registry.add(far)
        with trio.fail_after(PATIENCE):
            await one.peers.wait_change(lambda: "find" in {t.name for o in one.peers.owners() for t in o.tools})
        sources = Sources("agent-1", one.registry, one.peers, one.executor, one._policy)
        rest = (one._policy, one.bus, one._status.card, one.peers, one.member.send)
        gateway = LocalGateway("agent-1", one.executor, one.asking, sources, *rest)
        yield Here(gateway.service(ANN), own, far, agents)


OPEN = Export(tools=("*",), resources=("library",))


async def test_resources_and_prompts_of_all_agents_are_listed_under_names_of_their_own(tmp_path: Path) -> None:
    async with here(tmp_path, OPEN) as at:
        uris = [each["uri"] for each in (await at.ask("resources/list"))["resources"]]
        places = [f"praxis://agent-{agent}/library/test://{page}" for agent in (1, 2) for page in (1, 2)]
        assert uris == [CARD, *places]
        templates = [each["uriTemplate"] for each in (await at.ask("resources/templates/list"))["resourceTemplates"]]
        assert templates[-1] == "praxis://agent-2/library/test://{id}/2"
        prompts = [each["name"] for each in (await at.ask("prompts/list"))["prompts"]]
        assert prompts == ["library__ask-1", "library__ask-2", "agent-2__library__ask-1", "agent-2__library__ask-2"]


async def test_each_goes_to_its_source_under_its_own_name(tmp_path: Path) -> None:
    async with here(tmp_path, OPEN) as at:
        for agent in ("agent-1", "agent-2"):
            uri = f"praxis://{agent}/library/test://any/thing?x=1"
            assert (await at.ask("resources/read", uri=uri))["contents"] == [{"uri": uri, "text": agent}]
        name = "agent-2__library__ask-2"
        got = await at.ask("prompts/get", name=name, arguments={"a": "b"})
        assert got == {"content": [], "got": {"name": "ask-2", "arguments": {"a": "b"}}}
        argument = {"name": "a", "value": "x"}
        done = await at.ask("completion/complete", ref={"type": "ref/prompt", "name": name}, argument=argument)
        assert done["got"] == {"ref": {"type": "ref/prompt", "name": "ask-2"}, "argument": argument}
        ref = {"type": "ref/resource", "uri": "praxis://agent-2/library/test://{id}/1"}
        done = await at.ask("completion/complete", ref=ref, argument=argument)
        assert done["got"]["ref"] == {"type": "ref/resource", "uri": "test://{id}/1"}
        assert at.far.seen
        assert not at.own.seen


async def test_what_nobody_or_more_than_one_has_is_told(tmp_path: Path) -> None:
    async with here(tmp_path, OPEN) as at:
        with pytest.raises(PraxisError, match="2 sources have this resource") as caught:
            await at.ask("resources/read", uri="test://1")
        assert "praxis://agent-2/library/test://1" in caught.value.hint
        for method, params in (
            ("resources/read", {"uri": "test://none"}),
            ("resources/read", {"uri": "praxis://agent-2/none/test://1"}),
            ("resources/read", {"uri": "praxis://agent-9/library/test://1"}),
            ("resources/read", {"uri": 5}),
            ("prompts/get", {"name": "agent-2__library__none"}),
        ):
            with pytest.raises(PraxisError):
                await at.ask(method, **params)
        at.agents[0].agent.registry._sources.pop("library")
        assert (await at.ask("resources/read", uri="test://1"))["contents"][0]["text"] == "agent-2"


async def test_what_is_not_exported_is_not_there(tmp_path: Path) -> None:
    async with here(tmp_path, Export(tools=("library/*", "fs/list_files"))) as at:
        uris = [each["uri"] for each in (await at.ask("resources/list"))["resources"]]
        assert [uri for uri in uris if "agent-2" in uri] == []
        with pytest.raises(PraxisError) as caught:
            await at.ask("resources/read", uri="praxis://agent-2/library/test://1")
        assert caught.value.code == "denied"


async def test_changes_of_a_source_elsewhere_are_heard_under_its_name_here(tmp_path: Path) -> None:
    async with here(tmp_path, OPEN) as at:
        uri = "praxis://agent-2/library/test://1"
        heard: list[Any] = []
        wanted = {"resourcesListChanged": True, "resourceSubscriptions": [uri, "test://1", 5]}
        async with at.service.subscribe(wanted, lambda method, params: heard.append((method, params))) as honoured:
            assert honoured == {"resourcesListChanged": True, "resourceSubscriptions": [uri]}
            with trio.fail_after(PATIENCE):
                while not (at.far.notices and at.own.notices):  # noqa: ASYNC110 - two agents
                    await trio.sleep(0.01)
            at.far.notices[0]("notifications/resources/updated", {"uri": "test://1"})
            at.own.notices[0]("notifications/resources/list_changed", {})
            with trio.fail_after(PATIENCE):
                while len(heard) < 2:  # noqa: ASYNC110 - over a line
                    await trio.sleep(0.01)
        assert ("notifications/resources/updated", {"uri": uri}) in heard
        assert ("notifications/resources/list_changed", {}) in heard


async def test_a_message_is_an_event_at_the_other_agent(tmp_path: Path) -> None:
    async with here(tmp_path, OPEN) as at:
        two = at.agents[1].agent
        with two.bus.subscribe(types=["peer.message"]) as events:
            call = {"name": "send_p2p_message", "arguments": {"peer": "agent-2", "message": "hello"}}
            result = await at.ask("tools/call", **call)
            assert result["structuredContent"] == {"delivered": True, "peer_id": at.agents[1].addresses.peer_id}
            with trio.fail_after(PATIENCE):
                (event,) = (await events.receive()).events
        assert (event.fields["name"], event.fields["text"]) == ("agent-1", "hello")
        (link,) = at.agents[0].agent.peers.links()
        for text in (None, "", "x" * 20_000, 5):
            with pytest.raises(PraxisError) as caught:
                await link.call("message.send", {"text": text})
            assert caught.value.code == "invalid"
