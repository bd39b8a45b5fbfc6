"""Keys that change while agents work, agents that are blocked, and a network without a key."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.app import Agent
from praxis.config.schema import Config
from praxis.dev import RunningAgent, free_discovery_port, make_config
from praxis.model.errors import PraxisError
from praxis.peers.keyring import NetworkKey, read_keyring, write_keyring
from tests.support.network import PATIENCE, connected

ANN = Principal("local", "ann", "admin")
OLD, NEW = NetworkKey(bytes(32)), NetworkKey(bytes(31) + b"\1")


class Site:
    """Agents that read their keys from a file each, as they would on machines of their own."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.port = free_discovery_port()
        self.agents: list[RunningAgent] = []
        self._nursery = nursery

    def keyring(self, number: int) -> Path:
        return self.folder / f"keys-{number}"

    def config(self, number: int, *, blocklist: tuple[str, ...] = ()) -> Config:
        config = make_config(f"agent-{number}", key=OLD.text, discovery_port=self.port, folder=self.folder)
        security = attrs.evolve(
            config.p2p.security, network_keys=(), network_key_file=self.keyring(number), blocklist=blocklist
        )
        return attrs.evolve(config, p2p=attrs.evolve(config.p2p, security=security))

    async def start(self, number: int, *keys: NetworkKey) -> RunningAgent:
        write_keyring(self.keyring(number), keys)
        config = self.config(number)
        agent = Agent(
            config,
            base_dir=self.folder,
            state_dir=self.folder / config.agent.name / "state",
            reread=lambda: self.config(number),
        )
        stopping = trio.Event()
        self.agents.append(RunningAgent(agent, await self._nursery.start(agent.run, stopping), stopping))
        return self.agents[-1]

    async def rekey(self, *keys: NetworkKey) -> None:
        """Give all agents these keys, one agent after the other, as an operator does."""
        for number, one in enumerate(self.agents, 1):
            write_keyring(self.keyring(number), keys)
            await one.agent.reloading.reload()

    def lines(self) -> set[object]:
        return {link for one in self.agents for link in one.agent.peers.links()}


@asynccontextmanager
async def site(folder: Path, size: int) -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        here = Site(folder, nursery)
        for number in range(1, size + 1):
            await here.start(number, OLD)
        try:
            await whole(here, size)
            yield here
        finally:
            for one in here.agents:
                one.stopping.set()


async def whole(here: Site, size: int) -> None:
    with trio.fail_after(PATIENCE):
        for one in here.agents[:size]:
            await one.agent.peers.wait_change(partial(_knows, one.agent, size - 1))


def _knows(agent: Agent, others: int) -> bool:
    return sum(bool(owner.tools) for owner in agent.peers.owners()) >= others


@asynccontextmanager
async def traffic(here: Site, callers: int) -> AsyncIterator[Callable[[], int]]:
    """Calls between all agents, back to back; each must succeed. Gives the number of calls so far."""
    calls = 0

    async def call(number: int) -> None:
        nonlocal calls
        one = here.agents[number % len(here.agents)].agent
        other = (number + 1) % len(here.agents) + 1
        while True:
            run = await one.executor.execute(f"CALL agent-{other}:list_files", ANN)
            assert run.state == "succeeded", run.error
            calls += 1

    async with trio.open_nursery() as nursery:
        for number in range(callers):
            nursery.start_soon(call, number)
        yield lambda: calls
        before = calls
        with trio.fail_after(PATIENCE):
            while calls < before + callers:  # noqa: ASYNC110 - a condition of several agents
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_keys_are_replaced_under_traffic_and_no_call_fails(tmp_path: Path) -> None:
    async with site(tmp_path, 3) as here, traffic(here, 12) as calls:
        first = here.lines()
        await here.rekey(OLD, NEW)
        assert here.lines() == first, "a key that is only believed changes no line"
        await here.rekey(NEW, OLD)
        second = here.lines()
        assert not second & first, "every line shows the new certificate"
        await here.rekey(NEW)
        assert not here.lines() & second, "and none rests on the old key"
        assert len(here.lines()) == 6
        assert calls() > 12

        late = await here.start(4, OLD)
        with trio.move_on_after(1):
            await late.agent.peers.wait_change(lambda: bool(late.agent.peers.owners()))
        assert not late.agent.peers.owners(), "who has the old key alone is a stranger"
        write_keyring(here.keyring(4), [NEW])
        await late.agent.reloading.reload()
        with trio.fail_after(PATIENCE):
            await late.agent.peers.wait_change(lambda: len(late.agent.peers.owners()) == 3)


async def test_an_agent_that_did_not_get_the_new_key_is_left_behind(tmp_path: Path) -> None:
    async with site(tmp_path, 2) as here:
        one = here.agents[0].agent
        write_keyring(here.keyring(1), [NEW])
        await one.reloading.reload()
        with trio.fail_after(PATIENCE):
            while one.peers.links():  # noqa: ASYNC110 - the line gives way after its grace
                await trio.sleep(0.01)


async def test_a_reload_with_a_bad_key_changes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, 2) as here:
        before = here.lines()
        here.keyring(1).write_text(OLD.text + "\n# the next one\npxk1-short\n")
        with pytest.raises(PraxisError, match="too short") as caught:
            await here.agents[0].agent.reloading.reload()
        assert caught.value.where == f"{here.keyring(1)}:3"
        assert here.lines() == before
        assert "short" not in str(read_keyring(here.keyring(2), private=False))


async def test_a_blocked_peer_loses_its_line_at_once_and_gets_it_back(tmp_path: Path) -> None:
    async with site(tmp_path, 3) as here:
        one, two = here.agents[0].agent, here.agents[1].agent
        blocked = here.agents[1].addresses.peer_id
        reread = one.reloading._reread
        one.reloading._reread = lambda: here.config(1, blocklist=(blocked,))
        done = await one.reloading.reload()
        assert done.applied == ("p2p.security.blocklist",)
        assert not done.restart
        assert {owner.name for owner in one.peers.owners()} == {"agent-3"}
        (view,) = (view for view in one.peers.views() if view.id == blocked)
        assert (view.state, view.reason) == ("blocked", "it is on the blocklist")
        with pytest.raises(PraxisError, match="no tool 'agent-2:list_files' can be reached"):
            await one.executor.execute("CALL agent-2:list_files", ANN)
        with trio.fail_after(PATIENCE):
            while two.peers.link(here.agents[0].addresses.peer_id):  # noqa: ASYNC110 - a condition of another agent
                await trio.sleep(0.01)
        with trio.fail_after(PATIENCE):
            while 'praxis_p2p_handshakes_total{result="refused",reason="blocked"}' not in one.metrics.render():
                two.member.bootstrap([f"127.0.0.1:{here.agents[0].addresses.p2p[1]}"])  # type: ignore[index]
                await trio.sleep(0.05)
        assert one.peers.link(blocked) is None, "however often it dials"
        one.reloading._reread = reread
        await one.reloading.reload()
        await whole(here, 3)


async def test_a_network_without_a_key_is_open_to_all_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(config: Config) -> Config:
        key = NetworkKey.generate().text  # each has another one, and none of them counts
        security = attrs.evolve(config.p2p.security, network_keys=(key,))
        return attrs.evolve(config, p2p=attrs.evolve(config.p2p, secure=False, security=security))

    with caplog.at_level(logging.WARNING):
        async with connected(tmp_path, 2, change=change) as agents:
            run = await agents[0].agent.executor.execute("CALL agent-2:list_files", ANN)
            assert run.state == "succeeded"
    assert sum("p2p is open" in record.getMessage() for record in caplog.records) == 2


async def test_a_copy_of_an_agent_is_noticed_by_the_others(tmp_path: Path) -> None:
    async with site(tmp_path, 2) as here:
        one = here.agents[0].agent
        copy = here.folder / "copy"
        shutil.copytree(here.folder / "agent-2" / "state", copy, ignore=shutil.ignore_patterns("*.sock"))
        config = here.config(2)
        agent = Agent(config, base_dir=here.folder, state_dir=copy)
        async with trio.open_nursery() as nursery:
            stopping = trio.Event()
            await nursery.start(agent.run, stopping)
            with trio.fail_after(3 * PATIENCE):
                while "identities" not in one._status.health().checks:  # noqa: ASYNC110 - a condition of time too
                    await trio.sleep(0.05)
            assert "two agents have one identity: agent-2" in one._status.health().checks["identities"].reason
            stopping.set()


async def test_a_blocked_peer_is_told_and_does_not_come_back_soon(tmp_path: Path) -> None:
    async with site(tmp_path, 2) as here:
        one, two = (running.agent for running in here.agents)
        blocked, other = (running.addresses.peer_id for running in reversed(here.agents))
        one.member.block([blocked])

        def told() -> bool:
            (view,) = (view for view in two.peers.views() if view.id == other)
            return "this agent is told to have no line with that one" in view.reason

        with trio.fail_after(3 * PATIENCE):
            while not told():  # noqa: ASYNC110 - a condition of another agent
                await trio.sleep(0.05)
        before = refusals(one)
        await trio.sleep(1.0)
        assert refusals(one) - before <= 1, "it waits for minutes, not for half a second"


def refusals(agent: Agent) -> float:
    name = 'praxis_p2p_handshakes_total{result="refused",reason="blocked"} '
    (line,) = (line for line in agent.metrics.render().splitlines() if line.startswith(name))
    return float(line.removeprefix(name))
