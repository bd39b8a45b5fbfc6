"""``${VAR}`` in values, secrets in files, and the network key."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxis.config.load import Reference
from praxis.config.schema import Agent
from tests.config.reading import Write, problems, read


def test_references_in_every_kind_of_place(write: Write) -> None:
    path = write(
        "agent: {name: 'x-${N}', description: '$$5 ${E:-} ${D:-a b} $HOME', shared_dir: '${HOME}/shared'}\n"
        "http:\n  port: ${PORT}\n  enabled: ${ON:-false}\n"
        "runs: {timeout: '1${N}.5'}\nlogging: {level: '${LEVEL}', file: '${FILE:-}'}\n"
    )
    config = read(path, {"N": "7", "E": "", "D": "", "PORT": "81", "LEVEL": "ERROR"}).config
    assert config.agent == Agent(name="x-7", description="$5  a b $HOME", shared_dir=Path("/home/x/shared"))
    assert (config.http.port, config.http.enabled, config.runs.timeout) == (81, False, 17.5)
    assert (config.logging.level, config.logging.file) == ("error", None)


def test_keys_are_not_expanded(write: Write) -> None:
    (found,) = problems(write("'${KEY}': 1\n"), {"KEY": "http"})
    assert "unknown key '${KEY}'" in found


def test_values_of_variables_are_not_expanded_again(write: Write) -> None:
    assert read(write("agent: {description: '${A}'}"), {"A": "${B} $$"}).config.agent.description == "${B} $$"


@pytest.mark.parametrize("text", ["${", "${A", "${A-b}", "${1}", "${}", "a ${ b", "${A:-${B}}"])
def test_broken_references(text: str, write: Write) -> None:
    assert problems(write(f"\nagent: {{description: '{text}'}}"), {"A": "a", "B": "b"}) == [
        "agent.yaml:2: agent.description: expected ${NAME} or ${NAME:-default}; $$ is a dollar"
    ]


def test_unset_variables_are_problems_with_their_place_and_only_once(write: Write) -> None:
    assert problems(write("http:\n  port: ${NOPE}\nexport:\n  tools:\n    - a\n    - ${NOPE}\n")) == [
        "agent.yaml:2: http.port: NOPE is not set; ${NOPE:-default} does without",
        "agent.yaml:6: export.tools[1]: NOPE is not set; ${NOPE:-default} does without",
    ]


def test_a_wrong_value_of_a_reference_is_not_repeated(write: Write) -> None:
    path = write("http: {port: '${TOKEN}'}\nagent: {name: '${TOKEN}'}\n")
    found = problems(path, {"TOKEN": "s3cret value"})
    assert found == [
        "agent.yaml:1: http.port: expected a whole number, got ${TOKEN}",
        "agent.yaml:2: agent.name: expected 1 to 64 of the characters a-z A-Z 0-9 - _ . in a name, got ${TOKEN}",
    ]


def test_a_variable_in_a_file(write: Write, tmp_path: Path) -> None:
    secret = write("s3cret\n", "secret")
    path = write("mcp: {servers: [{name: a, command: b, env: {TOKEN: '${TOKEN}'}}]}")
    assert read(path, {"TOKEN_FILE": str(secret)}).config.mcp.servers[0].env == {"TOKEN": "s3cret"}
    assert read(path, {"TOKEN_FILE": str(secret), "TOKEN": "direct"}).config.mcp.servers[0].env == {"TOKEN": "direct"}
    secret.write_bytes(b"\xff")
    where = "agent.yaml:1: mcp.servers[0].env.TOKEN: TOKEN_FILE"
    assert problems(path, {"TOKEN_FILE": str(secret)}) == [f"{where}: secret: not UTF-8"]
    assert problems(path, {"TOKEN_FILE": "/none"}) == [f"{where}: /none: No such file or directory"]
    assert problems(path, {"TOKEN_FILE": "/dev/zero"}) == [f"{where}: /dev/zero: more than 65,536 bytes"]


def test_references_are_kept_for_saving(write: Write) -> None:
    loaded = read(
        write("http: {port: '${PORT:-9}'}\nagent: {name: '${N}', shared_dir: '${SUB}/x'}\n"), {"N": "n", "SUB": "y"}
    )
    assert loaded.references == {"http.port": Reference("${PORT:-9}", 9)}
    assert repr(loaded.config.agent.name) == "${N}"
    assert loaded.config.agent.name == "n"


def test_the_network_key_of_the_environment(write: Write) -> None:
    file = write("pxk1-abc\n", "key")
    path = write("p2p: {security: {network_keys: [old]}}")
    security = read(path, {"PRAXIS_NETWORK_KEY": "new"}).config.p2p.security
    assert (security.network_keys, security.network_key_file) == (("new",), None)
    loaded = read(path, {"PRAXIS_NETWORK_KEY_FILE": str(file)})
    assert (loaded.config.p2p.security.network_keys, loaded.config.p2p.security.network_key_file) == ((), file)
    assert loaded.sources["p2p.security.network_key_file"] == "environment PRAXIS_NETWORK_KEY_FILE"
    path = write("p2p: {security: {network_key_file: old}}")
    security = read(path, {"PRAXIS_NETWORK_KEY": "new"}).config.p2p.security
    assert (security.network_keys, security.network_key_file) == (("new",), None)


def test_wrong_network_keys_of_the_environment(write: Write) -> None:
    assert problems(None, {"PRAXIS_NETWORK_KEY_FILE": "/none"}) == [
        "environment PRAXIS_NETWORK_KEY_FILE: /none: No such file or directory"
    ]
    assert problems(None, {"PRAXIS_NETWORK_KEY_FILE": "/none", "PRAXIS_NETWORK_KEY": "x"}) == [
        "environment: PRAXIS_NETWORK_KEY and PRAXIS_NETWORK_KEY_FILE are both set; only one can be meant"
    ]


def test_secrets_are_not_in_what_a_configuration_prints(write: Write) -> None:
    path = write("p2p: {security: {network_keys: [s3cret]}}\nmcp: {servers: [{name: a, command: b, env: {A: s3cret}}]}")
    loaded = read(path)
    assert loaded.config.p2p.security.network_keys == ("s3cret",)
    assert "s3cret" not in repr(loaded)
    assert "s3cret" not in repr(read(None, {"PRAXIS_NETWORK_KEY": "s3cret"}))
