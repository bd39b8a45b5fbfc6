"""A2A over real HTTP, in both versions: messages, tasks, streams, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.api import a2a_stream
from praxis.api.a2a import MAX_WHOLE, A2aEndpoint
from praxis.api.route import Call
from praxis.config.schema import Config, Runs
from praxis.model.run import RunRecord
from praxis.wire import a2a
from praxis.wire.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from praxis.workflow.asking import Planned
from tests.api.api_kit import Reply, Served, services_of, serving
from tests.api.test_api_access import allow
from tests.support.network import PATIENCE, connected
from tests.support.processes import wait_until

NEW = {"A2A-Version": "1.0"}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("a2a")) as served:
        yield served


def said(*parts: Any, **more: Any) -> dict[str, Any]:
    """The params of a message of 1.0: texts, and data that are no texts."""
    shown = [{"text": part} if isinstance(part, str) else {"data": part} for part in parts]
    return {"message": {"messageId": "m", "role": "ROLE_USER", "parts": shown, **more}}


def old(text: str, **configuration: Any) -> dict[str, Any]:
    parts = [{"kind": "text", "text": text}]
    message = {"kind": "message", "messageId": "m", "role": "user", "parts": parts}
    return {"message": message, "configuration": configuration}


def request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def rpc(agent: Served, method: str, path: str = "/a2a/v1", /, headers: Any = NEW, **params: Any) -> Any:
    reply = agent.ask("POST", path, request(method, params), dict(headers))
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert (reply.json["jsonrpc"], reply.json["id"]) == ("2.0", 7)
    return reply.json


def result(agent: Served, method: str, **params: Any) -> Any:
    return rpc(agent, method, **params)["result"]


def refusal(agent: Served, method: str, code: int, **params: Any) -> str:
    error = rpc(agent, method, **params)["error"]
    assert error["code"] == code, error
    assert error["message"]
    return str(error["message"])


def begun(agent: Served, program: str = "CALL hold", **more: Any) -> str:
    """A task that is under way, and holds."""
    task = result(agent, "SendMessage", **said(program, **more), configuration={"returnImmediately": True})["task"]
    assert task["status"]["state"] in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")
    assert agent.hand.started.acquire(timeout=PATIENCE)
    return str(task["id"])


def ended(agent: Served, task: str) -> Any:
    """The task, once it has ended."""
    path = f"/runs/{task}"
    trio.run(wait_until, lambda: agent.get(path).json["ended_at"] is not None)
    return result(agent, "GetTask", id=task)


@contextmanager
def streaming(agent: Served, method: str, headers: Any = NEW, **params: Any) -> Iterator[Iterator[Any]]:
    """The results on a stream, as they come."""
    with agent.connection() as connection:
        yield stream_on(connection, method, headers, **params)


def stream_on(connection: HTTPConnection, method: str, headers: Any = NEW, **params: Any) -> Iterator[Any]:
    body = json.dumps(request(method, params))
    connection.request("POST", "/", body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")

    def results() -> Iterator[Any]:
        while line := response.readline():
            if line.startswith(b"data: "):
                answer = json.loads(line[6:])
                assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
                yield answer["result"]

    return results()


# -- sending ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/a2a/v1", "/a2a/v1/", "/execute"])
def test_a_message_is_answered_with_its_ended_task_wherever_it_is_sent(agent: Served, path: str) -> None:
    task = rpc(agent, "SendMessage", path, **said("CALL echo --n 1"))["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert task["artifacts"][0]["parts"][1]["data"] == {"caller": "local", "n": "1"}
    assert rpc(agent, "message/send", path, headers={}, **old("CALL echo"))["result"]["status"]["state"] == "completed"


def test_a_task_is_its_run(agent: Served) -> None:
    task = result(agent, "SendMessage", **said("CALL echo\nCALL fail"))["task"]
    run = agent.get(f"/runs/{task['id']}").json
    assert (run["status"], run["program"]) == ("failed", "CALL echo\nCALL fail")
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert run["error"]["detail"] in task["status"]["message"]["parts"][0]["text"]
    assert [artifact["artifactId"] for artifact in task["artifacts"]] == [step["id"] for step in run["steps"]]
    assert result(agent, "GetTask", id=task["id"]) == task
    other = agent.execute("CALL echo").json["run_id"]
    assert result(agent, "GetTask", id=other)["id"] == other, "a run that came in elsewhere is a task, too"


def test_the_query_may_name_the_version(agent: Served) -> None:
    reply = agent.ask("POST", "/?A2A-Version=1.0", request("ListTasks", {}))
    assert "tasks" in reply.json["result"]


@pytest.mark.parametrize(
    "parts",
    [
        ({"dsl": "CALL echo --n ${params.n}", "params": {"n": "5"}},),
        ("CALL echo --n ${params.n}", {"params": {"n": "5"}}),
        ("CALL echo --n ${secrets.n}", {"secrets": {"n": "5555"}, "timeout": 5}),
        ({"nodes": [{"id": "a", "tool": "echo", "args": {"n": "5"}}], "edges": []},),
        (json.dumps({"nodes": [{"id": "a", "tool": "echo", "args": {"n": "5"}}], "edges": []}),),
        ("# a comment", "CALL echo --n 5"),
    ],
)
def test_a_message_is_a_program_or_a_graph(agent: Served, parts: Any) -> None:
    task = result(agent, "SendMessage", **said(*parts))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED", task


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("CALL",), "line 1, column 5"),
        (("CALLS x",), "did you mean CALL?"),
        (("CALL nothing",), "nothing"),
        (("CALL count --n x",), "line 1"),
        (("  \n",), "expected either a program, nodes or a request"),
        (({"nodes": []},), "nodes"),
        (({"dsl": "CALL echo", "nodes": []},), "expected either a program, nodes or a request"),
        (({"dance": 1},), "dance"),
        (("CALL echo", {"dsl": "CALL echo"}), "both as text and as data"),
        (({"dsl": "CALL echo"}, {"dsl": "CALL echo"}), "two parts"),
        (("CALL echo ${secrets.pin}",), "pin"),
    ],
)
def test_what_cannot_be_run_is_told_and_is_no_task(agent: Served, parts: Any, words: str) -> None:
    before = result(agent, "ListTasks", pageSize=1)["totalSize"]
    with agent.good_call():
        assert words in refusal(agent, "SendMessage", INVALID_PARAMS, **said(*parts))
        assert words in refusal(agent, "SendStreamingMessage", INVALID_PARAMS, **said(*parts))
    assert result(agent, "ListTasks", pageSize=1)["totalSize"] == before + 1, "the good call"


def test_one_message_too_many_is_refused_until_there_is_room(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        return attrs.evolve(config, runs=Runs(max_concurrent=1, queue=0))

    with serving(tmp_path, change=change) as agent:
        with agent.good_call():
            assert "runs.max_concurrent" in refusal(agent, "SendMessage", a2a.NOT_NOW, **said("CALL echo"))
        result(agent, "SendMessage", **said("CALL echo"))


def test_a_task_in_the_queue_is_submitted_and_works_when_its_turn_comes(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        return attrs.evolve(config, runs=Runs(max_concurrent=1, queue=5))

    with serving(tmp_path, change=change) as agent:
        first = begun(agent)
        with streaming(agent, "SendStreamingMessage", **said("CALL hold")) as events:
            task = next(events)["task"]
            assert task["status"]["state"] == "TASK_STATE_SUBMITTED"
            (listed,) = result(agent, "ListTasks", status="TASK_STATE_SUBMITTED")["tasks"]
            assert listed["id"] == task["id"]
            (listed,) = result(agent, "ListTasks", status="TASK_STATE_WORKING")["tasks"]
            assert listed["id"] == first
            agent.release()
            assert next(events)["statusUpdate"]["status"]["state"] == "TASK_STATE_WORKING"
            assert agent.hand.started.acquire(timeout=PATIENCE)
            agent.release()
            assert [*events][-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"


# -- tasks that outlive their request ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "headers"),
    [
        ("SendMessage", {**said("CALL hold"), "configuration": {"returnImmediately": True}}, NEW),
        ("message/send", old("CALL hold", blocking=False), {}),
    ],
)
def test_a_sender_need_not_wait(agent: Served, method: str, params: Any, headers: Any) -> None:
    task = rpc(agent, method, headers=headers, **params)["result"]
    id = task.get("task", task)["id"]
    assert agent.hand.started.acquire(timeout=PATIENCE)
    assert result(agent, "GetTask", id=id)["status"]["state"] == "TASK_STATE_WORKING"
    agent.release()
    assert ended(agent, id)["status"]["state"] == "TASK_STATE_COMPLETED"
    assert agent.hand.ended.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
def test_who_leaves_before_the_end_does_not_end_the_task(agent: Served, method: str) -> None:
    with agent.connection() as connection:
        sent = {"Content-Type": "application/json", **NEW}
        connection.request("POST", "/", json.dumps(request(method, said("CALL hold"))), sent)
        assert agent.hand.started.acquire(timeout=PATIENCE)
    (task,) = result(agent, "ListTasks", status="TASK_STATE_WORKING")["tasks"]
    assert not agent.hand.ended.acquire(timeout=0.05)
    agent.release()
    assert ended(agent, task["id"])["status"]["state"] == "TASK_STATE_COMPLETED"
    assert agent.hand.ended.acquire(timeout=PATIENCE)


def test_cancelling_answers_when_the_tool_has_ended(agent: Served) -> None:
    id = begun(agent, "CALL hold\nCALL echo")
    task = result(agent, "CancelTask", id=id)
    assert agent.hand.ended.acquire(timeout=0)
    assert (task["id"], task["status"]["state"]) == (id, "TASK_STATE_CANCELED")
    assert "cancelled" in refusal(agent, "CancelTask", a2a.TASK_NOT_CANCELABLE, id=id)
    old_one = begun(agent)
    assert rpc(agent, "tasks/cancel", headers={}, id=old_one)["result"]["status"]["state"] == "canceled"
    assert agent.hand.ended.acquire(timeout=0)


def test_what_is_not_there_is_not_found(agent: Served) -> None:
    for method in ("GetTask", "CancelTask", "SubscribeToTask"):
        assert "nope" in refusal(agent, method, a2a.TASK_NOT_FOUND, id="nope")
    refusal(agent, "SendMessage", a2a.TASK_NOT_FOUND, **said("CALL echo", taskId="nope"))


# -- streams ----------------------------------------------------------------------------------------------


def test_a_stream_tells_a_task_from_its_begin_to_its_end(agent: Served) -> None:
    with streaming(agent, "SendStreamingMessage", **said("CALL echo --n 1\nCALL fail")) as events:
        first, *rest = events
    assert first["task"]["status"]["state"] in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")
    artifacts = [event["artifactUpdate"]["artifact"] for event in rest if "artifactUpdate" in event]
    assert rest[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_FAILED"
    task = result(agent, "GetTask", id=first["task"]["id"])
    assert artifacts == task["artifacts"]
    assert rest[-1]["statusUpdate"]["status"] == task["status"]


def test_a_stream_of_0_3_says_which_event_is_the_last(agent: Served) -> None:
    with streaming(agent, "message/stream", headers={}, **old("CALL echo")) as events:
        kinds = [(event["kind"], event.get("final")) for event in events]
    assert kinds[0] == ("task", None)
    assert kinds[-1] == ("status-update", True)
    assert ("artifact-update", None) in kinds


def test_streams_of_one_task_tell_the_same_and_closing_one_changes_nothing(agent: Served) -> None:
    id = begun(agent, "CALL echo\nCALL hold\nCALL echo")
    with (
        streaming(agent, "SubscribeToTask", id=id) as one,
        streaming(agent, "SubscribeToTask", id=id) as other,
        streaming(agent, "tasks/resubscribe", headers={}, id=id) as third,
    ):
        begins = [next(one), next(other), next(third)]
        with streaming(agent, "SubscribeToTask", id=id) as leaving:
            next(leaving)
        agent.release()
        told = [*one]
        assert told == [*other]
        assert len(told) == len([*third])
    assert begins[0] == begins[1]
    assert [artifact["artifactId"] for artifact in begins[0]["task"]["artifacts"]] == ["s1"]
    assert [event["artifactUpdate"]["artifact"]["artifactId"] for event in told if "artifactUpdate" in event] == [
        "s2",
        "s3",
    ]
    assert told[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert agent.hand.ended.acquire(timeout=PATIENCE)


def test_a_stream_tells_that_its_task_is_cancelled(agent: Served) -> None:
    id = begun(agent)
    with streaming(agent, "SubscribeToTask", id=id) as events:
        next(events)
        result(agent, "CancelTask", id=id)
        states = [event["statusUpdate"]["status"] for event in events]
    assert states[0]["message"]["parts"][0]["text"] == "It is being cancelled."
    assert states[-1]["state"] == "TASK_STATE_CANCELED"
    assert agent.hand.ended.acquire(timeout=PATIENCE)


def test_there_is_nothing_to_watch_on_a_task_that_has_ended(agent: Served) -> None:
    id = agent.execute("CALL echo").json["run_id"]
    assert "has ended" in refusal(agent, "SubscribeToTask", a2a.UNSUPPORTED, id=id)


def test_streams_are_bounded_and_those_that_end_make_room(agent: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a2a_stream, "MAX_STREAMS", 1)
    id = begun(agent)
    with streaming(agent, "SubscribeToTask", id=id) as events:
        next(events)
        assert "streams are open" in refusal(agent, "SubscribeToTask", a2a.NOT_NOW, id=id)
        before = result(agent, "ListTasks")["totalSize"]
        refusal(agent, "SendStreamingMessage", a2a.NOT_NOW, **said("CALL echo"))
        assert result(agent, "ListTasks")["totalSize"] == before
        agent.release()
        assert len([*events]) > 1
    assert agent.hand.ended.acquire(timeout=PATIENCE)
    with streaming(agent, "SendStreamingMessage", **said("CALL echo")) as events:
        assert len([*events]) > 1


# -- contexts, lists, messages to tasks -------------------------------------------------------------------


def test_a_context_groups_tasks_and_is_given_back(agent: Served) -> None:
    first = result(agent, "SendMessage", **said("CALL echo", contextId="talk"))["task"]
    second = result(agent, "SendMessage", **said("CALL echo", contextId="talk"))["task"]
    alone = result(agent, "SendMessage", **said("CALL echo"))["task"]
    assert first["contextId"] == second["contextId"] == "talk"
    listed = result(agent, "ListTasks", contextId="talk", includeArtifacts=True, historyLength=1)
    assert [task["id"] for task in listed["tasks"]] == [second["id"], first["id"]]
    assert (listed["totalSize"], listed["pageSize"], listed["nextPageToken"]) == (2, MAX_WHOLE, "")
    assert all(task["artifacts"] and len(task["history"]) == 1 for task in listed["tasks"])
    (own,) = result(agent, "ListTasks", contextId=alone["contextId"])["tasks"]
    assert own["id"] == alone["id"]
    assert "artifacts" not in own


def test_pages_go_through_all_tasks_once(agent: Served) -> None:
    for _ in range(5):
        agent.execute("CALL echo")
    everything = [task["id"] for task in result(agent, "ListTasks", pageSize=100)["tasks"]]
    seen, token = [], ""
    while True:
        page = result(agent, "ListTasks", pageSize=2, pageToken=token)
        seen += [task["id"] for task in page["tasks"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert seen == everything
    assert len(set(seen)) == len(seen) >= 5
    assert "begins at" in refusal(agent, "ListTasks", INVALID_PARAMS, pageToken="nonsense")


def test_a_task_takes_no_further_messages(agent: Served) -> None:
    done = agent.execute("CALL echo").json["run_id"]
    assert "succeeded" in refusal(agent, "SendMessage", a2a.UNSUPPORTED, **said("CALL echo", taskId=done))
    under_way = begun(agent)
    assert "running" in refusal(agent, "SendMessage", a2a.UNSUPPORTED, **said("CALL echo", taskId=under_way))
    told = refusal(agent, "SendMessage", INVALID_PARAMS, **said("CALL echo", taskId=under_way, contextId="other"))
    assert under_way in told
    result(agent, "CancelTask", id=under_way)
    assert agent.hand.ended.acquire(timeout=PATIENCE)


def kept(agent: Served, run: RunRecord) -> None:
    """Have a run of an agent that has ended in the journal."""
    journal = agent.agents[0].agent.execution.journal
    trio.from_thread.run(journal.begin, run, trio_token=agent.token)


def test_a_task_that_needs_its_secrets_goes_on_with_them(agent: Served) -> None:
    program = "CALL echo --pin ${secrets.pin}"
    run = RunRecord("secretive", "needs secrets", "local", program, (), 5.0, needs_secrets=("pin",), context="talk")
    kept(agent, run)
    task = result(agent, "GetTask", id=run.id)
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert "pin" in task["status"]["message"]["parts"][0]["text"]
    others: tuple[Any, ...] = (("CALL echo",), ({"secrets": {"pin": "1111"}, "params": {}},), ({"secrets": {}},))
    for parts in others:
        refusal(agent, "SendMessage", INVALID_PARAMS, **said(*parts, taskId=run.id))
    done = result(agent, "SendMessage", **said({"secrets": {"pin": "1234"}}, taskId=run.id))["task"]
    assert (done["id"], done["contextId"]) == (run.id, "talk")
    assert done["status"]["state"] == "TASK_STATE_COMPLETED"
    assert "1234" not in json.dumps(done)


def test_an_interrupted_task_works_until_it_is_cancelled(agent: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a2a_stream, "KEEP_ALIVE", 0.02)
    kept(agent, RunRecord("cut", "interrupted", "local", "CALL echo", (), 6.0))
    with streaming(agent, "SubscribeToTask", id="cut") as events:
        assert next(events)["task"]["status"]["state"] == "TASK_STATE_WORKING"
        assert result(agent, "CancelTask", id="cut")["status"]["state"] == "TASK_STATE_CANCELED"
        (last,) = events
    assert last["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELED"


# -- what is no request -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/a2a/v1", "/a2a/v1/"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"rubbish", PARSE_ERROR),
        (b"", PARSE_ERROR),
        (b'{"jsonrpc": "2.0", "id": 1, "id": 2}', PARSE_ERROR),
        (b"[" * 200 + b"]" * 200, PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'{"id": 7, "method": "GetTask"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "Dance"}', METHOD_NOT_FOUND),
    ],
)
def test_what_is_no_request_is_told_in_the_words_of_json_rpc(agent: Served, path: str, body: bytes, code: int) -> None:
    with agent.good_call():
        reply = agent.ask("POST", path, body, NEW)
        assert (reply.status, reply.json["error"]["code"]) == (200, code)
        assert reply.json["id"] == (7 if b"7" in body else None)


def test_other_types_and_versions_are_refused(agent: Served) -> None:
    agent.ask("POST", "/", b"{}", {"Content-Type": "text/plain"}).problem(415, "invalid")
    reply = agent.ask("POST", "/", request("GetTask", {"id": "x"}), {"A2A-Version": "2.0"})
    assert reply.json["error"]["code"] == a2a.VERSION_NOT_SUPPORTED
    assert reply.json["id"] == 7


# -- requests without an envelope -------------------------------------------------------------------------


def test_requests_without_an_envelope_are_answered_without_one(agent: Served) -> None:
    task = agent.ask("POST", "/a2a/message/send", old("CALL echo --n 2", historyLength=1)).json
    assert (task["kind"], task["status"]["state"]) == ("task", "completed")
    assert len(task["history"]) == 1
    again = agent.ask("POST", "/a2a/tasks/get", {"id": task["id"], "historyLength": 1}).json
    assert again == task
    listed = agent.get("/a2a/tasks?limit=1").json
    assert (listed["tasks"][0]["id"], listed["tasks"][0]["status"]) == (task["id"], task["status"])
    assert "artifacts" not in listed["tasks"][0]
    assert agent.get(f"/a2a/tasks?limit=1&cursor={listed['nextPageToken']}").json["tasks"][0]["id"] != task["id"]


def test_with_an_envelope_they_are_json_rpc(agent: Served) -> None:
    assert rpc(agent, "message/send", "/a2a/message/send", headers={}, **old("CALL echo"))["result"]["kind"] == "task"
    assert rpc(agent, "tasks/get", "/a2a/tasks/get", headers={}, id="x")["error"]["code"] == a2a.TASK_NOT_FOUND


def test_what_is_wrong_with_them_is_a_problem(agent: Served) -> None:
    problem = agent.ask("POST", "/a2a/message/send", {}).problem(400, "invalid")
    assert problem["where"] == "message"
    assert "a model" in agent.ask("POST", "/a2a/message/send", old("do it")).problem(502, "unavailable")["detail"]
    assert agent.ask("POST", "/a2a/tasks/get", {"id": "x"}).problem(404, "not_found")["data"] == {"a2a_code": -32001}
    agent.get("/a2a/tasks?cursor=x").problem(400, "invalid")
    agent.get("/a2a/tasks?limit=101").problem(400, "invalid")


# -- the card ---------------------------------------------------------------------------------------------

CARD = "/.well-known/agent-card.json"


def test_the_card_has_addresses_at_which_the_agent_answers(agent: Served) -> None:
    card = agent.get(CARD, A2A_Version="1.0").json
    assert {each["protocolVersion"] for each in card["supportedInterfaces"]} == {"1.0", "0.3"}
    for interface in card["supportedInterfaces"]:
        base = f"http://127.0.0.1:{agent.port}"
        assert interface["url"].startswith(base)
        assert "error" not in rpc(agent, "ListTasks", interface["url"].removeprefix(base))
    assert card["capabilities"] == {"streaming": True, "pushNotifications": False, "extendedAgentCard": True}
    assert card["skills"][0]["tags"]
    assert "url" not in card
    assert card["securitySchemes"]["token"]["httpAuthSecurityScheme"]["scheme"] == "bearer"


def test_the_card_for_0_3_has_its_fields_as_well(agent: Served) -> None:
    card = agent.get(CARD).json
    assert (card["url"], card["preferredTransport"]) == (card["supportedInterfaces"][0]["url"], "JSONRPC")
    assert card["protocolVersion"] == "0.3.0"
    assert card["supportsAuthenticatedExtendedCard"] is True
    assert card["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    agent.get(CARD, A2A_Version="7").problem(400, "invalid")


def test_a_card_that_is_known_is_not_sent_again(agent: Served) -> None:
    reply = agent.get(CARD)
    tag = reply.headers["ETag"]
    assert reply.headers["Cache-Control"] == "public, max-age=60"
    for said in (tag, f'"other", W/{tag}', "*"):
        again = agent.get(CARD, If_None_Match=said)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert agent.get(CARD, If_None_Match='"other"').status == 200
    other = agent.get(CARD, If_None_Match=tag, A2A_Version="1.0")
    assert (other.status, other.headers["Vary"]) == (200, "A2A-Version")
    agent.get(CARD, Host="evil.example").problem(421, "denied")


def test_the_extended_card_has_the_tools_as_skills(agent: Served) -> None:
    card = result(agent, "GetExtendedAgentCard")
    assert "agent-1:hand/echo" in {skill["id"] for skill in card["skills"]}
    assert "url" not in card
    old_card = rpc(agent, "agent/getAuthenticatedExtendedCard", headers={})["result"]
    assert old_card["skills"] == card["skills"]
    assert old_card["url"]
    assert len(agent.get(CARD).json["skills"]) == 1


def test_who_has_no_token_gets_the_card_alone(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    viewer, operator = ({"Authorization": f"Bearer {store.new(role, role)}"} for role in ("viewer", "operator"))
    with serving(tmp_path, change=partial(allow, tokens_file=tmp_path / "tokens.json")) as agent:
        card = agent.get(CARD, Host="agent.example:99").json
        assert card["url"] == "http://agent.example:99/a2a/v1", "it listens on all addresses, and was found at this one"
        extended = request("GetExtendedAgentCard", {})
        agent.ask("POST", "/", extended, NEW).problem(401, "unauthenticated")
        assert len(agent.ask("POST", "/", extended, {**NEW, **viewer}).json["result"]["skills"]) > 1
        with agent.good_call(**operator):
            for method, params in (("SendMessage", said("CALL echo")), ("CancelTask", {"id": "x"})):
                agent.ask("POST", "/", request(method, params), {**NEW, **viewer}).problem(403, "denied")
        assert "tasks" in agent.ask("POST", "/", request("ListTasks", {}), {**NEW, **viewer}).json["result"]
        sent: Reply = agent.ask("POST", "/", request("SendMessage", said("CALL echo")), {**NEW, **operator})
        caller = sent.json["result"]["task"]["artifacts"][0]["parts"][1]["data"]["caller"]
        assert caller.startswith("operator (")


# -- plain calls ------------------------------------------------------------------------------------------


async def test_words_are_for_the_planner(tmp_path: Path) -> None:
    class Model:
        async def plan(self, words: str, **more: Any) -> Planned:
            await trio.lowlevel.checkpoint()
            assert (words, sorted(more["params"]), sorted(more["secrets"])) == ("list all", ["p"], ["s"])
            return Planned("CALL list_files", "")

    async with connected(tmp_path, 1) as (one,):
        endpoint = A2aEndpoint(services_of(one.agent, asking=Model()))
        call = Call(Principal("local", "ann"), None, {}, {}, {"A2A-Version": "1.0"}.get)
        sent = request("SendMessage", said(" list all\n", {"params": {"p": 1}, "secrets": {"s": "xxxx"}}))
        answer = await endpoint.rpc(call, sent)
        assert isinstance(answer.body, bytes)
        task = json.loads(answer.body)["result"]["task"]
        assert (task["artifacts"][0]["name"], task["status"]["state"]) == ("list_files", "TASK_STATE_COMPLETED")


@pytest.mark.parametrize("words", ["please write a file", "If I call, write a file", "I want a file"])
def test_words_need_a_model(agent: Served, words: str) -> None:
    assert "plain language needs a model" in refusal(agent, "SendMessage", -32000, **said(words))


async def test_a_reader_that_has_missed_events_is_brought_up_to_date(tmp_path: Path) -> None:
    async with connected(tmp_path, 1) as (one,):
        agent = one.agent
        run = await agent.executor.execute("CALL list_files", Principal("local", "ann"))
        under_way = attrs.evolve(run, state="running", ended_at=None)

        class Past:
            async def find(self, run_id: str) -> RunRecord:
                return under_way

        streams = a2a_stream.Streams(agent.bus, Past())  # type: ignore[arg-type]
        body = streams.stream(run.id, "1.0", 1)
        await anext(body)
        for _ in range(1100):
            agent.bus.publish("step.progress", run_id=run.id, step="s1", progress={"progress": 1})
        under_way = run
        agent.bus.publish("run.finished", run_id=run.id, state="succeeded")
        lines = (await anext(body)).splitlines()
        told = [json.loads(line[6:])["result"] for line in lines if line]
        assert told[0]["artifactUpdate"]["artifact"]["artifactId"] == "s1"
        assert told[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert [part async for part in body] == []
