"""What client verbs ask of an agent, and how they show its answer."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from praxis.access.tokens import TokenStore
from praxis.cli.client import DEFAULT_URL, UNREACHABLE, USAGE, CommandError, find_agent
from praxis.cli.client_verbs import _quoted
from praxis.dsl.tokens import tokens
from tests.cli.cli_kit import EVIL, Network, answering
from tests.cli.conftest import Praxis

VERBS: list[list[str]] = [
    ["status"],
    ["peers"],
    ["tools"],
    ["tools", "--sources"],
    ["call", "agent-2:say", "text=hello"],
    ["exec", "CALL agent-2:say hello"],
    ["plan", "CALL agent-2:say hello"],
    ["healthcheck"],
]


# -- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_every_verb_prints_a_table_json_or_yaml_and_no_message(ask: Praxis, arguments: list[str]) -> None:
    said = {form: ask(*arguments, "-o", form) for form in ("table", "json", "yaml")}
    assert {form: (one.code, one.err) for form, one in said.items()} == dict.fromkeys(said, (0, ""))
    from_json, from_yaml = json.loads(said["json"].out), yaml.safe_load(said["yaml"].out)
    assert from_json and from_json.keys() == from_yaml.keys()
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(said["table"].out)
    assert "\x1b" not in said["table"].out, "no colour without a terminal"


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_no_verb_sends_a_terminal_what_a_peer_wants(ask: Praxis, arguments: list[str]) -> None:
    arguments = [argument.replace("hello", EVIL) if "=" in argument else argument for argument in arguments]
    for form in ("table", "json", "yaml"):
        said = ask(*arguments, "-o", form)
        assert [c for c in said.out + said.err if not c.isprintable() and c != "\n"] == []


# -- looking --------------------------------------------------------------------------------------


def test_status_names_the_agent_and_each_part(ask: Praxis) -> None:
    lines = ask("status").out.splitlines()
    assert lines[0].split() == ["PART", "STATE", "REASON"]
    assert re.match(r"agent agent-1 +healthy +up \d+ s$", lines[1])
    assert {"local", "http", "websocket", "p2p", "discovery"} <= {line.split()[0] for line in lines[2:]}


@pytest.mark.parametrize("condition", ["failed", "backing off"])
def test_a_source_that_has_failed_degrades_its_agent_with_its_reason(
    praxis: Praxis, network: Network, condition: Literal["failed", "backing off"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network.odd, "condition", condition)
    said = praxis("status", "--url", network.url(2))
    lines = [re.split(r"  +", line, maxsplit=2) for line in said.out.splitlines()]
    assert said.code == 0
    assert lines[1][:2] == ["agent agent-2", "degraded"]
    (odd,) = [line for line in lines if line[0] == "source odd"]
    assert odd[1] == "degraded" and odd[2].split() == ["red", "[31m", "2J", "back", "second"]
    assert ["source fs", "healthy", "-"] in lines
    plugin = praxis("healthcheck", "--url", network.url(2))
    assert plugin.code == 1
    assert plugin.out.startswith("PRAXIS WARNING - source odd: red ")


def test_peers_and_their_lines(ask: Praxis, network: Network) -> None:
    head, line = ask("peers").out.splitlines()
    assert head.split() == ["NAME", "STATE", "ADDRESS", "RTT", "TOOLS", "ID", "REASON"]
    cells = re.split(r"  +", line)
    assert cells[:2] == ["agent-2", "connected"]
    assert cells[3].endswith(" ms")
    assert cells[4:] == ["8", network.agents[1].addresses.peer_id, "-"]


def test_tools_with_their_owners_and_the_first_line_of_what_they_do(ask: Praxis) -> None:
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in ask("tools").out.splitlines())
    assert rows.pop("TOOL") == "WHAT IT DOES"
    assert {"agent-1:fs/read_file", "agent-2:fs/read_file", "agent-2:odd/say"} <= rows.keys()
    assert rows["agent-2:odd/say"].split() == ["red", "[31m", "2J", "back"]


def test_a_program_gets_what_tools_do_whole_and_a_terminal_cut(praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"tools": [{"ref": "a:b/c", "description": "x" * 150 + "\nmore"}]}).encode()
    with answering(body) as server:
        assert praxis("tools", "--url", server.url).out.splitlines()[1] == f"a:b/c  {'x' * 150}"
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert praxis("tools", "--url", server.url).out.splitlines()[1] == f"a:b/c  {'x' * 99}…"


def test_sources_with_their_states(praxis: Praxis, network: Network) -> None:
    lines = praxis("tools", "--sources", "--url", network.url(2)).out.splitlines()
    assert [line.split() for line in lines] == [
        ["SOURCE", "KIND", "STATE", "TOOLS", "RESTARTS", "REASON"],
        ["fs", "builtin", "ready", "4", "0", "-"],
        ["odd", "builtin", "ready", "4", "0", "-"],
    ]


def test_a_plan_says_where_and_runs_nothing(ask: Praxis, network: Network) -> None:
    said = ask("plan", "-", stdin=b'CALL agent-2:write_file planned.txt "x" -> w\nCALL read_file ${w.a}')
    rows = [re.split(r"  +", line) for line in said.out.splitlines()]
    assert rows[0] == ["STEP", "TOOL", "WHERE", "AFTER"]
    assert rows[1][1] == "agent-2:write_file" and rows[1][2].startswith("agent-2 (")
    assert rows[2][2].startswith("agent-1 (") and rows[2][3] == rows[1][0]
    assert not (network.folder / "agent-2" / "shared" / "planned.txt").exists()


# -- running --------------------------------------------------------------------------------------


def test_call_gives_arguments_their_type_and_prints_the_text_as_it_is(ask: Praxis, network: Network) -> None:
    text = 'a\n\n\tb  "c" $d ${e} \\n # é 😀'
    assert ask("call", "agent-2:write_file", "filename=call.txt", f"content={text}").code == 0
    assert (network.folder / "agent-2" / "shared" / "call.txt").read_text() == text
    said = ask("call", "agent-2:fs/read_file", "filename=call.txt")
    assert (said.code, said.out, said.err) == (0, text + "\n", "")
    assert ask("call", "agent-2:say", "text=ab", "times=3").out == "ababab\n"
    assert ask("call", "agent-2:say", "text==", "times=2").out == "==\n"


def test_call_prints_the_whole_result_for_programs(ask: Praxis) -> None:
    said = ask("call", "agent-2:say", "text=hello", "-o", "json")
    assert json.loads(said.out) == {"content": [{"type": "text", "text": "hello"}], "isError": False}


@pytest.mark.parametrize(
    ("result", "out", "err"),
    [
        ({"structuredContent": {"a": [1]}}, '{\n  "a": [\n    1\n  ]\n}\n', ""),
        (
            {"content": [{"type": "text", "text": "x"}, {"type": "image"}, {"type": "\x1b"}]},
            "x\n",
            "praxis: the result has more content: image,   (-o json shows it)\n",
        ),
        ({"content": ["odd", 1, None, {"type": "text"}]}, "", ""),
        ({}, "", ""),
    ],
)
def test_call_shows_what_a_result_has_however_odd_it_is(
    ask: Praxis, result: dict[str, Any], out: str, err: str
) -> None:
    said = ask("call", "agent-2:answer", f"result={json.dumps(result)}")
    assert (said.code, said.out, said.err) == (0, out, err)
    assert json.loads(ask("call", "agent-2:answer", f"result={json.dumps(result)}", "-o", "json").out) == result
    assert ask("exec", f"CALL agent-2:answer --result '{json.dumps(result)}'").code == 0


def test_exec_prints_each_step_where_it_ran_and_what_it_said(ask: Praxis) -> None:
    said = ask("exec", "-", stdin=b'CALL agent-2:say "one\n\n\ttwo"\nCALL list_files')
    lines = said.out.splitlines()
    assert re.match(r"\S+  succeeded  agent-2:say  on agent-2$", lines[0])
    assert lines[1:4] == ["    one", "    ", "    \ttwo"]
    assert re.match(r"\S+  succeeded  list_files  on agent-1$", lines[4])
    assert said.err == ""


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example(EVIL + '\r\n\t"\\n${a} $${b} $ #;{}->\0')
def test_any_text_is_one_word_of_a_program(text: str) -> None:
    word, end = tokens(_quoted(text))
    assert word.parts == (text,)
    assert (word.kind, end.kind) == ("word", "end")
    assert not word.bare


def test_the_name_of_a_tool_cannot_bring_a_second_statement(ask: Praxis, network: Network) -> None:
    said = ask("call", "list_files\nCALL write_file smuggled.txt x")
    assert said.code == USAGE
    assert "is not the name of a tool" in said.err
    assert not (network.folder / "agent-1" / "shared" / "smuggled.txt").exists()


# -- whom they ask, and how -----------------------------------------------------------------------


def test_over_the_local_socket(praxis: Praxis, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "agent agent-2" in praxis("status", "--url", f"unix:{network.state(2) / 'api.sock'}").out
    monkeypatch.setenv("PRAXIS_STATE_DIR", str(network.state(1)))
    assert "agent agent-1" in praxis("status").out
    monkeypatch.setenv("PRAXIS_URL", network.url(2) + "/")
    assert "agent agent-2" in praxis("status").out
    assert "agent agent-1" in praxis("status", "--url", network.url(1)).out


def test_the_local_agent_is_found_by_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRAXIS_URL", "PRAXIS_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    base = tmp_path / ".local" / "state" / "praxis"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no agent looks here"))
    assert find_agent(None, None) == DEFAULT_URL
    with pytest.raises(CommandError) as error:
        find_agent(None, "two")
    assert error.value.code == UNREACHABLE
    assert f"neither {base}/two/api.sock nor {tmp_path}/tmp/praxis-dev-*/two/state/api.sock (one" in str(error.value)
    for name in ("one", "two"):
        (base / name).mkdir(parents=True)
    (base / "one" / "api.sock").touch()
    assert find_agent(None, None) == f"unix:{base}/one/api.sock"
    with pytest.raises(CommandError, match=r"no agent 'two' runs here: .*; those that are there: one "):
        find_agent(None, "two")
    (base / "two" / "api.sock").touch()
    with pytest.raises(CommandError, match="several agents run here: one, two; name one with --agent"):
        find_agent(None, None)
    assert find_agent("http://a", "one") == "http://a"
    monkeypatch.setenv("PRAXIS_STATE_DIR", str(tmp_path))
    assert find_agent(None, None) == DEFAULT_URL
    monkeypatch.setenv("PRAXIS_URL", "http://b")
    assert find_agent(None, None) == "http://b"
    assert find_agent(None, "one") == f"unix:{base}/one/api.sock"


def test_agents_of_a_development_network_are_found_while_they_run(
    praxis: Praxis, network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number in (1, 2):
        place = tmp_path / "tmp" / "praxis-dev-x" / f"agent-{number}"
        place.mkdir(parents=True)
        (place / "state").symlink_to(network.state(number))
    gone = tmp_path / "tmp" / "praxis-dev-y" / "agent-1" / "state"
    gone.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:  # as after SIGKILL
        monkeypatch.chdir(gone)
        left.bind("api.sock")
    assert "agent agent-2" in praxis("status", "--agent", "agent-2").out
    assert "agent agent-1" in praxis("status", "--agent", "agent-1").out
    said = praxis("status")
    assert (said.code, said.err) == (
        USAGE,
        "praxis: several agents run here: agent-1, agent-2; name one with --agent\n",
    )
    monkeypatch.setattr("os.getuid", lambda: 12345)  # somebody else's, who would get the token
    assert praxis("status", "--agent", "agent-2").code == UNREACHABLE


def test_what_nobody_answers_says_where_an_agent_was_looked_for(
    praxis: Praxis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("praxis.cli.client.DEFAULT_URL", "http://127.0.0.1:1")
    said = praxis("status")
    assert said.code == UNREACHABLE
    home = tmp_path / "home" / ".local" / "state" / "praxis"
    places = f"{home}/*/api.sock, {tmp_path}/tmp/praxis-dev-*/*/state/api.sock"
    assert f"no agent answers at http://127.0.0.1:1: Connection refused, and there is none of {places} (" in said.err
    monkeypatch.setenv("PRAXIS_STATE_DIR", "elsewhere")
    assert "and there is none of elsewhere/api.sock (" in praxis("status").err


def test_a_token_gives_its_role(praxis: Praxis, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRAXIS_TOKEN", TokenStore(network.state(1) / "tokens.json").new("operator", "ann"))
    run = json.loads(praxis("exec", "CALL list_files", "--url", network.url(1), "-o", "json").out)
    assert run["caller"].startswith("ann (")


def test_what_is_sent(praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRAXIS_TOKEN", "pxt1-x")
    with answering(b'{"status": "succeeded", "steps": []}') as server:
        praxis("exec", "CALL é", "--timeout", "2.5", "--url", server.url)
        praxis("exec", "CALL t", "--url", server.url)
    (method, path, headers, body), (_, _, _, unhurried) = server.requests
    assert (method, path, headers["Authorization"]) == ("POST", "/execute", "Bearer pxt1-x")
    assert headers["Content-Type"] == headers["Accept"] == "application/json"
    assert json.loads(body) == {"dsl": "CALL é", "timeout": 2.5}
    assert json.loads(unhurried) == {"dsl": "CALL t"}


def test_one_peer_is_pinged_or_forgotten(ask: Praxis) -> None:
    head, line = ask("peers", "ping", "agent-2").out.splitlines()
    assert head.split() == ["ID", "RTT"]
    assert re.fullmatch(r"px\w{52} +[\d.]+ ms", line)
    assert json.loads(ask("peers", "ping", "agent-2", "-o", "json").out)["rtt_ms"] > 0
    refused = ask("peers", "forget", "agent-2")
    assert (refused.code, refused.out) == (1, "")
    assert "is connected" in refused.err
    unknown = ask("peers", "forget", "no body ?")
    assert (unknown.code, unknown.out) == (1, "")
    assert "no peer 'no body ?' is known" in unknown.err


@pytest.mark.parametrize("words", [["ping"], ["forget"], ["ls", "agent-2"], ["dance"]])
def test_wrong_use_of_peers(ask: Praxis, words: list[str]) -> None:
    said = ask("peers", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err
