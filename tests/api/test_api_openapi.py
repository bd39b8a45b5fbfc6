"""GET /openapi.json: complete, right by the specification's rules, and true of what the agent really answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from praxis import __version__
from praxis.access.entrance import LOCAL
from praxis.api.guard import OPEN
from praxis.api.http import make_api, make_sse
from praxis.api.openapi import document
from praxis.api.route import Answer, Call, Route, object_schema
from praxis.config.schema import Config, Mcp, McpServer
from praxis.tools.schema import Validator
from tests.api.api_kit import Served, services_of, serving

ISSUED = """
GET /health, GET /health/live, GET /health/ready, GET /metrics, GET /agent/card, GET /.well-known/agent-card.json,
GET /peers, GET /p2p/cards, GET /p2p/info, POST /p2p/tool, GET /mcp/tools, GET /tools, POST /execute, POST /plan,
POST /, POST /a2a/v1, POST /a2a/v1/, GET /a2a/tasks, POST /a2a/message/send, POST /a2a/tasks/get,
GET /sources, GET /sources/{name}, POST /sources, DELETE /sources/{name}, POST /sources/{name}/restart,
POST /sources/{name}/approve, GET /sources/{name}/logs,
GET /runs, GET /runs/{id}, GET /runs/{id}/events, DELETE /runs/{id}, GET /events, GET /openapi.json
"""
"""What the contract names and this version has."""

REQUESTS: dict[str, dict[str, Any]] = {
    "POST /execute": {"dsl": "CALL echo", "timeout": 5, "params": {"a": 1}, "secrets": {"b": "cccc"}},
    "POST /": {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": "x"}},
    "POST /a2a/v1": {"jsonrpc": "2.0", "id": "1", "method": "tasks/get"},
    "POST /a2a/v1/": {"jsonrpc": "2.0", "id": "1", "method": "tasks/get"},
    "POST /a2a/message/send": {
        "message": {"messageId": "1", "role": "user", "parts": [{"kind": "text", "text": "CALL echo"}]}
    },
    "POST /a2a/tasks/get": {"id": "x"},
    "POST /plan": {"nodes": [{"id": "a", "tool": "echo"}], "edges": []},
    "POST /runs/{id}/resume": {"secrets": {"a": "bbbb"}, "repeat": True},
    "POST /runs/{id}/retry": {"from_failed": True},
    "POST /call": {"tool": "echo", "arguments": {"a": [1, None]}},
    "POST /p2p/tool": {"peer_id": "px", "tool_name": "echo", "args": {}},
    "POST /sources": {
        "name": "new",
        "command": "true",
        "args": ["a"],
        "env": {"A": "b"},
        "timeout": 5,
        "enabled": False,
    },
    "POST /sources/{name}/approve": {"tool": "echo"},
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    off = McpServer("off", command="true", enabled=False)

    def change(config: Config) -> Config:
        return attrs.evolve(config, mcp=Mcp(servers=(off,)))

    with serving(tmp_path_factory.mktemp("openapi"), change=change) as served:
        yield served


@pytest.fixture(scope="module")
def spec(agent: Served) -> dict[str, Any]:
    reply = agent.get("/openapi.json")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    value = reply.json
    assert isinstance(value, dict)
    return value


def operations(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {f"{method.upper()} {path}": each for path, item in spec["paths"].items() for method, each in item.items()}
    assert len(found) > 20
    return found


@pytest.mark.parametrize("make", [make_api, make_sse])
def test_no_route_is_missing_and_none_is_invented(agent: Served, make: Any) -> None:
    app = make(services_of(agent.agents[0].agent))
    served = {
        f"{method} {rule.rule.replace('<', '{').replace('>', '}')}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    port = agent.port if make is make_api else (agent.agents[0].addresses.sse or ("", 0))[1]
    paths = agent.ask("GET", "/openapi.json", port=port).json["paths"]
    assert {f"{method.upper()} {path}" for path, item in paths.items() for method in item} == served


def test_all_that_is_promised_by_now_is_there(spec: dict[str, Any]) -> None:
    assert set(re.findall(r"[A-Z]+ /[^,\s]*", ISSUED)) <= set(operations(spec))


def test_every_documented_operation_is_answered_and_no_other_method(agent: Served, spec: dict[str, Any]) -> None:
    for path, item in spec["paths"].items():
        documented = {method.upper() for method in item}
        reply = agent.ask("NONSENSE", path.replace("{id}", "x"))
        reply.problem(405, "invalid")
        assert set(reply.headers["Allow"].split(", ")) - {"HEAD"} == documented


def test_it_follows_the_rules_of_openapi(spec: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", spec["openapi"])
    assert (spec["info"]["title"], spec["info"]["version"]) == ("Praxis agent", __version__)
    assert "POST /mcp" in spec["info"]["description"]
    found = operations(spec)
    ids = [each["operationId"] for each in found.values()]
    assert len(set(ids)) == len(ids)
    for name, each in found.items():
        assert each["summary"]
        in_path = {p["name"] for p in each["parameters"] if p["in"] == "path" and p["required"] is True}
        assert in_path == set(re.findall(r"\{(\w+)\}", name))
        assert all(p["description"] for p in each["parameters"] if p["in"] == "query")
        assert {"200", "default"} <= set(each["responses"])
        assert all(answer["description"] for answer in each["responses"].values())
        for requirement in each.get("security", []):
            assert set(requirement) <= set(spec["components"]["securitySchemes"])


def test_references_lead_somewhere(spec: dict[str, Any]) -> None:
    references = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(spec))
    assert references
    assert set(references) <= set(spec["components"]["schemas"])


def test_what_needs_no_token_is_what_the_guard_leaves_open(spec: dict[str, Any]) -> None:
    open_paths = {name.partition(" ")[2] for name, each in operations(spec).items() if "security" not in each}
    assert open_paths == OPEN


# -- true of real answers ---------------------------------------------------------------------------------


def test_every_get_answers_with_the_documented_type(agent: Served, spec: dict[str, Any]) -> None:
    run_id = agent.execute("CALL echo").json["run_id"]
    for name, each in operations(spec).items():
        method, path = name.split(" ")
        if method == "GET":
            with agent.connection() as connection:
                connection.request("GET", path.replace("{id}", run_id).replace("{name}", "off"))
                answer = connection.getresponse()
                assert answer.status == 200
                (produced,) = each["responses"]["200"]["content"]
                assert answer.headers.get_content_type() == produced, name
                schema = each["responses"]["200"]["content"][produced].get("schema")
                if schema is not None:
                    Validator({**schema, "components": spec["components"]}).check(json.loads(answer.read()), name)


def test_every_documented_body_fits_a_real_request(agent: Served, spec: dict[str, Any]) -> None:
    taking = {name: each["requestBody"] for name, each in operations(spec).items() if "requestBody" in each}
    assert set(taking) == set(REQUESTS)
    for name, body in taking.items():
        assert body["required"] is True
        validator = Validator(body["content"]["application/json"]["schema"])
        validator.check(REQUESTS[name], name)
        method, path = name.split(" ")
        assert agent.ask(method, path, REQUESTS[name]).status in (200, 404)
        for required in body["content"]["application/json"]["schema"].get("required", ()):
            less = {key: value for key, value in REQUESTS[name].items() if key != required}
            problem = agent.ask(method, path, less).problem(400, "invalid")
            assert problem["where"] == f"body.{required}"


def test_work_has_three_forms_in_both_places(spec: dict[str, Any]) -> None:
    schemas = [
        operations(spec)[name]["requestBody"]["content"]["application/json"]["schema"]
        for name in ("POST /execute", "POST /plan")
    ]
    rpc = {"jsonrpc", "id", "method"}  # which /execute alone takes
    assert {key: value for key, value in schemas[0]["properties"].items() if key not in rpc} == schemas[1]["properties"]
    assert {"dsl", "nodes", "request"} < set(schemas[0]["properties"])


def test_every_kind_of_problem_fits_the_documented_schema(agent: Served, spec: dict[str, Any]) -> None:
    schema = {**spec["components"]["schemas"]["Problem"], "additionalProperties": False}
    validator = Validator(schema)
    assert not validator.notes
    replies = [
        agent.execute("CALL"),
        agent.execute("CALL twin"),
        agent.execute("CALL nothing"),
        agent.execute("CALL count --n x"),
        agent.ask("POST", "/execute", b"rubbish"),
        agent.ask("POST", "/execute", {"request": "echo"}),
        agent.ask("POST", "/execute", b"{}", {"Content-Type": "text/plain"}),
        agent.ask("POST", "/execute", b" " * (4 * 1024 * 1024 + 1)),
        agent.ask("POST", "/call", {"tool": "outage"}),
        agent.ask("DELETE", f"/runs/{agent.execute('CALL echo').json['run_id']}"),
        agent.get("/nope"),
        agent.get("/runs", Host="evil.example"),
        agent.get("/runs", Authorization="Bearer wrong"),
        agent.ask("PUT", "/runs"),
    ]
    statuses = [reply.status for reply in replies]
    assert statuses == [400, 409, 404, 400, 400, 502, 415, 413, 502, 409, 404, 421, 401, 405]
    for reply in replies:
        assert reply.headers["Content-Type"] == "application/problem+json"
        validator.check(reply.json, "problem")
        assert reply.json["status"] == reply.status


async def test_a_route_is_documented_as_it_is_declared() -> None:
    async def answer(call: Call) -> Answer:
        return Answer.of(call.body)

    schema = object_schema(("a",), a={"type": "string"})
    route = Route("PUT", "/x/{one}/y/{two}", "Does it.", answer, action="admin", schema=schema, query={"q": "asks"})
    route = attrs.evolve(route, produces="text/plain", statuses={418: "a teapot"})
    spec = document([route], title="T", version="9")
    operation = spec["paths"]["/x/{one}/y/{two}"]["put"]
    assert [(p["name"], p["in"], p["required"]) for p in operation["parameters"]] == [
        ("one", "path", True),
        ("two", "path", True),
        ("q", "query", False),
    ]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == schema
    assert operation["responses"]["418"] == {"description": "a teapot"}
    assert "admin" in operation["description"]
    assert (await route.answer(Call(LOCAL, {"a": "b"}, {}, {}, lambda name: None))).body == b'{"a": "b"}'
