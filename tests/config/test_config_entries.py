"""Single MCP servers: read as strictly as a file, kept in the overlay or not changed at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from praxis.config.entries import entry_schema, read_server, write_server
from praxis.config.keep import add_servers, keep_servers, remove_server
from praxis.config.load import load
from praxis.config.schema import Agent, Config, Mcp, McpEndpoint, McpLimits, McpServer
from praxis.model.errors import PraxisError

ENVIRON = {"TOKEN": "a secret of length", "HOME": "/home/a"}


def read(config: Config | None = None, **entry: Any) -> McpServer:
    return read_server(entry, config or Config(), base_dir=Path("/base"), environ=ENVIRON, where="body")


def refused(config: Config | None = None, **entry: Any) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        read(config, **entry)
    return caught.value


def test_an_entry_is_read_as_in_a_file() -> None:
    given: dict[str, Any] = {
        "command": "run",
        "args": ["a"],
        "env": {"T": "${TOKEN}", "D": "$${X}"},
        "workdir": "sub",
        "timeout": 5,
    }
    server = read(name="a", **given)
    assert server == McpServer(
        "a",
        command="run",
        args=("a",),
        env={"T": "a secret of length", "D": "${X}"},
        workdir=Path("/base/sub"),
        timeout=5.0,
    )
    assert write_server(server)["env"] == {"T": "${TOKEN}", "D": "***"}
    assert set(write_server(server)) == {"name", *given}


@pytest.mark.parametrize(
    ("entry", "where", "detail"),
    [
        ({"command": "x"}, "body.name", "is missing"),
        ({"name": "a b", "command": "x"}, "body.name", "expected 1 to 64"),
        ({"name": "fs", "command": "x"}, "body.name", "built-in"),
        ({"name": "a"}, "body.command", "is missing"),
        ({"name": "a", "comand": "x"}, "body", "did you mean 'command'"),
        ({"name": "a", "command": "x", "args": "one"}, "body.args", "expected a list"),
        ({"name": "a", "command": "x", "enabled": "false"}, "body.enabled", "expected true or false"),
        ({"name": "a", "command": "x", "env": {"A": 5}}, "body.env.A", "expected text"),
        ({"name": "a", "command": "x", "env": {"A": "${NOPE}"}}, "body.env.A", "NOPE is not set"),
        ({"name": "a", "command": "x", "url": "http://a/"}, "body.url", "means nothing"),
        ({"name": "a", "transport": "http", "url": "file:///etc"}, "body.url", "expected http://HOST/PATH"),
        ({"name": "a", "transport": "http", "url": "http://a/", "headers": {"Host": "b"}}, "body.headers", "accepted"),
        ({"name": "a", "command": "x", "timeout": 0}, "body.timeout", "above 0"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(entry: dict[str, Any], where: str, detail: str) -> None:
    error = refused(**entry)
    assert (error.code, error.where) == ("invalid", where) or where == "body"
    assert detail in error.detail


def test_all_that_is_wrong_is_told_and_no_secret_is() -> None:
    error = refused(name="a", command=7, env={"A": ["s3cret"]})
    assert len(error.data["problems"]) == 2
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("entry", [None, [], "x", 5])
def test_what_is_no_entry_is_told(entry: Any) -> None:
    with pytest.raises(PraxisError, match="expected a mapping"):
        read_server(entry, Config(), base_dir=Path("/"), environ={}, where="body")


def test_a_name_is_had_once_and_servers_are_bounded() -> None:
    endpoint = Config(agent=Agent(external_mcp_endpoints=(McpEndpoint("http://web/", name="web"),)))
    assert refused(endpoint, name="web", command="x").code == "conflict"
    full = Config(mcp=Mcp(servers=(McpServer("a", command="x"),), limits=McpLimits(max_servers_per_node=1)))
    assert "max_servers_per_node" in refused(full, name="b", command="x").detail


def test_the_schema_has_every_key_of_a_server() -> None:
    schema = entry_schema()
    assert list(schema["properties"]) == [field.name for field in attrs.fields(McpServer)]
    assert schema["required"] == ["name"]
    assert schema["properties"]["timeout"] == {"type": ["number", "null"]}
    assert schema["properties"]["ask"]["items"] == {"type": "string", "enum": ["sampling", "elicitation", "roots"]}


# -- kept ---------------------------------------------------------------------------------------------


def test_what_is_kept_loads_again_and_secrets_stay_references(tmp_path: Path) -> None:
    file, overlay = tmp_path / "agent.yaml", tmp_path / "state" / "overlay.yaml"
    file.write_text(
        "agent: {external_mcp_endpoints: ['http://web/mcp']}\n"
        "mcp: {servers: [{name: old, command: ./run, workdir: here, env: {T: '${TOKEN}'}}]}\n"
    )

    def reread() -> Config:
        return load(file, environ=ENVIRON, overlay=overlay).config

    before = reread()
    new = read(before, name="new", command="x", args=["$${a}", "$5"])
    kept = keep_servers(overlay, before, add_servers(before, [new]), reread)
    assert [server.name for server in kept.mcp_servers] == ["old", "new", "web"]
    assert kept.mcp.servers[0] == before.mcp.servers[0]
    assert kept.mcp.servers[1] == new
    text = overlay.read_text()
    assert "${TOKEN}" in text and ENVIRON["TOKEN"] not in text
    assert "timeout" not in text, "only what somebody has set"
    assert overlay.stat().st_mode & 0o777 == 0o600
    for name in ("old", "web"):
        kept = keep_servers(overlay, kept, remove_server(kept, name), reread)
    assert [server.name for server in kept.mcp_servers] == ["new"]
    with pytest.raises(PraxisError, match="no MCP server 'old'") as caught:
        remove_server(kept, "old")
    assert caught.value.hint == "there are: new"


@pytest.mark.parametrize("old", [None, "http: {port: 1234}\n"])
def test_what_does_not_come_out_as_wanted_leaves_the_overlay_as_it_was(tmp_path: Path, old: str | None) -> None:
    overlay = tmp_path / "overlay.yaml"
    if old is not None:
        overlay.write_text(old)
    wanted = add_servers(Config(), [McpServer("a", command="x")])

    def broken() -> Config:
        raise PraxisError("invalid", "broken")

    with pytest.raises(PraxisError, match="broken"):
        keep_servers(overlay, Config(), wanted, broken)
    with pytest.raises(PraxisError) as caught:
        keep_servers(overlay, Config(), wanted, Config)
    assert caught.value.code == "conflict"
    assert (overlay.read_text() if overlay.exists() else None) == old


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PraxisError) as caught:
        keep_servers(tmp_path / "file" / "overlay.yaml", Config(), add_servers(Config(), []), Config)
    assert caught.value.code == "unavailable"
