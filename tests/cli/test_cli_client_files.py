"""Files of other MCP clients, as their documentation has them, and what becomes of each server in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.cli.client import CommandError
from praxis.cli.client_files import Found, read_file
from praxis.cli.foreign_text import parse_json, source_name, variable_of
from praxis.config.entries import read_server
from praxis.config.schema import Config
from praxis.model.errors import PraxisError

WORK = Path("/work")
ENVIRON = dict.fromkeys(("HOME", "TOKEN", "GITHUB_TOKEN", "API_KEY", "PERPLEXITY_KEY"), "value")


def read(document: Any, file: str = "mcp.json") -> Found:
    text = document if isinstance(document, str) else json.dumps(document)
    found = read_file(text, WORK / file)
    for entry in found.entries:
        read_server(entry, Config(), base_dir=WORK, environ=ENVIRON, where="x")  # what the agent will say to it
    return found


def one(document: Any, file: str = "mcp.json") -> dict[str, Any]:
    (entry,) = read(document, file).entries
    assert entry.pop("name") == "a"
    return entry


CLAUDE = {"command": "npx", "args": ["-y", "server", 5], "env": {"T": "${TOKEN}", "U": "${NO:-d}", "P": "a$b", "N": 1}}


@pytest.mark.parametrize(
    ("document", "file", "expected"),
    [
        (
            {"mcpServers": {"a": CLAUDE}},
            "claude_desktop_config.json",
            {
                "command": "npx",
                "args": ["-y", "server", "5"],
                "env": {"T": "${TOKEN}", "U": "${NO:-d}", "P": "a$$b", "N": "1"},
            },
        ),
        (
            {"mcpServers": {"a": {"type": "http", "url": "https://a/mcp", "headers": {"Authorization": "B ${TOKEN}"}}}},
            ".mcp.json",
            {"transport": "http", "url": "https://a/mcp", "headers": {"Authorization": "B ${TOKEN}"}},
        ),
        ({"mcpServers": {"a": {"url": "https://a/mcp"}}}, "mcp.json", {"transport": "http", "url": "https://a/mcp"}),
        (
            {"mcpServers": {"a": {"type": "sse", "url": "https://a/sse", "headers": ["X-Key: v", "Y: ${TOKEN}"]}}},
            "mcphost.json",
            {"transport": "sse", "url": "https://a/sse", "headers": {"X-Key": "v", "Y": "${TOKEN}"}},
        ),
        (
            {"mcpServers": {"a": {"command": "${workspaceFolder}/run", "env": {"K": "${env:TOKEN}"}, "cwd": "sub"}}},
            ".cursor/mcp.json",
            {"command": "/work/run", "args": [], "env": {"K": "${TOKEN}"}, "workdir": "/work/sub"},
        ),
        (
            {"mcpServers": {"a": {"serverUrl": "https://a/mcp", "headers": {"K": "${env:TOKEN}"}}}},
            "mcp_config.json",
            {"transport": "http", "url": "https://a/mcp", "headers": {"K": "${TOKEN}"}},
        ),
        (
            {"mcpServers": {"a": {"httpUrl": "https://a/mcp", "timeout": 30000, "headers": {"K": "$TOKEN"}}}},
            ".gemini/settings.json",
            {"transport": "http", "url": "https://a/mcp", "timeout": 30.0, "headers": {"K": "${TOKEN}"}},
        ),
        (
            {"mcpServers": {"a": {"url": "https://a/sse", "includeTools": ["x"], "excludeTools": ["y"]}}},
            ".gemini/settings.json",
            {"transport": "sse", "url": "https://a/sse", "include": ["x"], "exclude": ["y"]},
        ),
        (
            {"mcpServers": {"a": {"type": "streamableHttp", "url": "https://a/", "disabled": True, "timeout": 60}}},
            "cline_mcp_settings.json",
            {"transport": "http", "url": "https://a/", "enabled": False, "timeout": 60.0},
        ),
        (
            '{ // mine\n "servers": {"a": {"type": "stdio", "command": "x", "args": ["/*no*/", "//no",],'
            ' "env": {"K": "${input:github-token}"},}, /* end */ },\n'
            ' "inputs": [{"id": "github-token", "password": true},]}',
            ".vscode/mcp.json",
            {"command": "x", "args": ["/*no*/", "//no"], "env": {"K": "${GITHUB_TOKEN}"}},
        ),
        (
            {"mcp": {"servers": {"a": {"command": "x", "args": ["${userHome}${/}d", "${input:x}"]}}, "inputs": []}},
            "settings.json",
            None,
        ),
        (
            {"mcp": {"a": {"type": "local", "command": ["bun", "x"], "environment": {"K": "{env:TOKEN}"}}}},
            "opencode.json",
            {"command": "bun", "args": ["x"], "env": {"K": "${TOKEN}"}},
        ),
        (
            {"mcp": {"a": {"type": "remote", "url": "https://a/", "enabled": False, "timeout": 5000}}},
            "opencode.json",
            {"transport": "http", "url": "https://a/", "enabled": False},
        ),
        (
            '[mcp_servers.a]\ncommand = "npx"\nargs = ["-y", "s"]\nenv_vars = ["TOKEN"]\ntool_timeout_sec = 90\n'
            'enabled_tools = ["x"]\ndisabled_tools = ["y"]\n[mcp_servers.a.env]\nK = "lit$eral"\n',
            "config.toml",
            {
                "command": "npx",
                "args": ["-y", "s"],
                "env": {"K": "lit$$eral", "TOKEN": "${TOKEN}"},
                "include": ["x"],
                "exclude": ["y"],
                "timeout": 90.0,
            },
        ),
        (
            '[mcp_servers.a]\nurl = "https://a/"\nbearer_token_env_var = "TOKEN"\nhttp_headers = {X = "1"}\n'
            'env_http_headers = {Y = "API_KEY"}\n',
            "config.toml",
            {
                "transport": "http",
                "url": "https://a/",
                "headers": {"X": "1", "Y": "${API_KEY}", "Authorization": "Bearer ${TOKEN}"},
            },
        ),
        (
            {"context_servers": {"a": {"source": "custom", "command": "x", "args": ["y"], "env": None}}},
            "settings.json",
            {"command": "x", "args": ["y"]},
        ),
        (
            {"context_servers": {"a": {"command": {"path": "x", "args": ["y"], "env": {"K": "v"}}}}},
            "settings.json",
            {"command": "x", "args": ["y"], "env": {"K": "v"}},
        ),
        (
            {"mcpServers": {"a": {"command": "./bin/run"}}},
            ".mcp.json",
            {"command": "./bin/run", "args": [], "workdir": "/work"},
        ),
        (
            {"mcpServers": {"a": {"command": "x", "protocolEra": "legacy", "roots": [{"uri": "file:///srv"}, "/b"]}}},
            "inspector.json",
            {"command": "x", "args": [], "protocol": "legacy", "roots": ["/srv", "/b"]},
        ),
    ],
)
def test_each_client_has_its_form(document: Any, file: str, expected: dict[str, Any] | None) -> None:
    if expected is None:  # asks for something that the agent's environment has not: taken, and refused there
        with pytest.raises(PraxisError, match="X is not set"):
            one(document, file)
    else:
        assert one(document, file) == expected


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"type": "ws", "url": "wss://a"}, "the transport 'ws'"),
        ({}, "neither a command nor a url"),
        ({"settings": {}}, "extension"),
        ("npx x", "expected an object"),
        ({"command": "x", "args": "y"}, "args are no list"),
        ({"command": "x", "env": ["A=b"]}, "env is no object"),
        ({"command": "x", "env": {"A": {"b": 1}}}, "expected text"),
        ({"command": "x", "args": ["${command:pick.one}"]}, "${command:pick.one} has no counterpart"),
        ({"command": "x", "timeout": -1}, "no number above 0"),
        ({"url": "https://a/", "headers": ["no colon"]}, "NAME: VALUE"),
    ],
)
def test_what_cannot_be_taken_is_told_and_others_are_taken(server: Any, why: str) -> None:
    found = read({"mcpServers": {"bad": server, "a": {"command": "x"}}})
    assert [entry["name"] for entry in found.entries] == ["a"]
    ((name, told),) = found.refused
    assert (name, why in told) == ("bad", True), told


def test_what_is_left_out_and_renamed_is_told() -> None:
    servers = {
        "My Server!": {"command": "x", "autoApprove": ["t"], "trust": False},
        "fs": {"command": "x"},
        "my/": {"command": "x"},
        "my": {"command": "x"},
    }
    found = read({"mcpServers": servers})
    assert [entry["name"] for entry in found.entries] == ["My-Server", "fs-server", "my"]
    assert ("My Server!", "is called My-Server here") in found.notes
    assert ("My Server!", "not taken: autoApprove, trust") in found.notes
    assert found.refused == [("my", "another server of this file is called my here")]


def test_an_input_that_is_asked_for_is_told() -> None:
    document = {"servers": {"a": {"command": "x", "env": {"K": "${input:api key}"}}}, "inputs": [{"id": "api key"}]}
    assert read(document).notes == [("a", "the client would ask for 'api key': set API_KEY in the agent's environment")]
    default = {"servers": {"a": {"command": "${input:b}"}}, "inputs": [{"id": "b", "default": "node"}]}
    assert one(default)["command"] == "${B:-node}"


@pytest.mark.parametrize(
    ("text", "file", "words"),
    [
        ("{", "a.json", "not JSON: "),
        ('{"a": 1,\n "b" 2}', "a.json", "line 2, column 6"),
        ('{/* a\n */ "b" 2}', "a.json", "line 2, column 9"),
        ("[]", "a.json", "expected an object"),
        ('{"unrelated": {}}', "a.json", "it has none of mcpServers"),
        ("a = ", "a.toml", "not TOML"),
        ("[" * 100_000, "a.json", "nested too deeply"),
    ],
)
def test_a_file_that_is_none_is_told_with_its_place(text: str, file: str, words: str) -> None:
    with pytest.raises(CommandError) as caught:
        read(text, file)
    assert str(caught.value).startswith(f"/work/{file}: ")
    assert words in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_json_with_comments_is_the_same_json(value: Any) -> None:
    commented = json.dumps(value, indent=1).replace("\n", " // x, ]\n/* } */\n") + " // end"
    assert parse_json(commented, "x") == value


KEYS = ("command", "args", "env", "url", "type", "headers", "timeout", "roots", "cwd", "disabled", "env_vars")


@given(
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5), st.sampled_from(("mcpServers", "mcp", "servers"))
)
@example({"command": ["x"], "args": True}, "mcp")
def test_no_garbage_is_a_bug(server: dict[str, Any], table: str) -> None:
    found = read_file(json.dumps({table: {"a": server}}), WORK / "x.json")
    assert len(found.entries) + len(found.refused) == 1


@given(st.text(max_size=100))
def test_every_name_becomes_one_that_a_source_can_have(text: str) -> None:
    entry = {"name": source_name(text), "command": "x"}
    read_server(entry, Config(), base_dir=WORK, environ={}, where="x")
    assert variable_of(text).isidentifier()


# -- the registry's server.json --------------------------------------------------------------------------

NPM = {
    "registryType": "npm",
    "identifier": "@acme/weather",
    "version": "1.2.3",
    "transport": {"type": "stdio"},
    "packageArguments": [
        {"type": "positional", "value": "serve"},
        {"type": "named", "name": "--port", "default": "80"},
        {"type": "named", "name": "--quiet", "isRequired": True},
        {"type": "named", "name": "--extra", "valueHint": "x"},
        {"type": "positional", "valueHint": "api key", "isRequired": True, "isSecret": True},
        {"type": "named", "name": "--at", "value": "{host}:$5", "variables": {"host": {"default": "here"}}},
    ],
    "environmentVariables": [
        {"name": "API_KEY", "isRequired": True, "isSecret": True, "description": "Yours"},
        {"name": "UNIT", "default": "C"},
        {"name": "DEBUG"},
    ],
}


def registry(**more: Any) -> dict[str, Any]:
    return {"name": "io.github.acme/a", "description": "d", "version": "1.2.3", **more}


def test_a_package_of_the_registry_is_run_by_what_runs_its_kind() -> None:
    found = read(registry(packages=[NPM], remotes=[{"type": "streamable-http", "url": "https://a/"}]))
    assert found.entries == [
        {
            "name": "a",
            "command": "npx",
            "args": [
                "-y",
                "@acme/weather@1.2.3",
                "serve",
                "--port",
                "80",
                "--quiet",
                "${API_KEY}",
                "--at",
                "here:$$5",
            ],
            "env": {"API_KEY": "${API_KEY}", "UNIT": "C"},
        }
    ]
    notes = [note for _, note in found.notes]
    assert "needs API_KEY in the agent's environment: Yours" in notes
    assert "left out, it can do without: DEBUG" in notes
    assert "is offered as streamable-http https://a/ too" in notes


@pytest.mark.parametrize(
    ("package", "command", "args"),
    [
        ({"registryType": "pypi", "identifier": "w", "version": "1"}, "uvx", ["w@1"]),
        ({"registryType": "npm", "identifier": "w", "runtimeHint": "bunx"}, "bunx", ["w@1.2.3"]),
        ({"registryType": "nuget", "identifier": "W", "version": "2"}, "dnx", ["W@2"]),
        ({"registry_type": "npm", "identifier": "w", "version": "1"}, "npx", ["-y", "w@1"]),
        ({"registry_name": "pypi", "name": "w", "version": "latest"}, "uvx", ["w"]),
        (
            {
                "registryType": "oci",
                "identifier": "docker.io/acme/w:1",
                "runtimeArguments": [{"type": "named", "name": "--network", "value": "none"}],
                "environmentVariables": [{"name": "TOKEN", "isRequired": True}],
            },
            "docker",
            ["run", "-i", "--rm", "--network", "none", "-e", "TOKEN", "docker.io/acme/w:1"],
        ),
    ],
)
def test_each_kind_of_package(package: dict[str, Any], command: str, args: list[str]) -> None:
    entry = one(registry(packages=[package]))
    assert (entry["command"], entry["args"]) == (command, args)


def test_a_remote_is_taken_where_no_package_is() -> None:
    mcpb = {"registryType": "mcpb", "identifier": "https://a/x.mcpb"}
    remote = {
        "type": "sse",
        "url": "https://{tenant}.a/sse",
        "variables": {"tenant": {"isRequired": True}},
        "headers": [{"name": "X-Key", "value": "Bearer {key}", "variables": {"key": {"isRequired": True}}}],
    }
    environ = {**ENVIRON, "TENANT": "t", "KEY": "k"}
    found = read_file(json.dumps({"server": registry(packages=[mcpb], remotes=[remote]), "_meta": {}}), WORK / "s.json")
    (entry,) = found.entries
    assert entry["headers"] == {"X-Key": "Bearer ${KEY}"}
    assert entry["url"] == "https://${TENANT}.a/sse"
    assert read_server(entry, Config(), base_dir=WORK, environ=environ, where="x").url == "https://t.a/sse"
    assert any("nothing here runs packages of the kind 'mcpb'" in note for _, note in found.notes)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (registry(packages=[]), "neither packages nor remotes"),
        ({"packages": [NPM]}, "no name"),
        (registry(packages=[{"registryType": "cargo", "identifier": "x"}]), "'cargo'"),
        (registry(packages=[{**NPM, "transport": {"type": "streamable-http", "url": "x"}}]), "serves HTTP by itself"),
        (registry(packages=[{**NPM, "identifier": "--evil"}]), "no identifier"),
        (registry(remotes=[{"type": "ws", "url": "wss://x"}]), "neither streamable-http nor sse"),
    ],
)
def test_what_of_the_registry_cannot_be_taken_is_told(document: dict[str, Any], why: str) -> None:
    found = read(document, "server.json")
    assert found.entries == []
    ((_, told),) = found.refused
    assert why in told
