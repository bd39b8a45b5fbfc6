"""What docs/a2a.md says is so: its examples against a real agent, its tables against the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from praxis.api import a2a_routes, a2a_stream
from praxis.api.a2a import MAX_WHOLE
from praxis.config.load import load
from praxis.dsl.parser import parse
from praxis.tools import a2a_call, a2a_source
from praxis.wire import a2a
from praxis.wire.a2a_task_view import MAX_KEPT
from praxis.wire.a2a_tasks import MAX_HISTORY, TASK_STATES
from praxis.workflow.planner import plan
from tests.api.api_kit import Reply, Served, serving

TEXT = (Path(__file__).parents[2] / "docs" / "a2a.md").read_text()
COMMANDS = re.findall(r"^```\n(curl .*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def run(command: str, agent: Served) -> Reply:
    """What curl would do."""
    words = iter(shlex.split(command)[1:])
    path, headers, body = "", dict[str, str](), None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word.startswith("http://127.0.0.1:8000"):
            path = word.removeprefix("http://127.0.0.1:8000")
        else:
            assert word in ("-s", "-si")
    return agent.ask("GET" if body is None else "POST", path, body, headers)


def test_the_examples_are_answered(tmp_path: Path) -> None:
    with serving(tmp_path) as agent:
        sent, card, bare = (run(command, agent) for command in COMMANDS)
    assert sent.json["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert card.headers["ETag"]
    assert f"kept for {a2a_routes.CARD_AGE} s" in TEXT
    assert (bare.json["kind"], bare.json["status"]["state"]) == ("task", "completed")


def test_the_methods_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`([\w/]+)` )?\|", TEXT, re.MULTILINE)
    assert {new for new, _ in rows} == set(a2a.METHODS["1.0"])
    assert {old for _, old in rows if old} == set(a2a.METHODS["0.3"])


def test_the_states_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \| ([a-z, -]+) \| [^|]*\|$", TEXT, re.MULTILINE)
    told: dict[str, str] = {}
    for runs, tasks in rows:
        names = runs.split(", ")
        states = tasks.split(", ")
        told |= dict(zip(names, states if len(states) > 1 else states * len(names), strict=True))
    assert {run: task for run, task in told.items() if run in TASK_STATES} == dict(TASK_STATES)


def test_the_codes_and_bounds_are_those_of_the_code() -> None:
    assert all(str(code) in TEXT for code in (*a2a.REASONS, a2a.NOT_NOW))
    assert f"the last {MAX_HISTORY} messages" in TEXT and f"and {MAX_WHOLE} tasks a page" in TEXT
    assert f"streams ({a2a_stream.MAX_STREAMS})" in TEXT


def test_the_example_of_other_agents_loads_and_its_program_means_it(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "agent.yaml"
    file.write_text(example)
    (agent,) = load(file, environ={"HOME": "/home/x", "TRAVEL_TOKEN": "t0ken"}).config.a2a.agents
    assert (agent.name, agent.timeout, agent.headers) == ("travel", 120.0, {"Authorization": "Bearer t0ken"})
    (program,) = re.findall(r"```praxis\n(.*?)```", TEXT, re.DOTALL)
    assert [step.tool for step in plan(parse(program)).calls()] == ["travel:book", f"{agent.url}:ask"]


def test_the_numbers_of_other_agents() -> None:
    said = " ".join(TEXT.split())
    assert f"asking after {a2a_call.FIRST_PAUSE:g} s, and then less often, up to every {a2a_call.MAX_PAUSE:g} s" in said
    assert f"for which there are {a2a_call.CANCEL_LIMIT:g} s" in said
    assert f"more than {MAX_KEPT // 1024**2} MiB" in said
    assert f"looked at every {a2a_source.REFRESH:g} s" in said
    assert f"after {a2a_source.FIRST_PAUSE:g} s, then less often, up to every {a2a_source.MAX_PAUSE:g} s" in said
