"""Declared tools as callers see them, and arguments as programs get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from praxis.config.schema import DeclaredTool, ToolParam
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.tools.declared import MAX_VARIABLE, MAX_VARIABLES, definition, hand_over
from praxis.tools.program_output import MAX_OUTPUT, MAX_TOLD, TAIL, ProgramOutput
from praxis.tools.schema import compile_schema


def tool(**keys: Any) -> DeclaredTool:
    return DeclaredTool("job", "process", command=("x",), **keys)


PARAMS = (
    ToolParam("path", description="Where", required=True),
    ToolParam("deep-er", "boolean"),
    ToolParam("n", "number", default=3),
)


def test_parameters_become_a_schema() -> None:
    assert definition(tool(params=PARAMS, description="Does it")) == {
        "name": "job",
        "description": "Does it",
        "inputSchema": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Where"},
                "deep-er": {"type": "boolean"},
                "n": {"type": "number", "default": 3},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    }
    check = compile_schema(definition(tool(params=PARAMS))["inputSchema"]).check
    check({"path": "a", "n": 1.5})
    for wrong in ({}, {"path": 5}, {"path": "a", "other": 1}):
        with pytest.raises(PraxisError):
            check(wrong)


def test_a_schema_of_ones_own_is_taken_as_it_is() -> None:
    schema = {"properties": {"x": {"enum": ["a", "b"], "default": "a"}}}
    assert definition(tool(inputSchema=schema))["inputSchema"] == {"type": "object", **schema}
    assert hand_over(tool(inputSchema=schema), {}).environment == {"PRAXIS_PARAM_X": "a"}


def test_marks_are_there_when_they_are_given() -> None:
    assert not {"annotations", "_meta"} & definition(tool()).keys()
    marked = definition(tool(group="workers", idempotent=True, read_only=True))
    assert marked["annotations"] == {"idempotentHint": True, "readOnlyHint": True}
    assert marked["_meta"] == {"praxis.group": "workers"}


def test_arguments_are_in_the_environment_and_on_standard_input() -> None:
    handed = hand_over(tool(params=PARAMS), {"path": "a b\n$x", "deep-er": True, "more": {"é": [1, None]}})
    assert handed.environment == {
        "PRAXIS_PARAM_PATH": "a b\n$x",
        "PRAXIS_PARAM_DEEP_ER": "true",
        "PRAXIS_PARAM_N": "3",
        "PRAXIS_PARAM_MORE": '{"é": [1, null]}',
    }
    assert json.loads(handed.stdin) == {"path": "a b\n$x", "deep-er": True, "n": 3, "more": {"é": [1, None]}}


def test_what_is_too_long_for_the_environment_is_on_standard_input_alone() -> None:
    handed = hand_over(tool(), {"a": "x" * MAX_VARIABLE, "b": "é" * MAX_VARIABLE, "c": "y"})
    assert handed.environment.keys() == {"PRAXIS_PARAM_A", "PRAXIS_PARAM_C"}
    assert json.loads(handed.stdin)["b"] == "é" * MAX_VARIABLE
    many = hand_over(tool(), {f"a{i}": "x" * MAX_VARIABLE for i in range(20)})
    assert len(many.environment) == MAX_VARIABLES // MAX_VARIABLE


@pytest.mark.parametrize("value", ["a\0b", "\ud800", ["\0"]])
def test_what_no_variable_holds_is_refused_unless_json_escapes_it(value: Any) -> None:
    if isinstance(value, list):
        assert hand_over(tool(), {"x": value}).environment == {"PRAXIS_PARAM_X": '["\\u0000"]'}
        return
    with pytest.raises(PraxisError) as refused:
        hand_over(tool(), {"x": value})
    assert (refused.value.code, refused.value.where) == ("invalid", "arguments.x")


# -- output ----------------------------------------------------------------------------------------


def output(**keys: Any) -> tuple[ProgramOutput, list[Any]]:
    told: list[Any] = []
    return ProgramOutput("process/job", CallContext("me", on_log=told.append, **keys), ["s3cret-value"]), told


def test_output_is_the_result_and_errors_are_told() -> None:
    written, told = output()
    written.write("hé".encode()[:2])
    written.write("hé".encode()[2:])
    written.write_error(b"one\ntw")
    written.write_error(b"o s3cret-value")
    assert written.result(0).value == {"content": [{"type": "text", "text": "hé"}], "isError": False}
    assert [each["data"] for each in told] == ["one", "two ***"]
    assert told[0] == {"level": "info", "logger": "process/job", "data": "one"}


def test_nothing_written_is_an_empty_text() -> None:
    assert output()[0].result(0).value["content"] == [{"type": "text", "text": ""}]


def test_a_status_is_an_error_with_the_end_of_what_was_said() -> None:
    written, _ = output()
    written.write(b"half")
    written.write_error("".join(f"line {i}\n" for i in range(100)).encode())
    result = written.result(3, "because")
    assert result.is_error
    first, second = (block["text"] for block in result.value["content"])
    assert first.splitlines()[0] == "process/job ended with exit status 3 (because):"
    assert first.splitlines()[1:] == [f"line {i}" for i in range(100 - TAIL, 100)]
    assert second == "half"
    assert output()[0].result(1).value["content"] == [{"type": "text", "text": "process/job ended with exit status 1"}]


def test_much_output_is_cut_and_said_to_be() -> None:
    written, _ = output()
    for _ in range(3):
        written.write(b"x" * MAX_OUTPUT)
    text, note = (block["text"] for block in written.result(0).value["content"])
    assert len(text) == MAX_OUTPUT
    assert note.startswith(f"{2 * MAX_OUTPUT} more bytes of output are left out")


def test_a_caller_who_wants_no_words_gets_none_and_none_gets_too_many() -> None:
    written, told = output(log_level="warning")
    written.write_error(b"a\n")
    assert not told
    written, told = output(log_level="debug")
    for _ in range(MAX_TOLD + 5):
        written.write_error(b"a\n")
    assert len(told) == MAX_TOLD
    assert told[-1]["data"] == "more lines are not passed on"
