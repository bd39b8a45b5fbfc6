"""A server of chat completions on loopback that says what a test has written for it, one turn after the other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs

from praxis.config.schema import Llm, RateLimiting
from praxis.llm.client import ChatClient
from praxis.observe.metrics import Metrics
from tests.support.fake_http import Exchange, Handler, fake_http

KEY = "sk-s3cret-0123456789"
NOW = 1_800_000_000.0
"""Seconds since the epoch, for whoever asks."""
USAGE = {"prompt_tokens": 100, "completion_tokens": 20}
DONE = b"data: [DONE]\n\n"


def delta(finish: str | None = None, **message: Any) -> dict[str, Any]:
    """One piece of a stream."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": message, "finish_reason": finish}]}


def called(text: str, *, index: int = 0, **more: Any) -> list[dict[str, Any]]:
    """A piece of a function's arguments."""
    return [{"index": index, "function": {"arguments": text, **more}}]


def says(text: str, *, size: int = 7) -> Handler:
    """The text, a few characters at a time."""

    async def answer(exchange: Exchange) -> None:
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        events = [delta(role="assistant", content=""), *(delta(content=piece) for piece in pieces), delta("stop")]
        await exchange.stream(*events, {"choices": [], "usage": USAGE}, DONE)

    return answer


def calls(arguments: Any, *, size: int = 7) -> Handler:
    """A call of the function with these arguments, a few characters at a time."""

    async def answer(exchange: Exchange) -> None:
        text = json.dumps(arguments)
        first = delta(tool_calls=[{"index": 0, "id": "1", "type": "function", "function": {"name": "make_plan"}}])
        pieces = [delta(tool_calls=called(text[start : start + size])) for start in range(0, len(text), size)]
        await exchange.stream(first, *pieces, delta("tool_calls"), {"choices": [], "usage": USAGE}, DONE)

    return answer


def whole(text: str) -> Handler:
    """The text at once, by a server that does not stream."""

    async def answer(exchange: Exchange) -> None:
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        await exchange.reply(200, json.dumps({"choices": [choice], "usage": USAGE}).encode())

    return answer


def refuses(status: int, message: str = "", headers: Mapping[str, str] | None = None, **error: str) -> Handler:
    async def answer(exchange: Exchange) -> None:
        body = json.dumps({"error": {"message": message, **error}}).encode()
        await exchange.reply(status, body, headers)

    return answer


async def cut(exchange: Exchange) -> None:
    """The connection breaks without an answer."""
    await exchange.cut()


@attrs.define
class FakeLlm:
    config: Llm
    exchanges: Sequence[Exchange]
    metrics: Metrics = attrs.field(factory=Metrics)
    clients: list[ChatClient] = attrs.field(factory=list)

    @property
    def asked(self) -> list[Any]:
        """The bodies of the requests."""
        return [exchange.message for exchange in self.exchanges]

    def client(self) -> ChatClient:
        """One that is closed with the server."""
        client = ChatClient(self.config, metrics=self.metrics, clock=lambda: NOW, chance=Random(1))
        self.clients.append(client)
        return client


UNLIMITED = RateLimiting(requests_per_minute=0, tokens_per_minute=0)


@asynccontextmanager
async def fake_llm(*turns: Handler, **config: Any) -> AsyncIterator[FakeLlm]:
    """Each request gets the next of `turns`, and one too many a status of 418."""
    waiting = list(turns)

    async def handle(exchange: Exchange) -> None:
        turn = waiting.pop(0) if waiting else refuses(418, "nothing more is written for this")
        await turn(exchange)

    async with fake_http(handle) as server:
        given = {"enabled": True, "api_key": KEY, "model": "small", "rate_limiting": UNLIMITED, **config}
        fake = FakeLlm(Llm(base_url=server.url.replace("/mcp", "/v1"), **given), server.exchanges)
        try:
            yield fake
        finally:
            for client in fake.clients:
                await client.aclose()
        assert not waiting, "not everything was asked for"
