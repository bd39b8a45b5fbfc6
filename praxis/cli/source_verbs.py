"""`praxis mcp`: the MCP servers of an agent. It is asked if it runs; else they are written down for its next start."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from praxis.cli.client import FAILED, OK, UNREACHABLE, USAGE, Client, CommandError, find_agent
from praxis.cli.output import emit, plain, say

if TYPE_CHECKING:
    from praxis.config.schema import Config

PATIENCE = 20.0
"""Seconds for an answer: a server that is ended gets 6 s."""
SETTLING = 15.0
"""Seconds in which most servers answer for the first time; the agent waits longer, and tries again."""
LOOK = 0.1
"""Seconds between two looks at a server that is starting."""

Entry = dict[str, Any]


def ls(options: argparse.Namespace) -> int:
    """One line for each server."""
    found = client_of(options).request("GET", "/sources", holds="sources")
    servers = [source for source in found["sources"] if source["kind"] == "mcp"]
    rows = [
        [
            s["name"],
            s["transport"],
            s["state"],
            s["tools"],
            s["protocol"],
            s["restarts"],
            " ".join(s["held"]),
            s["reason"],
        ]
        for s in servers
    ]
    columns = ("NAME", "TRANSPORT", "STATE", "TOOLS", "MCP", "RESTARTS", "HELD BACK", "REASON")
    emit({"servers": servers}, options.output, columns=columns, rows=rows)
    return OK


def add(options: argparse.Namespace) -> int:
    """0 when the server is there, also when it is still starting; 1 when it is there and does not start."""
    entry = _entry(options)
    agent = running(options)
    if agent is None:
        return write_down(options, [entry])
    if not post(agent, entry).get("kept"):
        say(f"{entry['name']} is gone when the agent starts again: it was not started from a configuration")
    return tell(agent, entry["name"], options)


def remove(options: argparse.Namespace) -> int:
    """The server has ended when this does."""
    agent = running(options)
    if agent is None:
        from praxis.config.keep import remove_server

        overlay = _change(options, lambda config, base: remove_server(config, options.name))
        say(f"no agent runs; {overlay} is without {options.name}")
        return OK
    done = agent.request("DELETE", _path(options.name), holds="name")
    say(f"{options.name} has ended and is forgotten{'' if done.get('kept') else ', until the agent starts again'}")
    return OK


def restart(options: argparse.Namespace) -> int:
    """As `add`."""
    agent = client_of(options)
    agent.request("POST", f"{_path(options.name)}/restart", holds="state")
    return tell(agent, options.name, options)


def logs(options: argparse.Namespace) -> int:
    """One line for each that is kept, the oldest first."""
    found = client_of(options).request("GET", f"{_path(options.name)}/logs", holds="lines")
    if options.output != "table":
        emit(found, options.output)
        return OK
    for line in found["lines"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["at"]))
        print(f"{at}  {plain(line['kind']):<8}  {plain(line['line'])}")
    return OK


def approve(options: argparse.Namespace) -> int:
    """Prints what was approved."""
    body = {} if options.tool is None else {"tool": options.tool}
    done = client_of(options).request("POST", f"{_path(options.name)}/approve", body, holds="approved")
    emit(done, options.output, columns=("APPROVED",), rows=[[name] for name in done["approved"]])
    if not done["approved"]:
        say(f"no tool of {options.name} is held back")
    return OK


# -- for verbs beside these ---------------------------------------------------------------------------


def client_of(options: argparse.Namespace) -> Client:
    """The agent that is asked."""
    token = os.environ.get("PRAXIS_TOKEN", "")
    timeout = PATIENCE if options.timeout is None else float(options.timeout)
    return Client(find_agent(options.url, options.agent), token=token, timeout=timeout)


def running(options: argparse.Namespace) -> Client | None:
    """The agent that is meant, or None if none is named in a way that only a running one has, and none runs."""
    named = options.url or options.agent
    if named or (os.environ.get("PRAXIS_URL") and not options.config):
        return client_of(options)
    if options.config or options.set or os.environ.get("AGENT_CONFIG"):
        from praxis.cli.local_verbs import load_options
        from praxis.config.load import state_dir

        options.url = f"unix:{state_dir(load_options(options).config, os.environ) / 'api.sock'}"
    agent = client_of(options)
    try:
        agent.exchange("GET", "/health/live")
    except CommandError as error:
        if error.code != UNREACHABLE:
            raise
        return None
    return agent


def post(agent: Client, entry: Entry) -> dict[str, Any]:
    """Have the agent start a server. Raises CommandError, which names the key that is wrong."""
    try:
        return agent.request("POST", "/sources", entry, holds="source")
    except CommandError as error:
        raise CommandError(error.code, re.sub(r"^body\.?(: )?", "", str(error))) from None


def write_down(options: argparse.Namespace, entries: list[Entry]) -> int:
    """Keep these for the next start of an agent that does not run: all of them, or none."""
    from praxis.config.entries import read_server
    from praxis.config.keep import add_servers

    def change(config: Config, base_dir: Path) -> Config:
        for entry in entries:
            server = read_server(entry, config, base_dir=base_dir, environ=os.environ, where=str(entry["name"]))
            config = add_servers(config, [server])
        return config

    overlay = _change(options, change)
    names = ", ".join(str(entry["name"]) for entry in entries)
    say(f"no agent runs; it is written into {overlay}, and started when the agent is: {names}")
    return OK


def tell(agent: Client, name: str, options: argparse.Namespace) -> int:
    """Wait for a server to be ready or not to start, and print which."""
    until = time.monotonic() + (SETTLING if options.timeout is None else options.timeout)
    while True:
        state = agent.request("GET", _path(name), holds="state")
        if state["state"] != "starting" or time.monotonic() > until:
            break
        time.sleep(LOOK)
    row = [name, state["state"], state["tools"], state["protocol"], state["reason"]]
    emit(state, options.output, columns=("NAME", "STATE", "TOOLS", "MCP", "REASON"), rows=[row])
    return FAILED if state["state"] in ("backing off", "failed") else OK


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """``K=V`` as they were given."""
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise CommandError(USAGE, f"{option} {key}: write K=V")
        found[key] = value
    return found


def _entry(options: argparse.Namespace) -> Entry:
    if bool(options.command) == bool(options.server_url):
        raise CommandError(USAGE, "a server is either a program or a URL: write -- COMMAND ARGS, or --url URL")
    entry: Entry = {"name": options.name}
    if options.server_url:
        entry |= {"transport": options.transport or "http", "url": options.server_url}
    else:
        entry |= {"command": options.command[0], "args": options.command[1:]}
        if options.transport:
            raise CommandError(USAGE, "--transport is for a server with a --url")
    for key, value in (
        ("env", pairs(options.env, "--env")),
        ("headers", pairs(options.header, "--header")),
        ("protocol", options.protocol),
        ("workdir", options.workdir and os.path.abspath(options.workdir)),
    ):
        if value:
            entry[key] = value
    return entry


def _path(name: str) -> str:
    return f"/sources/{quote(name, safe='')}"


def _change(options: argparse.Namespace, change: Any) -> Path:
    """Change the servers in the overlay of an agent that does not run."""
    from praxis.cli.local_verbs import load_options, reread, told
    from praxis.config.keep import keep_servers
    from praxis.config.load import OVERLAY, state_dir

    loaded = load_options(options)
    overlay = state_dir(loaded.config, os.environ) / OVERLAY
    with told():
        wanted = change(loaded.config, loaded.base_dir)
        keep_servers(overlay, loaded.config, wanted, lambda: reread(options).config)
    return overlay
