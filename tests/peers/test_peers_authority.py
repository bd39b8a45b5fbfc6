"""The CA of a network: whom it lets in, under which name, for how long, and whom it keeps out."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from praxis.model.errors import PraxisError
from praxis.peers import authority as module
from praxis.peers.authority import CA_DAYS, DAY, MAX_ATTEMPTS, Authority, create_authority, load_authority
from praxis.peers.ed25519 import SigningKey
from praxis.peers.identity import load_signing_key, peer_id_of, peer_id_of_key
from praxis.peers.joining import Grant, JoinRequest, JoinToken
from praxis.peers.membership import FILE, Membership, fingerprint, import_bundle, load_membership
from praxis.peers.x509 import pem

NOW = 1_800_000_000.0
ADDRESSES = ("127.0.0.1:4001",)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Authority:
    issuer = peer_id_of_key(load_signing_key(tmp_path).public)
    return create_authority(tmp_path, rendezvous="lab", issuer=issuer, clock=clock)


def key(number: int) -> SigningKey:
    return SigningKey(bytes([number]) * 32)


def token(ca: Authority, name: str | None = None) -> JoinToken:
    return ca.make_token(ADDRESSES, name=name, ttl=600)


def admit(ca: Authority, given: JoinToken, name: str = "ann", number: int = 1) -> Grant:
    return ca.admit(JoinRequest.of(given, name, key(number).public))


def denied(ca: Authority, request: JoinRequest) -> str:
    with pytest.raises(PraxisError) as caught:
        ca.admit(request)
    assert caught.value.code in ("denied", "conflict")
    return str(caught.value)


def test_a_token_lets_one_agent_in_once(ca: Authority) -> None:
    given = token(ca)
    grant = admit(ca, given)
    assert peer_id_of(grant.certificate) == peer_id_of_key(key(1).public)
    assert (grant.rendezvous, grant.issuer) == ("lab", ca.issuer)
    assert grant.authorities == (ca.certificate,)
    assert grant.not_before < NOW < grant.not_after
    assert "unknown or was used" in denied(ca, JoinRequest.of(given, "bob", key(2).public))


def test_a_token_ends_with_its_time(ca: Authority, clock: Clock) -> None:
    given = token(ca)
    clock.now += 601
    assert "expired" in denied(ca, JoinRequest.of(given, "ann", key(1).public))
    clock.now += DAY
    assert "unknown or was used" in denied(ca, JoinRequest.of(given, "ann", key(1).public))


def test_a_token_for_one_name_is_for_that_name(ca: Authority) -> None:
    given = token(ca, "ann")
    assert "this token is for ann, not for bob" in denied(ca, JoinRequest.of(given, "bob", key(1).public))
    admit(ca, given, "ann")


def test_who_does_not_have_the_secret_is_refused_and_guessing_ends_the_token(ca: Authority) -> None:
    given = token(ca)
    guess = JoinToken(given.addresses, given.issuer, given.id, bytes(16))
    for _ in range(MAX_ATTEMPTS):
        assert "does not fit" in denied(ca, JoinRequest.of(guess, "ann", key(1).public))
    assert "unknown or was used" in denied(ca, JoinRequest.of(given, "ann", key(1).public))


def test_a_name_belongs_to_one_key_until_its_certificate_ends(ca: Authority, clock: Clock) -> None:
    admit(ca, token(ca), "ann", 1)
    given = token(ca)
    assert "the name ann belongs to" in denied(ca, JoinRequest.of(given, "ann", key(2).public))
    admit(ca, given, "bob", 2)  # the token was not used up by the refusal
    admit(ca, token(ca), "ann", 1)  # whoever lost the answer joins again
    with pytest.raises(PraxisError, match="the name ann belongs to"):
        token(ca, "ann")
    clock.now += 366 * DAY
    admit(ca, token(ca), "ann", 3)


def test_who_is_blocked_gets_no_certificate_and_leaves_the_name(ca: Authority) -> None:
    admit(ca, token(ca), "ann", 1)
    peer = peer_id_of_key(key(1).public)
    assert ca.id_of("ann") == peer
    ca.block(peer)
    ca.block(peer)
    assert ca.blocked() == (peer,)
    with pytest.raises(PraxisError, match="blocked"):
        ca.issue("ann", key(1).public)
    with pytest.raises(PraxisError, match="not issued"):
        ca.renew(peer, "ann", key(1).public)
    admit(ca, token(ca), "ann", 2)
    ca.unblock(peer)
    assert ca.blocked() == ()
    with pytest.raises(PraxisError, match="is not blocked"):
        ca.unblock(peer)
    for wrong in ("ann", "", "px" + "1" * 52):
        with pytest.raises(PraxisError, match="not a peer id"):
            ca.block(wrong)


def test_a_certificate_is_renewed_for_the_same_key_and_name_alone(ca: Authority, clock: Clock) -> None:
    first = admit(ca, token(ca), "ann", 1)
    peer = peer_id_of(first.certificate)
    clock.now += 250 * DAY
    second = ca.renew(peer, "ann", key(1).public)
    assert peer_id_of(second.certificate) == peer
    assert second.not_after == first.not_after + 250 * DAY
    for name, number in (("ann", 2), ("bob", 1)):
        with pytest.raises(PraxisError) as caught:
            ca.renew(peer, name, key(number).public)
        assert caught.value.code == "denied"


def test_no_certificate_outlives_the_ca(ca: Authority, clock: Clock) -> None:
    clock.now += (CA_DAYS - 10) * DAY
    grant = ca.issue("ann", key(1).public)
    assert grant.not_after == int(NOW) + CA_DAYS * DAY
    clock.now += 11 * DAY
    with pytest.raises(PraxisError, match="the CA itself has expired"):
        ca.issue("bob", key(2).public)


def test_the_bounds_hold(ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOKENS", 2)
    monkeypatch.setattr(module, "MAX_ISSUED", 2)
    monkeypatch.setattr(module, "MAX_BLOCKED", 1)
    token(ca), token(ca)
    with pytest.raises(PraxisError, match="2 tokens wait"):
        token(ca)
    ca.issue("ann", key(1).public), ca.issue("bob", key(2).public)
    with pytest.raises(PraxisError, match="2 certificates are in use"):
        ca.issue("cy", key(3).public)
    ca.block(peer_id_of_key(key(8).public))
    with pytest.raises(PraxisError, match="1 peers are blocked"):
        ca.block(peer_id_of_key(key(9).public))


def test_a_second_ca_is_not_made_over_the_first(ca: Authority, tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(PraxisError, match="issuer already"):
        create_authority(tmp_path, rendezvous="other", issuer=ca.issuer, clock=clock)
    again = load_authority(tmp_path, clock=clock)
    assert again is not None
    assert again.certificate == ca.certificate
    assert load_authority(tmp_path / "elsewhere", clock=clock) is None


def test_the_files_are_the_issuers_alone_and_damage_is_told(ca: Authority, tmp_path: Path, clock: Clock) -> None:
    given = token(ca)
    for file in (tmp_path / "ca").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    tokens = tmp_path / "ca" / "tokens.json"
    assert given.text not in tokens.read_text()
    for content, what in (("{", "damaged"), (json.dumps({"schema": 99, "content": {}}), "another version")):
        tokens.write_text(content)
        with pytest.raises(PraxisError, match=what) as caught:
            admit(ca, given)
        assert caught.value.where == str(tokens)
    (tmp_path / "ca" / "ca.key").chmod(0o644)
    with pytest.raises(PraxisError, match="open to other users"):
        load_authority(tmp_path, clock=clock)
    (tmp_path / "ca" / "ca.key").chmod(0o600)
    (tmp_path / "ca" / "ca.key").write_text("nonsense")
    with pytest.raises(PraxisError, match="CA's private key is damaged"):
        load_authority(tmp_path, clock=clock)


@pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("PRAXIS_FULL"), reason="the program openssl is not there"
)
def test_openssl_finds_the_certificates_in_order(ca: Authority, tmp_path: Path) -> None:
    grant = admit(ca, token(ca))
    (tmp_path / "ca.pem").write_text(pem("CERTIFICATE", ca.certificate))
    (tmp_path / "leaf.pem").write_text(pem("CERTIFICATE", grant.certificate))
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW)), "-purpose", "sslserver"]
    done = subprocess.run(
        [*command, "-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("OK\n")
    shown = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "leaf.pem", "-noout", "-subject", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "CN = ann" in shown or "CN=ann" in shown
    assert "URI:praxis:agent:ann" in shown


# -- what the member keeps --------------------------------------------------------------------------


def member(folder: Path, ca: Authority, name: str = "ann") -> Membership:
    public = load_signing_key(folder).public
    made = Membership(name, ca.issue(name, public), ADDRESSES, ("px" + "c" * 52,))
    made.save(folder)
    return made


def test_a_membership_comes_back_as_it_was_saved(ca: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "ann"
    made = member(folder, ca)
    assert load_membership(folder) == made
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert made.bootstrap == (f"{ca.issuer}@127.0.0.1:4001",)
    identity = made.identity(folder, admits=False)
    assert identity.peer_id == peer_id_of_key(load_signing_key(folder).public)
    assert identity.authorities == (fingerprint(ca.certificate),)
    assert identity.vouched
    assert identity.server.verify_mode is ssl.CERT_REQUIRED
    assert made.identity(folder, admits=True).server.verify_mode is ssl.CERT_OPTIONAL


def test_a_membership_is_renewed_when_two_thirds_are_over(ca: Authority, tmp_path: Path) -> None:
    made = member(tmp_path / "ann", ca)
    assert not made.needs_renewal(NOW + 240 * DAY)
    assert made.needs_renewal(NOW + 245 * DAY)


def test_who_is_no_member_is_told_how_to_become_one(tmp_path: Path) -> None:
    with pytest.raises(PraxisError, match="praxis network join"):
        load_membership(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"schema": 1}', '{"schema": 1, "name": 1, "grant": {}}', "[" * 5000]
)
def test_a_damaged_membership_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(PraxisError) as caught:
        load_membership(tmp_path)
    assert caught.value.where == str(tmp_path / FILE)


def test_a_membership_of_another_key_is_told(ca: Authority, tmp_path: Path) -> None:
    made = member(tmp_path / "ann", ca)
    (tmp_path / "ann" / "identity.key").unlink()
    with pytest.raises(PraxisError, match="another private key"):
        made.identity(tmp_path / "ann", admits=False)


def test_a_bundle_makes_the_member_that_it_was_made_for(ca: Authority, tmp_path: Path) -> None:
    made = Membership("ann", ca.issue("ann", key(5).public), ADDRESSES)
    file = tmp_path / "ann.bundle"
    file.write_text(made.bundle(key(5)))
    file.chmod(0o644)
    with pytest.raises(PraxisError, match="open to other users"):
        import_bundle(file, tmp_path / "ann")
    file.chmod(0o600)
    assert import_bundle(file, tmp_path / "ann") == made
    assert load_membership(tmp_path / "ann") == made
    assert load_signing_key(tmp_path / "ann").public == key(5).public
    with pytest.raises(PraxisError, match="there is a private key already"):
        import_bundle(file, tmp_path / "ann")
    stripped = json.loads(file.read_text())
    del stripped["private_key"]
    file.write_text(json.dumps(stripped))
    with pytest.raises(PraxisError, match="it is no bundle"):
        import_bundle(file, tmp_path / "bob")
