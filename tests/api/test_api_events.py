"""Server-sent events: the feed of an agent, and the events of one run."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from praxis.access.entrance import LOCAL
from praxis.api import runs
from praxis.api.events import KEEP_ALIVE, event_stream
from praxis.api.route import Call
from praxis.config.schema import Config, Retention, Runs
from praxis.dev import network
from praxis.model.errors import PraxisError
from praxis.observe.events import HISTORY, LIMIT, EventBus
from praxis.wire.sse import COMMENT
from tests.api.api_kit import Served, services_of, serving
from tests.support.network import PATIENCE
from tests.support.processes import wait_until

SHORT = 0.02
"""Seconds for a wait whose end the test waits for."""


@attrs.frozen
class Message:
    type: str
    data: Any
    id: int | None


def read_message(read_line: Callable[[], bytes]) -> Message | None:
    """The next message, or None at the end of the stream. Comments are passed over."""
    fields: dict[str, str] = {}
    while line := read_line().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if line == "\n" and "data" in fields:
            id = fields.get("id")
            return Message(fields["event"], json.loads(fields["data"]), int(id) if id else None)
        if not line.startswith(":"):
            fields[name] = value
    return None


@attrs.frozen(eq=False)
class Feed:
    response: HTTPResponse

    def next(self) -> Message:
        message = read_message(self.response.readline)
        assert message is not None
        return message

    def rest(self) -> list[Message]:
        """Everything up to the end of the stream, which the agent makes."""
        return list(iter(lambda: read_message(self.response.readline), None))


@contextmanager
def feed(agent: Served, path: str = "/events", *, port: int | None = None, **headers: str) -> Iterator[Feed]:
    """A stream whose head has come: from now on it is subscribed."""
    with agent.connection(port) as connection:
        connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.readline() == b":\n"
        yield Feed(response)


def publish(agent: Served, type: str, count: int = 1, **fields: Any) -> int:
    """Publish so many; the number of the last one."""
    bus = agent.agents[0].agent.bus
    return agent.do(lambda: [bus.publish(type, **fields).seq for _ in range(count)][-1])


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("events")) as served:
        yield served


def test_what_happens_arrives_with_its_number_type_and_time(agent: Served) -> None:
    with feed(agent) as events:
        seq = publish(agent, "test.told", run_id="r1", text="ä\nb", n=1)
        message = events.next()
    assert (message.type, message.id) == ("test.told", seq)
    time = message.data.pop("time")
    assert message.data == {"seq": seq, "type": "test.told", "run_id": "r1", "fields": {"text": "ä\nb", "n": 1}}
    assert isinstance(time, float)


def test_a_run_is_seen_from_start_to_end_in_order(agent: Served) -> None:
    with feed(agent, "/events?types=run,step") as events:
        run = agent.execute("CALL echo").json
        messages = [events.next() for _ in range(4)]
    assert [message.type for message in messages] == ["run.started", "step.started", "step.finished", "run.finished"]
    assert {message.data["run_id"] for message in messages} == {run["run_id"]}
    ids = [message.id for message in messages]
    assert ids == sorted(ids, key=lambda id: id or 0)


def test_types_are_whole_names_or_what_stands_before_a_dot(agent: Served) -> None:
    with feed(agent, "/events?types=test.a,%20other,") as events:
        for type in ("test.ab", "test.a", "othering", "other.x", "test", "test.a.b"):
            publish(agent, type)
        assert [events.next().type for _ in range(3)] == ["test.a", "other.x", "test.a.b"]


def test_last_event_id_takes_up_where_the_client_was_cut(agent: Served) -> None:
    with feed(agent, "/events?types=cut") as events:
        publish(agent, "cut.one")
        last = events.next().id
    publish(agent, "cut.two")
    publish(agent, "cut.three")
    with feed(agent, "/events?types=cut", Last_Event_ID=str(last)) as events:
        publish(agent, "cut.four")
        assert [events.next().type for _ in range(3)] == ["cut.two", "cut.three", "cut.four"]


def test_a_hole_in_the_history_is_told_before_what_is_left(agent: Served) -> None:
    first = publish(agent, "old")
    last = publish(agent, "new", HISTORY + 10)
    with feed(agent, "/events?types=new", Last_Event_ID=str(first)) as events:
        assert events.next() == Message("gap", {"missed": 10}, None)
        assert events.next().id == last - HISTORY + 1


@pytest.mark.parametrize("id", ["x", "-1", "1.5", "٣", "", "9" * 19])
def test_a_last_event_id_that_is_none_is_refused(agent: Served, id: str) -> None:
    with agent.good_call():
        problem = agent.get("/events", Last_Event_ID=id.encode().decode("latin-1")).problem(400, "invalid")
        assert problem["where"] == "Last-Event-ID"


def test_a_number_that_was_not_reached_yet_is_from_an_earlier_process(agent: Served) -> None:
    publish(agent, "again")
    with feed(agent, "/events?types=again", Last_Event_ID="9" * 18) as events:
        assert {events.next().type, events.next().type} <= {"gap", "again"}


def test_too_many_types_are_refused(agent: Served) -> None:
    with agent.good_call():
        problem = agent.get(f"/events?types={','.join(map(str, range(21)))}").problem(400, "invalid")
        assert problem["where"] == "query.types"


def test_a_client_that_stops_reading_misses_events_and_harms_nobody(agent: Served) -> None:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    bus = agent.agents[0].agent.bus
    with stalled, feed(agent, "/events?types=much") as events:
        stalled.connect(("127.0.0.1", agent.port))
        stalled.settimeout(PATIENCE)
        stalled.sendall(b"GET /events?types=much HTTP/1.0\r\nHost: localhost\r\n\r\n")
        lines = stalled.makefile("rb")
        while lines.readline() != COMMENT[:2]:
            pass
        dropped, sent = agent.do(lambda: bus.dropped), 0
        while agent.do(lambda: bus.dropped) == dropped:
            last = publish(agent, "much", 500, text="x" * 2000)
            sent += 500
            assert [events.next().data["seq"] for _ in range(500)] == list(range(last - 499, last + 1))
            assert sent < 20 * LIMIT, "nothing was ever missed, so nothing bounds what waits"
        assert agent.execute("CALL echo").json["status"] == "succeeded"
        ids, missed = list[int](), 0
        while not ids or ids[-1] != last:
            message = read_message(lines.readline)
            assert message is not None
            if message.type == "gap":
                missed += message.data["missed"]
            else:
                ids.append(message.id or 0)
        assert ids == sorted(set(ids))
        assert missed and len(ids) + missed == sent
        lines.close()


def test_a_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    with serving(tmp_path) as agent:
        bus = agent.agents[0].agent.bus
        before = agent.do(lambda: bus.subscribers)
        with feed(agent), feed(agent):
            assert agent.do(lambda: bus.subscribers) == before + 2
        trio.run(wait_until, lambda: bus.subscribers == before)


@pytest.mark.parametrize("path", ["/events", "/runs/{id}/events"])
def test_head_of_a_stream_is_its_head_alone(agent: Served, path: str) -> None:
    """The next request on this connection would never be read if the stream went on."""
    path = path.replace("{id}", agent.execute("CALL echo").json["run_id"])
    with agent.connection() as connection:
        for method, target in (("HEAD", path), ("GET", "/health/live")):
            connection.request(method, target)
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()


def test_the_sse_listener_has_the_feed_the_probes_and_its_own_document(agent: Served) -> None:
    address = agent.agents[0].addresses.sse
    assert address is not None
    with feed(agent, "/events?types=there", port=address[1]) as events:
        publish(agent, "there")
        assert events.next().type == "there"
    paths = agent.ask("GET", "/openapi.json", port=address[1]).json["paths"]
    assert set(paths) == {"/events", "/health/live", "/health/ready", "/openapi.json"}
    agent.ask("GET", "/events", headers={"Host": "evil.example"}, port=address[1]).problem(421, "denied")
    agent.ask("POST", "/execute", {"dsl": "CALL echo"}, port=address[1]).problem(404, "not_found")


# -- the events of one run --------------------------------------------------------------------------------


def test_the_events_of_a_run_are_its_own_and_end_with_it(agent: Served) -> None:
    with agent.holding("CALL hold") as connection:
        id = agent.get("/runs?limit=1").json["runs"][0]["run_id"]
        with feed(agent, f"/runs/{id}/events") as events:
            assert [events.next().type for _ in range(2)] == ["run.started", "step.started"]
            agent.execute("CALL echo")
            agent.release()
            assert [message.type for message in events.rest()] == ["step.finished", "run.finished"]
        assert connection.getresponse().status == 200
    assert agent.hand.ended.acquire(timeout=PATIENCE)


def test_the_events_of_a_run_that_has_ended_are_told_and_end_at_once(agent: Served) -> None:
    id = agent.execute("CALL echo").json["run_id"]
    with feed(agent, f"/runs/{id}/events") as events:
        messages = events.rest()
    assert [message.type for message in messages] == ["run.started", "step.started", "step.finished", "run.finished"]
    with feed(agent, f"/runs/{id}/events", Last_Event_ID=str(messages[1].id)) as events:
        assert events.rest() == messages[2:]
    with feed(agent, f"/runs/{id}/events?types=step") as events:
        assert events.rest() == messages[1:3]


def test_a_gap_in_a_run_is_told_only_if_the_run_may_miss_something(agent: Served) -> None:
    publish(agent, "noise", HISTORY + 1)
    with agent.holding("CALL hold"):
        id = agent.get("/runs?limit=1").json["runs"][0]["run_id"]
        for query in ("", "?types=step"):
            with feed(agent, f"/runs/{id}/events{query}", Last_Event_ID="0") as events:
                assert events.next().type == ("step.started" if query else "run.started")
        publish(agent, "noise", HISTORY)
        with feed(agent, f"/runs/{id}/events") as events:
            assert events.next().type == "gap"
            agent.release()
            assert [message.type for message in events.rest()] == ["step.finished", "run.finished"]
    assert agent.hand.ended.acquire(timeout=PATIENCE)


def test_the_end_of_a_run_ends_a_stream_that_did_not_ask_for_it(agent: Served) -> None:
    with agent.holding("CALL hold"):
        id = agent.get("/runs?limit=1").json["runs"][0]["run_id"]
        with feed(agent, f"/runs/{id}/events?types=step.started") as events:
            assert events.next().type == "step.started"
            agent.release()
            assert events.rest() == []
    assert agent.hand.ended.acquire(timeout=PATIENCE)


# -- plain calls ------------------------------------------------------------------------------------------


def stream(bus: EventBus, **more: Any) -> aclosing[AsyncGenerator[bytes, None]]:
    answer = event_stream(bus, Call(LOCAL, None, {}, {}, lambda name: None), **more)
    assert isinstance(answer.body, AsyncGenerator)
    return aclosing(answer.body)


async def test_silence_is_broken_by_a_comment_now_and_then(autojump_clock: MockClock) -> None:
    async with stream(EventBus()) as body:
        assert await anext(body) == COMMENT
        for _ in range(3):
            began = trio.current_time()
            assert await anext(body) == COMMENT
            assert trio.current_time() - began == pytest.approx(KEEP_ALIVE)


async def test_all_that_waited_is_one_write() -> None:
    bus = EventBus(clock=lambda: 1.0)
    async with stream(bus) as body:
        await anext(body)
        for n in range(LIMIT + 5):
            bus.publish("many", n=n)
        said = await anext(body)
    assert said.startswith(b'event: gap\ndata: {"missed": 5}\n\nevent: many\nid: 6\n')
    assert said.count(b"\n\n") == 1 + LIMIT


async def test_a_run_that_makes_room_for_others_is_told_to_its_end(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        return attrs.evolve(config, runs=Runs(retention=Retention(count=1)))

    async with network(1, tmp_path, change=change) as (one,):
        executor = one.agent.executor
        run = await executor.execute("CALL list_files", LOCAL)
        (route,) = (route for route in runs.routes(services_of(one.agent)) if route.path == "/runs/{id}/events")
        answer = await route.answer(Call(LOCAL, None, {"id": run.id}, {}, lambda name: None))
        assert isinstance(answer.body, AsyncGenerator)
        async with aclosing(answer.body) as body:
            assert await anext(body) == COMMENT
            await executor.execute("CALL list_files", LOCAL)
            with pytest.raises(PraxisError, match="no run"):
                executor.get(run.id)
            rest = b"".join([part async for part in body])
        assert rest.count(b"event: ") == 4
        assert b"event: run.finished" in rest


@pytest.mark.parametrize("text", ["", "a" * 30, "1e3"])
def test_an_id_that_is_none_is_shown_short(text: str) -> None:
    with pytest.raises(PraxisError) as caught:
        event_stream(EventBus(), Call(LOCAL, None, {}, {}, {"last-event-id": text}.get))
    assert caught.value.where == "Last-Event-ID"
    assert len(caught.value.detail) < 60
