"""Verbs that work on this machine: configurations and tokens. They run no agent."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from praxis import __version__
from praxis.access.tokens import TokenStore
from praxis.cli.client import OK, USAGE
from praxis.config.load import OVERLAY, load
from praxis.config.save import save_overlay
from praxis.model.errors import PraxisError
from praxis.peers.keyring import NetworkKey
from tests.cli.cli_kit import EVIL, Said
from tests.cli.conftest import Praxis

KEY = NetworkKey.generate().text


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "agent:\n"
        "  name: ann\n"
        f"state_dir: {tmp_path}/state\n"
        "http:\n"
        "  port: ${TEST_PORT:-8123}\n"
        "p2p:\n"
        f"  security: {{network_keys: [{KEY}]}}\n"
    )
    return path


@pytest.fixture(autouse=True)
def _no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_PORT", raising=False)


def rows(said: Said) -> dict[str, str]:
    """``KEY  SOURCE`` lines."""
    return dict(line.split(maxsplit=1) for line in said.out.splitlines())


# -- config ---------------------------------------------------------------------------------------


def test_check_says_whether_a_configuration_can_be_used(praxis: Praxis, config: Path) -> None:
    good = praxis("config", "check", "--config", str(config))
    assert (good.code, good.out) == (OK, "")
    assert good.err == f"praxis: {config} is good: agent ann\n"
    built_in = praxis("config", "check", "--set", "state_dir=s").err
    assert built_in.startswith("praxis: the built-in configuration is good: agent ")


BAD = """\
agent:
  nmae: x
http:
  port: 99999
websocket:
  enabled: perhaps
"""


@pytest.mark.parametrize(
    "verb",
    [["config", "check"], ["config", "show"], ["config", "save", "x"], ["token", "new"], ["token", "ls"], ["run"]],
)
def test_every_problem_is_told_at_once_with_its_place_and_is_2(praxis: Praxis, tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    said = praxis(*verb, "--config", "bad.yaml", "--set", "sse.prot=1")
    assert (said.code, said.out) == (USAGE, "")
    head, *problems = said.err.splitlines()
    assert head == "praxis: the configuration cannot be used:"
    assert [problem.split(": ")[0] for problem in problems] == [
        *("  bad.yaml:2", "  bad.yaml:4", "  bad.yaml:6"),
        "  --set sse.prot",
    ]
    assert "did you mean" in problems[0] and "name" in problems[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", "."], "."),
        (["--set", "http.port"], "--set http.port: write KEY=VALUE"),
        (["--set", "=1"], "unknown key"),
        (["--set", "a..b=1"], "unknown key"),
        (["--set", "http=1"], "expected a mapping"),
    ],
)
def test_what_is_not_there_or_not_right_is_2(praxis: Praxis, arguments: list[str], said: str) -> None:
    ended = praxis("config", "check", *arguments)
    assert (ended.code, ended.out) == (USAGE, "")
    assert said in ended.err


def test_the_configuration_may_be_named_by_the_environment(
    praxis: Praxis, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_CONFIG", str(config))
    assert "name: ann\n" in praxis("config", "show").out
    (config.parent / "other.yaml").write_text("agent: {name: bob}")
    assert "name: bob\n" in praxis("config", "show", "--config", "other.yaml").out


def test_show_masks_secrets(praxis: Praxis, config: Path) -> None:
    said = praxis("config", "show", "--config", str(config))
    assert (said.code, said.err) == (OK, "")
    assert KEY not in said.out and "***" in said.out
    assert KEY not in praxis("config", "show", "--sources", "--config", str(config)).out


def test_show_says_where_each_value_comes_from(praxis: Praxis, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSOCKET_PORT", "1234")
    said = praxis("config", "show", "--sources", "--config", str(config), "--set", "sse.port=0")
    found = rows(said)
    assert (said.code, said.err) == (OK, "")
    assert found["agent.name"] == "agent.yaml:2"
    assert found["http.port"] == "agent.yaml:5"
    assert found["websocket.port"] == "environment WEBSOCKET_PORT"
    assert found["sse.port"].startswith("--set ")
    assert found["http.host"] == "default"


def test_show_and_its_sources_come_as_json_and_yaml_too(praxis: Praxis, config: Path) -> None:
    from_json = json.loads(praxis("config", "show", "-o", "json", "--config", str(config)).out)
    shown = praxis("config", "show", "-o", "yaml", "--config", str(config))
    assert shown == praxis("config", "show", "--config", str(config))
    assert yaml.safe_load(shown.out) == from_json
    assert (from_json["agent"]["name"], from_json["p2p"]["security"]["network_keys"]) == ("ann", ["***"])
    sources = json.loads(praxis("config", "show", "--sources", "-o", "json", "--config", str(config)).out)
    assert (sources["agent.name"], sources["http.host"]) == ("agent.yaml:2", "default")
    assert yaml.safe_load(praxis("config", "show", "--sources", "-o", "yaml", "--config", str(config)).out) == sources


def test_changes_made_at_run_time_stand_over_the_file_and_under_the_rest(
    praxis: Praxis, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    overlay = tmp_path / "state" / OVERLAY
    save_overlay(overlay, {"http.port": 8200, "sse.port": 9200, "websocket.port": 8300})
    monkeypatch.setenv("WEBSOCKET_PORT", "1234")
    found = rows(praxis("config", "show", "--sources", "--config", str(config), "--set", "sse.port=0"))
    assert found["http.port"] == f"overlay {OVERLAY}:2"
    assert found["websocket.port"] == "environment WEBSOCKET_PORT"
    assert found["sse.port"].startswith("--set ")
    assert "port: 8200\n" in praxis("config", "show", "--config", str(config)).out
    overlay.write_text("http: {prot: 1}\n")
    said = praxis("config", "check", "--config", str(config))
    assert said.code == USAGE
    assert f"{overlay}:1: " in said.err


def test_the_overlay_is_that_of_the_state_directory_of_the_environment(
    praxis: Praxis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_overlay(tmp_path / OVERLAY, {"http.port": 8200})
    assert rows(praxis("config", "show", "--sources"))["http.port"] == "default"
    monkeypatch.setenv("PRAXIS_STATE_DIR", str(tmp_path))
    assert rows(praxis("config", "show", "--sources"))["http.port"].startswith("overlay ")


def test_what_is_saved_loads_again_to_the_same_and_keeps_its_references(
    praxis: Praxis, config: Path, tmp_path: Path
) -> None:
    said = praxis("config", "save", "saved.yaml", "--config", str(config), "--set", "sse.port=7")
    saved = tmp_path / "saved.yaml"
    assert (said.code, said.out, said.err) == (OK, "", "praxis: saved to saved.yaml\n")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert load(saved, environ={}).config == load(config, environ={}, flags={"sse.port": 7}).config
    assert load(saved, environ={"TEST_PORT": "8124"}).config.http.port == 8124


@pytest.mark.parametrize("target", [".", "no/such/folder.yaml", "agent.yaml/x"])
def test_what_cannot_be_saved_is_2(praxis: Praxis, config: Path, tmp_path: Path, target: str) -> None:
    said = praxis("config", "save", target, "--config", str(config))
    assert (said.code, said.out) == (USAGE, "")
    assert said.err.startswith(f"praxis: {target}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["agent.yaml"]


# -- token ----------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_lets_in_until_it_is_revoked(praxis: Praxis, config: Path, tmp_path: Path) -> None:
    made = praxis("token", "new", "--role", "admin", "--name", "ann", "--config", str(config))
    assert made.code == OK
    assert made.err == "praxis: a token with the role admin; it is not shown again\n"
    store = TokenStore(tmp_path / "state" / "tokens.json")
    principal = store.verify(made.out.strip())
    assert principal is not None and principal.role == "admin"
    listed = praxis("token", "ls", "--config", str(config))
    head, row = listed.out.splitlines()
    assert (head.split(), row.split()[1:]) == (["ID", "ROLE", "NAME"], ["admin", "ann"])
    assert made.out.strip() not in listed.out
    (token,) = json.loads(praxis("token", "ls", "-o", "json", "--config", str(config)).out)
    assert token == {"id": row.split()[0], "role": "admin", "name": "ann"}
    assert praxis("token", "ls", "-o", "yaml", "--config", str(config)).out.startswith("- id: ")
    gone = praxis("token", "revoke", row.split()[0], "--config", str(config))
    assert (gone.code, gone.out, gone.err) == (OK, "", f"praxis: revoked {row.split()[0]}\n")
    assert store.verify(made.out.strip()) is None


def test_a_token_may_run_programs_unless_told_otherwise(praxis: Praxis, tmp_path: Path) -> None:
    made = praxis("token", "new", "--set", f"access.tokens_file={tmp_path}/mine.json")
    principal = TokenStore(tmp_path / "mine.json").verify(made.out.strip())
    assert principal is not None and principal.role == "operator"


def test_a_token_can_be_made_before_the_wide_binding_that_needs_it(praxis: Praxis, config: Path) -> None:
    assert praxis("token", "new", "--config", str(config), "--set", "http.host=0.0.0.0").code == OK


def test_tokens_that_are_none_are_2(praxis: Praxis, config: Path, tmp_path: Path) -> None:
    said = praxis("token", "revoke", "nothing", "--config", str(config))
    assert (said.code, said.out) == (USAGE, "")
    assert "no token 'nothing'" in said.err and "praxis token ls" in said.err
    assert praxis("token", "new", "--name", EVIL, "--config", str(config)).code == USAGE
    file = tmp_path / "state" / "tokens.json"
    file.write_text("damaged")
    for verb in (["new"], ["ls"], ["revoke", "x"]):
        said = praxis("token", *verb, "--config", str(config))
        assert (said.code, said.out) == (USAGE, "")
        assert f"{file}: the tokens cannot be used" in said.err
    assert file.read_text() == "damaged"
    with pytest.raises(PraxisError):
        TokenStore(file).verify("x")


# -- starting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["0", "51", "-1"])
def test_a_network_has_1_to_50_agents(praxis: Praxis, number: str) -> None:
    said = praxis("dev", "--agents", number)
    assert (said.code, said.out) == (USAGE, "")
    assert "--agents takes 1 to 50" in said.err


def test_the_version_is_a_verb_and_a_flag(praxis: Praxis) -> None:
    assert praxis("--version") == praxis("version") == Said(OK, f"{__version__}\n", "")
