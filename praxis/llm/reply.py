"""A model's answer, put together from the pieces of a stream. Pure.

The pieces are ``chat.completion.chunk`` objects; a server that does not stream sends one ``chat.completion``, which is
read as a single piece.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from praxis.llm.cleaning import clean
from praxis.llm.dialect import ServerError
from praxis.model.tool import JSON

MAX_TEXT = 256 * 1024
"""Characters of one answer. A plan of a hundred calls has some ten thousand."""
SHOWN = 200
"""Characters of a server's own words in an error."""
DONE = b"[DONE]"


class BrokenReplyError(Exception):
    """What came is no answer of a model."""


class TooLongError(Exception):
    """More came than an answer can have."""


@attrs.frozen
class Usage:
    """Tokens, as the server counted them."""

    prompt: int
    completion: int


@attrs.define
class Reply:
    """What has come so far.

    Attributes:
        finish: why the model stopped (``stop``, ``tool_calls``, ``length``, ``content_filter``), or "" until it did.
        ended: whether the server said that nothing follows.
        refusal: what the model said instead of an answer.
    """

    finish: str = ""
    ended: bool = False
    refusal: str = ""
    usage: Usage | None = None
    _content: list[str] = attrs.field(factory=list)
    _calls: dict[int, list[str]] = attrs.field(factory=dict)
    _size: int = 0

    @property
    def whole(self) -> bool:
        """Whether this is an answer and not the first half of one."""
        return self.ended or bool(self.finish)

    @property
    def text(self) -> str:
        """The arguments of the first function that was called, else what was written."""
        calls = ["".join(self._calls[index]) for index in sorted(self._calls)]
        return next((call for call in calls if call.strip()), "".join(self._content))

    def take(self, data: bytes) -> None:
        """Add one piece.

        Raises BrokenReplyError for what is none, also an error that the server sends in the middle, and TooLongError.
        """
        if data.strip() == DONE:
            self.ended = True
            return
        try:
            piece = json.loads(data)
        except (ValueError, RecursionError):
            raise BrokenReplyError("it is not JSON") from None
        if not isinstance(piece, dict):
            raise BrokenReplyError("it is not an object")
        if piece.get("error"):
            said = read_error(200, data).message
            raise BrokenReplyError(f"it says: {said}" if said else "it ends with an error")
        self._take_usage(piece.get("usage"))
        choices = piece.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise BrokenReplyError("it has no choices")
        if not choices:  # the last piece has the usage alone
            return
        choice = choices[0]
        message = choice.get("delta", choice.get("message"))
        if isinstance(message, dict):
            self._take_message(message)
        if isinstance(finish := choice.get("finish_reason"), str) and finish:
            self.finish = finish[:40]

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            prompt, completion = [c if isinstance(c, int) and 0 <= c < 10**9 else 0 for c in counts]
            self.usage = Usage(prompt, completion)

    def _take_message(self, message: Mapping[str, JSON]) -> None:
        if isinstance(content := message.get("content"), str):
            self._grow(self._content, content)
        if isinstance(refusal := message.get("refusal"), str) and len(self.refusal) < SHOWN:
            self.refusal += refusal[:SHOWN]
        calls = message.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            index = call.get("index")
            arguments = function.get("arguments")
            if isinstance(arguments, dict):  # as some servers give them, against the specification
                arguments = json.dumps(arguments)
            if isinstance(arguments, str):
                key = index if isinstance(index, int) and not isinstance(index, bool) else position
                self._grow(self._calls.setdefault(key, []), arguments)

    def _grow(self, texts: list[str], text: str) -> None:
        self._size += len(text) + 1
        if self._size > MAX_TEXT:
            raise TooLongError
        texts.append(text)


def read_error(status: int, body: bytes) -> ServerError:
    """What a server says with a status, as far as it can be read: an object ``error``, its text, or plain text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = body[: 4 * SHOWN].decode(errors="replace")
        return ServerError(status, "" if text.lstrip().startswith("<") else clean(text, SHOWN))
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, str):
        return ServerError(status, clean(error, SHOWN))
    if not isinstance(error, dict):
        return ServerError(status)
    message, code, param = (error.get(name) for name in ("message", "code", "param"))
    if not isinstance(message, str):
        message = error.get("detail")  # as FastAPI's servers say it
    texts = [clean(text, SHOWN) if isinstance(text, str) else "" for text in (message, code, param)]
    return ServerError(status, *texts)
