"""An agent somewhere else over HTTP: its card, and requests of A2A over JSON-RPC."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import trio

from praxis import __version__
from praxis.config.schema import A2aAgent
from praxis.model.errors import Code, PraxisError
from praxis.model.tool import JSON
from praxis.net.http_client import BodyTooLargeError, HttpClient, HttpError, HttpResponse
from praxis.tools.http_statuses import CODES
from praxis.wire import jsonrpc
from praxis.wire.a2a import CONTENT_TYPE, NOT_NOW, TASK_NOT_FOUND
from praxis.wire.a2a_foreign_card import CardError, ForeignCard, card_addresses, plain, read_card
from praxis.wire.a2a_task_view import MAX_KEPT, METHODS
from praxis.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, ErrorResponse, MessageError, Response
from praxis.wire.sse import EventReader

KEPT_OPEN = 4
"""Connections that stay open between requests: a few calls at a time are usual."""
CARD_LIMIT = 20.0
"""Seconds for a card, with the way there."""
MAX_CARD = 1024 * 1024
"""Bytes of a card: one with hundreds of skills is smaller."""
MAX_TAG = 256
"""Characters of an ETag that is remembered; hashes in hex have some tens."""
MAX_ANSWER = MAX_KEPT + 256 * 1024
"""Bytes of one answer or event: all that is kept of a task, and what is said about it."""
MAX_ERROR = 64 * 1024
"""Bytes of an error's body that are looked at."""
MAX_TOLD = 300
"""Characters of an agent's own words in an error."""
_CODES: Mapping[int, Code] = {
    INVALID_PARAMS: "invalid",
    CONTENT_TYPE: "invalid",
    TASK_NOT_FOUND: "not_found",
    NOT_NOW: "busy",
}


class AgentHttp:
    """The way to one agent. Each request raises PraxisError with `delivered` for what may have had an effect."""

    def __init__(self, config: A2aAgent) -> None:
        self._config = config
        self._client = HttpClient(keep=KEPT_OPEN, headers=config.headers.items(), agent=f"praxis/{__version__}")
        self._ids = itertools.count(1)
        self._tag = ""
        self._found = ""
        self._card: ForeignCard | None = None

    async def fetch_card(self) -> ForeignCard:
        """The card as it is now; the same object while it is the same. Raises OSError, and CardError."""
        reasons: list[str] = []
        with trio.move_on_after(CARD_LIMIT):
            for address in card_addresses(self._config.url):
                known = self._card if address == self._found else None
                # The header has a 1.0 agent show what it shows to 1.0; others do not know it.
                headers = [("Accept", "application/json"), ("A2A-Version", "1.0")]
                headers += [("If-None-Match", self._tag)] if known is not None and self._tag else []
                async with self._client.request("GET", address, headers=headers) as response:
                    if response.status == 304 and known is not None:
                        return known
                    if response.status == 200:
                        card = read_card(await self._card_body(response), self._config.url)
                        self._tag, self._found = _tag(response), address
                        self._card = card
                        return card
                    reasons.append(f"{address} answers with HTTP status {response.status}")
                    if response.status not in (404, 405, 410):
                        break
            raise CardError(f"there is no card: {'; '.join(reasons)}")
        raise CardError(f"there is no card within {CARD_LIMIT:g} s")

    async def ask(self, card: ForeignCard, what: str, params: Mapping[str, JSON]) -> JSON:
        """The result of a request that is answered once."""
        id, body = self._request(card, what, params)
        try:
            async with self._client.request("POST", card.url, headers=_headers(card), body=body) as response:
                await self._check(response)
                return self._result(id, await response.read(MAX_ANSWER))
        except HttpError as error:
            raise self._lost(error) from error

    async def stream(self, card: ForeignCard, params: Mapping[str, JSON], take: Callable[[JSON], bool]) -> None:
        """Send a message and give the results of the events to `take`, until that has enough (True) or they end.

        An agent may answer once instead of with events.
        """
        id, body = self._request(card, "stream", params)
        headers = [*_headers(card), ("Accept", "text/event-stream, application/json")]
        try:
            async with self._client.request("POST", card.url, headers=headers, body=body) as response:
                await self._check(response)
                if response.content_type != "text/event-stream":
                    take(self._result(id, await response.read(MAX_ANSWER)))
                    return
                reader = EventReader(MAX_ANSWER)
                while piece := await response.receive():
                    for event in reader.receive(piece):
                        if event.size > MAX_ANSWER:
                            raise self._error("too_large", f"an event of it is larger than {MAX_ANSWER} bytes", True)
                        if take(self._result(id, event.data)):
                            return
        except HttpError as error:
            raise self._lost(error) from error

    async def aclose(self) -> None:
        """Close the connections that are open."""
        await self._client.aclose()

    async def _card_body(self, response: HttpResponse) -> bytes:
        try:
            return await response.read(MAX_CARD)
        except BodyTooLargeError:
            raise CardError(f"its card is larger than {MAX_CARD} bytes") from None

    def _request(self, card: ForeignCard, what: str, params: Mapping[str, JSON]) -> tuple[int, bytes]:
        id = next(self._ids)
        tenant = {"tenant": card.tenant} if card.tenant else {}
        return id, jsonrpc.request(id, METHODS[card.version][what], {**tenant, **params})

    async def _check(self, response: HttpResponse) -> None:
        """Raises PraxisError for a status that is none of success. A JSON-RPC error in its body is what counts."""
        if response.status < 300:
            return
        status = response.status
        try:
            body = await response.read(MAX_ERROR)
            messages = jsonrpc.parse(body)
        except (HttpError, MessageError):
            messages = []
        for message in messages:
            if isinstance(message, ErrorResponse):
                raise self._refused(message)
        hint = "a2a.agents[].headers may hold an Authorization" if status == 401 else ""
        told = f"it answers with HTTP status {status}"
        raise self._error(CODES.get(status, "unavailable"), told, status >= 500, hint=hint)

    def _result(self, id: int, body: bytes) -> JSON:
        try:
            messages = jsonrpc.parse(body)
        except MessageError as error:
            raise self._error("unavailable", f"its answer is no JSON-RPC: {error}", True) from None
        match messages:
            case [Response(id=given, result=result)] if given == id:
                return result
            case [ErrorResponse() as refusal]:
                raise self._refused(refusal)
        raise self._error("unavailable", "its answer is none to this request", True)

    def _refused(self, error: ErrorResponse) -> PraxisError:
        code = _CODES.get(error.code, "unavailable")
        words = plain(error.message, MAX_TOLD)
        told = f"it refuses with code {error.code}{': ' if words else ''}{words}"
        return self._error(code, told, error.code == INTERNAL_ERROR, a2a_code=error.code)

    def _lost(self, error: HttpError) -> PraxisError:
        if isinstance(error, BodyTooLargeError):
            return self._error("too_large", f"its answer is larger than {MAX_ANSWER} bytes", True)
        return self._error("unavailable", str(error), error.sent)

    def _error(self, code: Code, told: str, delivered: bool, *, hint: str = "", **known: Any) -> PraxisError:
        return PraxisError(
            code, f"A2A agent {self._config.name}: {told}", hint=hint, delivered=delivered, data=dict(known)
        )


def _tag(response: HttpResponse) -> str:
    """The ETag, if it can be sent back as it is."""
    tag = response.headers.get("etag", "")
    return tag if len(tag) <= MAX_TAG and tag.isascii() and tag.isprintable() else ""


def _headers(card: ForeignCard) -> list[tuple[str, str]]:
    """0.3 is what an agent takes a request for without a version (1.0, section 3.6.2)."""
    version = [("A2A-Version", "1.0")] if card.version == "1.0" else []
    return [("Content-Type", "application/json"), *version]
