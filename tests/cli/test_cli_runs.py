"""Verbs about runs and programs, against real agents: what they print, change and refuse."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from praxis.cli.client import FAILED, OK, UNREACHABLE, USAGE
from praxis.journal.database import PUT_RUN, PUT_STEP, Database, Write
from praxis.journal.journal import FILE
from praxis.journal.records import encode
from praxis.model.run import RunRecord, StepRecord
from tests.cli.cli_kit import EVIL, Network, Said
from tests.cli.conftest import Praxis
from tests.support.network import PATIENCE

UNKNOWN = [
    ["show"],
    ["logs"],
    ["logs", "-f"],
    ["cancel"],
    ["retry"],
    ["retry", "--from-failed"],
    ["resume"],
    ["resume", "--repeat"],
    ["export"],
]
GRAPH = {
    "nodes": [
        {"id": "hello", "data": {"tool": "agent-2:say", "arguments": {"text": "hello"}}, "position": {"x": 1, "y": 2}},
        {"id": "again", "data": {"tool": "agent-2:say", "arguments": {"text": "${hello} again"}}},
    ],
    "edges": [],
}


def ran(ask: Praxis, program: str, *more: str) -> tuple[dict[str, Any], Said]:
    """A run as `praxis exec` shows it to programs."""
    said = ask("exec", program, *more, "-o", "json")
    return json.loads(said.out), said


def words(said: Said) -> list[list[str]]:
    return [re.split(r"  +", line) for line in said.out.splitlines()]


def runs(praxis: Praxis, network: Network, action: str, *arguments: str) -> Said:
    return praxis("runs", action, *arguments, "--url", network.url(1))


def shown(praxis: Praxis, network: Network, run_id: str) -> dict[str, Any]:
    return dict(json.loads(runs(praxis, network, "show", run_id, "-o", "json").out))


def interrupted(network: Network, program: str, *steps: StepRecord, needs: tuple[str, ...] = ()) -> str:
    """A run as the end of the agent leaves it, in the journal of agent-1."""
    run = RunRecord(secrets.token_hex(8), "running", "ann", program, (), 1.0, needs_secrets=needs)
    journal = Database(network.state(1) / FILE)
    writes: list[Write] = [(PUT_RUN, (run.id, "interrupted", run.created_at, None, None, None, encode(run)))]
    writes += [(PUT_STEP, (run.id, step.id, step.state, encode(step))) for step in steps]
    journal.write(writes)
    journal.close()
    return run.id


# -- looking --------------------------------------------------------------------------------------


def test_runs_are_listed_from_the_newest_on(praxis: Praxis, ask: Praxis, network: Network) -> None:
    first, _ = ran(ask, "CALL agent-2:say one\nCALL agent-2:say two")
    second, _ = ran(ask, "CALL agent-2:fail")
    said = runs(praxis, network, "ls", "--limit", "2")
    assert (said.code, said.err) == (OK, "")
    head, *rows = words(said)
    assert head == ["RUN", "STATE", "STEPS", "BEGAN", "TOOK", "PROGRAM"]
    assert [row[:3] for row in rows] == [[second["run_id"], "failed", "1"], [first["run_id"], "succeeded", "2"]]
    assert rows[1][5] == "CALL agent-2:say one CALL agent-2:say two"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", rows[0][3])
    found = json.loads(runs(praxis, network, "ls", "--limit", "1", "-o", "json").out)
    assert [run["run_id"] for run in found["runs"]] == [second["run_id"]]


def test_one_run_is_shown_with_its_steps(praxis: Praxis, ask: Praxis, network: Network) -> None:
    run, _ = ran(ask, "CALL agent-2:say 'one\n two'")
    said = runs(praxis, network, "show", run["run_id"])
    assert said == Said(OK, "s1  succeeded  agent-2:say  on agent-2\n    one\n     two\n", "")
    assert shown(praxis, network, run["run_id"]) == run


def test_logs_say_what_happened_in_order(praxis: Praxis, ask: Praxis, network: Network) -> None:
    run, _ = ran(ask, "CALL agent-2:say one\nCALL agent-2:fail RETRY 1 BACKOFF 1ms")
    said = runs(praxis, network, "logs", run["run_id"])
    assert (said.code, said.err) == (OK, "")
    told = [line.split("  ", 1)[1] for line in said.out.splitlines()]
    assert [line.split(": ")[0] for line in told] == [
        "s1  agent-2:say  begins on agent-2",
        "s1  agent-2:say  succeeded",
        "s2  agent-2:fail  begins on agent-2",
        "s2  agent-2:fail  attempt 1 failed on agent-2",
        "s2  agent-2:fail  failed",
        f"run {run['run_id']} is failed",
    ]
    assert [c for c in said.out if not c.isprintable() and c not in "\n\t"] == []
    followed = runs(praxis, network, "logs", "-f", run["run_id"])
    assert (followed.code, followed.out) == (FAILED, said.out)
    assert followed.err.startswith(f"praxis: run {run['run_id']} failed: step s2 (agent-2:fail): ")


def test_logs_can_be_followed_until_somebody_cancels(praxis: Praxis, ask: Praxis, network: Network) -> None:
    network.odd.started.clear()
    network.odd.ended.clear()
    program = "CALL agent-2:say one\nCALL agent-2:wait"
    command = [sys.executable, "-m", "praxis"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [*command, "exec", program, "--url", network.url(1)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert network.odd.started.wait(PATIENCE)
        (run,) = json.loads(runs(praxis, network, "ls", "--limit", "1", "-o", "json").out)["runs"]
        assert run["status"] == "running"
        run_id = run["run_id"]
        with subprocess.Popen(
            [*command, "runs", "logs", "-f", run_id, "--url", network.url(1)],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as following:
            assert following.stdout is not None
            heard = [following.stdout.readline() for _ in range(3)]
            assert heard[2].endswith("s2  agent-2:wait  begins on agent-2\n")
            cancelled = runs(praxis, network, "cancel", run_id)
            assert cancelled == Said(OK, f"{'RUN':<16}  STATE\n{run_id}  cancelled\n", "")
            assert network.odd.ended.is_set()
            out, err = following.communicate(timeout=PATIENCE)
        assert [line.split("  ", 1)[1] for line in out.splitlines()] == [
            "s2  agent-2:wait  cancelled",
            f"run {run_id} is cancelled",
        ]
        ended = f"praxis: run {run_id} cancelled: `praxis runs retry {run_id}` runs it again\n"
        assert (following.returncode, err) == (FAILED, ended)
        out, err = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, err) == (FAILED, ended)
    again = runs(praxis, network, "cancel", run_id)
    assert (again.code, again.out) == (FAILED, "")
    assert again.err == f"praxis: run {run_id} has ended already: cancelled\n"


def test_an_export_has_all_that_is_known_and_nothing_for_the_terminal(
    praxis: Praxis, ask: Praxis, network: Network
) -> None:
    run, _ = ran(ask, "CALL agent-2:fail IF_FAILED continue\nCALL agent-2:say two")
    said = runs(praxis, network, "export", run["run_id"])
    assert (said.code, said.err) == (OK, "")
    found = json.loads(said.out)
    assert found["run"] == run
    assert found["run"]["steps"][0]["result"]["content"][0]["text"] == EVIL
    assert [node["id"] for node in found["graph"]["nodes"]] == ["s1", "s2"]
    assert [c for c in said.out if not c.isprintable() and c != "\n"] == []


@pytest.mark.parametrize("arguments", UNKNOWN, ids=" ".join)
def test_a_run_that_nobody_knows_is_1(praxis: Praxis, network: Network, arguments: list[str]) -> None:
    for run_id, reason in (("nope", "no run 'nope'"), ("a b?c#d", "no run 'a b?c#d'"), ("../health", "nothing at")):
        said = runs(praxis, network, arguments[0], run_id, *arguments[1:])
        assert (said.code, said.out) == (FAILED, "")
        assert said.err.startswith("praxis: ") and reason in said.err


@pytest.mark.parametrize("arguments", [["ls"], *([*action, "r"] for action in UNKNOWN)], ids=" ".join)
def test_without_an_agent_it_is_3(praxis: Praxis, arguments: list[str]) -> None:
    said = praxis("runs", *arguments, "--agent", "none")
    assert (said.code, said.out) == (UNREACHABLE, "")
    assert "no agent 'none' runs here" in said.err


@pytest.mark.parametrize(
    "arguments", [[], ["nope"], ["show"], ["cancel", "a", "b"], ["ls", "--limit", "x"], ["retry", "r", "--repeat"]]
)
def test_wrong_arguments_are_2(praxis: Praxis, network: Network, arguments: list[str]) -> None:
    said = praxis("runs", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert said.err.startswith("usage: praxis")
    for limit in ("0", "501", "-1"):
        assert runs(praxis, network, "ls", f"--limit={limit}").code == USAGE


# -- again, and on --------------------------------------------------------------------------------


def test_a_run_is_retried_whole_or_from_what_failed(praxis: Praxis, ask: Praxis, network: Network) -> None:
    said = ask("exec", 'CALL write_file retried.txt first\nCALL read_file later.txt -> r\nCALL agent-2:say "${r}"')
    assert said.code == FAILED
    (run,) = json.loads(runs(praxis, network, "ls", "--limit", "1", "-o", "json").out)["runs"]
    shared = network.folder / "agent-1" / "shared"
    (shared / "retried.txt").unlink()
    (shared / "later.txt").write_text("there now")
    said = runs(praxis, network, "retry", run["run_id"], "--from-failed")
    assert (said.code, said.err) == (OK, "")
    assert words(said)[2][1:] == ["succeeded", "read_file", "on agent-1"]
    assert "there now" in said.out
    assert not (shared / "retried.txt").exists(), "it had succeeded"
    said = runs(praxis, network, "retry", run["run_id"])
    assert (said.code, said.err) == (OK, "")
    assert (shared / "retried.txt").read_text() == "first"
    ids = [one["run_id"] for one in json.loads(runs(praxis, network, "ls", "-o", "json").out)["runs"]]
    assert ids.index(run["run_id"]) == 2, "each is a run of its own"
    (shared / "later.txt").unlink()
    said = runs(praxis, network, "retry", run["run_id"], "--from-failed")
    assert said.code == FAILED
    assert " failed: step s2 (read_file): " in said.err


PROGRAM = "CALL agent-2:say one -> a\nCALL agent-2:say two\nCALL write_file on.txt ${a}"


def test_an_interrupted_run_goes_on_when_that_is_safe_or_told_to(praxis: Praxis, ask: Praxis, network: Network) -> None:
    before, _ = ran(ask, PROGRAM)
    step = StepRecord("s1", "agent-2:say", "succeeded", None, {"content": [{"type": "text", "text": "kept"}]})
    flying = StepRecord("s2", "agent-2:say", "interrupted", place=(1,))
    shared = network.folder / "agent-1" / "shared" / "on.txt"

    run_id = interrupted(network, PROGRAM, step)  # between two steps
    assert ["interrupted", "1"] in [row[1:3] for row in words(runs(praxis, network, "ls"))]
    said = runs(praxis, network, "retry", run_id)
    assert (said.code, said.out) == (FAILED, "")
    assert f"`praxis runs resume {run_id}` goes on with it" in said.err
    said = runs(praxis, network, "resume", run_id)
    assert (said.code, said.err) == (OK, "")
    assert shared.read_text() == "kept", "the step that had ended counts as it is"
    said = runs(praxis, network, "resume", run_id)
    assert (said.code, said.out) == (FAILED, "")
    assert "was not interrupted: it is succeeded" in said.err

    shared.unlink()
    run_id = interrupted(network, PROGRAM, step, flying)
    said = runs(praxis, network, "resume", run_id)
    assert (said.code, said.out) == (FAILED, "")
    assert "step s2 (agent-2:say) was under way when the agent ended; whether it happened is not known" in said.err
    assert f"`praxis runs resume {run_id} --repeat` makes it again" in said.err
    assert not shared.exists()
    said = runs(praxis, network, "resume", run_id, "--repeat")
    assert (said.code, said.err) == (OK, "")
    assert shared.read_text() == "kept"
    assert shown(praxis, network, run_id)["status"] == before["status"] == "succeeded"

    run_id = interrupted(network, PROGRAM, step, flying)
    said = runs(praxis, network, "logs", "-f", run_id)
    assert (said.code, said.out.splitlines()[-1].split("  ")[1]) == (FAILED, f"run {run_id} is interrupted")
    assert runs(praxis, network, "cancel", run_id).code == OK
    assert shown(praxis, network, run_id)["status"] == "cancelled"
    assert runs(praxis, network, "resume", run_id).code == FAILED


def test_secrets_are_given_again_and_never_shown(
    praxis: Praxis, network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = "CALL agent-2:say ${secrets.TOKEN_OF_TEST}"
    run_id = interrupted(network, program, needs=("TOKEN_OF_TEST",))
    said = runs(praxis, network, "resume", run_id)
    assert (said.code, said.out) == (USAGE, "")
    assert "the run needs secrets: TOKEN_OF_TEST" in said.err
    said = runs(praxis, network, "resume", run_id, "--secret", "TOKEN_OF_TEST")
    assert said == Said(USAGE, "", "praxis: --secret TOKEN_OF_TEST: there is no environment variable TOKEN_OF_TEST\n")
    monkeypatch.setenv("TOKEN_OF_TEST", "swordfish")
    said = runs(praxis, network, "resume", run_id, "--secret", "TOKEN_OF_TEST")
    assert said == Said(OK, "s1  succeeded  agent-2:say  on agent-2\n    ***\n", "")
    (tmp_path / "token").write_text("swordfish\n")
    said = runs(praxis, network, "retry", run_id, "--secret", f"TOKEN_OF_TEST=@{tmp_path / 'token'}", "-o", "json")
    assert (said.code, said.err) == (OK, "")
    assert "swordfish" not in said.out + runs(praxis, network, "export", run_id).out
    assert b"swordfish" not in b"".join(path.read_bytes() for path in network.state(1).glob(f"{FILE}*"))


# -- exec -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("x=Ada", "Ada"),
        ("x=", ""),
        ("x=a=b", "a=b"),
        ("x=5", "5"),
        ("x=NaN", "NaN"),
        ("x=1e999", "1e999"),
        ("x=-Infinity", "-Infinity"),
        ('x={"k": [1]}', '{"k":[1]}'),
        ('x="5"', "5"),
        (f"x={'[' * 5000}", "[" * 5000),
        ("x=\udcff", "?"),
    ],
)
def test_params_are_json_where_that_is_what_they_are(ask: Praxis, given: str, text: str) -> None:
    run, said = ran(ask, 'CALL agent-2:say "${params.x}"', "--param", given)
    assert (said.code, said.err) == (OK, "")
    assert run["result"]["content"][0]["text"].replace(": ", ":") == text


def test_defaults_and_missing_params(ask: Praxis) -> None:
    program = 'WORKFLOW w(who, how="kindly") {\n  CALL agent-2:say "${who} ${how}"\n}'
    assert ran(ask, program, "--param", "who=Ada")[0]["result"]["content"][0]["text"] == "Ada kindly"
    run, _ = ran(ask, program, "--param", "who=Ada", "--param", "how=slowly")
    assert run["result"]["content"][0]["text"] == "Ada slowly"
    said = ask("exec", program)
    assert (said.code, said.out) == (USAGE, "")
    assert "the run needs the param 'who'" in said.err and "--param who=..." in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--param", "x"], "'x' is no argument: write k=v"),
        (["--secret", "NOBODY_HAS_THIS"], "there is no environment variable NOBODY_HAS_THIS"),
        (["--secret", "k=plain"], "--secret: write NAME for the environment variable NAME, or NAME=@FILE"),
        (["--secret", "k=@/nonexistent/file"], "--secret k: [Errno 2] No such file"),
        (["--secret", "k=@/"], "--secret k: [Errno 21] Is a directory"),
        (["--key", ""], "expected 1 to 200 visible characters"),
        (["--key", "k" * 201], "expected 1 to 200 visible characters"),
        (["--key", "a\nb"], "--key"),
        (["--key", "\u2192"], "--key"),
    ],
)
def test_what_cannot_be_given_is_2(ask: Praxis, arguments: list[str], said: str) -> None:
    ended = ask("exec", "CALL agent-2:say never", *arguments)
    assert (ended.code, ended.out) == (USAGE, "")
    assert ended.err.startswith("praxis: ") and said in ended.err
    assert "Traceback" not in ended.err


def test_one_key_is_one_run(ask: Praxis, network: Network) -> None:
    key, shared = secrets.token_hex(4), network.folder / "agent-1" / "shared" / "once.txt"
    first, said = ran(ask, "CALL write_file once.txt a", "--key", key)
    assert said.code == OK
    shared.unlink()
    again, said = ran(ask, "CALL write_file once.txt a", "--key", key)
    assert (said.code, again["run_id"], shared.exists()) == (OK, first["run_id"], False)
    other = ask("exec", "CALL write_file once.txt b", "--key", key)
    assert (other.code, other.out) == (FAILED, "")
    assert "this Idempotency-Key came with another request" in other.err
    with ThreadPoolExecutor(4) as several:
        host, _, port = network.url(1).removeprefix("http://").partition(":")
        ids = set(several.map(lambda _: executed(host, int(port), f"{key}2"), range(4)))
    assert len(ids) == 1


def executed(host: str, port: int, key: str) -> str:
    from praxis.cli.client import Client

    client = Client(f"http://{host}:{port}", timeout=PATIENCE)
    body = {"dsl": "CALL write_file once.txt c"}
    return str(client.request("POST", "/execute", body, headers={"Idempotency-Key": key})["run_id"])


# -- graphs, plans, forms -------------------------------------------------------------------------


def test_a_graph_runs_and_is_planned_as_a_program_is(ask: Praxis, praxis: Praxis) -> None:
    run, said = ran(ask, json.dumps(GRAPH))
    assert said.code == OK
    assert [step["id"] for step in run["steps"]] == ["hello", "again"]
    assert run["result"]["content"][0]["text"] == "hello again"
    drawn = ask("plan", json.dumps(GRAPH), "--graph")
    found = json.loads(drawn.out)
    assert (drawn.code, drawn.err) == (OK, "")
    assert [node["id"] for node in found["nodes"]] == ["hello", "again"]
    assert [(edge["source"], edge["target"]) for edge in found["edges"]] == [("hello", "again")]
    assert praxis("plan", json.dumps(GRAPH), "--check") == Said(OK, "ok: 2 calls\n", "")
    assert ask("exec", json.dumps(found)).code == OK, "what is drawn runs"


@pytest.mark.parametrize("name", ["on_failure", "onFailure"])
def test_a_graph_says_what_a_failure_stops(ask: Praxis, name: str) -> None:
    nodes = [{"id": "a", "tool": "agent-2:fail"}, {"id": "b", "tool": "agent-2:say"}, {"id": "c", "tool": "list_files"}]
    graph = {"nodes": nodes, "edges": [{"source": "a", "target": "b"}], name: "continue", "viewport": {"zoom": 1}}
    run, said = ran(ask, json.dumps(graph))
    assert said.code == FAILED
    assert [step["state"] for step in run["steps"]] == ["failed", "skipped", "succeeded"]


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ("{", "the graph is not JSON: "),
        ('{"nodes": ' + "[" * 5000, "the graph is not JSON: "),
        ("{}", "expected either a program, nodes or a request"),
        ('{"edges": []}', "expected either a program, nodes or a request"),
        ('{"nodes": []}', "nodes: expected a list of nodes that is not empty"),
        ('{"nodes": [{"id": "a"}]}', "no node has a tool"),
        ('{"nodes": [{"id": "a", "tool": "list_files"}], "on_failure": "explode"}', "on_failure"),
        ('{"nodes": [{"id": "a", "tool": "list_files"}], "edges": [{"source": "a", "target": "b"}]}', "edges[0]"),
    ],
)
def test_a_graph_that_is_none_is_2(ask: Praxis, graph: str, said: str) -> None:
    for verb in ("exec", "plan"):
        ended = ask(verb, graph)
        assert (ended.code, ended.out) == (USAGE, ""), ended
        assert said in ended.err


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("CAL a", "line 1, column 1: "),
        ("CALL a -> x\nCALL b ${y}", "line 2, column 8: "),
        ("", "line 1"),
        ("{", "not the JSON of a graph"),
        ('{"nodes": [{"id": "a", "tool": "t", "arguments": {"x": "${b}"}}]}', "nodes[0].arguments: "),
    ],
)
def test_a_check_asks_no_agent_and_names_the_place(praxis: Praxis, program: str, said: str) -> None:
    assert praxis("plan", "--check", "CALL whatever; CALL more") == Said(OK, "ok: 2 calls\n", "")
    assert praxis("plan", "--check", "-", stdin=b"CALL one") == Said(OK, "ok: 1 call\n", "")
    ended = praxis("plan", "--check", program)
    assert (ended.code, ended.out) == (FAILED, "")
    assert said in ended.err


def test_fmt_writes_the_usual_form(praxis: Praxis, tmp_path: Path) -> None:
    file, odd, usual = tmp_path / "a.praxis", "CALL  a   1;CALL b # so", "CALL a 1\nCALL b  # so\n"
    file.write_text(odd)
    said = praxis("fmt", "--check", str(file))
    assert said == Said(FAILED, "", f"praxis: {file} is not in its usual form; `praxis fmt` writes it\n")
    assert file.read_text() == odd
    assert praxis("fmt", str(file)) == Said(OK, "", "")
    assert file.read_text() == usual
    assert praxis("fmt", "--check", str(file)) == Said(OK, "", "")
    assert praxis("fmt", "-", stdin=odd.encode()) == Said(OK, usual, "")
    assert praxis("fmt", "-", "--check", stdin=odd.encode()).code == FAILED


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"CALL a\nCAL b", FAILED, "line 2, column 1"),
        (b"CALL \xff", USAGE, "can't decode byte 0xff"),
        (None, USAGE, "No such file or directory"),
    ],
)
def test_fmt_leaves_alone_what_it_cannot_read(
    praxis: Praxis, tmp_path: Path, content: bytes | None, code: int, said: str
) -> None:
    file = tmp_path / "a.praxis"
    if content is not None:
        file.write_bytes(content)
    for more in ([], ["--check"]):
        ended = praxis("fmt", str(file), *more)
        assert (ended.code, ended.out) == (code, "")
        assert said in ended.err
    assert (file.read_bytes() if file.exists() else None) == content
