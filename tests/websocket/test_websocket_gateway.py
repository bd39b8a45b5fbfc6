"""The gateway on real sockets: conversations, refusals, and what one client may not do to another."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed

from praxis.access.authorize import Action, Policy
from praxis.access.principal import Principal
from praxis.config.schema import Export, WebSocket
from praxis.model.errors import PraxisError
from praxis.model.tool import Tool
from praxis.websocket.client import COMMANDS_AT_ONCE
from praxis.websocket.outbox import STALL
from tests.websocket.gateway_kit import HANDSHAKE, LAST_SEQ, Running, hear, hear_until, open_gateway, say

# -- conversations ------------------------------------------------------------------------------------


async def test_a_command_runs_and_everything_is_told_in_order(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        await say(client, "DSL_COMMAND", command="ok", workflowId="w1")
        heard = await hear_until(client, "dslResult")
    assert [message["type"] for message in heard] == [
        "dslProgress",
        "workflowStart",
        "nodeStatusUpdate",
        "workflowComplete",
        "dslResult",
    ]
    numbers = [message["seq"] for message in heard]
    assert numbers == sorted(set(numbers))
    assert {message["payload"]["workflowId"] for message in heard} == {"w1"}
    result = heard[-1]["payload"]
    assert (result["success"], result["command"], result["status"]) == (True, "ok", "succeeded")
    assert result["result"] == heard[-2]["payload"]["result"] == {"content": [{"type": "text", "text": "done"}]}
    assert gateway.executor.callers == [Principal("local", "local", "admin")]


async def test_without_a_workflow_id_one_is_made(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        ids = set()
        for _ in range(2):
            await say(client, "DSL_COMMAND", command="ok")
            ids |= {message["payload"]["workflowId"] for message in await hear_until(client, "dslResult")}
        assert len(ids) == 2
        assert ids == set(gateway.executor.runs)


async def test_every_client_sees_the_events_of_all_runs_and_a_subscription_narrows_them(tmp_path: Path) -> None:
    async with (
        open_gateway(tmp_path) as gateway,
        gateway.client() as everything,
        gateway.client() as one_run,
        gateway.client() as peers,
    ):
        await say(one_run, "SUBSCRIBE", runId="r2", types=["run.finished"])
        assert (await hear(one_run))["payload"] == {"runId": "r2", "types": ["run.finished"]}
        await say(peers, "SUBSCRIBE", types=["peer"])
        assert (await hear(peers))["type"] == "subscribed"
        gateway.bus.publish("run.started", run_id="r1", caller="x", steps=1)
        gateway.bus.publish("peer.connected", peer="px1")
        gateway.bus.publish("run.started", run_id="r2", caller="x", steps=1)
        gateway.bus.publish("run.finished", run_id="r1", state="cancelled", duration_ms=1)
        gateway.bus.publish("run.finished", run_id="r2", state="cancelled", duration_ms=1)
        first, *others = [(await hear(everything))["seq"] for _ in range(4)]
        assert others == [first + 2, first + 3, first + 4], "an event has the same number for everybody"
        message = await hear(one_run)
        assert (message["type"], message["seq"]) == ("workflowError", first + 4)
        message = await hear(peers)
        assert (message["type"], message["seq"], message["payload"]["fields"]) == ("event", first + 1, {"peer": "px1"})
        await say(peers, "SUBSCRIBE")
        assert (await hear(peers))["payload"] == {"runId": None, "types": ["run", "step"]}
        gateway.bus.publish("run.started", run_id="r3", caller="x", steps=1)
        assert (await hear(peers))["type"] == "workflowStart"


async def test_cancel_ends_a_run_and_says_so(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client, gateway.client() as other:
        await say(client, "DSL_COMMAND", command="wait", workflowId="w")
        await hear_until(client, "nodeStatusUpdate")
        await say(other, "CANCEL", runId="w")
        answer = (await hear_until(other, "dslProgress"))[-1]["payload"]
        assert (answer["workflowId"], answer["stage"]) == ("w", "cancelled")
        heard = await hear_until(client, "dslResult")
        assert [message["type"] for message in heard] == ["workflowError", "dslResult"]
        assert heard[-1]["payload"]["status"] == "cancelled"
        await say(other, "CANCEL", runId="unknown")
        error = (await hear_until(other, "error"))[-1]["payload"]
        assert (error["code"], error["request"], error["workflowId"]) == ("not_found", "CANCEL", "unknown")


async def test_closing_the_connection_cancels_its_runs(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as other:
        async with gateway.client() as client:
            await say(client, "DSL_COMMAND", command="wait", workflowId="w")
            await hear_until(client, "nodeStatusUpdate")
        error = (await hear_until(other, "workflowError"))[-1]["payload"]
        assert (error["workflowId"], error["code"]) == ("w", "cancelled")
        async with gateway.raw() as vanishing:
            await vanishing.send_frame(b'{"type":"DSL_COMMAND","payload":{"command":"wait","workflowId":"w2"}}')
            await vanishing.message()
            await vanishing.message()
        assert (await hear_until(other, "workflowError"))[-1]["payload"]["workflowId"] == "w2"
        await gateway.wait_metric("praxis_websocket_clients", 1)


async def test_too_many_commands_at_once_are_refused_and_the_others_go_on(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        for number in range(COMMANDS_AT_ONCE + 1):
            await say(client, "DSL_COMMAND", command="wait", workflowId=f"w{number}")
        error = (await hear_until(client, "error"))[-1]["payload"]
        assert (error["code"], error["workflowId"]) == ("busy", f"w{COMMANDS_AT_ONCE}")
        gateway.executor.go.set()
        for _ in range(COMMANDS_AT_ONCE):
            assert (await hear_until(client, "dslResult"))[-1]["payload"]["success"]
        await say(client, "DSL_COMMAND", command="ok")
        await hear_until(client, "dslResult")


async def test_messages_are_counted(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        await say(client, "DSL_COMMAND", command="ok")
        await hear_until(client, "dslResult")
        assert gateway.metric("praxis_websocket_clients") == 1
        assert gateway.metric('praxis_websocket_messages_total{direction="in"}') == 2
        await gateway.wait_metric('praxis_websocket_messages_total{direction="out"}', 6)


async def test_answers_are_numbered_among_the_events_and_no_number_comes_twice(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as one, gateway.client() as other:
        for number in range(3):
            await one.send_message("{")
            await other.send_message("{")
            gateway.bus.publish("run.started", run_id=f"r{number}", caller="x", steps=1)
        for client in (one, other):
            heard = [await hear(client) for _ in range(6)]  # which looks at the numbers
            assert sorted(message["type"] for message in heard) == ["error"] * 3 + ["workflowStart"] * 3


async def test_a_program_is_not_said_to_begin_before_it_is_planned(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        await say(client, "DSL_COMMAND", command="nonsense")
        first, error = [await hear(client) for _ in range(2)]
        assert (first["type"], first["payload"]["stage"]) == ("dslProgress", "planning")
        assert (error["type"], error["payload"]["code"]) == ("error", "syntax")


# -- what a client gets wrong -------------------------------------------------------------------------


async def test_what_a_client_gets_wrong_it_is_told_and_the_connection_stays(tmp_path: Path) -> None:
    wrong: list[tuple[str | bytes, dict[str, Any]]] = [
        ("{", {"code": "invalid"}),
        (b"\x00binary", {"code": "invalid", "message": "a binary message"}),
        ('{"type": "HELLO"}', {"code": "invalid", "where": "type"}),
        ('{"type": "CANCEL", "payload": {}}', {"code": "invalid", "where": "payload.runId", "request": "CANCEL"}),
        (
            '{"type": "DSL_COMMAND", "payload": {"command": "nonsense", "workflowId": "w"}}',
            {"code": "syntax", "where": "line 1, column 1", "workflowId": "w", "request": "DSL_COMMAND"},
        ),
        (
            '{"type": "EXECUTE_WORKFLOW", "payload": {}}',
            {"code": "invalid", "request": "EXECUTE_WORKFLOW", "where": "payload.nodes"},
        ),
        (
            '{"type": "CHAT_MESSAGE", "payload": {"content": "hi"}}',
            {"code": "unavailable", "request": "CHAT_MESSAGE", "hint": "set llm.enabled"},
        ),
        ('{"type": "CHAT_MESSAGE", "payload": {"content": " "}}', {"code": "invalid", "where": "payload.content"}),
        (
            '{"type": "CHAT_MESSAGE", "payload": {"content": "hi", "sender": 1}}',
            {"code": "invalid", "where": "payload.sender"},
        ),
    ]
    async with open_gateway(tmp_path) as gateway, gateway.client() as client, gateway.client() as good:
        await say(good, "DSL_COMMAND", command="wait", workflowId="good")
        await hear_until(good, "nodeStatusUpdate")
        for message, expected in wrong:
            await client.send_message(message)
            error = (await hear_until(client, "error"))[-1]
            assert expected.items() <= error["payload"].items(), error
            assert error["payload"]["message"]
            await say(good, "DSL_COMMAND", command="ok")
            assert (await hear_until(good, "dslResult"))[-1]["payload"]["success"]
        await say(client, "DSL_COMMAND", command="ok")
        assert (await hear_until(client, "dslResult"))[-1]["payload"]["success"]
        gateway.executor.go.set()
        result = (await hear_until(good, "dslResult"))[-1]["payload"]
        assert (result["workflowId"], result["success"]) == ("good", True), "it ran all the while"


async def test_plain_words_are_answered_and_run(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client, gateway.client() as other:
        await say(client, "CHAT_MESSAGE", content="say ok", sender="ann")
        chat, planning, *events, result = await hear_until(client, "dslResult")
        assert (chat["type"], chat["payload"]) == ("chatMessage", {"content": "It says ok.", "sender": "agent-1"})
        assert (planning["type"], planning["payload"]["stage"]) == ("dslProgress", "planning")
        assert "workflowStart" in [event["type"] for event in events]
        payload = result["payload"]
        assert (payload["command"], payload["success"]) == ("say ok", True)
        assert payload["workflowId"] == planning["payload"]["workflowId"]
        heard = [message["type"] for message in await hear_until(other, "workflowComplete")]
        assert "chatMessage" not in heard, "what was asked is between those two"


async def test_a_viewer_may_not_ask(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, network=True) as gateway:
        token = gateway.tokens.new("viewer", "eye")
        async with gateway.client(Authorization=f"Bearer {token}") as client:
            await say(client, "CHAT_MESSAGE", content="say ok")
            error = (await hear_until(client, "error"))[-1]["payload"]
            assert (error["code"], gateway.executor.callers) == ("denied", [])


async def test_a_workflow_id_that_is_taken_is_a_conflict(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        for expected in ("dslResult", "error"):
            await say(client, "DSL_COMMAND", command="ok", workflowId="same")
            last = (await hear_until(client, expected))[-1]
        assert last["payload"]["code"] == "conflict"


async def test_a_message_that_is_too_large_gets_an_error_and_1009(tmp_path: Path) -> None:
    config = WebSocket(max_message=10_000)
    for text in ("x" * 10_001, "x" * 500_000, "€" * 3_400):
        async with open_gateway(tmp_path, config) as gateway, gateway.raw() as client, gateway.client() as other:
            await client.send_frame(text.encode())
            error = await client.message()
            assert error["payload"]["code"] == "too_large"
            assert "10000 bytes" in error["payload"]["message"]
            assert await client.close_code() == 1009
            assert await client.rest() == b""
            await say(other, "DSL_COMMAND", command="ok")
            await hear_until(other, "dslResult")


async def test_a_message_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, WebSocket(max_message=1000)) as gateway, gateway.client() as client:
        text = json.dumps({"type": "DSL_COMMAND", "payload": {"command": "ok"}})
        await client.send_message(text + " " * (1000 - len(text)))
        await hear_until(client, "dslResult")


@pytest.mark.parametrize(
    ("frame", "masked", "first", "code"),
    [
        (b"\xff\xfe", True, 0x81, 1007),
        (b"{}", False, 0x81, 1002),
        (b"{}", True, 0x83, 1002),
        (b"{}", True, 0xF1, 1002),
        (b"x" * 126, True, 0x89, 1002),
    ],
)
async def test_violations_of_the_protocol_are_named_before_the_end(
    tmp_path: Path, frame: bytes, masked: bool, first: int, code: int
) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.raw() as client, gateway.client() as other:
        await client.send_frame(frame, first, masked=masked)
        assert (await client.message())["payload"]["code"] == "invalid"
        assert await client.close_code() == code
        assert await client.rest() == b""
        await say(other, "DSL_COMMAND", command="ok")
        await hear_until(other, "dslResult")


async def test_garbage_on_any_connection_harms_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(5)
    async with open_gateway(tmp_path) as gateway, gateway.client() as good:
        for round in range(60):
            async with gateway.connect() as bad:
                data = rng.randbytes(rng.randrange(200))
                if round % 3:
                    data = HANDSHAKE.encode() + data
                if round % 3 == 2:
                    data = HANDSHAKE.encode() + bytes((0x81, 0x80 | 5)) + bytes(4) + b"hello" + data
                try:
                    await bad.stream.send_all(data)
                    await bad.stream.send_eof()
                except trio.BrokenResourceError:
                    pass
                await bad.rest()
        await say(good, "DSL_COMMAND", command="ok")
        await hear_until(good, "dslResult")
        await gateway.wait_metric("praxis_websocket_clients", 1)
    assert "Traceback" not in caplog.text


async def test_a_ping_after_the_closing_frame_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.raw() as client:
        gateway.stopping.set()
        assert (await client.frame())[0] == 8
        await client.send_frame(b"", 0x89)
        await client.rest()
        await gateway.served.wait()
    assert "Traceback" not in caplog.text


# -- who may come in ----------------------------------------------------------------------------------


async def refused(gateway: Running, line: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and problem document for a handshake with other headers, or with another request line."""
    head = HANDSHAKE
    for name, value in headers.items():
        head = re.sub(f"(?m)^{name}: .*\r\n", "", head).replace("\r\n", f"\r\n{name}: {value}\r\n", 1)
    if line:
        head = line + head[head.index("\r\n") :]
    async with gateway.connect() as client:
        await client.stream.send_all(head.encode())
        answer, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in answer
    problem = json.loads(body)
    assert answer.startswith(b"HTTP/1.1 %d " % problem["status"])
    return problem["status"], problem


async def test_strangers_are_refused_with_status_and_reason(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as good:
        assert (await refused(gateway, "GET / HTTP/1.1"))[0] == 404
        status, problem = await refused(gateway, Origin="https://evil.example")
        assert (status, problem["code"]) == (403, "denied")
        assert (await refused(gateway, Origin="null"))[0] == 403
        status, problem = await refused(gateway, Authorization="Bearer wrong")
        assert (status, problem["code"]) == (401, "unauthenticated")
        assert (await refused(gateway, Host="evil.example"))[0] == 421
        assert (await refused(gateway, Upgrade="h2c"))[0] == 426
        assert gateway.metric('praxis_websocket_refused_total{status="403"}') == 2
        assert gateway.executor.callers == []
        await say(good, "DSL_COMMAND", command="ok")
        await hear_until(good, "dslResult")


async def test_allowed_origins_come_in(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway:
        for origin in ("https://console.example", f"http://127.0.0.1:{gateway.port}"):
            async with gateway.client(Origin=origin) as client:
                await say(client, "DSL_COMMAND", command="ok")
                await hear_until(client, "dslResult")


async def test_beyond_loopback_a_token_is_needed_and_its_role_counts(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, network=True) as gateway:
        assert (await refused(gateway))[0] == 401
        viewer = gateway.tokens.new("viewer", "watcher")
        operator = gateway.tokens.new("operator", "worker")
        async with (
            gateway.client(Authorization=f"Bearer {viewer}") as watching,
            gateway.client(Authorization=f"Bearer {operator}") as working,
        ):
            for type, payload in (("DSL_COMMAND", {"command": "ok"}), ("CANCEL", {"runId": "r"})):
                await say(watching, type, **payload)
                assert (await hear(watching))["payload"]["code"] == "denied"
            await say(working, "DSL_COMMAND", command="ok")
            await hear_until(working, "dslResult")
            await hear_until(watching, "workflowComplete")
        assert [caller.role for caller in gateway.executor.callers] == ["operator"]


class ClosedPolicy(Policy):
    def authorize(self, principal: Principal, action: Action, object: Tool | None = None) -> None:
        raise PraxisError("denied", f"nobody may {action}")


async def test_one_who_may_not_even_read_is_refused(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, policy=ClosedPolicy(Export())) as gateway:
        status, problem = await refused(gateway)
        assert (status, problem["code"], problem["detail"]) == (403, "denied", "nobody may read")


async def test_a_refusal_reaches_one_who_is_still_sending(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.connect() as client:
        await client.stream.send_all(b"POST /ws/workflow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n")
        await client.stream.send_all(b"x" * 500_000)
        assert (await client.rest()).startswith(b"HTTP/1.1 405 ")


async def test_one_client_too_many_is_told_so(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, WebSocket(max_clients=1)) as gateway:
        async with gateway.client() as client:
            status, problem = await refused(gateway)
            assert (status, problem["code"]) == (503, "busy")
            await say(client, "DSL_COMMAND", command="ok")
            await hear_until(client, "dslResult")
        await gateway.wait_metric("praxis_websocket_clients", 0)
        async with gateway.client():
            pass


async def test_one_who_never_finishes_the_handshake_is_dropped(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.connect() as slow:
        await slow.stream.send_all(HANDSHAKE[:50].encode())
        async with gateway.client():  # whose handshake shows that the gateway had time to see the other
            mock_clock.jump(11)
            assert await slow.rest() == b""


# -- faults, stopping, time ---------------------------------------------------------------------------


async def test_a_fault_in_one_command_is_told_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        await say(client, "DSL_COMMAND", command="bug")
        error = (await hear_until(client, "error"))[-1]["payload"]
        assert (error["code"], "executor" in error["message"]) == ("internal", False)
        await say(client, "DSL_COMMAND", command="ok")
        await hear_until(client, "dslResult")
    assert "a fault in the executor" in caplog.text
    assert gateway.metric("praxis_websocket_faults_total") == 1


class FaultyPolicy(Policy):
    def authorize(self, principal: Principal, action: Action, object: Tool | None = None) -> None:
        if action == "run":
            raise ZeroDivisionError("a fault in the policy")


async def test_a_fault_in_one_conversation_closes_it_with_1011_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_gateway(tmp_path, policy=FaultyPolicy(Export())) as gateway,
        gateway.client() as client,
        gateway.client() as other,
    ):
        await say(client, "DSL_COMMAND", command="ok")
        with pytest.raises(ConnectionClosed) as caught:
            await hear(client)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1011
        gateway.bus.publish("run.started", run_id="r")
        assert (await hear(other))["type"] == "workflowStart"
    assert "a fault in the policy" in caplog.text


async def test_stopping_closes_idle_clients_at_once_with_1001(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client, gateway.raw() as raw:
        gateway.bus.publish("run.started", run_id="r")
        gateway.stopping.set()
        await hear_until(client, "workflowStart")
        with pytest.raises(ConnectionClosed) as caught:
            await hear(client)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1001
        assert (await raw.message())["type"] == "workflowStart"
        assert await raw.close_code() == 1001
        await gateway.served.wait()


async def test_stopping_lets_a_run_finish_within_the_grace(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        await say(client, "DSL_COMMAND", command="wait", workflowId="w")
        await hear_until(client, "nodeStatusUpdate")
        gateway.stopping.set()
        await say(client, "DSL_COMMAND", command="ok")
        assert (await hear_until(client, "error"))[-1]["payload"]["code"] == "unavailable"
        gateway.executor.go.set()
        assert (await hear_until(client, "dslResult"))[-1]["payload"]["success"]
        with pytest.raises(ConnectionClosed) as caught:
            await hear(client)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1001
        await gateway.served.wait()


async def test_a_run_that_outlasts_the_grace_is_cancelled(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with open_gateway(tmp_path) as gateway, gateway.client() as client:
        await say(client, "DSL_COMMAND", command="wait", workflowId="w")
        await hear_until(client, "nodeStatusUpdate")
        gateway.stopping.set()
        await say(client, "SUBSCRIBE")
        await hear_until(client, "subscribed")
        mock_clock.jump(31)
        with pytest.raises(ConnectionClosed) as caught:
            await hear_until(client, "never")
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1001
        await gateway.served.wait()
        assert gateway.executor.runs["w"].state == "cancelled"


async def test_a_client_that_answers_no_ping_is_given_up(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    config = WebSocket(ping_interval=54, pong_timeout=60)
    async with open_gateway(tmp_path, config) as gateway, gateway.raw() as dead, gateway.raw() as alive:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(55)
        opcode, payload = await alive.frame()
        assert opcode == 9
        await alive.send_frame(payload, 0x8A)
        assert (await dead.frame())[0] == 9
        await alive.send_frame(b'{"type": "SUBSCRIBE"}')
        assert (await alive.message())["type"] == "subscribed"
        mock_clock.jump(61)
        assert await dead.close_code() == 1011
        gateway.bus.publish("run.started", run_id="r")
        while (frame := await alive.frame())[0] == 9:
            pass
        assert b"workflowStart" in frame[1]


async def test_a_client_that_stops_reading_is_cut_off_and_no_other_notices(
    tmp_path: Path, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    text = "x" * 2000
    async with (
        open_gateway(tmp_path) as gateway,
        gateway.raw(receive_buffer=4096) as stalled,
        gateway.client() as reading,
    ):
        published = 0
        begin = LAST_SEQ[reading]
        while gateway.metric("praxis_websocket_events_dropped_total") == 0:
            for _ in range(20):
                gateway.bus.publish("step.progress", run_id="r", step="s", progress={"message": text})
            for _ in range(20):
                published += 1
                assert (await hear(reading))["seq"] == begin + published
        assert gateway.metric("praxis_websocket_clients_cut_total") == 0
        mock_clock.jump(STALL + 0.1)
        await gateway.wait_metric("praxis_websocket_clients_cut_total", 1)
        gateway.bus.publish("run.started", run_id="r")
        assert (await hear(reading))["seq"] == begin + published + 1
        await say(reading, "DSL_COMMAND", command="ok")
        await hear_until(reading, "dslResult")
        assert len(await stalled.rest()) < published * len(text)
        await gateway.wait_metric("praxis_websocket_clients", 1)
    assert "cut off" in caplog.text


async def test_a_client_that_reads_again_in_time_is_told_what_it_missed(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    text = "x" * 2000
    async with open_gateway(tmp_path) as gateway, gateway.raw(receive_buffer=4096) as slow:
        while gateway.metric("praxis_websocket_events_dropped_total") == 0:
            for _ in range(20):
                gateway.bus.publish("step.progress", run_id="r", step="s", progress={"message": text})
            await trio.testing.wait_all_tasks_blocked()
        dropped = gateway.metric("praxis_websocket_events_dropped_total")
        mock_clock.jump(STALL - 1)
        seq, missed = slow.seq, 0
        while missed == 0:
            message = await slow.message()
            if message["type"] == "gap":
                missed = message["payload"]["missed"]
                assert message["seq"] == seq + missed
            else:
                assert message["seq"] == seq + 1
            seq = message["seq"]
        assert missed == dropped
        mock_clock.jump(2 * STALL)
        gateway.bus.publish("run.started", run_id="r")
        while (message := await slow.message())["type"] != "workflowStart":
            pass
        assert gateway.metric("praxis_websocket_clients_cut_total") == 0
