"""Vectors of RFC 8032, section 7.1, and OpenSSL as a second opinion."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from praxis.peers.ed25519 import BASE_X, BASE_Y, D, P, SigningKey
from praxis.peers.x509 import private_key_pem

VECTORS = {
    "empty": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    "one byte": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    "two bytes": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    "sha(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_signs_as_the_standard_does(name: str) -> None:
    seed, public, message, signature = VECTORS[name]
    key = SigningKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(message).hex() == signature


def test_the_constants_are_those_of_the_curve() -> None:
    assert D * 121666 % P == -121665 % P
    assert BASE_Y * 5 % P == 4
    assert (BASE_Y**2 - BASE_X**2 - 1 - D * BASE_X**2 * BASE_Y**2) % P == 0


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_refuses_a_seed_of_another_length(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(bytes(size))


def test_shows_no_secret() -> None:
    key = SigningKey(bytes(range(32)))
    assert key.seed.hex() not in repr(key)
    assert key.public.hex() in repr(key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_openssl_signs_the_same(tmp_path: Path) -> None:
    for index in range(3):
        seed = hashlib.sha256(b"seed %d" % index).digest()
        message = hashlib.sha512(seed).digest() * (index + 1)
        (tmp_path / "key.pem").write_text(private_key_pem(seed))
        (tmp_path / "message").write_bytes(message)
        command = ["openssl", "pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "message", "-out", "signature"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        assert (tmp_path / "signature").read_bytes() == SigningKey(seed).sign(message)
