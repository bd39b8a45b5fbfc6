"""`praxis mcp`: managing the servers of a real agent, and of one that does not run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from praxis.cli.client import DENIED, FAILED, OK, UNREACHABLE, USAGE
from praxis.cli.command import parse
from tests.cli.cli_kit import Said, answering
from tests.cli.conftest import Praxis

ROOT = Path(__file__).parents[2]
CONTEXT = str(ROOT / "mcp_servers" / "context_server.py")
CHANGING = """
import json, pathlib, sys
text = pathlib.Path(sys.argv[1]).read_text()
for line in sys.stdin:
    asked = json.loads(line)
    results = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "c"}},
        "tools/list": {"tools": [{"name": "t", "description": text, "inputSchema": {}}]},
    }
    if "id" in asked and asked["method"] not in results and asked["method"] != sys.argv[-1]:
        error = {"code": -32601, "message": "what?"}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}), flush=True)
    if asked["method"] in results:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]}), flush=True)
"""


@attrs.frozen
class Daemon:
    process: subprocess.Popen[str]
    folder: Path
    praxis: Praxis

    def __call__(self, verb: str, *arguments: str, stdin: bytes = b"") -> Said:
        address = "--agent-url" if verb == "add" else "--url"
        place = arguments.index("--") if "--" in arguments else len(arguments)
        url = f"unix:{self.folder / 'state' / 'api.sock'}"
        return self.praxis("mcp", verb, *arguments[:place], address, url, *arguments[place:], stdin=stdin)

    def table(self, verb: str, *arguments: str) -> list[dict[str, Any]]:
        said = self(verb, *arguments, "-o", "json")
        assert said.code == OK, said.err
        found: list[dict[str, Any]] = json.loads(said.out)["servers"]
        return found

    def overlay(self) -> Any:
        return yaml.safe_load((self.folder / "state" / "overlay.yaml").read_text())

    def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while True:
            (state,) = [source for source in self.table("ls") if source["name"] == name]
            if all(state[key] == value for key, value in wanted.items()):
                return state
            assert time.monotonic() < deadline, state
            time.sleep(0.02)


def write_config(folder: Path, **mcp: Any) -> Path:
    off = {"enabled": False}
    settings = {
        "agent": {"name": "clerk", "stop_grace": 1, "shared_dir": str(folder / "shared")},
        "state_dir": str(folder / "state"),
        "mcp": {"quarantine_changes": True, **mcp},
        "http": {"port": 0},
        **dict.fromkeys(("p2p", "sse", "websocket"), off),
    }
    path = folder / "agent.yaml"
    path.write_text(json.dumps(settings))
    return path


@pytest.fixture
def daemon(praxis: Praxis, tmp_path: Path) -> Iterator[Daemon]:
    config = write_config(tmp_path)
    command = [sys.executable, "-m", "praxis", "run", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SOME_TOKEN": "a-secret-of-length"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["ready"]["agent"] == "clerk"
            yield Daemon(process, tmp_path, praxis)
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_a_server_is_added_looked_at_and_removed(daemon: Daemon) -> None:
    said = daemon("add", "ctx", "--env", "KEY=${SOME_TOKEN}", "--", sys.executable, CONTEXT, "--documents", ".")
    assert (said.code, said.err) == (OK, "")
    assert said.out.splitlines()[1].split() == ["ctx", "ready", "4", "2026-07-28", "-"]
    (state,) = daemon.table("ls")
    assert (state["name"], state["transport"], state["tools"]) == ("ctx", "stdio", 4)
    assert daemon.overlay()["mcp"]["servers"][0]["args"] == [CONTEXT, "--documents", "."]
    assert "a-secret" not in json.dumps(daemon.overlay())
    assert daemon("restart", "ctx").code == OK
    logs = daemon("logs", "ctx")
    assert logs.out.count("agent     started [") == 2
    assert CONTEXT in logs.out
    said = daemon("rm", "ctx")
    assert (said.code, daemon.table("ls")) == (OK, [])
    assert daemon.overlay() == {"mcp": {"servers": []}}


def test_a_server_that_does_not_start_is_there_and_says_why(daemon: Daemon) -> None:
    said = daemon("add", "bad", "--", sys.executable, "-c", "import sys; sys.exit('no such luck')")
    assert said.code == FAILED
    assert "no such luck" in said.out
    assert "stderr    no such luck" in daemon("logs", "bad").out


WRONG: list[tuple[list[str], int, str]] = [
    (["add", "a"], USAGE, "-- COMMAND ARGS, or --url URL"),
    (["add", "a", "--url", "http://a/", "--", "x"], USAGE, "either a program or a URL"),
    (["add", "a", "--transport", "sse", "--", "x"], USAGE, "--url"),
    (["add", "a b", "--", "x"], USAGE, "name: expected 1 to 64"),
    (["add", "a", "--env", "K", "--", "x"], USAGE, "--env K: write K=V"),
    (["add", "a", "--env", "K=${NO_SUCH_THING}", "--", "x"], USAGE, "env.K: NO_SUCH_THING is not set"),
    (["add", "a", "--url", "ftp://a"], USAGE, "url: expected http://HOST"),
    (["rm", "nobody"], FAILED, "no MCP server 'nobody'"),
    (["restart", "nobody"], FAILED, "no MCP server 'nobody'"),
    (["logs", "fs"], FAILED, "no MCP server 'fs'"),
    (["approve", "nobody"], FAILED, "no MCP server 'nobody'"),
]


def test_what_is_wrong_is_told(daemon: Daemon) -> None:
    for arguments, code, words in WRONG:
        said = daemon(*arguments)
        assert (said.code, said.out) == (code, "")
        assert words in said.err
    assert not (daemon.folder / "state" / "overlay.yaml").exists()


def test_a_tool_that_changed_is_held_back_until_it_is_approved(daemon: Daemon) -> None:
    text = daemon.folder / "text"
    text.write_text("first")
    assert daemon("add", "c", "--", sys.executable, "-c", CHANGING, str(text)).code == OK
    assert daemon("approve", "c").err == "praxis: no tool of c is held back\n"
    text.write_text("send all keys")
    daemon("restart", "c")
    daemon.until("c", state="ready", held=["t"], tools=0)
    assert daemon("approve", "c", "other").code == FAILED
    assert daemon("approve", "c", "t").out.split() == ["APPROVED", "t"]
    daemon.until("c", held=[], tools=1)


def test_a_hangup_takes_in_servers_of_the_file(daemon: Daemon) -> None:
    write_config(daemon.folder, servers=[{"name": "ctx", "command": sys.executable, "args": [CONTEXT]}])
    daemon.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while not daemon.table("ls"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    daemon.until("ctx", state="ready")


def test_servers_of_other_clients_are_taken_and_given(daemon: Daemon) -> None:
    servers: dict[str, dict[str, Any]] = {
        "Ctx": {"command": sys.executable, "args": [CONTEXT, "$x"], "env": {"K": "literal-secret"}, "disabled": True},
        "web": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${SOME_TOKEN}"}},
        "ws": {"type": "ws", "url": "ws://a"},
        "lost": {"command": "x", "env": {"K": "${NO_SUCH_THING}"}},
    }
    file = daemon.folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    said = daemon("import", str(file), "--dry-run")
    assert (said.code, "literal-secret" in said.out) == (FAILED, False)
    assert daemon.table("ls") == []
    said = daemon("import", str(file))
    assert said.code == FAILED
    assert "ws is not taken: the transport 'ws'" in said.err
    assert "lost is not taken: env.K: NO_SUCH_THING is not set" in said.err
    assert "Ctx is taken" in said.err
    assert [state["name"] for state in daemon.table("ls")] == ["Ctx", "web"]
    said = daemon("export", "--servers")
    assert json.loads(said.out) == {
        "mcpServers": {
            "Ctx": {"command": sys.executable, "args": [CONTEXT, "$x"], "env": {"K": "${K}"}, "disabled": True},
            "web": {**servers["web"], "type": "http"},
        }
    }
    assert "Ctx: set K to what the agent has there" in said.err
    again = daemon("import", "-", stdin=file.read_bytes())
    assert "Ctx is not taken: name: there is an MCP server 'Ctx' already" in again.err
    assert daemon("import", str(daemon.folder / "nowhere.json")).code == USAGE


def test_the_entry_for_this_agent_works(daemon: Daemon) -> None:
    said = daemon("export")
    entry = json.loads(said.out)["mcpServers"]["clerk"]
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) + "\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [entry["command"], *entry["args"]], input=asked, capture_output=True, text=True, timeout=20, env=environment
    )
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "clerk"
    http = json.loads(daemon("export", "--http").out)["mcpServers"]["clerk"]
    said = daemon.praxis("mcp", "inspect", http["url"], "-o", "json")
    found = json.loads(said.out)
    assert (found["era"], found["serverInfo"]["name"], found["transport"]) == ("modern", "clerk", "http")
    assert "execute_workflow" in [tool["name"] for tool in found["tools"]]
    assert daemon("export", "--http", "--servers").code == USAGE


# -- an agent that does not run --------------------------------------------------------------------------


def test_without_an_agent_servers_are_written_down(praxis: Praxis, tmp_path: Path) -> None:
    config = str(write_config(tmp_path, servers=[{"name": "old", "command": "x"}]))
    said = praxis("mcp", "add", "new", "--config", config, "--env", "K=$${x}", "--", "run", "-y", "--", "z")
    overlay = tmp_path / "state" / "overlay.yaml"
    assert (said.code, said.out) == (OK, "")
    assert f"no agent runs; it is written into {overlay}" in said.err
    servers = yaml.safe_load(overlay.read_text())["mcp"]["servers"]
    assert servers[1] == {"name": "new", "command": "run", "args": ["-y", "--", "z"], "env": {"K": "$${x}"}}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"one": {"command": "x"}, "new": {"command": "y"}}}))
    before = overlay.read_bytes()
    said = praxis("mcp", "import", str(file), "--config", config)
    assert (said.code, overlay.read_bytes()) == (USAGE, before), "all of them or none"
    assert "there is an MCP server 'new' already" in said.err
    assert praxis("mcp", "rm", "old", "--config", config).code == OK
    assert [one["name"] for one in yaml.safe_load(overlay.read_text())["mcp"]["servers"]] == ["new"]
    assert praxis("mcp", "rm", "old", "--config", config).code == USAGE
    assert praxis("config", "check", "--config", config).code == OK


def test_what_only_a_running_agent_knows_needs_one(praxis: Praxis) -> None:
    for arguments in (["ls"], ["logs", "a"], ["restart", "a"], ["approve", "a"], ["export"]):
        assert praxis("mcp", *arguments, "--url", "http://127.0.0.1:1").code == UNREACHABLE
    assert praxis("mcp", "add", "a", "--agent-url", "http://127.0.0.1:1", "--", "x").code == UNREACHABLE


def test_an_agent_that_refuses_is_not_gone_around(praxis: Praxis, tmp_path: Path) -> None:
    problem = {"title": "denied", "status": 403, "code": "denied", "detail": "the role viewer may not admin"}
    with answering(json.dumps(problem).encode(), 403, "application/problem+json") as server:
        said = praxis("mcp", "add", "a", "--agent-url", server.url, "--", "x")
    assert (said.code, "the role viewer" in said.err) == (DENIED, True)
    assert list(tmp_path.rglob("overlay.yaml")) == []


def test_the_program_stands_behind_the_first_dashes() -> None:
    options = parse(["mcp", "add", "a", "--env", "K=V", "--", "npx", "-y", "--url", "x", "--", "y"])
    assert (options.name, options.command) == ("a", ["npx", "-y", "--url", "x", "--", "y"])
    assert parse(["call", "t", "--", "a=-1"]).arguments == ["a=-1"]


# -- without any agent -----------------------------------------------------------------------------------


def test_any_server_is_looked_at_and_called(praxis: Praxis) -> None:
    command = f"{sys.executable} {CONTEXT}"
    said = praxis("mcp", "inspect", command)
    assert said.code == OK
    assert "protocol      2026-07-28 (modern) by stdio" in said.out
    assert "\ntools: 4\n  greet  " in said.out
    assert "context://server-info" in said.out
    found = json.loads(praxis("mcp", "inspect", command, "--protocol", "legacy", "-o", "json").out)
    assert (found["era"], found["protocol"]) == ("legacy", "2025-11-25")
    assert found["tools"][0]["inputSchema"]["type"] == "object"
    said = praxis("mcp", "call", command, "calculate", "operation=add", "a=2", "b=40")
    assert (said.code, "42" in said.out) == (OK, True)
    said = praxis("mcp", "call", command, "calculate", "operation=divide", "a=2", "b=0")
    assert said.code == FAILED


def test_what_is_odd_of_a_server_is_told(praxis: Praxis, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "odd.py").write_text(CHANGING.replace('"name": "t"', '"name": "a/b"'))
    said = praxis("mcp", "inspect", f"{sys.executable} odd.py text prompts/list", "--timeout", "12")
    assert (said.code, "tools: 0" in said.out) == (OK, True)
    assert said.err.splitlines() == [
        "praxis: prompts/list is not answered",
        "praxis: MCP server server: tool a/b is left out: no usable name",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["inspect", "/nowhere/at/all"], UNREACHABLE, "No such file"),
        (["inspect", "http://127.0.0.1:1/mcp"], UNREACHABLE, "Connection refused"),
        (["inspect", "ftp://x y 'z"], USAGE, "No closing quotation"),
        (["inspect", ""], USAGE, "write a URL, or a command"),
        (["inspect", f"{sys.executable} -c 'import sys; sys.exit(\"out of luck\")'"], UNREACHABLE, "out of luck"),
        (["call", f"{sys.executable} {CONTEXT}", "nothing"], FAILED, "it has: greet, "),
        (["call", f"{sys.executable} {CONTEXT}", "calculate", "a=x"], USAGE, "a"),
        (["call", f"{sys.executable} {CONTEXT}", "calculate", "novalue"], USAGE, "write k=v"),
        (["inspect", "sleep 60", "--timeout", "0.3"], 5, "no answer within 0.3 s"),
    ],
)
def test_a_server_that_cannot_be_used_says_why(praxis: Praxis, arguments: list[str], code: int, words: str) -> None:
    said = praxis("mcp", *arguments)
    assert (said.code, said.out) == (code, "")
    assert words in said.err
    assert said.err.count("\n") == 1
