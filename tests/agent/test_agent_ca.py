"""Whole agents in a network with a CA: let in, renewed, kept out, and what does not work without the issuer's word."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from praxis.access.principal import Principal
from praxis.app import Addresses, Agent
from praxis.config.schema import Config
from praxis.dev import RunningAgent, free_discovery_port, make_config
from praxis.model.errors import PraxisError
from praxis.net.tls import Broken, TlsPipe
from praxis.peers import admission
from praxis.peers.admission import ask_to_join
from praxis.peers.authority import DAY, Authority, create_authority, load_authority
from praxis.peers.identity import JOIN_ALPN, load_signing_key, peer_id_of_key
from praxis.peers.joining import JoinToken, encode_public
from praxis.peers.keyring import NetworkKey
from praxis.peers.link import PeerLink
from praxis.peers.membership import Membership, load_membership
from praxis.peers.x509 import pem
from tests.support.siege import UNKNOWN, siege
from tests.support.siege import refused as refused_line

ANN = Principal("local", "ann")
PATIENCE = 15.0
UNUSED = NetworkKey(bytes(32)).text
"""A network key counts for nothing here."""

REFUSED = 'praxis_p2p_handshakes_total{result="refused",reason="certificate"}'
"""What OpenSSL finds wrong in a certificate, counted."""

Change = Callable[[Config], Config]


class Clock:
    """An issuer's clock, that certificates may be issued at other times."""

    def __init__(self) -> None:
        self.off = 0.0

    def __call__(self) -> float:
        return time.time() + self.off


class Network:
    """Agent 1 is the issuer. All run in this process, on loopback."""

    def __init__(self, folder: Path, nursery: trio.Nursery, age: float = 0.0) -> None:
        """The CA and the first certificates are `age` seconds old."""
        self.folder = folder
        self.port = free_discovery_port()
        self.clock = Clock()
        self.clock.off = -age
        self.agents: dict[int, RunningAgent] = {}
        self._ended: dict[int, trio.Event] = {}
        self.changes: dict[int, Change] = {}
        self._nursery = nursery
        public = load_signing_key(self.state(1)).public
        issuer = peer_id_of_key(public)
        self.ca = create_authority(self.state(1), rendezvous="dev", issuer=issuer, clock=self.clock)
        Membership("agent-1", self.ca.issue("agent-1", public)).save(self.state(1))

    def state(self, number: int) -> Path:
        return self.folder / f"agent-{number}" / "state"

    def config(self, number: int, **security: object) -> Config:
        config = make_config(f"agent-{number}", key=UNUSED, discovery_port=self.port, folder=self.folder)
        changed = attrs.evolve(config.p2p.security, mode="ca", **security)  # type: ignore[arg-type]
        config = attrs.evolve(config, p2p=attrs.evolve(config.p2p, security=changed))
        change = self.changes.get(number)
        return change(config) if change is not None else config

    def enroll(self, number: int, ca: Authority | None = None, name: str = "") -> None:
        """Without the exchange, which has tests of its own."""
        name = name or f"agent-{number}"
        grant = (ca or self.ca).issue(name, load_signing_key(self.state(number)).public)
        Membership(name, grant).save(self.state(number))

    async def start(self, number: int) -> RunningAgent:
        config = self.config(number)
        agent = Agent(config, base_dir=self.folder, state_dir=self.state(number), reread=lambda: self.config(number))
        stopping, self._ended[number] = trio.Event(), trio.Event()
        addresses = await self._nursery.start(self._run, agent, stopping, self._ended[number])
        self.agents[number] = RunningAgent(agent, addresses, stopping)
        return self.agents[number]

    async def _run(
        self, agent: Agent, stopping: trio.Event, ended: trio.Event, task_status: trio.TaskStatus[Addresses]
    ) -> None:
        await agent.run(stopping, task_status=task_status)
        ended.set()

    async def stop(self, number: int) -> None:
        """Until it has ended: two at once with one key are a matter of their own."""
        self.agents[number].stopping.set()
        with trio.fail_after(PATIENCE):
            await self._ended[number].wait()

    def agent(self, number: int) -> Agent:
        return self.agents[number].agent

    def issuer_address(self) -> str:
        host, port = self.agents[1].addresses.p2p or ("", 0)
        return f"{host}:{port}"

    def token(self, name: str | None = None) -> JoinToken:
        return self.ca.make_token((self.issuer_address(),), name=name, ttl=600)

    async def sees(self, number: int, *others: int) -> None:
        """Until the agent has lines to just these others, and their tools."""
        agent = self.agent(number)
        wanted = {f"agent-{other}" for other in others}
        with trio.fail_after(PATIENCE):
            await agent.peers.wait_change(
                lambda: {owner.name for owner in agent.peers.owners() if owner.tools} == wanted
            )


@asynccontextmanager
async def network(folder: Path, *numbers: int, age: float = 0.0) -> AsyncIterator[Network]:
    """The issuer and these members."""
    async with trio.open_nursery() as nursery:
        here = Network(folder, nursery, age)
        for number in numbers:
            here.enroll(number)
        here.clock.off = 0.0
        everybody = (1, *numbers)
        for number in everybody:
            await here.start(number)
        for number in everybody:
            await here.sees(number, *(other for other in everybody if other != number))
        try:
            yield here
        finally:
            for one in here.agents.values():
                one.stopping.set()


async def call(agent: Agent, other: int) -> None:
    run = await agent.executor.execute(f"CALL agent-{other}:list_files", ANN)
    assert run.state == "succeeded", run.error


async def test_an_agent_joins_with_a_token_and_is_a_member(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as here:
        key = load_signing_key(here.state(3))
        grant = await ask_to_join(here.token("agent-3"), "agent-3", key)
        Membership("agent-3", grant, (here.issuer_address(),)).save(here.state(3))
        await here.start(3)
        await here.sees(3, 1, 2)
        await here.sees(1, 2, 3)
        await call(here.agent(1), 3)
        await call(here.agent(3), 2)
        info = here.agent(3)._status.info()
        assert (info["mode"], info["network"], info["certificate_until"]) == ("ca", "dev", grant.not_after)
        assert here.agent(3)._status.health().checks["certificate"].status == "healthy"
        assert "praxis_p2p_certificate_left_seconds 3" in here.agent(3).metrics.render()


async def test_a_member_finds_the_issuer_again_without_any_discovery(tmp_path: Path) -> None:
    def alone(config: Config) -> Config:
        return attrs.evolve(config, p2p=attrs.evolve(config.p2p, enable_mdns=False))

    async with network(tmp_path) as here:
        grant = await ask_to_join(here.token(), "agent-2", load_signing_key(here.state(2)))
        Membership("agent-2", grant, (here.issuer_address(),)).save(here.state(2))
        here.changes[2] = alone
        await here.start(2)
        await here.sees(2, 1)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what several agents do, and files
            await trio.sleep(0.02)


async def refused(token: JoinToken, name: str, folder: Path) -> str:
    with pytest.raises(PraxisError) as caught:
        await ask_to_join(token, name, load_signing_key(folder))
    return str(caught.value)


async def test_tokens_that_let_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with network(tmp_path, 2) as here:
        good = here.token("agent-3")
        folder = here.state(3)
        assert "this token is for agent-3, not for eve" in await refused(good, "eve", folder)
        guess = attrs.evolve(good, secret=bytes(16))
        assert "the proof does not fit the token" in await refused(guess, "agent-3", folder)
        with caplog.at_level(logging.INFO):
            await ask_to_join(good, "agent-3", load_signing_key(folder))
            assert "unknown or was used" in await refused(good, "agent-3", folder)
        assert good.secret.hex() not in caplog.text
        assert "the name agent-2 belongs to" in await refused(here.token(), "agent-2", folder)
        expired = here.ca.make_token((here.issuer_address(),), name=None, ttl=0)
        assert "this token has expired" in await refused(expired, "agent-4", folder)
        host, port = here.agents[2].addresses.p2p or ("", 0)
        elsewhere = attrs.evolve(here.token(), addresses=(f"{host}:{port}",))
        assert "is not the issuer that the token names" in await refused(elsewhere, "agent-4", folder)
        member = attrs.evolve(elsewhere, issuer=here.agents[2].addresses.peer_id)
        assert "the agent there is no issuer" in await refused(member, "agent-4", folder)
        nobody = attrs.evolve(here.token(), addresses=("127.0.0.1:1",))
        assert "the issuer cannot be reached: 127.0.0.1:1: " in await refused(nobody, "agent-4", folder)
        await call(here.agent(1), 2)


async def joiner(here: Network) -> TlsPipe:
    """A line of somebody without a certificate."""
    host, port = here.agents[1].addresses.p2p or ("", 0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([JOIN_ALPN])
    pipe = TlsPipe(await trio.open_tcp_stream(host, port), context, server_side=False)
    await pipe.handshake()
    return pipe


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "this is no JSON"),
        (b"\xff\xfe\n", "this is no JSON"),
        (b"[" * 9000 + b"\n", "this is no JSON"),
        (b"{}\n", "a request to join has"),
        (b"x" * 40_000, "more than 32768 bytes"),
        (b'{"token": "a", "name": "b c", "public": "AA", "proof": ""}\n', "no name of an agent"),
    ],
)
async def test_who_asks_wrongly_is_told_and_costs_nobody_else(tmp_path: Path, sent: bytes, said: str) -> None:
    async with network(tmp_path, 2) as here:
        pipe = await joiner(here)
        await pipe.send(sent)
        answer = b""
        with trio.fail_after(PATIENCE):
            while not answer.endswith(b"\n"):
                answer += await pipe.receive()
        assert said in json.loads(answer)["error"]["detail"]
        pipe.close()
        await call(here.agent(2), 1)


async def test_who_asks_for_nothing_is_cut_off_and_one_without_a_certificate_is_no_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE", 0.2)
    async with network(tmp_path, 2) as here:
        silent = await joiner(here)
        assert "praxis_p2p_unauthenticated_lines 1" in here.agent(1).metrics.render()
        with trio.fail_after(PATIENCE):
            assert await silent.receive() == b""
        silent.close()
        host, port = here.agents[1].addresses.p2p or ("", 0)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["praxis/1"])
        pipe = TlsPipe(await trio.open_tcp_stream(host, port), context, server_side=False)
        await pipe.handshake()
        with trio.fail_after(PATIENCE):
            assert await pipe.receive() == b""
        pipe.close()
        assert 'handshakes_total{result="refused",reason="certificate"} 1' in here.agent(1).metrics.render()
        await call(here.agent(1), 2)


async def test_a_certificate_of_another_ca_is_refused_unless_that_is_believed(tmp_path: Path) -> None:
    other = create_authority(tmp_path / "other", rendezvous="dev", issuer="px" + "a" * 52, clock=Clock())
    file = tmp_path / "other.pem"
    file.write_text(pem("CERTIFICATE", other.certificate))
    async with network(tmp_path, 2) as here:
        here.enroll(3, other)
        stranger = await here.start(3)
        stranger.agent.member.bootstrap([here.issuer_address()])
        await until(lambda: 'result="refused",reason="certificate"' in here.agent(1).metrics.render())
        assert not stranger.agent.peers.links()
        await call(here.agent(1), 2)

        def believing(config: Config, path: Path) -> Config:
            security = attrs.evolve(config.p2p.security, ca_files=(path,))
            return attrs.evolve(config, p2p=attrs.evolve(config.p2p, security=security))

        own = tmp_path / "own.pem"
        own.write_text(pem("CERTIFICATE", here.ca.certificate))
        here.changes[1] = partial(believing, path=file)
        here.changes[3] = partial(believing, path=own)
        await here.agent(1).reloading.reload()
        await stranger.agent.reloading.reload()
        stranger.agent.member.bootstrap([here.issuer_address()])
        await here.sees(3, 1)
        with pytest.raises(PraxisError, match="this CA has not issued"):
            (link,) = stranger.agent.peers.links()
            key = load_signing_key(here.state(3))
            await link.call("ca.renew", {"public": encode_public(key.public)})


async def test_a_name_that_the_ca_did_not_give_costs_the_line(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as here:
        here.enroll(3)
        liar = await here.start(3)
        await here.sees(3, 1, 2)
        identity = liar.agent.member.lines.identity
        liar.agent.member.lines.identity = attrs.evolve(identity, name="agent-2")
        for link in liar.agent.peers.links():
            link.close("test", "again")
        await until(lambda: 'result="refused",reason="name"' in here.agent(1).metrics.render())
        await here.sees(1, 2)


async def test_who_is_blocked_by_the_issuer_loses_all_lines_at_once(tmp_path: Path) -> None:
    async with network(tmp_path, 2, 3, 4) as here:
        peer = here.agents[4].addresses.peer_id
        here.ca.block(peer)
        await here.agent(1).reloading.reload()
        began = trio.current_time()
        for number in (1, 2, 3):
            await here.sees(number, *({1, 2, 3} - {number}))
        assert trio.current_time() - began < 5
        await until(lambda: not here.agent(4).peers.links())
        assert load_membership(here.state(2)).blocked == (peer,)
        with pytest.raises(PraxisError, match="blocked"):
            await ask_to_join(here.token(), "agent-4", load_signing_key(here.state(4)))

        await here.stop(2)  # a member that was away remembers it, and one that was away before is told
        here.enroll(5)
        await here.start(5)
        await here.start(2)
        await here.sees(5, 1, 2, 3)
        await until(lambda: load_membership(here.state(5)).blocked == (peer,))
        assert here.agent(2).member.lines.blocked == {peer}

        here.ca.unblock(peer)
        await here.agent(1).reloading.reload()
        here.agent(4).member.bootstrap([here.issuer_address()])
        await here.sees(1, 2, 3, 4, 5)


@pytest.mark.parametrize("word", ["blocked", "not_allowed"])
async def test_who_is_refused_while_it_greets_gets_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    async with network(tmp_path, 2) as here:
        here.enroll(3)
        peer, lines = peer_id_of_key(load_signing_key(here.state(3)).public), here.agent(2).member.lines
        greeted, done = PeerLink.wait_greeted, trio.Event()

        async def refuse_then(link: PeerLink) -> bool:
            answer = await greeted(link)
            if answer and link.peer_id == peer and link.session.hello.name == "agent-2":
                if word == "blocked":
                    lines.block([peer])
                else:
                    lines.allow(["agent-1"])
                done.set()
            return answer

        monkeypatch.setattr(PeerLink, "wait_greeted", refuse_then)
        await here.start(3)
        with trio.fail_after(PATIENCE):
            await done.wait()
        await until(lambda: lines.open_lines == 1)
        assert [link.hello.name for link in here.agent(2).peers.links()] == ["agent-1"]
        assert f'praxis_p2p_lines_ended_total{{reason="{word}"}}' in here.agent(2).metrics.render()
        await here.sees(3, 1)


async def test_only_the_issuer_says_whom_to_keep_out(tmp_path: Path) -> None:
    async with network(tmp_path, 2, 3) as here:
        link = here.agent(3).peers.link(here.agents[2].addresses.peer_id)
        assert link is not None
        with pytest.raises(PraxisError, match="only the issuer") as caught:
            await link.call("ca.blocked", {"ids": [here.agents[1].addresses.peer_id]})
        assert caught.value.code == "denied"
        from_issuer = here.agent(1).peers.link(here.agents[2].addresses.peer_id)
        assert from_issuer is not None
        for ids in (None, "all", [1], ["px"], ["px" + "a" * 52] * 2000):
            with pytest.raises(PraxisError) as caught:
                await from_issuer.call("ca.blocked", {"ids": ids})
            assert caught.value.code == "invalid"
        assert load_membership(here.state(2)).blocked == ()


async def test_names_that_are_allowed_get_lines_and_others_do_not(tmp_path: Path) -> None:
    def strict(config: Config) -> Config:
        security = attrs.evolve(config.p2p.security, allow=("agent-1", "agent-2"))
        return attrs.evolve(config, p2p=attrs.evolve(config.p2p, security=security))

    async with network(tmp_path, 2, 3) as here:
        here.changes[1] = strict
        done = await here.agent(1).reloading.reload()
        assert done.applied == ("p2p.security.allow",)
        await here.sees(1, 2)
        await here.sees(2, 1, 3)
        with trio.fail_after(PATIENCE):
            while 'result="refused",reason="not_allowed"' not in here.agent(1).metrics.render():
                here.agent(3).member.bootstrap([])
                here.agent(3).member.bootstrap([here.issuer_address()])
                await trio.sleep(0.05)
        del here.changes[1]
        await here.agent(1).reloading.reload()
        await here.sees(1, 2, 3)


async def test_certificates_are_renewed_under_traffic_and_no_call_fails(tmp_path: Path) -> None:
    async with network(tmp_path, 2, 3, age=200 * DAY) as here:
        calls = 0

        async def caller(number: int) -> None:
            nonlocal calls
            while True:
                await call(here.agent(number % 3 + 1), (number + 1) % 3 + 1)
                calls += 1

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(caller, number)
            before = {link for number in (1, 2, 3) for link in here.agent(number).peers.links()}
            for number in (2, 3, 1):
                end = load_membership(here.state(number)).grant.not_after
                upkeep = here.agent(number).member._upkeep
                assert upkeep is not None
                await upkeep.renew()
                assert load_membership(here.state(number)).grant.not_after > end + 199 * DAY
            after = {link for number in (1, 2, 3) for link in here.agent(number).peers.links()}
            assert not before & after, "every line shows the new certificate"
            seen = calls
            with trio.fail_after(PATIENCE):
                while calls < seen + 9:  # noqa: ASYNC110 - a condition of several agents
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def test_a_certificate_that_is_two_thirds_over_is_renewed_at_the_start(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as here:
        here.clock.off = -300 * DAY
        here.enroll(3)
        here.clock.off = 0.0
        old = load_membership(here.state(3)).grant
        member = load_membership(here.state(3))
        attrs.evolve(member, addresses=(here.issuer_address(),)).save(here.state(3))
        await here.start(3)
        await until(lambda: load_membership(here.state(3)).grant.not_after > old.not_after)
        await here.sees(3, 1, 2)


CROWD = 16
"""Connections at once; see `tests.support.siege`."""


@pytest.mark.parametrize("attacked", [1, 2], ids=["issuer", "member"])
@pytest.mark.parametrize(
    ("days", "foreign", "said"),
    [(-400, False, "certificate expired"), (3, False, "bad certificate"), (0, True, "unknown ca")],
    ids=["expired", "not yet valid", "another CA"],
)
async def test_who_has_no_certificate_that_counts_is_refused_and_costs_nobody_else(
    tmp_path: Path, attacked: int, days: int, foreign: bool, said: str
) -> None:
    other = create_authority(tmp_path / "other", rendezvous="dev", issuer="px" + "a" * 52, clock=Clock())
    async with network(tmp_path, 2) as here:
        here.clock.off = days * DAY
        here.enroll(3, other if foreign else None)
        identity = load_membership(here.state(3)).identity(here.state(3), admits=False)
        context = identity.client
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with siege(here.agents[attacked], here.agents[3 - attacked]) as it:
            with ExitStack() as stack:
                streams = [await it.connect() for _ in range(CROWD)]
                pipes = [stack.enter_context(closing(TlsPipe(s, context, server_side=False))) for s in streams]
                await it.good_call(beside=UNKNOWN, count=CROWD)
                for pipe in pipes:
                    with trio.fail_after(PATIENCE), pytest.raises(Broken, match=said):
                        await pipe.handshake()
                        await pipe.receive()
                await it.good_call()
                await it.until_counted(refused_line("certificate"), CROWD)


@pytest.mark.parametrize(("days", "what"), [(-400, "has expired"), (3, "is not yet valid")])
async def test_dates_that_do_not_fit_are_explained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, what: str
) -> None:
    caplog.set_level(logging.INFO, "praxis.peers")
    async with network(tmp_path, 2) as here:
        here.clock.off = days * DAY
        here.enroll(3)
        here.changes[3] = lambda config: attrs.evolve(
            config, p2p=attrs.evolve(config.p2p, bootstrap_nodes=(here.issuer_address(),), enable_mdns=False)
        )
        assert REFUSED not in here.agent(1).metrics.render()
        late = await here.start(3)
        await until(lambda: f"certificate {what}; the clock here shows 20" in caplog.text)
        assert "that of the peer may be wrong, or its certificate has ended" in caplog.text
        assert not late.agent.peers.links()
        await until(lambda: REFUSED in here.agent(1).metrics.render())
        assert 'result="ok"' not in late.agent.metrics.render()
        if days < 0:
            check = late.agent._status.health().checks["certificate"]
            assert check.status == "degraded"
            assert "it has ended" in check.reason
        await call(here.agent(1), 2)


async def test_a_day_between_clocks_is_no_trouble(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as here:
        here.clock.off = 0.9 * DAY
        here.enroll(3)
        here.clock.off = -0.9 * DAY
        here.enroll(4)
        await here.start(3)
        await here.start(4)
        await here.sees(3, 1, 2, 4)


async def test_a_line_ends_with_the_peers_certificate(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as here:
        grant = here.ca.issue("agent-3", load_signing_key(here.state(3)).public, days=1)
        Membership("agent-3", grant).save(here.state(3))
        await here.start(3)
        await here.sees(1, 2, 3)
        peer = here.agents[3].addresses.peer_id
        lines = here.agent(1).member.lines
        lines._clock = lambda: float(grant.not_after) + 1  # which a running line looks at once a minute
        link = here.agent(1).peers.link(peer)
        assert link is not None
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lines._expire, link, float(grant.not_after))
                await link.wait_ended()
        assert link.reason == "the peer's certificate has expired"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: attrs.evolve(c, agent=attrs.evolve(c.agent, name="other")), "knows this agent as 'agent-2'"),
        (lambda c: attrs.evolve(c, p2p=attrs.evolve(c.p2p, rendezvous="other")), "has joined the network 'dev'"),
    ],
)
async def test_a_configuration_that_does_not_fit_the_membership_is_told(
    tmp_path: Path, change: Callable[[Config], Config], what: str
) -> None:
    async with trio.open_nursery() as nursery:
        here = Network(tmp_path, nursery)
        here.enroll(2)
        with pytest.raises(PraxisError, match=what):
            Agent(change(here.config(2)), base_dir=tmp_path, state_dir=here.state(2))


async def test_the_mode_changes_with_a_restart_alone(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as here:
        here.changes[2] = lambda config: attrs.evolve(config, p2p=attrs.evolve(config.p2p, secure=False))
        done = await here.agent(2).reloading.reload()
        assert (done.applied, done.restart) == ((), ("p2p.secure",))
        await call(here.agent(2), 1)
        assert load_authority(here.state(2), clock=here.clock) is None
