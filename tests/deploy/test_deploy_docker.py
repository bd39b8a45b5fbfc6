"""The delivery in a real engine: the image out of the Containerfile, the two agents of compose.yaml, a call across.

with_docker.sh makes the engine, in a network namespace of its own, and takes everything away again when its standard
input ends, also if that is because this process has died.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from praxis.config.schema import Agent
from tests.deploy.engines import ROOT, Engine, needed

pytestmark = needed

AGENTS = ("agent1", "agent2")


@pytest.fixture(scope="module")
def token(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The two agents of compose.yaml, up and healthy, and a token for them."""
    folder = tmp_path_factory.mktemp("nothing-else")
    script = folder / "scripts" / "compose-secrets.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "scripts" / "compose-secrets.sh", script)  # where there is no .venv, so the image does it
    engine.env["PRAXIS_SECRETS"] = str(folder / "secrets")
    token = engine.run(script)
    try:
        up = engine.try_run("docker", "compose", "up", "--detach", "--no-build", "--wait", "--wait-timeout", "90")
        logs = "" if up.returncode == 0 else engine.run("docker", "compose", "logs")
        assert up.returncode == 0, f"{up.stderr}\n{logs}"
        yield token
    finally:
        engine.run("docker", "compose", "down", "--volumes", "--timeout", "20")


def execute(engine: Engine, dsl: str, *arguments: str) -> tuple[int, Any]:
    """Status and body of POST /execute on agent 1, over the published port."""
    told = engine.run(
        *("curl", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}"),
        *("--header", "content-type: application/json", "--data-binary", json.dumps({"dsl": dsl}), *arguments),
        "http://localhost:8000/execute",
    )
    body, _, status = told.rpartition("\n")
    return int(status), json.loads(body)


def wait_for_call(engine: Engine, token: str, dsl: str) -> Any:
    """The run of a call that another agent has to answer: what happens when they have just started."""
    deadline = time.monotonic() + 30
    while True:
        status, body = execute(engine, dsl, "--header", f"authorization: Bearer {token}")
        if status == 200 and body["status"] == "succeeded":
            return body
        assert time.monotonic() < deadline, body
        time.sleep(0.2)


def test_both_are_healthy(engine: Engine, token: str) -> None:
    for name in AGENTS:
        state = engine.inspect(name)["State"]
        assert state["Health"]["Status"] == "healthy"
        assert "PRAXIS" in state["Health"]["Log"][-1]["Output"]


def test_a_call_on_agent_1_runs_on_agent_2(engine: Engine, token: str) -> None:
    run = wait_for_call(engine, token, 'CALL write_file hello.txt "hi"')
    assert run["steps"][0]["route"]["agent"] == "praxis-agent-2"
    assert engine.run("docker", "compose", "exec", "-T", "agent2", "cat", "/srv/praxis/hello.txt") == "hi"


def test_the_command_line_reaches_them_from_outside_and_inside(engine: Engine, token: str) -> None:
    wait_for_call(engine, token, 'CALL write_file hello.txt "hi"')
    praxis = ROOT / ".venv" / "bin" / "praxis"
    url = "http://127.0.0.1:8000"
    assert "hi" in engine.run(praxis, "call", "read_file", "filename=hello.txt", PRAXIS_URL=url, PRAXIS_TOKEN=token)
    denied = engine.try_run(praxis, "call", "read_file", "filename=hello.txt", "--url", url)
    assert denied.returncode == 4
    inside = ("docker", "compose", "exec", "-T", "agent1", "praxis")
    assert "praxis-agent-2" in engine.run(*inside, "peers")
    assert "hi" in engine.run(*inside, "exec", "CALL read_file hello.txt")
    by_name = (*inside[:-1], "env", f"PRAXIS_TOKEN={token}", "praxis", "tools", "--url", "http://agent2:8001")
    assert "write_file" in engine.run(*by_name)


def test_the_commands_of_the_documentation(engine: Engine, token: str) -> None:
    """All of docs/deployment.md between starting and stopping the agents; those two are what the fixture does."""
    block = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs" / "deployment.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    commands = [line.partition("  #")[0] for line in block.replace("\\\n", " ").splitlines()]
    between = commands[2:-1]
    assert commands[1].startswith("docker compose up")
    assert commands[-1].startswith("docker compose down")
    assert len(between) == 3
    wait_for_call(engine, token, "CALL list_files")
    for command in between:
        told = engine.run("bash", "-c", command.replace("exec agent", "exec -T agent"), TOKEN=token)
        assert "praxis-agent-2" in told, command


def test_strangers_are_refused(engine: Engine, token: str) -> None:
    dsl = 'CALL write_file stranger.txt "x"'
    assert execute(engine, dsl)[0] == 401
    assert execute(engine, dsl, "--header", "authorization: Bearer pxt1-wrong")[0] == 401
    credentials = ("--header", f"authorization: Bearer {token}")
    assert execute(engine, dsl, *credentials, "--header", "host: rebound.example")[0] == 421
    assert execute(engine, dsl, *credentials, "--header", "origin: https://rebound.example")[0] == 403
    assert not engine.try_run("docker", "compose", "exec", "-T", "agent2", "ls", "/srv/praxis/stranger.txt").stdout


def test_the_containers_are_closed(engine: Engine, token: str) -> None:
    for name in AGENTS:
        container = engine.inspect(name)
        assert container["Config"]["User"] == "10001:10001"
        assert container["HostConfig"]["ReadonlyRootfs"] is True
        assert not [mount for mount in container["Mounts"] if mount["Source"].endswith(".sock")]
        ports = [binding for bindings in container["NetworkSettings"]["Ports"].values() for binding in bindings or []]
        assert len(ports) == 4
        assert {binding["HostIp"] for binding in ports} == {"127.0.0.1"}

        inside = ("docker", "compose", "exec", "-T", name)
        assert engine.run(*inside, "id", "-u") == "10001"
        for folder in ("/app", "/opt/praxis", "/etc"):
            refused = engine.try_run(*inside, "touch", f"{folder}/x")
            assert "Read-only file system" in refused.stderr
        # Process 1 is the init; every process of the agent runs with no capability and can gain none.
        status = engine.run(*inside, "sh", "-c", "cat /proc/[0-9]*/status")
        assert set(re.findall(r"^(?:CapEff|CapPrm|CapBnd):\s+(\S+)", status, re.MULTILINE)) == {"0" * 16}
        assert set(re.findall(r"^NoNewPrivs:\s+(\S+)", status, re.MULTILINE)) == {"1"}
        assert {uid for uids in re.findall(r"^Uid:\s+(.*)$", status, re.MULTILINE) for uid in uids.split()} == {"10001"}


def test_secrets_stay_out_of_image_environment_and_logs(engine: Engine, token: str) -> None:
    key = Path(engine.env["PRAXIS_SECRETS"], "network.key").read_text().strip()
    told = engine.run("docker", "compose", "logs") + engine.run("docker", "inspect", "praxis:local")
    told += "".join(json.dumps(engine.inspect(name)) for name in AGENTS)
    assert "is ready" in told
    assert key not in told
    assert token not in told


def test_a_new_token_works_at_once(engine: Engine, token: str) -> None:
    wait_for_call(engine, token, 'CALL write_file hello.txt "hi"')
    done = engine.run(ROOT / "scripts" / "compose-secrets.sh", "token", "operator", "second")
    status, run = execute(engine, "CALL read_file hello.txt", "--header", f"authorization: Bearer {done}")
    assert (status, run["status"]) == (200, "succeeded")


def test_one_container_by_itself(engine: Engine, token: str) -> None:
    """As docs/deployment.md has it: closed until there is a token, healthy, and gone when it is told to."""
    closed = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--volume", "single:/var/lib/praxis")
    open_to_others = ("--env", "HTTP_HOST=0.0.0.0", "--publish", "127.0.0.1:8010:8000")
    refused = engine.try_run("docker", "run", "--rm", *closed, *open_to_others, "praxis:local")
    assert refused.returncode == 2
    assert "praxis token new" in refused.stderr
    own_token = engine.run("docker", "run", "--rm", *closed, "praxis:local", "token", "new")
    name = engine.run("docker", "run", "--detach", *closed, *open_to_others, "praxis:local")
    try:
        deadline = time.monotonic() + 20
        while engine.try_run("docker", "exec", name, "/app/scripts/healthcheck.sh", "-d").returncode:
            assert time.monotonic() < deadline, engine.run("docker", "logs", name)
            time.sleep(0.2)
        bad = engine.try_run("docker", "exec", name, "/app/scripts/healthcheck.sh", "-u", "http://127.0.0.1:1", "-d")
        assert bad.returncode == 1, "2 is reserved"
        praxis = (ROOT / ".venv" / "bin" / "praxis", "tools", "--url", "http://127.0.0.1:8010")
        engine.run(*praxis, PRAXIS_TOKEN=own_token)
        assert engine.try_run(*praxis).returncode == 4
        engine.run("docker", "stop", name)
        assert json.loads(engine.run("docker", "inspect", name))[0]["State"]["ExitCode"] == 0
    finally:
        engine.run("docker", "rm", "--force", name)
        engine.run("docker", "volume", "rm", "single")


def test_an_agent_that_comes_back_is_found_again(engine: Engine, token: str) -> None:
    wait_for_call(engine, token, 'CALL write_file kept.txt "kept"')
    engine.run("docker", "compose", "restart", "agent2")
    run = wait_for_call(engine, token, "CALL read_file kept.txt")
    assert "kept" in json.dumps(run["steps"][0]["result"])


def test_they_stop_within_the_grace(engine: Engine, token: str) -> None:
    started = time.monotonic()
    engine.run("docker", "compose", "stop")
    assert time.monotonic() - started < Agent().stop_grace
    for name in AGENTS:
        state = engine.inspect(name)["State"]
        assert state["ExitCode"] == 0
        assert state["OOMKilled"] is False
