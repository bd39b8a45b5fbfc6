"""scripts/healthcheck.sh against a real agent and against everything else that may be at its port."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from praxis import dev
from tests.agent.test_agent_daemon import ROOT

SCRIPT = ROOT / "scripts" / "healthcheck.sh"


def check(*arguments: str, **environ: str) -> tuple[int, str]:
    """Exit code and the one line that it prints."""
    done = subprocess.run(
        [SCRIPT, *arguments], env={"PATH": "/usr/bin:/bin", **environ}, capture_output=True, text=True, timeout=20
    )
    assert done.stderr == ""
    assert done.stdout.startswith("PRAXIS ")
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """The URL of a server that gives this answer to one request; None: it keeps the line open and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = b""

        def serve() -> None:
            nonlocal heard
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    while b"\r\n\r\n" not in heard:
                        heard += connection.recv(4096)
                    if answer is None:
                        connection.recv(1)  # until the other side gives up
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        thread.join(10)
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in heard


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\n\r\n{body}\n".encode()


async def test_a_healthy_agent_is_ok_with_performance_data(tmp_path: Path) -> None:
    async with dev.network(1, tmp_path) as (one,):
        assert one.addresses.http is not None
        host, port = one.addresses.http
        url = f"http://{host}:{port}"
        code, line = await trio.to_thread.run_sync(lambda: check("-u", url + "/"))
        assert code == 0
        assert line.startswith("PRAXIS OK - ")
        assert "| peers=0 tools=" in line
        code, _ = await trio.to_thread.run_sync(lambda: check(PRAXIS_URL=url))
        assert code == 0


@pytest.mark.parametrize(
    ("status", "body", "code", "in_container"),
    [
        ("200 OK", "OK - fine | peers=1", 0, 0),
        ("200 OK", "WARNING - a tool server is down | peers=1", 1, 0),
        ("503 Service Unavailable", "CRITICAL - no listener | peers=0", 2, 1),
        ("200 OK", "<html>welcome</html>", 3, 1),
        ("200 OK", "CRITICAL - but with the wrong status", 3, 1),
        ("404 Not Found", "OK - but with the wrong status", 3, 1),
    ],
)
def test_the_code_is_what_the_agent_says(status: str, body: str, code: int, in_container: int) -> None:
    with answering(http(status, body)) as url:
        told, line = check("-u", url)
    assert told == code
    assert (body in line) == (code < 3)
    with answering(http(status, body)) as url:
        assert check("-d", "-u", url)[0] == in_container


async def test_an_agent_that_knows_no_such_name_says_which_setting_helps(tmp_path: Path) -> None:
    async with dev.network(1, tmp_path) as (one,):
        assert one.addresses.http is not None
        url = f"http://127.1:{one.addresses.http[1]}"  # the same place by another name
        code, line = await trio.to_thread.run_sync(lambda: check("-u", url))
    assert code == 3
    assert "access.allowed_hosts" in line


def test_control_characters_do_not_reach_the_terminal() -> None:
    with answering(http("200 OK", "OK - \x1b[31mred\x07 | x=1")) as url:
        code, line = check("-u", url)
    assert code == 0
    assert line.isprintable()


def test_no_agent_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert check("-u", url) == (2, f"PRAXIS CRITICAL - nothing listens at {url}; is the agent running?")
    assert check("-d", "-u", url)[0] == 1


def test_an_agent_that_does_not_answer_in_time() -> None:
    with answering(None) as url:
        code, line = check("-u", url, "-t", "1")
    assert code == 2
    assert "within 1 s" in line


@pytest.mark.parametrize("answer", [b"", b"\x00\x01\x02\xff" * 10_000])
def test_something_that_is_no_agent(answer: bytes) -> None:
    with answering(answer) as url:
        code, line = check("-u", url)
    assert code == 3
    assert "no agent answers" in line


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["-u", "https://localhost"], "write http://HOST"),
        (["-u", "http://a b"], "write http://HOST"),
        (["-u", "http://x/$(id)"], "write http://HOST"),
        (["-t", "0"], "write whole seconds"),
        (["-t", "1;id"], "write whole seconds"),
        (["more"], "unknown argument more"),
    ],
)
def test_wrong_use_is_unknown(arguments: list[str], what: str) -> None:
    code, line = check(*arguments)
    assert code == 3
    assert what in line
    assert "uid=" not in line


def test_the_usage_is_shown() -> None:
    done = subprocess.run([SCRIPT, "-h"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 3
    for option in ("-u", "-t", "-d"):
        assert f"\n  {option}  " in done.stdout
