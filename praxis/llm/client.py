"""Asks a model: chat completions as OpenAI has them and many others too, over our own HTTP client.

Answers are streamed, so that a server that has gone silent is noticed. What fails for a moment is tried again: a busy
server, one with trouble, a connection that breaks, a stream that ends in the middle. The key is in a header and nowhere
else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import NoReturn

import attrs
import trio

from praxis.config.schema import Llm
from praxis.llm.dialect import Dialect, Messages, ServerError
from praxis.llm.failures import is_for_a_moment, refused, retry_after
from praxis.llm.limits import RateLimits, Turn
from praxis.llm.reply import MAX_TEXT, BrokenReplyError, Reply, TooLongError, Usage, read_error
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.net.http_client import BodyTooLargeError, HttpClient, HttpError, HttpResponse
from praxis.observe.metrics import Metrics
from praxis.wire.sse import EventReader

logger = logging.getLogger(__name__)

TRIES = 4
"""Times that one answer is asked for; a server that is in trouble for longer is in trouble."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a second try, doubled each time, give or take a quarter."""
MAX_RETRY_AFTER = 30.0
"""Seconds that a server may have us wait; what it asks beyond is cut to that."""
IDLE_LIMIT = 30.0
"""Seconds between two pieces of a stream that has begun. The first may take its time: the model reads the question."""
LAST_LIMIT = 0.5
"""Seconds to wait for the end of a body whose last piece has come, so that its connection can be used again."""
MAX_STREAM = 64 * MAX_TEXT
"""Bytes of a stream: each piece of a few characters comes in a frame of some hundred."""
SMALL_BODY = 65_536
"""Bytes of an error's body that are looked at."""
KEEP = 2
"""Connections that stay open between requests; few requests are made at once."""
CHARACTERS = 4
"""Characters of a token, about; what a request takes is estimated before it is made."""
SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0)


@attrs.frozen
class Answer:
    """What the model said. `usage` is the server's count of tokens, or None where it does not count."""

    text: str
    usage: Usage | None


class ChatClient:
    """Makes requests to one model, any number of tasks at once.

    `clock` gives seconds since the epoch, for dates in headers; `chance` spreads the pauses.
    """

    def __init__(self, config: Llm, *, metrics: Metrics, clock: Callable[[], float], chance: Random) -> None:
        self._config = config
        self._clock = clock
        self._chance = chance
        headers = [("Authorization", f"Bearer {config.api_key}")] if config.api_key else []
        self._http = HttpClient(keep=KEEP, headers=headers)
        limits = config.rate_limiting
        self._limits = RateLimits(limits.requests_per_minute, limits.tokens_per_minute)
        self._dialect = Dialect("function" if config.function_calling else "schema")
        help = "Requests to the model: ok, retried, or failed with the code of the error."
        self._requests = metrics.counter("praxis_llm_requests_total", help, ("outcome",))
        self._tokens = metrics.counter("praxis_llm_tokens_total", "Tokens, as the model's server counts.", ("kind",))
        self._seconds = metrics.histogram("praxis_llm_answer_seconds", "Until a model has answered.", SECONDS)

    async def ask(self, messages: Messages, schema: Mapping[str, JSON]) -> Answer:
        """The model's answer, which should be JSON of this schema and need not be.

        Raises PraxisError: "timeout" after `llm.timeout` seconds, "busy" for a limit of ours or of the server,
        "too_large" for a question or an answer that is too long, "unavailable" for all else that fails.
        """
        began = trio.current_time()
        last: list[PraxisError] = []
        try:
            with trio.move_on_after(self._config.timeout):
                answer = await self._ask(messages, schema, last)
                self._requests.inc(1, "ok")
                self._seconds.observe(trio.current_time() - began)
                return answer
            why = f"; the last try: {last[-1].detail}" if last else ""
            raise PraxisError(
                "timeout",
                f"the model {self._config.model_name} has not answered within {self._config.timeout:g} s{why}",
                hint="llm.timeout is how long it may take",
            )
        except PraxisError as error:
            self._requests.inc(1, error.code)
            raise

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _ask(self, messages: Messages, schema: Mapping[str, JSON], last: list[PraxisError]) -> Answer:
        """Tries until there is an answer; what failed is put into `last`."""
        dialect, tries = self._dialect, 0
        while True:
            body = json.dumps(dialect.request(self._config, messages, schema)).encode()
            turn = await self._limits.wait(len(body) // CHARACTERS + self._config.max_tokens)
            try:
                answer = await self._try(body, turn)
            except _RefusedError as refusal:
                other = dialect.after(refusal.said)
                if other is not None:
                    logger.info("the model's server refuses %s; asking otherwise", _difference(dialect, other))
                    dialect = other
                    continue
                if not is_for_a_moment(refusal.said):
                    raise refused(self._config, refusal.said) from None
                error, after = refused(self._config, refusal.said), refusal.after
            except _BrokenError as failure:
                error, after = failure.error, None
            else:
                self._dialect = dialect  # what was refused on the way is not tried again
                return answer
            last.append(error)
            tries += 1
            pause = min(FIRST_PAUSE * 2.0 ** (tries - 1), LONGEST_PAUSE) * self._chance.uniform(0.75, 1.25)
            if after is not None:
                pause = min(after, MAX_RETRY_AFTER)
            if tries == TRIES or trio.current_time() + pause > trio.current_effective_deadline():
                raise error
            self._requests.inc(1, "retried")
            await trio.sleep(pause)

    async def _try(self, body: bytes, turn: Turn) -> Answer:
        """One request. Raises _RefusedError, _BrokenError and PraxisError."""
        used = turn.tokens  # until it is known: a request that is given up may be answered all the same
        url = f"{self._config.url}/chat/completions"
        headers = [("Content-Type", "application/json"), ("Accept", "text/event-stream, application/json")]
        reply = Reply()
        try:
            async with self._http.request("POST", url, headers=headers, body=body) as response:
                if response.status >= 300:
                    used = 0
                    await self._refuse(response)
                await self._read(response, reply)
                used = (len(body) + len(reply.text)) // CHARACTERS
        except (BodyTooLargeError, TooLongError):
            raise self._too_long() from None
        except HttpError as error:
            used = turn.tokens if error.sent else 0
            raise _BrokenError(self._trouble(str(error))) from None
        except BrokenReplyError as error:
            raise _BrokenError(self._trouble(f"its answer is broken: {error}")) from None
        finally:
            if reply.usage is not None:
                used = reply.usage.prompt + reply.usage.completion
                self._tokens.inc(reply.usage.prompt, "prompt")
                self._tokens.inc(reply.usage.completion, "completion")
            self._limits.settle(turn, used)
        return self._judge(reply)

    async def _refuse(self, response: HttpResponse) -> NoReturn:
        """Raises _RefusedError."""
        said = b""
        with suppress(HttpError):  # what it says beyond its status is not needed
            with trio.move_on_after(IDLE_LIMIT):
                said = await response.read(SMALL_BODY)
        error, key = read_error(response.status, said), self._config.api_key
        if key:
            error = attrs.evolve(error, message=error.message.replace(key, "***"))
        raise _RefusedError(error, retry_after(response.headers, self._clock()))

    async def _read(self, response: HttpResponse, reply: Reply) -> None:
        """Raises HttpError, BrokenReplyError, TooLongError."""
        if response.content_type != "text/event-stream":
            reply.take(await response.read(MAX_STREAM))
            reply.ended = True
            return
        reader = EventReader(MAX_TEXT)
        size, patience = 0, float("inf")
        while not reply.ended:
            with trio.move_on_after(patience) as idle:
                piece = await response.receive()
            if idle.cancelled_caught:
                raise BrokenReplyError(f"it has stopped for {IDLE_LIMIT:g} s in the middle")
            if not piece:
                break
            size += len(piece)
            if size > MAX_STREAM:
                raise TooLongError
            for event in reader.receive(piece):
                if event.size:
                    raise TooLongError
                reply.take(event.data)
                patience = IDLE_LIMIT
        if not reply.whole:
            raise BrokenReplyError("the stream ends in the middle")
        with suppress(HttpError), trio.move_on_after(LAST_LIMIT):
            while await response.receive():
                pass

    def _judge(self, reply: Reply) -> Answer:
        if reply.finish == "length":
            raise self._too_long()
        if reply.finish == "content_filter" or (reply.refusal and not reply.text):
            raise PraxisError(
                "unavailable",
                f"the model {self._config.model_name} declines to answer",
                hint="say it in other words, or write CALL TOOL ...",
            )
        text = reply.text
        key = self._config.api_key
        # A server that repeats the key would have it shown; a short one is no secret, and may be part of any word.
        return Answer(text.replace(key, "***") if len(key) >= 8 else text, reply.usage)

    def _too_long(self) -> PraxisError:
        return PraxisError(
            "too_large",
            f"the answer of the model {self._config.model_name} is too long",
            hint=f"llm.max_tokens is {self._config.max_tokens}; or ask for less at once",
        )

    def _trouble(self, what: str) -> PraxisError:
        key = self._config.api_key
        return PraxisError(
            "unavailable",
            f"the model at {self._config.shown}: {what.replace(key, '***') if key else what}",
            hint="llm.base_url is where it should be",
        )


class _RefusedError(Exception):
    """A status of 300 or more. `after` is how many seconds the server asks to wait, or None."""

    def __init__(self, said: ServerError, after: float | None) -> None:
        super().__init__(said.status)
        self.said = said
        self.after = after


class _BrokenError(Exception):
    """The connection or what came over it broke."""

    def __init__(self, error: PraxisError) -> None:
        super().__init__(str(error))
        self.error = error


def _difference(one: Dialect, other: Dialect) -> str:
    old, new = attrs.asdict(one), attrs.asdict(other)
    return ", ".join(f"{name} {old[name]}" for name in old if old[name] != new[name])
