"""Headers of modern requests, against the specification's table and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.wire.mcp_headers import (
    HeaderError,
    ParamHeader,
    decode_value,
    encode_value,
    param_headers,
    request_headers,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("us-west1", "us-west1"),
        ("us west 1", "us west 1"),
        ("", ""),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" us-west1", "=?base64?IHVzLXdlc3Qx?="),
        ("us-west1 ", "=?base64?dXMtd2VzdDEg?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("\tindented", "=?base64?CWluZGVudGVk?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("=?base64?", "=?base64?"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert encode_value(text) == value
    assert decode_value(value) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_and_fits_into_a_header(text: str) -> None:
    value = encode_value(text)
    assert decode_value(value) == text
    assert value.isascii()
    assert value == value.strip()
    assert value.isprintable()


@pytest.mark.parametrize("value", ["=?base64?!?=", "=?base64?/w==?=", "=?base64?eA?="])
def test_base64_that_is_none(value: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        decode_value(value)


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def named(name: Any, kind: Any = "string") -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": name}


def test_headers_of_a_schema() -> None:
    deep = schema(where=schema(region=named("Region"), **{"x-mcp-header": {"type": "string"}}), n=named("N", "integer"))
    assert param_headers(deep) == (ParamHeader("Region", ("where", "region")), ParamHeader("N", ("n",)))
    nothing: Any
    for nothing in ({}, None, [], {"properties": []}, {"properties": {"a": 1}}, schema(a={"type": "string"})):
        assert param_headers(nothing) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        schema(a=named("")),
        schema(a=named(5)),
        schema(a=named(None)),
        schema(a=named("My Region")),
        schema(a=named("Region:1")),
        schema(a=named("Région")),
        schema(a=named("Region\t1")),
        schema(a=named("X", "number")),
        schema(a=named("X", "object")),
        schema(a=named("X", "array")),
        schema(a=named("X", "null")),
        schema(a=named("X", ["string"])),
        schema(a={"x-mcp-header": "X"}),
        schema(a=named("X"), b=named("x")),
        schema(a={"type": "array", "items": named("X")}),
        {"type": "object", "anyOf": [schema(a=named("X"))]},
        {"$defs": {"a": named("X")}},
    ],
)
def test_schemas_that_name_headers_wrongly(wrong: Any) -> None:
    with pytest.raises(HeaderError):
        param_headers(wrong)


def test_a_request() -> None:
    headers = (ParamHeader("Region", ("where", "region")), ParamHeader("On", ("on",)), ParamHeader("N", ("n",)))
    arguments = {"where": {"region": " x"}, "on": False, "n": -3}
    assert request_headers("2026-07-28", "tools/call", {"name": "ü", "arguments": arguments}, headers) == [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "=?base64?w7w=?="),
        ("Mcp-Param-Region", "=?base64?IHg=?="),
        ("Mcp-Param-On", "false"),
        ("Mcp-Param-N", "-3"),
    ]
    for absent in ({}, {"where": None}, {"where": {"region": None}, "n": 2**60}, {"where": "x", "n": 1.5}):
        sent = request_headers("2026-07-28", "tools/call", {"name": "a", "arguments": absent}, headers)
        assert [name for name, _ in sent] == ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"]
    assert request_headers("2026-07-28", "resources/read", {"uri": "a:b"})[2] == ("Mcp-Name", "a:b")
    assert request_headers("2026-07-28", "tools/list", {"name": "a"})[2:] == []
