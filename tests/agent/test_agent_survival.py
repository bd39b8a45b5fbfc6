"""An agent that is killed at any moment has lost nothing that it has said, and repeats nothing that it must not."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from tests.agent.test_agent_daemon import ROOT, Daemon, Start, descendants, get, start, until, until_tool
from tests.support.processes import alive

__all__ = ["start"]  # the fixture

KILLS = 50 if os.environ.get("PRAXIS_FULL") else 5
SEED = 1815
WITNESS = Path(__file__).parents[1] / "support" / "servers" / "witness.py"
NOT_KNOWN = "whether it happened is not known"

STEPS = {
    "a": [f"s{number}" for number in range(1, 9)],
    "b": ["s1", "s2", "s3", *(f"s5[{round}]" for round in range(5)), "s6"],
    "c": [f"s{number}" for number in range(1, 8)],
}
"""The steps of each program, as the agent names them and the witness notes them."""


def program(kind: str, label: str, chance: random.Random) -> str:
    """`a` may do nothing twice, `b` anything, `c` is both."""

    def call(tool: str, step: str) -> str:
        return f"CALL {tool} {step} {chance.randint(0, 3)} {chance.randint(0, 3)}"

    def named(tool: str, number: int) -> str:
        return call(tool, f"{label}-s{number}")

    if kind == "a":
        return "\n".join(named("note", number) for number in range(1, 9))
    if kind == "b":
        rounds = json.dumps([f"{label}-s5[{round}]" for round in range(5)])
        block = "; ".join(named("put", number) for number in (1, 2, 3))
        return f"PARALLEL {{ {block} }}\nFOREACH n IN '{rounds}' {{ {call('put', '${n}')} }}\n{named('put', 6)}"
    block = f"{named('note', 1)}; {named('put', 2)}; SEQUENCE {{ {named('note', 3)}; {named('put', 4)} }}"
    return f"PARALLEL {{ {block}; {named('note', 5)} }}\n{named('note', 6)}\n{named('put', 7)}"


@attrs.define
class Heard:
    """What an agent has said over HTTP, up to its end."""

    finished: dict[str, set[str]] = attrs.field(factory=dict)
    """Steps that have succeeded, by run."""
    ended: dict[str, str] = attrs.field(factory=dict)
    """Runs and how they ended."""
    count: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    """Released for each step that has ended."""

    def take(self, type: str, event: dict[str, Any]) -> None:
        run, fields = event["run_id"], event["fields"]
        self.finished.setdefault(run, set())
        if type == "run.finished":
            self.ended[run] = fields["state"]
        elif type == "step.finished":
            assert fields["state"] == "succeeded", event
            self.finished[run].add(fields["step"])
            self.count.release()


@contextmanager
def listening(daemon: Daemon) -> Iterator[Heard]:
    """Hears what the agent says, from now until it ends; the block has to end it."""
    heard = Heard()
    host, port = daemon.ready["http"]
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request("GET", "/events?types=run,step.finished")
    answer = connection.getresponse()

    def read() -> None:
        with suppress(ConnectionError, http.client.IncompleteRead):
            type = ""
            while line := answer.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    type = value
                elif name == "data":
                    heard.take(type, json.loads(value))

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        yield heard
        reading.result()
    connection.close()


@attrs.frozen
class Killing:
    """Lives of one agent, one after the other, on one state directory."""

    start: Start
    folder: Path

    @property
    def witness(self) -> Path:
        return self.folder / "witness"

    @property
    def hold(self) -> Path:
        """Names the steps that get no answer."""
        return self.folder / "witness.hold"

    def live(self, *settings: str) -> Daemon:
        config = f"""
mcp:
  servers:
    - name: witness
      command: {sys.executable}
      args: ["-S", {WITNESS}, {self.witness}]
"""
        daemon = self.start("p2p.enabled=false", *settings, config=config)
        until_tool(daemon, "note")
        return daemon

    def kill(self, daemon: Daemon, children: list[int]) -> None:
        daemon.stop(signal.SIGKILL)
        # What the server has read already it still does, and that counts.
        until(lambda: not any(alive(child) for child in children))

    def noted(self, label: str) -> Counter[str]:
        """How often each step of a run stands in the witness."""
        lines = self.witness.read_text().split() if self.witness.exists() else []
        return Counter(line.removeprefix(f"{label}-") for line in lines if line.startswith(f"{label}-"))


def praxis(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    host, port = daemon.ready["http"]
    command = [sys.executable, "-m", "praxis", *arguments, "--url", f"http://{host}:{port}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def runs_of(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """Every run by its label."""
    runs = get(daemon, "/runs?limit=500")["runs"]
    return {re.findall(r"k\d+[abc]", run["program"])[0]: run for run in runs}


def execute(daemon: Daemon, text: str, **secrets: str) -> dict[str, Any] | None:
    """The run, if the agent has lived to its end."""
    with suppress(ConnectionError, http.client.HTTPException):
        status, run = daemon.post("/execute", {"dsl": text, "secrets": secrets})
        assert status == 200, run
        return dict(run)
    return None


def test_what_was_said_before_a_kill_holds_after_it(start: Start, tmp_path: Path) -> None:
    chance, lives, happened = random.Random(SEED), Killing(start, tmp_path), Counter[str]()
    daemon = lives.live()
    for number in range(KILLS):
        labels = [f"k{number}{kind}" for kind in STEPS]
        texts = [program(label[-1], label, chance) for label in labels]
        after, more = chance.randrange(sum(map(len, STEPS.values()))), chance.uniform(0, 0.006)
        children = descendants(daemon.process.pid)
        with ThreadPoolExecutor(len(texts)) as callers, listening(daemon) as heard:
            asked = [callers.submit(execute, daemon, text) for text in texts]
            for _ in range(after):
                assert heard.count.acquire(timeout=20)
            time.sleep(more)  # somewhere between two events
            lives.kill(daemon, children)
        answers = [answer for caller in asked if (answer := caller.result()) is not None]

        daemon = lives.live()
        kept = runs_of(daemon)
        assert heard.finished.keys() <= {run["run_id"] for run in kept.values()}, "a run that began is not kept"
        for answer in answers:
            assert heard.ended.setdefault(answer["run_id"], answer["status"]) == answer["status"]
        for label in labels:
            if label in kept:
                happened += go_on(lives, daemon, label, kept[label]["run_id"], heard, chance)
            else:
                assert not lives.noted(label), "a tool was called for a run that is not kept"
        happened["kills"] += 1
    print(", ".join(f"{count} {what}" for what, count in sorted(happened.items())))
    assert happened["interrupted"] and happened["resumed"] and happened["steps told"]
    assert KILLS < 50 or (happened["refused"] and happened["repeated"] and happened["in flight"])


def go_on(lives: Killing, daemon: Daemon, label: str, run_id: str, heard: Heard, chance: random.Random) -> Counter[str]:
    """Look at a run after the restart, go on with it, and count what happened."""
    run, noted, told = get(daemon, f"/runs/{run_id}"), lives.noted(label), heard.finished.get(run_id, set())
    states = {step["id"]: step["state"] for step in run["steps"]}
    tools = {step["id"]: step["tool"] for step in run["steps"]}
    done = {id for id, state in states.items() if state == "succeeded"}
    flying = {id for id, state in states.items() if state == "interrupted"}
    assert told <= done, "a step that was told to have ended has not"
    assert all(noted[id] == 1 for id in done), (label, noted, states)
    assert noted.keys() <= done | flying, "a tool was called before its step was kept"
    assert all(noted[id] <= 1 for id in flying)
    happened = Counter({"steps told": len(told), "in flight": len(flying)})
    if run_id in heard.ended or run["status"] == "succeeded":
        assert run["status"] == heard.ended.get(run_id, "succeeded") == "succeeded"
        assert not flying
        happened["ended before"] += 1
    else:
        assert run["status"] == "interrupted"
        happened["interrupted"] += 1
        went_on = praxis(daemon, "runs", "resume", run_id)
        if any(tools[id] == "note" for id in flying):
            assert went_on.returncode == 1
            assert NOT_KNOWN in went_on.stderr
            assert get(daemon, f"/runs/{run_id}")["status"] == "interrupted"
            assert lives.noted(label) == noted, "it was refused, and yet a tool was called"
            happened["refused"] += 1
            if chance.random() < 0.5:
                assert praxis(daemon, "runs", "cancel", run_id).returncode == 0
                assert get(daemon, f"/runs/{run_id}")["status"] == "cancelled"
                assert lives.noted(label) == noted
                happened["cancelled"] += 1
                return happened
            went_on = praxis(daemon, "runs", "resume", run_id, "--repeat")
            happened["repeated"] += 1
        assert went_on.returncode == 0, went_on.stderr
        assert get(daemon, f"/runs/{run_id}")["status"] == "succeeded"
        happened["resumed"] += 1
    once, twice = lives.noted(label), {id: 1 + noted[id] for id in flying}
    assert once == {id: twice.get(id, 1) for id in STEPS[label[-1]]}
    return happened


def test_runs_go_on_by_themselves_where_nothing_can_happen_twice(start: Start, tmp_path: Path) -> None:
    lives = Killing(start, tmp_path)
    lives.hold.write_text("k0a-s2 k0b-s2 k0c-s1")
    daemon = lives.live()
    texts = {
        f"k0{kind}": f"CALL note k0{kind}-s1\nCALL {tool} k0{kind}-s2\nCALL note k0{kind}-s3"
        for kind, tool in (("a", "note"), ("b", "put"))
    }
    texts["k0c"] = "CALL put k0c-s1\nCALL note ${secrets.key}"
    with ThreadPoolExecutor(len(texts)) as callers:
        for text in texts.values():
            callers.submit(execute, daemon, text, key="k0c-s2")
        until(lambda: lives.noted("k0a")["s2"] and lives.noted("k0b")["s2"] and lives.noted("k0c")["s1"])
        lives.kill(daemon, descendants(daemon.process.pid))
    lives.hold.unlink()

    daemon = lives.live("runs.on_restart=resume")
    ids = {label: run["run_id"] for label, run in runs_of(daemon).items()}
    until(lambda: runs_of(daemon)["k0b"]["status"] == "succeeded")
    until(lambda: runs_of(daemon)["k0c"]["status"] == "needs secrets")
    assert lives.noted("k0b") == {"s1": 1, "s2": 2, "s3": 1}
    assert runs_of(daemon)["k0a"]["status"] == "interrupted"
    assert lives.noted("k0a") == {"s1": 1, "s2": 1}
    (tmp_path / "key").write_text("k0c-s2\n")
    done = praxis(daemon, "runs", "resume", ids["k0c"], "--secret", f"key=@{tmp_path / 'key'}")
    assert done.returncode == 0, done.stderr
    assert "k0c-s2" not in done.stdout, "it is a secret"
    assert lives.noted("k0c") == {"s1": 2, "s2": 1}


def test_a_run_survives_being_killed_again_while_it_goes_on(start: Start, tmp_path: Path) -> None:
    lives, label = Killing(start, tmp_path), "k0b"
    text = "\n".join(f"CALL put {label}-s{number}" for number in range(1, 7))
    daemon, run_id = lives.live(), ""
    for held, told in (("s2", {"s1"}), ("s4", {"s2", "s3"}), ("s6", {"s4", "s5"})):
        lives.hold.write_text(f"{label}-{held}")
        children = descendants(daemon.process.pid)
        with ThreadPoolExecutor(1) as caller, listening(daemon) as heard:
            if run_id:
                caller.submit(praxis, daemon, "runs", "resume", run_id)
            else:
                caller.submit(execute, daemon, text)
            until(lambda held=held: lives.noted(label)[held])  # type: ignore[misc]
            for _ in told:
                assert heard.count.acquire(timeout=20)
            lives.kill(daemon, children)
        ((run_id, finished),) = heard.finished.items()
        assert finished == told
        daemon = lives.live()
        assert runs_of(daemon)[label]["status"] == "interrupted"
    lives.hold.unlink()
    assert praxis(daemon, "runs", "resume", run_id).returncode == 0
    assert lives.noted(label) == {"s1": 1, "s2": 2, "s3": 1, "s4": 2, "s5": 1, "s6": 2}
