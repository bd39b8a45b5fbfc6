"""Declared tools: both places, the forms of other SDKs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxis.config.save import save
from praxis.config.schema import DeclaredTool, ToolMount, ToolParam
from tests.config.reading import Write, problems, read

GO = """
agent:
  tools:
    - name: "python_analyzer"
      description: "Analyzes data using an external Python script"
      engine: "dagger"
      params:
        - name: "input_file"
          type: "string"
          required: "true"
        - name: "count"
          type: "number"
          required: "false"
      engineSpec:
        image: "python:3.11-slim"
        command: ["python", "/shared/analyzer.py"]
        mounts:
          ./shared: /shared
          ${DATA:-/srv/data}: /data
        env_passthrough: ["API_TOKEN"]
    - {name: far, engine: remote-mcp, engineSpec: {address: "http://a/mcp"}}
tools:
  - {name: count, engine: process, command: [wc]}
"""


def test_a_go_configuration_means_the_same(write: Write) -> None:
    path = write(GO)
    loaded = read(path, {"DATA": "/elsewhere"})
    assert [tool.name for tool in loaded.config.declared_tools] == ["count", "python_analyzer", "far"]
    assert loaded.config.agent.tools[0] == DeclaredTool(
        "python_analyzer",
        "dagger",
        "Analyzes data using an external Python script",
        (ToolParam("input_file", required=True), ToolParam("count", "number")),
        image="python:3.11-slim",
        command=("python", "/shared/analyzer.py"),
        mounts=(ToolMount(path.parent / "shared", "/shared"), ToolMount(Path("/elsewhere"), "/data")),
        env_passthrough=("API_TOKEN",),
    )
    assert loaded.config.agent.tools[0].kind == "container"
    assert loaded.config.agent.tools[1].address == "http://a/mcp"
    assert loaded.sources["agent.tools[0].image"] == "agent.yaml:15"


def test_it_is_saved_and_loads_to_the_same(write: Write, tmp_path: Path) -> None:
    loaded = read(write(GO))
    (tmp_path / "other").mkdir()
    save(loaded, tmp_path / "other" / "saved.yaml")
    assert read(tmp_path / "other" / "saved.yaml").config == loaded.config


PROCESS = "tools: [{name: x, engine: process, command: [y], "
CONTAINER = "tools: [{name: x, engine: container, image: y, "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PROCESS + "comand: [z]}]", "tools[0].comand: unknown key 'comand' (did you mean 'command'?)"),
        (CONTAINER + "engineSpec: {imag: z}}]", "tools[0].imag: unknown key 'imag' (did you mean 'image'?)"),
        (CONTAINER + "engineSpec: {image: z}}]", "tools[0].image: is given twice, in engineSpec too"),
        (CONTAINER + "engineSpec: 5}]", "tools[0].engineSpec: unknown key 'engineSpec'"),
        (PROCESS + "image: z}]", "tools[0].image: means nothing for a tool with engine process"),
        (PROCESS + "memory: 64m}]", "tools[0].memory: means nothing for a tool with engine process"),
        (PROCESS + "params: [{name: a, default: 5}]}]", "tools[0].params[0].default: expected text, got 5"),
        (
            PROCESS + "params: [{name: a, required: true, default: b}]}]",
            "tools[0].params[0].default: means nothing for a parameter that is required",
        ),
        (PROCESS + "params: [{name: a}, {name: a}]}]", "tools[0].params[1].name: 'a' is already the name of another"),
        (PROCESS + "params: [{name: a.b}, {name: a-b}]}]", "tools[0].params[1].name: would arrive as PRAXIS_PARAM_A_B"),
        (PROCESS + "params: [{name: a, type: text}]}]", "tools[0].params[0].type: expected one of 'string', 'number'"),
        (PROCESS + "params: [{name: a, required: 'perhaps'}]}]", "tools[0].params[0].required: expected true or false"),
        (PROCESS + "params: [{name: a}], inputSchema: {type: object}}]", "tools[0].inputSchema: params are given too"),
        (PROCESS + "inputSchema: {type: array}}]", "tools[0].inputSchema.type: expected 'object', got 'array'"),
        (PROCESS + "inputSchema: {properties: 5}}]", "tools[0].inputSchema.properties: expected a mapping"),
        (PROCESS + "timeout: 0}]", "tools[0].timeout: expected a number above 0"),
        (PROCESS + "env: {'a b': c}}]", "tools[0].env: is not accepted"),
        (
            PROCESS + "env_passthrough: [PRAXIS_PARAM_A]}]",
            "tools[0].env_passthrough: PRAXIS_PARAM_A is how a parameter",
        ),
        ("tools: [{name: x, engine: process, command: 'y z'}]", "tools[0].command: expected a list, got 'y z'"),
        ("tools: [{name: x, engine: process}]", "tools[0].command: is missing: a process is a program"),
        ("tools: [{name: x, engine: container}]", "tools[0].image: is missing: a container is made of one"),
        ("tools: [{name: x, engine: remote-mcp}]", "tools[0].address: is missing"),
        (
            "tools: [{name: x, engine: remote-mcp, address: 'ftp://a'}]",
            "tools[0].address: expected http://HOST/PATH or https://HOST/PATH, got 'ftp://a'",
        ),
        ("tools: [{name: x, engine: docker, image: y}]", "tools[0].engine: expected one of 'container', 'dagger'"),
        ("tools: [{name: a b, engine: process, command: [y]}]", "tools[0].name: expected 1 to 128 of the characters"),
        (PROCESS[:-2] + "}, {name: x, engine: process, command: [y]}]", "tools[1].name: 'x' is already the name of"),
        (CONTAINER + "memory: 5m}]", 'tools[0].memory: expected a size such as "256m" or "2g", 6m or more'),
        (CONTAINER + "memory: 268435456}]", "tools[0].memory: expected text, got 268435456"),
        (CONTAINER + "cpu: 0}]", "tools[0].cpu: expected a number above 0"),
        (CONTAINER + "pids: 0}]", "tools[0].pids: expected a number above 0"),
        (CONTAINER + "network: 'a b'}]", "tools[0].network: expected none, bridge, host"),
        (CONTAINER + "pull: always}]", "tools[0].pull: expected one of 'never', 'missing', got 'always'"),
        (CONTAINER + "workdir: sub}]", "tools[0].workdir: expected an absolute path in the container"),
        (CONTAINER + "artifacts: out}]", "tools[0].artifacts: expected an absolute path in the container, got 'out'"),
        (CONTAINER + "artifacts: /}]", "tools[0].artifacts: expected a folder of the container, got all of it"),
        (CONTAINER + "mounts: {/a: b}}]", "tools[0].mounts[0].target: expected an absolute path"),
        (CONTAINER + "mounts: {/a: /b/, /c: /b}}]", "tools[0].mounts[1].target: '/b' is already where mounts[0] is"),
        (CONTAINER + "mounts: {/a: /}}]", "tools[0].mounts[0].target: expected a folder of the container"),
        (CONTAINER + "mounts: {'/a,b': /c}}]", "tools[0].mounts[0]: expected paths without a comma"),
        (CONTAINER + "secrets: {../x: y}}]", "tools[0].secrets: is not accepted"),
        (
            PROCESS[:-2] + "}]\nmcp: {servers: [{name: process, command: a}]}",
            "mcp.servers[0].name: 'process' is the name of the source of tools that are declared",
        ),
        ("containers: {sockt: /a}", "containers.sockt: unknown key 'sockt' (did you mean 'socket'?)"),
    ],
)
def test_what_is_refused(write: Write, text: str, problem: str) -> None:
    (found,) = problems(write(f"# a comment\n{text}"))
    assert found.startswith(f"agent.yaml:{2 if 'mcp:' not in text else 3}: {problem}"), found


def test_secrets_of_tools_are_not_repeated(write: Write) -> None:
    (found,) = problems(write(CONTAINER + "secrets: {key: [hush]}}]"))
    assert "hush" not in found
    assert "hush" not in repr(read(write(CONTAINER + "secrets: {key: hush}, env: {A: hush}}]")).config)
