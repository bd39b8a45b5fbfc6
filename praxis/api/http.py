"""The applications of the HTTP and the SSE listener: Quart around the declared routes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, cast

import attrs
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from praxis import __version__
from praxis.access.authorize import Policy
from praxis.access.principal import Principal
from praxis.api import a2a_routes, cache, events, execute, health, network, runs, sources
from praxis.api.a2a import A2aEndpoint
from praxis.api.body import read_json
from praxis.api.guard import PRINCIPAL
from praxis.api.openapi import document
from praxis.api.problem import problem_headers, status_of
from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services
from praxis.model.errors import PraxisError
from praxis.model.problem import problem_body
from praxis.model.tool import JSON
from praxis.tools.schema import Validator

logger = logging.getLogger(__name__)


def make_api(services: Services) -> QuartTrio:
    """Everything, for port 8000 and the local socket."""
    a2a = A2aEndpoint(services) if services.a2a else None
    routes = [
        *health.routes(services),
        *network.routes(services),
        *sources.routes(services),
        *execute.routes(services, a2a.rpc if a2a is not None else None),
        *(a2a_routes.routes(services, a2a) if a2a is not None else ()),
        *runs.routes(services),
        *cache.routes(services),
        *events.routes(services),
    ]
    beside = "Beside these routes MCP is served: POST /mcp, streamable HTTP; docs/mcp.md describes it."
    return _make_app(routes, services, "Praxis agent", beside)


def make_sse(services: Services) -> QuartTrio:
    """The event feed, for port 9000."""
    beside = "Beside these routes MCP is served over HTTP+SSE: GET /sse, POST /message; docs/mcp.md describes it."
    return _make_app([*events.routes(services), *health.routes(services)[1:3]], services, "Praxis events", beside)


def _make_app(routes: list[Route], services: Services, title: str, description: str) -> QuartTrio:
    app = QuartTrio("praxis", static_folder=None)  # else Quart adds a route that no policy guards
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = None  # http.max_body is the bound, and the listener keeps it
    app.url_map.merge_slashes = False  # it would answer //path with a redirect, a page of HTML

    async def openapi(call: Call) -> Answer:
        return Answer.of(document(routes, title=title, version=__version__, description=description))

    routes.append(Route("GET", "/openapi.json", "This document.", openapi))
    errors = services.metrics.counter("praxis_http_problems_total", "Requests answered with a problem.", ("code",))
    for route in routes:
        app.add_url_rule(
            route.path.replace("{", "<").replace("}", ">"),
            endpoint=f"{route.method} {route.path}",
            view_func=partial(_serve, route, route.validator, services.policy),
            methods=[route.method],
            provide_automatic_options=False,
        )

    async def told(error: PraxisError) -> Response:
        errors.inc(1, error.code)
        return _problem(error)

    async def by_http(error: HTTPException) -> Response:
        status = error.code or 500
        errors.inc(1, str(status))
        return _http_problem(error, status)

    async def bug(error: Exception) -> Response:
        logger.error("%s %s failed with a bug", request.method, request.path, exc_info=error)
        errors.inc(1, "internal")
        return _problem(PraxisError("internal", "the agent has a bug; its log has the traceback"))

    app.register_error_handler(PraxisError, told)
    app.register_error_handler(HTTPException, by_http)
    app.register_error_handler(Exception, bug)
    return app


async def _serve(route: Route, validator: Validator | None, policy: Policy, **path: str) -> Response:
    scope: Any = request.scope
    principal: Principal | None = scope.get(PRINCIPAL)
    if route.action is not None:
        if principal is None:
            raise RuntimeError(f"{route.path} is served without its guard")
        policy.authorize(principal, route.action)
    body: JSON = None
    if route.reads_itself:
        body = cast(bytes, await request.get_data(as_text=False))
    elif validator is not None:
        raw = cast(bytes, await request.get_data(as_text=False))
        body = read_json(request.headers.get("content-type", ""), raw)
        validator.check(body, "body")
    answer = await route.answer(Call(principal, body, path, request.args, request.headers.get))
    if request.method == "HEAD" and not isinstance(answer.body, bytes):
        answer = attrs.evolve(answer, body=_nothing())  # a stream may never end
    return _response(answer)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _response(answer: Answer) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", **answer.headers}
    response = Response(answer.body, answer.status, headers, content_type=answer.content_type)
    if not isinstance(answer.body, bytes):
        response.timeout = None  # Quart would cut a stream after a minute
    return response


def _problem(error: PraxisError) -> Response:
    chosen = error.data.get("status")
    status = chosen if chosen == 415 else status_of(error)
    return Response(problem_body(error, status), status, problem_headers(error, status))


def _http_problem(error: HTTPException, status: int) -> Response:
    """What Quart itself refuses, as a problem: no route, no method, a body that is too large."""
    methods: Sequence[str] = getattr(error, "valid_methods", None) or ()
    allowed = ", ".join(sorted(methods))
    if status == 404:
        told = PraxisError("not_found", f"there is nothing at {request.path[:200]}", hint="GET /openapi.json lists all")
    elif status == 405:
        told = PraxisError(
            "invalid", f"{request.method} is not answered at {request.path[:200]}", hint=f"use {allowed}"
        )
    elif status == 413:
        told = PraxisError("too_large", "the body is too large")
    else:
        told = PraxisError("invalid", error.description or error.name)
    headers = problem_headers(told, status)
    if allowed:
        headers["Allow"] = allowed
    return Response(problem_body(told, status), status, headers)
