"""The OpenAPI 3.1 document, made of the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from praxis.api.route import Route

_PARAMETER = re.compile(r"\{(\w+)\}")


def document(routes: Sequence[Route], *, title: str, version: str, description: str = "") -> dict[str, Any]:
    """OpenAPI 3.1 of these routes; `description` says what else there is."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _PROBLEM},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.path.rstrip('}'))}",
        "parameters": [
            *(_parameter(name, "path") for name in _PARAMETER.findall(route.path)),
            *(_parameter(name, "query", text) for name, text in route.query.items()),
        ],
        "responses": {
            "200": {"description": "Done.", "content": {route.produces: {}}},
            **{str(status): {"description": text} for status, text in route.statuses.items()},
            "default": {"description": "A problem (RFC 9457).", "content": problem},
        },
    }
    if route.schema is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.schema}}}
    if route.action is not None:
        operation["security"] = [{}, {"token": []}]
        operation["description"] = f"Needs a role that may {route.action}."
    return operation


def _parameter(name: str, place: str, description: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string"},
    }


_PROBLEM = {
    "type": "object",
    "required": ["title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; what programs decide by"},
        "detail": {"type": "string", "description": "What was wrong"},
        "where": {"type": "string", "description": "Where it was wrong"},
        "hint": {"type": "string", "description": "What to do"},
        "data": {"type": "object"},
    },
}
