"""Asking a model over real HTTP: what it says, what it refuses, and what breaks on the way."""

from __future__ import annotations

import json
import logging
from email.utils import formatdate
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from praxis.config.hooks import Text
from praxis.config.schema import Llm, RateLimiting
from praxis.llm import client as module
from praxis.model.errors import PraxisError
from tests.support.fake_http import Exchange, Handler
from tests.support.fake_llm import DONE, KEY, NOW, called, calls, cut, delta, fake_llm, refuses, says, whole

MESSAGES = [{"role": "system", "content": "Plan."}, {"role": "user", "content": "Do it."}]
SCHEMA = {"type": "object", "properties": {"nodes": {"type": "array"}}}
PLAN = {"nodes": [{"id": "n1", "tool": "a:b/c", "arguments": {"x": "ü\u2028 and more"}}], "edges": [], "say": "Ja."}


async def ask(*turns: Handler, **config: Any) -> tuple[Any, list[Any]]:
    """What is answered, and the bodies of the requests."""
    async with fake_llm(*turns, **config) as server:
        answer = await server.client().ask(MESSAGES, SCHEMA)
        return json.loads(answer.text), server.asked


async def fails(*turns: Handler, **config: Any) -> PraxisError:
    """The error of an answer that never comes; the key is nowhere in it."""
    async with fake_llm(*turns, **config) as server:
        with pytest.raises(PraxisError) as caught:
            await server.client().ask(MESSAGES, SCHEMA)
    error = caught.value
    assert KEY not in f"{error} {error!r} {error.data} {server.metrics.render()}"
    assert f'praxis_llm_requests_total{{outcome="{error.code}"}} 1' in server.metrics.render()
    return error


# -- asking and answering ---------------------------------------------------------------------------


async def test_a_function_is_called_in_pieces() -> None:
    answer, (body,) = await ask(calls(PLAN), max_tokens=77, temperature=0.5)
    assert answer == PLAN
    assert (body["model"], body["messages"], body["max_tokens"], body["temperature"]) == ("small", MESSAGES, 77, 0.5)
    assert body["stream"] is True
    assert body["tools"][0]["function"]["parameters"] == SCHEMA
    assert body["tool_choice"] == {"type": "function", "function": {"name": "make_plan"}}
    assert "response_format" not in body


async def test_json_of_a_schema_is_written_in_pieces() -> None:
    answer, (body,) = await ask(says(json.dumps(PLAN)), function_calling=False)
    assert answer == PLAN
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "tools" not in body


async def test_a_server_that_does_not_stream() -> None:
    assert (await ask(whole(json.dumps(PLAN))))[0] == PLAN


async def test_the_key_is_sent_and_none_is_not() -> None:
    async with fake_llm(says("{}"), says("{}")) as server:
        client = server.client()
        await client.ask(MESSAGES, SCHEMA)
        await client.ask(MESSAGES, SCHEMA)
        assert [exchange.headers["authorization"] for exchange in server.exchanges] == [f"Bearer {KEY}"] * 2
        assert server.exchanges[0].target == "/v1/chat/completions"
        assert server.exchanges[0]._stream is server.exchanges[1]._stream, "the connection is used again"
        assert KEY not in repr(client) + repr(server.config)
        await client.aclose()
    async with fake_llm(says("{}"), api_key="") as server:
        await server.client().ask(MESSAGES, SCHEMA)
        assert "authorization" not in server.exchanges[0].headers


async def test_a_key_that_a_server_repeats_is_not_passed_on() -> None:
    assert (await ask(says(json.dumps({"say": f"your key is {KEY}"}))))[0] == {"say": "your key is ***"}


async def test_tokens_are_counted() -> None:
    async with fake_llm(says("{}"), calls({})) as server:
        client = server.client()
        assert (await client.ask(MESSAGES, SCHEMA)).usage is not None
        await client.ask(MESSAGES, SCHEMA)
        page = server.metrics.render()
    assert 'praxis_llm_tokens_total{kind="prompt"} 200' in page
    assert 'praxis_llm_tokens_total{kind="completion"} 40' in page
    assert 'praxis_llm_requests_total{outcome="ok"} 2' in page
    assert "praxis_llm_answer_seconds_count 2" in page


# -- what a server does not take --------------------------------------------------------------------


async def test_what_is_refused_is_asked_for_otherwise_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    turns = [
        refuses(400, "this model does not support tools"),
        refuses(422, "response_format: not permitted"),
        says("{}"),
        says("{}"),
    ]
    async with fake_llm(*turns) as server:
        client = server.client()
        await client.ask(MESSAGES, SCHEMA)
        await client.ask(MESSAGES, SCHEMA)
        forms = [("tools" in body, "response_format" in body) for body in server.asked]
    assert forms == [(True, False), (False, True), (False, False), (False, False)]
    assert [record.message for record in caplog.records] == [
        "the model's server refuses mode function; asking otherwise",
        "the model's server refuses mode schema; asking otherwise",
    ]


async def test_a_server_that_says_500_where_it_means_400() -> None:
    answer, asked = await ask(refuses(500, "tools param requires --jinja flag"), says("{}"))
    assert answer == {}
    assert "response_format" in asked[1]


@pytest.mark.parametrize(
    ("message", "lost", "new"),
    [
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_tokens",
            {"max_completion_tokens": 9},
        ),
        ("Unsupported value: 'temperature' does not support 0.", "temperature", {}),
        ("stream_options: extra fields not permitted", "stream_options", {}),
    ],
)
async def test_keys_that_some_models_refuse(message: str, lost: str, new: dict[str, Any]) -> None:
    _, asked = await ask(refuses(400, message), calls({}), max_tokens=9)
    assert lost in asked[0]
    assert asked[1] == {key: value for key, value in asked[0].items() if key != lost} | new


async def test_a_request_that_is_refused_in_every_form() -> None:
    error = await fails(*[refuses(400, f"bad\x1b[31m {KEY}")] * 3)
    assert error.code == "unavailable"
    assert error.detail.endswith("refuses the request (HTTP status 400): bad [31m ***")


async def test_a_wrong_key() -> None:
    error = await fails(refuses(401, f"Incorrect API key provided: {KEY[:8]}***{KEY[-4:]}"))
    assert error.code == "unavailable"
    assert error.detail.endswith("/v1 does not accept the API key (HTTP status 401)")
    assert KEY[:8] not in str(error)
    assert "OPENAI_API_KEY" in error.hint


@pytest.mark.parametrize(
    ("turn", "code", "words"),
    [
        (refuses(404, "no model small", code="model_not_found"), "unavailable", "404): no model small"),
        (refuses(400, "too many tokens in functions", code="context_length_exceeded"), "too_large", "too many tokens"),
        (refuses(413), "too_large", "413"),
        (refuses(429, "You exceeded your quota", code="insufficient_quota"), "unavailable", "quota"),
        (refuses(403), "unavailable", "403"),
    ],
)
async def test_what_is_final_is_not_asked_again(turn: Handler, code: str, words: str) -> None:
    error = await fails(turn)
    assert error.code == code
    assert words in error.detail


# -- what fails for a moment ------------------------------------------------------------------------


async def test_a_busy_server_is_asked_again_when_it_says(autojump_clock: MockClock) -> None:
    date = formatdate(NOW + 20, usegmt=True)
    turns = [refuses(429, headers={"Retry-After": "7"}), refuses(503, headers={"Retry-After": date}), says("{}")]
    began = trio.current_time()
    assert (await ask(*turns))[0] == {}
    assert 27 <= trio.current_time() - began < 28


async def test_a_server_cannot_make_us_wait_for_long(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert (await ask(refuses(429, headers={"Retry-After": "86400"}), says("{}")))[0] == {}
    assert 30 <= trio.current_time() - began < 31


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 40, "Mon, 99 Foo 2000", ""])
async def test_a_retry_after_that_says_nothing(value: str, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert (await ask(refuses(429, headers={"Retry-After": value}), says("{}")))[0] == {}
    assert trio.current_time() - began < 1


async def test_trouble_and_lost_connections_are_tried_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    async with fake_llm(refuses(500), cut, refuses(502), says("{}")) as server:
        await server.client().ask(MESSAGES, SCHEMA)
        assert 'praxis_llm_requests_total{outcome="retried"} 3' in server.metrics.render()
    assert 0.75 * 3.5 <= trio.current_time() - began <= 1.25 * 3.5 + 1


async def test_trouble_that_stays(autojump_clock: MockClock) -> None:
    async def page(exchange: Exchange) -> None:
        await exchange.reply(500, b"<html><h1>Oh</h1>", kind="text/html")

    error = await fails(*[page] * 4)
    assert (error.code, error.data) == ("unavailable", {"http": 500})
    assert error.detail.endswith("has trouble (HTTP status 500)")
    error = await fails(*[refuses(429, "slow down")] * 4)
    assert error.code == "busy"


async def test_nobody_listens(autojump_clock: MockClock) -> None:
    async with fake_llm() as server:
        pass
    with pytest.raises(PraxisError, match="cannot connect to 127") as caught:
        await server.client().ask(MESSAGES, SCHEMA)
    assert caught.value.code == "unavailable"


async def half(exchange: Exchange) -> None:
    await exchange.stream(delta(content='{"nodes": []'), end=False)
    await exchange.cut()


async def half_and_ended(exchange: Exchange) -> None:
    await exchange.stream(delta(content='{"nodes": []'))


async def half_and_silent(exchange: Exchange) -> None:
    await exchange.stream(delta(content='{"nodes": []'), end=False)
    await exchange.wait_gone()


async def half_and_error(exchange: Exchange) -> None:
    await exchange.stream(delta(content='{"nodes": []'), {"error": {"message": f"out of memory {KEY}"}})


async def broken(exchange: Exchange) -> None:
    await exchange.stream(b"data: {nonsense\n\n", DONE)


async def no_choices(exchange: Exchange) -> None:
    await exchange.reply(200, b'{"choices": 5}')


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (half, "ends too soon"),
        (half_and_ended, "the stream ends in the middle"),
        (half_and_silent, "it has stopped for 30 s in the middle"),
        (half_and_error, "it says: out of memory ***"),
        (broken, "it is not JSON"),
        (no_choices, "it has no choices"),
    ],
)
async def test_half_an_answer_is_none(turn: Handler, words: str, autojump_clock: MockClock) -> None:
    assert (await ask(turn, says("{}")))[0] == {}
    error = await fails(*[turn] * 4, timeout=1000.0)
    assert error.code == "unavailable"
    assert words in error.detail


async def test_the_time_is_up(autojump_clock: MockClock) -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.wait_gone()

    began = trio.current_time()
    error = await fails(refuses(500, "starting"), silent, timeout=20.0)
    assert error.code == "timeout"
    assert "not answered within 20 s; the last try: " in error.detail
    assert "starting" in error.detail
    assert trio.current_time() - began == pytest.approx(20)


async def test_a_pause_that_does_not_fit_into_the_time_is_not_made(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    error = await fails(refuses(429, headers={"Retry-After": "25"}), timeout=20.0)
    assert error.code == "busy"
    assert trio.current_time() - began < 1


async def test_a_slow_answer_is_an_answer(autojump_clock: MockClock) -> None:
    async def slow(exchange: Exchange) -> None:
        await trio.sleep(40)  # the model reads the question
        for piece in ("{", '"say": ', '"x"}'):
            await exchange.stream(delta(content=piece), end=False)
            await trio.sleep(20)
        await exchange.stream(delta("stop"), DONE)

    assert (await ask(slow, timeout=120.0))[0] == {"say": "x"}


# -- bounds -----------------------------------------------------------------------------------------


async def test_an_answer_that_was_cut_off() -> None:
    async def long(exchange: Exchange) -> None:
        await exchange.stream(delta(content="{"), delta("length"), DONE)

    error = await fails(long, max_tokens=5)
    assert error.code == "too_large"
    assert error.hint.startswith("llm.max_tokens is 5")


async def test_an_answer_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(exchange: Exchange) -> None:
        while True:
            await exchange.stream(delta(content="x" * 10_000), end=False)

    assert (await fails(endless)).code == "too_large"

    async def comments(exchange: Exchange) -> None:
        await exchange.stream(end=False)
        while True:
            await exchange.stream(b":" + b"x" * 50_000 + b"\n", end=False)

    monkeypatch.setattr(module, "MAX_STREAM", 300_000)
    assert (await fails(comments)).code == "too_large"

    async def large(exchange: Exchange) -> None:
        await exchange.reply(200, b" " * 300_001)

    assert (await fails(large)).code == "too_large"


async def test_a_model_that_declines() -> None:
    async def declines(exchange: Exchange) -> None:
        await exchange.stream(delta(refusal="I'm sorry"), delta("stop"), DONE)

    async def filtered(exchange: Exchange) -> None:
        await exchange.stream(delta("content_filter"), DONE)

    for turn in (declines, filtered):
        assert "declines to answer" in (await fails(turn)).detail


async def test_several_calls_count_as_the_first() -> None:
    async def two(exchange: Exchange) -> None:
        pieces = [(0, '{"a"'), (1, '{"b"'), (0, ": 1}"), (1, ": 2}")]
        events = [delta(tool_calls=called(text, index=index)) for index, text in pieces]
        await exchange.stream(delta(content="I call two."), *events, delta("tool_calls"))

    assert (await ask(two))[0] == {"a": 1}


async def test_our_own_limits(autojump_clock: MockClock) -> None:
    limits = RateLimiting(requests_per_minute=1, tokens_per_minute=0)
    async with fake_llm(says("{}"), says("{}"), rate_limiting=limits, timeout=70.0) as server:
        client = server.client()
        began = trio.current_time()
        await client.ask(MESSAGES, SCHEMA)
        await client.ask(MESSAGES, SCHEMA)
        assert 60 <= trio.current_time() - began < 61
        with trio.move_on_after(50), pytest.raises(PraxisError) as caught:
            await client.ask(MESSAGES, SCHEMA)
        assert caught.value.code == "busy"


async def test_tokens_that_were_really_taken_count(autojump_clock: MockClock) -> None:
    """Two answers of 120 tokens fit into a minute of 1,200, although each might have taken 1,000."""
    limits = RateLimiting(requests_per_minute=0, tokens_per_minute=1200)
    async with fake_llm(says("{}"), refuses(418), says("{}"), rate_limiting=limits, max_tokens=900) as server:
        client = server.client()
        began = trio.current_time()
        await client.ask(MESSAGES, SCHEMA)
        with pytest.raises(PraxisError):
            await client.ask(MESSAGES, SCHEMA)
        await client.ask(MESSAGES, SCHEMA)
        assert trio.current_time() - began < 1


async def test_values_that_came_by_references_show_as_these(autojump_clock: MockClock) -> None:
    async with fake_llm(refuses(404, f"no {KEY}")) as server:
        config = attrs.evolve(server.config, api_key=Text(KEY, "${KEY}"), base_url=Text(server.config.url, "${URL}"))
        server.config = config
        with pytest.raises(PraxisError) as caught:
            await server.client().ask(MESSAGES, SCHEMA)
        assert caught.value.detail == "the model at ${URL} refuses the request (HTTP status 404): no ***"
        assert server.exchanges[0].headers["authorization"] == f"Bearer {KEY}"


def test_no_header_can_come_with_the_key() -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        Llm(api_key=f"{KEY}\r\nX: 1")
    assert KEY not in str(caught.value)
