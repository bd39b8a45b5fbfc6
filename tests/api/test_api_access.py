"""Who may call: Host, Origin, tokens and roles, on every route. A good call runs beside."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from praxis.access.tokens import TokenStore
from praxis.api.guard import OPEN, PROBED
from praxis.cli.client import Client
from praxis.config.schema import Access, Config
from tests.api.api_kit import Served, serving

PAGE = "https://console.example"
BODIES: dict[str, dict[str, Any]] = {
    "/execute": {"dsl": "CALL echo"},
    "/plan": {"dsl": "CALL echo"},
    "/call": {"tool": "echo"},
    "/p2p/tool": {"peer_id": "px", "tool_name": "echo"},
}
LOOKING = {("POST", path) for path in ("/plan", "/", "/a2a/v1", "/a2a/v1/", "/a2a/tasks/get")}
"""Requests with a body that change nothing, or decide by their method who may send them."""


@attrs.frozen(eq=False)
class Guarded:
    """An agent that others reach, so that all but probes must show a token."""

    agent: Served
    tokens: dict[str, str]

    def bearer(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}


def allow(config: Config, *, tokens_file: Path | None = None) -> Config:
    access = Access(tokens_file=tokens_file, allowed_hosts=("agent.example",), allowed_origins=(PAGE,))
    host = "0.0.0.0" if tokens_file is not None else "127.0.0.1"
    return attrs.evolve(config, access=access, http=attrs.evolve(config.http, host=host))


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("access"), change=allow) as served:
        yield served


@pytest.fixture
def agent(shared_agent: Served) -> Iterator[Served]:
    with shared_agent.good_call():
        yield shared_agent


@pytest.fixture(scope="module")
def shared_guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tokens")
    store = TokenStore(folder / "tokens.json")
    tokens = {role: store.new(role, f"{role}s") for role in ("viewer", "operator", "admin")}
    with serving(folder, change=lambda config: allow(config, tokens_file=folder / "tokens.json")) as served:
        yield Guarded(served, tokens)


@pytest.fixture
def guarded(shared_guarded: Guarded) -> Iterator[Guarded]:
    with shared_guarded.agent.good_call(**shared_guarded.bearer("operator")):
        yield shared_guarded


def routes(agent: Served, headers: dict[str, str]) -> list[tuple[str, str]]:
    """Method and path of every route that is not open to all, as the agent itself lists them."""
    paths = agent.ask("GET", "/openapi.json", headers=headers).json["paths"]
    found = [(method.upper(), path.replace("{id}", "x")) for path, item in paths.items() for method in item]
    assert len(found) > 20
    return [(method, path) for method, path in found if path not in OPEN]


def status(agent: Served, method: str, path: str, headers: dict[str, str]) -> int:
    """The status alone: a stream has no end."""
    with agent.connection() as connection:
        connection.request(method, path, None, headers)
        return connection.getresponse().status


# -- Host and Origin --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "", "localhost:x"]
)
def test_a_foreign_host_is_refused_on_every_route(agent: Served, host: str) -> None:
    for method, path in routes(agent, {}):
        problem = agent.ask(method, path, BODIES.get(path), {"Host": host}).problem(421, "denied")
        assert "access.allowed_hosts" in problem["hint"]
        assert "data" not in problem


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", f"{PAGE}.evil.example"])
def test_a_foreign_origin_is_refused_on_every_route(agent: Served, origin: str) -> None:
    for method, path in routes(agent, {}):
        problem = agent.ask(method, path, BODIES.get(path), {"Origin": origin}).problem(403, "denied")
        assert "access.allowed_origins" in problem["hint"]


def test_a_refused_call_has_run_nothing(agent: Served) -> None:
    before = agent.get("/runs").json
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Authorization": "Bearer x"}):
        assert agent.ask("POST", "/execute", {"dsl": "CALL echo"}, headers).status in (401, 403, 421)
    assert agent.get("/runs").json == before


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:9", "agent.example", "agent.example:1"]
)
def test_own_and_allowed_hosts_are_let_in(agent: Served, host: str) -> None:
    assert agent.get("/runs", Host=host).status == 200


def test_own_and_allowed_origins_are_let_in(agent: Served) -> None:
    assert agent.get("/runs", Origin=PAGE).status == 200
    assert agent.get("/runs", Origin=f"http://127.0.0.1:{agent.port}").status == 200


def test_two_hosts_or_two_origins_are_refused(agent: Served) -> None:
    for name, values, expected in (("Host", ("localhost",) * 2, (400, 421)), ("Origin", (PAGE, PAGE), (403,))):
        with agent.connection() as connection:
            connection.putrequest("GET", "/runs", skip_host=name == "Host")
            for value in values:
                connection.putheader(name, value)
            connection.endheaders()
            assert connection.getresponse().status in expected


def test_probes_name_any_host_and_what_is_wrong_is_for_no_web_page(agent: Served) -> None:
    assert {"/health/live", "/health/ready"} == PROBED
    for path in PROBED:
        assert agent.get(path, Host="10.1.2.3:8000").status == 200
    agent.get("/health", Host="10.1.2.3:8000").problem(421, "denied")
    agent.get("/health", Origin="https://evil.example").problem(403, "denied")
    assert agent.get("/health").status == 200


def test_an_unknown_path_tells_a_stranger_nothing(agent: Served) -> None:
    agent.get("/nope", Host="evil.example").problem(421, "denied")


# -- tokens -----------------------------------------------------------------------------------------------


def test_without_a_token_every_route_is_401_and_says_how(guarded: Guarded) -> None:
    for method, path in routes(guarded.agent, guarded.bearer("viewer")):
        reply = guarded.agent.ask(method, path, BODIES.get(path))
        assert "praxis token new" in reply.problem(401, "unauthenticated")["hint"]
        assert reply.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("form", ["Bearer {}x", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {} {}"])
def test_a_wrong_token_is_401_on_every_route(guarded: Guarded, form: str) -> None:
    headers = {"Authorization": form.replace("{}", guarded.tokens["admin"])}
    for method, path in routes(guarded.agent, guarded.bearer("viewer")):
        reply = guarded.agent.ask(method, path, BODIES.get(path), headers)
        reply.problem(401, "unauthenticated")
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.tokens["admin"].encode() not in reply.body


def test_a_wrong_token_is_refused_where_none_is_needed(agent: Served) -> None:
    agent.get("/runs", Authorization="Bearer pxt1-wrong").problem(401, "unauthenticated")


def test_a_viewer_looks_and_runs_nothing(guarded: Guarded) -> None:
    viewer = guarded.bearer("viewer")
    changing = []
    for method, path in routes(guarded.agent, viewer):
        if (method, path) in LOOKING or (method == "GET" and not path.endswith("/entry")):
            assert status(guarded.agent, method, path, viewer) in (200, 404, 415)
        else:
            problem = guarded.agent.ask(method, path, BODIES.get(path), viewer).problem(403, "denied")
            assert "viewer may not" in problem["detail"]
            assert "praxis token new --role" in problem["hint"]
            changing.append((method, path))
    assert {("POST", "/execute"), ("POST", "/call"), ("POST", "/p2p/tool"), ("DELETE", "/runs/x")} <= set(changing)


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_those_who_may_run_are_known_by_the_name_of_their_token(guarded: Guarded, role: str) -> None:
    run = guarded.agent.ask("POST", "/execute", {"dsl": "CALL echo"}, guarded.bearer(role)).json
    assert run["status"] == "succeeded"
    assert run["caller"].startswith(f"{role}s (")
    assert run["result"]["structuredContent"]["caller"] == run["caller"]


def test_a_role_that_is_too_low_is_told_before_the_body_is_looked_at(guarded: Guarded) -> None:
    guarded.agent.ask("POST", "/execute", b"rubbish", guarded.bearer("viewer")).problem(403, "denied")


def test_a_good_token_does_not_make_up_for_a_foreign_host_or_origin(guarded: Guarded) -> None:
    bearer = guarded.bearer("admin")
    guarded.agent.get("/runs", Host="evil.example", **bearer).problem(421, "denied")
    guarded.agent.get("/runs", Origin="https://evil.example", **bearer).problem(403, "denied")


def test_probes_show_no_token(guarded: Guarded) -> None:
    for path in OPEN:
        assert guarded.agent.get(path).status == 200


def test_a_token_works_from_when_it_is_made_until_it_is_revoked(guarded: Guarded) -> None:
    store = TokenStore(guarded.agent.folder / "tokens.json")
    text = store.new("viewer", "late")
    assert guarded.agent.get("/runs", Authorization=f"Bearer {text}").status == 200
    store.revoke(store.list()[-1].id)
    guarded.agent.get("/runs", Authorization=f"Bearer {text}").problem(401, "unauthenticated")


def test_the_local_socket_needs_no_token_and_is_this_users_alone(guarded: Guarded) -> None:
    unix = guarded.agent.agents[0].addresses.unix
    assert stat.S_IMODE(unix.stat().st_mode) == 0o600
    client = Client(f"unix:{unix}", timeout=10)
    assert client.request("POST", "/execute", {"dsl": "CALL echo"})["caller"] == "local"
    status, _, _ = client.exchange("GET", "/runs", headers={"Origin": "https://evil.example"})
    assert status == 403
