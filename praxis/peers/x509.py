"""Just enough DER (X.690) and X.509 (RFC 5280, RFC 8410) to make certificates and to find the key in one.

The reader is for certificates that OpenSSL has accepted. It walks by position and never searches for a pattern of
bytes: whoever makes a certificate could put any pattern into an extension.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Sequence

from praxis.peers.ed25519 import SEED_SIZE, SigningKey

_INTEGER, _BIT_STRING, _OCTET_STRING, _OID, _UTF8 = 0x02, 0x03, 0x04, 0x06, 0x0C
_UTC_TIME, _GENERALIZED_TIME, _SEQUENCE, _SET = 0x17, 0x18, 0x30, 0x31
_TRUE = b"\x01\x01\xff"
_V3 = b"\xa0\x03\x02\x01\x02"
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the 32 bytes of an Ed25519 private key in PKCS#8 (RFC 8410, section 7)."""


def _tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _sequence(*parts: bytes) -> bytes:
    return _tlv(_SEQUENCE, *parts)


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray([40 * first + second])
    for number in rest:
        chunk = [number & 0x7F]
        while number := number >> 7:
            chunk.append(0x80 | number & 0x7F)
        out += bytes(reversed(chunk))
    return _tlv(_OID, bytes(out))


def _bits(value: bytes, unused: int = 0) -> bytes:
    return _tlv(_BIT_STRING, bytes((unused,)), value)


def _algorithm() -> bytes:
    return _sequence(_oid("1.3.101.112"))  # Ed25519


def key_info(public: bytes) -> bytes:
    """The SubjectPublicKeyInfo of an Ed25519 public key of 32 bytes (RFC 8410, section 4)."""
    return _sequence(_algorithm(), _bits(public))


def _name(common_name: str) -> bytes:
    return _sequence(_tlv(_SET, _sequence(_oid("2.5.4.3"), _tlv(_UTF8, common_name.encode()))))


def _time(moment: int) -> bytes:
    """RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050."""
    parts = time.gmtime(moment)
    if parts.tm_year < 2050:
        return _tlv(_UTC_TIME, time.strftime("%y%m%d%H%M%SZ", parts).encode())
    return _tlv(_GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ", parts).encode())


def _extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(dotted), _TRUE if critical else b"", _tlv(_OCTET_STRING, value))


def _key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:20]


def make_certificate(
    *,
    subject: str,
    public: bytes,
    issuer: str,
    issuer_key: SigningKey,
    serial: bytes,
    not_before: int,
    not_after: int,
    authority: bool = False,
    uris: Sequence[str] = (),
) -> bytes:
    """A certificate over an Ed25519 public key, in DER.

    Args:
        subject: the common name; `issuer` likewise.
        public: the subject's 32 bytes of public key.
        serial: the digits of the positive serial number: at most 20 bytes, the first one 0x01 to 0x7f.
        not_before: seconds since the epoch; `not_after` likewise.
        authority: True makes a CA that may sign leaves alone (path length 0); False a leaf for both ends of TLS.
        uris: alternative names.
    """
    if not 1 <= len(serial) <= 20 or not 0x01 <= serial[0] <= 0x7F:
        raise ValueError("a serial number is 1 to 20 bytes of a positive integer in shortest form")
    if authority:
        constraints, usage = _sequence(_TRUE, _tlv(_INTEGER, b"\0")), _bits(b"\x06", 1)  # keyCertSign, cRLSign
    else:
        constraints, usage = _sequence(), _bits(b"\x80", 7)  # digitalSignature
    extensions = [
        _extension("2.5.29.19", constraints, critical=True),
        _extension("2.5.29.15", usage, critical=True),
        _extension("2.5.29.14", _tlv(_OCTET_STRING, _key_id(public))),
        _extension("2.5.29.35", _sequence(_tlv(0x80, _key_id(issuer_key.public)))),
    ]
    if not authority:
        extensions.append(_extension("2.5.29.37", _sequence(_oid("1.3.6.1.5.5.7.3.1"), _oid("1.3.6.1.5.5.7.3.2"))))
    if uris:
        extensions.append(_extension("2.5.29.17", _sequence(*(_tlv(0x86, uri.encode("ascii")) for uri in uris))))
    to_sign = _sequence(
        _V3,
        _tlv(_INTEGER, serial),
        _algorithm(),
        _name(issuer),
        _sequence(_time(not_before), _time(not_after)),
        _name(subject),
        key_info(public),
        _tlv(0xA3, _sequence(*extensions)),
    )
    return _sequence(to_sign, _algorithm(), _bits(issuer_key.sign(to_sign)))


def pem(label: str, der: bytes) -> str:
    """PEM (RFC 7468), such as of ``CERTIFICATE``."""
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def private_key_pem(seed: bytes) -> str:
    """An Ed25519 private key as PKCS#8 in PEM, which OpenSSL reads too."""
    return pem("PRIVATE KEY", _PKCS8_ED25519 + seed)


def read_private_key(text: str) -> bytes:
    """The 32 bytes of the one Ed25519 private key in `text`. Raises ValueError, whose text shows nothing of the key."""
    lines = text.split()
    if lines[:3] != ["-----BEGIN", "PRIVATE", "KEY-----"] or lines[-3:] != ["-----END", "PRIVATE", "KEY-----"]:
        raise ValueError("it is not one PEM block PRIVATE KEY")
    try:
        der = base64.b64decode("".join(lines[3:-3]), validate=True)
    except binascii.Error:
        raise ValueError("its base64 is broken") from None
    if not der.startswith(_PKCS8_ED25519) or len(der) != len(_PKCS8_ED25519) + SEED_SIZE:
        raise ValueError("it is not an Ed25519 private key in PKCS#8")
    return der[len(_PKCS8_ED25519) :]


def _element(der: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The element at `at` of what ends at `end`: its tag and where its contents start and stop."""
    if at + 2 > end:
        raise ValueError("the DER is cut off")
    tag, size = der[at], der[at + 1]
    if tag & 0x1F == 0x1F:
        raise ValueError("a DER tag of several bytes, which no certificate has here")
    at += 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 3 or at + count > end:
            raise ValueError("a DER length that is indefinite, too big or cut off")
        size = int.from_bytes(der[at : at + count], "big")
        at += count
        if size < 0x80 or size < 1 << 8 * (count - 1):
            raise ValueError("a DER length that is not in its shortest form")
    if at + size > end:
        raise ValueError("the DER is cut off")
    return tag, at, at + size


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a version 3 certificate in DER, tag and length included, of any algorithm.

    Raises ValueError when what stands up to there is not exactly what RFC 5280, section 4.1, prescribes.
    """
    tag, at, end = _element(certificate, 0, len(certificate))
    if tag != _SEQUENCE or end != len(certificate):
        raise ValueError("it is not one DER sequence")
    tag, at, end = _element(certificate, at, end)
    if tag != _SEQUENCE:
        raise ValueError("it does not start with a tbsCertificate")
    if not certificate.startswith(_V3, at):
        raise ValueError("it is not an X.509 certificate of version 3")
    at += len(_V3)
    for part in ("serial number", "signature algorithm", "issuer", "validity", "subject"):
        tag, _, stop = _element(certificate, at, end)
        if tag != (_INTEGER if part == "serial number" else _SEQUENCE):
            raise ValueError(f"its {part} is not where it belongs")
        at = stop
    tag, _, stop = _element(certificate, at, end)
    if tag != _SEQUENCE:
        raise ValueError("its public key is not where it belongs")
    return certificate[at:stop]
