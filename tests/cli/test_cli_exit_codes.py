"""Each exit code for its real reason, with the reason on standard error."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from praxis.access.tokens import TokenStore
from praxis.cli.client import DENIED, FAILED, INTERRUPTED, OK, TERMINATED, TIMED_OUT, UNREACHABLE, USAGE
from tests.cli.cli_kit import EVIL, Network, Said, answering
from tests.cli.conftest import Praxis
from tests.support.network import PATIENCE

ROOT = Path(__file__).parents[2]
ASKING = [
    ["status"],
    ["peers"],
    ["tools"],
    ["tools", "--sources"],
    ["call", "t"],
    ["exec", "CALL t"],
    ["plan", "CALL t"],
    ["ask", "t"],
    ["ask", "t", "--plan"],
]


def failed(said: Said, code: int, reason: str) -> bool:
    """Nothing but this on standard error, and nothing on standard output."""
    assert said.out == ""
    assert said.err.startswith("praxis: ") and "Traceback" not in said.err
    assert reason in said.err
    return said.code == code


# -- 0 and 1 --------------------------------------------------------------------------------------


def test_the_codes_are_those_of_the_documentation() -> None:
    codes = (OK, FAILED, USAGE, UNREACHABLE, DENIED, TIMED_OUT, INTERRUPTED, TERMINATED)
    assert codes == (0, 1, 2, 3, 4, 5, 130, 143)


def test_a_tool_that_says_that_it_failed_is_1_and_its_words_are_data(ask: Praxis) -> None:
    said = ask("call", "agent-2:fail")
    assert said.code == FAILED
    assert said.err == "praxis: agent-2:fail says that it failed, on agent-2; its words are the output\n"
    assert said.out.startswith("red ")
    structured = ask("call", "agent-2:fail", "-o", "json")
    assert json.loads(structured.out)["isError"] is True
    assert structured.err == said.err
    said = ask("exec", "CALL agent-2:fail\nCALL list_files")
    assert said.code == FAILED
    assert "  failed     agent-2:fail  on agent-2\n    red " in said.out
    assert said.err.startswith("praxis: run ") and " failed: " in said.err


def test_a_failed_run_is_data_too(ask: Praxis) -> None:
    said = ask("exec", "CALL agent-2:fail", "-o", "json")
    assert (said.code, json.loads(said.out)["status"]) == (FAILED, "failed")


def test_a_tool_that_is_nowhere_is_1(ask: Praxis) -> None:
    assert failed(ask("call", "nope"), FAILED, "nope")
    assert failed(ask("exec", "CALL nope"), FAILED, "nope")
    said = ask("plan", "CALL list_files\nCALL nope")
    assert said.code == FAILED
    assert "nowhere: " in said.out and said.err == ""


def test_a_step_that_was_refused_is_told_with_its_place(ask: Praxis) -> None:
    said = ask("exec", "CALL agent-2:read_file ../../etc/passwd")
    assert said.code == FAILED
    assert "read_file" in said.out


def test_an_agent_that_is_unhealthy_is_1(praxis: Praxis) -> None:
    report = {"status": "unhealthy", "agent": "a", "uptime_s": 1.0, "checks": {"http": {"status": "unhealthy"}}}
    with answering(json.dumps(report).encode(), 503) as server:
        said = praxis("status", "--url", server.url)
    assert (said.code, said.err) == (FAILED, "")
    assert "agent a  unhealthy  up 1 s" in said.out
    report["status"] = "degraded"
    with answering(json.dumps(report).encode()) as server:
        assert praxis("status", "--url", server.url).code == OK


# -- 2: usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["peers", "--nope"],
        ["peers", "-o", "xml"],
        ["call"],
        ["config"],
        ["token"],
        ["token", "new", "--role", "root"],
        *(["peers", "--timeout", value] for value in ("0", "-1", "nan", "inf", "soon")),
        ["demo", "--ports", "few"],
    ],
)
def test_wrong_arguments_are_2_with_the_usage(praxis: Praxis, arguments: list[str]) -> None:
    said = praxis(*arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert said.err.startswith("usage: praxis")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["peers", "--timeout", "abc"], "argument --timeout: expected a number of seconds above 0, got 'abc'"),
        (["peers", "--timeout=-1"], "argument --timeout: expected a number of seconds above 0, got '-1'"),
        (["network", "token", "--ttl", "1w"], "argument --ttl: expected a time up to 30d, such as 30m, 1h or 2d, got"),
        (
            ["network", "issue", "a", "--days", "0"],
            "argument --days: expected a number of days from 1 to 3650, got '0'",
        ),
        (["dev", "--agents", "two"], "argument --agents: expected a number, got 'two'"),
    ],
)
def test_a_wrong_argument_is_told_in_words(praxis: Praxis, arguments: list[str], said: str) -> None:
    ended = praxis(*arguments)
    assert ended.code == USAGE
    assert said in ended.err


def test_a_wrong_call_is_told_with_its_argument_and_not_with_a_place_in_a_program(ask: Praxis) -> None:
    for arguments, said in (
        (["read_file", "pth=x"], "praxis: read_file: argument pth: the tool has no argument 'pth' (it takes filename)"),
        (["fs/write_file", "filename=x"], "praxis: fs/write_file: argument content: it is required and missing"),
        (["agent-2:say", "text=a", "times=b"], "praxis: agent-2:say: argument times: expected "),
        (["a:b:c:d"], "praxis: 'a:b:c:d' is not the name of a tool (write NAME"),
        (["nope"], "praxis: no tool 'nope' can be reached ("),
    ):
        ended = ask("call", *arguments)
        assert ended.err.startswith(said), ended.err
        assert (ended.out, "line 1" in ended.err) == ("", False)


def test_help_is_data_and_names_the_codes(praxis: Praxis) -> None:
    said = praxis("--help")
    assert (said.code, said.err) == (OK, "")
    for word in (
        "2 usage",
        "3 not reachable",
        "4 denied",
        "5 timed out",
        "130 interrupted, 143 terminated",
        "healthcheck",
        "exec",
    ):
        assert word in said.out


@pytest.mark.parametrize("argument", ["x", "=v", "a b=c", "a\n=c"])
def test_an_argument_of_a_tool_is_key_and_value(ask: Praxis, argument: str) -> None:
    assert failed(ask("call", "list_files", argument), USAGE, "is no argument: write k=v")


@pytest.mark.parametrize("program", ["CALL", "", "CALL list_files }", "CALL ${", "CALL a\udcff"])
def test_a_program_that_cannot_be_read_is_2_with_its_place(ask: Praxis, program: str) -> None:
    for verb in ("exec", "plan"):
        assert failed(ask(verb, program), USAGE, "line 1, column" if program else "body.dsl")


def test_a_program_that_is_no_text_is_2(ask: Praxis) -> None:
    assert failed(ask("exec", "-", stdin=b"CALL \xff"), USAGE, "not UTF-8 text: byte 6")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://127.0.0.1",
            "127.0.0.1:8000",
            "http://",
            "http://h:99999",
            "http://h:port",
            "http://[::1",
            "http://a b",
        ),
        *("http://127.0.0.1:1/api", "http://127.0.0.1:1?x", "http://a..b", f"http://{'a' * 64}"),
    ],
)
def test_what_is_no_address_is_2(praxis: Praxis, url: str) -> None:
    assert failed(praxis("peers", "--url", url), USAGE, "is no address of an agent: write http://HOST:PORT")


@pytest.mark.parametrize("token", ["pxt1-a\n", "a\r\nX: y", "pxt1-é", "\u2192"])
def test_a_token_that_cannot_be_sent_is_2_and_not_shown(
    ask: Praxis, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("PRAXIS_TOKEN", token)
    said = ask("peers")
    assert failed(said, USAGE, "PRAXIS_TOKEN holds a character")
    assert "pxt1-a" not in said.err and "é" not in said.err


# -- 3: not reachable -----------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[str]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and never listening: every connection is refused
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_nobody_there_is_3(praxis: Praxis, nobody: str, arguments: list[str]) -> None:
    assert failed(praxis(*arguments, "--url", nobody), UNREACHABLE, f"no agent answers at {nobody}: Connection refused")
    assert failed(praxis(*arguments, "--agent", "none"), UNREACHABLE, "no agent 'none' runs here: there is neither /")


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"<html>\x1b[31m", "text/html"), (b"[]", "application/json"), (b"{}", "application/json"), (b"1", "text/json")],
)
def test_somebody_else_there_is_3(praxis: Praxis, arguments: list[str], body: bytes, content_type: str) -> None:
    with answering(body, content_type=content_type) as server:
        assert failed(praxis(*arguments, "--url", server.url), UNREACHABLE, "what answers there is no agent (HTTP 200)")


def test_an_agent_that_hangs_up_is_3(praxis: Praxis) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        listener.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "praxis", "peers", "--url", url], cwd=ROOT, stderr=subprocess.PIPE, text=True
        ) as asking:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
            _, said = asking.communicate(timeout=PATIENCE)
    assert asking.returncode == UNREACHABLE
    assert said.startswith(f"praxis: no agent answers at {url}: ")


def test_a_connection_that_the_kernel_gives_up_is_3_also_without_a_deadline(
    praxis: Praxis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any, **__: Any) -> socket.socket:
        raise TimeoutError(110, "Connection timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    assert failed(praxis("exec", "CALL t", "--url", "http://192.0.2.1"), UNREACHABLE, "Connection timed out")


# -- 4 and 5, and what an agent answers -----------------------------------------------------------


def test_without_the_right_is_4(ask: Praxis, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRAXIS_TOKEN", TokenStore(network.state(1) / "tokens.json").new("viewer"))
    assert ask("peers").code == OK
    assert failed(ask("exec", "CALL list_files"), DENIED, "the role viewer may not run")
    assert failed(ask("call", "list_files"), DENIED, "praxis token new --role")
    monkeypatch.setenv("PRAXIS_TOKEN", "pxt1-wrong")
    assert failed(ask("peers"), DENIED, "this token is not known here")
    assert ask("status").code == OK


def test_a_run_that_takes_too_long_is_5_and_ends_where_it_runs(ask: Praxis, network: Network) -> None:
    for arguments in (["call", "agent-2:wait"], ["exec", "CALL agent-2:wait"]):
        network.odd.ended.clear()
        said = ask(*arguments, "--timeout", "0.1")
        assert said.code == TIMED_OUT
        assert said.err.startswith("praxis: run ")
        assert network.odd.ended.wait(PATIENCE)


@pytest.mark.parametrize("arguments", [*ASKING[:4], ASKING[6]], ids=" ".join)
def test_an_agent_that_does_not_answer_is_5(praxis: Praxis, arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = praxis(*arguments, "--url", url, "--timeout", "0.05")
        assert failed(said, TIMED_OUT, f"{url} did not answer within 0.05 s")


@pytest.mark.parametrize(
    ("status", "problem", "code"),
    [
        (400, {"code": "syntax", "detail": "wrong", "where": "line 1, column 2", "hint": "right"}, USAGE),
        (400, {"code": "invalid", "detail": "wrong"}, USAGE),
        (400, {"code": "other", "title": "wrong"}, FAILED),
        (401, {"detail": "wrong"}, DENIED),
        (403, {"detail": "wrong"}, DENIED),
        (421, {"detail": "wrong"}, DENIED),
        (404, {"detail": "wrong"}, FAILED),
        (409, {"detail": "wrong"}, FAILED),
        (429, {"detail": "wrong"}, FAILED),
        (500, {"detail": "wrong"}, FAILED),
        (504, {"detail": "wrong"}, TIMED_OUT),
        (302, {}, FAILED),
        (500, {"detail": EVIL}, FAILED),
        (500, [EVIL], FAILED),
    ],
)
def test_a_problem_of_the_agent_is_told_with_its_code(praxis: Praxis, status: int, problem: Any, code: int) -> None:
    with answering(json.dumps(problem).encode(), status, "application/problem+json") as server:
        said = praxis("peers", "--url", server.url)
    detail = (
        problem.get("detail") or problem.get("title") or str(status) if isinstance(problem, dict) else f"HTTP {status}"
    )
    assert failed(said, code, detail.split("\x1b")[0])
    assert [c for c in said.err if not c.isprintable() and c != "\n"] == []
    if isinstance(problem, dict) and "hint" in problem:
        assert said.err == "praxis: line 1, column 2: wrong (right)\n"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 200_000, b"9" * 5000], ids=["cut", "bytes", "deep", "long"])
def test_json_that_is_none_is_1(praxis: Praxis, body: bytes) -> None:
    with answering(body) as server:
        assert failed(praxis("peers", "--url", server.url), FAILED, "something that is not JSON")


# -- monitoring -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "code", "line"),
    [
        (200, b"OK - a, 1 of 1 peers | peers=1\nmore", 0, "PRAXIS OK - a, 1 of 1 peers | peers=1"),
        (200, b"WARNING - \x1b[31m", 1, "PRAXIS WARNING -  [31m"),
        (503, b"CRITICAL - down", 2, "PRAXIS CRITICAL - down"),
        (502, b"<html>", 2, "PRAXIS CRITICAL - what answers there is no agent (HTTP 502)"),
        (200, b"<html>", 3, "PRAXIS UNKNOWN - what answers there is no agent (HTTP 200)"),
        (200, b"OKAY", 3, "PRAXIS UNKNOWN - what answers there is no agent (HTTP 200)"),
    ],
)
def test_healthcheck_has_the_codes_of_monitoring_plugins(
    praxis: Praxis, status: int, body: bytes, code: int, line: str
) -> None:
    with answering(body, status, "text/plain") as server:
        said = praxis("healthcheck", "--url", server.url)
        form = praxis("healthcheck", "--url", server.url, "-o", "json")
    assert (said.code, said.out, said.err) == (code, line + "\n", "")
    assert (form.code, json.loads(form.out)["state"]) == (code, line.split()[1])
    assert server.requests[0][2]["Accept"] == "text/plain; profile=monitoring-plugin"


def test_healthcheck_of_nobody_is_critical_and_of_no_address_unknown(praxis: Praxis, nobody: str) -> None:
    said = praxis("healthcheck", "--url", nobody)
    assert (said.code, said.err) == (2, "")
    assert said.out.startswith(f"PRAXIS CRITICAL - no agent answers at {nobody}: Connection refused")
    said = praxis("healthcheck", "--url", "ftp://x")
    assert (said.code, said.out.split(" - ")[0]) == (3, "PRAXIS UNKNOWN")


# -- 130, and output that nobody takes: real processes --------------------------------------------

ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, INTERRUPTED, "interrupted"), (signal.SIGTERM, TERMINATED, "terminated")],
)
@pytest.mark.parametrize("arguments", [["exec", "CALL agent-2:wait"], ["call", "agent-2:wait"]], ids=["exec", "call"])
def test_a_signal_cancels_where_the_tool_runs(
    network: Network, arguments: list[str], number: int, code: int, word: str
) -> None:
    odd = network.odd
    odd.started.clear()
    odd.ended.clear()
    with subprocess.Popen(
        [sys.executable, "-m", "praxis", *arguments, "--url", network.url(1)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asking:
        assert odd.started.wait(PATIENCE)
        asking.send_signal(number)
        out, err = asking.communicate(timeout=PATIENCE)
    assert (asking.returncode, out) == (code, "")
    assert err == f"praxis: {word}; what the agent ran for it is cancelled\n"
    assert odd.ended.wait(PATIENCE)


BUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])


@BUFFERED
def test_output_that_cannot_be_written_is_1_and_told_once(unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = version(full, unbuffered)
    assert (done.returncode, done.stderr) == (FAILED, "praxis: [Errno 28] No space left on device\n")


@BUFFERED
def test_a_reader_that_has_gone_is_1_without_a_word(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = version(pipe, unbuffered)
    assert (done.returncode, done.stderr) == (FAILED, "")


def version(output: IO[bytes], unbuffered: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "praxis", "version"]
    environ = {**ENVIRON, "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.PIPE, text=True)


def test_what_a_terminal_cannot_show_is_no_failure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "praxis", "config", "show", "--set", "agent.description=\u2192"],
        cwd=ROOT,
        env={**ENVIRON, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (OK, "")
    assert "description: \\u2192\n" in done.stdout
