"""`praxis mcp import` and `export`: servers from the files of other MCP clients, and entries for them."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from praxis.cli.client import FAILED, OK, USAGE, CommandError, find_agent
from praxis.cli.output import as_json, emit, say
from praxis.cli.source_verbs import client_of, post, running, write_down

if TYPE_CHECKING:
    from praxis.cli.client_files import Found

MASK = "***"
"""What the agent shows in place of a secret; so does a dry run."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_FORM = frozenset({"name", "command", "args", "env", "workdir", "transport", "url", "headers", "enabled"})
"""Keys of a server that the form of other clients has a place for."""


def take(options: argparse.Namespace) -> int:
    """0 when every server of the file is there; 1 when one is not, and which is said."""
    from praxis.cli.client_files import read_file

    found = read_file(*_read(options.file))
    for name, note in found.notes:
        say(f"{name}: {note}")
    for name, why in found.refused:
        say(f"{name} is not taken: {why}")
    if options.dry_run:
        _show(found, options.output)
        return FAILED if found.refused else OK
    if not found.entries:
        raise CommandError(FAILED, f"{options.file}: there is no server to take")
    agent = running(options)
    if agent is None:
        write_down(options, found.entries)
        return FAILED if found.refused else OK
    failed = bool(found.refused)
    for entry in found.entries:
        try:
            post(agent, entry)
        except CommandError as error:
            say(f"{entry['name']} is not taken: {error}")
            failed = True
        else:
            say(f"{entry['name']} is taken")
    return FAILED if failed else OK


def give(options: argparse.Namespace) -> int:
    """Prints JSON that other clients read."""
    if options.servers and options.http:
        raise CommandError(USAGE, "--http is about the agent, --servers about its servers; take one of them")
    entries = _servers(options) if options.servers else _own(options)
    print(as_json({"mcpServers": entries}))
    return OK


def _read(name: str) -> tuple[str, Path]:
    """The text of a file, and its path."""
    from praxis.cli.foreign_text import MAX_FILE

    path = Path("standard input" if name == "-" else name)
    try:
        if name == "-":
            content = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise CommandError(USAGE, f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(USAGE, f"{name}: not UTF-8 text: byte {error.start + 1}") from None
    if len(content) > MAX_FILE:
        raise CommandError(USAGE, f"{name}: more than {MAX_FILE:,} bytes")
    return text, path


def _show(found: Found, form: str) -> None:
    masked = [
        entry | {key: _masked(entry[key]) for key in ("env", "headers") if key in entry} for entry in found.entries
    ]
    rows = [[e["name"], e.get("transport", "stdio"), _what(e), _names(e)] for e in masked]
    emit({"servers": masked}, form, columns=("NAME", "TRANSPORT", "WHAT", "WITH"), rows=rows)


def _names(entry: dict[str, Any]) -> str:
    return " ".join([*entry.get("env", ()), *entry.get("headers", ())])


def _what(entry: dict[str, Any]) -> str:
    return str(entry.get("url") or " ".join([entry["command"], *entry["args"]]))


def _masked(values: dict[str, str]) -> dict[str, str]:
    """References are shown; what stands there itself may be secret."""
    return {name: value if "${" in value else MASK for name, value in values.items()}


def _own(options: argparse.Namespace) -> dict[str, Any]:
    """The agent as a server."""
    agent = client_of(options)
    card = agent.request("GET", "/agent/card", holds="name")
    name = str(card["name"])
    if options.http:
        url = agent.url if agent.url.startswith("http") else str(card.get("url") or "")
        if not url:
            raise CommandError(FAILED, f"{name} does not listen for HTTP: http.enabled is false, and agent.url not set")
        entry: dict[str, Any] = {"type": "http", "url": f"{url.rstrip('/')}/mcp"}
        if urlsplit(url).hostname not in _LOOPBACK:
            entry["headers"] = {"Authorization": "Bearer ${PRAXIS_TOKEN}"}
            say("PRAXIS_TOKEN stands for a token: praxis token new --role operator")
        return {name: entry}
    address = find_agent(options.url, options.agent)
    if not address.startswith("unix:"):
        raise CommandError(USAGE, f"{address} is not on this machine for sure: --http prints an entry for it")
    usual = Path.home() / ".local" / "state" / "praxis" / name / "api.sock"
    where = ["--agent", name] if address == f"unix:{usual}" else ["--url", address]
    # Desktop programs have a PATH of their own, so the command is there in full.
    script = Path(sys.argv[0]).absolute()
    command = [str(script)] if script.name == "praxis" and script.is_file() else [sys.executable, "-m", "praxis"]
    return {name: {"command": command[0], "args": [*command[1:], "mcp-stdio", *where]}}


def _servers(options: argparse.Namespace) -> dict[str, Any]:
    """The agent's servers, with references in place of secrets."""
    agent = client_of(options)
    sources = agent.request("GET", "/sources", holds="sources")["sources"]
    entries = {}
    for source in sources:
        if source["kind"] == "mcp":
            entry = agent.request("GET", f"/sources/{source['name']}/entry", holds="name")
            entries[source["name"]] = _foreign(entry)
    return entries


def _foreign(entry: dict[str, Any]) -> dict[str, Any]:
    name = entry["name"]
    transport = entry.get("transport", "stdio")
    given: dict[str, Any] = {}
    if transport == "stdio":
        given |= {"command": _plain(entry["command"]), "args": [_plain(arg) for arg in entry.get("args", ())]}
        given |= {"cwd": _plain(entry["workdir"])} if entry.get("workdir") else {}
    else:
        given |= {"type": transport, "url": _plain(entry["url"])}
    for key, prefix in (("env", ""), ("headers", f"{name}_")):
        if values := entry.get(key):
            given[key] = {one: _reference(name, prefix + one, value) for one, value in values.items()}
    if entry.get("enabled") is False:
        given["disabled"] = True
    if left := sorted(set(entry) - _FORM):
        say(f"{name}: the form has no place for {', '.join(left)}")
    return given


def _reference(server: str, name: str, value: str) -> str:
    if value != MASK:
        return _plain(value)
    from praxis.cli.foreign_text import variable_of

    variable = variable_of(name)
    say(f"{server}: set {variable} to what the agent has there; it is not printed")
    return f"${{{variable}}}"


def _plain(text: str) -> str:
    """References are written alike elsewhere, a dollar is one."""
    return re.sub(r"\$\$", "$", text)
