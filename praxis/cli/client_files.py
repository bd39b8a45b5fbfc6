"""The files in which other MCP clients keep their servers, as entries of `mcp.servers`.

``mcpServers`` of Claude, Cursor, Windsurf, Cline and Gemini, ``servers`` of VS Code, ``mcp`` of opencode,
``context_servers`` of Zed, ``mcp_servers`` of Codex. They differ in small things, which are told apart by the key and
by what only one of them has.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxis.cli.client import USAGE, CommandError
from praxis.cli.foreign_text import Translation, UntakenError, parse_json, source_name
from praxis.cli.registry_file import is_registry_file, read_registry_file

Entry = dict[str, Any]

_TABLES = (
    ("mcpServers", "common"),
    ("amp.mcpServers", "common"),
    ("servers", "vscode"),
    ("context_servers", "zed"),
    ("mcp_servers", "codex"),
)
_FOLDERS = frozenset({".vscode", ".cursor", ".gemini", ".zed", ".codex", ".roo", ".windsurf", ".kiro"})
"""Folders of a workspace that hold its settings: what is relative is so to the folder above."""
_KINDS = {
    "stdio": "stdio",
    "local": "stdio",
    "custom": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "streamable_http": "http",
    "remote": "http",
    "sse": "sse",
}
_ONLY_GEMINI = frozenset({"httpUrl", "trust", "includeTools", "excludeTools"})
_MILLISECONDS = 1000
"""A `timeout` from here on is one in milliseconds, below it in seconds: clients do both."""
_KNOWN = frozenset(
    {
        "type",
        "transport",
        "command",
        "args",
        "env",
        "environment",
        "cwd",
        "url",
        "httpUrl",
        "serverUrl",
        "headers",
        "http_headers",
        "env_http_headers",
        "bearer_token_env_var",
        "env_vars",
        "disabled",
        "enabled",
        "includeTools",
        "excludeTools",
        "enabled_tools",
        "disabled_tools",
        "disabledTools",
        "timeout",
        "tool_timeout_sec",
        "requestTimeout",
        "protocolEra",
        "roots",
        "source",
        "name",
        "description",
    }
)


@dataclass
class Found:
    """What a file holds: entries, what is to be known of each by its name, and what cannot be taken and why."""

    entries: list[Entry] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def read_file(text: str, path: Path) -> Found:
    """The servers in a file of any of these clients, or of the registry. Raises CommandError for one that is none."""
    where = str(path)
    if path.suffix == ".toml":
        try:
            document: Any = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise CommandError(USAGE, f"{where}: not TOML: {error}") from None
    else:
        document = parse_json(text, where)
    if not isinstance(document, dict):
        raise CommandError(USAGE, f"{where}: expected an object")
    found = Found()
    if is_registry_file(document):
        try:
            entry, notes = read_registry_file(document)
            found.entries.append(entry)
            found.notes += [(entry["name"], note) for note in notes]
        except UntakenError as error:
            found.refused.append((str(document.get("name") or "server"), str(error)))
        return found
    table, dialect, inputs = _table(document, where)
    folder = path.absolute().parent
    folder = folder.parent if folder.name in _FOLDERS else folder
    if dialect == "common" and any(isinstance(raw, dict) and _ONLY_GEMINI & raw.keys() for raw in table.values()):
        dialect = "gemini"
    names = set[str]()
    for title, raw in table.items():
        translation = Translation(folder, dialect=dialect, inputs=inputs)
        name = source_name(title)
        try:
            if name in names:
                raise UntakenError(f"another server of this file is called {name} here")
            entry = {"name": name, **_Reader(raw, dialect, translation, folder).entry()}
        except UntakenError as error:
            found.refused.append((title, str(error)))
            continue
        names.add(name)
        found.entries.append(entry)
        renamed = [f"is called {name} here"] if name != title else []
        found.notes += [(title, note) for note in dict.fromkeys([*renamed, *translation.notes])]
    return found


def _table(document: dict[str, Any], where: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The servers by their names, the dialect, and the inputs that are asked for, by id."""
    for key, dialect in _TABLES:
        if isinstance(table := document.get(key), dict):
            return table, dialect, _inputs(document)
    section = document.get("mcp")
    if isinstance(section, dict):
        if isinstance(table := section.get("servers"), dict) and not {"type", "command", "url"} & table.keys():
            return table, "vscode", _inputs(section)
        return section, "opencode", {}
    keys = "mcpServers, servers, mcp, context_servers, mcp_servers"
    raise CommandError(USAGE, f"{where}: no file of an MCP client or of the registry: it has none of {keys}, packages")


def _inputs(section: dict[str, Any]) -> dict[str, Any]:
    inputs = section.get("inputs")
    return {str(one.get("id")): one for one in inputs if isinstance(one, dict)} if isinstance(inputs, list) else {}


class _Reader:
    """One server of a file."""

    def __init__(self, raw: Any, dialect: str, translation: Translation, folder: Path) -> None:
        if not isinstance(raw, dict):
            raise UntakenError("expected an object")
        self._raw = raw
        self._dialect = dialect
        self._text = translation.text
        self._notes = translation.notes
        self._folder = folder

    def entry(self) -> Entry:
        raw = self._raw
        transport, url = self._transport()
        entry: Entry = {"transport": transport, "url": self._text(url)} if url else self._program()
        if url and (headers := dict(self._headers())):
            entry["headers"] = headers
        if raw.get("disabled") is True or raw.get("enabled") is False:
            entry["enabled"] = False
        for key, names in (
            ("include", ("includeTools", "enabled_tools")),
            ("exclude", ("excludeTools", "disabled_tools", "disabledTools")),
        ):
            for name in names:
                if globs := self._list(name):
                    entry[key] = globs
        if (timeout := self._timeout()) is not None:
            entry["timeout"] = timeout
        if raw.get("protocolEra") in ("legacy", "modern"):
            entry["protocol"] = raw["protocolEra"]
        if roots := self._list("roots"):
            entry["roots"] = [root.removeprefix("file://") for root in roots]
        unused = set(raw) - _KNOWN
        unused |= {"timeout"} & raw.keys() if self._dialect == "opencode" else set()
        if unused:
            self._notes.append(f"not taken: {', '.join(sorted(unused))}")
        return entry

    def _transport(self) -> tuple[str, str]:
        raw = self._raw
        kind = raw.get("type") or raw.get("transport")
        if kind is not None and _KINDS.get(str(kind).lower()) is None:
            raise UntakenError(f"the transport {str(kind)[:40]!r} is none of stdio, http and sse")
        wanted = _KINDS.get(str(kind).lower(), "")
        if wanted == "stdio" or (not wanted and raw.get("command")):
            return "stdio", ""
        if raw.get("httpUrl"):
            return wanted or "http", raw["httpUrl"]
        url = raw.get("url") or raw.get("serverUrl")
        if not url:
            settings = " (a server that the client's own extension starts)" if "settings" in raw else ""
            raise UntakenError(f"it has neither a command nor a url{settings}")
        return wanted or ("sse" if self._dialect == "gemini" else "http"), url

    def _program(self) -> Entry:
        raw = self._raw
        given = raw.get("command")
        args = raw.get("args") or []
        environment: list[Any] = [raw.get("env"), raw.get("environment")]
        if isinstance(given, dict):  # as older files of Zed have it
            args = given.get("args") or []
            environment.append(given.get("env"))
            given = given.get("path")
        if not isinstance(args, list):
            raise UntakenError("its args are no list")
        if isinstance(given, list):
            given, args = (given or [""])[0], [*given[1:], *args]
        if not given:
            raise UntakenError("it has no command")
        command = self._text(given)
        entry: Entry = {"command": command, "args": [self._text(arg) for arg in args]}
        if env := self._mapping("env", *environment) | {name: f"${{{name}}}" for name in self._list("env_vars")}:
            entry["env"] = env
        if cwd := raw.get("cwd"):
            entry["workdir"] = _below(self._folder, self._text(cwd))
        elif "/" in command and not command.startswith(("/", "~", "$")):
            entry["workdir"] = str(self._folder).replace("$", "$$")
            self._notes.append(f"starts in {self._folder}, where its command is")
        return entry

    def _headers(self) -> Iterator[tuple[str, str]]:
        raw = self._raw
        given = raw.get("headers")
        if isinstance(given, list):  # each as in a request
            for line in given:
                name, colon, value = self._text(line).partition(":")
                if not colon:
                    raise UntakenError("a header is no NAME: VALUE")
                yield name.strip(), value.strip()
            given = None
        yield from self._mapping("headers", given, raw.get("http_headers")).items()
        for name, variable in self._mapping("env_http_headers", raw.get("env_http_headers")).items():
            yield name, f"${{{variable}}}"
        if token := raw.get("bearer_token_env_var"):
            yield "Authorization", f"Bearer ${{{self._text(token)}}}"

    def _mapping(self, key: str, *tables: Any) -> dict[str, str]:
        read: dict[str, str] = {}
        for table in tables:
            if table is None:
                continue
            if not isinstance(table, dict):
                raise UntakenError(f"its {key} is no object")
            read |= {name: self._text(value) for name, value in table.items() if value is not None}
        return read

    def _list(self, key: str) -> list[str]:
        items = self._raw.get(key) or []
        if not isinstance(items, list):
            raise UntakenError(f"its {key} is no list")
        return [self._text(item.get("uri") if isinstance(item, dict) else item) for item in items]

    def _timeout(self) -> float | None:
        raw = self._raw
        key = next((key for key in ("tool_timeout_sec", "requestTimeout", "timeout") if raw.get(key) is not None), "")
        value: Any = raw.get(key)
        if not key or (key == "timeout" and self._dialect == "opencode"):  # that one is for the start
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UntakenError(f"its {key} is no number above 0")
        small = key == "tool_timeout_sec" or (key == "timeout" and self._dialect != "gemini" and value < _MILLISECONDS)
        return float(value) if small else value / 1000


def _below(folder: Path, path: str) -> str:
    return path if re.match(r"[/~$]", path) else f"{str(folder).replace('$', '$$')}/{path}"
