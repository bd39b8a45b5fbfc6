from __future__ import annotations

import logging
import os
import shutil
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.config.schema import Security
from praxis.model.errors import PraxisError
from praxis.peers.identity import ALPN, Identity, load_identity, next_boot, peer_id_digest, peer_id_of, peer_id_text
from praxis.peers.keyring import MAX_KEYS, NetworkKey, load_network_keys
from praxis.peers.x509 import pem

KEY = NetworkKey(bytes(range(32)))
OTHER = NetworkKey(bytes(range(1, 33)))


def agent(state_dir: Path, *keys: NetworkKey, name: str = "agent-1", rendezvous: str = "praxis") -> Identity:
    return load_identity(name=name, keys=keys or (KEY,), rendezvous=rendezvous, state_dir=state_dir)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Handshake:
    """TLS between two contexts in memory, driven until both ends have said all they have to say."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(up, down, server_side=True)
        self.client = client.wrap_bio(down, up)
        self.server_error = self.client_error = ""
        done: set[ssl.SSLObject] = set()
        for _ in range(8):
            for end in (self.client, self.server):
                try:
                    if end in done:
                        end.read(1)
                    else:
                        end.do_handshake()
                        done.add(end)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    if end is self.server:
                        self.server_error = self.server_error or str(error.reason)
                    else:
                        self.client_error = self.client_error or str(error.reason)

    @property
    def works(self) -> bool:
        return not self.server_error and not self.client_error and self.client.version() == "TLSv1.3"


def seen(end: ssl.SSLObject) -> bytes:
    certificate = end.getpeercert(True)
    assert certificate is not None
    return certificate


# The network key


@given(st.binary(min_size=32, max_size=32))
def test_a_network_key_comes_back_from_its_text(secret: bytes) -> None:
    key = NetworkKey(secret)
    assert NetworkKey.parse(key.text) == key
    assert NetworkKey.parse(f"  {key.text.upper()}\n") == key
    assert key.text.startswith("pxk1-")
    assert len(key.text) == 60


def test_generated_keys_differ_and_have_256_bits() -> None:
    keys = [NetworkKey.generate() for _ in range(8)]
    assert len(set(keys)) == 8
    assert all(len(key.secret) == 32 for key in keys)
    with pytest.raises(ValueError, match="32 bytes"):
        NetworkKey(bytes(16))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("correct horse battery staple", "does not start with pxk1-"),
        ("pxk1-", "too short: 0"),
        (KEY.text[:-1], "too short: 54"),
        (KEY.text + "a", "too long: 56"),
        (KEY.text[:-1] + "1", "a character"),
        (KEY.text[:-1] + "ß", "a character"),
        (KEY.text[:20] + "77" + KEY.text[22:], "mistyped"),
    ],
)
def test_says_what_is_wrong_with_a_key_and_shows_none_of_it(text: str, why: str) -> None:
    with pytest.raises(PraxisError, match=why) as caught:
        NetworkKey.parse(text, where="the place")
    assert caught.value.code == "invalid"
    assert caught.value.where == "the place"
    assert KEY.text[5:13] not in f"{caught.value} {caught.value.data} {caught.value.__cause__}"


def test_one_wrong_letter_is_always_noticed() -> None:
    for at in range(5, len(KEY.text)):
        for letter in "abcdefghijklmnopqrstuvwxyz234567":
            if letter != KEY.text[at]:
                with pytest.raises(PraxisError, match="mistyped"):
                    NetworkKey.parse(KEY.text[:at] + letter + KEY.text[at + 1 :])


@given(st.text() | st.text(alphabet="abc27-", max_size=60).map("pxk1-".__add__))
def test_other_text_raises_only_praxis_error(text: str) -> None:
    with pytest.raises(PraxisError):
        NetworkKey.parse(text)


def test_shows_no_secret(tmp_path: Path) -> None:
    identity = agent(tmp_path)
    for secret in (KEY.secret, *identity.beacon_keys):
        assert secret.hex() not in repr((KEY, identity))
        assert repr(secret)[2:-1] not in repr((KEY, identity))
    assert KEY.text not in repr((KEY, identity))


# Where the network key comes from


def test_the_first_start_makes_a_key_and_says_how_to_share_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state_dir = tmp_path / "deep" / "state"
    with caplog.at_level(logging.INFO):
        [key] = load_network_keys(Security(), state_dir)
    assert mode_of(state_dir) == 0o700
    assert mode_of(state_dir / "network.key") == 0o600
    [record] = caplog.records
    assert str(state_dir / "network.key") in record.getMessage()
    assert "PRAXIS_NETWORK_KEY_FILE" in record.getMessage()
    assert key.text not in record.getMessage()
    caplog.clear()
    assert load_network_keys(Security(), state_dir) == (key,)
    assert not caplog.records


def test_configured_keys_come_before_the_file_and_the_file_before_the_state(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(OTHER.text + "\n")
    file.chmod(0o444)  # as container engines mount secrets
    keyring = Security(network_keys=(KEY.text, OTHER.text, KEY.text), network_key_file=file)
    assert load_network_keys(keyring, tmp_path) == (KEY, OTHER)
    assert load_network_keys(Security(network_key_file=file), tmp_path) == (OTHER,)
    assert not (tmp_path / "network.key").exists()


def test_errors_about_keys_say_where(tmp_path: Path) -> None:
    with pytest.raises(PraxisError, match="empty") as caught:
        load_network_keys(Security(network_keys=(KEY.text, "")), tmp_path)
    assert caught.value.where == "p2p.security.network_keys[1]"
    with pytest.raises(PraxisError, match="may be"):
        load_network_keys(Security(network_keys=(KEY.text,) * (MAX_KEYS + 1)), tmp_path)
    with pytest.raises(PraxisError, match="No such file") as caught:
        load_network_keys(Security(network_key_file=tmp_path / "nothing"), tmp_path)
    assert caught.value.where == str(tmp_path / "nothing")


# The identity


def test_the_peer_id_stays_and_the_certificate_is_made_anew(tmp_path: Path) -> None:
    first, second = agent(tmp_path / "state"), agent(tmp_path / "state", name="renamed")
    assert first.peer_id == second.peer_id == peer_id_of(first.certificate)
    assert first.certificate != second.certificate
    assert (first.name, second.name) == ("agent-1", "renamed")
    assert mode_of(tmp_path / "state") == 0o700
    assert mode_of(tmp_path / "state" / "identity.key") == 0o600
    assert agent(tmp_path / "another").peer_id != first.peer_id


def test_the_peer_id_is_that_of_the_key_whatever_the_network(tmp_path: Path) -> None:
    ids = {
        agent(tmp_path).peer_id,
        agent(tmp_path, OTHER).peer_id,
        agent(tmp_path, rendezvous="elsewhere").peer_id,
    }
    assert len(ids) == 1


def test_nothing_secret_is_left_behind_but_the_key_itself(tmp_path: Path) -> None:
    agent(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity.crt", "identity.key"]
    assert "PRIVATE" not in (tmp_path / "identity.crt").read_text()


def test_two_agents_of_one_key_meet_and_know_each_other(tmp_path: Path) -> None:
    a, b = agent(tmp_path / "a", name="a"), agent(tmp_path / "b", name="b")
    line = Handshake(a.server, b.client)
    assert line.works, (line.server_error, line.client_error)
    assert peer_id_of(seen(line.server)) == b.peer_id
    assert peer_id_of(seen(line.client)) == a.peer_id
    assert line.client.selected_alpn_protocol() == line.server.selected_alpn_protocol() == ALPN
    certificate = line.server.getpeercert()
    assert certificate is not None
    assert certificate["subject"] == ((("commonName", "b"),),)
    assert certificate["subjectAltName"] == (("URI", "praxis:agent:b"),)


def test_another_key_or_another_name_of_the_network_is_a_stranger(tmp_path: Path) -> None:
    member = agent(tmp_path / "member")
    for index, stranger in enumerate((agent(tmp_path / "1", OTHER), agent(tmp_path / "2", rendezvous="elsewhere"))):
        assert Handshake(member.server, stranger.client).client_error == "CERTIFICATE_VERIFY_FAILED", index
        assert Handshake(stranger.server, member.client).client_error == "CERTIFICATE_VERIFY_FAILED", index
        assert stranger.network_tag != member.network_tag
        assert stranger.beacon_keys != member.beacon_keys
        # One that would take any server is not taken for a member all the same.
        stranger.client.verify_mode = ssl.CERT_NONE
        assert Handshake(member.server, stranger.client).server_error == "CERTIFICATE_VERIFY_FAILED", index


def test_without_a_certificate_or_with_an_older_tls_nobody_gets_in(tmp_path: Path) -> None:
    member = agent(tmp_path)
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    assert Handshake(member.server, anonymous).server_error == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    old = agent(tmp_path).client
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert Handshake(member.server, old).server_error == "UNSUPPORTED_PROTOCOL"


def test_contexts_are_as_strict_as_the_protocol_says(tmp_path: Path) -> None:
    identity = agent(tmp_path, KEY, OTHER)
    for context in (identity.server, identity.client):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.cert_store_stats() == {"x509": 2, "crl": 0, "x509_ca": 2}
    assert identity.server.num_tickets == 0


def test_a_key_is_replaced_without_an_hour_in_which_peers_are_strangers(tmp_path: Path) -> None:
    before, both, swapped, after = (
        agent(tmp_path / str(index), *keys) for index, keys in enumerate([(KEY,), (KEY, OTHER), (OTHER, KEY), (OTHER,)])
    )
    for older, newer in ((before, both), (both, swapped), (swapped, after)):
        assert Handshake(older.server, newer.client).works
        assert Handshake(newer.server, older.client).works
        assert newer.beacon_keys[0] in older.beacon_keys or older.beacon_keys[0] in newer.beacon_keys
    assert not Handshake(before.server, after.client).works


def test_every_agent_derives_the_same_authority(tmp_path: Path) -> None:
    a, b = agent(tmp_path / "a"), agent(tmp_path / "b")
    assert a.server.get_ca_certs(binary_form=True) == b.client.get_ca_certs(binary_form=True)
    [authority] = a.server.get_ca_certs()
    assert ssl.cert_time_to_seconds(str(authority["notBefore"])) == 1735689600
    assert str(authority["notAfter"]).split()[3] == "2064"


def damage(path: Path, kind: str) -> None:
    match kind:
        case "empty":
            path.write_text("")
        case "cut off":
            path.write_text(path.read_text()[:-40])
        case "binary":
            path.write_bytes(b"\xff\0" * 50)
        case "huge":
            path.write_text("a" * 100_000)
        case "open to the group":
            path.chmod(0o640)
        case "open to all":
            path.chmod(0o604)
        case "a folder":
            path.unlink()
            path.mkdir(0o700)
        case "a pipe":
            path.unlink()
            os.mkfifo(path, 0o600)


DAMAGES = {
    "empty": r"damaged|is empty",
    "cut off": "damaged|too short",
    "binary": "damaged|does not start",
    "huge": "damaged|does not start",
    "open to the group": "mode 0640",
    "open to all": "mode 0604",
    "a folder": "plain file",
    "a pipe": "plain file",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_private_key_that_cannot_be_trusted_stops_the_start(tmp_path: Path, kind: str) -> None:
    agent(tmp_path)
    path = tmp_path / "identity.key"
    secret = path.read_text().splitlines()[1]
    damage(path, kind)
    with pytest.raises(PraxisError, match=DAMAGES[kind]) as caught:
        agent(tmp_path)
    assert caught.value.code == "invalid"
    assert caught.value.where == str(path)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_made_network_key_that_cannot_be_trusted_stops_the_start(tmp_path: Path, kind: str) -> None:
    [key] = load_network_keys(Security(), tmp_path)
    path = tmp_path / "network.key"
    damage(path, kind)
    with pytest.raises(PraxisError, match=DAMAGES[kind]) as caught:
        load_network_keys(Security(), tmp_path)
    assert caught.value.where == str(path)
    assert key.text[5:20] not in str(caught.value)


def test_a_state_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for start in (
        lambda: load_network_keys(Security(), tmp_path / "file"),
        lambda: agent(tmp_path / "file"),
        lambda: next_boot(tmp_path / "file", 5),
    ):
        with pytest.raises(PraxisError, match="cannot be used"):
            start()
    with pytest.raises(PraxisError, match="no network key"):
        load_identity(name="a", keys=(), rendezvous="praxis", state_dir=tmp_path)


@given(st.binary(min_size=32, max_size=32))
def test_peer_ids_come_back_from_their_text(digest: bytes) -> None:
    text = peer_id_text(digest)
    assert len(text) == 54
    assert peer_id_digest(text) == digest


@given(st.text() | st.text(alphabet="abxz27", min_size=52, max_size=52).map("px".__add__))
def test_other_text_is_no_peer_id(text: str) -> None:
    try:
        digest = peer_id_digest(text)
    except PraxisError:
        return
    assert peer_id_text(digest) == text


def test_bytes_that_are_no_certificate_have_no_peer_id() -> None:
    with pytest.raises(PraxisError, match="certificate cannot be read"):
        peer_id_of(b"\x30\x03\x02\x01\x05")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    [authority] = agent(tmp_path).server.get_ca_certs(binary_form=True)
    (tmp_path / "ca.pem").write_text(pem("CERTIFICATE", authority))
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.pem", "identity.crt"]
    assert b"OK" in subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout


# The number of the start


def test_boot_follows_the_clock_and_never_goes_back(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    assert next_boot(state_dir, 1000) == 1000
    assert next_boot(state_dir, 5000) == 5000
    assert next_boot(state_dir, 200) == 5001
    assert next_boot(state_dir, 5001) == 5002
    assert [path.name for path in state_dir.iterdir()] == ["boot"]


@pytest.mark.parametrize("content", ["", "x", "-5", "1 2", "٣", str(1 << 63), "9" * 100])
def test_a_damaged_boot_number_gives_way_to_the_clock(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "boot").write_text(content)
    assert next_boot(tmp_path, 1000) == 1000
    assert "going on from the clock" in caplog.text
    assert next_boot(tmp_path, 0) == 1001
