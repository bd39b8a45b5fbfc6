from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.peers.ed25519 import SigningKey
from praxis.peers.x509 import make_certificate, pem, private_key_pem, public_key_info, read_private_key

OWN = SigningKey(bytes(range(32)))
ISSUER = SigningKey(bytes(range(1, 33)))
SPKI_HEAD = bytes.fromhex("302a300506032b6570032100")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")


def certificate(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "subject": "agent-1",
        "public": OWN.public,
        "issuer": "the network",
        "issuer_key": ISSUER,
        "serial": b"\x01\x02",
        "not_before": 1735689600,
        "not_after": 1735689600 + 40 * 365 * 86400,
    }
    return make_certificate(**fields | changes)


def authority(**changes: Any) -> bytes:
    return certificate(subject="the network", public=ISSUER.public, authority=True, **changes)


LEAF = certificate(uris=("praxis:agent:agent-1",))


def test_the_key_is_found_where_it_belongs() -> None:
    assert public_key_info(LEAF) == SPKI_HEAD + OWN.public


def test_a_key_planted_in_the_subject_is_not_taken_for_the_key() -> None:
    planted = (SPKI_HEAD + b"k" * 32).decode("ascii")
    for changes in ({"subject": planted}, {"issuer": planted}, {"uris": (planted,)}):
        tricked = certificate(**changes)
        assert planted.encode() in tricked
        assert public_key_info(tricked) == SPKI_HEAD + OWN.public


def test_every_cut_off_certificate_is_refused() -> None:
    for size in range(len(LEAF)):
        with pytest.raises(ValueError, match=r"it is|its |the DER|a DER"):
            public_key_info(LEAF[:size])


@given(st.binary(max_size=200))
def test_garbage_raises_only_value_error(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        public_key_info(garbage)


@given(st.integers(0, len(LEAF) - 1), st.binary(min_size=1, max_size=8))
def test_a_changed_certificate_gives_a_key_or_value_error(at: int, change: bytes) -> None:
    changed = LEAF[:at] + change + LEAF[at + len(change) :]
    try:
        key = public_key_info(changed)
    except ValueError:
        return
    assert key in changed
    assert key[0] == 0x30


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (LEAF + b"\0", "one DER sequence"),
        (b"\x30\x80" + LEAF[4:] + b"\0\0", "a DER length"),
        (b"\x30\x83\x00" + LEAF[2:4] + LEAF[4:], "shortest form"),
        (b"\x31" + LEAF[1:], "one DER sequence"),
        (LEAF.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1), "version 3"),
        (b"\x30\x03\x02\x01\x05", "tbsCertificate"),
        (b"\x3f" + LEAF[1:], "tag"),
    ],
)
def test_refuses_what_der_forbids(bad: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        public_key_info(bad)


def test_openssl_reads_our_certificates_in_both_forms_of_time() -> None:
    last_utc, first_generalized = 2524607999, 2524608000  # around 2050-01-01
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority(not_before=last_utc, not_after=first_generalized))
    [seen] = context.get_ca_certs()
    assert ssl.cert_time_to_seconds(str(seen["notBefore"])) == last_utc
    assert ssl.cert_time_to_seconds(str(seen["notAfter"])) == first_generalized
    assert seen["serialNumber"] == "0102"
    assert seen["subject"] == ((("commonName", "the network"),),)


@pytest.mark.parametrize("serial", [b"", b"\0\1", b"\x80", b"\1" * 21])
def test_refuses_a_serial_that_is_not_a_short_positive_number(serial: bytes) -> None:
    with pytest.raises(ValueError, match="serial"):
        certificate(serial=serial)


@given(st.binary(min_size=32, max_size=32))
def test_private_keys_come_back(seed: bytes) -> None:
    assert read_private_key(private_key_pem(seed)) == seed


SEED = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a key",
        private_key_pem(SEED)[:60],
        private_key_pem(SEED).replace("PRIVATE", "PUBLIC"),
        private_key_pem(SEED) * 2,
        private_key_pem(SEED[:31]),
        private_key_pem(SEED + b"x"),
        private_key_pem(SEED).replace("MC4C", "MC4D"),
        private_key_pem(SEED).replace("MC4C", "M*4C"),
    ],
)
def test_refuses_a_private_key_that_is_not_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is|its base64") as caught:
        read_private_key(text)
    assert "AAEC" not in str(caught.value)


def openssl(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True).stdout


@needs_openssl
def test_openssl_verifies_our_chain_strictly(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(pem("CERTIFICATE", authority()))
    (tmp_path / "leaf.pem").write_text(pem("CERTIFICATE", LEAF))
    assert b"OK" in openssl(tmp_path, "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.pem", "leaf.pem")
    text = openssl(tmp_path, "x509", "-in", "leaf.pem", "-noout", "-text").decode()
    for line in (
        "CA:FALSE",
        "URI:praxis:agent:agent-1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
    ):
        assert line in text


@needs_openssl
@pytest.mark.parametrize(
    "algorithm", ["ed25519", "EC -pkeyopt ec_paramgen_curve:P-256", "RSA -pkeyopt rsa_keygen_bits:2048"]
)
def test_the_key_is_the_one_that_openssl_sees(tmp_path: Path, algorithm: str) -> None:
    openssl(tmp_path, "genpkey", "-algorithm", *algorithm.split(), "-out", "key.pem")
    openssl(
        tmp_path, "req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=x", "-outform", "DER", "-out", "cert.der"
    )
    openssl(tmp_path, "pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "public.der")
    assert public_key_info((tmp_path / "cert.der").read_bytes()) == (tmp_path / "public.der").read_bytes()
