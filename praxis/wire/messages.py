"""JSON payloads of the peer protocol, structured strictly: what a peer sends is remote input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from praxis.model.errors import CODES, PraxisError
from praxis.wire.frames import ProtocolError

VERSIONS = (1, 1)
"""The lowest and the highest protocol version that this code speaks."""

_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_ascii_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_decoder = json.JSONDecoder()


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON. Raises ValueError for NaN and TypeError for what JSON does not have."""
    try:
        return _encoder.encode(value).encode()
    except UnicodeEncodeError:  # half a surrogate pair, as some programs cut texts: JSON has it, UTF-8 does not
        return _ascii_encoder.encode(value).encode()


def loads(payload: bytes) -> Any:
    """Raises ProtocolError("json") for anything that is not one JSON value in UTF-8."""
    try:
        return _decoder.decode(payload.decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError("json", f"a message that is not JSON: {str(error)[:100]}") from None


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value`, if it is a JSON object; else ProtocolError("message")."""
    if not isinstance(value, dict):
        raise ProtocolError("message", f"{what} is not an object")
    return value


@attrs.frozen
class Hello:
    """What each side says first. Sizes in bytes; `boot` only grows from one start of an agent to the next."""

    id: str
    name: str
    boot: int
    agent: str
    """Name and version of the software."""
    listen: tuple[str, ...] = ()
    observed: str = ""
    """The ``host:port`` under which the sender sees the receiver."""
    inflight: int = 256
    message: int = 4 * 1024 * 1024
    features: frozenset[str] = frozenset()
    versions: tuple[int, int] = VERSIONS

    def encode(self) -> bytes:
        return dumps(
            {
                "versions": self.versions,
                "id": self.id,
                "name": self.name,
                "boot": self.boot,
                "agent": self.agent,
                "features": sorted(self.features),
                "listen": self.listen,
                "limits": {"inflight": self.inflight, "message": self.message},
                "observed": self.observed,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """Raises ProtocolError("hello") for a field that is missing or of the wrong kind; unknown keys are ignored."""
        value = mapping(loads(payload), "HELLO")
        limits = mapping(value.get("limits", {}), "HELLO limits")
        return cls(
            id=_text(value, "id", 64),
            name=_text(value, "name", 64),
            boot=_count(value, "boot", 2**64 - 1),
            agent=_text(value, "agent", 128),
            listen=_texts(value, "listen", 32),
            observed=_text(value, "observed", 128, ""),
            inflight=max(1, _count(limits, "inflight", 2**31, 256)),
            message=max(65536, _count(limits, "message", 2**31, 4 * 1024 * 1024)),
            features=frozenset(_texts(value, "features", 64)),
            versions=_versions(value.get("versions")),
        )


def _text(value: Mapping[str, Any], key: str, longest: int, default: str | None = None) -> str:
    text = value.get(key, default)
    if not isinstance(text, str) or len(text) > longest:
        raise ProtocolError("hello", f"HELLO {key} is not a text of at most {longest} characters")
    return text


def _texts(value: Mapping[str, Any], key: str, most: int) -> tuple[str, ...]:
    texts = value.get(key, [])
    if not isinstance(texts, list) or len(texts) > most or not all(isinstance(t, str) and len(t) <= 128 for t in texts):
        raise ProtocolError("hello", f"HELLO {key} is not a list of at most {most} texts")
    return tuple(texts)


def _count(value: Mapping[str, Any], key: str, most: int, default: int | None = None) -> int:
    number = value.get(key, default)
    if type(number) is not int or not 0 <= number <= most:
        raise ProtocolError("hello", f"HELLO {key} is not a number from 0 to {most}")
    return number


def _versions(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(v) is int for v in value):
        raise ProtocolError("hello", "HELLO versions is not a pair of numbers")
    return value[0], value[1]


def encode_goaway(reason: str, *, redial: bool) -> bytes:
    """The payload of a GOAWAY; `redial` says whether the other side may come back soon."""
    return dumps({"reason": reason[:500], "redial": redial})


def encode_error(error: PraxisError) -> bytes:
    """The payload of a RESPONSE with ERROR."""
    message: dict[str, Any] = {"code": error.code, "message": error.detail[:2000]}
    for key, value in (("hint", error.hint[:2000]), ("where", error.where[:200]), ("data", error.data)):
        if value:
            message[key] = value
    if error.delivered:
        message["delivered"] = True
    encoded = dumps(message)
    return encoded if len(encoded) <= 16384 else encode_error(PraxisError(error.code, error.detail))


def decode_error(payload: bytes) -> PraxisError:
    """The error that a peer answered with. Raises ProtocolError for a payload that is none."""
    value = mapping(loads(payload), "an error")
    code = value.get("code")
    data = value.get("data")
    return PraxisError(
        code if code in CODES else "internal",  # a code of a later version
        str(value.get("message", ""))[:2000],
        hint=str(value.get("hint", ""))[:2000],
        where=str(value.get("where", ""))[:200],
        delivered=value.get("delivered") is True,
        data=data if isinstance(data, dict) else {},
    )
