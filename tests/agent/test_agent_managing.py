"""MCP servers that are added, removed and started again while an agent runs, with real processes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import yaml

from praxis.access.tokens import TokenStore
from praxis.app import Agent
from praxis.cli.client import Client, CommandError
from praxis.config.load import OVERLAY, load
from praxis.config.schema import Config
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from tests.support.processes import PATIENCE, alive, wait_gone, wait_until

ROOT = Path(__file__).parents[2]
SLEEP = str(ROOT / "mcp_servers" / "sleep_server.py")
CONTEXT = str(ROOT / "mcp_servers" / "context_server.py")
WITH_PID = (
    "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); os.execv(sys.executable, ['py', *sys.argv[2:]])"
)


def entry(name: str, folder: Path, server: str = CONTEXT, **more: Any) -> dict[str, Any]:
    """A server that writes its pid into a file first."""
    args = ["-c", WITH_PID, str(folder / f"{name}.pids"), server]
    return {"name": name, "command": sys.executable, "args": args, **more}


@attrs.frozen
class Running:
    agent: Agent
    folder: Path
    client: Client
    scope: trio.CancelScope

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        return await trio.to_thread.run_sync(self.client.request, method, path, body)

    async def ready(self, name: str) -> None:
        await wait_until(lambda: self.agent.mcp.find(name).state().state == "ready")

    def pids(self, name: str) -> list[int]:
        file = self.folder / f"{name}.pids"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    @property
    def tools(self) -> set[str]:
        return {tool.source for tool in self.agent.registry.tools()}

    def overlay(self) -> Any:
        return yaml.safe_load((self.folder / "state" / OVERLAY).read_text())


def write(folder: Path, *servers: dict[str, Any]) -> None:
    off = {"enabled": False}
    settings = {
        "agent": {"name": "managed", "stop_grace": 1},
        "state_dir": "state",
        "mcp": {"servers": [*servers], "limits": {"retry_attempts": 1}},
        "p2p": off,
        "http": {"port": 0},
        "sse": off,
        "websocket": off,
    }
    (folder / "agent.yaml").write_text(yaml.safe_dump(settings))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """An agent as `praxis run` builds it."""

    def reread() -> Config:
        return load(folder / "agent.yaml", environ=os.environ, overlay=folder / "state" / OVERLAY).config

    agent = Agent(reread(), base_dir=folder, state_dir=folder / "state", reread=reread)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run, stopping)
        client = Client(f"unix:{folder / 'state' / 'api.sock'}", timeout=2 * PATIENCE)
        yield Running(agent, folder, client, nursery.cancel_scope)
        stopping.set()


async def refused(one: Running, method: str, path: str, body: Any = None) -> str:
    with pytest.raises(CommandError) as caught:
        await one.ask(method, path, body)
    return str(caught.value)


async def test_a_server_comes_and_goes_while_others_work_on(tmp_path: Path) -> None:
    write(tmp_path, entry("old", tmp_path))
    async with running(tmp_path) as one:
        await one.ready("old")
        done = await one.ask("POST", "/sources", entry("new", tmp_path, SLEEP, env={"KEY": "${HOME}"}))
        assert (done["kept"], done["source"]["name"], done["source"]["transport"]) == (True, "new", "stdio")
        await one.ready("new")
        assert one.tools == {"new", "old"}
        assert [server["name"] for server in one.overlay()["mcp"]["servers"]] == ["old", "new"]
        assert one.overlay()["mcp"]["servers"][1]["env"] == {"KEY": "${HOME}"}
        failed: list[PraxisError] = []

        async def sleep() -> None:
            registry = one.agent.registry
            with pytest.raises(PraxisError) as caught:
                await registry.call(registry.find("new", "long_task"), {"seconds": 60}, CallContext("t"))
            failed.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            await wait_until(lambda: one.agent.registry.in_flight == 1)
            assert await one.ask("DELETE", "/sources/new") == {"name": "new", "kept": True}
        assert "it is removed" in failed[0].detail
        (pid,) = one.pids("new")
        assert not alive(pid), "it has ended when the answer comes"
        assert one.tools == {"old"}
        assert [server["name"] for server in one.overlay()["mcp"]["servers"]] == ["old"]
        (pid,) = one.pids("old")
        assert alive(pid)
        assert one.agent.mcp.find("old").state().restarts == 0


async def test_what_was_changed_is_so_after_a_restart_and_a_reload(tmp_path: Path) -> None:
    write(tmp_path, entry("first", tmp_path))
    async with running(tmp_path) as one:
        await one.ready("first")
        await one.ask("POST", "/sources", entry("second", tmp_path))
        await one.ask("DELETE", "/sources/first")
        await one.ready("second")
        assert (await one.ask("POST", "/reload"))["applied"] == []
        assert len(one.pids("second")) == 1, "a reload without changes touches nothing"
    async with running(tmp_path) as one:
        await one.ready("second")
        assert [source.name for source in one.agent.mcp] == ["second"]


async def test_a_reload_starts_ends_and_restarts_what_differs_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, entry("same", tmp_path), entry("other", tmp_path), entry("gone", tmp_path))
    async with running(tmp_path) as one:
        for name in ("same", "other", "gone"):
            await one.ready(name)
        write(tmp_path, entry("come", tmp_path), entry("other", tmp_path, exclude=["greet"]), entry("same", tmp_path))
        done = await one.agent.reloading.reload()
        assert (done.applied, done.restart) == (("mcp.servers",), ())
        assert [source.name for source in one.agent.mcp] == ["come", "other", "same"]
        await one.ready("come")
        await one.ready("other")
        await wait_gone(*one.pids("gone"))
        assert [len(one.pids(name)) for name in ("same", "other", "come", "gone")] == [1, 2, 1, 1]
        assert "greet" not in [tool.name for tool in one.agent.mcp.find("other").tools()]
        (tmp_path / "agent.yaml").write_text("mcp: {servers: [{name: 5}]}")
        with pytest.raises(PraxisError):
            await one.agent.reloading.reload()
        assert one.tools == {"come", "other", "same"}


async def test_a_restart_that_was_asked_for_is_at_once_and_counted(tmp_path: Path) -> None:
    write(tmp_path, entry("one", tmp_path), {"name": "broken", "command": "/nowhere/to/be/found"})
    async with running(tmp_path) as one:
        await one.ready("one")
        (first,) = one.pids("one")
        state = await one.ask("POST", "/sources/one/restart")
        assert state["state"] == "starting"
        await wait_until(lambda: len(one.pids("one")) == 2)
        await one.ready("one")
        assert not alive(first)
        assert one.agent.mcp.find("one").state().restarts == 1
        await wait_until(lambda: one.agent.mcp.find("broken").state().state == "failed")
        await one.ask("POST", "/sources/broken/restart")
        await wait_until(lambda: one.agent.mcp.find("broken").state().state == "backing off")
        lines = (await one.ask("GET", "/sources/one/logs"))["lines"]
        assert [line["line"].split()[0] for line in lines if line["kind"] == "agent"] == ["started", "ready"] * 2
        assert "restart" not in await refused(one, "POST", "/sources/nobody/restart")


async def test_what_is_wrong_changes_nothing_and_names_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, entry("there", tmp_path))
    async with running(tmp_path) as one:
        await one.ready("there")
        for body, words in (
            ({"name": "there", "command": "x"}, "body.name: there is an MCP server 'there' already"),
            ({"name": "a", "command": "x", "env": {"A": "${NO_SUCH_VARIABLE}"}}, "body.env.A: NO_SUCH_VARIABLE is not"),
            ({"name": "a", "commnad": "x"}, "unknown key 'commnad' (did you mean 'command'?)"),
            ({"name": "a", "transport": "http"}, "body.url: is missing"),
            ({"name": "a", "command": ["x"]}, "body.command"),
        ):
            assert words in await refused(one, "POST", "/sources", body)
        assert "no MCP server 'b'" in await refused(one, "DELETE", "/sources/b")
        assert not (tmp_path / "state" / OVERLAY).exists()
        assert [source.name for source in one.agent.mcp] == ["there"]
        (tmp_path / "agent.yaml").write_text("nonsense: true\n")  # under somebody's hands
        assert "nonsense" in await refused(one, "POST", "/sources", entry("c", tmp_path))
        assert not (tmp_path / "state" / OVERLAY).exists()


async def test_who_adds_what_is_in_the_log_with_every_argument_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    caplog.set_level(logging.INFO)
    async with running(tmp_path) as one:
        added = {
            "name": "odd",
            "command": sys.executable,
            "args": ["-c", "pass", "last one"],
            "env": {"K": "s3cret-key"},
        }
        await one.ask("POST", "/sources", added)
        await wait_until(lambda: one.agent.mcp.find("odd").state().state != "starting")
        shown = (await one.ask("GET", "/sources/odd/entry"))["env"]
    assert f"local adds MCP server odd: ['{sys.executable}', '-c', 'pass', 'last one']" in caplog.text
    assert shown == {"K": "***"}
    assert "s3cret-key" not in caplog.text


@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
async def test_what_an_entry_refers_to_is_in_no_log_event_or_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret-key")
    write(tmp_path)
    caplog.set_level(logging.DEBUG)
    if transport == "stdio":
        added: dict[str, Any] = {"command": sys.executable, "args": ["-c", "pass", "--key=${THE_KEY}"]}
    else:
        added = {"transport": transport, "url": "http://127.0.0.1:1/mcp?key=${THE_KEY}"}
    async with running(tmp_path) as one:
        with one.agent.bus.subscribe() as events:
            await one.ask("POST", "/sources", {"name": "odd", **added})
            await wait_until(lambda: bool(one.agent.mcp.find("odd").state().reason))
            shown = [await one.ask("GET", f"/sources/odd{part}") for part in ("", "/entry", "/logs")]
            shown.append(await one.ask("GET", "/health"))
            shown += [event.fields for event in events.receive_nowait().events]
    assert "key=${THE_KEY}" in caplog.text
    assert "s3cret-key" not in caplog.text
    assert "s3cret-key" not in str(shown)


async def test_only_an_admin_changes_servers(tmp_path: Path) -> None:
    write(tmp_path, entry("there", tmp_path))
    config = yaml.safe_load((tmp_path / "agent.yaml").read_text())
    config["http"] = {"port": 0, "host": "0.0.0.0"}
    store = TokenStore(tmp_path / "state" / "tokens.json")
    (tmp_path / "state").mkdir(mode=0o700)
    tokens = {role: store.new(role, role) for role in ("viewer", "operator", "admin")}
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config))
    async with running(tmp_path) as one:
        await one.ready("there")
        url = f"http://127.0.0.1:{one.agent._addresses['http'][1]}"
        for role in ("viewer", "operator"):
            other = attrs.evolve(one, client=Client(url, token=tokens[role], timeout=PATIENCE))
            for method, path, body in (
                ("POST", "/sources", entry("evil", tmp_path)),
                ("DELETE", "/sources/there", None),
                ("POST", "/sources/there/restart", None),
                ("POST", "/sources/there/approve", {}),
                ("GET", "/sources/there/entry", None),
            ):
                told = await refused(other, method, path, body)
                assert f"the role {role} may not admin" in told
            assert (await other.ask("GET", "/sources/there"))["state"] == "ready"
        assert one.pids("evil") == []
        admin = attrs.evolve(one, client=Client(url, token=tokens["admin"], timeout=PATIENCE))
        assert (await admin.ask("POST", "/sources", entry("good", tmp_path)))["kept"]


async def test_a_caller_that_leaves_leaves_no_half_of_a_change(tmp_path: Path) -> None:
    write(tmp_path, entry("a", tmp_path))
    async with running(tmp_path) as one:
        await one.ready("a")
        with trio.CancelScope() as scope:
            scope.cancel()
            await one.agent.mcp.apply([])
        await wait_until(lambda: not list(one.agent.mcp))
        await wait_gone(*one.pids("a"))
        assert one.tools == set()


async def test_without_a_configuration_to_start_from_changes_last_as_long_as_the_agent(tmp_path: Path) -> None:
    write(tmp_path)
    config = load(tmp_path / "agent.yaml", environ=os.environ).config
    agent = Agent(config, base_dir=tmp_path, state_dir=tmp_path / "state")
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run, stopping)
        client = Client(f"unix:{tmp_path / 'state' / 'api.sock'}", timeout=PATIENCE)
        done = await trio.to_thread.run_sync(client.request, "POST", "/sources", entry("a", tmp_path))
        assert done["kept"] is False
        assert not (tmp_path / "state" / OVERLAY).exists()
        stopping.set()
